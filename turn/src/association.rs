//! One client of the TURN server: its allocation, permissions and channels.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use crate::{
    auth::{self, Nonce, Nonces},
    registry::AllocationError,
    stun::{Builder, Class, Message, Method, attribute, channel_data},
};

/// The lifetime of an allocation that did not ask for more, seconds (RFC 8656, section 3.2).
const DEFAULT_LIFETIME: u32 = 600;

/// The longest lifetime of an allocation without a refresh, seconds.
const MAX_LIFETIME: u32 = 3600;

/// The lifetime of a permission (RFC 8656, section 9).
const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);

/// The lifetime of a channel (RFC 8656, section 12).
const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);

/// The most addresses in one CreatePermission. We have no more.
const MAX_PEERS_PER_REQUEST: usize = 16;

/// The value of REQUESTED-TRANSPORT for UDP, which is the only one.
const UDP: u8 = 17;

/// Settings that all associations share.
#[derive(Debug)]
pub struct Settings {
    /// The realm, sent with every challenge. Short: it is a part of our answers to strangers.
    pub realm: String,
    /// The maker of nonces.
    pub nonces: Nonces,
    /// Our media addresses, which are the only peers.
    pub peers: Vec<SocketAddr>,
}

/// The present time, in the two forms that the protocol needs.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The instant, for lifetimes.
    pub now: Instant,
    /// Seconds since 1970, for nonces and passwords.
    pub unix: u64,
}

/// The reason why a message was refused. Counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The message is neither a request nor data that we know.
    Malformed,
    /// The request has no credentials yet: the first one of every client, answered with a challenge.
    Challenged,
    /// The nonce is old, or not ours.
    StaleNonce,
    /// The credentials are wrong.
    Unauthorized,
    /// The peer is none of our media addresses.
    Forbidden,
    /// A quota is used up.
    Quota,
    /// The protocol does not allow the message for another reason.
    BadRequest,
    /// The data has no allocation, permission or channel.
    NotPermitted,
}

impl Refusal {
    /// The reason in words: for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Challenged => "challenged",
            Self::StaleNonce => "stale_nonce",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Quota => "quota",
            Self::BadRequest => "bad_request",
            Self::NotPermitted => "not_permitted",
        }
    }
}

/// The consequence of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// There is nothing to do.
    Nothing,
    /// An answer is to be sent to the client.
    Reply(Vec<u8>),
    /// The message was refused: count it, and send the client the answer, if there is one.
    Refused(Refusal, Option<Vec<u8>>),
    /// The client wants an allocation: ask the registry, then tell [`Association::allocated`].
    Allocate(AllocateRequest),
    /// A datagram is to be handed to one of our media addresses, from the relayed address.
    Relay {
        /// The media address: one of [`Settings::peers`].
        peer: SocketAddr,
        /// The datagram.
        payload: &'a [u8],
    },
    /// The client gave its allocation back; this is the answer. [`Association::end`] must follow.
    Ended(Vec<u8>),
}

/// An authenticated request for an allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllocateRequest {
    /// The user against whose quota the allocation counts.
    pub user: String,
    /// The family of the relayed address.
    pub ipv6: bool,
    transaction: [u8; 12],
    key: [u8; 16],
    lifetime: u32,
}

/// The state of one client: empty, until it has an allocation.
#[derive(Debug)]
pub struct Association {
    client: SocketAddr,
    allocation: Option<Allocation>,
}

#[derive(Debug)]
struct Allocation {
    user: String,
    key: [u8; 16],
    relayed: SocketAddr,
    /// Transaction of the request that made the allocation: the same request again gets the same answer.
    transaction: [u8; 12],
    expires: Instant,
    permissions: Vec<(IpAddr, Instant)>,
    channels: Vec<Channel>,
}

#[derive(Debug)]
struct Channel {
    number: u16,
    peer: SocketAddr,
    expires: Instant,
}

/// A request whose sender is known.
struct Authenticated<'m> {
    user: &'m str,
    key: [u8; 16],
}

impl Association {
    /// The state of a client at this address.
    pub fn new(client: SocketAddr) -> Self {
        Self {
            client,
            allocation: None,
        }
    }

    /// The relayed address of the allocation.
    pub fn relayed(&self) -> Option<SocketAddr> {
        self.allocation
            .as_ref()
            .map(|allocation| allocation.relayed)
    }

