use protocol::{
    TrackSid,
    livekit::{
        AddTrackRequest, BackupCodecPolicy, SimulcastCodec, TrackInfo, VideoLayer, VideoQuality,
        encryption::Type as Encryption, request_response::Reason,
    },
};
use sfu::{BackupOf, Command, Event, PublishedTrack, SpatialLayer, TrackCommand};
use signaling::SessionId;

use crate::meeting::*;

fn codec(codec: &str, cid: &str) -> SimulcastCodec {
    SimulcastCodec {
        codec: codec.into(),
        cid: cid.into(),
        ..Default::default()
    }
}

/// As livekit-client announces VP9 with a backup in VP8.
fn two_codecs(cid: &str) -> AddTrackRequest {
    AddTrackRequest {
        simulcast_codecs: vec![codec("vp9", cid), codec("vp8", "")],
        backup_codec_policy: BackupCodecPolicy::Simulcast.into(),
        ..camera(cid)
    }
}

/// And as it publishes the second one.
fn second(track: TrackSid, name: &str, cid: &str) -> AddTrackRequest {
    let layer = VideoLayer {
        quality: VideoQuality::Low.into(),
        width: 320,
        height: 180,
        ..Default::default()
    };
    AddTrackRequest {
        sid: track.to_string(),
        simulcast_codecs: vec![SimulcastCodec {
            layers: vec![layer],
            ..codec(name, cid)
        }],
        ..camera(cid)
    }
}

/// The last backup that the media engine heard of.
fn backup(meeting: &Meeting) -> PublishedTrack {
    let published = meeting.shard.commands.iter().rev();
    let mut backups = published.filter_map(|command| match command {
        Command::Track(TrackCommand::Publish { track, .. }) => {
            track.backup_of.is_some().then(|| track.clone())
        }
        _ => None,
    });
    backups.next().expect("a backup")
}

fn publish(meeting: &mut Meeting, alice: SessionId) -> (TrackSid, TrackSid) {
    meeting.ask(alice, Ask::AddTrack(two_codecs("cam")));
    meeting.ask(alice, Ask::Offer(offer(2, "v=0 cam")));
    let track = meeting.published(alice, "cam").expect("published");
    (track, backup(meeting).sid)
}

fn track_of(meeting: &mut Meeting) -> TrackInfo {
    meeting.participants()[0].tracks[0].clone()
}

fn codecs(track: &TrackInfo) -> Vec<[&str; 3]> {
    let codecs = track.codecs.iter();
    codecs
        .map(|codec| [&*codec.mime_type, &*codec.cid, &*codec.mid])
        .collect()
}

