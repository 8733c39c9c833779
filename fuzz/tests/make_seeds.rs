//! Writes the seeds that are made of real messages: `cargo test -p fuzz --test make_seeds -- --ignored`. What fuzzing
//! has added to `seeds/` stays.

use std::{fs, path::Path, time::Duration};

use protocol::{
    livekit::{
        AddTrackRequest, AvailabilityResponse, ConnectionSettings, DataPacket,
        DataTrackFrameEncoding, JobStatus, JobType, JoinRequest, MigrateJobRequest,
        MuteTrackRequest, PublishDataTrackRequest, RegisterWorkerRequest, SendDataRequest,
        SessionDescription, SignalRequest, SimulateScenario, SyncState, TrackSource, TrackType,
        TrickleRequest, UnpublishDataTrackRequest, UpdateDataSubscription, UpdateJobStatus,
        UpdateParticipantMetadata, UpdateSubscription, UpdateTrackSettings, UpdateWorkerStatus,
        UserPacket, WorkerMessage, WorkerPing, data_packet, data_track_frame_encoding,
        signal_request::Message as Ask, simulate_scenario::Scenario, update_data_subscription,
        worker_message::Message as Say,
    },
    prost::Message,
    signal::{Encoding, Frame, encode_join_request, encode_request},
    token::{Grant, Keys, VideoGrant, sign},
};
use sfu::internals::{
    relay::{Handle, Kind, Received, Relayed},
    rtcp::{ReportBlock, RtcpWriter, SenderInfo},
    rtp::{AudioLevel, EgressHeader, RtpTime, SeqNo},
};

fn write(target: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(target);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
}

#[test]
#[ignore = "writes files"]
fn write_seeds() {
    offers();
    stun();
    rtp();
    rtcp();
    data();
    conversation();
    admission();
    api();
    workers();
    handshakes();
    between_shards();
}

fn offers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sfu/tests/sdp");
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    for name in [
        "native-join.sdp",
        "firefox-publish.sdp",
        "chromium-publish.sdp",
    ] {
        write("sdp", name, read(name).as_bytes());
    }
    let several = [
        "chromium-publish.sdp",
        "chromium-unpublish.sdp",
        "chromium-restart.sdp",
    ];
    write(
        "sdp",
        "several.sdp",
        several.map(read).join("\n---\n").as_bytes(),
    );
}

fn stun() {
    let checks = fuzz::checks();
    let from = |how: u8, bytes: &[u8]| [&[how], bytes].concat();
    let hello = [
        22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0,
    ];
    let rtp = [
        0x80, 111, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
        16,
    ];
    let meetings: [&[Vec<u8>]; 3] = [
        &[from(0, &checks[0])],
        &[
            from(0, &checks[0]),
            from(2, &checks[1]),
            from(0, &hello),
            from(0, &rtp),
        ],
        &[
            from(0, &checks[1]),
            from(1, &checks[1]),
            from(1, &hello),
            from(254, &checks[1]),
        ],
    ];
    for (index, datagrams) in meetings.into_iter().enumerate() {
        let bytes = fuzz::join(datagrams.iter().map(Vec::as_slice));
        write("stun_demux", &format!("checks-{index}"), &bytes);
    }
}

fn rtp() {
    const VP8: [u8; 16] = [
        0x90, 0xE0, 0xA2, 0x34, 0x56, 0x20, 0x50, 0x01, 0x02, 0x9D, 0x01, 0x2A, 0x00, 0x45, 0xD0,
        0x02,
    ];
    const VP9: [u8; 31] = [
        0xAA, 0x92, 0x34, 0x10, 0x07, 0x58, 0x01, 0x40, 0x00, 0xB4, 0x02, 0x80, 0x01, 0x68, 0x05,
        0x00, 0x02, 0xD0, 0x04, 0x14, 0x04, 0x54, 0x01, 0x34, 0x02, 0x54, 0x01, 0xEE, 0xEE, 0xEE,
        0xEE,
    ];
    const STAP_A: [u8; 12] = [0x78, 0, 4, 0x67, 1, 2, 3, 0, 2, 0x65, 9, 9];
    const RED: [u8; 9] = [0xEF, 0, 0, 2, 0x6F, 1, 2, 3, 4];
    let long = [7; 20];
    let extensions: [&[(u8, &[u8])]; 2] = [
        &[(1, b"0"), (2, b"q"), (4, &[0, 1]), (6, &[0x9b])],
        &[(1, b"0"), (7, &long)],
    ];
    for (name, payload) in [
        ("vp8", &VP8[..]),
        ("vp9", &VP9),
        ("h264", &STAP_A),
        ("red", &RED),
    ] {
        for (index, extensions) in extensions.iter().enumerate() {
            let mut packet = [0; 200];
            let header = EgressHeader {
                seq: SeqNo(65_535),
                ssrc: 7,
                payload_type: 96,
                marker: true,
                ..EgressHeader::default()
            };
            let len = header.write(&mut packet, extensions).unwrap();
            packet[len..len + payload.len()].copy_from_slice(payload);
            let packet = &packet[..len + payload.len()];
            write("rtp", &format!("{name}-{index}"), packet);
            write("srtp_open", &format!("{name}-{index}"), packet);
        }
    }
    let descriptor = [0xC0, 0x00, 0x01];
    write(
        "dependency_descriptor",
        "mandatory",
        &fuzz::join([&descriptor[..]]),
    );
}

