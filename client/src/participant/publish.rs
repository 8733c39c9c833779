//! Tracks that we publish: announced with `add_track`, then offered, then written.

use std::time::Instant;

use protocol::{
    TrackSid,
    livekit::{
        AddTrackRequest, MuteTrackRequest, SimulcastCodec, TrackInfo, TrackPublishedResponse,
        TrackSource, TrackType, VideoLayer, VideoQuality, encryption, signal_request,
    },
};

use super::{Event, Participant, Phase};
use crate::{
    Error,
    media::{Layer, MediaKind},
    peer_connection::SendTrack,
};

/// One layer of a picture, as announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSpec {
    /// The layer.
    pub layer: Layer,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Bits per second.
    pub bitrate: u32,
}

/// A track to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Name shown to others.
    pub name: String,
    /// Source of the track.
    pub source: TrackSource,
    /// Audio (Opus) or video (VP8).
    pub kind: MediaKind,
    /// The layers of a simulcast picture in the order of the offer; one entry for a picture without simulcast (its
    /// size, no rid), none for audio.
    pub layers: Vec<LayerSpec>,
    /// The track is published muted.
    pub muted: bool,
}

impl Publish {
    /// A microphone.
    pub fn microphone() -> Self {
        Self {
            name: "microphone".into(),
            source: TrackSource::Microphone,
            kind: MediaKind::Audio,
            layers: Vec::new(),
            muted: false,
        }
    }

    /// A camera of one size.
    pub fn camera(width: u32, height: u32) -> Self {
        let only = LayerSpec {
            layer: Layer::High,
            width,
            height,
            bitrate: 1_700_000,
        };
        Self {
            name: "camera".into(),
            source: TrackSource::Camera,
            kind: MediaKind::Video,
            layers: vec![only],
            muted: false,
        }
    }

    /// A camera in three simulcast layers: the given size, half and a quarter of it.
    pub fn simulcast_camera(width: u32, height: u32) -> Self {
        let layers = [
            (Layer::Low, 4, 150_000),
            (Layer::Medium, 2, 500_000),
            (Layer::High, 1, 1_700_000),
        ];
        let spec = |(layer, divisor, bitrate)| LayerSpec {
            layer,
            width: width / divisor,
            height: height / divisor,
            bitrate,
        };
        Self {
            layers: layers.map(spec).to_vec(),
            ..Self::camera(width, height)
        }
    }

    /// The layers that carry a rid.
    pub(super) fn rids(&self) -> Vec<Layer> {
        match self.layers.as_slice() {
            [] | [_] => Vec::new(),
            several => several.iter().map(|spec| spec.layer).collect(),
        }
    }
}

/// A track that we publish.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) cid: String,
    pub(super) publish: Publish,
    /// `add_track` was sent in this session.
    pub(super) announced: bool,
    /// The signal connection broke after `add_track`: it may not have arrived.
    pub(super) lost: bool,
    pub(super) track: Option<TrackSid>,
    pub(super) info: Option<TrackInfo>,
    pub(super) muted: bool,
    /// An answer accepted the track's section.
    pub(super) negotiated: bool,
    /// [`Event::TrackPublished`] was reported.
    pub(super) reported: bool,
}

impl Participant {
    /// Publishes a track, as soon as joined. Returns our id of it; [`Event::TrackPublished`] says when to write.
    pub fn publish(&mut self, publish: Publish, now: Instant) -> String {
        let cid = format!(
            "{}-{}",
            publish
                .name
                .replace(|c: char| !c.is_ascii_alphanumeric(), "-"),
            self.published
        );
        self.published += 1;
        self.publications.push(Publication {
            cid: cid.clone(),
            muted: publish.muted,
            publish,
            announced: false,
            lost: false,
            track: None,
            info: None,
            negotiated: false,
            reported: false,
        });
        self.announce(now);
        cid
    }

    /// Ends a published track.
    ///
    /// # Errors
    /// [`Error::UnknownPublication`].
    pub fn unpublish(&mut self, cid: &str, now: Instant) -> Result<(), Error> {
        let index = self.publication_index(cid)?;
        let publication = self.publications.remove(index);
        if publication.announced {
            self.peer.remove_track(cid);
            self.offer_if_needed(now)?;
        }
        Ok(())
    }

