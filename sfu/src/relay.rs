//! Participants who are in rooms of other shards too.
//!
//! Where such a participant's packets come in, a [`Tap`] copies each of them, opened, into the shard's [`RelayQueue`]; the
//! owner carries them to the other shard. There a peer without a network of its own publishes them: from the history on
//! all is as for any other publisher, with layers, repairs and speakers of its own. Back go three wishes only, as commands:
//! which layers somebody wants, key frames, and packets that were lost on the way.
//!
//! Packets of its data tracks go the same way; what is lost of them is lost, as on their channel.
//!
//! A packet between shards is never seen by a network, and nothing from a network is taken for one.

use std::time::Instant;

use protocol::{ParticipantIdentity, ParticipantSid, RoomSid, TrackSid};

use crate::{
    api::{
        Command, Event, MediaKind, PeerPermissions, PublishedTrack, SendBatch, SpatialLayer,
        TrackCodec,
    },
    ingress::Received,
    nack::NackThrottle,
    negotiate::{ENABLED_CODECS, Negotiation},
    rtcp::NtpTime,
    rtp::{AudioLevel, RtpTime, SeqNo, nearest},
    shard::{PeerKey, Shard, UpTrackKey},
    stats::DropReason,
    up_track::{Codec, SPATIAL, UpTrack},
};

/// Bytes that wait for the owner, at most. It takes them after each batch of datagrams, of which this holds several.
const MAX_QUEUED: usize = 1 << 20;

/// Before each packet in the queue: the shard it goes to, and its length.
const PREFIX: usize = 4;

/// A packet's fixed part: kind, layer, flags, payload type, level, lengths of sid and Dependency Descriptor, SSRC, index,
/// time.
const FIXED: usize = 23;

const MARKER: u8 = 1;
const HAS_LEVEL: u8 = 2;

/// In the place of an [`Arrival`]: as it was sent, and what came shortly before it was left out on purpose.
const RESUMED: u8 = 3;

/// In the place of an [`Arrival`]: a packet of a data track, and the sid is its publisher's.
const DATA: u8 = 4;

/// A copy of a track for a room elsewhere.
#[derive(Debug)]
pub struct Tap {
    /// The track's sid there.
    pub relayed: TrackSid,
    /// The shard that holds that room.
    pub shard: u16,
    /// Layers of a picture that somebody there wants.
    pub wanted: Option<SpatialLayer>,
    /// Layers whose last packet was left out, a bit for each.
    left_out: u8,
    /// Bytes that went there, a count that wraps; and what may be sent again.
    sent: u32,
    repairs: NackThrottle,
}

impl Tap {
    fn new(relayed: TrackSid, shard: u16, wanted: Option<SpatialLayer>) -> Self {
        Self {
            relayed,
            shard,
            wanted,
            left_out: 0,
            sent: 0,
            repairs: NackThrottle::default(),
        }
    }

    /// A layer goes to a room in which nobody wants it when it is the lowest there is: it is what everybody gets then.
    fn wants(&self, kind: MediaKind, layer: u8, is_lowest: bool) -> bool {
        kind == MediaKind::Audio
            || self
                .wanted
                .is_some_and(|wanted| layer <= wanted as u8 || is_lowest)
    }
}

/// How a packet came to the first shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Arrival {
    /// As it was sent.
    Media = 0,
    /// Lost, and sent again.
    Recovered = 1,
}

/// In the place of an [`Arrival`]: no packet, but what a sender report says, with NTP time for the index.
const SENDER_REPORT: u8 = 2;

/// Packets for other shards, until the owner takes them.
#[derive(Debug, Default)]
pub struct RelayQueue(Vec<u8>);

impl RelayQueue {
    /// False: it is full.
    fn push(&mut self, tap: &Tap, kind: u8, layer: u8, packet: &Received<'_>) -> bool {
        self.push_to(tap.shard, tap.relayed.as_str(), kind, layer, packet)
    }

