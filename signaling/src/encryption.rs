//! How participants of a room encrypt what they send to each other. It is set when the room opens, and never lowered.

use protocol::{error::Error, livekit};

/// The tag of a room (`CreateRoom`, or the room configuration of a token) with its encryption.
const TAG: &str = "encryption";

/// The encryption of a room, besides that between each participant and the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Encryption {
    /// None: the server can see and hear.
    #[default]
    None,
    /// That of LiveKit's SDKs, with keys of the application's. The server knows nothing of it.
    Livekit,
    /// A group of MLS and frames of SFrame (docs/security/e2ee.md). Who does not speak it is not let in.
    Mls,
}

impl Encryption {
    /// That of a room with these settings.
    ///
    /// # Errors
    /// When its name is none of ours: nobody is to believe in an encryption that is not there.
    pub fn of(settings: Option<&livekit::RoomConfiguration>) -> Result<Self, Error> {
        let name = settings.and_then(|settings| settings.tags.get(TAG));
        match name.map(String::as_str) {
            None | Some("none") => Ok(Self::None),
            Some("livekit") => Ok(Self::Livekit),
            Some("mls") => Ok(Self::Mls),
            Some(_) => Err(Error::InvalidArgument(
                "the tag `encryption` is none, livekit or mls",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_encryption_is_no_room_without_any() {
        let of = |value: &str| {
            let settings = livekit::RoomConfiguration {
                tags: [(TAG.to_owned(), value.to_owned())].into(),
                ..Default::default()
            };
            Encryption::of(Some(&settings)).ok()
        };
        assert_eq!(Encryption::of(None).ok(), Some(Encryption::None));
        assert_eq!(of("none"), Some(Encryption::None));
        assert_eq!(of("livekit"), Some(Encryption::Livekit));
        assert_eq!(of("mls"), Some(Encryption::Mls));
        assert_eq!((of("MLS"), of("on"), of("")), (None, None, None));
    }
}
