//! Long-term credentials (RFC 8489, section 9.2): the key of a user, and nonces that need no memory.

use std::net::SocketAddr;

use aws_lc_rs::{constant_time, hmac};
use md5::{Digest, Md5};

/// The lifetime of a nonce, seconds: an hour (RFC 8656, section 5).
pub const NONCE_LIFETIME_SECONDS: u64 = 3600;

/// Length of a nonce's tag, bytes: long enough not to be guessed within the hour, short enough for a short answer.
const TAG: usize = 8;

/// The key that a user's messages are signed with (RFC 8489, section 18.5.1.1). MD5 because this is what clients know;
/// the password is a MAC of 256 bits, not a word of anybody's.
pub fn key(username: &str, realm: &str, password: &str) -> [u8; 16] {
    Md5::new()
        .chain_update(username)
        .chain_update(":")
        .chain_update(realm)
        .chain_update(":")
        .chain_update(password)
        .finalize()
        .into()
}

/// A maker and checker of nonces.
#[derive(Debug)]
pub struct Nonces(hmac::Key);

/// The result of checking a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nonce {
    /// The nonce is ours, for this client, and young.
    Fresh,
    /// The nonce is anything else: the client gets another one.
    Stale,
}

impl Nonces {
    /// A maker with a secret that lives as long as the process.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// A nonce for the client at `remote`, at `now` (seconds since 1970).
    pub fn issue(&self, remote: SocketAddr, now: u64) -> String {
        let time = now as u32;
        let mut text = format!("{time:08x}");
        for byte in &self.tag(remote, time).as_ref()[..TAG] {
            text += &format!("{byte:02x}");
        }
        text
    }

    /// Checks a nonce that came from `remote`.
    pub fn check(&self, nonce: &str, remote: SocketAddr, now: u64) -> Nonce {
        let time = nonce
            .get(..8)
            .and_then(|time| u32::from_str_radix(time, 16).ok());
        let Some(time) = time else {
            return Nonce::Stale;
        };
        let expected = self.issue(remote, u64::from(time));
        let is_ours =
            constant_time::verify_slices_are_equal(expected.as_bytes(), nonce.as_bytes()).is_ok();
        let age = (now as u32).wrapping_sub(time);
        match is_ours && u64::from(age) <= NONCE_LIFETIME_SECONDS {
            true => Nonce::Fresh,
            false => Nonce::Stale,
        }
    }

    fn tag(&self, remote: SocketAddr, time: u32) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&time.to_be_bytes());
        context.update(remote.to_string().as_bytes());
        context.sign()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_for_one_address_and_one_hour() {
        let nonces = Nonces::new(&[7; 32]);
        let (here, there) = (
            "192.0.2.1:9".parse().unwrap(),
            "192.0.2.1:10".parse().unwrap(),
        );
        let nonce = nonces.issue(here, 1000);
        assert_eq!(nonces.check(&nonce, here, 1000), Nonce::Fresh);
        assert_eq!(
            nonces.check(&nonce, here, 1000 + NONCE_LIFETIME_SECONDS),
            Nonce::Fresh
        );
        assert_eq!(
            nonces.check(&nonce, here, 1001 + NONCE_LIFETIME_SECONDS),
            Nonce::Stale
        );
        assert_eq!(nonces.check(&nonce, here, 999), Nonce::Stale);
        assert_eq!(nonces.check(&nonce, there, 1000), Nonce::Stale);
        assert_eq!(
            Nonces::new(&[8; 32]).check(&nonce, here, 1000),
            Nonce::Stale
        );
        for nonsense in [
            "",
            "ä",
            "0000000",
            "ffffffff",
            &nonce[..23],
            &format!("{nonce}0"),
        ] {
            assert_eq!(
                nonces.check(nonsense, here, 1000),
                Nonce::Stale,
                "{nonsense}"
            );
        }
    }
}
