//! What a stranger's message costs while it is decoded: memory in proportion to its bytes, whatever is in it.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use protocol::{
    api::{self, Format},
    data_packet,
    livekit::{
        AddTrackRequest, CreateRoomRequest, DataChannelReceiveState, JoinRequest, ListRoomsRequest,
        SendDataRequest, SessionDescription, SignalRequest, SubscriptionPermission, SyncState,
        TrackPermission, TrackPublishedResponse, UpdateParticipantMetadata, UpdateSubscription,
        signal_request::Message as Request,
    },
    prost::Message,
    signal::{
        Frame, FrameError, JoinRequestError, MAX_FRAME_BYTES, decode_join_request, decode_request,
        encode_join_request,
    },
};

struct Counting;

thread_local! {
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system allocator unchanged; only counters of the thread are touched besides.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.with(|live| live.set(live.get() + layout.size() as i64));
        PEAK.with(|peak| peak.set(peak.get().max(LIVE.get())));
        // SAFETY: as for the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.with(|live| live.set(live.get() - layout.size() as i64));
        // SAFETY: as for the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `f` had allocated at the most, bytes.
fn peak<T>(f: impl FnOnce() -> T) -> (T, i64) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = f();
    (result, PEAK.get() - before)
}

fn allowed(bytes: usize) -> i64 {
    16 * bytes as i64 + 8 * 1024 * 1024
}

fn frame(message: Request) -> Frame {
    let request = SignalRequest {
        message: Some(message),
    };
    Frame::Binary(request.encode_to_vec().into())
}

/// A message of `inner` bytes in field `number` of another one.
fn within(number: u32, inner: Vec<u8>) -> Vec<u8> {
    let mut outer = Vec::new();
    prost::encoding::encode_varint(u64::from(number << 3 | 2), &mut outer);
    prost::encoding::encode_varint(inner.len() as u64, &mut outer);
    outer.extend(inner);
    outer
}

#[test]
fn no_frame_costs_more_than_sixteen_times_its_bytes() {
    let mut frames = Vec::new();
    // Each field of each message, empty, as often as it fits; and two levels down.
    for message in 1..=24u32 {
        for field in 1..=12u32 {
            let empty = [(field << 3 | 2) as u8, 0];
            let many = empty.repeat(1_048_000 - 8);
            frames.push(Frame::Binary(within(message, many).into()));
            let deeper = within(message, within(field, empty.repeat(1_000_000)));
            frames.push(Frame::Binary(deeper.into()));
        }
    }
    // What is not whole is decoded up to there.
    let mut cut = within(12, [0x1a, 0].repeat(1_040_000));
    cut.pop();
    frames.push(Frame::Binary(cut.into()));
    for name in ["publishTracks", "dataChannels", "trackSidsDisabled"] {
        let element = if name == "trackSidsDisabled" {
            "\"\""
        } else {
            "{}"
        };
        let elements = vec![element; 600_000].join(",");
        let text = format!("{{\"syncState\":{{\"{name}\":[{elements}]}}}}");
        frames.push(Frame::Text(text));
    }
    for frame in frames {
        let (_, peak) = peak(|| decode_request(&frame));
        let bytes = frame.len();
        let begin = match &frame {
            Frame::Binary(bytes) => format!("{:x?}", &bytes[..12]),
            Frame::Text(text) => text[..40].to_owned(),
        };
        assert!(peak < allowed(bytes), "{peak} bytes for {bytes}: {begin}");
    }
}

#[test]
fn as_many_fields_as_there_may_be_cost_little() {
    let tracks = |n| {
        frame(Request::SyncState(SyncState {
            publish_tracks: vec![TrackPublishedResponse::default(); n],
            ..Default::default()
        }))
    };
    let fits = tracks(4095);
    let (result, peak) = peak(|| decode_request(&fits));
    assert!(result.is_ok() && peak < allowed(fits.len()), "{peak}");
    assert_eq!(
        decode_request(&tracks(4096)),
        Err(FrameError::TooManyFields)
    );
    // Of each kind of small ones, as many as there may be.
    for path in SMALL {
        let [outer @ .., number] = *path else {
            continue;
        };
        let most = 8 * (4096 - outer.len());
        let nest = |n: usize| {
            let many = [(number << 3 | 2) as u8, 0].repeat(n);
            let nested = outer.iter().rev().fold(many, |inner, n| within(*n, inner));
            Frame::Binary(nested.into())
        };
        let fits = nest(most);
        let (result, peak) = peak_of(&fits);
        assert_ne!(result, Err(FrameError::TooManyFields), "{path:?}");
        assert!(peak < allowed(fits.len()), "{path:?}: {peak}");
        assert_eq!(
            decode_request(&nest(most + 1)),
            Err(FrameError::TooManyFields),
            "{path:?}"
        );
    }
}

