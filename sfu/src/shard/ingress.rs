//! Packets from publishers: opened, attributed to a layer of a track, remembered, queued for the flush.

use std::time::Instant;

use crate::{
    api::{Datagram, Event, MediaKind, SpatialLayer},
    codec::Codec,
    connection::{Incoming, MAX_INCOMING},
    fanout::{BLOCK, BatchPacket},
    history::Packet,
    keys::{ConnectionKey, UpTrackKey},
    negotiate::CodecParameters,
    received::Received,
    red,
    relay::wire::Kind,
    rtp::{AudioLevel, Extension, RtpHeader, SeqNo, nearest, transport_cc_seq},
    shard::Shard,
    srtp::SrtpError,
    stats::DropReason,
    transport::TransportError,
    up_track::SPATIAL,
};

impl Shard {
    /// Handles one SRTP packet of a client.
    pub(crate) fn handle_rtp(
        &mut self,
        connection: ConnectionKey,
        datagram: &Datagram<'_>,
        now: Instant,
    ) {
        if let Err(reason) = self.accept_rtp(connection, datagram, now) {
            self.stats.drop(reason);
        }
    }

    fn accept_rtp(
        &mut self,
        connection: ConnectionKey,
        datagram: &Datagram<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let header = RtpHeader::parse(datagram.payload).map_err(|_| DropReason::Malformed)?;
        let mut scratch = std::mem::take(&mut self.space.packet);
        let result = self.open_rtp(connection, datagram, header, &mut scratch, now);
        self.space.packet = scratch;
        result
    }

    fn open_rtp(
        &mut self,
        connection: ConnectionKey,
        datagram: &Datagram<'_>,
        header: RtpHeader,
        scratch: &mut [u8],
        now: Instant,
    ) -> Result<(), DropReason> {
        let c = self
            .connections
            .get_mut(connection)
            .ok_or(DropReason::NotValidated)?;
        let (len, index) = c
            .transport
            .open_rtp(datagram, &header, scratch)
            .map_err(drop_reason)?;
        c.watch.heard(now);
        self.demux.heard(datagram.path(), now);
        let padding = match header.padding {
            true => header
                .padding_len(&scratch[..len])
                .map_err(|_| DropReason::Malformed)?,
            false => 0,
        };
        let payload = &scratch[..len - padding];
        let packet = datagram.payload;
        if let Some(seq) = c
            .extensions
            .value(Extension::TransportCc, &header, packet)
            .and_then(transport_cc_seq)
        {
            c.twcc.record(seq, now);
            c.twcc_ssrc = header.ssrc;
        }
        let member = self.members.get(c.member);
        if !member.is_some_and(|m| m.is_there) {
            return Err(DropReason::NotConnected);
        }
        let voice = c
            .extensions
            .value(Extension::AudioLevel, &header, packet)
            .and_then(AudioLevel::parse);
        let dependencies = c
            .extensions
            .value(Extension::DependencyDescriptor, &header, packet)
            .unwrap_or_default();
        let stream = match c.incoming.get(&header.ssrc) {
            Some(stream) => *stream,
            None => self.learn(connection, &header, packet, now)?,
        };
        let (Incoming::Media { up, .. } | Incoming::Rtx { up, .. }) = stream;
        self.check_codec(connection, up, header.payload_type, now)?;
        self.stats.rtp_in += 1;
        match stream {
            Incoming::Media { up, layer } => self.receive(
                up,
                layer,
                Received {
                    ssrc: header.ssrc,
                    index,
                    time: header.time,
                    payload_type: header.payload_type,
                    marker: header.marker,
                    payload,
                    dependencies,
                    voice,
                },
                now,
            ),
            Incoming::Rtx { up, layer } => {
                self.recover(up, layer, header, payload, dependencies, now)
            }
        }
    }

    /// Learns a stream without declared SSRC: its first packets have a MID and a RID that say what it is (RFC 8852).
    fn learn(
        &mut self,
        connection: ConnectionKey,
        header: &RtpHeader,
        packet: &[u8],
        now: Instant,
    ) -> Result<Incoming, DropReason> {
        let stream = self
            .explain(connection, header, packet)
            .ok_or(DropReason::UnknownStream)?;
        // Asked before the layer begins anew with this stream.
        let (Incoming::Media { up, layer } | Incoming::Rtx { up, layer }) = stream;
        self.check_codec(connection, up, header.payload_type, now)?;
        if let Some(c) = self.connections.get_mut(connection) {
            c.incoming.insert(header.ssrc, stream);
        }
        let track = self.ups.get_mut(up).ok_or(DropReason::UnknownStream)?;
        if matches!(stream, Incoming::Rtx { .. })
            && let Some(open) = track.layer(layer)
        {
            open.rtx_ssrc = Some(header.ssrc);
        }
        Ok(stream)
    }

