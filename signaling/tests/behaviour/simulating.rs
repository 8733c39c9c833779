//! What client SDKs ask for in order to test themselves.

use std::time::Duration;

use protocol::{
    livekit::{
        CandidateProtocol, ClientConfigSetting, DisconnectReason, SimulateScenario,
        leave_request::Action, simulate_scenario::Scenario,
    },
    turn::TurnServers,
};
use sfu::{Command, DescriptionCommand, MemberCommand, TransportProtocol};
use signaling::{Config, SessionId};

use crate::meeting::*;

fn allowed() -> Config {
    Config {
        simulations: true,
        ..Config::default()
    }
}

#[test]
fn nothing_is_simulated_unless_it_is_allowed() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let mallory = meeting.enter("mallory");
    meeting.publish(mallory, "cam");
    let start = meeting.heard(alice);
    for scenario in [
        Scenario::SpeakerUpdate(60),
        Scenario::ServerLeave(true),
        Scenario::NodeFailure(true),
        Scenario::SubscriberBandwidth(1),
    ] {
        let scenario = Some(scenario);
        meeting.ask(mallory, Ask::Simulate(SimulateScenario { scenario }));
        meeting.advance(NEWS);
    }
    assert_eq!(meeting.since(alice, start), []);
    assert_eq!(meeting.clients[&mallory].closed, None);
}

fn switch(meeting: &mut Meeting, session: SessionId, protocol: CandidateProtocol) {
    let scenario = Scenario::SwitchCandidateProtocol(protocol.into());
    meeting.ask(
        session,
        Ask::Simulate(SimulateScenario {
            scenario: Some(scenario),
        }),
    );
    let told = meeting.leave_of(session);
    assert_eq!(
        told,
        Some((DisconnectReason::UnknownReason, Action::Reconnect))
    );
}

/// The candidates that the shard was told to offer a participant, before the first description.
fn restriction(meeting: &Meeting, session: SessionId) -> Option<TransportProtocol> {
    let sid = meeting.sid(session);
    let mut commands = meeting.shard.commands.iter();
    let before = commands.by_ref().take_while(|command| match command {
        Command::Description(DescriptionCommand::Offer { peer, .. })
        | Command::Description(DescriptionCommand::OfferSubscriber { peer, .. }) => *peer != sid,
        _ => true,
    });
    let said = before.filter_map(|command| match command {
        Command::Description(DescriptionCommand::RestrictCandidates { peer, protocol })
            if *peer == sid =>
        {
            Some(*protocol)
        }
        _ => None,
    });
    said.last()
}

#[test]
fn who_switches_its_protocol_comes_in_anew_and_is_offered_it_alone_once() {
    let mut meeting = Meeting::with(allowed());
    let bob = meeting.enter("bob");
    for two_connections in [false, true] {
        meeting.two_connections = two_connections;
        let mut alice = meeting.enter("alice");
        assert_eq!(restriction(&meeting, alice), None);
        for (asked, expected) in [
            (CandidateProtocol::Tcp, TransportProtocol::Tcp),
            (CandidateProtocol::Udp, TransportProtocol::Udp),
        ] {
            switch(&mut meeting, alice, asked);
            let carol = meeting.enter("carol");
            assert_eq!(restriction(&meeting, carol), None, "it is about alice");
            meeting.ask(carol, Ask::Leave(Default::default()));
            alice = meeting.enter("alice");
            assert_eq!(restriction(&meeting, alice), Some(expected));
        }
        meeting.ask(alice, Ask::Leave(Default::default()));
        alice = meeting.enter("alice");
        assert_eq!(restriction(&meeting, alice), None, "once");
        switch(&mut meeting, alice, CandidateProtocol::Tcp);
        meeting.advance(Duration::from_secs(31));
        alice = meeting.enter("alice");
        assert_eq!(restriction(&meeting, alice), None, "too late");
        meeting.ask(alice, Ask::Leave(Default::default()));
    }
    assert_eq!(meeting.leave_of(bob), None);
}

#[test]
fn who_switches_to_tls_is_told_to_relay_through_it_where_there_is_a_relay() {
    let urls = ["turn:192.0.2.1:3478", "turns:192.0.2.1:443"].map(String::from);
    let turn = Some(TurnServers::new(urls.to_vec(), &[1; 32], 100));
    for turn in [turn, None] {
        let has_relay = turn.is_some();
        let mut meeting = Meeting::with(Config { turn, ..allowed() });
        let bob = meeting.enter("bob");
        let alice = meeting.enter("alice");
        switch(&mut meeting, alice, CandidateProtocol::Tls);
        let alice = meeting.enter("alice");
        assert_eq!(restriction(&meeting, alice), None);
        let again = meeting.resume("alice", alice);
        let reconnect = meeting.clients[&again]
            .heard
            .iter()
            .find_map(|told| match told {
                Told::Reconnect(response) => Some(response),
                _ => None,
            });
        let (join, reconnect) = (meeting.join_response(alice), reconnect.unwrap());
        for (configuration, servers) in [
            (&join.client_configuration, &join.ice_servers),
            (&reconnect.client_configuration, &reconnect.ice_servers),
        ] {
            let relays = configuration.as_ref().unwrap().force_relay();
            let urls: Vec<_> = servers.iter().flat_map(|server| &server.urls).collect();
            if has_relay {
                assert_eq!(relays, ClientConfigSetting::Enabled);
                assert_eq!(urls, ["turns:192.0.2.1:443"]);
            } else {
                assert_eq!(relays, ClientConfigSetting::Unset);
                assert!(urls.is_empty());
            }
        }
        let configuration = &meeting.join_response(bob).client_configuration;
        assert_eq!(
            configuration.as_ref().unwrap().force_relay(),
            ClientConfigSetting::Unset
        );
    }
}

#[test]
fn a_limit_of_bandwidth_is_handed_to_the_shard_until_it_is_lifted() {
    let mut meeting = Meeting::with(allowed());
    let alice = meeting.enter("alice");
    for (bits, expected) in [(300_000, Some(300_000)), (0, None), (-1, None)] {
        let scenario = Scenario::SubscriberBandwidth(bits);
        meeting.ask(
            alice,
            Ask::Simulate(SimulateScenario {
                scenario: Some(scenario),
            }),
        );
        let sid = meeting.sid(alice);
        let last = meeting.shard.commands.last();
        assert!(
            matches!(last, Some(Command::Member(MemberCommand::LimitBandwidth { peer, limit })) if *peer == sid && *limit == expected)
        );
    }
}
