//! The DTLS association of one transport, in either role, and the handshakes that may end in it.
//!
//! Until a handshake is done anybody who can forge the client's address can send what looks like a part of it. So
//! several are followed at a time, told apart by the random number of the other side's hello; an error ends one of them
//! and not the transport, and the first that ends with the certificate of the description is the association. Records
//! that cannot be told from forgeries and are not needed, alerts in the clear above all, are ignored (RFC 6347, section
//! 4.1.2.7).

mod records;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dimpl::{Config, Dtls, DtlsCertificate, Output};
use protocol::budget::Budget;

use crate::{
    sdp::Fingerprint,
    srtp::{self, DtlsRole, SrtpProfile, SrtpReceiver, SrtpSender},
};
use records::{Hello, hello, plausible};

/// The time until a flight of the DTLS handshake is sent again, the first time; doubled each time after. RFC 6347
/// (section 4.2.4.1) says a second, for a path nobody knows; ICE has just seen this one answer, and browsers begin with
/// 50 ms. It also spaces our answers to a client that repeats its last flight because ours was lost.
const FIRST_RETRANSMISSION: Duration = Duration::from_millis(50);

/// The number of times that a flight is sent again. The last time is after 25 s: a connection that takes so long is
/// given up before.
const RETRANSMISSIONS: usize = 8;

/// The most handshakes that are followed at a time: the client's, and some of somebody who pretends to be the client.
const MAX_HANDSHAKES: usize = 16;

/// The age before which a handshake keeps its place: longer than a round trip. A client that was answered does not
/// begin again; one that was not answered repeats its hello.
const MIN_AGE: Duration = Duration::from_millis(150);

/// The handshakes that may begin: per second, and at once. At once, as many as find a place.
const BEGINNINGS: (u32, u32) = (100, 50);

/// The most HelloVerifyRequests that are followed.
const MAX_COOKIES: usize = 4;

/// The time in which a ServerHello may show that a HelloVerifyRequest was forged. To a server that asked for no cookie,
/// a ClientHello with one is no part of the handshake.
const COOKIE_DELAY: Duration = Duration::from_millis(30);

/// The time from one HelloVerifyRequest that is followed to another: a server that did send one answers its cookie
/// before.
const NEXT_COOKIE: Duration = Duration::from_millis(150);

/// Size of the buffer for records, bytes: larger than any record that we send.
const RECORD_BUFFER: usize = 2048;

/// The part of handshakes that all transports of a shard share.
pub struct DtlsContext {
    config: Arc<Config>,
    certificate: DtlsCertificate,
}

impl DtlsContext {
    /// A context with this certificate and its key, both DER.
    pub fn new(certificate: Vec<u8>, private_key: Vec<u8>) -> Self {
        Self {
            config: Arc::new(config().build().unwrap_or_default()),
            certificate: DtlsCertificate {
                certificate,
                private_key,
            },
        }
    }
}

fn config() -> dimpl::ConfigBuilder {
    // The peer is authenticated by STUN before DTLS is looked at, so the cookie round trip would protect nothing.
    Config::builder()
        .mtu(1200)
        .use_server_cookie(false)
        .require_client_certificate(true)
        .flight_start_rto(FIRST_RETRANSMISSION)
        .flight_retries(RETRANSMISSIONS)
}

