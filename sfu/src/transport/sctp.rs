//! Data channels of one peer: SCTP (RFC 8261) with DCEP (RFC 8832), over `sctp-proto`.
//!
//! On a PeerConnection on which the client publishes, the client opens the channels; we answer each with a DCEP
//! acknowledgement. Besides the three labels that LiveKit knows, a client may open channels of its own. Packets towards
//! the client travel on the channel that the client opened. On a PeerConnection on which the client only receives, we
//! open the channels.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use rustc_hash::FxHashSet;
use sctp_proto::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event,
    Payload, PayloadProtocolIdentifier as Ppi, ReliabilityType, ServerConfig, StreamEvent,
    StreamId, TransportConfig,
};

use crate::{api::DataChannel, srtp::DtlsRole};

/// The largest message that we accept and announce, bytes (`a=max-message-size`). LiveKit clients clamp theirs to
/// 64,000 bytes.
pub const MAX_MESSAGE_SIZE: u32 = 256 * 1024;

/// The longest message that goes out, bytes: room for the stamp of its sender, whose identity (of up to 256 bytes, as a
/// companion's up to 513) stands in it twice.
pub const MAX_SENT_MESSAGE: usize = MAX_MESSAGE_SIZE as usize + 2048;

/// The most reliable bytes that may wait for one slow receiver before further packets are dropped. Only senders that
/// cannot be made to wait get there: others wait at less (`slow_readers.rs`).
const MAX_BUFFERED_RELIABLE: usize = 4 * 1024 * 1024;

/// The most lossy bytes that may wait: a packet that is late is worth nothing.
const MAX_BUFFERED_LOSSY: usize = 256 * 1024;

/// The longest wait for an acknowledgement before a packet is sent again, milliseconds. The wait doubles each time, and
/// by default up to a minute: after a quarter of a minute without network, messages would be late by as much again.
const MAX_RETRANSMIT_WAIT: u64 = 4_000;

/// The most bytes of answers to openings that may wait for an acknowledgement, one for each. A client that opens more
/// channels at once is not answered.
const MAX_ANSWERS: usize = 256;

/// The most channels with unknown labels from which packets are taken.
const MAX_OTHERS: usize = 16;

/// The most streams of one association. Clients open three and ask for 1024.
const MAX_STREAMS: u16 = 1024;

/// SCTP payload of one datagram, bytes: 1200 less DTLS and SCTP framing.
const MAX_PAYLOAD: u32 = 1120;

/// The address by which SCTP tells associations apart; there is only ever one here.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5000);

const DCEP_OPEN: u8 = 0x03;
const DCEP_ACK: u8 = 0x02;

/// Priority of our channels (RFC 8831, section 6.4).
const NORMAL_PRIORITY: u16 = 256;

/// The channels that we open, in the way clients open theirs: label; whether unordered and never retransmitted.
const CHANNELS: [(DataChannel, &str, bool); 3] = [
    (DataChannel::Reliable, "_reliable", false),
    (DataChannel::Lossy, "_lossy", true),
    (DataChannel::DataTrack, "_data_track", true),
];

/// Streams of our channels: even as the client of DTLS, odd as its server (RFC 8832, section 6).
fn our_streams(role: DtlsRole) -> [StreamId; 3] {
    match role {
        DtlsRole::Client => [0, 2, 4],
        DtlsRole::Server => [1, 3, 5],
    }
}

/// Offset of the chunk type, behind the common header (RFC 9260, section 3).
const CHUNK_TYPE: usize = 12;
const INIT: u8 = 1;

/// The messages that are left in SCTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// None.
    None,
    /// Messages on all channels but those for packets that may be lost.
    Reliable,
    /// All.
    All,
}

/// The outcome of sending a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    /// The message is on its way.
    Sent,
    /// The message is lost: too much waits for the client.
    Full,
    /// The message is lost: it is longer than the client takes.
    TooLong,
    /// The message is lost: the channel is not open.
    Closed,
}

/// A message that was read.
#[derive(Debug)]
pub struct Incoming {
    /// Length of the message, bytes.
    pub len: usize,
    /// The channel, `None` for an unknown label, and the message. `None`: the message was not for the reader.
    pub content: Option<(Option<DataChannel>, Vec<u8>)>,
}