    /// When the allocation ends, unless it is refreshed.
    pub fn expires(&self) -> Option<Instant> {
        self.allocation
            .as_ref()
            .map(|allocation| allocation.expires)
    }

    /// Takes one message, or one piece of channel data, of the client. `password` returns the password of a user, given
    /// the time; `None` for users that do not exist, or whose time is over (unless they have an allocation already).
    pub fn handle<'a>(
        &mut self,
        bytes: &'a [u8],
        settings: &Settings,
        password: impl Fn(&str, bool) -> Option<String>,
        moment: Moment,
    ) -> Outcome<'a> {
        if bytes
            .first()
            .is_some_and(|first| (0x40..0x50).contains(first))
        {
            return self.channel_data(bytes, moment.now);
        }
        let Some(message) = Message::parse(bytes) else {
            return Outcome::Refused(Refusal::Malformed, None);
        };
        match (message.class(), message.method()) {
            (Class::Request, Method::Binding) => Outcome::Reply(
                Builder::answer(Class::Success, &message)
                    .add_address(attribute::XOR_MAPPED_ADDRESS, self.client)
                    .finish(),
            ),
            (Class::Indication, Method::Send) => self.send(bytes, settings, moment.now),
            (Class::Indication, Method::Binding) => Outcome::Nothing,
            (Class::Request, Method::Send | Method::Data) => {
                Outcome::Refused(Refusal::Malformed, None)
            }
            (Class::Request, _) => {
                match self.authenticate(&message, settings, password, moment.unix) {
                    Ok(sender) => self.request(&message, sender, settings, moment.now),
                    Err(refused) => refused,
                }
            }
            _ => Outcome::Refused(Refusal::Malformed, None),
        }
    }

    /// Takes the registry's answer to [`Outcome::Allocate`]. Returns the answer for the client.
    pub fn allocated(
        &mut self,
        request: AllocateRequest,
        result: Result<SocketAddr, AllocationError>,
        now: Instant,
    ) -> Outcome<'static> {
        let answer = |class| Builder::new(class, Method::Allocate, request.transaction);
        match result {
            Ok(relayed) => {
                let lifetime = request.lifetime.clamp(DEFAULT_LIFETIME, MAX_LIFETIME);
                self.allocation = Some(Allocation {
                    user: request.user,
                    key: request.key,
                    relayed,
                    transaction: request.transaction,
                    expires: now + seconds(lifetime),
                    permissions: Vec::new(),
                    channels: Vec::new(),
                });
                Outcome::Reply(self.allocate_success(
                    request.transaction,
                    relayed,
                    lifetime,
                    &request.key,
                ))
            }
            Err(error) => {
                let (code, refusal) = match error {
                    AllocationError::UserQuota => (486, Refusal::Quota),
                    AllocationError::Total => (508, Refusal::Quota),
                    AllocationError::Family => (440, Refusal::BadRequest),
                };
                let reply = answer(Class::Error).add_error(code).sign(&request.key);
                Outcome::Refused(refusal, Some(reply))
            }
        }
    }

    /// Takes the allocation back, when its time is over or the client is gone. Returns user and relayed address, for
    /// [`crate::Registry::release`].
    pub fn end(&mut self) -> Option<(String, SocketAddr)> {
        let allocation = self.allocation.take()?;
        Some((allocation.user, allocation.relayed))
    }

    /// Writes the message that brings a datagram of one of our media addresses to the client into `out`. False when the
    /// client has no permission for it.
    pub fn wrap(
        &self,
        peer: SocketAddr,
        payload: &[u8],
        transaction: [u8; 12],
        is_stream: bool,
        out: &mut Vec<u8>,
        now: Instant,
    ) -> bool {
        let Some(allocation) = self.allocation.as_ref().filter(|a| now < a.expires) else {
            return false;
        };
        if let Some(channel) = allocation
            .channels
            .iter()
            .find(|c| c.peer == peer && now < c.expires)
        {
            let Ok(len) = u16::try_from(payload.len()) else {
                return false;
            };
            out.extend_from_slice(&channel.number.to_be_bytes());
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(payload);
            if is_stream {
                // Padding (RFC 8656, section 12.5).
                out.resize(out.len() + (4 - payload.len() % 4) % 4, 0);
            }
            return true;
        }
        if !allocation.permits(peer.ip(), now) {
            return false;
        }
        let message = Builder::new(Class::Indication, Method::Data, transaction)
            .add_address(attribute::XOR_PEER_ADDRESS, peer)
            .add(attribute::DATA, payload)
            .finish();
        out.extend_from_slice(&message);
        true
    }

    /// Authenticates a request (RFC 8489, section 9.2.4).
    fn authenticate<'m>(
        &self,
        message: &Message<'m>,
        settings: &Settings,
        password: impl Fn(&str, bool) -> Option<String>,
        unix: u64,
    ) -> Result<Authenticated<'m>, Outcome<'static>> {
        let challenge = |code, refusal| {
            let reply = Builder::answer(Class::Error, message)
                .add_error(code)
                .add(attribute::REALM, settings.realm.as_bytes())
                .add(
                    attribute::NONCE,
                    settings.nonces.issue(self.client, unix).as_bytes(),
                )
                .finish();
            Outcome::Refused(refusal, Some(reply))
        };
        if !message.is_signed() {
            return Err(challenge(401, Refusal::Challenged));
        }
        let said = [attribute::USERNAME, attribute::REALM, attribute::NONCE]
            .map(|kind| message.text(kind));
        let [Some(user), Some(realm), Some(nonce)] = said else {
            let reply = Builder::answer(Class::Error, message)
                .add_error(400)
                .finish();
            return Err(Outcome::Refused(Refusal::BadRequest, Some(reply)));
        };
        if settings.nonces.check(nonce, self.client, unix) == Nonce::Stale {
            return Err(challenge(438, Refusal::StaleNonce));
        }
        let is_known = self.allocation.as_ref().is_some_and(|a| a.user == user);
        let key = password(user, is_known)
            .filter(|_| realm == settings.realm)
            .map(|password| auth::key(user, realm, &password))
            .filter(|key| message.verify(key));
        let Some(key) = key else {
            return Err(challenge(401, Refusal::Unauthorized));
        };
        if self.allocation.as_ref().is_some_and(|a| a.user != user) {
            let reply = Builder::answer(Class::Error, message)
                .add_error(441)
                .sign(&key);
            return Err(Outcome::Refused(Refusal::Unauthorized, Some(reply)));
        }
        Ok(Authenticated { user, key })
    }

    fn request(
        &mut self,
        message: &Message<'_>,
        sender: Authenticated<'_>,
        settings: &Settings,
        now: Instant,
    ) -> Outcome<'static> {
        let unknown = message.unknown(&KNOWN);
        if !unknown.is_empty() {
            let list: Vec<u8> = unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect();
            let reply = Builder::answer(Class::Error, message)
                .add_error(420)
                .add(attribute::UNKNOWN_ATTRIBUTES, &list)
                .sign(&sender.key);
            return Outcome::Refused(Refusal::BadRequest, Some(reply));
        }
        if self.allocation.as_ref().is_some_and(|a| now >= a.expires) {
            // The owner has not noticed yet that the allocation's time is over.
            return refuse(message, 437, Refusal::BadRequest, &sender.key);
        }
        match message.method() {
            Method::Allocate => self.allocate(message, sender),
            Method::Refresh => self.refresh(message, &sender.key, now),
            Method::CreatePermission => self.create_permission(message, &sender.key, settings, now),
            _ => self.bind_channel(message, &sender.key, settings, now),
        }
    }

    fn allocate(&mut self, message: &Message<'_>, sender: Authenticated<'_>) -> Outcome<'static> {
        if let Some(allocation) = &self.allocation {
            if allocation.transaction == message.transaction() {
                // The answer before was lost.
                let (relayed, key) = (allocation.relayed, allocation.key);
                return Outcome::Reply(self.allocate_success(
                    message.transaction(),
                    relayed,
                    DEFAULT_LIFETIME,
                    &key,
                ));
            }
            return refuse(message, 437, Refusal::BadRequest, &sender.key);
        }
        match message.attribute(attribute::REQUESTED_TRANSPORT) {
            Some([UDP, ..]) => {}
            // TCP would be a way to open connections for others.
            Some(_) => return refuse(message, 442, Refusal::BadRequest, &sender.key),
            None => return refuse(message, 400, Refusal::BadRequest, &sender.key),
        }
        let ipv6 = match message.attribute(attribute::REQUESTED_ADDRESS_FAMILY) {
            None | Some([1, ..]) => false,
            Some([2, ..]) => true,
            Some(_) => return refuse(message, 440, Refusal::BadRequest, &sender.key),
        };
        Outcome::Allocate(AllocateRequest {
            user: sender.user.to_owned(),
            ipv6,
            transaction: message.transaction(),
            key: sender.key,
            lifetime: message
                .number(attribute::LIFETIME)
                .unwrap_or(DEFAULT_LIFETIME),
        })
    }

    fn allocate_success(
        &self,
        transaction: [u8; 12],
        relayed: SocketAddr,
        lifetime: u32,
        key: &[u8],
    ) -> Vec<u8> {
        Builder::new(Class::Success, Method::Allocate, transaction)
            .add_address(attribute::XOR_RELAYED_ADDRESS, relayed)
            .add(attribute::LIFETIME, &lifetime.to_be_bytes())
            .add_address(attribute::XOR_MAPPED_ADDRESS, self.client)
            .sign(key)
    }

    fn refresh(&mut self, message: &Message<'_>, key: &[u8], now: Instant) -> Outcome<'static> {
        let Some(allocation) = &mut self.allocation else {
            return refuse(message, 437, Refusal::BadRequest, key);
        };
        let family = message.attribute(attribute::REQUESTED_ADDRESS_FAMILY);
        let expected = if allocation.relayed.is_ipv6() { 2 } else { 1 };
        if family.is_some_and(|family| family.first() != Some(&expected)) {
            return refuse(message, 443, Refusal::BadRequest, key);
        }
        let wanted = message
            .number(attribute::LIFETIME)
            .unwrap_or(DEFAULT_LIFETIME);
        let answer = |lifetime: u32| {
            Builder::answer(Class::Success, message)
                .add(attribute::LIFETIME, &lifetime.to_be_bytes())
                .sign(key)
        };
        if wanted == 0 {
            return Outcome::Ended(answer(0));
        }
        let lifetime = wanted.clamp(DEFAULT_LIFETIME, MAX_LIFETIME);
        allocation.expires = now + seconds(lifetime);
        Outcome::Reply(answer(lifetime))
    }

    fn create_permission(
        &mut self,
        message: &Message<'_>,
        key: &[u8],
        settings: &Settings,
        now: Instant,
    ) -> Outcome<'static> {
        let Some(allocation) = &mut self.allocation else {
            return refuse(message, 437, Refusal::BadRequest, key);
        };
        let peers = message
            .attributes()
            .filter(|(kind, _)| *kind == attribute::XOR_PEER_ADDRESS)
            .map(|(_, value)| message.xor_address(value));
        let Some(peers) = peers.collect::<Option<Vec<_>>>() else {
            return refuse(message, 400, Refusal::BadRequest, key);
        };
        if peers.is_empty() || peers.len() > MAX_PEERS_PER_REQUEST {
            return refuse(message, 400, Refusal::BadRequest, key);
        }
        if peers.iter().any(|peer| !settings.is_ours(peer.ip())) {
            return refuse(message, 403, Refusal::Forbidden, key);
        }
        if peers
            .iter()
            .any(|peer| peer.is_ipv6() != allocation.relayed.is_ipv6())
        {
            return refuse(message, 443, Refusal::BadRequest, key);
        }
        peers
            .iter()
            .for_each(|peer| allocation.permit(peer.ip(), now));
        Outcome::Reply(Builder::answer(Class::Success, message).sign(key))
    }

    fn bind_channel(
        &mut self,
        message: &Message<'_>,
        key: &[u8],
        settings: &Settings,
        now: Instant,
    ) -> Outcome<'static> {
        let Some(allocation) = &mut self.allocation else {
            return refuse(message, 437, Refusal::BadRequest, key);
        };
        let number = message
            .number(attribute::CHANNEL_NUMBER)
            .map(|number| (number >> 16) as u16);
        let peer = message.attribute(attribute::XOR_PEER_ADDRESS);
        let peer = peer.and_then(|value| message.xor_address(value));
        let (Some(number @ 0x4000..0x5000), Some(peer)) = (number, peer) else {
            return refuse(message, 400, Refusal::BadRequest, key);
        };
        if !settings.peers.contains(&peer) {
            return refuse(message, 403, Refusal::Forbidden, key);
        }
        if peer.is_ipv6() != allocation.relayed.is_ipv6() {
            return refuse(message, 443, Refusal::BadRequest, key);
        }
        allocation.channels.retain(|channel| now < channel.expires);
        let expires = now + CHANNEL_LIFETIME;
        let touching = |channel: &&mut Channel| channel.number == number || channel.peer == peer;
        match allocation.channels.iter_mut().find(touching) {
            Some(channel) if channel.number == number && channel.peer == peer => {
                channel.expires = expires
            }
            // Neither number nor peer may be bound to another (RFC 8656, section 12.2).
            Some(_) => return refuse(message, 400, Refusal::BadRequest, key),
            // There are at most as many channels as peers.
            None => allocation.channels.push(Channel {
                number,
                peer,
                expires,
            }),
        }
        allocation.permit(peer.ip(), now);
        Outcome::Reply(Builder::answer(Class::Success, message).sign(key))
    }

    fn send<'a>(&mut self, bytes: &'a [u8], settings: &Settings, now: Instant) -> Outcome<'a> {
        // The message is parsed again, for the lifetime of its parts.
        let parts = Message::parse(bytes).and_then(|message| {
            let peer = message.xor_address(message.attribute(attribute::XOR_PEER_ADDRESS)?)?;
            Some((peer, message.attribute(attribute::DATA)?))
        });
        let Some((peer, payload)) = parts else {
            return Outcome::Refused(Refusal::Malformed, None);
        };
        let Some(allocation) = self.allocation.as_ref().filter(|a| now < a.expires) else {
            return Outcome::Refused(Refusal::NotPermitted, None);
        };
        if !settings.peers.contains(&peer) {
            return Outcome::Refused(Refusal::Forbidden, None);
        }
        if !allocation.permits(peer.ip(), now) {
            return Outcome::Refused(Refusal::NotPermitted, None);
        }
        Outcome::Relay { peer, payload }
    }

    fn channel_data<'a>(&mut self, bytes: &'a [u8], now: Instant) -> Outcome<'a> {
        let Some((number, payload)) = channel_data(bytes) else {
            return Outcome::Refused(Refusal::Malformed, None);
        };
        let allocation = self.allocation.as_ref().filter(|a| now < a.expires);
        let channel = allocation.and_then(|allocation| {
            allocation
                .channels
                .iter()
                .find(|channel| channel.number == number && now < channel.expires)
        });
        match channel {
            Some(channel) => Outcome::Relay {
                peer: channel.peer,
                payload,
            },
            None => Outcome::Refused(Refusal::NotPermitted, None),
        }
    }
}

