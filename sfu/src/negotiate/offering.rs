//! Our offers: the last one, and whether it is answered.

/// The last offer of ours.
#[derive(Debug, Clone, Default)]
pub(super) struct Offering {
    /// Id of the offer; the first is 1.
    pub(super) id: u32,
    /// The offer is not answered.
    pub(super) outstanding: bool,
    /// Length of the offer, bytes.
    pub(super) bytes: usize,
}