    /// Mutes or unmutes a published track: the others are told, and nothing is sent while muted.
    ///
    /// # Errors
    /// [`Error::UnknownPublication`].
    pub fn set_muted(&mut self, cid: &str, muted: bool) -> Result<(), Error> {
        let index = self.publication_index(cid)?;
        let publication = &mut self.publications[index];
        publication.muted = muted;
        if let Some(track) = publication.track {
            self.send(signal_request::Message::Mute(MuteTrackRequest {
                sid: track.to_string(),
                muted,
            }));
        }
        Ok(())
    }

    /// Number of key frame requests for a published track, by layer.
    pub fn key_frame_requests(&self, cid: &str) -> Vec<(Option<Layer>, u64)> {
        let streams = self
            .peer
            .mid_of(cid)
            .map(|mid| self.peer.send_stats(&mid))
            .unwrap_or_default();
        streams
            .into_iter()
            .map(|(layer, stats)| (layer, stats.key_frame_requests))
            .collect()
    }

    /// Sends `add_track` for tracks that are not announced in this session yet, and offers them.
    pub(super) fn announce(&mut self, now: Instant) {
        if self.phase != Phase::Joined {
            return;
        }
        let mut requests = Vec::new();
        for publication in self
            .publications
            .iter_mut()
            .filter(|publication| !publication.announced)
        {
            publication.announced = true;
            requests.push(add_track(publication, self.options.encrypted));
            self.peer.add_track(SendTrack {
                cid: publication.cid.clone(),
                stream: "-".into(),
                kind: publication.publish.kind,
                layers: publication.publish.rids(),
            });
        }
        for request in requests {
            self.send(signal_request::Message::AddTrack(request));
        }
        if let Err(error) = self.offer_if_needed(now) {
            tracing::debug!(%error, "offer failed");
        }
    }

    pub(super) fn on_track_published(
        &mut self,
        response: TrackPublishedResponse,
    ) -> Result<(), Error> {
        let info = response
            .track
            .ok_or_else(|| Error::Protocol("track_published without a track".into()))?;
        let track = info
            .sid
            .parse()
            .map_err(|_| Error::Protocol("track_published without a sid".into()))?;
        if let Some(publication) = self.publications.iter_mut().find(|p| p.cid == response.cid) {
            let (announced, muted) = (info.muted, publication.muted);
            publication.track = Some(track);
            publication.info = Some(info);
            // The track was muted or unmuted since it was announced.
            if announced != muted {
                self.send(signal_request::Message::Mute(MuteTrackRequest {
                    sid: track.to_string(),
                    muted,
                }));
            }
        }
        self.report_published();
        Ok(())
    }

    /// The session goes on over another connection: announcements on the old one may not have arrived.
    pub(super) fn note_lost(&mut self) {
        for publication in &mut self.publications {
            let waits = self.signals.iter().any(|request| {
                matches!(&request.message, Some(signal_request::Message::AddTrack(add)) if add.cid == publication.cid)
            });
            publication.lost = publication.announced && publication.track.is_none() && !waits;
        }
    }

    /// Takes the list of our tracks that the server has. A track whose announcement may be lost is the youngest one of
    /// its name that belongs to no other, or is announced again.
    pub(super) fn recover_lost(&mut self, tracks: &[TrackInfo]) -> Result<(), Error> {
        let mut lost = Vec::new();
        for publication in self.publications.iter_mut().filter(|p| p.lost) {
            publication.lost = false;
            lost.push((
                publication.cid.clone(),
                add_track(publication, self.options.encrypted),
            ));
        }
        for (cid, request) in lost {
            let taken = |info: &TrackInfo| {
                let sids = self.publications.iter().filter_map(|p| p.track);
                sids.into_iter().any(|sid| sid.as_str() == info.sid)
            };
            let is = |info: &&TrackInfo| {
                info.name == request.name && info.source == request.source && !taken(info)
            };
            match tracks.iter().rev().find(is) {
                Some(info) => self.on_track_published(TrackPublishedResponse {
                    cid,
                    track: Some(info.clone()),
                })?,
                None => self.send(signal_request::Message::AddTrack(request)),
            }
        }
        Ok(())
    }

    pub(super) fn on_track_unpublished(&mut self, sid: &str, now: Instant) -> Result<(), Error> {
        let gone = |publication: &Publication| {
            publication.track.is_some_and(|track| track.as_str() == sid)
        };
        let Some(index) = self.publications.iter().position(gone) else {
            return Ok(());
        };
        let cid = self.publications.remove(index).cid;
        self.peer.remove_track(&cid);
        self.events.push_back(Event::TrackUnpublished { cid });
        self.offer_if_needed(now)
    }

