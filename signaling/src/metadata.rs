//! Name, metadata and attributes of a participant, changed by itself or by a moderator.

use std::{collections::BTreeMap, time::Instant};

use protocol::{
    ParticipantSid,
    error::Error,
    limits,
    livekit::{
        RequestResponse, UpdateParticipantMetadata,
        request_response::{Reason, Request},
        signal_response::Message,
    },
    token::Grant,
};

use crate::room::Room;

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
            // The request itself may be long; clients match the answer by its id.
            request: Some(Request::UpdateMetadata(UpdateParticipantMetadata {
                request_id: update.request_id,
                ..UpdateParticipantMetadata::default()
            })),
        };
        // Clients look at what they know of themselves when they read that it is done.
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

/// Changes what is given: an empty text stays as it is, an attribute with an empty value is deleted. All or nothing;
/// true when something changed.
pub(crate) fn apply(
    grant: &mut Grant,
    name: &str,
    metadata: &str,
    changes: BTreeMap<String, String>,
) -> Result<bool, Error> {
    limits::check_name(name)?;
    limits::check_metadata(metadata)?;
    let mut attributes = grant.attributes.clone();
    for (key, value) in changes {
        if value.is_empty() {
            attributes.remove(&key);
        } else {
            attributes.insert(key, value);
        }
    }
    limits::check_attributes(&attributes)?;
    let new_name = !name.is_empty() && grant.name != name;
    let new_metadata = !metadata.is_empty() && grant.metadata != metadata;
    let changed = new_name || new_metadata || grant.attributes != attributes;
    if new_name {
        grant.name = name.to_owned();
    }
    if new_metadata {
        grant.metadata = metadata.to_owned();
    }
    grant.attributes = attributes;
    Ok(changed)
}