#[test]
fn a_second_codec_is_announced_asked_for_and_published() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let (track, hidden) = publish(&mut meeting, alice);
    let announced = backup(&meeting);
    let for_all = false;
    assert_eq!(announced.backup_of, Some(BackupOf { track, for_all }));
    assert_eq!(
        (announced.mime_type.as_str(), announced.cids.len()),
        ("video/vp8", 0)
    );
    let peer = meeting.sid(alice);
    let told = |meeting: &Meeting| match meeting.clients[&alice].heard.last() {
        Some(Told::SubscribedQualityUpdate(update)) => {
            assert_eq!(update.track_sid, track.to_string());
            let codecs = update.subscribed_codecs.iter().map(|codec| {
                let enabled = codec.qualities.iter().filter(|quality| quality.enabled);
                (codec.codec.clone(), enabled.count())
            });
            codecs.collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    meeting.media(Event::WantedLayersChanged {
        peer,
        track: hidden,
        wanted: Some(SpatialLayer::Medium),
    });
    assert_eq!(told(&meeting), [("vp9".into(), 3), ("vp8".into(), 2)]);
    meeting.media(Event::WantedLayersChanged {
        peer,
        track,
        wanted: None,
    });
    assert_eq!(told(&meeting), [("vp9".into(), 0), ("vp8".into(), 2)]);

    meeting.ask(alice, Ask::AddTrack(second(track, "vp8", "more")));
    let Some(Told::TrackPublished(published)) = meeting.clients[&alice].heard.last() else {
        panic!("not published")
    };
    assert_eq!(published.cid, "more");
    assert_eq!(published.track.as_ref().unwrap().sid, track.to_string());
    let announced = backup(&meeting);
    assert_eq!(
        (announced.sid, announced.cids),
        (hidden, vec!["more".into()])
    );
    assert_eq!(announced.layers[0].width, 320);
    meeting.advance(NEWS);
    let start = meeting.heard(bob);
    meeting.ask(alice, Ask::Offer(offer(3, "v=0 cam more")));
    meeting.advance(NEWS);
    let update = &updates(meeting.since(bob, start))[0];
    assert_eq!(
        codecs(&update.tracks[0]),
        [["video/VP8", "cam", "7"], ["video/VP8", "more", "7"]]
    );
    assert_eq!(update.tracks[0].codecs[1].layers[0].width, 320);
    assert_eq!(meeting.subscriptions(bob), [track], "once, by its own sid");

    meeting.ask(alice, Ask::Offer(offer(4, "v=0 cam")));
    let now = track_of(&mut meeting);
    assert_eq!(codecs(&now)[1], ["video/vp8", "", ""]);
    meeting.ask(alice, Ask::AddTrack(second(track, "VP8", "again")));
    assert_eq!(backup(&meeting).cids, ["again"]);
    meeting.ask(alice, Ask::Offer(offer(5, "v=0")));
    assert!(meeting.participants()[0].tracks.is_empty());
    assert_eq!(meeting.leave_of(alice), None);
}

#[test]
fn a_second_codec_that_was_not_announced_or_is_published_already_is_refused() {
    let mut meeting = Meeting::new();
    let (alice, mallory) = (meeting.enter("alice"), meeting.enter("mallory"));
    let (track, hidden) = publish(&mut meeting, alice);
    meeting.ask(mallory, Ask::AddTrack(two_codecs("theirs")));
    let plain = meeting.publish(mallory, "plain");
    let commands = meeting.shard.commands.len();
    let heard = meeting.heard(alice);
    let refused = |meeting: &mut Meeting, session, request: AddTrackRequest| {
        meeting.ask(session, Ask::AddTrack(request));
        match meeting.clients[&session].heard.last() {
            Some(Told::RequestResponse(response)) => Some(response.reason()),
            _ => None,
        }
    };
    let own = meeting.published(mallory, "theirs").unwrap();
    for (session, request, reason) in [
        (mallory, second(track, "vp8", "x"), Reason::NotFound),
        (mallory, second(hidden, "vp8", "x"), Reason::NotFound),
        (alice, second(hidden, "vp8", "x"), Reason::NotFound),
        (mallory, second(own, "h264", "x"), Reason::UnsupportedType),
        (mallory, second(own, "vp9", "x"), Reason::UnsupportedType),
        (mallory, second(plain, "vp8", "x"), Reason::UnsupportedType),
        (mallory, second(own, "vp8", ""), Reason::InvalidRequest),
        (
            mallory,
            second(own, "vp8", "theirs"),
            Reason::InvalidRequest,
        ),
        (mallory, second(own, "vp8", "plain"), Reason::InvalidRequest),
    ] {
        assert_eq!(refused(&mut meeting, session, request), Some(reason));
    }
    assert_eq!(meeting.shard.commands.len(), commands, "nothing came of it");
    assert_eq!(
        refused(&mut meeting, mallory, second(own, "vp8", "x")),
        None
    );
    assert_eq!(
        refused(&mut meeting, mallory, second(own, "vp8", "x")),
        None
    );
    assert_eq!(meeting.shard.commands.len(), commands + 1, "asked twice");
    let again = second(own, "vp8", "y");
    let reason = refused(&mut meeting, mallory, again);
    assert_eq!(reason, Some(Reason::InvalidRequest));
    let heard = meeting.since(alice, heard);
    assert!(matches!(heard, [Told::RequestResponse(_)]), "{heard:?}");
}

#[test]
fn encrypted_pictures_sounds_and_pictures_in_one_codec_have_no_backup() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let encrypted = AddTrackRequest {
        encryption: Encryption::Gcm.into(),
        ..two_codecs("a")
    };
    let sound = AddTrackRequest {
        r#type: protocol::livekit::TrackType::Audio.into(),
        ..two_codecs("b")
    };
    let same = AddTrackRequest {
        simulcast_codecs: vec![codec("vp8", "c"), codec("VP8", "")],
        ..two_codecs("c")
    };
    for request in [encrypted, sound, same] {
        meeting.ask(alice, Ask::AddTrack(request));
    }
    let is_backup = |command: &Command| matches!(command, Command::Track(TrackCommand::Publish { track, .. }) if track.backup_of.is_some());
    assert!(!meeting.shard.commands.iter().any(is_backup));
    for policy in [
        BackupCodecPolicy::PreferRegression,
        BackupCodecPolicy::Regression,
    ] {
        meeting.ask(
            alice,
            Ask::AddTrack(AddTrackRequest {
                backup_codec_policy: policy.into(),
                ..two_codecs(policy.as_str_name())
            }),
        );
        assert!(backup(&meeting).backup_of.unwrap().for_all);
    }
}

