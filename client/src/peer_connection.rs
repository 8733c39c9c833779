//! One WebRTC peer connection as LiveKit's clients have it: it offers, the other side answers. With two, the other side
//! offers the one on which we receive. There is no signalling here, only SDP strings and datagrams, so that tests and
//! benches can join it to a media engine without a network.
//!
//! A [`PeerConnection`] is a state machine: after every call, send what [`PeerConnection::poll_transmit`] yields,
//! take the events from [`PeerConnection::poll_event`], and call [`PeerConnection::handle_timeout`] when the instant
//! of [`PeerConnection::poll_timeout`] has come. Only ids, keys and credentials are random (by str0m).

mod offer;
mod receive;
mod send;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use str0m::{
    Candidate, Event, IceConnectionState, Input, Output, Rtc,
    change::SdpPendingOffer,
    channel::{ChannelConfig, ChannelId},
    media::{Direction, Mid},
    net::{Protocol, Receive},
};

use crate::{
    Error, dtls,
    media::{Frame, FrameAssembler, IncomingPacket, Layer, MediaKind, Packetizer},
};

pub use send::SendStats;

/// Options of a peer connection: its first offer, and its events.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// Sections of the first offer that only receive audio. LiveKit's clients have 3.
    pub audio_sections: u32,
    /// Sections of the first offer that only receive video. LiveKit's clients have 3.
    pub video_sections: u32,
    /// Every received packet is reported ([`PeerEvent::Packet`]).
    pub packets: bool,
    /// Every received frame is reported ([`PeerEvent::Frame`]). Frames are counted in any case.
    pub frames: bool,
    /// VP9 is taken beside VP8, and sent where the other side takes nothing else: packets only, frames are VP8.
    pub vp9: bool,
    /// Datagrams travel in TCP connections that we open (ICE-TCP, RFC 6544).
    pub tcp: bool,
    /// We insist on being the server of DTLS, as pion does towards ICE-lite.
    pub dtls_server: bool,
    /// The time between two reports on received and sent streams (RTCP RR and SR). With many members RFC 3550, section
    /// 6.2, wants them seldom. `None`: every second for pictures, every five for sounds.
    pub report_interval: Option<Duration>,
}

impl Default for PeerConfig {
    fn default() -> Self {
        Self {
            audio_sections: 3,
            video_sections: 3,
            packets: false,
            frames: true,
            vp9: false,
            tcp: false,
            dtls_server: false,
            report_interval: None,
        }
    }
}

/// The data channels of LiveKit, all created by the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataChannel {
    /// `_reliable`: ordered, retransmitted.
    Reliable,
    /// `_lossy`: unordered, never retransmitted.
    Lossy,
    /// `_data_track`: unordered, never retransmitted.
    DataTrack,
}

impl DataChannel {
    pub(crate) const ALL: [Self; 3] = [Self::Reliable, Self::Lossy, Self::DataTrack];

    /// The channel's label on the wire.
    pub fn label(self) -> &'static str {
        match self {
            Self::Reliable => "_reliable",
            Self::Lossy => "_lossy",
            Self::DataTrack => "_data_track",
        }
    }
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Our address that it leaves from.
    pub local: SocketAddr,
    /// The address that it goes to.
    pub remote: SocketAddr,
    /// The bytes.
    pub payload: Vec<u8>,
}

/// A track to send, on a section of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendTrack {
    /// The client's id of the track: the track part of `a=msid`. At most 64 token characters (RFC 8830).
    pub cid: String,
    /// Stream part of `a=msid`.
    pub stream: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// The simulcast layers, in the order of the offer; empty for one stream without rid.
    pub layers: Vec<Layer>,
}

/// An event of a peer connection.
#[derive(Debug, Clone, PartialEq)]
pub enum PeerEvent {
    /// ICE and DTLS are up for the first time.
    Connected,
    /// ICE lost the other side; an ICE restart may bring it back.
    Disconnected,
    /// ICE is up again.
    Reconnected,
    /// The other side closed DTLS, or the connection failed: nothing comes any more.
    Closed,
    /// A data channel takes packets.
    ChannelOpen(DataChannel),
    /// A data channel's packet.
    Data {
        /// The channel.
        channel: DataChannel,
        /// The packet's bytes.
        payload: Vec<u8>,
    },
    /// An RTP packet (only with [`PeerConfig::packets`]).
    Packet {
        /// The mid of the packet's section.
        mid: String,
        /// The packet.
        packet: IncomingPacket,
    },
    /// A whole frame (only with [`PeerConfig::frames`]).
    Frame {
        /// The mid of the frame's section.
        mid: String,
        /// The frame.
        frame: Frame,
    },
    /// The other side asks for a key frame (PLI or FIR).
    KeyFrameRequested {
        /// The mid of the section on which we send.
        mid: String,
        /// The layer, of a simulcast track.
        layer: Option<Layer>,
    },
}

