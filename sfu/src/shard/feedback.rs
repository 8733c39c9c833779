//! RTCP in both directions, with subscribers and with publishers.

use std::time::{Duration, Instant};

use crate::{
    api::{Datagram, Event, MediaKind, RelayRequest, SendBatch, Speaker},
    codec::Codec,
    connection::{Incoming, send::Outgoing},
    down_track::SENDER_REPORT_INTERVAL,
    fanout::NO_LAYER,
    keys::{ConnectionKey, DownTrackKey, UpTrackKey},
    rtcp::{self, NtpTime, ReportBlock, RtcpPacket, RtcpWriter, SenderInfo, from_compact},
    rtp::SeqNo,
    shard::Shard,
    stats::DropReason,
    up_track::SPATIAL,
    workspace::DATAGRAM,
};

/// Time between receiver reports to a publisher.
const RECEIVER_REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The most reception reports in one packet: its count has five bits.
const REPORTS: usize = 31;

/// Number of packet statuses that cost as much as looking up one packet.
const STATUSES_PER_UNIT: u32 = 16;

/// Size of one compound packet, bytes: a datagram that fits every path.
const COMPOUND: usize = 1200;

impl Shard {
    /// Handles one SRTCP packet of a client.
    pub(crate) fn handle_rtcp(
        &mut self,
        connection: ConnectionKey,
        datagram: &Datagram<'_>,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let mut compound = [0; DATAGRAM];
        let Some(c) = self.connections.get_mut(connection) else {
            return;
        };
        let Ok(len) = c.transport.open_rtcp(datagram, &mut compound) else {
            return self.stats.drop(DropReason::Authentication);
        };
        c.watch.heard(now);
        self.demux.heard(datagram.path(), now);
        let mut packets = rtcp::parse(&compound[..len]);
        for packet in packets.by_ref() {
            self.handle_rtcp_packet(connection, &packet, now, out);
        }
        self.stats.dropped[DropReason::Malformed as usize] += u64::from(packets.malformed());
    }