/// An output of [`Association::drive`].
pub enum DtlsOutput<'a> {
    /// A packet to be sent.
    Packet(&'a [u8]),
    /// Application data of the peer.
    Data(&'a [u8]),
}

/// The progress of an association.
pub enum Progress {
    /// Nothing changed.
    Same,
    /// The handshake is done: these are the keys for media.
    Done(Box<(SrtpSender, SrtpReceiver)>),
    /// The peer has closed the association.
    Closed,
    /// The association failed, or the peer's certificate is another than its description says.
    Failed,
}

/// The DTLS association of one transport, with the handshakes that may end in it.
pub struct Association {
    role: DtlsRole,
    fingerprints: Vec<Fingerprint>,
    handshakes: Vec<Handshake>,
    beginnings: Budget,
    done: bool,
    failed: bool,
    client: ClientHello,
}

/// The state of our ClientHello. Each answer is followed by a handshake of its own, which begins with the same
/// ClientHello: a forged answer leaves the true one its place.
struct ClientHello {
    /// Seed of its random numbers.
    seed: u64,
    config: Arc<Config>,
    /// When the ClientHello was first sent.
    begun: Option<Instant>,
    cookies: Vec<Cookie>,
    /// When the next HelloVerifyRequest is followed.
    next_cookie: Option<Instant>,
}

/// A HelloVerifyRequest.
struct Cookie {
    value: Vec<u8>,
    datagram: Vec<u8>,
    followed: bool,
}

/// One handshake, done or not.
struct Handshake {
    dtls: Dtls,
    /// Random number of the other side's hello, by which handshakes are told apart.
    random: Option<[u8; 32]>,
    /// Index of the HelloVerifyRequest that this handshake follows, if any.
    cookie: Option<usize>,
    begun: Instant,
    certificate: Certificate,
    srtp: Option<Box<(SrtpSender, SrtpReceiver)>>,
    connected: bool,
    closed: bool,
    failed: bool,
    wake: Option<Instant>,
}

/// The verdict on the peer's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Certificate {
    Unseen,
    Matches,
    Differs,
}

impl Association {
    /// An association that waits for a ClientHello, or for [`Association::begin`]. `seed`: secret and used once.
    pub fn new(context: &DtlsContext, role: DtlsRole, seed: u64, now: Instant) -> Self {
        Self {
            role,
            fingerprints: Vec::new(),
            handshakes: Vec::new(),
            beginnings: Budget::new(BEGINNINGS.0, BEGINNINGS.1, now),
            done: false,
            failed: false,
            client: ClientHello {
                seed,
                config: context.config.clone(),
                begun: None,
                cookies: Vec::new(),
                next_cookie: None,
            },
        }
    }

    /// Our role.
    pub fn role(&self) -> DtlsRole {
        self.role
    }

    /// Whether the handshake is done.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Sets the fingerprints from the SDP; one of them must be the certificate's.
    pub fn expect(&mut self, fingerprints: &[Fingerprint]) {
        self.fingerprints = fingerprints.to_vec();
    }

    /// Whether we are the client and have not sent a ClientHello yet.
    pub fn may_begin(&self) -> bool {
        self.role == DtlsRole::Client
            && !self.done
            && !self.failed
            && self.handshakes.is_empty()
            && !self.fingerprints.is_empty()
    }

    /// Sends a ClientHello with the next [`Association::drive`]; another one after a handshake that failed.
    pub fn begin(&mut self, context: &DtlsContext, now: Instant) {
        if !self.may_begin() || !self.beginnings.take(1, now) {
            return;
        }
        if self.client.begun.is_some() {
            self.client.seed = self.client.seed.wrapping_add(1);
        }
        // dimpl's client of both versions takes the first answer for the true one and cannot begin again; its client of
        // 1.2 writes the same ClientHello from the same seed. Clients that insist on being passive (pion, mbedTLS)
        // speak 1.2.
        let config = config().dangerously_set_rng_seed(self.client.seed);
        self.client.config = Arc::new(config.build().unwrap_or_default());
        self.client.begun = Some(now);
        self.client.cookies.clear();
        self.client.next_cookie = None;
        self.handshakes.extend(self.client.hello(context, None));
    }

    /// The instant at which [`Association::begin`] is worth another try.
    pub fn ready_at(&self) -> Option<Instant> {
        self.may_begin().then(|| self.beginnings.ready_at())
    }