/// Fields of which there may be many and that are in none of their kind.
const SMALL: &[&[u32]] = &[
    &[1, 4],
    &[2, 4],
    &[6, 1],
    &[6, 3],
    &[7, 1],
    &[11, 2],
    &[12, 1, 4],
    &[12, 2, 1],
    &[12, 2, 3],
    &[12, 5, 4],
    &[12, 6],
    &[12, 7],
    &[12, 9, 1],
    &[21, 1],
];

fn peak_of(frame: &Frame) -> (Result<(), FrameError>, i64) {
    peak(|| decode_request(frame).map(drop))
}

#[test]
fn no_join_request_costs_more_than_sixteen_times_its_bytes() {
    let tracks = |n| {
        encode_join_request(&JoinRequest {
            add_track_requests: vec![AddTrackRequest::default(); n],
            ..Default::default()
        })
    };
    // 512 kB of empty requests, a few hundred bytes when packed.
    let bomb = tracks(262_000);
    assert!(bomb.len() < 1000);
    let (result, peak_bytes) = peak(|| decode_join_request(&bomb));
    assert_eq!(result, Err(JoinRequestError::TooManyFields));
    assert!(peak_bytes < allowed(bomb.len()), "{peak_bytes}");
    let (result, peak_bytes) = peak(|| decode_join_request(&tracks(4096)));
    assert!(result.is_ok() && peak_bytes < allowed(100), "{peak_bytes}");
    assert_eq!(
        decode_join_request(&tracks(4097)),
        Err(JoinRequestError::TooManyFields)
    );
}

