//! What packets of a section say of it.

/// The MID header extension of a section's packets (RFC 9143, section 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MidElement {
    id: u8,
    len: u8,
    value: [u8; Self::MAX_LEN],
}

impl MidElement {
    /// What an element with a one-byte header can hold.
    const MAX_LEN: usize = 16;

    /// `None` when the name does not fit.
    pub fn new(id: u8, mid: &str) -> Option<Self> {
        let len = u8::try_from(mid.len()).ok()?;
        let mut value = [0; Self::MAX_LEN];
        value.get_mut(..mid.len())?.copy_from_slice(mid.as_bytes());
        Some(Self { id, len, value })
    }

    pub(super) fn element(&self) -> (u8, &[u8]) {
        (self.id, &self.value[..usize::from(self.len)])
    }
}
