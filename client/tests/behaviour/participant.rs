//! A participant against a scripted server: the signal messages are written out by hand here (no server of ours runs),
//! the media side is str0m as answerer. Virtual time, no sockets.

use std::{
    collections::HashMap,
    io::Read,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::support::{Answerer, Endpoint, Pair};
use base64::{Engine, engine::general_purpose::URL_SAFE};
use client::{
    DataChannel, Event, Options, Participant, Publish, Reconnect, TrackSetting, Transmit, fixtures,
    fixtures::PictureSize,
    media::{Layer, MediaKind},
};
use protocol::{
    livekit::{
        DataPacket, DisconnectReason, JoinRequest, JoinResponse, LeaveRequest,
        MediaSectionsRequirement, MuteTrackRequest, ParticipantInfo, ParticipantUpdate, Pong,
        ReconnectResponse, SessionDescription, SignalResponse, TrackInfo, TrackPublishedResponse,
        UserPacket, WrappedJoinRequest, data_packet, leave_request, participant_info,
        signal_request::Message as Request, signal_response::Message as Response,
    },
    prost::Message,
};

impl Endpoint for Participant {
    fn handle_datagram(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        payload: &[u8],
        now: Instant,
    ) {
        self.handle_datagram(local, remote, payload, now);
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.handle_timeout(now);
    }
    fn poll_timeout(&self) -> Option<Instant> {
        self.poll_timeout()
    }
    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.poll_transmit()
    }
}

fn participant(options: Options) -> Pair<Participant> {
    let now = Instant::now();
    let client = Participant::new(options, "10.0.0.1:4000".parse().unwrap(), now).unwrap();
    Pair::new(client, Answerer::new("10.0.0.2:7882", now), now)
}

fn join_request(pair: &mut Pair<Participant>) -> JoinRequest {
    let parameter = pair.client.join_parameter(pair.now).unwrap();
    let wrapped =
        WrappedJoinRequest::decode(URL_SAFE.decode(parameter).unwrap().as_slice()).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(wrapped.join_request.as_slice())
        .read_to_end(&mut bytes)
        .unwrap();
    JoinRequest::decode(bytes.as_slice()).unwrap()
}

fn respond(pair: &mut Pair<Participant>, message: Response) {
    pair.client
        .handle_signal(
            SignalResponse {
                message: Some(message),
            },
            pair.now,
        )
        .unwrap();
}

fn join_response() -> Response {
    Response::Join(JoinResponse {
        participant: Some(ParticipantInfo {
            sid: "PA_me".into(),
            ..Default::default()
        }),
        other_participants: vec![ParticipantInfo {
            sid: "PA_other".into(),
            tracks: vec![TrackInfo {
                sid: "TR_AMother".into(),
                ..Default::default()
            }],
            version: 5,
            ..Default::default()
        }],
        ping_interval: 5,
        ping_timeout: 15,
        ..Default::default()
    })
}

/// Answers an offer; the first receiving section of `kind` carries each track.
fn answer(pair: &mut Pair<Participant>, offer: &SessionDescription, tracks: &[(&str, &str)]) {
    let sdp = pair.server.answer(&offer.sdp, pair.now);
    let mut mid_to_track_id = HashMap::new();
    for (kind, track) in tracks {
        let section = offer.sdp.split("\nm=").find(|section| {
            section.starts_with(kind)
                && section.contains("a=recvonly")
                && !mid_to_track_id.contains_key(mid(section))
        });
        mid_to_track_id.insert(mid(section.unwrap()).to_owned(), (*track).to_owned());
    }
    let id = offer.id;
    respond(
        pair,
        Response::Answer(SessionDescription {
            r#type: "answer".into(),
            sdp,
            id,
            mid_to_track_id,
        }),
    );
}

fn mid(section: &str) -> &str {
    section
        .lines()
        .find_map(|line| line.strip_prefix("a=mid:"))
        .unwrap()
}

fn requests(pair: &mut Pair<Participant>) -> Vec<Request> {
    std::iter::from_fn(|| pair.client.poll_signal()?.message).collect()
}

fn events(pair: &mut Pair<Participant>) -> Vec<Event> {
    std::iter::from_fn(|| pair.client.poll_event()).collect()
}

fn offers(requests: &[Request]) -> Vec<SessionDescription> {
    let offer = |request: &Request| match request {
        Request::Offer(offer) => Some(offer.clone()),
        _ => None,
    };
    requests.iter().filter_map(offer).collect()
}

