//! A participant on webrtc-rs, whose `rtc` is a state machine as ours is: bytes and the time go in, bytes come out.
//!
//! Of its own are ICE, DTLS, SRTP, RTP, RTCP and SDP. Its SCTP shares an author with ours, so nothing here is about data
//! channels.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Instant,
};

use rtc::{
    interceptor::{self, Interceptor, Slot, StreamInfo, TaggedPacket},
    media_stream::MediaStreamTrack,
    peer_connection::{
        RTCPeerConnection, RTCPeerConnectionBuilder,
        configuration::{
            RTCOfferOptions,
            interceptor_registry::{Registry, register_default_interceptors},
            media_engine::{MIME_TYPE_OPUS, MIME_TYPE_VP8, MediaEngine},
            setting_engine::SettingEngineBuilder,
        },
        event::{RTCPeerConnectionEvent, RTCTrackEvent},
        message::{RTCMessage, TaggedRTCMessage},
        sdp::RTCSessionDescription,
        state::RTCPeerConnectionState,
        transport::RTCIceCandidateInit,
    },
    rtp_transceiver::{
        RTCRtpReceiverId, RTCRtpSenderId, RTCRtpTransceiverDirection, RTCRtpTransceiverId,
        RTCRtpTransceiverInit,
        rtp_sender::{
            RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpRtxParameters,
            RtpCodecKind,
        },
    },
    sansio::Protocol,
    sdp::extmap::{SDES_MID_URI, SDES_RTP_STREAM_ID_URI},
    shared::{TaggedBytesMut, TransportContext, TransportProtocol, error::Error},
};

use rtcp::{
    payload_feedbacks::{
        full_intra_request::FullIntraRequest, picture_loss_indication::PictureLossIndication,
    },
    transport_feedbacks::transport_layer_nack::TransportLayerNack,
};

pub use rtc::{
    dtls::{cipher_suite::CipherSuiteId, extension::extension_use_srtp::SrtpProtectionProfile},
    peer_connection::transport::RTCDtlsRole,
    rtcp,
    rtp::{self, Packet},
};

/// Audio or video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Opus.
    Audio,
    /// VP8.
    Video,
}

/// A track that is sent, or one layer of it.
#[derive(Debug, Clone)]
pub struct SendTrack {
    sender: RTCRtpSenderId,
    kind: Kind,
    /// Of one layer among several.
    rid: Option<String>,
    /// SSRC of the stream.
    pub ssrc: u32,
    /// Number of the packet that is sent next.
    pub sequence: u16,
}

impl SendTrack {
    fn new(sender: RTCRtpSenderId, kind: Kind, rid: Option<String>, ssrc: u32) -> Self {
        Self {
            sender,
            kind,
            rid,
            ssrc,
            // Soon after the beginning it starts anew, and the roll-over counter with it.
            sequence: 65_500,
        }
    }
}

/// What receivers said so far of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Feedback {
    /// Packets with requests to send again.
    pub nacks: u32,
    /// Requests for key frames.
    pub key_frame_requests: u32,
}

/// What is chosen when a [`PeerConnection`] is made.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The role in DTLS as an answerer; `None`: as it likes.
    pub dtls_role: Option<RTCDtlsRole>,
    /// The only protection profile; `None`: those that it likes.
    pub profile: Option<SrtpProtectionProfile>,
    /// The only cipher suite of DTLS; `None`: those that it likes.
    pub suite: Option<CipherSuiteId>,
}

/// An `RTCPeerConnection` with one UDP socket.
pub struct PeerConnection {
    inner: RTCPeerConnection,
    local: SocketAddr,
    /// Tracks that are received: id, receiver, section.
    tracks: Vec<(String, RTCRtpReceiverId, String)>,
    state: RTCPeerConnectionState,
    counts: Arc<Counts>,
    /// Packets that came in and were not taken yet, each with the mid of its section. Retransmissions are unpacked.
    pub received: Vec<(String, Packet)>,
}

