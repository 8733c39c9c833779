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
        let track = self
            .participants
            .get_mut(&publisher)
            .and_then(|publisher| publisher.track_mut(track));
        let Some(track) = track else { return };
        track.wanted = Some(wanted);
        let update = quality_update(track, wanted);
        self.send(publisher, update);
    }

    /// A publisher is back: it may have missed what was wanted meanwhile.
    pub(crate) fn send_wanted_layers(&mut self, publisher: ParticipantSid) {
        let Some(participant) = self.participants.get(&publisher) else {
            return;
        };
        let told = |track: &Track| Some(quality_update(track, track.wanted?));
        let updates: Vec<_> = participant.tracks.iter().filter_map(told).collect();
        for update in updates {
            self.send(publisher, update);
        }
    }
}

#[allow(deprecated)] // Older clients read `subscribed_qualities`.
fn quality_update(track: &Track, wanted: WantedLayers) -> Message {
    let quality = |(layer, quality): (SpatialLayer, VideoQuality)| SubscribedQuality {
        quality: quality.into(),
        enabled: Some(layer) <= wanted,
    };
    let qualities: Vec<_> = QUALITIES.into_iter().map(quality).collect();
    // A client takes the name of another codec than its own for the wish to publish that one too: it reads its own
    // name for it, where it gave one.
    let negotiated = track.info.mime_type.rsplit('/').next().unwrap_or_default();
    let codec = match track.codec.as_str() {
        "" => negotiated.to_ascii_lowercase(),
        name => name.to_owned(),
    };
    Message::SubscribedQualityUpdate(SubscribedQualityUpdate {
        track_sid: track.sid.to_string(),
        subscribed_qualities: qualities.clone(),
        subscribed_codecs: vec![SubscribedCodec { codec, qualities }],
    })
}