/// Bytes that were written to a stream and are not acknowledged, an upper bound.
#[derive(Debug)]
struct Waiting {
    id: StreamId,
    /// Generation of the stream, which may be closed and opened again; bytes written before still wait until they are
    /// sent.
    generation: u64,
    /// The channel; `None`: answers to openings.
    channel: Option<DataChannel>,
    bytes: usize,
}

/// One peer's data channels.
pub struct DataChannels {
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Association)>,
    /// Streams of the open channels, by [`DataChannel`].
    streams: [Option<StreamId>; 3],
    /// Streams of open channels with other labels.
    others: Vec<StreamId>,
    /// Streams whose opening was answered, whatever they are.
    answered: FxHashSet<StreamId>,
    /// The bytes that wait on each stream, those of closed channels included: otherwise a client that opens one channel
    /// after the other could make us keep any amount.
    waiting: Vec<Waiting>,
    /// Channels that were opened and not reported yet.
    opened: Vec<DataChannel>,
    /// Streams that have data to read, in order of arrival.
    readable: Vec<StreamId>,
    /// The longest message that goes out to the client, bytes.
    max_message_size: usize,
    /// We open the channels, not the client.
    opens: bool,
    role: DtlsRole,
    /// Set while we have yet to begin the association: a server of DTLS may wait for that.
    to_connect: Option<ClientConfig>,
}

impl DataChannels {
    /// Data channels that wait for the client's association where we are the server of DTLS, and begin one where we are
    /// its client. `max_message_size` is what the client accepts (SDP; 0 means no limit). `opens`: we open the channels
    /// once the association is there.
    pub fn new(max_message_size: u64, opens: bool, role: DtlsRole) -> Self {
        let mut endpoint_config = EndpointConfig::default();
        endpoint_config.max_payload_size(MAX_PAYLOAD);
        let transport = Arc::new(
            TransportConfig::default()
                .with_max_init_retransmits(None)
                .with_max_data_retransmits(None)
                .with_rto_max_ms(MAX_RETRANSMIT_WAIT)
                .with_max_num_inbound_streams(MAX_STREAMS)
                .with_max_num_outbound_streams(MAX_STREAMS)
                .with_max_receive_buffer_size(1024 * 1024)
                .with_max_receive_message_size(MAX_MESSAGE_SIZE)
                .with_max_send_message_size(MAX_SENT_MESSAGE as u32),
        );
        let mut server_config = ServerConfig::default();
        server_config.transport = transport.clone();
        let mut to_connect = None;
        if role == DtlsRole::Client {
            let mut config = ClientConfig::default();
            config.transport = transport;
            to_connect = Some(config);
        }
        Self {
            endpoint: Endpoint::new(Arc::new(endpoint_config), Some(Arc::new(server_config))),
            association: None,
            streams: [None; 3],
            others: Vec::new(),
            answered: FxHashSet::default(),
            waiting: Vec::new(),
            opened: Vec::new(),
            readable: Vec::new(),
            opens,
            role,
            to_connect,
            max_message_size: match usize::try_from(max_message_size) {
                Ok(size @ 1..MAX_SENT_MESSAGE) => size,
                _ => MAX_SENT_MESSAGE,
            },
        }
    }

    /// Begins the association, where that is up to us. Called when DTLS is up.
    pub fn connect(&mut self) {
        if let Some(config) = self.to_connect.take() {
            self.association = self.endpoint.connect(config, PEER).ok();
        }
    }

