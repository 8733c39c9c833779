//! What the negotiator spares rooms, shards and clients.

use std::time::Duration;

use crate::rig::Rig;
use client::media::MediaKind;
use protocol::TrackSid;
use sfu::{Command, Event, TrackSetting, negotiator::Output};

const SECOND: Duration = Duration::from_secs(1);

fn subscribe(rig: &mut Rig, subscriber: usize, tracks: &[TrackSid]) {
    let peer = rig.participants[subscriber].sid;
    for &track in tracks {
        rig.negotiator.handle_command(Command::Subscribe {
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
        rig.command(Command::Unsubscribe { peer, track });
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
