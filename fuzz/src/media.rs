//! What comes to the media port, and what an offer says.

use std::{
    net::SocketAddr,
    sync::OnceLock,
    time::{Duration, Instant},
};

use aws_lc_rs::hmac;
use protocol::{ParticipantSid, RoomSid, TrackSid};
use sfu::{
    AudioFeatures, Certificate, Command, Config, Datagram, DescriptionCommand, Destination, Event,
    MediaKind, MemberCommand, Negotiator, PeerPermissions, PublishedTrack, SendBatch, Shard,
    SubscriptionCommand, TrackCommand, TrackSetting, TransportProtocol,
    internals::{
        av1, dependency_descriptor as dd, h264, red,
        relay::Relayed,
        rtcp::{self as rtcp_packets, RtcpPacket},
        rtp::{self as rtp_packets, Extension, ExtensionMap, RtpHeader},
        srtp::{DtlsRole, SrtpProfile, from_keying_material},
        vp8, vp9,
    },
    negotiator::Output,
    sdp::SessionDescription,
};

use crate::parts;

/// The offer of the participant that [`stun_demux`] talks to: short, as it is answered again for every input.
pub const ICE_OFFER: &str = "\
v=0
o=- 8209078003737955739 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=ice-ufrag:KwIU
a=ice-pwd:wrL7vH1YsTiPLJiWZUHRf7Su
a=ice-options:trickle
a=fingerprint:sha-256 0A:F9:98:5D:9E:02:C9:1F:4C:17:7F:B4:E7:C3:6E:45:59:08:3B:21:79:95:82:11:BC:B9:34:D4:70:8D:2B:3B
a=setup:actpass
a=mid:0
a=sctp-port:5000
a=max-message-size:262144
";

/// Forgets what it is given.
struct Discard(Vec<u8>);

impl SendBatch for Discard {
    fn reserve(&mut self, _: Destination, len: usize) -> Option<&mut [u8]> {
        self.0.resize(len, 0);
        Some(&mut self.0)
    }

    fn commit(&mut self, _: usize) {}
}

fn address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 7882))
}

fn config() -> Config {
    static CERTIFICATE: OnceLock<Certificate> = OnceLock::new();
    let certificate = CERTIFICATE.get_or_init(|| {
        let made = dimpl::certificate::generate_self_signed_certificate().expect("a certificate");
        Certificate {
            certificate: made.certificate,
            private_key: made.private_key,
        }
    });
    Config {
        addresses: vec![address()],
        tcp_addresses: Vec::new(),
        index: 0,
        seed: [7; 32],
        certificate: certificate.clone(),
        connect_timeout_ms: 15_000,
        consent_timeout_ms: 30_000,
        max_peers: 4,
        max_tracks_per_peer: 8,
        congestion_control: true,
        max_data_rate: 1_000_000,
        audio_top_n: 1,
    }
}

/// A shard with a publisher and a watcher of its tracks.
struct Meeting {
    negotiator: Negotiator,
    shard: Shard,
    now: Instant,
    out: Discard,
    /// Of the negotiator.
    events: Vec<Event>,
    publisher: ParticipantSid,
    watcher: ParticipantSid,
}

impl Meeting {
    fn new() -> Self {
        let sid = |text: &str| text.parse().expect("a sid");
        let mut meeting = Self {
            negotiator: Negotiator::new(&config(), [7; 32]),
            shard: Shard::new(config()),
            now: Instant::now(),
            out: Discard(Vec::new()),
            events: Vec::new(),
            publisher: sid("PA_publisher00"),
            watcher: sid("PA_watcher0000"),
        };
        let room: RoomSid = "RM_room00000000".parse().expect("a sid");
        for peer in [meeting.publisher, meeting.watcher] {
            meeting.command(MemberCommand::Add {
                room,
                peer,
                identity: peer.as_str().into(),
                principal: peer.as_str().into(),
                permissions: PeerPermissions {
                    can_publish_data: true,
                    hidden: false,
                    agent: false,
                    hears_all: false,
                },
            });
        }
        meeting
    }

