//! Space for a frame: what stands in the clear before it, and the frame itself.

use std::convert::Infallible;

use sframe::frame::{FrameBuffer, Truncate};

/// A buffer into which a frame is encrypted behind what stands there already. It is used again for the next one.
#[derive(Debug, Default)]
pub struct Frame {
    bytes: Vec<u8>,
    /// Where the frame begins.
    begin: usize,
}

impl Frame {
    /// A buffer without anything in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is in it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Empties it, and has `write` write what stands before the frame.
    pub(crate) fn begin<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.clear();
        write(&mut self.bytes)?;
        self.begin = self.bytes.len();
        Ok(())
    }

    /// Empties it: what did not become a frame is not there to be sent or shown.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.begin = 0;
    }

    /// All of it, to write behind it.
    pub(crate) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.begin..]
    }
}

impl AsMut<[u8]> for Frame {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.begin..]
    }
}

impl FrameBuffer for Frame {
    type BufferSlice = Self;
    type Error = Infallible;

    fn allocate(&mut self, size: usize) -> Result<&mut Self, Infallible> {
        self.bytes.resize(self.begin + size, 0);
        Ok(self)
    }
}

impl Truncate for Frame {
    fn truncate(&mut self, len: usize) {
        self.bytes.truncate(self.begin + len);
    }
}