/// Joined and connected, with one microphone of another person in the first answer.
fn joined() -> Pair<Participant> {
    joined_with(Options::default())
}

fn joined_with(options: Options) -> Pair<Participant> {
    let mut pair = participant(options);
    let offer = join_request(&mut pair).publisher_offer.unwrap();
    respond(&mut pair, join_response());
    answer(&mut pair, &offer, &[("audio", "TR_AMother")]);
    pair.run(Duration::from_secs(1));
    assert!(pair.client.is_connected());
    pair
}

/// A joined participant with a published track, and the track's cid.
fn publishing(publish: Publish) -> (Pair<Participant>, String) {
    let mut pair = joined();
    requests(&mut pair);
    events(&mut pair);
    let cid = pair.client.publish(publish, pair.now);
    let sent = requests(&mut pair);
    assert!(matches!(&sent[0], Request::AddTrack(add) if add.cid == cid));
    accept_publication(&mut pair, &cid, &offers(&sent)[0]);
    (pair, cid)
}

fn accept_publication(pair: &mut Pair<Participant>, cid: &str, offer: &SessionDescription) {
    assert!(offer.sdp.contains(&format!("a=msid:- {cid}")));
    let track = TrackInfo {
        sid: "TR_mine".into(),
        ..Default::default()
    };
    respond(
        pair,
        Response::TrackPublished(TrackPublishedResponse {
            cid: cid.into(),
            track: Some(track),
        }),
    );
    let published = |event: &Event| matches!(event, Event::TrackPublished { .. });
    assert!(!events(pair).iter().any(published), "not before the answer");
    answer(pair, offer, &[("audio", "TR_AMother")]);
    assert!(events(pair).iter().any(published));
    pair.run(Duration::from_millis(100));
}

#[test]
fn joining_carries_the_offer_and_the_first_answer_subscribes() {
    let mut pair = participant(Options::default());
    let request = join_request(&mut pair);
    assert!(request.connection_settings.unwrap().auto_subscribe && !request.reconnect);
    let offer = request.publisher_offer.unwrap();
    assert_eq!(offer.id, 1);
    respond(&mut pair, join_response());
    assert_eq!(
        offers(&requests(&mut pair)),
        [],
        "no second offer while the first is open"
    );
    answer(&mut pair, &offer, &[("audio", "TR_AMother")]);
    pair.run(Duration::from_secs(1));
    let events = events(&mut pair);
    let track = "TR_AMother".parse().unwrap();
    let publisher = Some("PA_other".parse().unwrap());
    assert!(events.contains(&Event::TrackSubscribed {
        track,
        publisher,
        kind: MediaKind::Audio
    }));
    assert!(events.contains(&Event::Connected));
    for channel in [
        DataChannel::Reliable,
        DataChannel::Lossy,
        DataChannel::DataTrack,
    ] {
        assert!(events.contains(&Event::ChannelOpen(channel)));
    }
}

#[test]
fn without_an_offer_in_the_join_it_follows_the_response() {
    let mut pair = participant(Options {
        offer_with_join: false,
        ..Default::default()
    });
    assert_eq!(join_request(&mut pair).publisher_offer, None);
    respond(&mut pair, join_response());
    assert_eq!(offers(&requests(&mut pair)).len(), 1);
}

#[test]
fn what_was_published_before_joining_is_announced_at_the_join() {
    let mut pair = participant(Options::default());
    let cid = pair.client.publish(Publish::microphone(), pair.now);
    let offer = join_request(&mut pair).publisher_offer.unwrap();
    respond(&mut pair, join_response());
    assert!(
        requests(&mut pair)
            .iter()
            .any(|r| matches!(r, Request::AddTrack(add) if add.cid == cid))
    );
    answer(&mut pair, &offer, &[]);
    let sent = requests(&mut pair);
    accept_publication(&mut pair, &cid, &offers(&sent)[0]);
}

#[test]
fn published_frames_arrive_and_are_counted() {
    let (mut pair, cid) = publishing(Publish::simulcast_camera(1280, 720));
    for (layer, size) in Layer::ALL.into_iter().zip(PictureSize::ALL) {
        let frame = fixtures::moving_picture(size)[0];
        pair.client
            .write_frame(&cid, Some(layer), frame, 0, None, pair.now)
            .unwrap();
    }
    pair.run(Duration::from_millis(50));
    let stats = pair.client.stats();
    let sent: u64 = stats.published[0]
        .streams
        .iter()
        .map(|(_, stats)| stats.packets)
        .sum();
    assert_eq!(pair.server.packets.len() as u64, sent);
    assert!(sent > 3);
}

