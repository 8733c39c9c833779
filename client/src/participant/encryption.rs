//! Frames of an encrypted meeting: encrypted before they become packets, decrypted once they are whole
//! (docs/security/e2ee.md).

use std::{collections::BTreeMap, fmt};

use e2ee::{
    base_key::BaseKey,
    codec::Codec,
    frame::Frame as Buffer,
    frame_decryptor::{DecryptError, FrameDecryptor},
    frame_encryptor::FrameEncryptor,
    group::Member,
    key_id::Slot,
};
use protocol::{TrackSid, livekit::TrackSource};

use super::Participant;
use crate::{
    Error,
    media::{Frame, MediaKind},
};

/// What became of frames of an encrypted meeting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EncryptionStats {
    /// Frames that were encrypted and sent.
    pub encrypted: u64,
    /// Frames that were not sent, because there was no key (yet).
    pub not_sent: u64,
    /// Frames that arrived and were decrypted.
    pub decrypted: u64,
    /// Frames that arrived and could not be decrypted: nobody got them.
    pub undecryptable: u64,
}

/// The keys of a participant in an encrypted meeting. Without a key no frame is sent, and none is handed out.
#[derive(Default)]
pub(super) struct Encryption {
    encryptor: FrameEncryptor,
    decryptor: FrameDecryptor,
    /// The epochs that are not forgotten: own leaf and base key of each.
    epochs: BTreeMap<u64, (u32, BaseKey)>,
    /// The leaf of each member that ever was, by its identity, as of the newest epoch it is in.
    leaves: BTreeMap<String, u32>,
    out: Buffer,
    space: Vec<u8>,
    pub(super) stats: EncryptionStats,
}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryption")
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl Participant {
    /// Takes the keys of an epoch, for frames that arrive. Only with [`Options::encrypted`](super::Options::encrypted).
    pub fn install_keys(&mut self, epoch: u64, base_key: BaseKey, leaf: u32, members: &[Member]) {
        let Some(it) = &mut self.encryption else {
            return;
        };
        for member in members {
            it.leaves.insert(member.identity.clone(), member.leaf);
        }
        let leaves = members.iter().map(|member| member.leaf);
        it.decryptor.install(epoch, base_key.clone(), leaves);
        it.epochs.insert(epoch, (leaf, base_key));
    }

    /// Sends with the keys of this epoch from now on.
    pub fn send_with(&mut self, epoch: u64) {
        let Some(it) = &mut self.encryption else {
            return;
        };
        if let Some((leaf, base_key)) = it.epochs.get(&epoch) {
            it.encryptor.enter(epoch, *leaf, base_key.clone());
        }
    }

    /// The keys of this epoch are used no more.
    pub fn forget_keys(&mut self, epoch: u64) {
        if let Some(it) = &mut self.encryption {
            it.decryptor.forget(epoch);
            it.epochs.remove(&epoch);
        }
    }

    /// This participant is no member of the group any more: it sends nothing, and understands nothing.
    pub fn leave_group(&mut self) {
        if let Some(it) = &mut self.encryption {
            *it = Encryption {
                stats: it.stats,
                ..Encryption::default()
            };
        }
    }

    /// The frame as it is sent. `None`: it is not.
    pub(super) fn encrypt(&mut self, cid: &str, frame: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let publication = &self.publications[self.publication_index(cid)?];
        let (kind, source) = (publication.publish.kind, publication.publish.source);
        let Some(it) = &mut self.encryption else {
            return Ok(Some(frame.to_vec()));
        };
        let Some(slot) = slot(source) else {
            it.stats.not_sent += 1;
            return Ok(None);
        };
        let (codec, key) = match kind {
            MediaKind::Audio => (Codec::Opus, true),
            MediaKind::Video => (Codec::Vp8, frame.first().is_some_and(|tag| tag & 1 == 0)),
        };
        let encrypted = it.encryptor.encrypt(slot, codec, frame, key, &mut it.out);
        match encrypted {
            Ok(()) => {
                it.stats.encrypted += 1;
                Ok(Some(it.out.bytes().to_vec()))
            }
            Err(_) => {
                it.stats.not_sent += 1;
                Ok(None)
            }
        }
    }

    /// The frame as it was before its sender encrypted it. `None`: nobody gets it.
    pub(super) fn decrypt(&mut self, track: TrackSid, frame: Frame) -> Option<Frame> {
        let sender = self.sender_of(track);
        let Some(it) = &mut self.encryption else {
            return Some(frame);
        };
        let decrypted = sender.ok_or(DecryptError::NotAMember).and_then(|sender| {
            let leaf = it.leaves.get(&sender.identity);
            let leaf = *leaf.ok_or(DecryptError::NotAMember)?;
            let slot = slot(sender.source).ok_or(DecryptError::OtherTrack)?;
            let codec = match sender.kind {
                MediaKind::Audio => Codec::Opus,
                MediaKind::Video => Codec::Vp8,
            };
            let (space, out) = (&mut it.space, &mut it.out);
            it.decryptor
                .decrypt((leaf, slot), codec, &frame.data, space, out)
        });
        match decrypted {
            Ok(()) => {
                it.stats.decrypted += 1;
                let data = it.out.bytes().to_vec();
                Some(Frame { data, ..frame })
            }
            // Some senders have frames without anything in them.
            Err(DecryptError::Empty) => None,
            Err(error) => {
                tracing::debug!(%track, %error, "a frame cannot be decrypted");
                it.stats.undecryptable += 1;
                None
            }
        }
    }

    fn sender_of(&self, track: TrackSid) -> Option<Sender> {
        let mut tracks = self.others.iter().flat_map(|other| {
            let tracks = other.tracks.iter();
            tracks.map(move |track| (other, track))
        });
        let sid = track.to_string();
        let (other, info) = tracks.find(|(_, info)| info.sid == sid)?;
        let mut subscriptions = self.subscriptions.iter();
        let subscription = subscriptions.find(|subscription| subscription.track == track)?;
        Some(Sender {
            identity: other.identity.clone(),
            source: info.source(),
            kind: subscription.kind,
        })
    }
}

/// The sender of a track.
struct Sender {
    identity: String,
    source: TrackSource,
    kind: MediaKind,
}

/// The slot of a participant's tracks of this source. `None`: which of them it is does not show.
fn slot(source: TrackSource) -> Option<Slot> {
    match source {
        TrackSource::Microphone => Some(Slot::MICROPHONE),
        TrackSource::Camera => Some(Slot::CAMERA),
        TrackSource::ScreenShare => Some(Slot::SCREEN_SHARE),
        TrackSource::ScreenShareAudio => Some(Slot::SCREEN_SHARE_AUDIO),
        TrackSource::Unknown => None,
    }
}