/// A media section of ours.
#[derive(Debug)]
struct Section {
    mid: Mid,
    kind: MediaKind,
    /// The track, where we send on the section.
    track: Option<SendTrack>,
    /// Direction in the next offer.
    direction: Direction,
    /// One stream for each layer that we send.
    streams: Vec<send::SendStream>,
    /// The assembler, where we receive on the section.
    assembler: FrameAssembler,
    last_key_frame_request: Option<Instant>,
}

/// A WebRTC peer connection, as a state machine without sockets and clock.
pub struct PeerConnection {
    rtc: Rtc,
    config: PeerConfig,
    local: SocketAddr,
    sections: Vec<Section>,
    /// Changes for the next offer.
    wanted: Vec<offer::Change>,
    /// The offer in flight, and its changes.
    pending: Option<(SdpPendingOffer, Vec<offer::Change>)>,
    channels: Vec<(ChannelId, DataChannel)>,
    /// Channels with labels that LiveKit does not know.
    own_channels: Vec<(ChannelId, String)>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<PeerEvent>,
    timeout: Option<Instant>,
    connected: bool,
    lost: bool,
    closed: bool,
    malformed: u64,
}

impl std::fmt::Debug for PeerConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerConnection")
            .field("local", &self.local)
            .field("sections", &self.sections.len())
            .field("connected", &self.connected)
            .finish_non_exhaustive()
    }
}

impl PeerConnection {
    /// A connection whose only candidate is `local`, which must be a specific address.
    ///
    /// # Errors
    /// [`Error::LocalAddress`] when `local` is not specific.
    pub fn new(config: PeerConfig, local: SocketAddr, now: Instant) -> Result<Self, Error> {
        let mut builder = Rtc::builder();
        if let Some(interval) = config.report_interval.filter(|it| !it.is_zero()) {
            builder = builder
                .set_rtcp_report_interval_audio(interval)
                .set_rtcp_report_interval_video(interval);
        }
        let mut rtc = builder
            .clear_codecs()
            .enable_opus(true, false)
            .enable_vp8(true)
            .enable_vp9(config.vp9)
            .set_rtp_mode(true)
            .set_crypto_provider(dtls::provider())
            .build(now);
        let candidate = Candidate::host(local, protocol(&config));
        let candidate = candidate.map_err(|_| Error::LocalAddress(local))?;
        rtc.add_local_candidate(candidate);
        let wanted = offer::first_changes(&config);
        let mut connection = Self {
            rtc,
            config,
            local,
            sections: Vec::new(),
            wanted,
            pending: None,
            channels: Vec::new(),
            own_channels: Vec::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            timeout: Some(now),
            connected: false,
            lost: false,
            closed: false,
            malformed: 0,
        };
        connection.handle_timeout(now);
        Ok(connection)
    }

    /// The candidate's address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Whether ICE and DTLS are up.
    pub fn is_connected(&self) -> bool {
        self.connected && !self.lost && !self.closed
    }

    /// Number of datagrams that were none of STUN, DTLS, RTP and RTCP.
    pub fn malformed_datagrams(&self) -> u64 {
        self.malformed
    }

    /// Takes a datagram.
    pub fn handle_datagram(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        payload: &[u8],
        now: Instant,
    ) {
        if let Some(result) = self.receive(local, remote, payload, now) {
            self.settle(result, now);
        }
    }

