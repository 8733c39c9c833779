//! One ICE, DTLS and SRTP association with a client: the only place that names `is`, `dimpl` and (below) `sctp-proto`.
//!
//! Order of trust: no byte of DTLS, SRTP or SRTCP is looked at before a STUN check with a valid MAC came from the same
//! address; only a check with USE-CANDIDATE moves the address we send to; media flows only after the certificate of
//! the DTLS peer matched the fingerprint of its SDP.

mod dtls;
mod fingerprint;
mod ice;
mod sctp;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use aws_lc_rs::digest;
use is::stun::StunMessage;
use protocol::budget::Budget;

pub use ice::{parse_stun, random_credentials, stream_shard};
pub use sctp::{MAX_MESSAGE_SIZE, MAX_SENT_MESSAGE, SendOutcome};

use crate::{
    api::{Config, DataChannel, Datagram, Destination, DisconnectReason, SendBatch},
    negotiate::{IceCredentials, RemoteParameters},
    rtp::RtpHeader,
    sdp::Setup,
    srtp::{self, DtlsRole, SrtpError, SrtpReceiver, SrtpSender},
};
use dtls::{Association, DtlsContext, DtlsOutput, Progress};
use ice::IceLite;
use sctp::{DataChannels, Hold};

/// The most addresses with a valid STUN check that one peer may have at a time. A phone that changes network has two or
/// three.
const MAX_VALIDATED: usize = 8;

/// The STUN checks of one client that are taken: per second, and at once. A client paces its checks at 20 a second (RFC
/// 8445, section 14.2) over all its addresses; later it asks for consent every few seconds.
const CHECKS: (u32, u32) = (50, 400);

/// The addresses from which one client may newly be heard: per second, and at once.
const NEW_ADDRESSES: (u32, u32) = (1, 24);

/// Bytes that each data packet counts for beside its payload: small packets cost as much to handle.
const MESSAGE_COST: u32 = 200;

/// Parts of a transport that all transports of a shard share.
pub struct TransportContext {
    dtls: DtlsContext,
    max_data_rate: u32,
    consent_timeout: Duration,
    connect_timeout: Duration,
}

impl TransportContext {
    /// The parts, made from the shard's configuration.
    pub fn new(config: &Config) -> Self {
        let certificate = &config.certificate;
        let dtls = DtlsContext::new(
            certificate.certificate.clone(),
            certificate.private_key.clone(),
        );
        Self {
            dtls,
            max_data_rate: config.max_data_rate,
            consent_timeout: Duration::from_millis(config.consent_timeout_ms.into()),
            connect_timeout: Duration::from_millis(config.connect_timeout_ms.into()),
        }
    }
}

/// A report of a transport to its peer.
#[derive(Debug)]
pub enum TransportEvent {
    /// A STUN check with a valid MAC came on this path: its datagrams belong to this transport.
    Validated(Destination),
    /// A path was dropped to make room for another: nothing is taken from there any more.
    Forgotten(Destination),
    /// ICE and DTLS are up.
    Connected,
    /// The transport is gone, or silent until an ICE restart.
    Disconnected(DisconnectReason),
    /// The client opened a data channel.
    Opened(DataChannel),
    /// A message on a data channel; `None`: on one with a label that LiveKit does not know.
    Data(Option<DataChannel>, Vec<u8>),
}

/// The reason why the transport dropped a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportError {
    /// STUN that is malformed, unauthenticated, or not for this transport.
    Stun,
    /// DTLS before a valid check from this address, or after the end.
    NotValidated,
    /// SRTP that could not be opened.
    Srtp(SrtpError),
    /// SRTP before DTLS is done.
    NoKeys,
    /// STUN checks above the client's budget, or from more addresses than it may have.
    TooMany,
}

/// ICE, DTLS, SRTP and data channels of one client.
pub struct Transport {
    ice: IceLite,
    dtls: Association,
    has_remote: bool,
    srtp: Option<Box<(SrtpSender, SrtpReceiver)>>,
    data: Option<DataChannels>,
    validated: Vec<Destination>,
    checks: Budget,
    new_addresses: Budget,
    data_budget: Budget,
    /// When there is budget again for messages that wait in SCTP.
    data_wait: Option<Instant>,
    /// Messages that may not be lost stay in SCTP for now.
    holds_reliable: bool,
    /// Messages are read; until then all stay in SCTP.
    takes_data: bool,
    created: Instant,
    /// We open the data channels, not the client.
    opens_channels: bool,
    /// Last STUN check with a valid MAC (RFC 7675 consent, in the server's simple form: the client checks us).
    last_check: Option<Instant>,
    connected: bool,
    /// A path of the transport was given up: only the client can nominate another (RFC 7675).
    was_lost: bool,
    closed: bool,
    events: VecDeque<TransportEvent>,
}