#[test]
fn what_honest_clients_send_passes() {
    // A text that reads as a message of tens of thousands of fields.
    let long = |n: usize| "\"".repeat(n);
    let description = |n| SessionDescription {
        sdp: long(n),
        mid_to_track_id: (0..320)
            .map(|mid| (mid.to_string(), "TR_VCabcdefghijkl".to_owned()))
            .collect(),
        ..Default::default()
    };
    let sids = vec!["TR_VCabcdefghijkl".to_owned(); 320];
    let state = SyncState {
        answer: Some(description(1_000_000)),
        offer: Some(description(1_000_000)),
        subscription: Some(UpdateSubscription {
            track_sids: sids.clone(),
            ..Default::default()
        }),
        publish_tracks: vec![TrackPublishedResponse::default(); 5],
        track_sids_disabled: sids,
        ..Default::default()
    };
    let frames = [
        frame(Request::SyncState(state.clone())),
        frame(Request::Offer(description(1_000_000))),
        frame(Request::Answer(description(1_000_000))),
        frame(Request::UpdateMetadata(UpdateParticipantMetadata {
            metadata: long(512 * 1024),
            attributes: [("key".into(), long(64 * 1024))].into(),
            ..Default::default()
        })),
        frame(Request::SubscriptionPermission(SubscriptionPermission {
            track_permissions: (0..800)
                .map(|i| TrackPermission {
                    participant_identity: format!("{i}@example.org"),
                    track_sids: vec!["TR_VCabcdefghijkl".into(); 2],
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        })),
    ];
    for frame in frames {
        assert!(frame.len() <= MAX_FRAME_BYTES);
        let request = decode_request(&frame).expect("an honest frame");
        let text = serde_json::to_string(&request).unwrap();
        if text.len() <= MAX_FRAME_BYTES {
            assert!(decode_request(&Frame::Text(text)).is_ok());
        }
    }
    let join = JoinRequest {
        metadata: long(100_000),
        publisher_offer: Some(description(200_000)),
        sync_state: Some(SyncState {
            answer: Some(description(100_000)),
            offer: Some(description(50_000)),
            ..Default::default()
        }),
        ..Default::default()
    };
    assert!(decode_join_request(&encode_join_request(&join)).is_ok());
}

#[test]
fn as_many_people_and_tracks_as_limits_say_pass() {
    let sid = |i: usize| format!("PA_abcdefghijkl{i}");
    let sids = |n: usize| (0..n).map(|i| format!("TR_VCabcdefghij{i}")).collect();
    let permission = SubscriptionPermission {
        track_permissions: (0..5000)
            .map(|i| TrackPermission {
                participant_identity: format!("{i}@example.org"),
                track_sids: sids(4),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let received = (0..5000).map(|i| DataChannelReceiveState {
        publisher_sid: sid(i),
        last_seq: 1,
    });
    let wishes = UpdateSubscription {
        track_sids: sids(5000),
        ..Default::default()
    };
    let state = SyncState {
        datachannel_receive_states: received.collect(),
        subscription: Some(wishes.clone()),
        publish_tracks: vec![TrackPublishedResponse::default(); 128],
        track_sids_disabled: sids(5000),
        ..Default::default()
    };
    let join = JoinRequest {
        sync_state: Some(state.clone()),
        ..Default::default()
    };
    assert!(decode_join_request(&encode_join_request(&join)).is_ok());
    for request in [
        Request::SubscriptionPermission(permission),
        Request::Subscription(wishes),
        Request::SyncState(state),
    ] {
        let frame = frame(request);
        let (result, peak) = peak(|| decode_request(&frame));
        assert!(result.is_ok() && peak < allowed(frame.len()), "{peak}");
    }
}

#[test]
fn no_call_of_the_api_costs_more_than_sixteen_times_its_bytes() {
    const MAX_BODY: usize = 10 * 1024 * 1024;
    let mut bodies = Vec::new();
    for field in 1..=15u32 {
        let empty = [(field << 3 | 2) as u8, 0].repeat(MAX_BODY / 2 - 16);
        // Of CreateRoom itself, of its egress, and of the egress of its room.
        bodies.push((Format::Protobuf, empty.clone()));
        bodies.push((Format::Protobuf, within(6, empty.clone())));
        bodies.push((Format::Protobuf, within(6, within(1, empty))));
    }
    let json = |before: &str, part: &str, after: &str| {
        let parts = part.repeat((MAX_BODY - 100) / part.len());
        (Format::Json, format!("{before}{parts}{after}").into_bytes())
    };
    bodies.push(json(
        r#"{"egress":{"room":{"segmentOutputs":["#,
        "{},",
        "{}]}}}",
    ));
    bodies.push(json(r#"{"names":["#, r#""","#, r#"""]}"#));
    bodies.push(json(r#"{"names":["#, "null,", "null]}"));
    bodies.push(json(r#"{"names":"#, "[", ""));
    bodies.push(json(r#"{"name":""#, r"\u00e9", r#""}"#));
    bodies.push(json(r#"{"data":""#, "aGk9", r#""}"#));
    bodies.push(json("{", r#""a":1,"#, r#""a":1}"#));
    let data = SendDataRequest {
        data: vec![0x0a; MAX_BODY - 16],
        ..Default::default()
    };
    bodies.push((Format::Protobuf, data.encode_to_vec()));
    for (format, body) in bodies {
        let head: Vec<u8> = body[..16].to_vec();
        let body = bytes::Bytes::from(body);
        let costs = [
            peak(|| api::decode::<CreateRoomRequest>(format, &body, &[], &[]).is_some()).1,
            peak(|| api::decode::<ListRoomsRequest>(format, &body, &[], &[&[1]]).is_some()).1,
            peak(|| {
                api::decode::<SendDataRequest>(format, &body, &[&[2]], &[&[4], &[6]]).is_some()
            })
            .1,
        ];
        for cost in costs {
            assert!(cost < allowed(body.len()), "{format:?} {head:x?}: {cost}");
        }
    }
}

#[test]
fn no_token_of_a_stranger_costs_more_than_sixteen_times_its_bytes() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use protocol::token::{Keys, MAX_TOKEN_BYTES, verify};
    let keys = Keys::new([("key", "secret")]);
    for part in ["0,", "{},", "\"\",", "[0],", "null,"] {
        let length = MAX_TOKEN_BYTES / 4 * 3 - 200;
        let claims = format!(
            r#"{{"iss":"key","a":[{}0]}}"#,
            part.repeat(length / part.len())
        );
        let signed = [r#"{"alg":"HS256"}"#, &claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        let token = format!("{}.{}.AAAA", signed[0], signed[1]);
        let (result, cost) = peak(|| verify(&token, &keys, 0));
        assert!(result.is_err());
        assert!(cost < 2 * token.len() as i64, "{part}: {cost}");
    }
}

#[test]
fn no_data_packet_costs_more_than_sixteen_times_its_bytes() {
    /// As long as one message may be.
    const LONGEST: usize = 256 * 1024;
    let identity = "i".repeat(256);
    // Each field empty as often as it fits, by itself, in each kind of packet, and in what these may have many of.
    for field in 1..=11 {
        let one = within(field, Vec::new());
        let empty = one.repeat(LONGEST / one.len() - 8);
        let mut packets = vec![empty.clone()];
        packets.extend((1..=18).map(|kind| within(kind, empty.clone())));
        for kind in [8, 13] {
            packets.extend((3..=9).map(|part| within(kind, within(part, empty.clone()))));
        }
        for packet in packets {
            let (_, cost) = peak(|| data_packet::stamp(&packet, &identity, "PA_sid").is_ok());
            let allowed = 16 * packet.len() as i64 + 1024 * 1024;
            assert!(cost < allowed, "{field}, {:x?}: {cost}", &packet[..16]);
        }
    }
}
