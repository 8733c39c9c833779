//! Rooms whose participants encrypt for each other: who may come in, and what the delivery service hears.

use protocol::{ParticipantIdentity, error::Error, livekit::AddTrackRequest, livekit::encryption};

use crate::{
    api::{Join, RoomOutput},
    delivery_service::GroupInput,
    encryption::Encryption,
    room::Room,
};

impl Room {
    /// Who does not speak MLS would see and hear nothing here.
    pub(crate) fn admit_encryption(&self, join: &Join) -> Result<(), Error> {
        match self.encryption {
            Encryption::Mls if !join.mls => Err(Error::Encrypted),
            _ => Ok(()),
        }
    }

    /// Whether a track may be published: where frames are encrypted, no others are.
    pub(crate) fn is_encrypted_as_it_must_be(&self, request: &AddTrackRequest) -> bool {
        let is_encrypted = request.encryption() != encryption::Type::None;
        self.encryption != Encryption::Mls || is_encrypted
    }

    /// Tells the delivery service that somebody is here.
    pub(crate) fn tell_group_arrived(&mut self, identity: ParticipantIdentity, may_moderate: bool) {
        self.tell_group(GroupInput::Arrived {
            identity,
            may_moderate,
        });
    }

    /// Tells the delivery service that somebody is here no more.
    pub(crate) fn tell_group_left(&mut self, identity: ParticipantIdentity, returns: bool) {
        self.tell_group(GroupInput::Left { identity, returns });
    }

    fn tell_group(&mut self, input: GroupInput) {
        if self.encryption == Encryption::Mls {
            self.outputs.push_back(RoomOutput::Group(input));
        }
    }
}
