//! Commands about data packets and data tracks.

use protocol::{DataTrackSid, ParticipantSid, RoomSid};

use crate::{api::track::DataChannel, data_track::Handle as DataTrackHandle};

/// A command about data packets and data tracks.
#[derive(Debug, Clone)]
pub enum DataCommand {
    /// A data packet from the server (an encoded `DataPacket`, already stamped). No event.
    Send {
        /// The room.
        room: RoomSid,
        /// Receivers; empty means everybody.
        to: Vec<ParticipantSid>,
        /// Channel.
        channel: DataChannel,
        /// Encoded `livekit.DataPacket`.
        payload: Vec<u8>,
    },
    /// A participant came back, and has each publisher's reliable data packets up to a number. The later ones are sent
    /// to it once more, as far as they are kept (30 s, and half a megabyte for each room). No event.
    Replay {
        /// The participant.
        peer: ParticipantSid,
        /// Publishers, and the last sequence number of each.
        received: Vec<(ParticipantSid, u32)>,
    },
    /// The participant is about to acknowledge and to answer a call: its next two reliable packets that are addressed
    /// to nobody but itself become [`Event::Reply`](crate::Event::Reply). The packets are counted, so that a
    /// participant cannot flood the control side.
    AwaitReply {
        /// The participant.
        peer: ParticipantSid,
    },
    /// The participant publishes a data track. No event.
    Publish {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: DataTrackSid,
        /// Name of the track in the publisher's packets.
        handle: DataTrackHandle,
    },
    /// The data track ends. No event.
    Unpublish {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: DataTrackSid,
    },
    /// `peer` receives this data track of another peer of its room. No event.
    Subscribe {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: DataTrackSid,
        /// Name of the track in the packets to this subscriber. No other track that it receives has the same.
        handle: DataTrackHandle,
    },
    /// `peer` receives this data track no longer. No event.
    Unsubscribe {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: DataTrackSid,
    },
}
