//! Commands about published tracks.

use protocol::{ParticipantSid, TrackSid};

use crate::api::track::{PublishedTrack, TrackCodec};

/// A command about a published track.
#[derive(Debug, Clone)]
pub enum TrackCommand {
    /// A track is published: `add_track` was accepted. Answered by [`Event::TrackBound`](crate::Event::TrackBound) or
    /// [`Event::TrackRefused`](crate::Event::TrackRefused) when the client's offer is there too, then by
    /// [`Event::TrackActive`](crate::Event::TrackActive). May come before or after the offer that carries it. A backup
    /// is announced with its track, and once more when the publisher is about to send it.
    Publish {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: PublishedTrack,
    },
    /// A track of a participant who is connected elsewhere. It can be subscribed to at once. No event but
    /// [`Event::TrackActive`](crate::Event::TrackActive), with its first packet.
    PublishRelayed {
        /// The publisher.
        peer: ParticipantSid,
        /// The track, by its sid in this room.
        track: PublishedTrack,
        /// The codec of the track.
        codec: TrackCodec,
    },
    /// The track ends (by the client, or by a permission that was revoked). No event for the publisher; subscribers are
    /// negotiated with, as for [`SubscriptionCommand::Unsubscribe`](crate::SubscriptionCommand::Unsubscribe).
    Unpublish {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
    },
    /// The publisher muted or unmuted; muted packets are not forwarded. No event.
    SetMuted {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// Muted now.
        muted: bool,
    },
}