impl Transport {
    /// A transport that waits for the client's first description. `opens_channels`: we open the data channels, not the
    /// client.
    pub fn new(
        context: &TransportContext,
        ice: IceCredentials,
        opens_channels: bool,
        now: Instant,
    ) -> Self {
        let dtls = Association::new(&context.dtls, DtlsRole::Server, seed(&ice), now);
        Self {
            ice: IceLite::new(ice),
            dtls,
            has_remote: false,
            srtp: None,
            data: None,
            validated: Vec::new(),
            checks: Budget::new(CHECKS.0, CHECKS.1, now),
            new_addresses: Budget::new(NEW_ADDRESSES.0, NEW_ADDRESSES.1, now),
            data_budget: Budget::new(
                context.max_data_rate,
                context.max_data_rate.saturating_mul(2),
                now,
            ),
            data_wait: None,
            holds_reliable: false,
            takes_data: false,
            created: now,
            opens_channels,
            last_check: None,
            connected: false,
            was_lost: false,
            closed: false,
            events: VecDeque::new(),
        }
    }

    /// Our `a=ice-ufrag`.
    pub fn ice_ufrag(&self) -> &str {
        &self.ice.local().ufrag
    }

    /// Sets the credentials under which the client reaches us first.
    pub fn set_ice(&mut self, local: &IceCredentials) {
        self.ice.restart(local.clone());
    }

    /// Takes new credentials for an ICE restart (RFC 8445 section 9). Media goes on along the old path until the client
    /// nominates a new one. The transport's ufrag changes.
    pub fn restart_ice(&mut self, local: &IceCredentials, now: Instant) {
        self.ice.restart(local.clone());
        self.last_check = Some(now);
        self.created = now;
    }

    /// Whether a description of the client was taken over.
    pub fn has_remote(&self) -> bool {
        self.has_remote
    }

    /// Takes over the client's parameters. Another DTLS role than before means another association.
    pub fn set_remote(
        &mut self,
        context: &TransportContext,
        remote: &RemoteParameters,
        now: Instant,
    ) {
        // A client may describe its side never, or much later: its time to connect begins with its description.
        if !std::mem::replace(&mut self.has_remote, true) {
            self.created = now;
        }
        self.ice.set_remote(&remote.ice);
        let role = match remote.setup {
            Setup::Passive => DtlsRole::Client,
            _ => DtlsRole::Server,
        };
        if role != self.dtls.role() {
            self.begin_anew(context, role, now);
        }
        self.dtls.expect(&remote.fingerprints);
        if let Some(sctp) = remote.sctp
            && self.data.is_none()
        {
            self.data = Some(DataChannels::new(
                sctp.max_message_size,
                self.opens_channels,
                role,
            ));
        }
    }

    /// Begins another DTLS association. Keys and data channels end with their association (RFC 8842, section 4).
    fn begin_anew(&mut self, context: &TransportContext, role: DtlsRole, now: Instant) {
        let seed = seed(self.ice.local());
        self.dtls = Association::new(&context.dtls, role, seed, now);
        self.srtp = None;
        self.data = None;
        self.connected = false;
        self.created = now;
    }

    /// Whether ICE and DTLS are up.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// The path that we send to, once the client has nominated one.
    pub fn path(&self) -> Option<Destination> {
        self.ice.path()
    }

    /// Whether the client seems to be elsewhere than on the path that we send to.
    pub fn is_path_in_doubt(&self, now: Instant) -> bool {
        self.ice.is_in_doubt(now)
    }

    /// The outbound keys and path, when media may be sent.
    pub fn sender(&self) -> Option<(&SrtpSender, Destination)> {
        match (&self.srtp, self.path_for_now(), self.connected) {
            (Some(keys), Some(path), true) => Some((&keys.0, path)),
            _ => None,
        }
    }

    /// Connects to `to`, with keys that no client has. DTLS and ICE know nothing of it.
    #[cfg(test)]
    pub fn connect_to(&mut self, to: Destination) {
        let profile = crate::srtp::SrtpProfile::AeadAes128Gcm;
        let material = vec![1; profile.keying_material_len()];
        let keys = crate::srtp::from_keying_material(profile, &material, DtlsRole::Server);
        self.srtp = keys.ok().map(Box::new);
        self.validated.push(to);
        self.connected = true;
    }