    /// Takes one SCTP packet that came over DTLS.
    pub fn handle_packet(&mut self, packet: &[u8], now: Instant) {
        // Where both begin, the client answers ours (RFC 9260, section 5.2.1), and that will do.
        if self.role == DtlsRole::Client && packet.get(CHUNK_TYPE) == Some(&INIT) {
            return;
        }
        let data = Bytes::copy_from_slice(packet);
        match self.endpoint.handle(now, PEER, None, None, data) {
            None => {}
            // WebRTC has one association; a second INIT is a retransmission that lost its race.
            Some((handle, DatagramEvent::NewAssociation(association))) => {
                self.association.get_or_insert((handle, association));
            }
            Some((handle, DatagramEvent::AssociationEvent(event))) => {
                if let Some((ours, association)) = &mut self.association
                    && *ours == handle
                {
                    association.handle_event(event);
                }
            }
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some((handle, association)) = &mut self.association else {
            return;
        };
        association.handle_timeout(now);
        while let Some(event) = association.poll_endpoint_event() {
            if let Some(reply) = self.endpoint.handle_event(*handle, event) {
                association.handle_event(reply);
            }
        }
    }

    /// The instant at which [`DataChannels::handle_timeout`] must be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.association
            .as_ref()
            .and_then(|(_, association)| association.poll_timeout())
    }

    /// Calls `send` for each SCTP packet that must go out.
    pub fn poll_transmit(&mut self, now: Instant, mut send: impl FnMut(&[u8])) {
        let mut emit = |transmit: sctp_proto::Transmit| {
            if let Payload::RawEncode(packets) = transmit.payload {
                packets.iter().for_each(|packet| send(packet));
            }
        };
        while let Some(transmit) = self.endpoint.poll_transmit() {
            emit(transmit);
        }
        if let Some((_, association)) = &mut self.association {
            while let Some(transmit) = association.poll_transmit(now) {
                emit(transmit);
            }
        }
    }

    /// Whether this channel is open, whoever opened it.
    pub fn is_open(&self, channel: DataChannel) -> bool {
        self.streams[channel as usize].is_some()
    }

    /// Channels that were opened since the last call.
    pub fn take_opened(&mut self) -> Vec<DataChannel> {
        std::mem::take(&mut self.opened)
    }

    /// Queues one message.
    pub fn send(&mut self, channel: DataChannel, message: &[u8]) -> SendOutcome {
        let Some(id) = self.streams[channel as usize] else {
            return SendOutcome::Closed;
        };
        if message.len() > self.max_message_size {
            return SendOutcome::TooLong;
        }
        let limit = match channel {
            DataChannel::Reliable => MAX_BUFFERED_RELIABLE,
            DataChannel::Lossy | DataChannel::DataTrack => MAX_BUFFERED_LOSSY,
        };
        let waiting = self.waiting(Some(channel));
        if waiting > 0 && waiting + message.len() > limit {
            return SendOutcome::Full;
        }
        match self.write(id, Some(channel), message) {
            Some(()) => SendOutcome::Sent,
            None => SendOutcome::Closed,
        }
    }

    /// Number of bytes that were queued on a channel, whichever streams carried it, and are not acknowledged.
    pub fn unread(&mut self, channel: DataChannel) -> usize {
        self.waiting(Some(channel))
    }

    fn write(&mut self, id: StreamId, channel: Option<DataChannel>, message: &[u8]) -> Option<()> {
        let (_, association) = self.association.as_mut()?;
        let mut stream = association.stream(id).ok()?;
        let generation = stream.stats().ok()?.generation;
        let ppi = match channel {
            Some(_) => Ppi::Binary,
            None => Ppi::Dcep,
        };
        stream.write_with_ppi(message, ppi).ok()?;
        let of = |one: &Waiting| (one.id, one.generation, one.channel);
        let mut waiting = self.waiting.iter_mut();
        match waiting.find(|one| of(one) == (id, generation, channel)) {
            Some(one) => one.bytes += message.len(),
            None => self.waiting.push(Waiting {
                id,
                generation,
                channel,
                bytes: message.len(),
            }),
        }
        Some(())
    }

    fn waiting(&mut self, channel: Option<DataChannel>) -> usize {
        let Some((_, association)) = &mut self.association else {
            return 0;
        };
        self.waiting.retain_mut(|one| {
            let stream = association.stream(one.id).ok();
            let is_it = |generation| generation == one.generation;
            if let Some(stream) = stream.filter(|s| s.stats().is_ok_and(|s| is_it(s.generation))) {
                one.bytes = one.bytes.min(stream.buffered_amount().unwrap_or(0));
            }
            one.bytes > 0
        });
        let of_it = self.waiting.iter().filter(|one| one.channel == channel);
        of_it.map(|one| one.bytes).sum()
    }

