//! The answer, written from the state.

use rustc_hash::FxHashSet;

use super::{
    CodecParameters, IceCredentials, LocalParameters, Negotiation, Role, Section, SendSection,
    codecs::{RED, answer_layers, describe, opus_fmtp},
};
use crate::{
    api::{AudioFeatures, MediaKind},
    sdp::{
        Candidate, Direction, Fingerprint, HashAlgorithm, MediaDescription, Msid,
        SessionDescription, Setup, Ssrc, TransportAttributes,
    },
};

/// The discard port, which stands for "see the candidates" (RFC 8839, section 9.2.1.2).
pub(super) const DISCARD_PORT: u16 = 9;
/// SCTP port within DTLS; every WebRTC client uses this one.
pub(super) const SCTP_PORT: u16 = 5000;
/// Type preference of host candidates (RFC 8445, section 5.1.2.2).
const HOST_PREFERENCE: u32 = 126;

/// Type preference of our TCP candidates. RFC 6544 (section 4.2) only asks for less than UDP has. Ours is below that of
/// reflexive UDP candidates too, and above that of relayed ones: one connection is better than one through a relay.
const TCP_HOST_PREFERENCE: u32 = 90;

/// Local preference of a passive host candidate: direction preference 4 in the upper three bits (RFC 6544, section
/// 4.2).
const PASSIVE_PREFERENCE: u16 = (4 << 13) | 0x1fff;
/// The most bytes of an msid's stream part that come from a client (RFC 8830 allows 64, the publisher's sid takes
/// some).
const MAX_STREAM_BYTES: usize = 40;

impl Negotiation {
    pub(super) fn write_answer(
        &mut self,
        offer: &SessionDescription,
        local: &LocalParameters,
        ice: &IceCredentials,
        setup: Setup,
    ) -> SessionDescription {
        let transport = our_transport(local, ice, setup);
        let wishes: Vec<AudioFeatures> = self
            .sections
            .iter()
            .map(|section| self.wishes(section))
            .collect();
        // A payload type means the same in the whole bundle: a section in which nothing is published repeats what the
        // first publishing section says.
        let published = |(section, _): &(&Section, &AudioFeatures)| {
            section.role.published().is_some() && section.kind == Some(MediaKind::Audio)
        };
        let alone: Vec<bool> = self.sections.iter().map(|s| self.is_alone(s)).collect();
        let first = self
            .sections
            .iter()
            .zip(&wishes)
            .find(published)
            .map(|(_, wishes)| *wishes)
            .unwrap_or_default();

        for (section, alone) in self.sections.iter_mut().zip(alone) {
            section.answered_alone = alone;
        }
        for (section, wishes) in self.sections.iter_mut().zip(wishes) {
            let audio = if section.role.published().is_some() {
                wishes
            } else {
                first
            };
            section.answered_audio = wishes;
            for codec in section
                .codecs
                .iter_mut()
                .filter(|codec| codec.mime_type == "audio/opus")
            {
                codec.fmtp = opus_fmtp(audio);
            }
        }
        let sections = self.sections.iter().zip(&offer.media);
        let mut media: Vec<MediaDescription> = sections
            .map(|(section, offered)| self.section(section, offered, &transport, local))
            .collect();
        let used = self.sections.iter().filter(|s| s.role != Role::Rejected);
        let used: FxHashSet<&str> = used.map(|section| section.mid.as_str()).collect();
        let bundle = offer
            .bundle
            .iter()
            .filter(|mid| used.contains(mid.as_str()));
        let bundle: Vec<String> = bundle.cloned().collect();
        if let Some(first) = media
            .iter_mut()
            .find(|media| media.mid.as_ref() == bundle.first())
        {
            first.candidates = candidates(local);
            first.end_of_candidates = true;
        }
        SessionDescription {
            session_id: self.session_id(),
            session_version: self.version,
            bundle,
            ice_lite: local.ice_lite,
            extmap_allow_mixed: offer.extmap_allow_mixed,
            transport: TransportAttributes::default(),
            media,
            text_bytes: 0,
        }
    }