    /// Checks that a packet has the track's codec. One of another negotiated codec would be taken for the track's, and
    /// break its decoders.
    fn check_codec(
        &mut self,
        connection: ConnectionKey,
        up: UpTrackKey,
        payload_type: u8,
        now: Instant,
    ) -> Result<(), DropReason> {
        let track = self.ups.get(up).ok_or(DropReason::UnknownStream)?;
        let Some(numbers) = track.payload_types else {
            return Ok(());
        };
        if numbers.is_of_track(payload_type) {
            return Ok(());
        }
        if numbers.is_of_other(payload_type) {
            self.tell_other_codec(connection, up, now);
        }
        Err(DropReason::OtherCodec)
    }

    /// Reports a publisher that sends another codec than its track's, which our answer allowed.
    fn tell_other_codec(&mut self, connection: ConnectionKey, up: UpTrackKey, now: Instant) {
        let Some(track) = self
            .ups
            .get_mut(up)
            .filter(|_| self.connections.contains_key(connection))
        else {
            return;
        };
        if track.insist(now)
            && let Some(c) = self.connections.get(connection)
        {
            self.events.push_back(Event::OtherCodec {
                peer: c.sid,
                track: track.sid,
            });
        }
    }

    /// The meaning of a stream, by its MID and RID.
    fn explain(
        &self,
        connection: ConnectionKey,
        header: &RtpHeader,
        packet: &[u8],
    ) -> Option<Incoming> {
        let c = self.connections.get(connection)?;
        if c.incoming.len() >= MAX_INCOMING {
            return None;
        }
        let text = |extension: Extension| {
            c.extensions
                .value(extension, header, packet)
                .and_then(|value| std::str::from_utf8(value).ok())
        };
        let mid = text(Extension::Mid)?;
        let (rid, repaired) = (text(Extension::Rid), text(Extension::RepairedRid));
        let section = c.sections.iter().find(|section| section.mid == mid)?;
        let up = *self.tracks.get(&section.track)?;
        let layer = match rid.or(repaired) {
            Some(rid) => section.layers.iter().find(|layer| layer.rid == rid)?.layer,
            None if section.layers.is_empty() => SpatialLayer::High,
            None => return None,
        };
        let is_rtx_type =
            |codec: &CodecParameters| codec.rtx_payload_type == Some(header.payload_type);
        let is_rtx = repaired.is_some() || section.codecs.iter().any(is_rtx_type);
        let layer = layer as u8;
        Some(match is_rtx {
            true => Incoming::Rtx { up, layer },
            false => Incoming::Media { up, layer },
        })
    }

    /// Takes a media packet.
    pub(crate) fn receive(
        &mut self,
        up: UpTrackKey,
        layer: u8,
        received: Received<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let track = self.ups.get_mut(up).ok_or(DropReason::UnknownStream)?;
        let is_voice = track.kind == MediaKind::Audio && !track.muted;
        let level = received.voice.filter(|_| is_voice).map(|voice| voice.level);
        if let Some(level) = level
            && let Some(router) = self.routers.get_mut(track.router)
        {
            router.speakers.record(track.publisher, level, now);
        }
        let ssrc = received.ssrc;
        let spatial = SPATIAL[usize::from(layer.min(2))];
        if track.is_restart(layer, ssrc)
            && let Some(m) = self.members.get_mut(track.publisher)
            && !m.restarts.take(1, now)
        {
            return Err(DropReason::TooMany);
        }
        let open = track.open_layer(spatial, ssrc, &mut self.streams);
        open.stats.received(received.index, received.time, now);
        open.nack.received(received.index, now);
        let woke = track.arrived(layer, received.time, received.marker, now);
        if !track.taps.is_empty() {
            self.tap(up, Kind::Media, layer, &received);
        }
        if let Some(level) = level {
            self.rank_voice(up, level, now);
        }
        let accepted = self.remember(up, layer, &received, now);
        if woke {
            self.layer_woke(up, spatial, now);
        }
        accepted
    }

    /// Takes a retransmission (RFC 4588): the original sequence number, then the original payload. One without payload
    /// is a bandwidth probe.
    fn recover(
        &mut self,
        up: UpTrackKey,
        layer: u8,
        header: RtpHeader,
        payload: &[u8],
        dependencies: &[u8],
        now: Instant,
    ) -> Result<(), DropReason> {
        let Some((original, payload)) = payload.split_first_chunk::<2>() else {
            return Ok(());
        };
        let open = self
            .ups
            .get_mut(up)
            .and_then(|track| track.layer(layer))
            .ok_or(DropReason::UnknownStream)?;
        let Some(highest) = open.stats.highest() else {
            return Ok(());
        };
        let index = nearest(highest, SeqNo(u16::from_be_bytes(*original)));
        if !open.nack.recovered(index) {
            return Ok(());
        }
        let recovered = Received {
            ssrc: open.ssrc,
            index,
            time: header.time,
            payload_type: header.payload_type,
            marker: header.marker,
            payload,
            dependencies,
            voice: None,
        };
        self.stats.recovered += 1;
        self.tap(up, Kind::Recovered, layer, &recovered);
        self.remember(up, layer, &recovered, now)
    }