impl PeerConnection {
    /// One that sends from, and receives at, `local`.
    ///
    /// # Errors
    /// What webrtc-rs says; the same for all that follow.
    pub fn new(config: &Config, local: SocketAddr, now: Instant) -> Result<Self, Error> {
        let mut media = MediaEngine::default();
        media.register_default_codecs()?;
        let interceptors = register_default_interceptors(Registry::new(), &mut media)?;
        let counts = Arc::<Counts>::default();
        let observer = Observer {
            counts: counts.clone(),
            incoming: VecDeque::new(),
            outgoing: VecDeque::new(),
        };
        let interceptors = interceptors.with(Slot::from(1), observer);
        let mut settings = SettingEngineBuilder::new();
        if let Some(role) = config.dtls_role {
            settings = settings.with_answering_dtls_role(role);
        }
        if let Some(profile) = config.profile {
            settings = settings.with_srtp_protection_profiles(vec![profile]);
        }
        if let Some(suite) = config.suite {
            settings = settings.with_dtls_cipher_suites(vec![suite]);
        }
        let mut inner = RTCPeerConnectionBuilder::new()
            .with_media_engine(media)
            .with_setting_engine(settings.build())
            .with_interceptor_registry(interceptors)
            .build(now)?;
        inner.add_local_candidate(RTCIceCandidateInit {
            candidate: format!(
                "candidate:1 1 udp 2130706431 {} {} typ host",
                local.ip(),
                local.port()
            ),
            ..RTCIceCandidateInit::default()
        })?;
        Ok(Self {
            inner,
            local,
            tracks: Vec::new(),
            state: RTCPeerConnectionState::default(),
            counts,
            received: Vec::new(),
        })
    }

    /// Its address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Whether its ICE and its DTLS are up.
    pub fn is_connected(&self) -> bool {
        self.state == RTCPeerConnectionState::Connected
    }

    /// Adds a section for a track that is sent; `cid` is the track part of its msid. Retransmissions have an SSRC one
    /// above.
    ///
    /// # Errors
    /// See [`PeerConnection::new`].
    pub fn add_track(&mut self, kind: Kind, cid: &str, ssrc: u32) -> Result<SendTrack, Error> {
        let rtx = (kind == Kind::Video).then_some(RTCRtpRtxParameters { ssrc: ssrc + 1 });
        let coding = RTCRtpCodingParameters {
            ssrc: Some(ssrc),
            rtx,
            ..RTCRtpCodingParameters::default()
        };
        let sender = self.add_send_section(kind, cid, vec![coding])?;
        Ok(SendTrack::new(sender, kind, None, ssrc))
    }

    /// Adds a section for a picture in VP8 that is sent in as many layers as there are rids, with SSRCs from `ssrc` on.
    ///
    /// # Errors
    /// See [`PeerConnection::new`].
    pub fn add_simulcast_track(
        &mut self,
        cid: &str,
        rids: &[&str],
        ssrc: u32,
    ) -> Result<Vec<SendTrack>, Error> {
        let layers = (ssrc..).zip(rids);
        let coding = |(ssrc, rid): (u32, &&str)| RTCRtpCodingParameters {
            rid: (*rid).to_owned(),
            ssrc: Some(ssrc),
            ..RTCRtpCodingParameters::default()
        };
        let codings = layers.clone().map(coding).collect();
        let sender = self.add_send_section(Kind::Video, cid, codings)?;
        let track = |(ssrc, rid): (u32, &&str)| {
            SendTrack::new(sender, Kind::Video, Some((*rid).to_owned()), ssrc)
        };
        Ok(layers.map(track).collect())
    }

