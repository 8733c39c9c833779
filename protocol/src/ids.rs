//! Ids that travel (`…Sid`) and names that people or applications choose (`…Name`, `…Identity`).
//!
//! A sid is short, `Copy` and has its kind in its prefix, as LiveKit's have: `RM_`, `PA_`, `TR_`.

use std::{fmt, str::FromStr, sync::Arc};

use rand::Rng;

/// The longest sid that is accepted, bytes. LiveKit's are at most 17 bytes (`TR_AM` and 12 characters).
const MAX_SID: usize = 23;

/// Number of random characters of a sid: 62^12, about 71 bits.
const RANDOM_CHARS: usize = 12;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Sid {
    len: u8,
    bytes: [u8; MAX_SID],
}

impl Sid {
    fn parse(text: &str, prefix: &str) -> Result<Self, InvalidSid> {
        let valid = text.len() > prefix.len()
            && text.len() <= MAX_SID
            && text.starts_with(prefix)
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !valid {
            return Err(InvalidSid);
        }
        let mut bytes = [0; MAX_SID];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self {
            len: text.len() as u8,
            bytes,
        })
    }

    fn random(prefix: &str, rng: &mut impl Rng) -> Self {
        let mut bytes = [0; MAX_SID];
        bytes[..prefix.len()].copy_from_slice(prefix.as_bytes());
        let len = prefix.len() + RANDOM_CHARS;
        for byte in &mut bytes[prefix.len()..len] {
            *byte = ALPHABET[rng.random_range(0..ALPHABET.len())];
        }
        Self {
            len: len as u8,
            bytes,
        }
    }

    fn as_str(&self) -> &str {
        // Only ASCII is ever stored.
        std::str::from_utf8(&self.bytes[..self.len as usize]).unwrap_or_default()
    }
}

/// The text is not a sid of the kind asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid sid")]
pub struct InvalidSid;

macro_rules! sid {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Sid);

        impl $name {
            /// The sid as it travels.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl FromStr for $name {
            type Err = InvalidSid;
            fn from_str(text: &str) -> Result<Self, InvalidSid> {
                Sid::parse(text, $prefix).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

sid! {
    /// One life of a meeting room: `RM_…`. A room that ends and is opened again has a new sid.
    RoomSid, "RM_"
}
sid! {
    /// One participant's stay in a room: `PA_…`. It survives a resume, not a full reconnect.
    ParticipantSid, "PA_"
}
sid! {
    /// One published track: `TR_…`.
    TrackSid, "TR_"
}

sid! {
    /// One published data track: `DTR_…`.
    DataTrackSid, "DTR_"
}
sid! {
    /// One webhook event: `EV_…`. An event that is sent again keeps it.
    WebhookSid, "EV_"
}

sid! {
    /// One connection of an agent's worker: `AW_…`. A worker that comes back has a new one.
    WorkerSid, "AW_"
}
sid! {
    /// The wish that an agent be in a room: `AD_…`.
    DispatchSid, "AD_"
}
sid! {
    /// One agent at work in a room: `AJ_…`. Another worker that takes it over takes the same job.
    JobSid, "AJ_"
}

impl RoomSid {
    /// A new random sid.
    pub fn random(rng: &mut impl Rng) -> Self {
        Self(Sid::random("RM_", rng))
    }
}

impl ParticipantSid {
    /// A new random sid.
    pub fn random(rng: &mut impl Rng) -> Self {
        Self(Sid::random("PA_", rng))
    }
}

impl DataTrackSid {
    /// A new random sid.
    pub fn random(rng: &mut impl Rng) -> Self {
        Self(Sid::random("DTR_", rng))
    }
}

impl WebhookSid {
    /// A new random sid.
    pub fn random(rng: &mut impl Rng) -> Self {
        Self(Sid::random("EV_", rng))
    }
}

impl WorkerSid {
    /// A new random sid.
    pub fn random(rng: &mut impl Rng) -> Self {
        Self(Sid::random("AW_", rng))
    }
}

impl DispatchSid {
    /// A new random sid.
    pub fn random(rng: &mut impl Rng) -> Self {
        Self(Sid::random("AD_", rng))
    }
}

impl JobSid {
    /// A new random sid.
    pub fn random(rng: &mut impl Rng) -> Self {
        Self(Sid::random("AJ_", rng))
    }
}

impl TrackSid {
    /// A new random sid; `kind` is LiveKit's two-letter hint (`AM` microphone, `VC` camera, `VS` screen, `AS` its
    /// sound).
    pub fn random(kind: &str, rng: &mut impl Rng) -> Self {
        let prefix = match kind {
            "AM" => "TR_AM",
            "VC" => "TR_VC",
            "VS" => "TR_VS",
            "AS" => "TR_AS",
            _ => "TR_",
        };
        Self(Sid::random(prefix, rng))
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Debug for $name {
            /// Writes no content: names of people and meetings do not belong into logs.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "(…{})"), self.0.len())
            }
        }
    };
}

name! {
    /// The application's name of a room. At most 256 bytes; may hold any character.
    RoomName
}
name! {
    /// The application's name of a participant; unique within a room.
    ParticipantIdentity
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    #[test]
    fn a_random_sid_parses_back() {
        let mut rng = StdRng::seed_from_u64(1);
        let sid = TrackSid::random("VC", &mut rng);
        assert!(sid.as_str().starts_with("TR_VC"));
        assert_eq!(sid.as_str().parse(), Ok(sid));
        assert_ne!(sid, TrackSid::random("VC", &mut rng));
    }

    #[test]
    fn foreign_texts_are_not_sids() {
        for text in [
            "",
            "PA_",
            "TR_abc",
            "PA_ü",
            "PA_a b",
            "PA_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(text.parse::<ParticipantSid>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_do_not_print() {
        assert!(!format!("{:?}", RoomName::from("Cabinet")).contains("Cabinet"));
    }
}
