//! What clients ask for in order to test themselves.

use std::time::Duration;

use crate::rig::Rig;
use client::media::{Layer, MediaKind};
use sfu::{DescriptionCommand, MemberCommand, TransportProtocol};

const SECOND: Duration = Duration::from_secs(1);

/// Less than the large layer of the rig's picture needs.
const LIMIT: u64 = 300_000;

#[test]
fn an_artificial_limit_makes_the_picture_smaller_for_that_subscriber_until_it_is_lifted() {
    let mut rig = Rig::new(95);
    let (a, b, c) = (rig.join(), rig.join(), rig.join());
    let picture = rig.publish(a, MediaKind::Video, &Layer::ALL);
    rig.run(3 * SECOND);
    assert_eq!(rig.received(b, picture).size, (1280, 720));
    let peer = rig.participants[b].sid;
    let limit = Some(LIMIT);
    rig.command(MemberCommand::LimitBandwidth { peer, limit });
    let is_small = |rig: &Rig| rig.received(b, picture).size.0 < 1280;
    assert!(
        rig.run_until(5 * SECOND, is_small),
        "{:?}",
        rig.received(b, picture)
    );
    rig.run(10 * SECOND);
    assert!(is_small(&rig), "it stays");
    assert_eq!(rig.received(c, picture).size, (1280, 720), "it is about b");
    let limit = None;
    rig.command(MemberCommand::LimitBandwidth { peer, limit });
    let is_large = |rig: &Rig| rig.received(b, picture).size == (1280, 720);
    assert!(
        rig.run_until(10 * SECOND, is_large),
        "{:?}",
        rig.received(b, picture)
    );
}

#[test]
fn who_asks_for_one_protocol_is_offered_candidates_of_it_alone() {
    let mut config = crate::rig::config(96, crate::rig::server());
    config.tcp_addresses = vec!["192.0.2.1:7881".parse().unwrap()];
    let mut rig = Rig::with(config);
    let a = rig.join();
    let peer = rig.participants[a].sid;
    let offered = |rig: &Rig| -> Vec<String> {
        let answer = rig.participants[a].answer.lines();
        let candidates = answer.filter_map(|line| line.strip_prefix("a=candidate:"));
        let protocol = |candidate: &str| candidate.split(' ').nth(2).unwrap().to_owned();
        candidates.map(protocol).collect()
    };
    assert_eq!(offered(&rig), ["udp", "tcp"]);
    for (protocol, expected) in [
        (TransportProtocol::Tcp, "tcp"),
        (TransportProtocol::Udp, "udp"),
    ] {
        rig.command(DescriptionCommand::RestrictCandidates { peer, protocol });
        rig.offer(a);
        assert_eq!(offered(&rig), [expected]);
    }
}

#[test]
fn without_a_port_for_tcp_its_candidates_stay_as_they_are() {
    let mut rig = Rig::new(97);
    let a = rig.join();
    let peer = rig.participants[a].sid;
    let protocol = TransportProtocol::Tcp;
    rig.command(DescriptionCommand::RestrictCandidates { peer, protocol });
    rig.offer(a);
    assert!(rig.participants[a].answer.contains(" udp "));
}
