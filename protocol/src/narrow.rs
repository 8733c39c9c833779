//! The rights of a token that are still good in another room.

use crate::{
    RoomName,
    token::{Grant, VideoGrant},
};

impl Grant {
    /// The grant for `room` of a participant that has this one for another room: identity, and rights over media.
    /// Rights over rooms and services were given for the one room and stay there.
    ///
    /// Each right is named here, so that a new one does not go along unnoticed.
    pub fn in_room(&self, room: &RoomName) -> Self {
        let VideoGrant {
            room_join,
            can_publish,
            can_subscribe,
            can_publish_data,
            can_publish_sources,
            can_update_own_metadata,
            hidden,
            recorder,
            can_subscribe_metrics,
            agent,
            room_create: _,
            room_list: _,
            room_record: _,
            room_admin: _,
            room: _,
            ingress_admin: _,
            can_manage_agent_session: _,
            destination_room: _,
        } = self.video();
        // The flag would also let its holder register as a worker; an agent is marked by its kind.
        let kind = match self.kind.as_str() {
            "" if agent => "agent",
            kind => kind,
        };
        Self {
            api_key: self.api_key.clone(),
            identity: self.identity.clone(),
            principal: self.principal.clone(),
            name: self.name.clone(),
            metadata: self.metadata.clone(),
            attributes: self.attributes.clone(),
            kind: kind.to_owned(),
            kind_details: self.kind_details.clone(),
            video: Some(VideoGrant {
                room_join,
                room: room.as_str().to_owned(),
                can_publish,
                can_subscribe,
                can_publish_data,
                can_publish_sources,
                can_update_own_metadata,
                hidden,
                recorder,
                can_subscribe_metrics,
                ..VideoGrant::default()
            }),
            sip: None,
            room_config: None,
            room_preset: String::new(),
            sha256: String::new(),
            not_before: self.not_before,
            expires_at: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::SipGrant;

    #[test]
    fn rights_over_a_room_are_no_rights_over_another() {
        let media = VideoGrant {
            room_join: true,
            room: "A".into(),
            can_publish: Some(true),
            can_subscribe: Some(false),
            can_publish_data: Some(true),
            can_publish_sources: vec!["camera".into()],
            can_update_own_metadata: Some(true),
            hidden: true,
            recorder: true,
            can_subscribe_metrics: Some(true),
            ..VideoGrant::default()
        };
        let grant = Grant {
            api_key: "key".into(),
            identity: "mallory".into(),
            principal: "principal".into(),
            name: "M".into(),
            metadata: "m".into(),
            not_before: Some(7),
            expires_at: Some(8),
            ..Grant::default()
        };
        let admin = Grant {
            video: Some(VideoGrant {
                room_create: true,
                room_list: true,
                room_record: true,
                room_admin: true,
                ingress_admin: true,
                agent: true,
                can_manage_agent_session: Some(true),
                destination_room: "C".into(),
                ..media.clone()
            }),
            sip: Some(SipGrant {
                admin: true,
                call: true,
            }),
            room_config: Some(Box::default()),
            room_preset: "preset".into(),
            sha256: "abc".into(),
            ..grant.clone()
        };
        let expected = Grant {
            kind: "agent".into(),
            video: Some(VideoGrant {
                room: "B".into(),
                ..media
            }),
            expires_at: None,
            ..grant
        };
        assert!(admin.in_room(&"B".into()) == expected);
    }
}
