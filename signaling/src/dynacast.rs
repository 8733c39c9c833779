//! Publishers hear which layers of their pictures nobody wants, so that they do not encode and send them. Every client
//! is told: those that did not switch dynacast on ignore it.

use protocol::{
    ParticipantSid, TrackSid,
    livekit::{
        SubscribedCodec, SubscribedQuality, SubscribedQualityUpdate, VideoQuality,
        signal_response::Message,
    },
};
use sfu::SpatialLayer;

use crate::{
    participant::{Track, WantedLayers},
    room::Room,
};

const QUALITIES: [(SpatialLayer, VideoQuality); 3] = [
    (SpatialLayer::Low, VideoQuality::Low),
    (SpatialLayer::Medium, VideoQuality::Medium),
    (SpatialLayer::High, VideoQuality::High),
];

impl Room {
    pub(crate) fn wanted_layers_changed(
        &mut self,
        publisher: ParticipantSid,
        track: TrackSid,
        wanted: WantedLayers,
    ) {
        let Some(publisher_state) = self.participants.get_mut(&publisher) else {
            return;
        };
        let track = if let Some(state) = publisher_state.track_with_backup(track) {
            if let Some(backup) = &mut state.backup {
                backup.wanted = wanted;
            }
            state
        } else if let Some(state) = publisher_state.track_mut(track) {
            state.wanted = Some(wanted);
            state
        } else {
            return;
        };
        let update = quality_update(track);
        self.send(publisher, update);
    }

    /// A publisher is back: it may have missed what was wanted meanwhile.
    pub(crate) fn send_wanted_layers(&mut self, publisher: ParticipantSid) {
        let Some(participant) = self.participants.get(&publisher) else {
            return;
        };
        let is_told = |track: &&Track| {
            let backup = track.backup.as_ref();
            track.wanted.is_some() || backup.is_some_and(|backup| backup.wanted.is_some())
        };
        let told = participant.tracks.iter().filter(is_told);
        let updates: Vec<_> = told.map(quality_update).collect();
        for update in updates {
            self.send(publisher, update);
        }
    }
}

#[allow(deprecated)] // Older clients read `subscribed_qualities`.
fn quality_update(track: &Track) -> Message {
    // All layers of a picture are wanted until something else was said, and none of a backup.
    let first = qualities(track.wanted.unwrap_or(Some(SpatialLayer::High)));
    // A client takes the name of another codec than its own for the wish to publish that one too: it reads its own
    // name for it, where it gave one.
    let negotiated = track.info.mime_type.rsplit('/').next().unwrap_or_default();
    let codec = match track.codec.as_str() {
        "" => negotiated.to_ascii_lowercase(),
        name => name.to_owned(),
    };
    let mut subscribed_codecs = vec![SubscribedCodec {
        codec,
        qualities: first.clone(),
    }];
    // Always named: clients remember the whole list, and a codec they do not send yet they publish when it is wanted.
    subscribed_codecs.extend(track.backup.as_ref().map(|backup| SubscribedCodec {
        codec: backup.codec.clone(),
        qualities: qualities(backup.wanted),
    }));
    Message::SubscribedQualityUpdate(SubscribedQualityUpdate {
        track_sid: track.sid.to_string(),
        subscribed_qualities: first,
        subscribed_codecs,
    })
}

fn qualities(wanted: WantedLayers) -> Vec<SubscribedQuality> {
    let quality = |(layer, quality): (SpatialLayer, VideoQuality)| SubscribedQuality {
        quality: quality.into(),
        enabled: Some(layer) <= wanted,
    };
    QUALITIES.into_iter().map(quality).collect()
}