    fn push_to(
        &mut self,
        shard: u16,
        sid: &str,
        kind: u8,
        layer: u8,
        packet: &Received<'_>,
    ) -> bool {
        let sid = sid.as_bytes();
        let len = FIXED + sid.len() + packet.dependencies.len() + packet.payload.len();
        let (Ok(dependencies), Ok(size)) =
            (u8::try_from(packet.dependencies.len()), u16::try_from(len))
        else {
            return false;
        };
        let queue = &mut self.0;
        if queue.len() + PREFIX + len > MAX_QUEUED {
            return false;
        }
        let has_level = if packet.voice.is_some() { HAS_LEVEL } else { 0 };
        let flags = u8::from(packet.marker) * MARKER + has_level;
        queue.extend_from_slice(&shard.to_be_bytes());
        queue.extend_from_slice(&size.to_be_bytes());
        queue.extend_from_slice(&[kind, layer, flags, packet.payload_type]);
        queue.push(packet.voice.map_or(0, AudioLevel::to_byte));
        queue.extend_from_slice(&[sid.len() as u8, dependencies]);
        queue.extend_from_slice(&packet.ssrc.to_be_bytes());
        queue.extend_from_slice(&packet.index.to_be_bytes());
        queue.extend_from_slice(&packet.time.0.to_be_bytes());
        queue.extend_from_slice(sid);
        queue.extend_from_slice(packet.dependencies);
        queue.extend_from_slice(packet.payload);
        true
    }

    /// Hands over everything: shard and packet.
    fn drain(&mut self, mut carry: impl FnMut(u16, &[u8])) {
        let mut rest = self.0.as_slice();
        while let Some(([s0, s1, l0, l1], after)) = rest.split_first_chunk::<PREFIX>() {
            let Some((packet, after)) =
                after.split_at_checked(usize::from(u16::from_be_bytes([*l0, *l1])))
            else {
                debug_assert!(false, "packets are queued whole");
                break;
            };
            carry(u16::from_be_bytes([*s0, *s1]), packet);
            rest = after;
        }
        self.0.clear();
    }
}

/// Reads what [`RelayQueue::push_to`] wrote: sid, kind, layer, packet.
fn parse(bytes: &[u8]) -> Option<(&str, u8, u8, Received<'_>)> {
    let (fixed, rest) = bytes.split_first_chunk::<FIXED>()?;
    let [
        kind,
        layer,
        flags,
        payload_type,
        level,
        sid,
        dependencies,
        ..,
    ] = *fixed;
    let (sid, rest) = rest.split_at_checked(sid.into())?;
    let (dependencies, payload) = rest.split_at_checked(dependencies.into())?;
    let sid = std::str::from_utf8(sid).ok()?;
    let packet = Received {
        ssrc: u32::from_be_bytes(*fixed[7..].first_chunk()?),
        index: u64::from_be_bytes(*fixed[11..].first_chunk()?),
        time: RtpTime(u32::from_be_bytes(*fixed[19..].first_chunk()?)),
        payload_type,
        marker: flags & MARKER != 0,
        payload,
        dependencies,
        voice: AudioLevel::parse(&[level]).filter(|_| flags & HAS_LEVEL != 0),
    };
    (layer < 3).then_some((sid, kind, layer, packet))
}

impl Shard {
    /// Commands about participants who are in rooms of several shards.
    pub(crate) fn relay_command(
        &mut self,
        command: Command,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        match command {
            Command::Relay {
                peer,
                track,
                relayed,
                shard,
            } => {
                if let Some(up) = self.owned_track(peer, track) {
                    self.relay(up, relayed, shard, now);
                }
            }
            Command::StopRelay { relayed } => self.stop_relay(relayed),
            Command::RelayData {
                peer,
                relayed,
                shard,
            } => self.relay_data(peer, relayed, shard),
            Command::RelayWanted { relayed, wanted } => self.relay_wanted(relayed, wanted, now),
            Command::RelayKeyFrame { relayed, layer } => {
                self.relay_key_frame(relayed, layer, now, out);
            }
            Command::RelayMissing {
                relayed,
                layer,
                ssrc,
                seqs,
            } => self.relay_missing(relayed, layer, ssrc, &seqs),
            Command::AddRelayedPeer {
                room,
                peer,
                identity,
                principal,
                source,
            } => self.add_relayed_peer(room, peer, (identity, principal), source, now),
            Command::PublishRelayed { peer, track, codec } => {
                self.publish_relayed(peer, track, codec);
            }
            _ => debug_assert!(false, "routed to the wrong verbs"),
        }
    }
}