    /// Takes a datagram of the peer, or of somebody who forges its address.
    pub fn handle(&mut self, context: &DtlsContext, datagram: &[u8], now: Instant) {
        if self.done {
            if let Some(handshake) = self.handshakes.first_mut() {
                handshake.take(datagram, now);
            }
            return;
        }
        let mut plausible = plausible(datagram, self.role);
        let datagram = match &mut plausible {
            Some(rest) if rest.is_empty() => return,
            Some(rest) => rest.as_slice(),
            None => datagram,
        };
        match (self.role, hello(datagram)) {
            (DtlsRole::Server, Some(Hello::Client { random })) => {
                if let Some(handshake) = self.admit(context, random, now) {
                    handshake.take(datagram, now);
                }
            }
            (DtlsRole::Client, Some(Hello::Retry { cookie })) => {
                self.take_cookie(cookie, datagram, now);
            }
            (DtlsRole::Client, Some(Hello::Server { random, sequence })) => {
                self.follow(context, random, sequence, now);
                for handshake in &mut self.handshakes {
                    if handshake.random == Some(random) {
                        handshake.take(datagram, now);
                    }
                }
            }
            // The handshake that it is part of shows only at the end of that handshake.
            _ => {
                for handshake in &mut self.handshakes {
                    handshake.take(datagram, now);
                }
            }
        }
    }

    /// The handshake that a ClientHello belongs to.
    fn admit(
        &mut self,
        context: &DtlsContext,
        random: [u8; 32],
        now: Instant,
    ) -> Option<&mut Handshake> {
        let is_it = |handshake: &Handshake| handshake.random == Some(random);
        if !self.handshakes.iter().any(is_it) {
            if !self.beginnings.take(1, now) || !self.make_room(now) {
                return None;
            }
            let (config, certificate) = (context.config.clone(), context.certificate.clone());
            let dtls = Dtls::new_auto(config, certificate, now);
            self.handshakes
                .push(Handshake::new(dtls, Some(random), now));
        }
        self.handshakes.iter_mut().find(|one| is_it(one))
    }

