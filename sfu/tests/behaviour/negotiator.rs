//! What the negotiator spares rooms, shards and clients.

use std::time::Duration;

use crate::rig::{self, Rig};
use client::media::MediaKind;
use protocol::TrackSid;
use sfu::{
    Config, DescriptionCommand, DownTrackCommand, Event, ShardCommand, SubscriptionCommand,
    TrackSetting, negotiator::Output,
};

const SECOND: Duration = Duration::from_secs(1);

fn subscribe(rig: &mut Rig, subscriber: usize, tracks: &[TrackSid]) {
    let peer = rig.participants[subscriber].sid;
    for &track in tracks {
        rig.negotiator
            .handle_command(SubscriptionCommand::Subscribe {
                peer,
                track,
                setting: TrackSetting::default(),
            });
    }
}

#[test]
fn who_gets_many_tracks_at_once_is_asked_for_sections_once() {
    let mut rig = Rig::new(71);
    let speakers = [rig.join(), rig.join(), rig.join(), rig.join()];
    let voices = speakers.map(|who| rig.publish(who, MediaKind::Audio, &[]));
    let listener = rig.join();
    rig.run(SECOND);
    let peer = rig.participants[listener].sid;
    for track in voices {
        rig.command(SubscriptionCommand::Unsubscribe { peer, track });
    }
    rig.run(SECOND);
    subscribe(&mut rig, listener, &voices);
    let outputs: Vec<_> = std::iter::from_fn(|| rig.negotiator.poll()).collect();
    let asked = outputs.iter().filter_map(|output| match output {
        Output::Event(Event::NegotiationNeeded { peer, missing }) => Some((*peer, missing)),
        _ => None,
    });
    let asked: Vec<_> = asked.collect();
    assert!(matches!(asked[..], [(who, _)] if who == peer), "{asked:?}");
}

#[test]
fn an_offer_that_changes_nothing_is_answered_and_the_shard_hears_nothing_of_it() {
    let mut rig = Rig::new(72);
    let (speaker, listener) = (rig.join(), rig.join());
    rig.publish(speaker, MediaKind::Audio, &[]);
    rig.run(SECOND);
    let now = rig.now;
    let p = &mut rig.participants[listener];
    let (peer, offer) = (p.sid, p.connection.create_offer(now).unwrap());
    let mut offer = |id: u32| {
        let offer = DescriptionCommand::offer(peer, id, &offer).unwrap();
        rig.negotiator.handle_command(offer);
        let outputs: Vec<_> = std::iter::from_fn(|| rig.negotiator.poll()).collect();
        let (commands, events): (Vec<_>, Vec<_>) = outputs
            .into_iter()
            .partition(|output| matches!(output, Output::Command(_)));
        let answered = |event: &Output| matches!(event, Output::Event(Event::Answer { .. }));
        assert!(events.iter().any(answered), "{events:?}");
        commands
    };
    offer(100);
    let again = offer(101);
    let about_streams = |output: &&Output| {
        matches!(
            output,
            Output::Command(ShardCommand::DownTrack(_) | ShardCommand::Track(_))
        )
    };
    assert_eq!(again.iter().filter(about_streams).count(), 0, "{again:?}");
}

#[test]
fn what_does_not_arrive_is_begun_anew_unless_nobody_wants_it_any_more() {
    let mut rig = Rig::new(73);
    let (speaker, listener) = (rig.join(), rig.join());
    let track = rig.publish(speaker, MediaKind::Audio, &[]);
    rig.run(SECOND);
    let peer = rig.participants[listener].sid;
    let begun = |rig: &mut Rig| {
        rig.negotiator
            .handle_event(Event::Undelivered { peer, track });
        let outputs = std::iter::from_fn(|| rig.negotiator.poll());
        let begun = outputs.filter(|output| {
            let Output::Command(ShardCommand::DownTrack(command)) = output else {
                return false;
            };
            matches!(command, DownTrackCommand::Add { repaired: true, .. })
        });
        begun.count()
    };
    assert_eq!(begun(&mut rig), 1);
    rig.command(SubscriptionCommand::Unsubscribe { peer, track });
    assert_eq!(begun(&mut rig), 0);
}

#[test]
fn a_track_beyond_the_limit_is_not_announced_and_does_not_reach_the_shard() {
    let server = rig::server();
    let mut rig = Rig::with(Config {
        max_tracks_per_peer: 1,
        ..rig::config(74, server)
    });
    let speaker = rig.join();
    let tracks = [(); 2].map(|()| rig.publish(speaker, MediaKind::Audio, &[]));
    rig.run(SECOND);
    let bound = rig.events.iter().filter_map(|event| match event {
        Event::TrackBound { track, .. } => Some(*track),
        _ => None,
    });
    assert_eq!(bound.collect::<Vec<_>>(), tracks[..1]);
    assert_eq!(rig.shard.stats().up_tracks, 1);
    // One that ends makes room for another.
    rig.unpublish(speaker, tracks[0]);
    let third = rig.publish(speaker, MediaKind::Audio, &[]);
    rig.run(SECOND);
    let is_third =
        |event: &Event| matches!(event, Event::TrackBound { track, .. } if *track == third);
    assert!(rig.events.iter().any(is_third));
}