#[test]
fn two_offers_are_never_in_flight() {
    let mut pair = joined();
    requests(&mut pair);
    pair.client.publish(Publish::microphone(), pair.now);
    pair.client.publish(Publish::camera(640, 360), pair.now);
    let sent = requests(&mut pair);
    assert_eq!(
        sent.iter()
            .filter(|r| matches!(r, Request::AddTrack(_)))
            .count(),
        2
    );
    let first = offers(&sent);
    assert_eq!(first.len(), 1);
    answer(&mut pair, &first[0], &[]);
    let second = offers(&requests(&mut pair));
    assert_eq!((second.len(), second[0].id), (1, first[0].id + 1));
    assert!(second[0].sdp.contains("camera-1"));
}

#[test]
fn required_sections_are_added_and_zero_renegotiates() {
    let mut pair = joined();
    requests(&mut pair);
    respond(
        &mut pair,
        Response::MediaSectionsRequirement(MediaSectionsRequirement {
            num_audios: 2,
            num_videos: 1,
        }),
    );
    respond(
        &mut pair,
        Response::MediaSectionsRequirement(MediaSectionsRequirement {
            num_audios: 0,
            num_videos: 0,
        }),
    );
    let offer = offers(&requests(&mut pair)).remove(0);
    assert_eq!(
        (
            offer.sdp.matches("m=audio").count(),
            offer.sdp.matches("m=video").count()
        ),
        (5, 4)
    );
    answer(
        &mut pair,
        &offer,
        &[("audio", "TR_AMother"), ("audio", "TR_AMnew")],
    );
    let renewed = offers(&requests(&mut pair)).remove(0);
    assert_eq!(
        renewed.sdp.matches("m=").count(),
        offer.sdp.matches("m=").count()
    );
    answer(&mut pair, &renewed, &[("audio", "TR_AMnew")]);
    let gone = Event::TrackUnsubscribed {
        track: "TR_AMother".parse().unwrap(),
    };
    assert!(events(&mut pair).contains(&gone));
}

#[test]
fn required_sections_gather_as_long_as_wished_and_go_with_any_offer_before() {
    let mut pair = joined_with(Options {
        gather_sections: Duration::from_secs(5),
        ..Options::default()
    });
    requests(&mut pair);
    let sections = |offer: &SessionDescription| offer.sdp.matches("m=").count();
    let require = |pair: &mut Pair<Participant>| {
        let more = MediaSectionsRequirement {
            num_audios: 1,
            num_videos: 1,
        };
        respond(pair, Response::MediaSectionsRequirement(more));
    };
    require(&mut pair);
    pair.run(Duration::from_secs(4));
    require(&mut pair);
    assert!(offers(&requests(&mut pair)).is_empty());
    pair.run(Duration::from_secs(2));
    let [first] = &offers(&requests(&mut pair))[..] else {
        panic!("one offer for both")
    };
    assert_eq!(sections(first), 1 + 6 + 4);
    answer(&mut pair, first, &[("audio", "TR_AMother")]);

    // An offer of another cause takes them along.
    require(&mut pair);
    pair.client.renegotiate(false, pair.now).unwrap();
    let [second] = &offers(&requests(&mut pair))[..] else {
        panic!("one offer for both")
    };
    assert_eq!(sections(second), 1 + 6 + 6);
    answer(&mut pair, second, &[("audio", "TR_AMother")]);
    pair.run(Duration::from_secs(10));
    assert!(offers(&requests(&mut pair)).is_empty());
}

#[test]
fn received_frames_name_their_track() {
    let mut pair = joined();
    events(&mut pair);
    pair.server.send(
        str0m::media::MediaKind::Audio,
        960,
        true,
        fixtures::OPUS_SILENCE,
        pair.now,
    );
    pair.run(Duration::from_millis(50));
    let track = "TR_AMother".parse().unwrap();
    let frame = events(&mut pair).into_iter().find_map(|event| match event {
        Event::Frame { track: on, frame } if on == track => Some(frame),
        _ => None,
    });
    assert_eq!(frame.unwrap().data, fixtures::OPUS_SILENCE);
    let stats = pair.client.stats();
    assert_eq!(
        (
            stats.subscribed[0].track,
            stats.subscribed[0].received.packets
        ),
        (track, 1)
    );
    assert!(stats.connected > stats.joined);
}

