//! What comes to the TURN server, from strangers and from users.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use turn::{
    Association, Moment, Outcome, Quotas, Registry, Settings,
    auth::{self, Nonces},
    stun::{Builder, Class, Message, Method, attribute, channel_data, stream_message_len},
};

use crate::parts;

const USER: &str = "ada";
const PASSWORD: &str = "her password";
const REALM: &str = "conclave";
const UNIX: u64 = 1_800_000_000;

/// A client's messages. The first byte of each part says how it is sent: 0 as it is, else as a request of one of the methods
/// with valid credentials, whose attributes are the rest: type, length (one byte) and value of each.
pub fn turn(data: &[u8]) {
    let client = SocketAddr::from(([192, 0, 2, 1], 40_000));
    let media = SocketAddr::from(([198, 51, 100, 7], 7882));
    let settings = Settings {
        realm: REALM.to_owned(),
        nonces: Nonces::new(&[1; 32]),
        peers: vec![media],
    };
    let quotas = Quotas {
        per_user: 1,
        total: 2,
    };
    let mut registry = Registry::new(vec![media.ip()], quotas);
    let mut association = Association::new(client);
    let mut now = Instant::now();
    for (count, part) in parts(data).enumerate() {
        let Some((&how, rest)) = part.split_first() else {
            continue;
        };
        let _ = (
            Message::parse(rest),
            channel_data(rest),
            stream_message_len(rest),
        );
        let moment = Moment { now, unix: UNIX };
        let nonce = settings.nonces.issue(client, UNIX);
        let bytes = match how % 5 {
            0 => rest.to_vec(),
            method => request(method, [count as u8; 12], rest, &nonce),
        };
        let password = |user: &str, _| (user == USER).then(|| PASSWORD.to_owned());
        let outcome = association.handle(&bytes, &settings, password, moment);
        let outcome = match outcome {
            Outcome::Allocate(wish) => {
                let result = registry.allocate(&wish.user, wish.ipv6);
                association.allocated(wish, result, now)
            }
            other => other,
        };
        match outcome {
            Outcome::Relay { peer, .. } => assert_eq!(peer, media, "nothing else is reached"),
            Outcome::Ended(_) => {
                if let Some((user, relayed)) = association.end() {
                    registry.release(&user, relayed);
                }
            }
            _ => {}
        }
        now += Duration::from_secs(u64::from(how / 5) * 20);
    }
}

fn request(method: u8, id: [u8; 12], mut attributes: &[u8], nonce: &str) -> Vec<u8> {
    let method = [
        Method::Allocate,
        Method::Refresh,
        Method::CreatePermission,
        Method::ChannelBind,
    ][usize::from(method - 1)];
    let mut builder = Builder::new(Class::Request, method, id);
    while let Some((&[high, low, len], rest)) = attributes.split_first_chunk::<3>() {
        let (value, rest) = rest.split_at(usize::from(len).min(rest.len()));
        builder = builder.add(u16::from_be_bytes([high, low]), value);
        attributes = rest;
    }
    builder
        .add(attribute::USERNAME, USER.as_bytes())
        .add(attribute::REALM, REALM.as_bytes())
        .add(attribute::NONCE, nonce.as_bytes())
        .sign(&auth::key(USER, REALM, PASSWORD))
}