fn rtcp() {
    let mut out = [0; 500];
    let mut writer = RtcpWriter::new(&mut out);
    let block = ReportBlock {
        ssrc: 7,
        ..ReportBlock::default()
    };
    writer
        .sender_report(1, &SenderInfo::default(), &[block])
        .unwrap();
    writer.receiver_report(1, &[block, block]).unwrap();
    writer.sdes_cname(1, "name").unwrap();
    writer
        .nack(1, 7, &[SeqNo(65_534), SeqNo(0), SeqNo(100)])
        .unwrap();
    writer.pli(1, 7).unwrap();
    writer.fir(1, 7, 3).unwrap();
    writer.remb(1, 1_000_000, &[7, 8]).unwrap();
    writer.bye(1).unwrap();
    let len = writer.len();
    write("rtcp", "one-of-each", &out[..len]);
    write("srtp_open", "rtcp", &out[..len]);
    // Transport-wide feedback: four packets, a run of two, a vector, three deltas.
    let feedback = [
        0x8F, 205, 0, 6, 0, 0, 0, 1, 0, 0, 0, 7, 0, 10, 0, 4, 0, 0, 1, 9, 0x20, 2, 0xD1, 0, 4, 8,
        0, 9,
    ];
    write("rtcp", "transport-cc", &feedback);
}

