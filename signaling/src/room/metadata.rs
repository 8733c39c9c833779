//! Name, metadata and attributes of a participant, changed by itself or by a moderator.

use std::time::Instant;

use protocol::{
    ParticipantSid,
    error::Error,
    livekit::{
        RequestResponse, UpdateParticipantMetadata,
        request_response::{Reason, Request},
        signal_response::Message,
    },
};

use crate::{metadata::apply, room::Room};

impl Room {
    pub(crate) fn update_metadata(
        &mut self,
        sid: ParticipantSid,
        update: UpdateParticipantMetadata,
        now: Instant,
    ) {
        let (reason, message) = match self.try_update_metadata(sid, &update) {
            Ok(()) => (Reason::Ok, String::new()),
            Err(error @ Error::TooLong { .. }) => (Reason::LimitExceeded, error.to_string()),
            Err(error) => (Reason::NotAllowed, error.to_string()),
        };
        let response = RequestResponse {
            request_id: update.request_id,
            reason: reason.into(),
            message,
            // The request itself may be long and is not repeated; clients match the answer by its id.
            request: Some(Request::UpdateMetadata(UpdateParticipantMetadata {
                request_id: update.request_id,
                ..UpdateParticipantMetadata::default()
            })),
        };
        // The update goes first: clients look at their own state when they read that the request is done.
        self.tell_news_of(sid, now);
        self.send(sid, Message::RequestResponse(response));
    }

    fn try_update_metadata(
        &mut self,
        sid: ParticipantSid,
        update: &UpdateParticipantMetadata,
    ) -> Result<(), Error> {
        let participant = self
            .participants
            .get_mut(&sid)
            .ok_or(Error::ParticipantNotFound)?;
        if !participant.grant.video().may_update_own_metadata() {
            return Err(Error::PermissionDenied);
        }
        let attributes = update.attributes.clone().into_iter().collect();
        if apply(
            &mut participant.grant,
            &update.name,
            &update.metadata,
            attributes,
        )? {
            self.grant_changed(sid);
        }
        Ok(())
    }
}