    /// Handles a STUN message whose USERNAME names this transport.
    pub fn handle_stun(
        &mut self,
        context: &TransportContext,
        message: StunMessage<'_>,
        datagram: &Datagram<'_>,
        now: Instant,
        out: &mut impl SendBatch,
    ) -> Result<(), TransportError> {
        if self.closed {
            return Err(TransportError::NotValidated);
        }
        // The limit counts checks with a valid MAC only: nobody else can use up the client's budget.
        let check = self.ice.check(&message).ok_or(TransportError::Stun)?;
        let from = datagram.path();
        let is_new = !self.validated.contains(&from);
        if !self.checks.take(1, now) || (is_new && !self.new_addresses.take(1, now)) {
            return Err(TransportError::TooMany);
        }
        self.last_check = Some(now);
        if is_new {
            self.validate(from);
        }
        // Reported each time: the demultiplexer forgets addresses that move to another peer.
        self.events.push_back(TransportEvent::Validated(from));
        if self.ice.checked(from, check, now) {
            self.update_connected();
        }
        self.ice
            .reply(&message, from.remote, |reply| send(out, from, reply));
        self.begin_dtls(context, now, out);
        Ok(())
    }

    fn validate(&mut self, from: Destination) {
        if self.validated.len() == MAX_VALIDATED {
            // The oldest address that we do not send to makes room.
            let oldest = self
                .validated
                .iter()
                .position(|address| Some(*address) != self.ice.path())
                .unwrap_or(0);
            let forgotten = self.validated.remove(oldest);
            self.events.push_back(TransportEvent::Forgotten(forgotten));
        }
        self.validated.push(from);
    }

    /// Handles a DTLS record.
    pub fn handle_dtls(
        &mut self,
        context: &TransportContext,
        datagram: &Datagram<'_>,
        now: Instant,
        out: &mut impl SendBatch,
    ) -> Result<(), TransportError> {
        // The client's description says whose certificate is to be expected.
        if !self.is_validated(datagram) || self.closed || !self.has_remote() {
            return Err(TransportError::NotValidated);
        }
        self.dtls.handle(&context.dtls, datagram.payload, now);
        self.drive_dtls(now, out);
        Ok(())
    }

    /// Begins DTLS where the client leaves it to us: as soon as there is a path.
    fn begin_dtls(&mut self, context: &TransportContext, now: Instant, out: &mut impl SendBatch) {
        if self.may_begin_dtls() {
            self.dtls.begin(&context.dtls, now);
            self.drive_dtls(now, out);
        }
    }

    fn may_begin_dtls(&self) -> bool {
        !self.closed && self.dtls.may_begin() && self.path_for_now().is_some()
    }

    /// Opens an SRTP packet into `out`; returns the length of the payload and the packet's index (RFC 3711 3.3.1).
    pub fn open_rtp(
        &mut self,
        datagram: &Datagram<'_>,
        header: &RtpHeader,
        out: &mut [u8],
    ) -> Result<(usize, u64), TransportError> {
        let receiver = self.receiver(datagram)?;
        receiver
            .open_rtp(datagram.payload, header, out)
            .map_err(TransportError::Srtp)
    }

    /// Opens an SRTCP packet into `out`; returns the length of the compound packet.
    pub fn open_rtcp(
        &mut self,
        datagram: &Datagram<'_>,
        out: &mut [u8],
    ) -> Result<usize, TransportError> {
        let receiver = self.receiver(datagram)?;
        receiver
            .open_rtcp(datagram.payload, out)
            .map_err(TransportError::Srtp)
    }

    /// Seals a compound RTCP packet and sends it.
    pub fn send_rtcp(&mut self, compound: &[u8], out: &mut impl SendBatch) {
        let path = self.path_for_now();
        let (Some(keys), Some(path), true) = (&mut self.srtp, path, self.connected) else {
            return;
        };
        let Some(buffer) = out.reserve(path, compound.len() + srtp::MAX_RTCP_OVERHEAD) else {
            return;
        };
        buffer[..compound.len()].copy_from_slice(compound);
        if let Ok(len) = keys.0.seal_rtcp(buffer, compound.len()) {
            out.commit(len);
        }
    }