/// The Go SDK names codecs as MIME types, browsers by their second half.
#[test]
fn a_codec_named_as_a_mime_type_is_the_codec() {
    let forms: [fn(&str) -> String; 4] = [
        |name| name.to_owned(),
        |name| name.to_ascii_uppercase(),
        |name| format!("video/{name}"),
        |name| format!("VIDEO/{}", name.to_ascii_uppercase()),
    ];
    for form in forms {
        let mut meeting = Meeting::new();
        let alice = meeting.enter("alice");
        let request = AddTrackRequest {
            simulcast_codecs: vec![codec(&form("h264"), "cam"), codec(&form("vp8"), "")],
            ..camera("cam")
        };
        meeting.ask(alice, Ask::AddTrack(request));
        let first = meeting.shard.commands.iter().rev();
        let mut first = first.filter_map(|command| match command {
            Command::Track(TrackCommand::Publish { track, .. }) => {
                track.backup_of.is_none().then(|| track.clone())
            }
            _ => None,
        });
        assert_eq!(first.next().expect("a track").mime_type, "video/h264");
        assert_eq!(backup(&meeting).mime_type, "video/vp8");
        let track = meeting.published(alice, "cam").expect("published");
        meeting.ask(alice, Ask::Offer(offer(2, "v=0 cam")));
        assert_eq!(codecs(&track_of(&mut meeting))[1], ["video/vp8", "", ""]);

        let peer = meeting.sid(alice);
        meeting.media(Event::WantedLayersChanged {
            peer,
            track,
            wanted: Some(SpatialLayer::Low),
        });
        let Some(Told::SubscribedQualityUpdate(update)) = meeting.clients[&alice].heard.last()
        else {
            panic!("not told")
        };
        let names: Vec<_> = update.subscribed_codecs.iter().map(|c| &*c.codec).collect();
        assert_eq!(names, ["h264", "vp8"]);

        meeting.ask(alice, Ask::AddTrack(second(track, &form("vp8"), "more")));
        assert_eq!(backup(&meeting).cids, ["more"]);
        // The same codec twice is no second one.
        let request = AddTrackRequest {
            simulcast_codecs: vec![codec("h264", "one"), codec(&form("h264"), "")],
            ..camera("one")
        };
        let known = meeting.shard.commands.len();
        meeting.ask(alice, Ask::AddTrack(request));
        assert_eq!(meeting.shard.commands.len(), known + 1);
    }
}
