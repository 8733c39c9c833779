//! A participant with valid credentials and bad manners: it speaks ICE, DTLS and SRTP by hand, so that a test can send
//! what no client library would.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use aws_lc_rs::{digest, hmac};
use dimpl::{Dtls, DtlsCertificate, Output};
use is::stun::{StunMessage, TransId};
use protocol::{ParticipantSid, TrackSid};
use rand::{SeedableRng, rngs::StdRng};
use sfu::{
    AudioFeatures, DescriptionCommand, Event, MediaKind, MemberCommand, PeerPermissions,
    PublishedTrack, SubscriptionCommand, TrackCommand, TrackSetting,
    internals::{
        rtcp::RtcpWriter,
        rtp::{EgressHeader, RtpHeader, RtpTime, SeqNo, is_rtcp},
        srtp::{
            DtlsRole, MAX_RTCP_OVERHEAD, MAX_RTP_OVERHEAD, SrtpError, SrtpProfile, SrtpReceiver,
            SrtpSender, from_keying_material,
        },
    },
};

use crate::rig::Rig;

/// Extension ids of its offers.
pub const LEVEL: u8 = 1;
pub const MID: u8 = 2;
pub const RID: u8 = 3;
pub const TRANSPORT_CC: u8 = 4;

const UFRAG: &str = "attk";
const PASSWORD: &str = "attackersattackersattack";

/// A section of its offer.
pub struct Section {
    pub mid: &'static str,
    pub kind: MediaKind,
    /// The track it sends there, by the client's id; else it receives.
    pub cid: Option<&'static str>,
    /// Simulcast layers that it sends.
    pub rids: &'static [&'static str],
}

/// Its microphone.
pub const VOICE: Section = Section {
    mid: "0",
    kind: MediaKind::Audio,
    cid: Some("voice"),
    rids: &[],
};

/// Its camera, in one layer.
pub const PICTURE: Section = Section {
    mid: "1",
    kind: MediaKind::Video,
    cid: Some("picture"),
    rids: &[],
};

/// Where it hears somebody.
pub const EAR: Section = Section {
    mid: "2",
    kind: MediaKind::Audio,
    cid: None,
    rids: &[],
};

/// Where it sees somebody.
pub const EYE: Section = Section {
    mid: "3",
    kind: MediaKind::Video,
    cid: None,
    rids: &[],
};

pub struct Attacker {
    pub sid: ParticipantSid,
    pub address: SocketAddr,
    pub dtls: Dtls,
    pub connected: bool,
    /// What was negotiated.
    pub profile: Option<SrtpProfile>,
    /// SRTP packets it opened: SSRC, index and the datagram.
    pub received: Vec<(u32, u64, Vec<u8>)>,
    /// SRTP packets it could not open.
    pub refused: Vec<SrtpError>,
    /// Datagrams it sent.
    pub sent: Vec<Vec<u8>>,
    certificate: DtlsCertificate,
    server: Option<(String, String)>,
    srtp: Option<(SrtpSender, SrtpReceiver)>,
    offers: u32,
    /// It is the server of DTLS.
    serves: bool,
}

pub fn certificate() -> DtlsCertificate {
    dimpl::certificate::generate_self_signed_certificate().unwrap()
}

/// The first flight of a DTLS client.
pub fn client_hello(rig: &Rig) -> Vec<u8> {
    let mut dtls = Dtls::new_auto(Default::default(), certificate(), rig.now);
    dtls.set_active(true);
    dtls.handle_timeout(rig.now).unwrap();
    let mut buffer = [0; 4096];
    match dtls.poll_output(&mut buffer) {
        Output::Packet(hello) => hello.to_vec(),
        other => panic!("{other:?}"),
    }
}

