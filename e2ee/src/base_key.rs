//! The secret of an epoch from which the keys of its frames are derived (RFC 9605, section 5.2).

use std::fmt;

use zeroize::Zeroizing;

/// The label by which a group exports it.
pub const LABEL: &str = "SFrame 1.0 Base Key";

/// Its length in bytes: that of a key of AES-256.
pub const LEN: usize = 32;

/// The base key of an epoch. It is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseKey(Zeroizing<[u8; LEN]>);

impl BaseKey {
    /// The base key of these bytes.
    pub fn new(bytes: [u8; LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl AsRef<[u8]> for BaseKey {
    fn as_ref(&self) -> &[u8] {
        &*self.0
    }
}

impl fmt::Debug for BaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BaseKey")
    }
}