    /// Drops the oldest handshake that has had its time, but none in which the client's certificate was seen. False:
    /// there is no room.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.handshakes.len() < MAX_HANDSHAKES {
            return true;
        }
        let may_go =
            |one: &Handshake| one.certificate != Certificate::Matches && one.begun + MIN_AGE <= now;
        let oldest = self.handshakes.iter().position(may_go);
        oldest.map(|index| self.handshakes.remove(index)).is_some()
    }

    /// Takes a HelloVerifyRequest. A forged one comes before the true one or not at all, so that the last is followed
    /// first.
    fn take_cookie(&mut self, value: &[u8], datagram: &[u8], now: Instant) {
        let cookies = &mut self.client.cookies;
        match cookies.iter().position(|cookie| cookie.value == value) {
            Some(cookie) => {
                let followers = self.handshakes.iter_mut();
                for one in followers.filter(|one| one.cookie == Some(cookie)) {
                    one.take(datagram, now);
                }
            }
            None if cookies.len() < MAX_COOKIES => {
                cookies.push(Cookie {
                    value: value.to_vec(),
                    datagram: datagram.to_vec(),
                    followed: false,
                });
                self.client.next_cookie.get_or_insert(now + COOKIE_DELAY);
            }
            None => {}
        }
    }

    /// Sends the ClientHello again, with a cookie.
    fn follow_cookie(&mut self, context: &DtlsContext, now: Instant) {
        self.client.next_cookie = None;
        let is_answered = self.handshakes.iter().any(|one| one.random.is_some());
        let newest = self.client.cookies.iter().rposition(|one| !one.followed);
        let Some(index) = newest.filter(|_| !is_answered) else {
            return;
        };
        self.client.next_cookie = Some(now + NEXT_COOKIE);
        if !self.beginnings.take(1, now) || !self.make_room(now) {
            return;
        }
        let waits = |one: &Handshake| one.cookie.is_none();
        let handshake = match self.handshakes.iter().position(waits) {
            Some(waiting) => Some(self.handshakes.remove(waiting)),
            None => self.client.hello(context, None).map(Handshake::silenced),
        };
        let Some(cookie) = self.client.cookies.get_mut(index) else {
            return;
        };
        cookie.followed = true;
        if let Some(mut handshake) = handshake {
            handshake.cookie = Some(index);
            handshake.begun = now;
            handshake.take(&cookie.datagram, now);
            self.handshakes.push(handshake);
        }
    }

    /// Takes a ServerHello: begins a handshake for each ClientHello that it may be an answer to.
    fn follow(&mut self, context: &DtlsContext, random: [u8; 32], sequence: u16, now: Instant) {
        if self.handshakes.iter().any(|one| one.random == Some(random)) {
            return;
        }
        // A ServerHello after a HelloVerifyRequest is the server's second message (RFC 6347, section 4.2.2).
        let hellos: Vec<Option<usize>> = match sequence {
            0 => vec![None],
            _ => {
                let cookies = self.client.cookies.iter().enumerate();
                let followed = cookies.filter(|(_, cookie)| cookie.followed);
                followed.map(|(index, _)| Some(index)).collect()
            }
        };
        for cookie in hellos {
            let waits = |one: &&mut Handshake| one.random.is_none() && one.cookie == cookie;
            if let Some(waiting) = self.handshakes.iter_mut().find(waits) {
                waiting.random = Some(random);
            } else if self.beginnings.take(1, now)
                && self.make_room(now)
                && let Some(handshake) = self.client.hello(context, cookie)
            {
                let mut handshake = handshake.silenced();
                handshake.random = Some(random);
                handshake.begun = now;
                self.handshakes.push(handshake);
            }
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, context: &DtlsContext, now: Instant) {
        if !self.done && self.client.next_cookie.is_some_and(|due| now >= due) {
            self.follow_cookie(context, now);
        }
        let silent = self.silent();
        for handshake in &mut self.handshakes[silent..] {
            if handshake.wake.is_some_and(|wake| now >= wake) {
                handshake.tick(now);
            }
        }
    }

    /// Number of handshakes, the oldest ones, that do not retransmit: answers to hellos of others would only confuse
    /// the client, which repeats its own until it is answered.
    fn silent(&self) -> usize {
        match self.role {
            DtlsRole::Server if !self.done => self.handshakes.len().saturating_sub(1),
            _ => 0,
        }
    }

    /// The instant at which [`Association::handle_timeout`] must be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let cookie = self.client.next_cookie.filter(|_| !self.done);
        let heard = &self.handshakes[self.silent()..];
        let wakes = heard.iter().filter_map(|one| one.wake);
        wakes.chain(cookie).min()
    }

    /// Hands out the packets to send and the data to read.
    pub fn drive(&mut self, now: Instant, mut out: impl FnMut(DtlsOutput<'_>)) -> Progress {
        for handshake in &mut self.handshakes {
            handshake.drive(self.role, &self.fingerprints, now, &mut out);
        }
        if self.done {
            return match self.handshakes.first() {
                Some(one) if one.failed => self.fail(),
                Some(one) if one.closed => Progress::Closed,
                _ => Progress::Same,
            };
        }
        if let Some(index) = self.handshakes.iter().position(Handshake::is_done) {
            let mut handshake = self.handshakes.swap_remove(index);
            let keys = handshake.srtp.take();
            self.handshakes.clear();
            self.handshakes.push(handshake);
            self.done = true;
            return match keys {
                Some(keys) => Progress::Done(keys),
                None => self.fail(),
            };
        }
        let has_strangers = self.handshakes.iter().any(Handshake::is_strangers);
        self.handshakes
            .retain(|one| !one.failed && !one.is_strangers());
        match has_strangers && self.handshakes.is_empty() {
            true => self.fail(),
            false => Progress::Same,
        }
    }

    fn fail(&mut self) -> Progress {
        self.failed = true;
        Progress::Failed
    }

    /// Sends application data, once the handshake is done.
    pub fn send(&mut self, data: &[u8], now: Instant, mut out: impl FnMut(&[u8])) {
        let Some(handshake) = self.handshakes.first_mut().filter(|_| self.done) else {
            return;
        };
        if handshake.dtls.send_application_data(data).is_err() {
            return;
        }
        handshake.drive(self.role, &self.fingerprints, now, &mut |output| {
            if let DtlsOutput::Packet(packet) = output {
                out(packet);
            }
        });
    }

    /// Queues a close_notify, where a peer is there to read it.
    pub fn close(&mut self) {
        if let Some(handshake) = self.handshakes.first_mut().filter(|_| self.done) {
            handshake.failed |= handshake.dtls.close().is_err();
        }
    }
}

