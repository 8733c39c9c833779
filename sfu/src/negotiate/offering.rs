//! Which offer of ours is under way.

/// Which offer is under way.
#[derive(Debug, Clone, Default)]
pub(super) struct Offering {
    /// Of the last offer; the first is 1.
    pub(super) id: u32,
    /// It is not answered.
    pub(super) outstanding: bool,
    /// Its length.
    pub(super) bytes: usize,
}