#[test]
fn a_muted_track_sends_nothing() {
    let (mut pair, cid) = publishing(Publish::microphone());
    pair.client.set_muted(&cid, true).unwrap();
    let mute = MuteTrackRequest {
        sid: "TR_mine".into(),
        muted: true,
    };
    assert!(requests(&mut pair).contains(&Request::Mute(mute)));
    pair.client
        .write_frame(&cid, None, fixtures::OPUS_SILENCE, 0, None, pair.now)
        .unwrap();
    pair.run(Duration::from_millis(50));
    assert!(pair.server.packets.is_empty());
    respond(
        &mut pair,
        Response::Mute(MuteTrackRequest {
            sid: "TR_mine".into(),
            muted: false,
        }),
    );
    assert!(events(&mut pair).contains(&Event::TrackMuted {
        cid: cid.clone(),
        muted: false
    }));
    pair.client
        .write_frame(&cid, None, fixtures::OPUS_SILENCE, 0, None, pair.now)
        .unwrap();
    pair.run(Duration::from_millis(50));
    assert_eq!(pair.server.packets.len(), 1);
}

#[test]
fn a_mute_that_was_lost_with_its_connection_is_repeated() {
    let (mut pair, cid) = publishing(Publish::microphone());
    pair.client.set_muted(&cid, true).unwrap();
    requests(&mut pair);
    let mute = |muted| {
        Request::Mute(MuteTrackRequest {
            sid: "TR_mine".into(),
            muted,
        })
    };
    let update = |muted| {
        let track = TrackInfo {
            sid: "TR_mine".into(),
            muted,
            ..Default::default()
        };
        Response::Update(ParticipantUpdate {
            participants: vec![ParticipantInfo {
                sid: "PA_me".into(),
                tracks: vec![track],
                ..Default::default()
            }],
        })
    };
    pair.client.signal_lost(pair.now);
    join_request(&mut pair);
    respond(&mut pair, Response::Reconnect(ReconnectResponse::default()));
    respond(&mut pair, update(false));
    assert!(requests(&mut pair).contains(&mute(true)));
    // A moderator may think otherwise, and says so before the update that shows it.
    let request = MuteTrackRequest {
        sid: "TR_mine".into(),
        muted: false,
    };
    respond(&mut pair, update(true));
    respond(&mut pair, Response::Mute(request));
    respond(&mut pair, update(false));
    assert_eq!(requests(&mut pair), [mute(false)]);
}

#[test]
fn who_came_back_replaces_a_former_self_whose_farewell_was_lost() {
    let mut pair = joined();
    let back = ParticipantInfo {
        sid: "PA_back".into(),
        identity: "somebody".into(),
        ..Default::default()
    };
    let former = ParticipantInfo {
        sid: "PA_former".into(),
        ..back.clone()
    };
    for info in [former, back] {
        let participants = vec![info];
        respond(
            &mut pair,
            Response::Update(ParticipantUpdate { participants }),
        );
    }
    let others = pair.client.others().iter();
    let sids: Vec<_> = others.map(|info| info.sid.as_str()).collect();
    assert_eq!(sids, ["PA_other", "PA_back"]);
}

#[test]
fn a_track_that_is_muted_while_it_is_announced_is_muted() {
    let mut pair = joined();
    let cid = pair.client.publish(Publish::microphone(), pair.now);
    pair.client.set_muted(&cid, true).unwrap();
    requests(&mut pair);
    let track = TrackInfo {
        sid: "TR_mine".into(),
        ..Default::default()
    };
    let published = TrackPublishedResponse {
        cid,
        track: Some(track),
    };
    respond(&mut pair, Response::TrackPublished(published));
    let mute = MuteTrackRequest {
        sid: "TR_mine".into(),
        muted: true,
    };
    assert_eq!(requests(&mut pair), [Request::Mute(mute)]);
}

