//! ICE as a lite agent (RFC 8445, section 2.5): the client checks and nominates, we answer.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use aws_lc_rs::hmac;
use is::stun::StunMessage;
use rand::Rng;

use crate::{
    api::{Destination, TransportProtocol},
    negotiate::IceCredentials,
};

/// Size of the buffer for an answer to a check, bytes: header, mapped address, integrity and fingerprint.
const REPLY_BUFFER: usize = 256;

/// The number of nominations in a row, none of the present path between them, that move us to a path that looks worse.
///
/// A client that nominates at once (RFC 5245, section 8.1.1.2) names every path that works, each one time or, with a
/// retransmission, two; the best of them counts. One that comes back to the same path means it.
const INSISTENCE: u8 = 3;

/// A path without a check for this long is not used by the client: Firefox checks it every 6 s at the latest (RFC 7675,
/// section 5.1), others more often.
const SILENCE: Duration = Duration::from_secs(7);

/// Chromium checks its path more often than this. Where the checks within this time came over another path, the
/// client's address may have changed.
const DOUBT: Duration = Duration::from_secs(3);

/// Number of characters of a ufrag that say which shard made it.
const SHARD_DIGITS: usize = 4;

/// A valid check.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// PRIORITY: the client's rank of its own end.
    pub priority: u32,
    /// The check has USE-CANDIDATE.
    pub nominates: bool,
}

/// One client's ICE.
pub struct IceLite {
    local: IceCredentials,
    remote: Option<IceCredentials>,
    path: Option<Nominated>,
    /// The path of the last nominations that was not followed, and how many there were.
    rival: Option<(Destination, u8)>,
}

/// The nominated path.
struct Nominated {
    path: Destination,
    /// When the last valid check came on this path.
    checked: Instant,
    /// The last valid check came over another path.
    elsewhere: bool,
    /// The path's rank. `None`: the path is from before an ICE restart, and any nomination is better.
    rank: Option<Rank>,
}

/// The rank of a path: its protocol, then the client's priority of its end.
type Rank = (u8, u32);

impl IceLite {
    /// An agent that waits for checks with these credentials.
    pub fn new(local: IceCredentials) -> Self {
        Self {
            local,
            remote: None,
            path: None,
            rival: None,
        }
    }

    /// Our credentials.
    pub fn local(&self) -> &IceCredentials {
        &self.local
    }

    /// Sets the client's credentials, from its SDP.
    pub fn set_remote(&mut self, remote: &IceCredentials) {
        self.remote = Some(remote.clone());
    }

    /// Takes new credentials (RFC 8445, section 9). The path stays until the client nominates one anew.
    pub fn restart(&mut self, local: IceCredentials) {
        self.local = local;
        self.remote = None;
        self.rival = None;
        if let Some(nominated) = &mut self.path {
            nominated.rank = None;
        }
    }

    /// The path that we send to.
    pub fn path(&self) -> Option<Destination> {
        self.path.as_ref().map(|nominated| nominated.path)
    }

    /// Forgets the path that we send to.
    pub fn lose_path(&mut self) {
        self.path = None;
        self.rival = None;
    }

    /// The check in a message with a valid MAC from a client that knows both ends' names; else `None`. A sender that
    /// knows our password has it from our description: where we offered, its checks may come before its answer, and are
    /// as good (RFC 8445, section 7.3).
    pub fn check(&self, message: &StunMessage<'_>) -> Option<Check> {
        if !message.is_binding_request() {
            return None;
        }
        let (to, from) = message.split_username()?;
        let expected =
            to == self.local.ufrag && self.remote.as_ref().is_none_or(|r| r.ufrag == from);
        if !expected || !message.verify(self.local.pwd.as_bytes(), sha1_hmac) {
            return None;
        }
        Some(Check {
            priority: message.prio()?,
            // A client that believes that we control has nothing to nominate.
            nominates: message.use_candidate() && message.ice_controlled().is_none(),
        })
    }