    /// A moderator mutes or unmutes a track of ours. We confirm it: a message of ours with the contrary may be under
    /// way to the server.
    pub(super) fn on_mute(&mut self, request: MuteTrackRequest) {
        let is = |track: Option<TrackSid>| track.is_some_and(|sid| sid.as_str() == request.sid);
        let Some(publication) = self.publications.iter_mut().find(|p| is(p.track)) else {
            return;
        };
        let (cid, muted) = (publication.cid.clone(), request.muted);
        if std::mem::replace(&mut publication.muted, muted) != muted {
            self.events.push_back(Event::TrackMuted { cid, muted });
            self.send(signal_request::Message::Mute(request));
        }
    }

    /// Compares the server's view of our tracks with ours. Where they differ, a message was lost with its connection or
    /// is under way: the server is corrected.
    pub(super) fn reconcile_muted(&mut self, tracks: &[TrackInfo]) {
        let mut again = Vec::new();
        for publication in &self.publications {
            let track = publication.track;
            let is = |info: &&TrackInfo| track.is_some_and(|sid| sid.as_str() == info.sid);
            if let Some(info) = tracks.iter().find(is)
                && info.muted != publication.muted
            {
                again.push(MuteTrackRequest {
                    sid: info.sid.clone(),
                    muted: publication.muted,
                });
            }
        }
        for request in again {
            self.send(signal_request::Message::Mute(request));
        }
    }

    /// Reports tracks that have both their sid and their section.
    pub(super) fn report_published(&mut self) {
        for publication in &mut self.publications {
            if let (true, false, Some(track)) = (
                publication.negotiated,
                publication.reported,
                publication.track,
            ) {
                publication.reported = true;
                let cid = publication.cid.clone();
                self.events.push_back(Event::TrackPublished { cid, track });
            }
        }
    }

    /// The section to write a track on; `None` while it is muted.
    pub(super) fn writable(&self, cid: &str) -> Result<Option<String>, Error> {
        let publication = &self.publications[self.publication_index(cid)?];
        if publication.muted {
            return Ok(None);
        }
        let mid = self
            .peer
            .mid_of(cid)
            .ok_or_else(|| Error::NotNegotiated(cid.to_owned()))?;
        Ok(Some(mid))
    }

    pub(super) fn publication_index(&self, cid: &str) -> Result<usize, Error> {
        let found = self
            .publications
            .iter()
            .position(|publication| publication.cid == cid);
        found.ok_or_else(|| Error::UnknownPublication(cid.to_owned()))
    }
}

fn add_track(publication: &Publication, encrypted: bool) -> AddTrackRequest {
    let publish = &publication.publish;
    let rids = publish.rids();
    let layers: Vec<_> = publish
        .layers
        .iter()
        .enumerate()
        .map(|(index, spec)| VideoLayer {
            quality: quality(spec.layer).into(),
            width: spec.width,
            height: spec.height,
            bitrate: spec.bitrate,
            spatial_layer: index as i32,
            rid: if rids.is_empty() {
                String::new()
            } else {
                spec.layer.rid().into()
            },
            ..Default::default()
        })
        .collect();
    let largest = publish.layers.iter().max_by_key(|spec| spec.height);
    let kind = match publish.kind {
        MediaKind::Audio => TrackType::Audio,
        MediaKind::Video => TrackType::Video,
    };
    let codecs = match publish.kind {
        MediaKind::Audio => Vec::new(),
        MediaKind::Video => vec![SimulcastCodec {
            codec: "vp8".into(),
            cid: publication.cid.clone(),
            layers: layers.clone(),
            ..Default::default()
        }],
    };
    AddTrackRequest {
        cid: publication.cid.clone(),
        name: publish.name.clone(),
        r#type: kind.into(),
        source: publish.source.into(),
        width: largest.map_or(0, |spec| spec.width),
        height: largest.map_or(0, |spec| spec.height),
        muted: publication.muted,
        disable_red: true,
        encryption: match encrypted {
            true => encryption::Type::Custom,
            false => encryption::Type::None,
        }
        .into(),
        layers,
        simulcast_codecs: codecs,
        ..Default::default()
    }
}

pub(super) fn quality(layer: Layer) -> VideoQuality {
    match layer {
        Layer::Low => VideoQuality::Low,
        Layer::Medium => VideoQuality::Medium,
        Layer::High => VideoQuality::High,
    }
}
