//! Keys of the objects that a shard owns. Keys never leave the shard: sids travel over the network.

use slotmap::new_key_type;

new_key_type! {
    /// A member of a room of this shard.
    pub struct MemberKey;
    /// A PeerConnection of this shard.
    pub struct ConnectionKey;
    /// A room of this shard.
    pub struct RouterKey;
    /// A published track of this shard.
    pub struct UpTrackKey;
    /// A subscription of this shard.
    pub struct DownTrackKey;
}