/// Types of the attributes that must be understood, and are.
const KNOWN: [u16; 10] = [
    attribute::USERNAME,
    attribute::MESSAGE_INTEGRITY,
    attribute::CHANNEL_NUMBER,
    attribute::LIFETIME,
    attribute::XOR_PEER_ADDRESS,
    attribute::REALM,
    attribute::NONCE,
    attribute::REQUESTED_ADDRESS_FAMILY,
    attribute::REQUESTED_TRANSPORT,
    // Nothing is fragmented on the way within this process.
    attribute::DONT_FRAGMENT,
];

impl Settings {
    fn is_ours(&self, ip: IpAddr) -> bool {
        self.peers.iter().any(|peer| peer.ip() == ip)
    }
}

impl Allocation {
    fn permit(&mut self, ip: IpAddr, now: Instant) {
        self.permissions
            .retain(|(other, expires)| *other != ip && now < *expires);
        self.permissions.push((ip, now + PERMISSION_LIFETIME));
    }

    fn permits(&self, ip: IpAddr, now: Instant) -> bool {
        self.permissions
            .iter()
            .any(|(permitted, expires)| *permitted == ip && now < *expires)
    }
}

fn refuse(message: &Message<'_>, code: u16, refusal: Refusal, key: &[u8]) -> Outcome<'static> {
    let reply = Builder::answer(Class::Error, message)
        .add_error(code)
        .sign(key);
    Outcome::Refused(refusal, Some(reply))
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}