/// `a=fingerprint` of a certificate.
pub fn fingerprint(certificate: &DtlsCertificate) -> String {
    let digest = digest::digest(&digest::SHA256, &certificate.certificate);
    let bytes: Vec<_> = digest.as_ref().iter().map(|b| format!("{b:02X}")).collect();
    format!("sha-256 {}", bytes.join(":"))
}

pub fn sha1_hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let mut context = hmac::Context::with_key(&key);
    parts.iter().for_each(|part| context.update(part));
    context.sign().as_ref().try_into().unwrap()
}

impl Attacker {
    /// In the room, with an offer of these sections; not connected yet.
    pub fn join(rig: &mut Rig, number: u8, sections: &[Section]) -> Self {
        Self::join_as(rig, number, sections, |offer| offer)
    }

    /// With an offer that `change` has changed.
    pub fn join_as(
        rig: &mut Rig,
        number: u8,
        sections: &[Section],
        change: impl FnOnce(String) -> String,
    ) -> Self {
        let sid = ParticipantSid::random(&mut StdRng::from_seed([number; 32]));
        let address: SocketAddr = format!("203.0.113.{number}:4000").parse().unwrap();
        let certificate = certificate();
        let mut dtls = Dtls::new_auto(
            Arc::new(dimpl::Config::default()),
            certificate.clone(),
            rig.now,
        );
        dtls.set_active(true);
        dtls.handle_timeout(rig.now).unwrap();
        rig.command(MemberCommand::Add {
            room: rig.room,
            peer: sid,
            identity: format!("attacker-{number}").into(),
            principal: rig.principal(format!("attacker-{number}")),
            permissions: PeerPermissions {
                can_publish_data: true,
                hidden: false,
                agent: false,
                hears_all: false,
            },
        });
        rig.strangers.insert(address, Vec::new());
        let mut attacker = Self {
            sid,
            address,
            dtls,
            connected: false,
            profile: None,
            received: Vec::new(),
            refused: Vec::new(),
            sent: Vec::new(),
            certificate,
            server: None,
            srtp: None,
            offers: 0,
            serves: false,
        };
        attacker.offer(rig, sections, change);
        attacker
    }

    /// Offers; whether the offer was answered.
    pub fn offer(
        &mut self,
        rig: &mut Rig,
        sections: &[Section],
        change: impl FnOnce(String) -> String,
    ) -> bool {
        self.offers += 1;
        let sdp = change(self.sdp(sections));
        let (peer, id) = (self.sid, self.offers);
        match DescriptionCommand::offer(peer, id, &sdp) {
            Ok(offer) => rig.command(offer),
            Err(_) => return false,
        }
        let answer = rig.events.iter().rev().find_map(|event| match event {
            Event::Answer {
                peer, sdp, id: of, ..
            } if *peer == self.sid && *of == id => Some(sdp.clone()),
            _ => None,
        });
        if let Some(answer) = &answer {
            let value = |name: &str| {
                let line = answer.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap().trim().to_owned()
            };
            self.server = Some((value("a=ice-ufrag:"), value("a=ice-pwd:")));
        }
        answer.is_some()
    }