    fn command(&mut self, command: impl Into<Command>) {
        self.negotiator.handle_command(command);
        while let Some(output) = self.negotiator.poll() {
            match output {
                Output::Command(command) => {
                    self.shard.handle_command(command, self.now, &mut self.out);
                }
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    fn offer(&mut self, peer: ParticipantSid, sdp: &str) {
        if let Ok(offer) = DescriptionCommand::offer(peer, 1, sdp) {
            self.command(offer);
        }
    }

    fn publish(&mut self, sid: &str, kind: MediaKind, cid: &str) {
        let (peer, watcher) = (self.publisher, self.watcher);
        let sid: TrackSid = sid.parse().expect("a sid");
        self.command(TrackCommand::Publish {
            peer,
            track: PublishedTrack {
                sid,
                kind,
                cids: vec![cid.to_owned()],
                stream: "camera".into(),
                muted: false,
                audio: AudioFeatures::default(),
                mime_type: String::new(),
                backup_of: None,
                layers: Vec::new(),
            },
        });
        self.command(SubscriptionCommand::Subscribe {
            peer: watcher,
            track: sid,
            setting: TrackSetting::default(),
        });
    }

    /// A datagram from a host of this number, so long after the last one.
    fn hear(&mut self, host: u8, payload: &[u8], pause: Duration) {
        self.now += pause;
        let datagram = Datagram {
            remote: SocketAddr::from(([198, 51, 100, host], 40_000)),
            local: address(),
            protocol: TransportProtocol::Udp,
            payload,
        };
        let (now, out) = (self.now, &mut self.out);
        self.shard.handle_timeout(now, out);
        self.shard.handle_datagram(datagram, now, out);
        self.shard.flush(now, out);
    }

    fn answer(&mut self) -> Option<String> {
        let mut answer = None;
        while self.shard.poll_event().is_some() {}
        for event in self.events.drain(..) {
            if let Event::Answer { sdp, .. } = event {
                answer = Some(sdp);
            }
        }
        answer
    }
}

/// An offer, or several behind each other (`---` between them): read, answered, and answered to a watcher too. What is
/// read and written must be readable.
pub fn sdp(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut meeting = Meeting::new();
    let cids = text
        .match_indices("a=msid:")
        .filter_map(|(at, _)| text[at..].lines().next()?.split(' ').nth(1));
    for (index, cid) in cids.take(6).enumerate() {
        let kind = if index % 2 == 0 {
            MediaKind::Audio
        } else {
            MediaKind::Video
        };
        let letter = if index % 2 == 0 { 'A' } else { 'V' };
        meeting.publish(&format!("TR_{letter}M{index:08}"), kind, cid);
    }
    for offer in text.split("\n---\n") {
        if let Ok(parsed) = SessionDescription::parse(offer) {
            let written = parsed.to_string();
            assert!(SessionDescription::parse(&written).is_ok(), "{written}");
        }
        for peer in [meeting.publisher, meeting.watcher] {
            meeting.offer(peer, offer);
            if let Some(answer) = meeting.answer() {
                assert!(SessionDescription::parse(&answer).is_ok(), "{answer}");
            }
        }
        meeting.now += Duration::from_millis(50);
        meeting.shard.handle_timeout(meeting.now, &mut meeting.out);
    }
}

/// STUN checks that [`stun_demux`] takes for the participant's own: from a client that knows its offer and our answer.
pub fn checks() -> Vec<Vec<u8>> {
    let mut meeting = Meeting::new();
    meeting.offer(meeting.publisher, ICE_OFFER);
    let answer = meeting.answer().unwrap_or_default();
    let of = |sdp: &str, name: &str| {
        let line = sdp.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().to_owned()
    };
    let ours = of(&answer, "a=ice-ufrag:");
    let username = format!("{ours}:{}", of(ICE_OFFER, "a=ice-ufrag:"));
    let check = |nominates| stun_check(&username, &of(&answer, "a=ice-pwd:"), nominates);
    vec![check(false), check(true)]
}

/// A binding request (RFC 8489 section 5, RFC 8445 section 7.1).
fn stun_check(username: &str, password: &str, nominates: bool) -> Vec<u8> {
    let mut attributes = Vec::new();
    let mut attribute = |kind: u16, value: &[u8]| {
        attributes.extend_from_slice(&kind.to_be_bytes());
        attributes.extend_from_slice(&(value.len() as u16).to_be_bytes());
        attributes.extend_from_slice(value);
        attributes.resize(attributes.len().next_multiple_of(4), 0);
    };
    attribute(0x0006, username.as_bytes());
    attribute(0x0024, &1_853_824_767u32.to_be_bytes());
    attribute(0x802a, &7u64.to_be_bytes());
    if nominates {
        attribute(0x0025, &[]);
    }
    let head = |len: usize| {
        let mut head = vec![0, 1];
        head.extend_from_slice(&(len as u16).to_be_bytes());
        head.extend_from_slice(&0x2112_a442u32.to_be_bytes());
        head.extend_from_slice(&[9; 12]);
        head
    };
    // The length that is signed includes the signature.
    let mut message = head(attributes.len() + 24);
    message.extend_from_slice(&attributes);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let tag = hmac::sign(&key, &message);
    message.extend_from_slice(&[0, 8, 0, 20]);
    message.extend_from_slice(tag.as_ref());
    message
}

/// Datagrams from two addresses: the first byte of each says from which, and how long after the one before.
pub fn stun_demux(data: &[u8]) {
    let mut meeting = Meeting::new();
    meeting.offer(meeting.publisher, ICE_OFFER);
    for part in parts(data) {
        let Some((&how, payload)) = part.split_first() else {
            continue;
        };
        let pause = Duration::from_millis(u64::from(how >> 1) * 20);
        meeting.hear(how & 1, payload, pause);
        meeting.answer();
    }
    assert_eq!(meeting.shard.stats().panics, 0);
}

/// Datagrams of DTLS from an address that was checked: the first byte of the input says in which role we are, the first of
/// each datagram how long after the one before it came.
pub fn dtls(data: &[u8]) {
    let Some((&role, data)) = data.split_first() else {
        return;
    };
    let offer = match role & 1 {
        0 => ICE_OFFER.to_owned(),
        _ => ICE_OFFER.replace("actpass", "passive"),
    };
    let mut meeting = Meeting::new();
    meeting.offer(meeting.publisher, &offer);
    let checks = checks();
    let datagrams = parts(data).filter_map(|part| part.split_first());
    let known = checks.iter().map(|check| (&0, check.as_slice()));
    for (&pause, payload) in known.chain(datagrams) {
        meeting.hear(0, payload, Duration::from_millis(u64::from(pause) * 20));
        while let Some(event) = meeting.shard.poll_event() {
            let is_connected = matches!(event, Event::Connected { .. });
            assert!(!is_connected, "a handshake without a key");
        }
    }
    assert_eq!(meeting.shard.stats().panics, 0);
}

/// An RTP packet: its header, its extensions, and its payload as each codec's.
pub fn rtp(data: &[u8]) {
    rtp_packets::is_rtcp(data);
    let Ok(header) = RtpHeader::parse(data) else {
        return;
    };
    let mut map = ExtensionMap::default();
    for (index, extension) in Extension::ALL.into_iter().enumerate() {
        map.set(extension, index as u8 + 1);
    }
    for (id, value) in header.extensions(data) {
        assert!(header.extension(data, id).is_some());
        rtp_packets::AudioLevel::parse(value);
        rtp_packets::transport_cc_seq(value);
    }
    for extension in Extension::ALL {
        map.value(extension, &header, data);
    }
    let payload = &data[usize::from(header.header_len)..];
    let _ = header.padding_len(payload);
    codecs(payload);
}

fn codecs(payload: &[u8]) {
    let mut copy = payload.to_vec();
    let ids = sfu::internals::layers::PictureIds {
        picture_id: Some(0x1234),
        tl0_pic_idx: Some(0x56),
        ..Default::default()
    };
    if let Ok(descriptor) = vp8::Descriptor::parse(payload) {
        descriptor.starts_frame();
        descriptor.starts_key_frame(payload);
        descriptor.picture(payload);
        vp8::rewrite(&mut copy, ids);
        assert!(vp8::Descriptor::parse(&copy).is_ok());
    }
    copy.copy_from_slice(payload);
    if let Ok(descriptor) = vp9::Descriptor::parse(payload) {
        descriptor.picture();
        vp9::rewrite(&mut copy, ids);
        assert!(vp9::Descriptor::parse(&copy).is_ok());
    }
    av1::starts_key_frame(payload);
    h264::is_key(payload);
    let _ = red::primary(payload);
}

/// Dependency Descriptors of one stream, one behind the other; the last structure is in force.
pub fn dependency_descriptor(data: &[u8]) {
    let mut known = None;
    for value in parts(data) {
        let Ok(read) = dd::parse(value, known.as_deref()) else {
            continue;
        };
        let mut copy = value.to_vec();
        dd::rewrite(&mut copy, 0x1234);
        let again = dd::parse(&copy, known.as_deref()).expect("what was rewritten is readable");
        assert_eq!(again.picture.ids.frame_number, Some(0x1234));
        if let Some(structure) = read.structure {
            structure.spatial_layers();
            known = Some(structure);
        }
    }
}

/// A packet between shards: what can be read is written so that it is read as the same.
pub fn relayed(data: &[u8]) {
    let Some(packet) = Relayed::parse(data) else {
        return;
    };
    assert_eq!(packet.size().map(usize::from), Some(data.len()));
    let mut written = Vec::new();
    packet.write(&mut written);
    assert_eq!(Relayed::parse(&written), Some(packet));
}

/// A compound RTCP packet, all that it lists included.
pub fn rtcp(data: &[u8]) {
    let mut packets = rtcp_packets::parse(data);
    let mut listed = 0;
    for packet in packets.by_ref() {
        listed += match packet {
            RtcpPacket::SenderReport { reports, .. }
            | RtcpPacket::ReceiverReport { reports, .. } => reports.count(),
            RtcpPacket::Bye(ssrcs) | RtcpPacket::Remb { ssrcs, .. } => ssrcs.count(),
            RtcpPacket::Nack(nack) => nack.seqs().count(),
            RtcpPacket::Pli { .. } => 1,
            RtcpPacket::Fir(entries) => entries.count(),
            RtcpPacket::TransportCc(feedback) => feedback.statuses().count(),
        };
    }
    // A status takes a fourteenth of two bytes at best, by run-length 65,536 for two bytes.
    assert!(listed <= data.len() * 32_768 + 1);
    packets.malformed();
}

/// SRTP and SRTCP with a wrong tag, and with a right one around the same bytes, for both kinds of cipher.
pub fn srtp_open(data: &[u8]) {
    for profile in [SrtpProfile::AeadAes128Gcm, SrtpProfile::AesCm128HmacSha1_80] {
        let material = vec![0x42; profile.keying_material_len()];
        let pair = |role| from_keying_material(profile, &material, role);
        let (Ok((mut sender, _)), Ok((_, mut receiver))) =
            (pair(DtlsRole::Client), pair(DtlsRole::Server))
        else {
            unreachable!("the material has the length asked for")
        };
        let mut out = vec![0; 4096];
        let _ = receiver.open_rtcp(data, &mut out);
        if let Ok(header) = RtpHeader::parse(data) {
            assert!(
                receiver.open_rtp(data, &header, &mut out).is_err(),
                "a forgery is open"
            );
            let header_len = usize::from(header.header_len);
            let mut sealed = data.to_vec();
            sealed.resize(data.len() + profile.rtp_overhead(), 0);
            let index = u64::from(header.seq.0);
            let len = data.len() - header_len;
            if let Ok(total) = sender.seal_rtp(&mut sealed, header_len, len, header.ssrc, index) {
                let opened = receiver.open_rtp(&sealed[..total], &header, &mut out);
                if data.len() <= out.len() {
                    assert_eq!(opened, Ok((len, index)));
                    assert_eq!(out[..len], data[header_len..]);
                    assert!(
                        receiver
                            .open_rtp(&sealed[..total], &header, &mut out)
                            .is_err()
                    );
                }
            }
        }
        let mut sealed = data.to_vec();
        sealed.resize(data.len() + profile.rtcp_overhead(), 0);
        if let Ok(total) = sender.seal_rtcp(&mut sealed, data.len())
            && data.len() <= out.len()
        {
            assert_eq!(
                receiver.open_rtcp(&sealed[..total], &mut out),
                Ok(data.len())
            );
        }
    }
}

/// A packet of a data track: if it has a handle, another one can be written into it, and nothing else changes.
pub fn data_track(data: &[u8]) {
    let mut packet = data.to_vec();
    sfu::data_track::set_handle(&mut packet, sfu::DataTrackHandle::MAX);
    let Some(handle) = sfu::data_track::handle(data) else {
        return;
    };
    assert_eq!(
        sfu::data_track::handle(&packet),
        Some(sfu::DataTrackHandle::MAX)
    );
    sfu::data_track::set_handle(&mut packet, handle);
    assert_eq!(packet, data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu::stats::DropReason;

    #[test]
    fn the_checks_of_the_seeds_open_the_door() {
        let mut meeting = Meeting::new();
        meeting.offer(meeting.publisher, ICE_OFFER);
        for payload in checks() {
            let datagram = Datagram {
                remote: SocketAddr::from(([198, 51, 100, 0], 40_000)),
                local: address(),
                protocol: TransportProtocol::Udp,
                payload: &payload,
            };
            let (now, out) = (meeting.now, &mut meeting.out);
            meeting.shard.handle_datagram(datagram, now, out);
        }
        let record = Datagram {
            remote: SocketAddr::from(([198, 51, 100, 0], 40_000)),
            local: address(),
            protocol: TransportProtocol::Udp,
            payload: &[22, 0xfe, 0xfd],
        };
        let (now, out) = (meeting.now, &mut meeting.out);
        meeting.shard.handle_datagram(record, now, out);
        let stats = meeting.shard.stats();
        assert_eq!(stats.drops(DropReason::Stun), 0);
        assert_eq!(stats.drops(DropReason::NotValidated), 0);
    }
}
