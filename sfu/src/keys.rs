//! Keys of what a shard owns. They never leave it: over the network go sids.

use slotmap::new_key_type;

new_key_type! {
    /// A peer (a PeerConnection of a participant) of this shard. Never leaves it.
    pub struct PeerKey;
    /// A room of this shard.
    pub struct RouterKey;
    /// A published track of this shard.
    pub struct UpTrackKey;
    /// A subscription of this shard.
    pub struct DownTrackKey;
}