    /// Takes datagrams that came together, each with its sender.
    pub fn handle_datagrams<'a>(
        &mut self,
        local: SocketAddr,
        datagrams: impl IntoIterator<Item = (SocketAddr, &'a [u8])>,
        now: Instant,
    ) {
        let mut datagrams = datagrams.into_iter();
        if let Some((remote, payload)) = datagrams.next() {
            self.handle_datagram(local, remote, payload, now);
        }
        // With each datagram str0m looks after all of its streams, unless time stands still. Between these packets
        // there is nothing to look after: time stands still for them, and all streams are looked after once, at the
        // end.
        let before = now.checked_sub(Duration::from_nanos(1)).unwrap_or(now);
        let mut is_settled = true;
        for (remote, payload) in datagrams {
            if let Some(result) = self.receive(local, remote, payload, before) {
                self.settle_until(result, now, |event| matches!(event, Event::RtpPacket(_)));
                is_settled = false;
            }
        }
        if !is_settled {
            self.handle_timeout(now);
        }
    }

    /// Hands a datagram to str0m; `None`: it is of no known kind.
    fn receive(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        payload: &[u8],
        at: Instant,
    ) -> Option<Result<(), str0m::RtcError>> {
        let Ok(receive) = Receive::new(protocol(&self.config), remote, local, payload) else {
            self.malformed += 1;
            return None;
        };
        Some(self.rtc.handle_input(Input::Receive(at, receive)))
    }

    /// Does what is due. Called when the instant of [`Self::poll_timeout`] has come (earlier calls do no harm).
    pub fn handle_timeout(&mut self, now: Instant) {
        let result = self.rtc.handle_input(Input::Timeout(now));
        self.settle(result, now);
    }