    /// Forgets what waits on a closed stream: the other side has all that was written to it before.
    fn reset(&mut self, id: StreamId) {
        let Some((_, association)) = &mut self.association else {
            return;
        };
        let stream = association.stream(id).ok();
        let current = stream.and_then(|stream| stream.stats().ok());
        let current = current.map(|stats| stats.generation);
        self.waiting
            .retain(|one| one.id != id || Some(one.generation) == current);
    }

    fn opened(&mut self, channel: DataChannel, id: StreamId) {
        self.streams[channel as usize] = Some(id);
        if !self.opened.contains(&channel) {
            self.opened.push(channel);
        }
    }

    /// The next whole message. Answers DCEP. A message that is held stays in SCTP, and its sender's window closes.
    pub fn poll_message(&mut self, hold: Hold) -> Option<Incoming> {
        self.collect_readable();
        let mut next = 0;
        while let Some(&id) = self.readable.get(next) {
            let may_be_lost = |id: StreamId| {
                let known = self.channel_of(id);
                known.is_some_and(|channel| channel != DataChannel::Reliable)
            };
            let is_held = match hold {
                Hold::None => false,
                Hold::Reliable => !may_be_lost(id),
                Hold::All => true,
            };
            if is_held && self.is_open_stream(id) {
                next += 1;
                continue;
            }
            let (_, association) = self.association.as_mut()?;
            let message = association
                .stream(id)
                .ok()
                .and_then(|mut stream| stream.read().ok().flatten());
            let Some(chunks) = message else {
                self.readable.remove(next);
                continue;
            };
            let mut buffer = vec![0; chunks.len()];
            if chunks.read(&mut buffer).is_err() {
                continue;
            }
            let len = buffer.len();
            let content = match chunks.ppi {
                Ppi::Dcep => {
                    self.handle_dcep(id, &buffer);
                    None
                }
                Ppi::Binary | Ppi::String if self.is_open_stream(id) => {
                    Some((self.channel_of(id), buffer))
                }
                _ => None,
            };
            return Some(Incoming { len, content });
        }
        None
    }

    fn is_open_stream(&self, id: StreamId) -> bool {
        self.streams.contains(&Some(id)) || self.others.contains(&id)
    }

    fn channel_of(&self, id: StreamId) -> Option<DataChannel> {
        [
            DataChannel::Reliable,
            DataChannel::Lossy,
            DataChannel::DataTrack,
        ]
        .into_iter()
        .find(|channel| self.streams[*channel as usize] == Some(id))
    }

    fn collect_readable(&mut self) {
        let Some((_, association)) = &mut self.association else {
            return;
        };
        let (mut is_up, mut is_lost, mut reset) = (false, false, Vec::new());
        // Streams are recognised by the messages on them.
        while association.accept_stream().is_some() {}
        while let Some(event) = association.poll() {
            match event {
                Event::Connected => is_up = self.opens,
                Event::AssociationLost { .. } => is_lost = true,
                Event::Stream(StreamEvent::Readable { id }) if !self.readable.contains(&id) => {
                    self.readable.push(id)
                }
                Event::Stream(StreamEvent::Finished { id } | StreamEvent::Stopped { id, .. }) => {
                    for stream in &mut self.streams {
                        if *stream == Some(id) {
                            *stream = None;
                        }
                    }
                    self.others.retain(|other| *other != id);
                    self.answered.remove(&id);
                }
                // A reset begins when every byte is acknowledged. It is over, whatever the other side answers.
                Event::Stream(
                    StreamEvent::ResetComplete { id } | StreamEvent::ResetFailed { id, .. },
                ) => reset.push(id),
                _ => {}
            }
        }
        reset.into_iter().for_each(|id| self.reset(id));
        if is_lost {
            self.waiting.clear();
        }
        if is_up {
            self.open_channels();
        }
    }

