//! The suites of groups, as versioned profiles: the code points of the hybrid one are those of a draft.

use openmls::prelude::{Ciphersuite, SignatureScheme};

/// How a group makes its keys. It is chosen when the group is founded and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Profile {
    /// X25519 and Ed25519 (suite 0x0001 of RFC 9420).
    Classic = 1,
    /// X25519 with ML-KEM-768, and Ed25519 (suite 0x004F of draft-ietf-mls-pq-ciphersuites): who records a meeting today
    /// reads it on no quantum computer either.
    Hybrid = 2,
}

impl Profile {
    /// The profile of this number.
    pub fn new(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Classic),
            2 => Some(Self::Hybrid),
            _ => None,
        }
    }

    /// Its suite.
    pub fn suite(self) -> Ciphersuite {
        match self {
            Self::Classic => Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519,
            Self::Hybrid => Ciphersuite::MLS_128_MLKEM768X25519_AES128GCM_SHA256_Ed25519,
        }
    }
}

/// The signatures of all profiles.
pub const SIGNATURES: SignatureScheme = SignatureScheme::ED25519;
