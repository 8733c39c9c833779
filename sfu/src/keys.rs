//! Keys of the objects that a shard owns. Keys never leave the shard: sids travel over the network.

use slotmap::new_key_type;

new_key_type! {
    /// A peer of this shard: a PeerConnection of a participant.
    pub struct PeerKey;
    /// A room of this shard.
    pub struct RouterKey;
    /// A published track of this shard.
    pub struct UpTrackKey;
    /// A subscription of this shard.
    pub struct DownTrackKey;
}