    fn add_send_section(
        &mut self,
        kind: Kind,
        cid: &str,
        codings: Vec<RTCRtpCodingParameters>,
    ) -> Result<RTCRtpSenderId, Error> {
        let encodings = codings.into_iter().map(|coding| RTCRtpEncodingParameters {
            rtp_coding_parameters: coding,
            codec: codec(kind),
            active: true,
            ..RTCRtpEncodingParameters::default()
        });
        let track = MediaStreamTrack::new(
            "stream".into(),
            cid.into(),
            cid.into(),
            rtp_kind(kind),
            encodings.collect(),
        );
        let init = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Sendonly,
            ..RTCRtpTransceiverInit::default()
        };
        let transceiver = self.inner.add_transceiver_from_track(track, Some(init))?;
        Ok(transceiver.into())
    }

    /// Adds a section in which something may be received.
    ///
    /// # Errors
    /// See [`PeerConnection::new`].
    pub fn add_receive_section(&mut self, kind: Kind) -> Result<(), Error> {
        self.inner.add_transceiver_from_kind(rtp_kind(kind), None)?;
        Ok(())
    }

    /// The next offer, which holds from now on.
    ///
    /// # Errors
    /// See [`PeerConnection::new`].
    pub fn create_offer(&mut self, restart_ice: bool, now: Instant) -> Result<String, Error> {
        let options = RTCOfferOptions {
            ice_restart: restart_ice,
        };
        let offer = self.inner.create_offer(Some(options))?;
        self.inner.set_local_description(now, offer.clone())?;
        Ok(offer.sdp)
    }

    /// The other side's answer.
    ///
    /// # Errors
    /// See [`PeerConnection::new`].
    pub fn accept_answer(&mut self, sdp: &str, now: Instant) -> Result<(), Error> {
        let answer = RTCSessionDescription::answer(sdp.to_owned())?;
        self.inner.set_remote_description(now, answer)
    }

    /// The other side's offer; returns the answer.
    ///
    /// # Errors
    /// See [`PeerConnection::new`].
    pub fn accept_offer(&mut self, sdp: &str, now: Instant) -> Result<String, Error> {
        let offer = RTCSessionDescription::offer(sdp.to_owned())?;
        self.inner.set_remote_description(now, offer)?;
        let answer = self.inner.create_answer(None)?;
        self.inner.set_local_description(now, answer.clone())?;
        Ok(answer.sdp)
    }

    /// A datagram that came.
    ///
    /// # Errors
    /// See [`PeerConnection::new`].
    pub fn handle_datagram(
        &mut self,
        from: SocketAddr,
        bytes: &[u8],
        now: Instant,
    ) -> Result<(), Error> {
        self.inner.handle_read(TaggedBytesMut {
            now,
            transport: TransportContext {
                local_addr: self.local,
                peer_addr: from,
                transport_protocol: TransportProtocol::UDP,
                ecn: None,
            },
            message: bytes.into(),
        })
    }

    /// The next datagram to send, and where to.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let transmit = self.inner.poll_write()?;
        Some((transmit.transport.peer_addr, transmit.message.to_vec()))
    }

    /// When it wants to be woken.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        self.inner.poll_timeout()
    }

    /// It is time.
    ///
    /// # Errors
    /// See [`PeerConnection::new`].
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        self.inner.handle_timeout(now)
    }

    /// Takes in what happened, and puts what was received where it can be read.
    pub fn poll(&mut self) {
        while let Some(event) = self.inner.poll_event() {
            match event {
                RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) => self.state = state,
                RTCPeerConnectionEvent::OnTrack(RTCTrackEvent::OnOpen(track)) => {
                    let transceiver = RTCRtpTransceiverId::from(track.receiver_id);
                    let transceiver = self.inner.rtp_transceiver(transceiver);
                    let mid = transceiver.and_then(|transceiver| transceiver.mid().clone());
                    self.tracks
                        .push((track.track_id, track.receiver_id, mid.unwrap_or_default()));
                }
                _ => {}
            }
        }
        while let Some(TaggedRTCMessage { message, .. }) = self.inner.poll_read() {
            if let RTCMessage::RtpPacket(track, packet) = message {
                let mid = self.tracks.iter().find(|(id, ..)| *id == track);
                let mid = mid.map(|(.., mid)| mid.clone()).unwrap_or_default();
                self.received.push((mid, packet));
            }
        }
    }

    /// What receivers said so far.
    pub fn feedback(&self) -> Feedback {
        Feedback {
            nacks: self.counts.nacks.load(Relaxed),
            key_frame_requests: self.counts.key_frame_requests.load(Relaxed),
        }
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// See [`PeerConnection::new`].
    pub fn close(&mut self) -> Result<(), Error> {
        self.inner.close()
    }

    /// Sends one packet of a track.
    ///
    /// # Errors
    /// See [`PeerConnection::new`].
    pub fn write(
        &mut self,
        track: &mut SendTrack,
        timestamp: u32,
        marker: bool,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), Error> {
        let transceiver = self.inner.rtp_transceiver(track.sender.into());
        let mid = transceiver.and_then(|transceiver| transceiver.mid().clone());
        let mid = mid.unwrap_or_default();
        let mut sender = self
            .inner
            .rtp_sender(track.sender)
            .ok_or(Error::ErrRTPSenderNotExisted)?;
        let name = codec(track.kind).mime_type;
        let codecs = &sender.get_parameters().rtp_parameters.codecs;
        let payload_type = codecs
            .iter()
            .find(|codec| codec.rtp_codec.mime_type.eq_ignore_ascii_case(&name))
            .map_or(0, |codec| codec.payload_type);
        let mut header = rtp::Header {
            version: 2,
            payload_type,
            marker,
            sequence_number: track.sequence,
            timestamp,
            ssrc: track.ssrc,
            ..rtp::Header::default()
        };
        if let Some(rid) = &track.rid {
            let extensions = &sender.get_parameters().rtp_parameters.header_extensions;
            for (uri, value) in [(SDES_MID_URI, &mid), (SDES_RTP_STREAM_ID_URI, rid)] {
                if let Some(extension) = extensions.iter().find(|known| known.uri == uri) {
                    header.set_extension(extension.id as u8, value.clone().into())?;
                }
            }
        }
        let packet = Packet {
            header,
            payload: payload.to_vec().into(),
        };
        track.sequence = track.sequence.wrapping_add(1);
        sender.write_rtp(now, packet)
    }

    /// Sends RTCP about a track that is received.
    ///
    /// # Errors
    /// See [`PeerConnection::new`].
    pub fn write_rtcp(
        &mut self,
        mid: &str,
        packet: Box<dyn rtcp::Packet>,
        now: Instant,
    ) -> Result<(), Error> {
        let track = self.tracks.iter().find(|(.., of)| of == mid);
        let receiver = track.and_then(|(_, receiver, _)| self.inner.rtp_receiver(*receiver));
        let mut receiver = receiver.ok_or(Error::ErrRTPReceiverForSSRCTrackStreamNotFound)?;
        receiver.write_rtcp(now, vec![packet])
    }
}