    /// When [`Self::handle_timeout`] is due; `None` once closed.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timeout
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        self.events.pop_front()
    }

    /// Takes a candidate of the other side that was not in its SDP (`candidate:…`). Unreadable ones are ignored.
    pub fn add_remote_candidate(&mut self, candidate: &str, now: Instant) {
        if let Ok(candidate) = Candidate::from_sdp_string(candidate) {
            self.rtc.add_remote_candidate(candidate);
            self.settle(Ok(()), now);
        }
    }

    /// Closes the connection with a goodbye (RTCP BYE, DTLS close).
    pub fn close(&mut self, now: Instant) {
        let result = self.rtc.close();
        self.settle(result, now);
        self.end();
    }

    /// Sends a packet on a data channel.
    ///
    /// # Errors
    /// [`Error::DataChannel`] while the channel is not open or its buffer is full.
    pub fn send_data(
        &mut self,
        channel: DataChannel,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), Error> {
        let refused = |why| Error::DataChannel(channel.label(), why);
        let id = self
            .channels
            .iter()
            .find(|(_, open)| *open == channel)
            .map(|(id, _)| *id);
        let mut open = id
            .and_then(|id| self.rtc.channel(id))
            .ok_or(refused("not open"))?;
        let taken = open.write(true, payload);
        self.settle(Ok(()), now);
        match taken {
            Ok(true) => Ok(()),
            Ok(false) => Err(refused("buffer full")),
            Err(error) => Err(Error::Connection(error.to_string())),
        }
    }

    /// Opens an ordered and reliable data channel with a label that LiveKit does not know.
    pub fn open_channel(&mut self, label: &str, now: Instant) {
        let config = ChannelConfig {
            label: label.to_owned(),
            ..ChannelConfig::default()
        };
        self.rtc.direct_api().create_data_channel(config);
        self.settle(Ok(()), now);
        self.handle_timeout(now);
    }

    /// Sends a message on a channel of [`Self::open_channel`].
    ///
    /// # Errors
    /// [`Error::DataChannel`] while the channel is not open or its buffer is full.
    pub fn send_raw(&mut self, label: &str, payload: &[u8], now: Instant) -> Result<(), Error> {
        let refused = |why| Error::DataChannel("of one's own", why);
        let mut channels = self.own_channels.iter();
        let id = channels.find(|(_, own)| own == label).map(|(id, _)| *id);
        let mut open = id
            .and_then(|id| self.rtc.channel(id))
            .ok_or(refused("not open"))?;
        let taken = open.write(true, payload);
        self.settle(Ok(()), now);
        match taken {
            Ok(true) => Ok(()),
            Ok(false) => Err(refused("buffer full")),
            Err(error) => Err(Error::Connection(error.to_string())),
        }
    }

    /// The open data channels and their SCTP stream ids.
    pub fn data_channel_ids(&mut self) -> Vec<(DataChannel, u16)> {
        let direct = self.rtc.direct_api();
        let id = |(id, channel): &(ChannelId, DataChannel)| {
            Some((*channel, direct.sctp_stream_id_by_channel_id(*id)?))
        };
        self.channels.iter().filter_map(id).collect()
    }

    /// Drains str0m after a mutation, before the next one, as str0m requires.
    fn settle(&mut self, result: Result<(), str0m::RtcError>, now: Instant) {
        self.settle_until(result, now, |_| false);
    }

    /// Drains str0m up to an event that is the last for now.
    fn settle_until(
        &mut self,
        result: Result<(), str0m::RtcError>,
        now: Instant,
        is_last: impl Fn(&Event) -> bool,
    ) {
        if let Err(error) = result {
            // A malformed packet from any sender; str0m stays usable, or says otherwise through `is_alive`.
            tracing::debug!(%error, "input refused");
            self.malformed += 1;
        }
        while !self.closed {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.timeout = Some(at);
                    break;
                }
                Ok(Output::Transmit(transmit)) => self.transmits.push_back(Transmit {
                    local: transmit.source,
                    remote: transmit.destination,
                    payload: transmit.contents.to_vec(),
                }),
                Ok(Output::Event(event)) => {
                    let is_last = is_last(&event);
                    self.on_event(event, now);
                    if is_last {
                        break;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "peer connection failed");
                    self.end();
                }
            }
        }
        if !self.rtc.is_alive() {
            self.end();
        }
    }

    fn end(&mut self) {
        self.timeout = None;
        if !std::mem::replace(&mut self.closed, true) {
            self.events.push_back(PeerEvent::Closed);
        }
    }

    fn on_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::RtpPacket(packet) => self.on_packet(&packet, now),
            Event::Connected => {
                self.connected = true;
                self.events.push_back(PeerEvent::Connected);
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.lost = true;
                self.events.push_back(PeerEvent::Disconnected);
            }
            Event::IceConnectionStateChange(
                IceConnectionState::Connected | IceConnectionState::Completed,
            ) if self.lost => {
                self.lost = false;
                self.events.push_back(PeerEvent::Reconnected);
            }
            Event::ChannelOpen(id, label) => {
                if let Some(channel) = DataChannel::ALL.into_iter().find(|c| c.label() == label) {
                    self.channels.push((id, channel));
                    self.events.push_back(PeerEvent::ChannelOpen(channel));
                } else {
                    self.own_channels.push((id, label));
                }
            }
            Event::ChannelData(data) => {
                if let Some((_, channel)) = self.channels.iter().find(|(id, _)| *id == data.id) {
                    self.events.push_back(PeerEvent::Data {
                        channel: *channel,
                        payload: data.data,
                    });
                }
            }
            Event::ChannelClose(id) => self.channels.retain(|(open, _)| *open != id),
            Event::KeyframeRequest(request) => {
                let layer = request.rid.as_ref().and_then(|rid| Layer::from_rid(rid));
                self.count_key_frame_request(request.mid, layer);
                self.events.push_back(PeerEvent::KeyFrameRequested {
                    mid: request.mid.to_string(),
                    layer,
                });
            }
            Event::Closed => self.end(),
            _ => {}
        }
    }

    fn section(&self, mid: &str) -> Option<&Section> {
        self.sections.iter().find(|section| &*section.mid == mid)
    }

    fn section_mut(&mut self, mid: &str) -> Option<&mut Section> {
        self.sections
            .iter_mut()
            .find(|section| &*section.mid == mid)
    }
}

fn protocol(config: &PeerConfig) -> Protocol {
    match config.tcp {
        true => Protocol::Tcp,
        false => Protocol::Udp,
    }
}

impl Section {
    fn new(mid: Mid, kind: MediaKind, track: Option<SendTrack>, start: u16) -> Self {
        let direction = match track {
            Some(_) => Direction::SendOnly,
            None => Direction::RecvOnly,
        };
        let layers = match &track {
            None => Vec::new(),
            Some(track) if track.layers.is_empty() => vec![None],
            Some(track) => track.layers.iter().copied().map(Some).collect(),
        };
        let streams = layers
            .into_iter()
            .map(|layer| send::SendStream {
                layer,
                packetizer: Packetizer::new(kind, start),
                stats: SendStats::default(),
            })
            .collect();
        Self {
            mid,
            kind,
            track,
            direction,
            streams,
            assembler: FrameAssembler::new(kind),
            last_key_frame_request: None,
        }
    }
}