#[test]
fn a_track_whose_announcement_was_lost_with_its_connection_is_announced_again_or_found() {
    for arrived in [false, true] {
        let mut pair = joined();
        let microphone = Publish::microphone();
        let (name, source) = (microphone.name.clone(), microphone.source.into());
        let cid = pair.client.publish(microphone, pair.now);
        requests(&mut pair);
        pair.client.signal_lost(pair.now);
        join_request(&mut pair);
        respond(&mut pair, Response::Reconnect(ReconnectResponse::default()));
        let announced = |requests: &[Request]| {
            let of =
                |request: &&Request| matches!(request, Request::AddTrack(add) if add.cid == cid);
            requests.iter().filter(of).count()
        };
        assert_eq!(announced(&requests(&mut pair)), 0, "the server may have it");
        let track = TrackInfo {
            sid: "TR_mine".into(),
            name,
            source,
            ..Default::default()
        };
        let me = ParticipantInfo {
            sid: "PA_me".into(),
            tracks: Vec::from_iter(arrived.then_some(track)),
            ..Default::default()
        };
        let update = ParticipantUpdate {
            participants: vec![me],
        };
        respond(&mut pair, Response::Update(update));
        assert_eq!(announced(&requests(&mut pair)), usize::from(!arrived));
        let known = pair.client.stats().published[0].track;
        assert_eq!(known.is_some(), arrived);
    }
}

#[test]
fn an_unpublished_track_is_offered_inactive() {
    let (mut pair, cid) = publishing(Publish::microphone());
    requests(&mut pair);
    pair.client.unpublish(&cid, pair.now).unwrap();
    let offer = offers(&requests(&mut pair)).remove(0);
    assert!(offer.sdp.contains("a=inactive") && !offer.sdp.contains(&cid));
    assert!(
        pair.client
            .write_frame(&cid, None, &[1], 0, None, pair.now)
            .is_err()
    );
}

#[test]
fn wishes_become_requests() {
    let mut pair = joined();
    requests(&mut pair);
    let track = "TR_VCother".parse().unwrap();
    pair.client.set_subscribed(&[track], false);
    pair.client.set_track_setting(
        track,
        TrackSetting {
            layer: Layer::Low,
            ..Default::default()
        },
    );
    let sent = requests(&mut pair);
    assert!(
        matches!(&sent[0], Request::Subscription(s) if s.track_sids == ["TR_VCother"] && !s.subscribe)
    );
    assert!(matches!(&sent[1], Request::TrackSetting(s) if s.quality == 0 && !s.disabled));
}

#[test]
fn data_packets_are_numbered_and_delivered() {
    let mut pair = joined();
    events(&mut pair);
    let packet = |text: &str| DataPacket {
        value: Some(data_packet::Value::User(UserPacket {
            payload: text.into(),
            ..Default::default()
        })),
        ..Default::default()
    };
    for text in ["one", "two"] {
        pair.client
            .send_data(DataChannel::Reliable, packet(text), pair.now)
            .unwrap();
    }
    pair.client.send_data_track(b"opaque", pair.now).unwrap();
    pair.server
        .send_data("_lossy", &packet("back").encode_to_vec(), pair.now);
    pair.run(Duration::from_millis(200));
    let reliable = pair
        .server
        .data
        .iter()
        .filter(|(label, _)| label == "_reliable");
    let numbers: Vec<_> = reliable
        .map(|(_, data)| DataPacket::decode(data.as_slice()).unwrap().sequence)
        .collect();
    assert_eq!(numbers, [1, 2]);
    assert!(
        pair.server
            .data
            .contains(&("_data_track".into(), b"opaque".to_vec()))
    );
    let received = Event::Data {
        channel: DataChannel::Lossy,
        packet: Box::new(packet("back")),
    };
    assert!(events(&mut pair).contains(&received));
}

#[test]
fn people_come_change_and_go() {
    let mut pair = joined();
    events(&mut pair);
    let update = |sid: &str, version, name: &str, state: participant_info::State| {
        let info = ParticipantInfo {
            sid: sid.into(),
            version,
            name: name.into(),
            state: state.into(),
            ..Default::default()
        };
        Response::Update(ParticipantUpdate {
            participants: vec![info],
        })
    };
    use participant_info::State::{Active, Disconnected};
    respond(&mut pair, update("PA_new", 1, "new", Active));
    respond(&mut pair, update("PA_other", 4, "older news", Active));
    respond(&mut pair, update("PA_other", 6, "newer news", Active));
    let names: Vec<_> = pair
        .client
        .others()
        .iter()
        .map(|other| other.name.as_str())
        .collect();
    assert_eq!(names, ["newer news", "new"]);
    respond(&mut pair, update("PA_other", 0, "", Disconnected));
    assert_eq!(pair.client.others().len(), 1);
    assert_eq!(events(&mut pair).len(), 3);
}