    /// Answers a check from `remote`.
    pub fn reply(&self, message: &StunMessage<'_>, remote: SocketAddr, send: impl FnOnce(&[u8])) {
        // We are lite, hence controlled: the client has to take the other role (RFC 8445, section 7.3.1.1).
        let reply = match message.ice_controlled() {
            Some(_) => StunMessage::binding_role_conflict_reply(message.trans_id()),
            None => StunMessage::binding_reply(message.trans_id(), remote),
        };
        let mut buffer = [0; REPLY_BUFFER];
        match reply.to_bytes(Some(self.local.pwd.as_bytes()), &mut buffer, sha1_hmac) {
            Ok(len) => send(&buffer[..len]),
            Err(error) => debug_assert!(false, "a reply does not fit: {error}"),
        }
    }

    /// A valid check came over `path`. True when we send to this path from now on, and did not before.
    ///
    /// Only a nomination moves us, with one exception: Firefox nominates once, and when its NAT gives it another
    /// address it checks from there without another word. So a path that has fallen silent gives way to one that has
    /// not. A check that somebody replays from elsewhere gains nothing while the client is there.
    pub fn checked(&mut self, path: Destination, check: Check, now: Instant) -> bool {
        let rank = rank(path, check.priority);
        let Some(current) = &mut self.path else {
            if check.nominates {
                self.move_to(path, rank, now);
            }
            return check.nominates;
        };
        if current.path == path {
            current.checked = now;
            current.elsewhere = false;
            if check.nominates {
                current.rank = Some(rank);
                self.rival = None;
            }
            return false;
        }
        let is_silent = now.saturating_duration_since(current.checked) >= SILENCE;
        // The path is as good as the present one: the client's address has changed, or its choice.
        let is_better = check.nominates && current.rank.is_none_or(|present| rank >= present);
        if is_silent || is_better || (check.nominates && self.insists(path)) {
            self.move_to(path, rank, now);
            return true;
        }
        if let Some(current) = &mut self.path {
            current.elsewhere = true;
        }
        false
    }

    /// Whether the client seems to be elsewhere than on our path: then packets that it misses are no fault of a stream.
    pub fn is_in_doubt(&self, now: Instant) -> bool {
        self.path.as_ref().is_some_and(|current| {
            current.elsewhere && now.saturating_duration_since(current.checked) >= DOUBT
        })
    }

    fn insists(&mut self, path: Destination) -> bool {
        let times = match self.rival {
            Some((rival, times)) if rival == path => times + 1,
            _ => 1,
        };
        self.rival = Some((path, times));
        times >= INSISTENCE
    }

    fn move_to(&mut self, path: Destination, rank: Rank, now: Instant) {
        self.path = Some(Nominated {
            path,
            checked: now,
            elsewhere: false,
            rank: Some(rank),
        });
        self.rival = None;
    }
}

fn rank(path: Destination, priority: u32) -> Rank {
    let protocol = match path.protocol {
        TransportProtocol::Udp => 2,
        TransportProtocol::Tcp => 1,
        TransportProtocol::Relay => 0,
    };
    (protocol, priority)
}

fn sha1_hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let mut context = hmac::Context::with_key(&key);
    parts.iter().for_each(|part| context.update(part));
    let mut out = [0; 20];
    out.copy_from_slice(context.sign().as_ref());
    out
}

/// Parses a STUN message with a USERNAME; returns our ufrag in it.
pub fn parse_stun(datagram: &[u8]) -> Option<(String, StunMessage<'_>)> {
    let message = StunMessage::parse(datagram).ok()?;
    let ufrag = message.split_username()?.0.to_owned();
    Some((ufrag, message))
}

/// Random credentials of at least 24 bits of ufrag and 128 of password (RFC 8445 section 5.3). The ufrag also
/// demultiplexes, hence 64 bits; and it begins with the number of the shard.
pub fn random_credentials(shard: u16, rng: &mut impl Rng) -> IceCredentials {
    let mut text = |len: usize| -> String {
        (0..len)
            .map(|_| char::from(rng.sample(rand::distr::Alphanumeric)))
            .collect()
    };
    IceCredentials {
        ufrag: format!("{shard:04x}{}", text(11)),
        pwd: text(24),
    }
}

