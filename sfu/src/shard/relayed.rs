//! Packets of participants who are connected to other shards.

use std::time::Instant;

use protocol::{ParticipantIdentity, ParticipantSid, RoomSid};

use crate::{
    api::{Event, PeerPermissions, PublishedTrack, RelayRequest, SendBatch, TrackCodec},
    codec::Codec,
    keys::UpTrackKey,
    received::Received,
    relay::wire::{Handle, Kind, Relayed},
    rtcp::NtpTime,
    shard::Shard,
    stats::DropReason,
    up_track::{SPATIAL, UpTrack},
};

impl Shard {
    /// Takes a packet from the shard that [`MemberCommand::AddRelayed`](crate::MemberCommand::AddRelayed) named. Media is forwarded by the next
    /// [`Shard::flush`].
    pub fn handle_relayed(&mut self, packet: &[u8], now: Instant, out: &mut impl SendBatch) {
        let Some(Relayed {
            handle,
            kind,
            layer,
            packet,
        }) = Relayed::parse(packet)
        else {
            debug_assert!(false, "shards write what they can read");
            return self.stats.drop(DropReason::Malformed);
        };
        if kind == Kind::Data {
            return self.handle_relayed_data(handle, packet.payload, now, out);
        }
        // The packet may have crossed with the end of its track.
        let up = self.relay.tracks.get(&handle).copied();
        let publisher = up.and_then(|up| self.ups.get(up)).map(|up| up.publisher);
        let (Some(up), Some(publisher)) = (up, publisher) else {
            return self.stats.drop(DropReason::UnknownStream);
        };
        self.guard_member(publisher, now, |shard| {
            let taken = match kind {
                Kind::SenderReport => shard.take_sender_report(up, layer, &packet, now),
                Kind::Recovered => shard.take_recovered(up, layer, &packet, now),
                Kind::Resumed => {
                    let open = shard.ups.get_mut(up).and_then(|track| track.layer(layer));
                    if let Some(open) = open.filter(|open| open.ssrc == packet.ssrc) {
                        open.nack.skip();
                    }
                    shard.receive(up, layer, packet, now)
                }
                Kind::Media | Kind::Data => shard.receive(up, layer, packet, now),
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
        handle: Handle,
        message: &[u8],
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Some(publisher) = self.relay.members.get(&handle).copied() else {
            return self.stats.drop(DropReason::UnknownStream);
        };
        self.guard_member(publisher, now, |shard| {
            if shard
                .forward_data_track(publisher, message, now, out)
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

    /// [`MemberCommand::AddRelayed`](crate::MemberCommand::AddRelayed).
    pub(super) fn add_relayed_member(
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
        let Some(key) = self.add_member(room, sid, who, permissions, now) else {
            return;
        };
        let Some(m) = self.members.get_mut(key) else {
            return;
        };
        (m.source, m.is_there) = (Some(source), true);
        let handle = Handle::of(sid.as_str());
        self.relay.members.entry(handle).or_insert(key);
        self.events.push_back(Event::Connected { peer: sid });
    }

    /// [`TrackCommand::PublishRelayed`](crate::TrackCommand::PublishRelayed).
    pub(super) fn publish_relayed(
        &mut self,
        sid: ParticipantSid,
        announced: PublishedTrack,
        codec: TrackCodec,
    ) {
        let Some(key) = self.sids.get(&sid).copied() else {
            return;
        };
        let Some(m) = self.members.get_mut(key).filter(|m| m.source.is_some()) else {
            return;
        };
        let track_sid = announced.sid;
        let handle = Handle::of(track_sid.as_str());
        if self.tracks.contains_key(&track_sid) || self.relay.tracks.contains_key(&handle) {
            return;
        }
        let mut track = UpTrack::new(announced, key, m.router);
        track.codec = Codec::from_mime(&codec.mime_type);
        track.mime_type = codec.mime_type;
        track.fmtp = codec.fmtp;
        track.red = codec.red;
        let up = self.ups.insert(track);
        m.ups.push(up);
        self.tracks.insert(track_sid, up);
        self.relay.tracks.insert(handle, up);
    }

    /// Asks the publisher's shard for a key frame of a layer. False: the publisher is connected here.
    pub(crate) fn request_relayed_key_frame(&mut self, up: UpTrackKey, layer: u8) -> bool {
        let Some(track) = self.ups.get(up) else {
            return false;
        };
        let source = self.members.get(track.publisher).and_then(|m| m.source);
        let Some(source) = source else { return false };
        let request = RelayRequest::KeyFrame {
            relayed: track.sid,
            layer: SPATIAL[usize::from(layer.min(2))],
        };
        self.relay.requests.push_back((source, request));
        true
    }
}