    fn section(
        &self,
        section: &Section,
        offered: &MediaDescription,
        transport: &TransportAttributes,
        local: &LocalParameters,
    ) -> MediaDescription {
        let mut answer = MediaDescription::new(offered.kind.clone(), DISCARD_PORT, &offered.proto);
        answer.mid = Some(section.mid.clone());
        answer.transport = transport.clone();
        match section.role {
            Role::Rejected => {
                answer.port = 0;
                answer.transport = TransportAttributes::default();
                answer.formats = offered.formats.iter().take(1).cloned().collect();
                answer.direction = Direction::Inactive;
                return answer;
            }
            Role::Data => {
                answer.formats = offered.formats.clone();
                answer.sctp_port = Some(SCTP_PORT);
                answer.max_message_size = Some(local.max_message_size);
                return answer;
            }
            Role::Free | Role::Retired | Role::Draining | Role::Pausing | Role::Offered(_) => {
                answer.direction = Direction::Inactive;
            }
            Role::Receiving(_) => {
                answer.direction = Direction::RecvOnly;
                answer_layers(&mut answer, &section.layers, &offered.simulcast);
            }
            Role::Sending(_) => {
                answer.direction = Direction::SendOnly;
                self.sent_streams(section, &mut answer);
            }
        }
        answer.rtcp_mux = true;
        answer.rtcp_rsize = offered.rtcp_rsize;
        answer.extensions = section.extensions.lines.clone();
        let codecs = match self.send_section(section) {
            Some(send) => {
                // The track's codec first, the others for later tracks.
                let is_other = |codec: &&CodecParameters| {
                    codec.mime_type != RED && codec.payload_type != send.codec.payload_type
                };
                let others = section.codecs.iter().filter(is_other).cloned();
                let wanted = [Some(send.codec.clone()), send.red].into_iter().flatten();
                wanted.chain(others).collect()
            }
            None if matches!(section.role, Role::Receiving(_)) => self.receivable(section),
            None => section.codecs.clone(),
        };
        answer.codecs = codecs.iter().flat_map(describe).collect();
        answer.formats = answer
            .codecs
            .iter()
            .map(|codec| codec.payload_type.to_string())
            .collect();
        answer
    }

    fn sent_streams(&self, section: &Section, answer: &mut MediaDescription) {
        let Some(send) = self.send_section(section) else {
            return;
        };
        let Some(subscription) = self.subscriptions.get(send.track) else {
            return;
        };
        let stream = stream_name(&subscription.send.stream)
            .unwrap_or_else(|| send.track.as_str().to_owned());
        describe_stream(answer, &send, &stream);
    }

    /// The id of the session in our descriptions: constant over the session and different between sessions (FNV-1a of
    /// the participant's sid, 63 bits).
    pub(super) fn session_id(&self) -> u64 {
        let hash = self
            .participant
            .as_str()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
        hash >> 1
    }
}

/// ICE and DTLS attributes of our sections.
pub(super) fn our_transport(
    local: &LocalParameters,
    ice: &IceCredentials,
    setup: Setup,
) -> TransportAttributes {
    TransportAttributes {
        ice_ufrag: Some(ice.ufrag.clone()),
        ice_pwd: Some(ice.pwd.clone()),
        ice_options: vec!["trickle".to_owned()],
        fingerprints: vec![Fingerprint {
            algorithm: HashAlgorithm::Sha256,
            digest: local.fingerprint.to_vec(),
        }],
        setup: Some(setup),
    }
}

/// Writes the stream's lines into a section in which we send. Clients find track and publisher by the msid.
pub(super) fn describe_stream(media: &mut MediaDescription, send: &SendSection, stream: &str) {
    media.msid = Some(Msid {
        stream: format!("{}|{stream}", send.cname),
        track: Some(send.track.as_str().to_owned()),
    });
    media.fid_groups = send.rtx_ssrc.iter().map(|rtx| (send.ssrc, *rtx)).collect();
    media.ssrcs = [Some(send.ssrc), send.rtx_ssrc]
        .into_iter()
        .flatten()
        .map(|ssrc| Ssrc {
            ssrc,
            cname: Some(send.cname.clone()),
        })
        .collect();
}

/// A stream name that an msid can hold; `None` when nothing is left. The name comes from another client.
fn stream_name(name: &str) -> Option<String> {
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '{' | '}' | '+');
    let clean: String = name
        .chars()
        .take(MAX_STREAM_BYTES)
        .map(|c| if allowed(c) { c } else { '_' })
        .collect();
    (!clean.is_empty()).then_some(clean)
}

/// Our host candidates, UDP first. Foundations are by protocol and address, so that no two candidates of one base share
/// theirs.
pub(super) fn candidates(local: &LocalParameters) -> Vec<Candidate> {
    let udp = local.candidates.iter().enumerate();
    let udp = udp.map(|(index, address)| Candidate {
        foundation: (index + 1).to_string(),
        component: 1,
        transport: "udp".to_owned(),
        priority: (HOST_PREFERENCE << 24) | (local_preference(u16::MAX, index) << 8) | 255,
        address: address.ip().to_string(),
        port: address.port(),
        kind: "host".to_owned(),
        tcp_type: None,
    });
    let tcp = local.tcp_candidates.iter().enumerate();
    let tcp = tcp.map(|(index, address)| Candidate {
        foundation: (local.candidates.len() + index + 1).to_string(),
        component: 1,
        transport: "tcp".to_owned(),
        priority: (TCP_HOST_PREFERENCE << 24)
            | (local_preference(PASSIVE_PREFERENCE, index) << 8)
            | 255,
        address: address.ip().to_string(),
        port: address.port(),
        kind: "host".to_owned(),
        tcp_type: Some("passive".to_owned()),
    });
    udp.chain(tcp).collect()
}

/// Local preference of the candidate at `index`: the first of a list is the best, the others follow one by one.
fn local_preference(best: u16, index: usize) -> u32 {
    u32::from(best).saturating_sub(u32::try_from(index).unwrap_or(u32::MAX))
}
