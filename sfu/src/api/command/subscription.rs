//! Commands about subscriptions: as a room says it, and as its shard needs it.

use protocol::{ParticipantSid, TrackSid};

use crate::api::{parameters::SendStream, track::TrackSetting};

/// A command about a subscription, as a room says it.
#[derive(Debug, Clone)]
pub enum SubscriptionCommand {
    /// `peer` receives `track` from its next answer on. Answered by
    /// [`Event::NegotiationNeeded`](crate::Event::NegotiationNeeded) or [`Event::Offer`](crate::Event::Offer) where an
    /// offer is needed, by [`Event::SubscriptionFailed`](crate::Event::SubscriptionFailed) where no section can carry
    /// the track, and by [`Event::TrackSubscribed`](crate::Event::TrackSubscribed) with the first packet.
    Subscribe {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track, published by another peer of the same room (in [`TrackCommand::Publish`](crate::TrackCommand::Publish) before this).
        track: TrackSid,
        /// Initial setting.
        setting: TrackSetting,
    },
    /// `peer` receives `track` no longer. No event of its own;
    /// [`Event::NegotiationNeeded`](crate::Event::NegotiationNeeded) or [`Event::Offer`](crate::Event::Offer) may
    /// follow.
    Unsubscribe {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
    },
    /// The subscriber's wish changed. No event of its own; the publisher hears of it by
    /// [`Event::WantedLayersChanged`](crate::Event::WantedLayersChanged) where it should send more or less.
    SetSetting {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// The wish.
        setting: TrackSetting,
    },
}

/// A command about a subscription, as the shard needs it.
#[derive(Debug, Clone)]
pub enum DownTrackCommand {
    /// A subscription is there. Nothing is sent before [`DownTrackCommand::Send`] says how. No event.
    Add {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// Initial setting.
        setting: TrackSetting,
        /// SSRCs of the media and of its retransmissions. This subscriber has had them for nothing else.
        ssrcs: (u32, u32),
        /// The subscription begins with the track's backup.
        in_backup: bool,
        /// The subscription takes the place of one that did not arrive
        /// ([`Event::Undelivered`](crate::Event::Undelivered)).
        repaired: bool,
    },
    /// Subscriptions are sent in this way from now on. Answered by
    /// [`Event::TrackSubscribed`](crate::Event::TrackSubscribed), with the first packet of each.
    Send {
        /// The subscriber.
        peer: ParticipantSid,
        /// Subscriptions whose section is new, or differs from before.
        changed: Vec<SendStream>,
        /// Subscriptions that have no section any more.
        stopped: Vec<TrackSid>,
    },
    /// A subscription ends. No event.
    Remove {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
    },
    /// The subscriber's wish changed. No event of its own; the publisher hears of it by
    /// [`Event::WantedLayersChanged`](crate::Event::WantedLayersChanged) where it should send more or less.
    SetSetting {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// The wish.
        setting: TrackSetting,
    },
}