/// On the shard that the participant is connected to.
impl Shard {
    /// Hands over the packets for other shards since the last call: the shard's index, and what its
    /// [`Shard::handle_relayed`] takes. What is not delivered is lost as on a network.
    pub fn drain_relayed(&mut self, carry: impl FnMut(u16, &[u8])) {
        self.relayed.drain(carry);
    }

    /// Something that this shard asks of another one: the shard's index, and what its
    /// [`Shard::handle_command`] takes. To be delivered, in this order.
    pub fn poll_request(&mut self) -> Option<(u16, Command)> {
        self.requests.pop_front()
    }

    /// Copies a packet for each room elsewhere.
    pub(crate) fn tap(&mut self, up: UpTrackKey, kind: Arrival, layer: u8, packet: &Received<'_>) {
        let Self {
            ups,
            relayed,
            stats,
            ..
        } = self;
        let Some(track) = ups.get_mut(up) else {
            return;
        };
        let mut lower = track.layers.iter().take(layer.into()).flatten();
        let is_lowest = !lower.any(|open| open.active);
        for tap in &mut track.taps {
            let bit = 1 << layer;
            if track.muted || !tap.wants(track.kind, layer, is_lowest) {
                tap.left_out |= bit;
                continue;
            }
            let resumes = kind == Arrival::Media && tap.left_out & bit != 0;
            let kind = if resumes { RESUMED } else { kind as u8 };
            if !relayed.push(tap, kind, layer, packet) {
                stats.drop(DropReason::RelayFull);
                continue;
            }
            tap.sent = tap.sent.wrapping_add(packet.payload.len() as u32);
            if resumes {
                tap.left_out &= !bit;
            }
        }
    }

    /// Copies a packet of a data track for each room elsewhere.
    pub(crate) fn tap_data(&mut self, peer: PeerKey, message: &[u8]) {
        let Some(p) = self.peers.get(peer) else {
            return;
        };
        let packet = Received {
            payload: message,
            ..Received::default()
        };
        for (sid, shard) in &p.data_taps {
            let queue = &mut self.relayed;
            if !queue.push_to(*shard, sid.as_str(), DATA, 0, &packet) {
                self.stats.drop(DropReason::RelayFull);
            }
        }
    }

    /// A sender report of a layer.
    pub(crate) fn tap_sender_report(
        &mut self,
        up: UpTrackKey,
        layer: u8,
        ntp: NtpTime,
        time: RtpTime,
    ) {
        let Self {
            ups,
            relayed,
            stats,
            ..
        } = self;
        let Some(track) = ups.get(up) else { return };
        let Some(open) = track
            .layers
            .get(usize::from(layer))
            .and_then(Option::as_ref)
        else {
            return;
        };
        let report = Received {
            ssrc: open.ssrc,
            index: ntp.0,
            time,
            ..Received::default()
        };
        for tap in &track.taps {
            if !relayed.push(tap, SENDER_REPORT, layer, &report) {
                stats.drop(DropReason::RelayFull);
            }
        }
    }

    /// [`Command::Relay`].
    fn relay(&mut self, up: UpTrackKey, relayed: TrackSid, shard: u16, now: Instant) {
        let Some(track) = self.ups.get_mut(up) else {
            return;
        };
        if self.taps.contains_key(&relayed) {
            return;
        }
        self.taps.insert(relayed, up);
        // As every track begins: until the room says otherwise, everything is wanted.
        let wanted = Some(SpatialLayer::High);
        track.taps.push(Tap::new(relayed, shard, wanted));
        self.wanted_elsewhere(up, wanted, now);
    }

    /// [`Command::StopRelay`].
    fn stop_relay(&mut self, relayed: TrackSid) {
        let up = self.taps.remove(&relayed);
        if let Some(track) = up.and_then(|up| self.ups.get_mut(up)) {
            track.taps.retain(|tap| tap.relayed != relayed);
            track.dynacast.touch();
        }
    }

    /// [`Command::RelayData`].
    fn relay_data(&mut self, peer: ParticipantSid, relayed: ParticipantSid, shard: Option<u16>) {
        let key = self.sids.get(&peer).copied();
        if let Some(p) = key.and_then(|key| self.peers.get_mut(key)) {
            p.data_taps.retain(|(known, _)| *known != relayed);
            p.data_taps.extend(shard.map(|shard| (relayed, shard)));
        }
    }

