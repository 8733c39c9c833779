//! What a client of the TURN server gets, and what it does not get.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use turn::{
    Association, Moment, Outcome, Quotas, Refusal, Registry, Settings,
    auth::{self, Nonces},
    stun::{Builder, Class, Message, Method, attribute as a},
};

const UNIX: u64 = 1_800_000_000;
const USER: &str = "ada";
const PASSWORD: &str = "her password";
const REALM: &str = "conclave";

/// A client, the server's side of it, and the time.
struct Client {
    association: Association,
    settings: Settings,
    registry: Registry,
    now: Instant,
    unix: u64,
    next: u8,
    user: &'static str,
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Success(Vec<u8>),
    Error(u16, Refusal),
    Relayed(SocketAddr, Vec<u8>),
    Dropped(Refusal),
    Nothing,
}

fn media() -> SocketAddr {
    "198.51.100.7:7882".parse().unwrap()
}

fn media6() -> SocketAddr {
    "[2001:db8::7]:7882".parse().unwrap()
}

impl Client {
    fn new() -> Self {
        let client: SocketAddr = "192.0.2.1:40000".parse().unwrap();
        Self {
            association: Association::new(client),
            settings: Settings {
                realm: REALM.to_owned(),
                nonces: Nonces::new(&[1; 32]),
                peers: vec![media(), media6()],
            },
            registry: Registry::new(
                vec![media().ip(), media6().ip()],
                Quotas {
                    per_user: 1,
                    total: 10,
                },
            ),
            now: Instant::now(),
            unix: UNIX,
            next: 0,
            user: USER,
        }
    }

    fn with_allocation() -> Self {
        let mut client = Self::new();
        assert!(matches!(client.allocate(), Answer::Success(_)));
        client
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.unix += seconds;
    }

    fn nonce(&self) -> String {
        let client = "192.0.2.1:40000".parse().unwrap();
        self.settings.nonces.issue(client, self.unix)
    }

    fn send(&mut self, bytes: &[u8]) -> Answer {
        let moment = Moment {
            now: self.now,
            unix: self.unix,
        };
        let password = |user: &str, _| (user == USER || user == "ben").then(|| PASSWORD.to_owned());
        let outcome = self
            .association
            .handle(bytes, &self.settings, password, moment);
        let outcome = match outcome {
            Outcome::Allocate(request) => {
                let result = self.registry.allocate(&request.user, request.ipv6);
                self.association.allocated(request, result, self.now)
            }
            other => other,
        };
        match outcome {
            Outcome::Nothing | Outcome::Allocate(_) => Answer::Nothing,
            Outcome::Reply(bytes) => Answer::Success(bytes),
            Outcome::Ended(bytes) => {
                let (user, relayed) = self.association.end().unwrap();
                self.registry.release(&user, relayed);
                Answer::Success(bytes)
            }
            Outcome::Refused(refusal, None) => Answer::Dropped(refusal),
            Outcome::Refused(refusal, Some(bytes)) => {
                let message = Message::parse(&bytes).unwrap();
                assert_eq!(message.class(), Class::Error);
                let code = message.attribute(a::ERROR_CODE).unwrap();
                Answer::Error(u16::from(code[2]) * 100 + u16::from(code[3]), refusal)
            }
            Outcome::Relay { peer, payload } => Answer::Relayed(peer, payload.to_vec()),
        }
    }

    fn transaction(&mut self) -> [u8; 12] {
        self.next += 1;
        [self.next; 12]
    }

    fn request(&mut self, method: Method, fill: impl FnOnce(Builder) -> Builder) -> Answer {
        let bytes = self.signed(method, fill);
        self.send(&bytes)
    }

    fn signed(&mut self, method: Method, fill: impl FnOnce(Builder) -> Builder) -> Vec<u8> {
        let id = self.transaction();
        fill(Builder::new(Class::Request, method, id))
            .add(a::USERNAME, self.user.as_bytes())
            .add(a::REALM, REALM.as_bytes())
            .add(a::NONCE, self.nonce().as_bytes())
            .sign(&auth::key(self.user, REALM, PASSWORD))
    }