impl ClientHello {
    /// A handshake that begins with our ClientHello, with this cookie.
    fn hello(&self, context: &DtlsContext, cookie: Option<usize>) -> Option<Handshake> {
        let begun = self.begun?;
        let certificate = context.certificate.clone();
        let mut dtls = Dtls::new_12(self.config.clone(), certificate, begun);
        dtls.set_active(true);
        let mut handshake = Handshake::new(dtls, None, begun);
        handshake.tick(begun);
        if let Some(cookie) = cookie {
            handshake = handshake.silenced();
            handshake.cookie = Some(cookie);
            handshake.take(&self.cookies.get(cookie)?.datagram, begun);
        }
        Some(handshake)
    }
}

impl Handshake {
    fn new(dtls: Dtls, random: Option<[u8; 32]>, begun: Instant) -> Self {
        Self {
            dtls,
            random,
            cookie: None,
            begun,
            certificate: Certificate::Unseen,
            srtp: None,
            connected: false,
            closed: false,
            failed: false,
            wake: None,
        }
    }

    fn tick(&mut self, now: Instant) {
        self.failed |= self.dtls.handle_timeout(now).is_err();
    }

    fn take(&mut self, datagram: &[u8], now: Instant) {
        self.tick(now);
        if !self.failed {
            self.failed |= self.dtls.handle_packet(datagram).is_err();
        }
    }

    /// Discards the handshake's output: another one has sent the same before.
    fn silenced(mut self) -> Self {
        let mut buffer = [0; RECORD_BUFFER];
        while !self.failed && matches!(self.dtls.poll_output(&mut buffer), Output::Packet(_)) {}
        self
    }

    /// Whether the handshake has ended, with the certificate of the description.
    fn is_done(&self) -> bool {
        self.connected && self.certificate == Certificate::Matches
    }

    /// Whether the handshake has ended with another certificate: nothing more of it is read. The owner of another
    /// certificate and its key is no forger of datagrams, but is not the client either.
    fn is_strangers(&self) -> bool {
        self.connected && self.certificate == Certificate::Differs
    }

    fn drive(
        &mut self,
        role: DtlsRole,
        fingerprints: &[Fingerprint],
        now: Instant,
        out: &mut impl FnMut(DtlsOutput<'_>),
    ) {
        let mut buffer = [0; RECORD_BUFFER];
        while !self.failed && !self.closed && !self.is_strangers() {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => out(DtlsOutput::Packet(packet)),
                Output::ApplicationData(data) if self.is_done() => out(DtlsOutput::Data(data)),
                Output::Timeout(wake) => {
                    // dimpl says "never" with a far future.
                    self.wake = (wake < now + Duration::from_secs(3600)).then_some(wake);
                    return;
                }
                Output::PeerCert(der) => {
                    let is_it = fingerprints
                        .iter()
                        .any(|expected| super::fingerprint::matches(expected, der));
                    self.certificate = match is_it {
                        true => Certificate::Matches,
                        false => Certificate::Differs,
                    };
                    // A server has signed our random number by now: one with an unexpected certificate gets no answer.
                    // A client signs later.
                    self.connected |= role == DtlsRole::Client && !is_it;
                }
                Output::KeyingMaterial(material, profile) => {
                    let profile = match profile {
                        dimpl::SrtpProfile::AEAD_AES_256_GCM => SrtpProfile::AeadAes256Gcm,
                        dimpl::SrtpProfile::AEAD_AES_128_GCM => SrtpProfile::AeadAes128Gcm,
                        _ => SrtpProfile::AesCm128HmacSha1_80,
                    };
                    let keys = srtp::from_keying_material(profile, &material, role);
                    self.srtp = keys.ok().map(Box::new);
                }
                Output::Connected => self.connected = true,
                Output::CloseNotify => self.closed = true,
                Output::BufferTooSmall { .. } => {
                    debug_assert!(false, "DTLS record larger than RECORD_BUFFER");
                    self.failed = true;
                }
                _ => {}
            }
        }
        self.wake = None;
    }
}

#[cfg(test)]
mod tests;