    /// Opens our channels. Messages on an ordered channel follow its opening; on other channels they could arrive
    /// before it, so that they wait for the acknowledgement.
    fn open_channels(&mut self) {
        let streams = our_streams(self.role);
        let Some((_, association)) = &mut self.association else {
            return;
        };
        let mut ordered = None;
        for ((channel, label, lossy), id) in CHANNELS.into_iter().zip(streams) {
            let reliability = match lossy {
                true => ReliabilityType::Rexmit,
                false => ReliabilityType::Reliable,
            };
            let Ok(mut stream) = association.open_stream(id, Ppi::Binary) else {
                continue;
            };
            let opened = stream.set_reliability_params(lossy, reliability, 0).is_ok()
                && stream
                    .write_with_ppi(&open_message(label, lossy), Ppi::Dcep)
                    .is_ok();
            if opened && !lossy {
                ordered = Some((channel, id));
            }
        }
        if let Some((channel, id)) = ordered {
            self.opened(channel, id);
        }
    }

    /// Takes a DATA_CHANNEL_ACK for a channel of ours.
    fn acknowledged(&mut self, id: StreamId) {
        for ((channel, ..), ours) in CHANNELS.into_iter().zip(our_streams(self.role)) {
            if ours == id {
                self.opened(channel, id);
            }
        }
    }

    /// Takes a DCEP message. A DATA_CHANNEL_OPEN is acknowledged, its stream remembered, with the reliability that the
    /// client chose.
    fn handle_dcep(&mut self, id: StreamId, message: &[u8]) -> Option<()> {
        // pion's acknowledgement has three more bytes.
        if message.first() == Some(&DCEP_ACK) {
            if self.opens {
                self.acknowledged(id);
            }
            return None;
        }
        let open = DcepOpen::parse(message)?;
        if self.answered.contains(&id) || self.waiting(None) >= MAX_ANSWERS {
            return None;
        }
        self.acknowledge(id, &open)?;
        self.answered.insert(id);
        let channel = match open.label {
            b"_reliable" => Some(DataChannel::Reliable),
            b"_lossy" => Some(DataChannel::Lossy),
            b"_data_track" => Some(DataChannel::DataTrack),
            _ => None,
        };
        match channel {
            // Where we open the channels, only ours count.
            Some(_) if self.opens => {}
            Some(channel) if self.is_open(channel) => {}
            Some(channel) => self.opened(channel, id),
            None if self.others.len() >= MAX_OTHERS => {}
            None => self.others.push(id),
        }
        Some(())
    }

    fn acknowledge(&mut self, id: StreamId, open: &DcepOpen<'_>) -> Option<()> {
        let (_, association) = self.association.as_mut()?;
        let mut stream = association.stream(id).ok()?;
        stream
            .set_reliability_params(open.unordered, open.reliability, open.parameter)
            .ok()?;
        self.write(id, None, &[DCEP_ACK])
    }
}

/// A DATA_CHANNEL_OPEN message (RFC 8832, section 5.1).
fn open_message(label: &str, lossy: bool) -> Vec<u8> {
    // Channel type: unordered, with a limit of retransmissions.
    let kind = if lossy { 0x81 } else { 0 };
    let mut message = vec![DCEP_OPEN, kind];
    message.extend(NORMAL_PRIORITY.to_be_bytes());
    message.extend(0_u32.to_be_bytes());
    debug_assert!(label.len() <= usize::from(u16::MAX));
    message.extend((label.len() as u16).to_be_bytes());
    message.extend(0_u16.to_be_bytes());
    message.extend(label.as_bytes());
    message
}

/// A parsed DATA_CHANNEL_OPEN message.
struct DcepOpen<'a> {
    unordered: bool,
    reliability: ReliabilityType,
    parameter: u32,
    label: &'a [u8],
}

impl<'a> DcepOpen<'a> {
    fn parse(message: &'a [u8]) -> Option<Self> {
        let (head, rest) = message.split_first_chunk::<12>()?;
        if head[0] != DCEP_OPEN {
            return None;
        }
        let reliability = match head[1] & 0x7f {
            0 => ReliabilityType::Reliable,
            1 => ReliabilityType::Rexmit,
            2 => ReliabilityType::Timed,
            _ => return None,
        };
        Some(Self {
            unordered: head[1] & 0x80 != 0,
            reliability,
            parameter: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
            label: rest.get(..u16::from_be_bytes([head[8], head[9]]) as usize)?,
        })
    }
}

#[cfg(test)]
mod tests;