#[derive(Debug, Default)]
struct Counts {
    nacks: AtomicU32,
    key_frame_requests: AtomicU32,
}

/// Counts feedback, which ends in the chain of interceptors and is not handed to the application. Changes nothing.
struct Observer {
    counts: Arc<Counts>,
    incoming: VecDeque<TaggedPacket>,
    outgoing: VecDeque<TaggedPacket>,
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Observer {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        if let interceptor::Packet::Rtcp(compound) = &packet.message.packet {
            for part in compound.iter().map(|part| part.as_any()) {
                if part.downcast_ref::<TransportLayerNack>().is_some() {
                    self.counts.nacks.fetch_add(1, Relaxed);
                }
                if part.downcast_ref::<PictureLossIndication>().is_some()
                    || part.downcast_ref::<FullIntraRequest>().is_some()
                {
                    self.counts.key_frame_requests.fetch_add(1, Relaxed);
                }
            }
        }
        self.incoming.push_back(packet);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.incoming.pop_front()
    }

    fn handle_write(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        self.outgoing.push_back(packet);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outgoing.pop_front()
    }
}

impl Interceptor for Observer {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

fn rtp_kind(kind: Kind) -> RtpCodecKind {
    match kind {
        Kind::Audio => RtpCodecKind::Audio,
        Kind::Video => RtpCodecKind::Video,
    }
}

fn codec(kind: Kind) -> RTCRtpCodec {
    let (mime_type, clock_rate, channels, sdp_fmtp_line) = match kind {
        Kind::Audio => (MIME_TYPE_OPUS, 48_000, 2, "minptime=10;useinbandfec=1"),
        Kind::Video => (MIME_TYPE_VP8, 90_000, 0, ""),
    };
    RTCRtpCodec {
        mime_type: mime_type.to_owned(),
        clock_rate,
        channels,
        sdp_fmtp_line: sdp_fmtp_line.to_owned(),
        rtcp_feedback: Vec::new(),
    }
}