    fn allocate(&mut self) -> Answer {
        self.request(Method::Allocate, |b| {
            b.add(a::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
        })
    }

    fn permit(&mut self, peer: SocketAddr) -> Answer {
        self.request(Method::CreatePermission, |b| {
            b.add_address(a::XOR_PEER_ADDRESS, peer)
        })
    }

    fn bind(&mut self, number: u16, peer: SocketAddr) -> Answer {
        let [high, low] = number.to_be_bytes();
        self.request(Method::ChannelBind, |b| {
            b.add(a::CHANNEL_NUMBER, &[high, low, 0, 0])
                .add_address(a::XOR_PEER_ADDRESS, peer)
        })
    }

    fn indicate(&mut self, peer: SocketAddr, payload: &[u8]) -> Answer {
        let id = self.transaction();
        let bytes = Builder::new(Class::Indication, Method::Send, id)
            .add_address(a::XOR_PEER_ADDRESS, peer)
            .add(a::DATA, payload)
            .finish();
        self.send(&bytes)
    }
}

fn channel(number: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn a_client_with_credentials_reaches_our_media_address_and_is_reached() {
    let mut client = Client::new();
    let Answer::Success(bytes) = client.allocate() else {
        panic!("no allocation")
    };
    let answer = Message::parse(&bytes).unwrap();
    assert!(answer.verify(&auth::key(USER, REALM, PASSWORD)));
    let relayed = answer.xor_address(answer.attribute(a::XOR_RELAYED_ADDRESS).unwrap());
    assert_eq!(relayed, client.association.relayed());
    assert_eq!(relayed.map(|address| address.ip()), Some(media().ip()));
    assert_eq!(answer.number(a::LIFETIME), Some(600));
    let mapped = answer.xor_address(answer.attribute(a::XOR_MAPPED_ADDRESS).unwrap());
    assert_eq!(mapped, "192.0.2.1:40000".parse().ok());

    assert_eq!(
        client.indicate(media(), b"x"),
        Answer::Dropped(Refusal::NotPermitted)
    );
    assert!(matches!(client.permit(media()), Answer::Success(_)));
    assert_eq!(
        client.indicate(media(), b"up"),
        Answer::Relayed(media(), b"up".to_vec())
    );

    let mut out = Vec::new();
    assert!(
        client
            .association
            .wrap(media(), b"down", [9; 12], false, &mut out, client.now)
    );
    let data = Message::parse(&out).unwrap();
    assert_eq!(
        (data.class(), data.method()),
        (Class::Indication, Method::Data)
    );
    assert_eq!(data.attribute(a::DATA), Some(&b"down"[..]));

    assert!(matches!(client.bind(0x4001, media()), Answer::Success(_)));
    assert_eq!(
        client.send(&channel(0x4001, b"up")),
        Answer::Relayed(media(), b"up".to_vec())
    );
    for (is_stream, expected) in [
        (false, channel(0x4001, b"down!")),
        (true, [channel(0x4001, b"down!"), vec![0; 3]].concat()),
    ] {
        let mut out = Vec::new();
        assert!(client.association.wrap(
            media(),
            b"down!",
            [9; 12],
            is_stream,
            &mut out,
            client.now
        ));
        assert_eq!(out, expected);
    }
}

/// The special-purpose registries of IANA (IPv4, IPv6), multicast, and IPv4 addresses in IPv6 clothes: the first and the
/// last address of each, and some in between.
#[rustfmt::skip]
const SPECIAL: [&str; 90] = [
    "0.0.0.0", "0.255.255.255", "10.0.0.0", "10.77.0.1", "10.255.255.255", "100.64.0.0", "100.127.255.255",
    "127.0.0.0", "127.0.0.1", "127.255.255.255", "169.254.0.0", "169.254.169.254", "169.254.255.255",
    "172.16.0.0", "172.17.0.1", "172.31.255.255", "192.0.0.0", "192.0.0.7", "192.0.0.8", "192.0.0.9", "192.0.0.10",
    "192.0.0.170", "192.0.0.171", "192.0.0.255", "192.0.2.0", "192.0.2.1", "192.0.2.255", "192.31.196.0",
    "192.31.196.255", "192.52.193.0", "192.52.193.255", "192.88.99.0", "192.88.99.2", "192.88.99.255", "192.168.0.0",
    "192.168.1.1", "192.168.255.255", "192.175.48.0", "192.175.48.255", "198.18.0.0", "198.19.255.255",
    "198.51.100.0", "198.51.100.6", "198.51.100.8", "198.51.100.255", "203.0.113.0", "203.0.113.255",
    "224.0.0.1", "239.255.255.255", "240.0.0.0", "255.255.255.254", "255.255.255.255", "8.8.8.8",
    "::", "::1", "::7f00:1", "::ffff:0.0.0.0", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
    "::ffff:192.168.1.1", "::ffff:198.51.100.7", "::ffff:0:198.51.100.7", "64:ff9b::", "64:ff9b::198.51.100.7",
    "64:ff9b::127.0.0.1", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "100::", "100::ffff:ffff:ffff:ffff",
    "100:0:0:1::", "2001::", "2001:1::1", "2001:1::2", "2001:1::3", "2001:2::", "2001:3::", "2001:4:112::", "2001:20::",
    "2001:30::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::", "2001:db8::6", "2002::", "2002:c633:6407::1",
    "2002:7f00:1::1", "2620:4f:8000::", "fc00::", "fe80::1", "ff02::1",
];

#[test]
fn nothing_but_our_media_addresses_is_a_peer() {
    for address in SPECIAL {
        let ip: IpAddr = address.parse().unwrap();
        for port in [0, 22, 80, 443, 3478, 7882, 65535] {
            let peer = SocketAddr::new(ip, port);
            let mut client = Client::with_allocation();
            let forbidden = Answer::Error(403, Refusal::Forbidden);
            assert_eq!(client.permit(peer), forbidden, "{peer}");
            assert_eq!(client.bind(0x4000, peer), forbidden, "{peer}");
            assert!(matches!(client.permit(media()), Answer::Success(_)));
            assert_eq!(
                client.indicate(peer, b"x"),
                Answer::Dropped(Refusal::Forbidden),
                "{peer}"
            );
            assert_eq!(
                client.send(&channel(0x4000, b"x")),
                Answer::Dropped(Refusal::NotPermitted)
            );
        }
    }
}

#[test]
fn other_ports_of_our_own_machine_are_no_peers() {
    let mut client = Client::with_allocation();
    assert!(matches!(client.permit(media()), Answer::Success(_)));
    for port in [0, 22, 443, 7880, 7881, 7883, 7889] {
        let peer = SocketAddr::new(media().ip(), port);
        assert_eq!(
            client.indicate(peer, b"x"),
            Answer::Dropped(Refusal::Forbidden)
        );
        assert_eq!(
            client.bind(0x4000, peer),
            Answer::Error(403, Refusal::Forbidden)
        );
    }
    let relayed = client.association.relayed().unwrap();
    assert_eq!(
        client.indicate(relayed, b"x"),
        Answer::Dropped(Refusal::Forbidden)
    );
}

#[test]
fn one_forbidden_peer_among_others_refuses_them_all() {
    let mut client = Client::with_allocation();
    let answer = client.request(Method::CreatePermission, |b| {
        b.add_address(a::XOR_PEER_ADDRESS, media())
            .add_address(a::XOR_PEER_ADDRESS, "10.0.0.1:7882".parse().unwrap())
    });
    assert_eq!(answer, Answer::Error(403, Refusal::Forbidden));
    assert_eq!(
        client.indicate(media(), b"x"),
        Answer::Dropped(Refusal::NotPermitted)
    );
}

#[test]
fn a_stranger_is_challenged_and_hardly_gets_more_than_it_sent() {
    let mut client = Client::new();
    let id = client.transaction();
    let request = Builder::new(Class::Request, Method::Allocate, id)
        .add(a::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
        .finish();
    let moment = Moment {
        now: client.now,
        unix: UNIX,
    };
    let outcome = client
        .association
        .handle(&request, &client.settings, |_, _| None, moment);
    let Outcome::Refused(Refusal::Challenged, Some(reply)) = outcome else {
        panic!("{outcome:?}")
    };
    let message = Message::parse(&reply).unwrap();
    assert_eq!(message.attribute(a::ERROR_CODE), Some(&[0, 0, 4, 1][..]));
    assert_eq!(message.text(a::REALM), Some(REALM));
    assert_eq!(message.text(a::NONCE), Some(client.nonce().as_str()));
    // With the headers of IP and UDP, which count on the wire too: less than twice as much.
    assert!(
        reply.len() + 28 < 2 * (request.len() + 28),
        "{} for {}",
        reply.len(),
        request.len()
    );
    for method in [
        Method::Refresh,
        Method::CreatePermission,
        Method::ChannelBind,
    ] {
        let bytes = Builder::new(Class::Request, method, id).finish();
        assert_eq!(client.send(&bytes), Answer::Error(401, Refusal::Challenged));
    }
    // What is my address? is answered to anybody.
    let bytes = Builder::new(Class::Request, Method::Binding, id).finish();
    let Answer::Success(reply) = client.send(&bytes) else {
        panic!()
    };
    assert!(reply.len() <= bytes.len() + 12);
}

#[test]
fn wrong_credentials_are_refused() {
    let mut client = Client::new();
    for (user, realm, password) in [
        (USER, REALM, "guess"),
        ("eve", REALM, PASSWORD),
        (USER, "other", PASSWORD),
    ] {
        let id = client.transaction();
        let bytes = Builder::new(Class::Request, Method::Allocate, id)
            .add(a::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
            .add(a::USERNAME, user.as_bytes())
            .add(a::REALM, realm.as_bytes())
            .add(a::NONCE, client.nonce().as_bytes())
            .sign(&auth::key(user, realm, password));
        assert_eq!(
            client.send(&bytes),
            Answer::Error(401, Refusal::Unauthorized),
            "{user} {realm}"
        );
    }
    // A signature without a name.
    let id = client.transaction();
    let bytes =
        Builder::new(Class::Request, Method::Allocate, id).sign(&auth::key(USER, REALM, PASSWORD));
    assert_eq!(client.send(&bytes), Answer::Error(400, Refusal::BadRequest));
    assert_eq!(client.association.relayed(), None);
}

#[test]
fn an_old_nonce_is_replaced() {
    let mut client = Client::new();
    let bytes = client.signed(Method::Allocate, |b| {
        b.add(a::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
    });
    client.pass(3601);
    assert_eq!(client.send(&bytes), Answer::Error(438, Refusal::StaleNonce));
    assert!(matches!(client.allocate(), Answer::Success(_)));
}

#[test]
fn another_user_cannot_take_over_an_allocation() {
    let mut client = Client::with_allocation();
    client.user = "ben";
    assert_eq!(
        client.permit(media()),
        Answer::Error(441, Refusal::Unauthorized)
    );
    let refresh = client.request(Method::Refresh, |b| b.add(a::LIFETIME, &[0; 4]));
    assert_eq!(refresh, Answer::Error(441, Refusal::Unauthorized));
    assert!(client.association.relayed().is_some());
}

#[test]
fn the_allocation_beyond_the_quota_is_refused() {
    let mut client = Client::with_allocation();
    // The same user from another address.
    client.association = Association::new("192.0.2.1:40000".parse().unwrap());
    assert_eq!(client.allocate(), Answer::Error(486, Refusal::Quota));
    client.user = "ben";
    assert!(matches!(client.allocate(), Answer::Success(_)));
}

#[test]
fn a_repeated_request_gets_the_same_allocation_and_another_request_none() {
    let mut client = Client::new();
    let bytes = client.signed(Method::Allocate, |b| {
        b.add(a::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
    });
    let (first, second) = (client.send(&bytes), client.send(&bytes));
    assert_eq!(first, second);
    assert_eq!(client.allocate(), Answer::Error(437, Refusal::BadRequest));
}

#[test]
fn only_udp_is_relayed() {
    let mut client = Client::new();
    let tcp = client.request(Method::Allocate, |b| {
        b.add(a::REQUESTED_TRANSPORT, &[6, 0, 0, 0])
    });
    assert_eq!(tcp, Answer::Error(442, Refusal::BadRequest));
    let none = client.request(Method::Allocate, |b| b);
    assert_eq!(none, Answer::Error(400, Refusal::BadRequest));
    // EVEN-PORT: nobody needs pairs of ports, and we have none.
    let even = client.request(Method::Allocate, |b| {
        b.add(a::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
            .add(0x0018, &[0x80])
    });
    assert_eq!(even, Answer::Error(420, Refusal::BadRequest));
}

#[test]
fn an_allocation_has_a_family_and_its_peers_have_the_same() {
    let mut client = Client::new();
    let v6 = client.request(Method::Allocate, |b| {
        b.add(a::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
            .add(a::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0])
    });
    assert!(matches!(v6, Answer::Success(_)));
    assert_eq!(
        client.association.relayed().map(|address| address.ip()),
        Some(media6().ip())
    );
    assert_eq!(
        client.permit(media()),
        Answer::Error(443, Refusal::BadRequest)
    );
    assert!(matches!(client.permit(media6()), Answer::Success(_)));
}

#[test]
fn lifetimes_are_bounded_and_end() {
    for (asked, given) in [
        (0_u32, 600),
        (1, 600),
        (601, 601),
        (3600, 3600),
        (3601, 3600),
        (u32::MAX, 3600),
    ] {
        let mut client = Client::with_allocation();
        let answer = client.request(Method::Refresh, |b| {
            b.add(a::LIFETIME, &asked.to_be_bytes())
        });
        let Answer::Success(bytes) = answer else {
            panic!()
        };
        let lifetime = Message::parse(&bytes).unwrap().number(a::LIFETIME);
        if asked == 0 {
            assert_eq!((lifetime, client.association.relayed()), (Some(0), None));
            assert_eq!(
                client.permit(media()),
                Answer::Error(437, Refusal::BadRequest)
            );
            continue;
        }
        assert_eq!(lifetime, Some(given));
        assert_eq!(
            client.association.expires(),
            Some(client.now + Duration::from_secs(given.into()))
        );
    }
}

#[test]
fn permissions_and_channels_end_unless_they_are_renewed() {
    let mut client = Client::with_allocation();
    client.request(Method::Refresh, |b| {
        b.add(a::LIFETIME, &3600_u32.to_be_bytes())
    });
    client.permit(media());
    client.pass(299);
    assert!(matches!(
        client.indicate(media(), b"x"),
        Answer::Relayed(..)
    ));
    client.pass(1);
    assert_eq!(
        client.indicate(media(), b"x"),
        Answer::Dropped(Refusal::NotPermitted)
    );
    client.bind(0x4000, media());
    client.pass(599);
    assert!(matches!(
        client.send(&channel(0x4000, b"x")),
        Answer::Relayed(..)
    ));
    assert!(matches!(client.bind(0x4000, media()), Answer::Success(_)));
    client.pass(599);
    assert!(matches!(
        client.send(&channel(0x4000, b"x")),
        Answer::Relayed(..)
    ));
    client.pass(1);
    assert_eq!(
        client.send(&channel(0x4000, b"x")),
        Answer::Dropped(Refusal::NotPermitted)
    );
    client.bind(0x4000, media());
    // And with the allocation everything.
    client.pass(3600);
    assert_eq!(
        client.send(&channel(0x4000, b"x")),
        Answer::Dropped(Refusal::NotPermitted)
    );
    assert_eq!(
        client.permit(media()),
        Answer::Error(437, Refusal::BadRequest)
    );
    let mut out = Vec::new();
    assert!(
        !client
            .association
            .wrap(media(), b"x", [0; 12], false, &mut out, client.now)
    );
}

#[test]
fn a_channel_belongs_to_one_peer_and_a_peer_to_one_channel() {
    let mut client = Client::with_allocation();
    client
        .settings
        .peers
        .push("198.51.100.7:7883".parse().unwrap());
    let other = client.settings.peers[2];
    assert!(matches!(client.bind(0x4000, media()), Answer::Success(_)));
    assert_eq!(
        client.bind(0x4001, media()),
        Answer::Error(400, Refusal::BadRequest)
    );
    assert_eq!(
        client.bind(0x4000, other),
        Answer::Error(400, Refusal::BadRequest)
    );
    assert!(matches!(client.bind(0x4fff, other), Answer::Success(_)));
    for number in [0, 0x3fff, 0x5000, 0xffff] {
        assert_eq!(
            client.bind(number, other),
            Answer::Error(400, Refusal::BadRequest),
            "{number:x}"
        );
    }
}

#[test]
fn whatever_comes_is_answered_or_dropped() {
    let mut client = Client::with_allocation();
    let samples = [
        client.signed(Method::Allocate, |b| b.add(a::REQUESTED_TRANSPORT, &[])),
        client.signed(Method::Allocate, |b| {
            b.add(a::REQUESTED_ADDRESS_FAMILY, &[])
        }),
        client.signed(Method::CreatePermission, |b| {
            b.add(a::XOR_PEER_ADDRESS, &[0, 1])
        }),
        client.signed(Method::CreatePermission, |b| b),
        client.signed(Method::ChannelBind, |b| b.add(a::CHANNEL_NUMBER, &[0x40])),
        client.signed(Method::Refresh, |b| b.add(a::LIFETIME, &[1])),
        channel(0x4000, &[0; 40]),
    ];
    for sample in &samples {
        for end in 0..=sample.len() {
            client.send(&sample[..end]);
        }
        for at in 0..sample.len() {
            for bit in 0..8 {
                let mut changed = sample.clone();
                changed[at] ^= 1 << bit;
                client.send(&changed);
            }
        }
    }
}