/// The index of the shard that a connection's first datagram is for: that of the ufrag in a STUN check. `None` when the
/// datagram is no such check. The index proves nothing; the shard checks the MAC.
pub fn stream_shard(datagram: &[u8]) -> Option<u16> {
    let (ufrag, _) = parse_stun(datagram)?;
    u16::from_str_radix(ufrag.get(..SHARD_DIGITS)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use is::stun::TransId;

    fn credentials(name: &str) -> IceCredentials {
        IceCredentials {
            ufrag: name.to_owned(),
            pwd: format!("{name}-password-password-password"),
        }
    }

    fn agent() -> IceLite {
        let mut ice = IceLite::new(credentials("ours"));
        ice.set_remote(&credentials("theirs"));
        ice
    }

    /// A nomination, or a check that is none, at a second of the test.
    fn check(
        ice: &mut IceLite,
        path: Destination,
        priority: u32,
        nominates: bool,
        at: u64,
    ) -> bool {
        let check = Check {
            priority,
            nominates,
        };
        ice.checked(path, check, start() + Duration::from_secs(at))
    }

    fn start() -> Instant {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *START.get_or_init(Instant::now)
    }

    fn nominate(ice: &mut IceLite, path: Destination, priority: u32) -> bool {
        check(ice, path, priority, true, 0)
    }

    fn path(port: u16, protocol: TransportProtocol) -> Destination {
        Destination {
            remote: SocketAddr::from(([192, 0, 2, 1], port)),
            local: SocketAddr::from(([198, 51, 100, 1], 7882)),
            protocol,
        }
    }

    fn request(username: &str, password: &str, controlling: bool, nominate: bool) -> Vec<u8> {
        let message =
            StunMessage::binding_request(username, TransId::new(), controlling, 7, 1234, nominate);
        let mut buffer = vec![0; 512];
        let len = message
            .to_bytes(Some(password.as_bytes()), &mut buffer, sha1_hmac)
            .unwrap();
        buffer.truncate(len);
        buffer
    }

    fn checked(ice: &IceLite, bytes: &[u8]) -> Option<bool> {
        let check = ice.check(&StunMessage::parse(bytes).unwrap())?;
        assert_eq!(check.priority, 1234);
        Some(check.nominates)
    }

    #[test]
    fn only_who_knows_password_and_names_is_answered() {
        let ice = agent();
        let password = &credentials("ours").pwd;
        assert_eq!(
            checked(&ice, &request("ours:theirs", password, true, true)),
            Some(true)
        );
        assert_eq!(
            checked(&ice, &request("ours:theirs", password, true, false)),
            Some(false)
        );
        assert_eq!(
            checked(&ice, &request("ours:theirs", "guess", true, true)),
            None
        );
        assert_eq!(
            checked(&ice, &request("ours:others", password, true, true)),
            None
        );
        assert_eq!(
            checked(&ice, &request("other:theirs", password, true, true)),
            None
        );
        // Before its answer to our offer the client has a password, and no name yet.
        let early = IceLite::new(credentials("ours"));
        assert_eq!(
            checked(&early, &request("ours:theirs", password, true, true)),
            Some(true)
        );
        assert_eq!(
            checked(&early, &request("ours:theirs", "guess", true, true)),
            None
        );
    }

    #[test]
    fn the_answer_says_where_the_check_came_from() {
        let ice = agent();
        let remote = path(9, TransportProtocol::Udp).remote;
        for (controlling, code) in [(true, None), (false, Some(487))] {
            let bytes = request("ours:theirs", &credentials("ours").pwd, controlling, false);
            let request = StunMessage::parse(&bytes).unwrap();
            let mut sent = Vec::new();
            ice.reply(&request, remote, |reply| sent = reply.to_vec());
            let reply = StunMessage::parse(&sent).unwrap();
            assert_eq!(reply.trans_id(), request.trans_id());
            assert_eq!(reply.error_code().map(|(code, _)| code), code);
            assert_eq!(reply.mapped_address(), code.is_none().then_some(remote));
            assert!(reply.verify(credentials("ours").pwd.as_bytes(), sha1_hmac));
            // Nothing to gain for somebody who wants us to flood others.
            assert!(sent.len() <= bytes.len() + 8);
        }
    }

    #[test]
    fn a_client_that_believes_that_we_control_nominates_nothing() {
        let bytes = request("ours:theirs", &credentials("ours").pwd, false, true);
        assert_eq!(checked(&agent(), &bytes), Some(false));
    }

    #[test]
    fn udp_is_preferred_to_tcp_and_tcp_to_a_relay() {
        use TransportProtocol::{Relay, Tcp, Udp};
        let mut ice = agent();
        for (port, protocol) in [(1, Relay), (2, Tcp), (3, Udp)] {
            assert!(nominate(&mut ice, path(port, protocol), 100));
        }
        assert!(!nominate(&mut ice, path(2, Tcp), u32::MAX));
        assert!(!nominate(&mut ice, path(1, Relay), u32::MAX));
        assert_eq!(ice.path(), Some(path(3, Udp)));
    }

    #[test]
    fn a_changed_address_of_the_client_is_followed_at_once() {
        let mut ice = agent();
        let (old, new) = (
            path(1, TransportProtocol::Udp),
            path(2, TransportProtocol::Udp),
        );
        assert!(nominate(&mut ice, old, 100));
        assert!(!nominate(&mut ice, old, 100));
        assert!(nominate(&mut ice, new, 100));
        assert_eq!(ice.path(), Some(new));
    }

    #[test]
    fn a_worse_path_is_followed_when_the_client_insists() {
        let mut ice = agent();
        let (udp, tcp) = (
            path(1, TransportProtocol::Udp),
            path(2, TransportProtocol::Tcp),
        );
        assert!(nominate(&mut ice, udp, 100));
        // It comes back to the better one: not meant.
        for _ in 0..5 {
            assert!(!nominate(&mut ice, tcp, 100));
            assert!(!nominate(&mut ice, tcp, 100));
            assert!(!nominate(&mut ice, udp, 100));
        }
        assert_eq!(
            [0; 3].map(|_| nominate(&mut ice, tcp, 100)),
            [false, false, true]
        );
        assert_eq!(ice.path(), Some(tcp));
    }

    #[test]
    fn without_a_nomination_only_a_path_that_fell_silent_gives_way() {
        let mut ice = agent();
        let (old, new) = (
            path(1, TransportProtocol::Udp),
            path(2, TransportProtocol::Udp),
        );
        assert!(
            !check(&mut ice, new, 100, false, 0),
            "nothing is nominated yet"
        );
        assert_eq!(ice.path(), None);
        assert!(check(&mut ice, old, 100, true, 0));
        // However often: the client is still there.
        for second in 1..60 {
            check(&mut ice, old, 100, false, second / 6 * 6);
            assert!(!check(&mut ice, new, 100, false, second), "second {second}");
        }
        // Its last check was at second 54.
        assert!(!check(&mut ice, new, u32::MAX, false, 60));
        assert!(check(&mut ice, new, 100, false, 61));
        assert_eq!(ice.path(), Some(new));
    }

    #[test]
    fn a_client_that_checks_from_elsewhere_only_is_in_doubt_until_we_follow_it() {
        let mut ice = agent();
        let (old, new) = (
            path(1, TransportProtocol::Udp),
            path(2, TransportProtocol::Udp),
        );
        let second = |at| start() + Duration::from_secs(at);
        check(&mut ice, old, 100, true, 0);
        assert!(!check(&mut ice, new, 90, false, 1));
        assert!(!ice.is_in_doubt(second(2)), "it may keep a path in reserve");
        assert!(ice.is_in_doubt(second(3)));
        check(&mut ice, old, 100, false, 4);
        assert!(!ice.is_in_doubt(second(10)), "silence is another matter");
        assert!(!check(&mut ice, new, 90, false, 10));
        assert!(ice.is_in_doubt(second(10)));
        assert!(check(&mut ice, new, 90, false, 12));
        assert!(!ice.is_in_doubt(second(12)));
    }

    #[test]
    fn after_a_restart_the_old_path_serves_until_another_is_nominated() {
        let mut ice = agent();
        let (udp, tcp) = (
            path(1, TransportProtocol::Udp),
            path(2, TransportProtocol::Tcp),
        );
        nominate(&mut ice, udp, 100);
        ice.restart(credentials("fresh"));
        assert_eq!(ice.path(), Some(udp));
        assert_eq!(
            checked(
                &ice,
                &request("fresh:theirs", &credentials("ours").pwd, true, true)
            ),
            None
        );
        ice.set_remote(&credentials("theirs2"));
        assert_eq!(
            checked(
                &ice,
                &request("fresh:theirs2", &credentials("fresh").pwd, true, true)
            ),
            Some(true)
        );
        assert!(nominate(&mut ice, tcp, 1));
        assert_eq!(ice.path(), Some(tcp));
    }
}