    /// [`Command::RelayWanted`].
    fn relay_wanted(&mut self, relayed: TrackSid, wanted: Option<SpatialLayer>, now: Instant) {
        let Some(up) = self.taps.get(&relayed).copied() else {
            return;
        };
        let taps = self.ups.get_mut(up).map(|track| track.taps.iter_mut());
        for tap in taps.into_iter().flatten() {
            if tap.relayed == relayed {
                tap.wanted = wanted;
            }
        }
        self.wanted_elsewhere(up, wanted, now);
    }

    /// [`Command::RelayKeyFrame`].
    fn relay_key_frame(
        &mut self,
        relayed: TrackSid,
        layer: SpatialLayer,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Some(up) = self.taps.get(&relayed).copied() else {
            return;
        };
        let open = self.ups.get_mut(up).and_then(|t| t.layer(layer as u8));
        if let Some(open) = open {
            open.want_key_frame();
        }
        self.request_key_frames(up, now, out);
    }

    /// [`Command::RelayMissing`]. What is too quiet to be forwarded here is not kept, and cannot be had again.
    fn relay_missing(&mut self, sid: TrackSid, layer: SpatialLayer, ssrc: u32, seqs: &[u16]) {
        let Self {
            taps,
            ups,
            relayed,
            stats,
            ..
        } = self;
        let Some(UpTrack {
            taps, layers, red, ..
        }) = taps.get(&sid).and_then(|up| ups.get_mut(*up))
        else {
            return;
        };
        let tap = taps.iter_mut().find(|tap| tap.relayed == sid);
        let open = layers[layer as usize].as_deref();
        let (Some(tap), Some(open)) = (tap, open.filter(|open| open.ssrc == ssrc)) else {
            return;
        };
        let Some(highest) = open.stats.highest() else {
            return;
        };
        for seq in seqs {
            if !tap.repairs.has_credit(tap.sent) {
                return stats.drop(DropReason::TooManyRepairs);
            }
            let Some(packet) = open.history.get(nearest(highest, SeqNo(*seq))) else {
                continue;
            };
            let lost = Received {
                ssrc,
                index: packet.index,
                time: packet.time,
                // Of the others it does not matter.
                payload_type: red.filter(|_| packet.primary != 0).unwrap_or(u8::MAX),
                marker: packet.marker,
                payload: packet.payload,
                dependencies: packet.dependencies,
                voice: None,
            };
            if !relayed.push(tap, Arrival::Recovered as u8, layer as u8, &lost) {
                return stats.drop(DropReason::RelayFull);
            }
            tap.repairs.spend(packet.payload.len());
        }
    }
}

/// On the shard of the other room.
impl Shard {
    /// Takes a packet from the shard that [`Command::AddRelayedPeer`] named. Media is forwarded by the next
    /// [`Shard::flush`].
    pub fn handle_relayed(&mut self, packet: &[u8], now: Instant, out: &mut impl SendBatch) {
        let Some((sid, kind, layer, packet)) = parse(packet) else {
            debug_assert!(false, "shards write what they can read");
            return self.stats.drop(DropReason::Malformed);
        };
        if kind == DATA {
            return self.handle_relayed_data(sid, packet.payload, now, out);
        }
        // On its way it may have crossed with the end of its track. A track of somebody who is connected here is not for
        // others to write.
        let up = sid.parse().ok().and_then(|sid| self.tracks.get(&sid));
        let relayed = up.copied().and_then(|up| {
            let publisher = self.ups.get(up)?.publisher;
            self.peers.get(publisher)?.source?;
            Some((up, publisher))
        });
        let Some((up, publisher)) = relayed else {
            return self.stats.drop(DropReason::UnknownStream);
        };
        self.guard(publisher, now, |shard| {
            let taken = match kind {
                SENDER_REPORT => shard.take_sender_report(up, layer, &packet, now),
                kind if kind == Arrival::Recovered as u8 => {
                    shard.take_recovered(up, layer, &packet, now)
                }
                RESUMED => {
                    let open = shard.ups.get_mut(up).and_then(|track| track.layer(layer));
                    if let Some(open) = open.filter(|open| open.ssrc == packet.ssrc) {
                        open.nack.skip();
                    }
                    shard.receive(up, layer, packet, now)
                }
                _ => shard.receive(up, layer, packet, now),
            };
            if let Err(reason) = taken {
                shard.stats.drop(reason);
            }
        });
        if self.batch_is_full {
            self.flush(now, out);
        }
    }