    /// Whether the client has this channel open.
    pub fn is_open(&self, channel: DataChannel) -> bool {
        self.data.as_ref().is_some_and(|data| data.is_open(channel))
    }

    /// Queues a data channel message, which goes out with the next [`Transport::flush_data`].
    pub fn send_data(&mut self, channel: DataChannel, message: &[u8]) -> SendOutcome {
        let data = self.data.as_mut();
        data.map_or(SendOutcome::Closed, |data| data.send(channel, message))
    }

    /// Number of bytes sent on a channel that the client has not acknowledged.
    pub fn unread(&mut self, channel: DataChannel) -> usize {
        self.data.as_mut().map_or(0, |data| data.unread(channel))
    }

    /// Sets whether messages that may not be lost are left in SCTP, whose window closes then.
    pub fn hold_reliable(&mut self, hold: bool) {
        self.holds_reliable = hold;
    }

    /// Reads messages from now on; until then all are left in SCTP.
    pub fn take_data(&mut self) {
        self.takes_data = true;
    }

    /// Sends what the data channels have queued.
    pub fn flush_data(&mut self, now: Instant, out: &mut impl SendBatch) {
        if self.dtls.is_done() && !self.closed {
            self.drive_data(now, out);
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(
        &mut self,
        context: &TransportContext,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        if self.closed {
            return;
        }
        self.begin_dtls(context, now, out);
        if self.dtls.poll_timeout().is_some_and(|wake| now >= wake) {
            self.dtls.handle_timeout(&context.dtls, now);
            self.drive_dtls(now, out);
        }
        if let Some(data) = &mut self.data
            && data.poll_timeout().is_some_and(|wake| now >= wake)
        {
            data.handle_timeout(now);
        }
        if self
            .consent_deadline(context)
            .is_some_and(|deadline| now >= deadline)
        {
            let reason = match self.connected {
                true => DisconnectReason::ConsentLost,
                false => DisconnectReason::ConnectTimeout,
            };
            self.lose_path(reason);
        }
    }

    /// The instant at which [`Transport::handle_timeout`] must be called.
    pub fn poll_timeout(&self, context: &TransportContext) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let data = self.data.as_ref().and_then(DataChannels::poll_timeout);
        let begin = self.dtls.ready_at().filter(|_| self.may_begin_dtls());
        [
            self.dtls.poll_timeout(),
            begin,
            data,
            self.data_wait,
            self.consent_deadline(context),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next event, without data channel messages.
    pub fn poll_event(&mut self) -> Option<TransportEvent> {
        self.events.pop_front()
    }

    /// The next event, data channel messages included: as many as there is budget for. Afterwards
    /// [`Transport::flush_data`] is due.
    pub fn poll(&mut self, now: Instant) -> Option<TransportEvent> {
        if self.events.is_empty() && self.dtls.is_done() && !self.closed {
            self.read_data(now);
        }
        self.events.pop_front()
    }

    /// The addresses that led to this transport, to be forgotten with it.
    pub fn validated(&self) -> &[Destination] {
        &self.validated
    }

    /// Says goodbye (DTLS close_notify) where that is still possible.
    pub fn close(&mut self, now: Instant, out: &mut impl SendBatch) {
        if !self.closed && self.dtls.is_done() {
            self.dtls.close();
            self.drive_dtls(now, out);
        }
        self.closed = true;
        self.events.clear();
    }

    fn is_validated(&self, datagram: &Datagram<'_>) -> bool {
        self.validated.contains(&datagram.path())
    }

    fn receiver(&mut self, datagram: &Datagram<'_>) -> Result<&mut SrtpReceiver, TransportError> {
        if !self.is_validated(datagram) {
            return Err(TransportError::NotValidated);
        }
        match &mut self.srtp {
            Some(keys) if self.connected => Ok(&mut keys.1),
            _ => Err(TransportError::NoKeys),
        }
    }

    /// When the transport counts as lost, if the client stays silent. `None` once that has been reported.
    fn consent_deadline(&self, context: &TransportContext) -> Option<Instant> {
        match (self.connected, self.last_check) {
            _ if !self.has_remote => None,
            (true, Some(check)) => Some(check + context.consent_timeout),
            (false, _) if self.ice.path().is_none() && self.dtls.is_done() => None,
            _ => Some(self.created + context.connect_timeout),
        }
    }

    /// The path before the client has first nominated one: a validated address will do (RFC 8445, section 12.1: any
    /// valid pair may carry data until one is selected). Some clients repeat a lost nomination only after seconds, and
    /// nobody would be heard until then.
    fn path_for_now(&self) -> Option<Destination> {
        let validated = self.validated.last().filter(|_| !self.was_lost);
        self.ice.path().or(validated.copied())
    }

    fn drive_dtls(&mut self, now: Instant, out: &mut impl SendBatch) {
        let to = self.path_for_now();
        let data = &mut self.data;
        let progress = self.dtls.drive(now, |output| match output {
            DtlsOutput::Packet(packet) => {
                if let Some(to) = to {
                    send(out, to, packet);
                }
            }
            DtlsOutput::Data(packet) => {
                if let Some(data) = data {
                    data.handle_packet(packet, now);
                }
            }
        });
        match progress {
            Progress::Same => {}
            Progress::Done(keys) => self.srtp = Some(keys),
            Progress::Closed => return self.fail(DisconnectReason::ClosedByPeer),
            Progress::Failed => return self.fail(DisconnectReason::DtlsFailed),
        }
        if self.dtls.is_done() {
            self.update_connected();
        }
    }

    /// Reads one message, where there is one and budget for it. A message that is not for the reader costs the same.
    fn read_data(&mut self, now: Instant) {
        let Some(data) = &mut self.data else { return };
        data.connect();
        self.data_wait = None;
        let hold = match (self.takes_data, self.holds_reliable) {
            (false, _) => Hold::All,
            (true, true) => Hold::Reliable,
            (true, false) => Hold::None,
        };
        while self.events.is_empty() {
            if self.data_budget.is_spent(now) {
                self.data_wait = Some(self.data_budget.ready_at());
                return;
            }
            let incoming = data.poll_message(hold);
            let opened = data.take_opened().into_iter();
            self.events.extend(opened.map(TransportEvent::Opened));
            let Some(incoming) = incoming else { return };
            let cost = (incoming.len as u32).saturating_add(MESSAGE_COST);
            self.data_budget.spend(cost, now);
            let content = incoming.content;
            self.events
                .extend(content.map(|(channel, message)| TransportEvent::Data(channel, message)));
        }
    }

    /// Sends the SCTP packets that are ready; each is one DTLS record.
    fn drive_data(&mut self, now: Instant, out: &mut impl SendBatch) {
        let to = self.path_for_now();
        let Some(data) = &mut self.data else { return };
        let dtls = &mut self.dtls;
        data.poll_transmit(now, |packet| {
            dtls.send(packet, now, |record| {
                if let Some(to) = to {
                    send(out, to, record);
                }
            });
        });
    }

    fn update_connected(&mut self) {
        if !self.connected
            && self.dtls.is_done()
            && self.path_for_now().is_some()
            && self.srtp.is_some()
        {
            self.connected = true;
            self.events.push_back(TransportEvent::Connected);
        }
    }

    /// Gives the path up: the client is silent, but an ICE restart may revive the transport.
    fn lose_path(&mut self, reason: DisconnectReason) {
        if !self.dtls.is_done() {
            return self.fail(reason);
        }
        self.connected = false;
        self.was_lost = true;
        self.ice.lose_path();
        self.events.push_back(TransportEvent::Disconnected(reason));
    }

    /// Ends the transport for good.
    pub fn fail(&mut self, reason: DisconnectReason) {
        if !self.closed {
            self.closed = true;
            self.connected = false;
            self.ice.lose_path();
            self.events.push_back(TransportEvent::Disconnected(reason));
        }
    }
}

fn send(out: &mut impl SendBatch, to: Destination, bytes: &[u8]) {
    if let Some(buffer) = out.reserve(to, bytes.len()) {
        buffer[..bytes.len()].copy_from_slice(bytes);
        out.commit(bytes.len());
    }
}

/// The seed of the random numbers in our ClientHello. Its source, the ICE credentials, is as random, and known to us
/// and the client only.
fn seed(ice: &IceCredentials) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = sha256(ice.pwd.as_bytes());
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// SHA-256 of a certificate, as descriptions name it.
pub fn certificate_fingerprint(certificate: &crate::api::Certificate) -> [u8; 32] {
    sha256(&certificate.certificate)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, bytes);
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    out
}

/// A certificate and its key, for tests of this crate.
#[cfg(test)]
pub fn generate_certificate() -> (Vec<u8>, Vec<u8>) {
    dimpl::certificate::generate_self_signed_certificate()
        .map(|generated| (generated.certificate, generated.private_key))
        .unwrap_or_default()
}