    fn handle_rtcp_packet(
        &mut self,
        connection: ConnectionKey,
        packet: &RtcpPacket<'_>,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        match packet {
            RtcpPacket::SenderReport {
                ssrc,
                info,
                reports,
            } => {
                if let Some(Incoming::Media { up, layer }) = self
                    .connections
                    .get(connection)
                    .and_then(|c| c.incoming.get(ssrc))
                    && let Some(open) = self.ups.get_mut(*up).and_then(|track| track.layer(*layer))
                {
                    open.sender_report = Some((info.ntp, info.rtp_time, now));
                    open.stats.sender_report(info.ntp, now);
                    let (up, layer) = (*up, *layer);
                    self.tap_sender_report(up, layer, info.ntp, info.rtp_time);
                }
                self.handle_reports(connection, reports.clone(), now);
            }
            RtcpPacket::ReceiverReport { reports, .. } => {
                self.handle_reports(connection, reports.clone(), now);
            }
            RtcpPacket::Nack(nack) => {
                if let Some(down) = self.subscription(connection, nack.media_ssrc) {
                    for seq in nack.seqs() {
                        if !self.may_ask(connection, 1, now) {
                            break;
                        }
                        self.retransmit(down, seq, now, out);
                    }
                }
            }
            RtcpPacket::Pli { media_ssrc } => {
                if self.may_ask(connection, 1, now) {
                    self.handle_picture_loss(connection, *media_ssrc, now, out);
                }
            }
            RtcpPacket::Fir(entries) => {
                for (ssrc, _) in entries.clone() {
                    if !self.may_ask(connection, 1, now) {
                        break;
                    }
                    self.handle_picture_loss(connection, ssrc, now, out);
                }
            }
            RtcpPacket::TransportCc(feedback) => {
                let work = 1 + u32::from(feedback.count) / STATUSES_PER_UNIT;
                if !self.may_ask(connection, work, now) {
                    return;
                }
                self.learn_deliveries(connection, feedback, now);
                if let Some(c) = self.connections.get_mut(connection)
                    && let Some(estimator) = &mut c.estimator
                    && let Some(m) = self.members.get(c.member)
                {
                    estimator.handle_feedback(feedback, m.rtt, now);
                }
            }
            RtcpPacket::Remb { bitrate, .. } => {
                if let Some(estimator) = self
                    .connections
                    .get_mut(connection)
                    .and_then(|c| c.estimator.as_mut())
                {
                    estimator.handle_remb(*bitrate);
                }
            }
            // A BYE says nothing that the offer does not.
            RtcpPacket::Bye(_) => {}
        }
    }

    /// Whether a client's feedback may cause this much more work. A few bytes can ask for thousands of packets.
    fn may_ask(&mut self, connection: ConnectionKey, units: u32, now: Instant) -> bool {
        let Self {
            connections, stats, ..
        } = self;
        let allowed = connections
            .get_mut(connection)
            .is_some_and(|c| c.feedback.take(units, now));
        if !allowed {
            stats.drop(DropReason::TooMany);
        }
        allowed
    }

    fn subscription(&self, connection: ConnectionKey, ssrc: u32) -> Option<DownTrackKey> {
        self.connections
            .get(connection)?
            .outgoing
            .get(&ssrc)
            .copied()
    }

    fn handle_reports(
        &mut self,
        connection: ConnectionKey,
        reports: impl Iterator<Item = ReportBlock>,
        now: Instant,
    ) {
        if let Some(c) = self.connections.get_mut(connection) {
            c.watch.reported();
        }
        reports.for_each(|report| self.handle_report(connection, &report, now));
    }

    /// Takes a report on how a subscriber receives one of our streams.
    fn handle_report(&mut self, connection: ConnectionKey, report: &ReportBlock, now: Instant) {
        let Some(down) = self.subscription(connection, report.ssrc) else {
            return;
        };
        let Some(d) = self.downs.get_mut(down) else {
            return;
        };
        d.recognised = true;
        d.delivery.reported(report.highest_seq, now);
        let member = self.connections.get_mut(connection).map(|c| {
            c.quality.reported(report.fraction_lost);
            c.member
        });
        let Some((compact, sent)) = d.last_sender_report else {
            return;
        };
        if report.last_sr != compact {
            return;
        }
        let held = from_compact(report.delay_since_last_sr);
        let rtt = now.saturating_duration_since(sent).saturating_sub(held);
        if let Some(m) = member.and_then(|key| self.members.get_mut(key)) {
            m.rtt = rtt;
        }
    }

    fn handle_picture_loss(
        &mut self,
        connection: ConnectionKey,
        ssrc: u32,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Some(d) = self
            .subscription(connection, ssrc)
            .and_then(|down| self.downs.get(down))
        else {
            return;
        };
        let (up, slot) = (d.up, d.slot);
        let Some(track) = self.ups.get_mut(up) else {
            return;
        };
        let current = track.fanout.current(slot);
        if let Some(open) = track.layer(current) {
            open.want_key_frame();
        }
        self.request_key_frames(up, now, out);
    }

    /// Sends a packet again that a subscriber asked for.
    fn retransmit(
        &mut self,
        down: DownTrackKey,
        seq: SeqNo,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Some(d) = self.downs.get_mut(down) else {
            return;
        };
        let Some(c) = self.connections.get_mut(d.subscriber) else {
            return;
        };
        let Some(m) = self.members.get(c.member) else {
            return;
        };
        if !d.nack_throttle.allow(seq, m.rtt, now) {
            return;
        }
        // Where the network is too slow, repairs must not keep it so: packets of a layer that is sent no longer repair
        // nothing, and the rest waits until it is asked for again.
        if d.codec != Codec::Opus && c.is_congested(now) {
            let origin = d.rewriter.origin(seq).map(|origin| origin.source);
            if origin != d.rewriter.source() || c.must_wait(now) {
                return self.stats.drop(DropReason::NetworkTooSlow);
            }
        }
        if !d.nack_throttle.has_credit(d.sent.1) {
            return self.stats.drop(DropReason::TooManyRepairs);
        }
        if let Some(bytes) = self.resend(down, seq, now, out) {
            self.stats.retransmitted += 1;
            if let Some(d) = self.downs.get_mut(down) {
                d.nack_throttle.spend(bytes);
            }
        }
    }

    /// Sends a packet again. Returns the bytes sent, or `None` when it could not be sent.
    pub(crate) fn resend(
        &mut self,
        down: DownTrackKey,
        seq: SeqNo,
        now: Instant,
        out: &mut impl SendBatch,
    ) -> Option<usize> {
        let Self {
            downs,
            ups,
            connections,
            stats,
            ..
        } = self;
        let d = downs.get_mut(down)?;
        let subscriber = connections.get_mut(d.subscriber)?;
        let found = d.rewriter.origin(seq).and_then(|origin| {
            let open = ups.get_mut(d.up)?.layer(origin.source.layer)?;
            let open = Some(&*open).filter(|open| open.id == origin.source.stream)?;
            Some((origin, open, open.history.get(origin.index)?))
        });
        let Some((origin, open, packet)) = found else {
            stats.drop(DropReason::NotInHistory);
            return None;
        };
        let input = open.input(origin.source.layer, &packet, false, now);
        // A packet whose layer is not sent any more, or never was, has no content for this subscriber.
        let admitted = packet
            .picture
            .is_none_or(|picture| d.filter.admits(&picture));
        let what = Outgoing::Again {
            packet: &packet,
            admitted,
            input: &input,
            out_index: origin.out_index,
        };
        let outcome = subscriber.send(down, d, &what, now, out);
        outcome.sent.map_err(|reason| stats.drop(reason)).ok()
    }

    /// Asks the publisher for key frames of the layers that somebody waits for.
    pub(crate) fn request_key_frames(
        &mut self,
        up: UpTrackKey,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Some(track) = self.ups.get_mut(up) else {
            return;
        };
        if track.kind != MediaKind::Video {
            return;
        }
        for layer in 0..3 {
            let Some(track) = self.ups.get_mut(up) else {
                return;
            };
            if track.fanout.is_awaited(layer)
                && let Some(open) = track.layer(layer)
            {
                open.want_key_frame();
            }
            let Some(open) = track.layer(layer) else {
                continue;
            };
            if !open.take_key_frame_request(now) {
                continue;
            }
            let media_ssrc = open.ssrc;
            if self.request_relayed_key_frame(up, layer) {
                continue;
            }
            let Some(track) = self.ups.get(up) else {
                return;
            };
            self.stats.key_frame_requests += 1;
            let mut buffer = [0; 64];
            let mut writer = RtcpWriter::new(&mut buffer);
            let written = writer.pli(self.rtcp_ssrc, media_ssrc).is_ok();
            let len = writer.len();
            let sender = self.members.get(track.publisher).and_then(|m| m.sends);
            let sender = sender.and_then(|key| self.connections.get_mut(key));
            if let Some(c) = sender.filter(|_| written) {
                c.transport.send_rtcp(&buffer[..len], out);
            }
        }
    }

    /// Asks for the key frames that a subscriber waits for which begins to receive: at once, not with the next round of
    /// feedback.
    pub(crate) fn request_key_frames_for(
        &mut self,
        connection: ConnectionKey,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        for i in 0.. {
            let down = self
                .connections
                .get(connection)
                .and_then(|c| c.downs.get(i).copied());
            let Some(up) = down.and_then(|down| self.downs.get(down)).map(|d| d.up) else {
                break;
            };
            self.request_key_frames(up, now, out);
        }
    }

    /// Sends the feedback that is due regularly while media flows.
    pub(crate) fn handle_feedback(&mut self, now: Instant, out: &mut impl SendBatch) {
        // Keys are copied out, since the work below needs the whole shard; the buffers are kept for the next time.
        let mut ups = std::mem::take(&mut self.space.ups);
        ups.extend(self.ups.keys());
        for up in ups.drain(..) {
            let Some(publisher) = self.ups.get(up).map(|track| track.publisher) else {
                continue;
            };
            self.guard_member(publisher, now, |shard| shard.feed_back_track(up, now, out));
        }
        self.space.ups = ups;
        let mut connections = std::mem::take(&mut self.space.connections);
        connections.extend(self.connections.keys());
        for key in connections.drain(..) {
            self.guard(key, now, |shard| {
                shard.measure_quality(key, now);
                shard.feed_back_connection(key, now, out);
            });
        }
        self.space.connections = connections;
        self.report_speakers(now);
    }

    /// Sends NACKs and key frame requests of one track, and finds layers that fell silent.
    fn feed_back_track(&mut self, up: UpTrackKey, now: Instant, out: &mut impl SendBatch) {
        let Some(track) = self.ups.get_mut(up) else {
            return;
        };
        let Some(publisher) = self.members.get(track.publisher) else {
            return;
        };
        let sender = publisher.sends;
        let mut sender = sender.and_then(|key| self.connections.get_mut(key));
        let mut buffer = [0; COMPOUND];
        for (open, layer) in track.layers.iter_mut().zip(SPATIAL) {
            let Some(open) = open else { continue };
            let missing = open.nack.poll(publisher.rtt, now);
            if missing.is_empty() {
                continue;
            }
            if let Some(source) = publisher.source {
                // Packets lost between the shards are asked of the publisher's shard. Packets lost before it are that
                // shard's business; they arrive here once it has them.
                let request = RelayRequest::Resend {
                    relayed: track.sid,
                    layer,
                    ssrc: open.ssrc,
                    seqs: missing.iter().map(|seq| seq.0).collect(),
                };
                self.relay.requests.push_back((source, request));
                continue;
            }
            let mut writer = RtcpWriter::new(&mut buffer);
            if writer.nack(self.rtcp_ssrc, open.ssrc, missing).is_ok()
                && let Some(c) = &mut sender
            {
                self.stats.nacked += missing.len() as u64;
                let len = writer.len();
                c.transport.send_rtcp(&buffer[..len], out);
            }
        }
        for open in track.layers.iter_mut().flatten() {
            // Losses that cannot be repaired any more need a key frame.
            if open.nack.take_gave_up() {
                open.want_key_frame();
            }
        }
        if track.expire_layers(now) {
            self.retarget_track(up);
        }
        (0..3).for_each(|layer| self.layers_changed(up, layer, now));
        self.review_wishes(up, now);
        self.request_key_frames(up, now, out);
    }

    /// Sends the reports on one connection: transport-cc and receiver reports for the streams that come, sender reports
    /// for those that go out.
    fn feed_back_connection(
        &mut self,
        connection: ConnectionKey,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Some(c) = self.connections.get_mut(connection) else {
            return;
        };
        if !c.transport.is_connected() {
            return;
        }
        let mut buffer = [0; COMPOUND];
        loop {
            let mut writer = RtcpWriter::new(&mut buffer);
            if !c.twcc.write(self.rtcp_ssrc, c.twcc_ssrc, now, &mut writer) {
                break;
            }
            let len = writer.len();
            c.transport.send_rtcp(&buffer[..len], out);
        }
        let publishes = self
            .members
            .get(c.member)
            .is_some_and(|m| !m.ups_on(connection).is_empty());
        if publishes && now >= c.next_receiver_report {
            c.next_receiver_report = now + RECEIVER_REPORT_INTERVAL;
            self.send_receiver_reports(connection, now, out);
        }
        for i in 0.. {
            let Some(down) = self
                .connections
                .get(connection)
                .and_then(|c| c.downs.get(i).copied())
            else {
                break;
            };
            self.send_sender_report(down, now, out);
        }
        self.control_congestion(connection, now, out);
        self.watch(connection, now, out);
    }

    /// Sends reports on the client's streams; as many in one packet as its count field allows.
    fn send_receiver_reports(
        &mut self,
        connection: ConnectionKey,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Self {
            members,
            connections,
            ups,
            ..
        } = self;
        let Some(c) = connections.get_mut(connection) else {
            return;
        };
        let published = members
            .get(c.member)
            .map_or(&[][..], |m| m.ups_on(connection));
        let (mut blocks, mut count) = ([ReportBlock::default(); REPORTS], 0);
        for (i, up) in published.iter().enumerate() {
            let layers = ups.get_mut(*up).map(|track| track.layers.iter_mut());
            for open in layers.into_iter().flatten().flatten() {
                if let Some(block) = open.stats.report(open.ssrc, now) {
                    blocks[count] = block;
                    count += 1;
                }
            }
            // A track has at most three layers.
            if count == 0 || (count + 3 <= REPORTS && i + 1 < published.len()) {
                continue;
            }
            let mut buffer = [0; COMPOUND];
            let mut writer = RtcpWriter::new(&mut buffer);
            if writer
                .receiver_report(self.rtcp_ssrc, &blocks[..count])
                .is_ok()
            {
                let len = writer.len();
                c.transport.send_rtcp(&buffer[..len], out);
            }
            count = 0;
        }
    }

    /// Tells a subscriber which RTP time of a stream belongs to which moment of the publisher's clock, so that sound
    /// and picture are played together.
    fn send_sender_report(&mut self, down: DownTrackKey, now: Instant, out: &mut impl SendBatch) {
        let Some(d) = self.downs.get_mut(down) else {
            return;
        };
        if d.sent.0 == 0 || now < d.next_sender_report {
            return;
        }
        let Some(track) = self.ups.get_mut(d.up) else {
            return;
        };
        let current = track.fanout.current(d.slot);
        if current == NO_LAYER {
            return;
        }
        let Some((ntp, time, arrived)) = track.layer(current).and_then(|open| open.sender_report)
        else {
            return;
        };
        let elapsed = now.saturating_duration_since(arrived);
        let ticks = elapsed.as_secs_f64() * f64::from(d.codec.clock_rate());
        let info = SenderInfo {
            ntp: NtpTime(
                ntp.0
                    .wrapping_add((elapsed.as_secs_f64() * 4_294_967_296.0) as u64),
            ),
            rtp_time: d.translate_time(time.offset(ticks as i64)),
            packets: d.sent.0,
            octets: d.sent.1,
        };
        let (Some(publisher), ssrc) = (self.members.get(track.publisher).map(|m| m.sid), d.ssrc)
        else {
            return;
        };
        let Some(c) = self.connections.get_mut(d.subscriber) else {
            return;
        };
        let mut buffer = [0; 256];
        let mut writer = RtcpWriter::new(&mut buffer);
        if writer.sender_report(ssrc, &info, &[]).is_err()
            || writer.sdes_cname(ssrc, publisher.as_str()).is_err()
        {
            return;
        }
        let len = writer.len();
        c.transport.send_rtcp(&buffer[..len], out);
        d.next_sender_report = now + SENDER_REPORT_INTERVAL;
        d.last_sender_report = Some((info.ntp.compact(), now));
    }

    fn report_speakers(&mut self, now: Instant) {
        let Self {
            routers,
            members,
            events,
            ..
        } = self;
        for router in routers.values_mut() {
            let Some(speakers) = router.speakers.poll(now) else {
                continue;
            };
            let speakers = speakers
                .iter()
                .filter_map(|speaker| {
                    Some(Speaker {
                        peer: members.get(speaker.key)?.sid,
                        level: speaker.level,
                    })
                })
                .collect();
            events.push_back(Event::SpeakersChanged {
                room: router.sid,
                speakers,
            });
        }
    }
}