    /// Copies a packet into the history, and notes it in the batch that the flush forwards.
    pub(crate) fn remember(
        &mut self,
        up: UpTrackKey,
        layer: u8,
        received: &Received<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let track = self.ups.get_mut(up).ok_or(DropReason::UnknownStream)?;
        if track.muted {
            return Err(DropReason::Muted);
        }
        if !track.audible && track.full_ears == 0 {
            return Err(DropReason::NotAmongLoudest);
        }
        let codec = track.codec.ok_or(DropReason::UnknownStream)?;
        let payload = received.payload;
        // A retransmission has a payload type of its own; RED is only ever sent again as it was.
        let is_red = track.red.is_some_and(|red| red == received.payload_type);
        let primary = match is_red && !payload.is_empty() {
            true => {
                red::primary(payload)
                    .map_err(|_| DropReason::Malformed)?
                    .offset
            }
            false => 0,
        };
        let open = track.layer(layer).ok_or(DropReason::UnknownStream)?;
        let picture = open
            .read(codec, received.time, payload, received.dependencies)
            .map_err(|_| DropReason::Malformed)?;
        let len = payload.len() - usize::from(primary);
        if codec == Codec::Opus {
            open.rate.add(len, now);
        } else {
            let (picture, time) = (picture.as_ref(), received.time);
            open.spatial.received(picture, time, len, now);
        }
        if primary != 0 {
            open.redundancy.add_bytes(usize::from(primary), now);
        }
        let has_changed = open.spatial.has_changed();
        let starts_key_frame = picture.is_some_and(|picture| picture.starts_key_frame);
        let packet = Packet {
            index: received.index,
            time: received.time,
            marker: received.marker,
            picture,
            primary,
            dependencies: received.dependencies,
            payload,
        };
        if !open.history.insert(packet) {
            return Err(DropReason::TooOld);
        }
        let stream = open.id;
        if starts_key_frame {
            open.key_frame_arrived();
        }
        if track.batch.is_empty() {
            self.pending.push(up);
        }
        track.batch.push(BatchPacket {
            layer,
            stream,
            starts_key_frame,
            index: received.index,
        });
        self.batch_is_full |= track.batch.len() >= BLOCK;
        // The key frame is asked for at once. A stream that begins anew with each packet waits for the next feedback.
        let publisher = track.publisher;
        let publisher = self.members.get_mut(publisher).filter(|_| has_changed);
        if publisher.is_some_and(|m| m.restarts.take(1, now)) {
            self.layers_changed(up, layer, now);
        }
        Ok(())
    }

    /// Reviews the layers within a stream: there are others, or others of them come.
    pub(crate) fn layers_changed(&mut self, up: UpTrackKey, layer: u8, now: Instant) {
        let open = self.ups.get_mut(up).and_then(|track| track.layer(layer));
        let Some(open) = open.filter(|open| open.spatial.has_changed()) else {
            return;
        };
        if open.spatial.settle() {
            self.layer_woke(up, SPATIAL[usize::from(layer.min(2))], now);
        } else {
            self.retarget_track(up);
        }
    }

    /// A layer woke: its first packet came, or the first since it fell silent; or a stream turned out to have other
    /// layers.
    fn layer_woke(&mut self, up: UpTrackKey, layer: SpatialLayer, now: Instant) {
        self.start_feedback(now);
        let Some(track) = self.ups.get(up) else {
            return;
        };
        let svc = track.layers_of_svc(layer as u8);
        let layers = if svc.is_empty() { &[layer] } else { svc };
        if let Some(publisher) = self.members.get(track.publisher) {
            let active = layers.iter().map(|layer| Event::TrackActive {
                peer: publisher.sid,
                track: track.sid,
                layer: *layer,
            });
            self.events.extend(active);
        }
        self.retarget_track(up);
    }
}

fn drop_reason(error: TransportError) -> DropReason {
    match error {
        TransportError::Stun => DropReason::Stun,
        TransportError::TooMany => DropReason::TooMany,
        TransportError::NotValidated => DropReason::NotValidated,
        TransportError::NoKeys => DropReason::NoKeys,
        TransportError::Srtp(SrtpError::Replayed | SrtpError::TooOld) => DropReason::Replayed,
        TransportError::Srtp(SrtpError::Truncated | SrtpError::DoesNotFit) => DropReason::Malformed,
        TransportError::Srtp(_) => DropReason::Authentication,
    }
}