fn data() {
    let user = UserPacket {
        payload: b"hello".to_vec(),
        topic: Some("lk.chat".into()),
        ..Default::default()
    };
    let packet = DataPacket {
        value: Some(data_packet::Value::User(user)),
        participant_identity: "somebody else".into(),
        destination_identities: vec!["identity".into(), "other".into()],
        sequence: 3,
        ..Default::default()
    };
    write("data_packet", "chat", &packet.encode_to_vec());
    // Version 0, a whole frame; handle, sequence and frame number, timestamp.
    let mut header = vec![0x18, 0, 0, 1, 0, 7, 0, 3, 1, 2, 3, 4];
    write("data_track", "frame", &[&header[..], b"payload"].concat());
    // With extensions: encrypted under a key, with a time of the sender.
    header[0] |= 0x04;
    let encrypted = [1, 13, 5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    let at = [2, 8, 0, 0, 1, 0x9a, 1, 2, 3, 4];
    header.extend([0, 6]);
    header.extend(encrypted);
    header.extend(at);
    header.push(0);
    write(
        "data_track",
        "extensions",
        &[&header[..], b"payload"].concat(),
    );
}

fn asked() -> Vec<Ask> {
    let add = AddTrackRequest {
        cid: "camera".into(),
        name: "camera".into(),
        r#type: TrackType::Video.into(),
        source: TrackSource::Camera.into(),
        ..Default::default()
    };
    let sid = "TR_VCAAAAAAAAAA".to_owned();
    vec![
        Ask::AddTrack(add),
        Ask::Offer(SessionDescription {
            r#type: "offer".into(),
            sdp: "v=0".into(),
            id: 1,
            ..Default::default()
        }),
        Ask::Trickle(TrickleRequest {
            candidate_init: r#"{"candidate":"candidate:1 1 udp 1 192.0.2.1 1 typ host"}"#.into(),
            ..Default::default()
        }),
        Ask::Mute(MuteTrackRequest {
            sid: sid.clone(),
            muted: true,
        }),
        Ask::Subscription(UpdateSubscription {
            track_sids: vec![sid.clone()],
            subscribe: true,
            ..Default::default()
        }),
        Ask::TrackSetting(UpdateTrackSettings {
            track_sids: vec![sid],
            width: 320,
            ..Default::default()
        }),
        Ask::UpdateMetadata(UpdateParticipantMetadata {
            metadata: "m".into(),
            name: "n".into(),
            request_id: 1,
            ..Default::default()
        }),
        Ask::PublishDataTrackRequest(PublishDataTrackRequest {
            pub_handle: 1,
            name: "position".into(),
            frame_encoding: Some(DataTrackFrameEncoding {
                value: Some(data_track_frame_encoding::Value::WellKnown(7)),
            }),
            ..Default::default()
        }),
        Ask::UpdateDataSubscription(UpdateDataSubscription {
            updates: vec![update_data_subscription::Update {
                track_sid: "DTR_AAAAAAAAAAAA".into(),
                subscribe: true,
                options: None,
            }],
        }),
        Ask::UnpublishDataTrackRequest(UnpublishDataTrackRequest { pub_handle: 1 }),
        Ask::SyncState(SyncState::default()),
        Ask::Simulate(SimulateScenario {
            scenario: Some(Scenario::SpeakerUpdate(3)),
        }),
        Ask::Leave(Default::default()),
    ]
}

fn conversation() {
    for (kind, encoding) in [(0, Encoding::Protobuf), (1, Encoding::Json)] {
        let frames = asked().into_iter().map(|message| {
            let request = SignalRequest {
                message: Some(message),
            };
            match encode_request(&request, encoding) {
                Frame::Binary(bytes) => bytes.to_vec(),
                Frame::Text(text) => text.into_bytes(),
            }
        });
        let frames: Vec<_> = frames.collect();
        let mut seed = vec![kind];
        seed.extend(fuzz::join(frames.iter().map(Vec::as_slice)));
        write("signal_request", &format!("one-of-each-{kind}"), &seed);
    }
}

fn admission() {
    let grant = Grant {
        api_key: "key".into(),
        identity: "identity".into(),
        video: Some(VideoGrant {
            room_join: true,
            room: "room".into(),
            ..VideoGrant::default()
        }),
        ..Grant::default()
    };
    let keys = Keys::new([("key", "secret")]);
    let token = sign(&grant, &keys, 1_800_000_000, Some(Duration::from_secs(600))).unwrap();
    write("token", "signed", token.as_bytes());
    let claims = br#"{"iss":"key","sub":"identity","exp":1800000600,"nbf":1799999999.5,"video":{"roomJoin":true,"room":"room"}}"#;
    write("token", "claims", claims);
    let request = JoinRequest {
        connection_settings: Some(ConnectionSettings {
            auto_subscribe: true,
            ..Default::default()
        }),
        metadata: "metadata".into(),
        ..Default::default()
    };
    write(
        "join_request",
        "parameter",
        encode_join_request(&request).as_bytes(),
    );
    write("join_request", "request", &request.encode_to_vec());
}

fn api() {
    let json = br#"{"name":"room","emptyTimeout":64.0,"metadata":null,"tags":{"a":"b"},"agents":[{"agentName":"echo"},null],"egress":{"tracks":{"filepath":"f"}}}"#;
    write("api_request", "create-room.json", json);
    let json = br#"{"room":"room","identity":"ada","permission":{"canPublish":true,"can_publish_sources":["CAMERA",2]},"attributes":{"a":null}}"#;
    write("api_request", "update-participant.json", json);
    let request = SendDataRequest {
        room: "room".into(),
        data: b"hello".to_vec(),
        destination_identities: vec!["ada".into()],
        topic: Some("chat".into()),
        ..Default::default()
    };
    write("api_request", "send-data", &request.encode_to_vec());
}

fn workers() {
    let register = |agent_name: &str, kind: JobType| {
        Say::Register(RegisterWorkerRequest {
            r#type: kind.into(),
            agent_name: agent_name.into(),
            version: "1".into(),
            ping_interval: 10,
            ..Default::default()
        })
    };
    // The first job of this seed.
    let job_id = "AJ_AAAAAAAAAAAA".to_owned();
    let available = |available| {
        Say::Availability(AvailabilityResponse {
            job_id: job_id.clone(),
            available,
            participant_identity: "agent".into(),
            ..Default::default()
        })
    };
    let status = |status: JobStatus| {
        Say::UpdateJob(UpdateJobStatus {
            job_id: job_id.clone(),
            status: status.into(),
            error: String::new(),
        })
    };
    let load = UpdateWorkerStatus {
        load: 0.5,
        job_count: 1,
        ..Default::default()
    };
    // How it is written is bit 1, whose it is bit 0; from 16 on a tenth of a second passes, below that something happens.
    let says = [
        (16, register("", JobType::JtRoom)),
        (19, register("echo", JobType::JtPublisher)),
        (16, available(false)),
        (17, available(true)),
        (19, status(JobStatus::JsRunning)),
        (16, Say::UpdateWorker(load)),
        (16, Say::Ping(WorkerPing { timestamp: 7 })),
        (
            12,
            Say::MigrateJob(MigrateJobRequest {
                job_ids: vec![job_id.clone()],
            }),
        ),
        (19, status(JobStatus::JsSuccess)),
        (4, status(JobStatus::JsFailed)),
        (10, register("echo", JobType::JtParticipant)),
        (0, available(true)),
    ];
    let frames = says.map(|(how, message)| {
        let message = WorkerMessage {
            message: Some(message),
        };
        let bytes = match how & 2 {
            0 => message.encode_to_vec(),
            _ => serde_json::to_vec(&message).unwrap(),
        };
        [&[how], bytes.as_slice()].concat()
    });
    let frames = fuzz::join(frames.iter().map(Vec::as_slice));
    write("worker_message", "two-workers", &frames);
}

/// The first flights of both roles, as far as they can be written without a key.
fn handshakes() {
    let record = |kind: u8, body: &[u8]| {
        let mut record = vec![kind, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0];
        record.extend((body.len() as u16).to_be_bytes());
        record.extend(body);
        record
    };
    let message = |kind: u8, body: &[u8]| {
        let len = (body.len() as u32).to_be_bytes();
        let mut message = vec![kind, len[1], len[2], len[3], 0, 0, 0, 0, 0];
        message.extend(&len[1..]);
        message.extend(body);
        message
    };
    // Version, random, no session, (no cookie,) one suite, no compression, use_srtp.
    let extensions = [0, 9, 0, 14, 0, 5, 0, 2, 0, 7, 0];
    let random = [7; 32];
    let client = [
        &[0xfe, 0xfd][..],
        &random,
        &[0, 0, 0, 2, 0xc0, 0x2b, 1, 0],
        &extensions,
    ]
    .concat();
    let server = [&[0xfe, 0xfd][..], &random, &[0, 0xc0, 0x2b, 0], &extensions].concat();
    let retry = message(3, &[0xfe, 0xff, 4, 1, 2, 3, 4]);
    let flights: [(u8, [Vec<u8>; 3]); 2] = [
        (
            0,
            [
                record(22, &message(1, &client)),
                record(20, &[1]),
                record(21, &[2, 40]),
            ],
        ),
        (
            1,
            [
                record(22, &retry),
                record(22, &message(2, &server)),
                record(22, &message(14, &[])),
            ],
        ),
    ];
    for (role, flight) in flights {
        let timed = flight.map(|datagram| [&[3], datagram.as_slice()].concat());
        let mut seed = vec![role];
        seed.extend(fuzz::join(timed.iter().map(Vec::as_slice)));
        write("dtls", &format!("flight-{role}"), &seed);
    }
}

fn between_shards() {
    let packet = Received {
        ssrc: 0x0102_0304,
        index: 1 << 40 | 5,
        time: RtpTime(0xffff_fff0),
        payload_type: 111,
        marker: true,
        payload: b"sound",
        dependencies: &[7, 8, 9],
        voice: AudioLevel::parse(&[0x80 | 40]),
    };
    let sid = "TR_VCabcdefghijkl";
    for (kind, name) in [
        (Kind::Media, "media"),
        (Kind::SenderReport, "sender-report"),
        (Kind::Data, "data"),
    ] {
        let mut bytes = Vec::new();
        Relayed {
            handle: Handle::of(sid),
            kind,
            layer: 2,
            packet,
        }
        .write(&mut bytes);
        write("relayed", name, &bytes);
    }
}