#[test]
fn a_silent_server_is_noticed_and_the_session_resumed() {
    let (mut pair, cid) = publishing(Publish::microphone());
    for _ in 0..10 {
        pair.run(Duration::from_secs(5));
        let pings = requests(&mut pair);
        assert!(
            pings
                .iter()
                .any(|request| matches!(request, Request::PingReq(_)))
        );
        respond(&mut pair, Response::PongResp(Pong::default()));
    }
    assert!(!events(&mut pair).contains(&Event::Reconnecting(Reconnect::Resume)));
    pair.run(Duration::from_secs(21));
    assert!(events(&mut pair).contains(&Event::Reconnecting(Reconnect::Resume)));
    let request = join_request(&mut pair);
    assert!(
        request.reconnect
            && request.participant_sid == "PA_me"
            && request.publisher_offer.is_none()
    );
    pair.client.set_muted(&cid, true).unwrap();
    assert_eq!(requests(&mut pair), [], "nothing may overtake the resume");
    respond(&mut pair, Response::Reconnect(ReconnectResponse::default()));
    let sent = requests(&mut pair);
    let Request::SyncState(state) = &sent[0] else {
        panic!("sync_state comes first")
    };
    assert_eq!(state.publish_tracks[0].cid, cid);
    assert_eq!(state.data_channels.len(), 3);
    assert!(state.answer.is_some());
    let offer = offers(&sent).remove(0);
    let position = |wanted: fn(&Request) -> bool| sent.iter().position(wanted).unwrap();
    assert!(
        position(|r| matches!(r, Request::Offer(_))) < position(|r| matches!(r, Request::Mute(_)))
    );
    assert_ne!(
        ufrag(&state.offer.as_ref().unwrap().sdp),
        ufrag(&offer.sdp),
        "ICE restarts"
    );
    pair.client.set_muted(&cid, false).unwrap();
    answer(&mut pair, &offer, &[("audio", "TR_AMother")]);
    pair.run(Duration::from_secs(1));
    pair.client
        .write_frame(&cid, None, fixtures::OPUS_SILENCE, 0, None, pair.now)
        .unwrap();
    pair.run(Duration::from_millis(50));
    assert_eq!(pair.server.packets.len(), 1);
    assert!(events(&mut pair).contains(&Event::Resumed));
}

fn ufrag(sdp: &str) -> &str {
    sdp.lines()
        .find_map(|line| line.strip_prefix("a=ice-ufrag:"))
        .unwrap()
}

#[test]
fn an_answer_from_before_the_resume_is_dropped() {
    let mut pair = joined();
    requests(&mut pair);
    pair.client.publish(Publish::microphone(), pair.now);
    let stale = offers(&requests(&mut pair)).remove(0);
    pair.client.signal_lost(pair.now);
    respond(&mut pair, Response::Reconnect(ReconnectResponse::default()));
    let fresh = offers(&requests(&mut pair)).remove(0);
    assert!(fresh.id > stale.id && fresh.sdp.contains("microphone-0"));
    let late = SessionDescription {
        id: stale.id,
        sdp: "nonsense".into(),
        ..Default::default()
    };
    respond(&mut pair, Response::Answer(late));
    answer(&mut pair, &fresh, &[]);
}

#[test]
fn a_full_reconnect_publishes_everything_again() {
    let (mut pair, cid) = publishing(Publish::microphone());
    let action = leave_request::Action::Reconnect.into();
    respond(
        &mut pair,
        Response::Leave(LeaveRequest {
            action,
            ..Default::default()
        }),
    );
    assert!(events(&mut pair).contains(&Event::Reconnecting(Reconnect::Full)));
    pair.server = Answerer::new("10.0.0.2:7882", pair.now);
    let request = join_request(&mut pair);
    assert!(!request.reconnect && request.participant_sid.is_empty());
    let offer = request.publisher_offer.unwrap();
    respond(&mut pair, join_response());
    answer(&mut pair, &offer, &[("audio", "TR_AMother")]);
    let sent = requests(&mut pair);
    assert!(
        sent.iter()
            .any(|request| matches!(request, Request::AddTrack(add) if add.cid == cid))
    );
    pair.run(Duration::from_secs(1));
    accept_publication(&mut pair, &cid, &offers(&sent)[0]);
    pair.client
        .write_frame(&cid, None, fixtures::OPUS_SILENCE, 0, None, pair.now)
        .unwrap();
    pair.run(Duration::from_millis(50));
    assert_eq!(pair.server.packets.len(), 1);
}