    fn handle_relayed_data(
        &mut self,
        sid: &str,
        message: &[u8],
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let publisher = sid.parse().ok().and_then(|sid| self.sids.get(&sid));
        let publisher = publisher.copied().filter(|key| {
            let publisher = self.peers.get(*key);
            publisher.is_some_and(|p| p.source.is_some())
        });
        let Some(publisher) = publisher else {
            return self.stats.drop(DropReason::UnknownStream);
        };
        self.guard(publisher, now, |shard| {
            let mut message = message.to_vec();
            if shard
                .forward_data_track(publisher, &mut message, now, out)
                .is_none()
            {
                shard.stats.drop(DropReason::Data);
            }
        });
    }

    fn take_sender_report(
        &mut self,
        up: UpTrackKey,
        layer: u8,
        report: &Received<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let open = self.ups.get_mut(up).and_then(|track| track.layer(layer));
        if let Some(open) = open.filter(|open| open.ssrc == report.ssrc) {
            open.sender_report = Some((NtpTime(report.index), report.time, now));
        }
        Ok(())
    }

    fn take_recovered(
        &mut self,
        up: UpTrackKey,
        layer: u8,
        packet: &Received<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let open = self.ups.get_mut(up).and_then(|track| track.layer(layer));
        let is_missing = open
            .filter(|open| open.ssrc == packet.ssrc)
            .is_some_and(|open| open.nack.recovered(packet.index));
        match is_missing {
            true => self.remember(up, layer, packet, now),
            false => Ok(()),
        }
    }

    /// [`Command::AddRelayedPeer`].
    fn add_relayed_peer(
        &mut self,
        room: RoomSid,
        sid: ParticipantSid,
        who: (ParticipantIdentity, ParticipantIdentity),
        source: u16,
        now: Instant,
    ) {
        let permissions = PeerPermissions {
            can_publish_data: false,
            hidden: false,
            agent: false,
            hears_all: false,
        };
        let negotiation = Negotiation::new(sid, ENABLED_CODECS);
        let Some(key) = self.add_member(room, sid, who, permissions, negotiation, now) else {
            return;
        };
        let Some(p) = self.peers.get_mut(key) else {
            return;
        };
        p.source = Some(source);
        p.is_there = true;
        // No datagram leads to it, and none leaves it.
        p.transport.disable();
        self.demux.remove_ufrag(p.transport.ice_ufrag());
        self.events.push_back(Event::Connected { peer: sid });
    }

    /// [`Command::PublishRelayed`].
    fn publish_relayed(
        &mut self,
        sid: ParticipantSid,
        announced: PublishedTrack,
        codec: TrackCodec,
    ) {
        let Some(key) = self.sids.get(&sid).copied() else {
            return;
        };
        let limit = self.config.max_tracks_per_peer;
        let Some(p) = self
            .peers
            .get_mut(key)
            .filter(|p| p.source.is_some() && p.ups.len() < limit)
        else {
            return;
        };
        if self.tracks.contains_key(&announced.sid) {
            return;
        }
        let track_sid = announced.sid;
        let mut track = UpTrack::new(announced, key, p.router);
        track.codec = Codec::from_mime(&codec.mime_type);
        track.mime_type = codec.mime_type;
        track.fmtp = codec.fmtp;
        track.red = codec.red;
        let up = self.ups.insert(track);
        p.ups.push(up);
        self.tracks.insert(track_sid, up);
    }

    /// Asks for a key frame of a layer where the publisher is. False: it is here.
    pub(crate) fn request_relayed_key_frame(&mut self, up: UpTrackKey, layer: u8) -> bool {
        let Some(track) = self.ups.get(up) else {
            return false;
        };
        let source = self.peers.get(track.publisher).and_then(|p| p.source);
        let Some(source) = source else { return false };
        let request = Command::RelayKeyFrame {
            relayed: track.sid,
            layer: SPATIAL[usize::from(layer.min(2))],
        };
        self.requests.push_back((source, request));
        true
    }
}

#[cfg(test)]
mod tests;