    fn sdp(&self, sections: &[Section]) -> String {
        let mids: Vec<_> = sections.iter().map(|section| section.mid).collect();
        let mut text = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\n",
            mids.join(" ")
        );
        let fingerprint = fingerprint(&self.certificate);
        for section in sections {
            let (kind, formats, codecs) = match section.kind {
                MediaKind::Audio => (
                    "audio",
                    "111",
                    "a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=rtcp-fb:111 nack\r\n",
                ),
                MediaKind::Video => (
                    "video",
                    "96 97",
                    "a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 nack\r\n\
                     a=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 ccm fir\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n",
                ),
            };
            let direction = if section.cid.is_some() {
                "sendonly"
            } else {
                "recvonly"
            };
            text += &format!(
                "m={kind} 9 UDP/TLS/RTP/SAVPF {formats}\r\nc=IN IP4 0.0.0.0\r\na=mid:{}\r\na=ice-ufrag:{UFRAG}\r\n\
                 a=ice-pwd:{PASSWORD}\r\na=fingerprint:{fingerprint}\r\na=setup:actpass\r\na=rtcp-mux\r\n\
                 a=rtcp-rsize\r\na={direction}\r\n{codecs}\
                 a=extmap:{LEVEL} urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
                 a=extmap:{MID} urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
                 a=extmap:{RID} urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n\
                 a=extmap:{TRANSPORT_CC} http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n",
                section.mid
            );
            if let Some(cid) = section.cid {
                text += &format!("a=msid:- {cid}\r\n");
            }
            for rid in section.rids {
                text += &format!("a=rid:{rid} send\r\n");
            }
            if !section.rids.is_empty() {
                text += &format!("a=simulcast:send {}\r\n", section.rids.join(";"));
            }
        }
        text
    }

    /// Announces a track, before or after the offer with its `cid`.
    pub fn publish(&self, rig: &mut Rig, kind: MediaKind, cid: &str) -> TrackSid {
        let seed = cid.bytes().fold(0u8, u8::wrapping_add);
        let sid = TrackSid::random("", &mut StdRng::from_seed([seed; 32]));
        let track = PublishedTrack {
            sid,
            kind,
            cids: vec![cid.to_owned()],
            stream: "camera".into(),
            muted: false,
            audio: AudioFeatures::default(),
            mime_type: String::new(),
            backup_of: None,
            layers: Vec::new(),
        };
        let peer = self.sid;
        rig.command(TrackCommand::Publish { peer, track });
        sid
    }

    pub fn subscribe(&self, rig: &mut Rig, track: TrackSid) {
        rig.command(SubscriptionCommand::Subscribe {
            peer: self.sid,
            track,
            setting: TrackSetting::default(),
        });
    }

    /// The next handshake it waits for, as the server of DTLS.
    pub fn serve(&mut self, rig: &Rig) {
        let config = dimpl::Config::builder().use_server_cookie(false).build();
        let config = Arc::new(config.unwrap());
        self.dtls = Dtls::new_auto(config, self.certificate.clone(), rig.now);
        self.dtls.handle_timeout(rig.now).unwrap();
        self.connected = false;
        self.serves = true;
    }

    /// A STUN check, signed with `password` (`None`: with the right one).
    pub fn check(&self, use_candidate: bool, password: Option<&str>) -> Vec<u8> {
        self.signed_check(UFRAG, use_candidate, password)
    }

    /// A check of somebody who restarted ICE with this name.
    pub fn check_as(&self, name: &str) -> Vec<u8> {
        self.signed_check(name, true, None)
    }

    fn signed_check(&self, name: &str, use_candidate: bool, password: Option<&str>) -> Vec<u8> {
        let (ufrag, right) = self.server.as_ref().expect("an answer");
        let username = format!("{ufrag}:{name}");
        let message =
            StunMessage::binding_request(&username, TransId::new(), true, 7, 1, use_candidate);
        let mut buffer = [0; 200];
        let password = password.unwrap_or(right);
        let len = message
            .to_bytes(Some(password.as_bytes()), &mut buffer, sha1_hmac)
            .unwrap();
        buffer[..len].to_vec()
    }

    /// Sends from its own address.
    pub fn send(&mut self, rig: &mut Rig, bytes: &[u8]) {
        self.sent.push(bytes.to_vec());
        rig.inject(self.address, bytes);
    }

    /// ICE and DTLS, to their end.
    pub fn connect(&mut self, rig: &mut Rig) {
        let check = self.check(true, None);
        self.send(rig, &check);
        for _ in 0..40 {
            self.step(rig);
        }
    }

    /// Connects, and expects that to work.
    pub fn connected(mut self, rig: &mut Rig) -> Self {
        self.connect(rig);
        assert!(self.connected && self.srtp.is_some());
        self
    }

    /// A while in which it reads what comes, and answers DTLS.
    pub fn step(&mut self, rig: &mut Rig) {
        let _ = self.dtls.handle_timeout(rig.now);
        let mut buffer = vec![0; 4096];
        let mut packets = Vec::new();
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => packets.push(packet.to_vec()),
                Output::Timeout(_) => break,
                Output::Connected => self.connected = true,
                Output::KeyingMaterial(material, profile) => {
                    let profile = match profile {
                        dimpl::SrtpProfile::AEAD_AES_256_GCM => SrtpProfile::AeadAes256Gcm,
                        dimpl::SrtpProfile::AEAD_AES_128_GCM => SrtpProfile::AeadAes128Gcm,
                        _ => SrtpProfile::AesCm128HmacSha1_80,
                    };
                    self.profile = Some(profile);
                    let role = match self.serves {
                        true => DtlsRole::Server,
                        false => DtlsRole::Client,
                    };
                    self.srtp = Some(from_keying_material(profile, &material, role).unwrap());
                }
                _ => {}
            }
        }
        for packet in packets {
            self.send(rig, &packet);
        }
        rig.run(Duration::from_millis(10));
        self.read(rig);
    }

    fn read(&mut self, rig: &mut Rig) {
        let datagrams = std::mem::take(rig.strangers.get_mut(&self.address).unwrap());
        for datagram in datagrams {
            match datagram[0] {
                20..=63 => {
                    let _ = self.dtls.handle_packet(&datagram);
                }
                128..=191 if !is_rtcp(&datagram) => self.open(datagram),
                _ => {}
            }
        }
    }

    fn open(&mut self, datagram: Vec<u8>) {
        let Some((_, receiver)) = &mut self.srtp else {
            return;
        };
        let header = RtpHeader::parse(&datagram).unwrap();
        let mut out = [0; 2000];
        match receiver.open_rtp(&datagram, &header, &mut out) {
            Ok((_, index)) => self.received.push((header.ssrc, index, datagram)),
            Err(error) => {
                self.refused.push(error);
                if error == SrtpError::Replayed {
                    self.received
                        .push((header.ssrc, u64::from(header.seq.0), datagram));
                }
            }
        }
    }

    /// One RTP packet, sealed.
    pub fn rtp(
        &self,
        (ssrc, index): (u32, u64),
        payload_type: u8,
        extensions: &[(u8, &[u8])],
        payload: &[u8],
    ) -> Vec<u8> {
        let header = EgressHeader {
            seq: SeqNo(index as u16),
            time: RtpTime(index as u32 * 960),
            ssrc,
            payload_type,
            marker: false,
            padding: false,
        };
        let mut out = vec![0; 200 + payload.len() + MAX_RTP_OVERHEAD];
        let header_len = header.write(&mut out, extensions).unwrap();
        let (sender, _) = self.srtp.as_ref().unwrap();
        let len = sender
            .seal_rtp_from(&mut out, header_len, payload, ssrc, index)
            .unwrap();
        out.truncate(len);
        out
    }

    /// RTCP, sealed and sent.
    pub fn rtcp(&mut self, rig: &mut Rig, write: impl FnOnce(&mut RtcpWriter<'_>)) {
        let mut buffer = [0; 1400];
        let mut writer = RtcpWriter::new(&mut buffer[..1300]);
        write(&mut writer);
        let len = writer.len();
        self.raw_rtcp(rig, &buffer[..len]);
    }

    /// A compound of any bytes, sealed and sent.
    pub fn raw_rtcp(&mut self, rig: &mut Rig, compound: &[u8]) {
        let mut buffer = compound.to_vec();
        buffer.resize(compound.len() + MAX_RTCP_OVERHEAD, 0);
        let (sender, _) = self.srtp.as_mut().unwrap();
        let len = sender.seal_rtcp(&mut buffer, compound.len()).unwrap();
        self.send(rig, &buffer[..len]);
    }
}