#[test]
fn being_thrown_out_ends_everything() {
    let mut pair = joined();
    let reason = DisconnectReason::ParticipantRemoved.into();
    respond(
        &mut pair,
        Response::Leave(LeaveRequest {
            reason,
            ..Default::default()
        }),
    );
    assert_eq!(
        events(&mut pair).pop(),
        Some(Event::Left(DisconnectReason::ParticipantRemoved))
    );
    assert!(pair.client.has_left());
    pair.client.signal_lost(pair.now);
    assert_eq!(events(&mut pair), []);
}

#[test]
fn leaving_says_goodbye() {
    let mut pair = joined();
    requests(&mut pair);
    pair.client.leave(pair.now);
    let goodbye = requests(&mut pair);
    assert!(matches!(&goodbye[..], [Request::Leave(_)]));
    assert_eq!(
        events(&mut pair).pop(),
        Some(Event::Left(DisconnectReason::ClientInitiated))
    );
}

#[test]
fn a_server_that_breaks_the_protocol_is_named() {
    let mut pair = participant(Options::default());
    join_request(&mut pair);
    let early = SignalResponse {
        message: Some(Response::Update(ParticipantUpdate::default())),
    };
    assert!(matches!(
        pair.client.handle_signal(early, pair.now),
        Err(client::Error::Protocol(_))
    ));
    respond(&mut pair, join_response());
    let again = SignalResponse {
        message: Some(join_response()),
    };
    assert!(matches!(
        pair.client.handle_signal(again, pair.now),
        Err(client::Error::Protocol(_))
    ));
    let answer = SessionDescription {
        id: 1,
        sdp: "nonsense".into(),
        ..Default::default()
    };
    let broken = SignalResponse {
        message: Some(Response::Answer(answer)),
    };
    assert!(matches!(
        pair.client.handle_signal(broken, pair.now),
        Err(client::Error::Answer(_))
    ));
}

#[test]
fn wishes_are_said_again_after_a_resume() {
    let mut pair = joined();
    requests(&mut pair);
    let more = MediaSectionsRequirement {
        num_audios: 1,
        num_videos: 0,
    };
    respond(&mut pair, Response::MediaSectionsRequirement(more));
    let offer = offers(&requests(&mut pair)).remove(0);
    answer(&mut pair, &offer, &[("audio", "TR_AMother")]);
    let track = "TR_AMother".parse().unwrap();
    let setting = TrackSetting {
        disabled: true,
        ..TrackSetting::default()
    };
    pair.client.set_track_setting(track, setting);
    // It is sent, and perhaps never arrives.
    requests(&mut pair);
    pair.client.signal_lost(pair.now);
    join_request(&mut pair);
    respond(&mut pair, Response::Reconnect(ReconnectResponse::default()));
    let again =
        |request: &&Request| matches!(request, Request::TrackSetting(setting) if setting.disabled);
    assert_eq!(requests(&mut pair).iter().filter(again).count(), 1);
}

#[test]
fn a_restart_of_ice_gives_up_an_offer_that_adds_nothing_and_waits_for_one_that_does() {
    let (mut pair, _) = publishing(Publish::microphone());
    requests(&mut pair);
    pair.client.renegotiate(false, pair.now).unwrap();
    let first = offers(&requests(&mut pair)).remove(0);
    pair.client.renegotiate(true, pair.now).unwrap();
    let second = offers(&requests(&mut pair)).remove(0);
    assert!(second.id > first.id);
    pair.client.publish(Publish::camera(1280, 720), pair.now);
    assert_eq!(offers(&requests(&mut pair)), []);
    pair.client.renegotiate(true, pair.now).unwrap();
    let third = offers(&requests(&mut pair)).remove(0);
    assert!(third.sdp.contains("a=msid:- camera"));
    pair.client.renegotiate(true, pair.now).unwrap();
    assert_eq!(offers(&requests(&mut pair)), []);
}
