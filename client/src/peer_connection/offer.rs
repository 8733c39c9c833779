//! Offers and answers: changes are collected, one offer at a time carries them.

use std::time::Instant;

use str0m::{
    change::{SdpAnswer, SdpApi, SdpOffer},
    channel::{ChannelConfig, Reliability},
    media::{Direction, Mid, Simulcast, SimulcastLayer},
};

use super::{DataChannel, PeerConfig, PeerConnection, Section, SendTrack};
use crate::{Error, media::MediaKind};

/// A change that needs an offer.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Receive(MediaKind),
    Send(SendTrack),
    DataChannels,
    Stop(String),
    IceRestart,
}

/// The changes of the first offer. LiveKit's clients offer audio, video, data, in this order.
pub(super) fn first_changes(config: &PeerConfig) -> Vec<Change> {
    let mut changes = vec![Change::Receive(MediaKind::Audio); config.audio_sections as usize];
    changes.extend(vec![
        Change::Receive(MediaKind::Video);
        config.video_sections as usize
    ]);
    changes.push(Change::DataChannels);
    changes
}

impl From<MediaKind> for str0m::media::MediaKind {
    fn from(kind: MediaKind) -> Self {
        match kind {
            MediaKind::Audio => Self::Audio,
            MediaKind::Video => Self::Video,
        }
    }
}

impl PeerConnection {
    /// Adds this many sections that only receive, with the next offer.
    pub fn add_receive_sections(&mut self, audios: u32, videos: u32) {
        self.wanted
            .extend((0..audios).map(|_| Change::Receive(MediaKind::Audio)));
        self.wanted
            .extend((0..videos).map(|_| Change::Receive(MediaKind::Video)));
    }

    /// Adds a section that sends `track`, with the next offer. The section's mid is known once that offer was made:
    /// [`Self::mid_of`].
    pub fn add_track(&mut self, track: SendTrack) {
        self.wanted.push(Change::Send(track));
    }

    /// Turns the section that sends the track `cid` off, with the next offer.
    pub fn remove_track(&mut self, cid: &str) {
        self.wanted
            .retain(|change| !matches!(change, Change::Send(track) if track.cid == cid));
        let in_flight = self.pending.iter().flat_map(|(_, changes)| changes);
        let offered = in_flight
            .filter(|change| matches!(change, Change::Send(track) if track.cid == cid))
            .count()
            > 0;
        if offered || self.mid_of(cid).is_some() {
            self.wanted.push(Change::Stop(cid.to_owned()));
        }
    }

    /// Restarts ICE with the next offer (RFC 8445 section 9).
    pub fn restart_ice(&mut self) {
        self.wanted.push(Change::IceRestart);
    }

    /// The mid of the section of a track that we send, once it was offered.
    pub fn mid_of(&self, cid: &str) -> Option<String> {
        let section = self.sections.iter().find(|section| {
            section.direction == Direction::SendOnly
                && section.track.as_ref().is_some_and(|track| track.cid == cid)
        })?;
        Some(section.mid.to_string())
    }

