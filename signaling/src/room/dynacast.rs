//! Dynacast: publishers hear which layers of their pictures nobody wants, so that they do not encode and send them; and
//! which of the codecs that they announced for a sound are needed. Every client is told: those that did not switch
//! dynacast on ignore it.

use protocol::{
    ParticipantSid, TrackSid, codec,
    livekit::{
        SubscribedAudioCodec, SubscribedAudioCodecUpdate, SubscribedCodec, SubscribedQuality,
        SubscribedQualityUpdate, VideoQuality, signal_response::Message,
    },
};
use sfu::SpatialLayer;

use crate::{backup::WantedLayers, room::Room, track::Track};

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

    /// Subscriptions to a sound began or ended: the publisher hears whether its codecs are needed, where it announced
    /// several of them.
    pub(crate) fn update_audio_codecs(&mut self, track: TrackSid) {
        let Some(&publisher) = self.tracks.get(&track) else {
            return;
        };
        let Some(participant) = self.participants.get_mut(&publisher) else {
            return;
        };
        // Participants of another room may listen.
        let is_forwarded = !participant.forwards.is_empty();
        let state = participant.track_mut(track);
        let Some(state) = state.filter(|state| state.bound && state.audio_codecs.len() > 1) else {
            return;
        };
        let needed = is_forwarded || !state.subscribers.is_empty();
        if state.needed.replace(needed) == Some(needed) {
            return;
        }
        let update = audio_codec_update(state, needed);
        self.send(publisher, update);
    }

    /// The publisher was added to other rooms or removed from them.
    pub(crate) fn update_all_audio_codecs(&mut self, publisher: ParticipantSid) {
        let tracks = self
            .participants
            .get(&publisher)
            .map(|publisher| &publisher.tracks);
        let tracks: Vec<_> = tracks
            .into_iter()
            .flatten()
            .map(|track| track.sid)
            .collect();
        for track in tracks {
            self.update_audio_codecs(track);
        }
    }

    /// Tells a publisher that is back which of its audio codecs are needed.
    pub(crate) fn send_audio_codecs(&mut self, publisher: ParticipantSid) {
        let Some(participant) = self.participants.get(&publisher) else {
            return;
        };
        let told = |track: &Track| Some(audio_codec_update(track, track.needed?));
        let updates: Vec<_> = participant.tracks.iter().filter_map(told).collect();
        for update in updates {
            self.send(publisher, update);
        }
    }

    /// Tells a publisher that is back which layers are wanted: it may have missed changes.
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
    // Until a wish is known, all layers of a picture are wanted, and none of a backup.
    let first = qualities(track.wanted.unwrap_or(Some(SpatialLayer::High)));
    // A client takes the name of another codec than its own for the wish to publish that one too. It is told the name
    // that it gave itself, where it gave one.
    let codec = match track.codec.as_str() {
        "" => codec::name(&track.info.mime_type),
        name => name.to_owned(),
    };
    let mut subscribed_codecs = vec![SubscribedCodec {
        codec,
        qualities: first.clone(),
    }];
    // The backup is always named: clients remember the whole list, and publish a codec that they do not send yet when
    // it is wanted.
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

/// The update on the codecs of a sound: the negotiated one, which we forward to everybody, and whether it is needed.
fn audio_codec_update(track: &Track, needed: bool) -> Message {
    let codecs = &track.audio_codecs;
    let forwarded = codecs
        .iter()
        .position(|codec| codec::is_same(codec, &track.info.mime_type))
        .unwrap_or_default();
    let codecs = codecs.iter().enumerate();
    let codecs = codecs.map(|(index, codec)| SubscribedAudioCodec {
        codec: codec.clone(),
        enabled: needed && index == forwarded,
    });
    Message::SubscribedAudioCodecUpdate(SubscribedAudioCodecUpdate {
        track_sid: track.sid.to_string(),
        subscribed_audio_codecs: codecs.collect(),
    })
}