    /// Whether changes wait for an offer.
    pub fn has_changes(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Whether an offer waits for its answer.
    pub fn is_offer_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Makes the offer, with all changes since the last one; without changes it is a plain renegotiation.
    ///
    /// # Errors
    /// [`Error::OfferPending`] when the last offer is not answered.
    pub fn create_offer(&mut self, now: Instant) -> Result<String, Error> {
        if self.pending.is_some() {
            return Err(Error::OfferPending);
        }
        if self.wanted.is_empty() && self.sections.is_empty() {
            // str0m offers only changes; without a section there is nothing to renew.
            self.wanted.push(Change::Receive(MediaKind::Audio));
        }
        let changes = std::mem::take(&mut self.wanted);
        let mut api = self.rtc.sdp_api();
        let mut added = Vec::new();
        for change in &changes {
            apply(&mut api, change, &mut self.sections, &mut added);
        }
        for section in &self.sections {
            // The server makes sections inactive that it does not use: they are offered again for later tracks.
            api.set_direction(section.mid, section.direction);
        }
        if !api.has_changes()
            && let Some(section) = self.sections.first()
        {
            // Set twice, since str0m makes an offer only of changes.
            api.set_direction(section.mid, Direction::SendRecv);
            api.set_direction(section.mid, section.direction);
        }
        let Some((offer, pending)) = api.apply() else {
            return Err(Error::Connection("there is nothing to offer".into()));
        };
        self.sections.extend(added);
        self.pending = Some((pending, changes));
        self.settle(Ok(()), now);
        let offer = as_browsers_write(&offer.to_sdp_string());
        Ok(match self.config.dtls_server {
            true => offer.replace("a=setup:actpass", "a=setup:passive"),
            false => offer,
        })
    }

    /// Takes the answer to the offer in flight.
    ///
    /// # Errors
    /// [`Error::UnexpectedAnswer`] when there is none, [`Error::Answer`] when it does not fit.
    pub fn accept_answer(&mut self, sdp: &str, now: Instant) -> Result<(), Error> {
        let (pending, _) = self.pending.take().ok_or(Error::UnexpectedAnswer)?;
        let answer =
            SdpAnswer::from_sdp_string(sdp).map_err(|error| Error::Answer(error.to_string()))?;
        let accepted = self.rtc.sdp_api().accept_answer(pending, answer);
        self.settle(Ok(()), now);
        accepted.map_err(|error| Error::Answer(error.to_string()))?;
        self.handle_timeout(now);
        Ok(())
    }

    /// Answers an offer of the other side, which only sends: each of its sections becomes one that receives.
    ///
    /// # Errors
    /// [`Error::OfferPending`] with an offer of our own in flight, [`Error::Offer`] when it does not fit.
    pub fn accept_offer(&mut self, sdp: &str, now: Instant) -> Result<String, Error> {
        if self.pending.is_some() {
            return Err(Error::OfferPending);
        }
        let refused = |error: &dyn std::fmt::Display| Error::Offer(error.to_string());
        // As browsers, we begin DTLS where we may choose, and servers count on that; str0m would wait.
        let other = match self.config.dtls_server {
            true => "a=setup:active",
            false => "a=setup:passive",
        };
        let sdp = sdp.replace("a=setup:actpass", other);
        let offer = SdpOffer::from_sdp_string(&sdp).map_err(|error| refused(&error))?;
        let accepted = self.rtc.sdp_api().accept_offer(offer);
        self.settle(Ok(()), now);
        let answer = accepted.map_err(|error| refused(&error))?;
        self.adopt_sections(&sdp);
        self.handle_timeout(now);
        Ok(answer.to_sdp_string())
    }

    /// Adopts the sections of an offer of the other side. str0m reports them only when media can flow.
    fn adopt_sections(&mut self, offer: &str) {
        for section in sections_of(offer) {
            let kind = match section.get(..7) {
                Some("m=audio") => MediaKind::Audio,
                Some("m=video") => MediaKind::Video,
                _ => continue,
            };
            let mid = section.lines().find_map(|line| line.strip_prefix("a=mid:"));
            if let Some(mid) = mid.map(Mid::from)
                && self.rtc.media(mid).is_some()
                && self.section(&mid).is_none()
            {
                self.sections.push(Section::new(mid, kind, None, 0));
            }
        }
    }

    /// Whether the offer in flight adds nothing: without it all sections would be as they were.
    pub fn is_pending_offer_plain(&self) -> bool {
        let plain = |change: &Change| matches!(change, Change::Stop(_) | Change::IceRestart);
        let pending = self.pending.as_ref();
        pending.is_some_and(|(_, changes)| changes.iter().all(plain))
    }

    /// Forgets the offer in flight, whose answer will not come. The next offer carries its changes.
    pub fn roll_back(&mut self) {
        let Some((_, changes)) = self.pending.take() else {
            return;
        };
        let known: Vec<Mid> = self
            .sections
            .iter()
            .map(|s| s.mid)
            .filter(|mid| self.rtc.media(*mid).is_some())
            .collect();
        self.sections.retain(|section| known.contains(&section.mid));
        self.wanted.splice(0..0, changes);
    }
}

fn apply(
    api: &mut SdpApi<'_>,
    change: &Change,
    sections: &mut [Section],
    added: &mut Vec<Section>,
) {
    match change {
        Change::Receive(kind) => {
            let mid = api.add_media((*kind).into(), Direction::RecvOnly, None, None, None);
            added.push(Section::new(mid, *kind, None, 0));
        }
        Change::Send(track) => {
            let simulcast = (!track.layers.is_empty()).then(|| {
                let mut simulcast = Simulcast::new();
                for layer in &track.layers {
                    simulcast.add_send_layer(SimulcastLayer::new(layer.rid()));
                }
                simulcast
            });
            let (stream, cid) = (Some(track.stream.clone()), Some(track.cid.clone()));
            let mid = api.add_media(
                track.kind.into(),
                Direction::SendOnly,
                stream,
                cid,
                simulcast,
            );
            // The count begins at the mid's letters: that keeps streams apart in a dump without a source of randomness.
            let start = mid.bytes().fold(0u16, |sum, byte| {
                sum.wrapping_mul(31).wrapping_add(byte.into())
            });
            added.push(Section::new(mid, track.kind, Some(track.clone()), start));
        }
        Change::DataChannels => {
            for channel in DataChannel::ALL {
                let reliable = channel == DataChannel::Reliable;
                api.add_channel_with_config(ChannelConfig {
                    label: channel.label().to_owned(),
                    ordered: reliable,
                    reliability: match reliable {
                        true => Reliability::Reliable,
                        false => Reliability::MaxRetransmits { retransmits: 0 },
                    },
                    ..Default::default()
                });
            }
        }
        Change::Stop(cid) => {
            let sends = |section: &&mut Section| {
                section
                    .track
                    .as_ref()
                    .is_some_and(|track| track.cid == *cid)
            };
            for section in sections.iter_mut().filter(sends) {
                section.direction = Direction::Inactive;
            }
        }
        Change::IceRestart => {
            api.ice_restart(true);
        }
    }
}

/// The SDP as browsers write it. str0m declares SSRCs in sections that do not send, and of simulcast layers; browsers
/// do neither, and a server must not come to rely on it.
fn as_browsers_write(sdp: &str) -> String {
    let mut out = String::with_capacity(sdp.len());
    for section in sections_of(sdp) {
        let silent = section.contains("\na=recvonly") || section.contains("\na=inactive");
        let simulcast = section.contains("\na=simulcast:");
        for line in section.split_inclusive('\n') {
            let ssrc = line.starts_with("a=ssrc:") || line.starts_with("a=ssrc-group:");
            let msid = line.starts_with("a=msid:");
            if !(ssrc && (silent || simulcast)) && !(msid && silent) {
                out.push_str(line);
            }
        }
    }
    out
}

/// The session part, then one part for each `m=` line.
fn sections_of(sdp: &str) -> impl Iterator<Item = &str> {
    let mut rest = sdp;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.find("\nm=").map_or(rest.len(), |at| at + 1);
        let (section, behind) = rest.split_at(end);
        rest = behind;
        Some(section)
    })
}
