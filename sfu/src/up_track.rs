//! A published track: its layers as they arrive, and its subscribers.

use std::time::{Duration, Instant};

use protocol::TrackSid;

use crate::{
    api::{LayerSize, MediaKind, PublishedTrack, SpatialLayer, TrackSetting},
    av1,
    bwe::Bitrate,
    codec::Codec,
    delivery::Silence,
    dependency_descriptor,
    dependency_descriptor::Structure,
    down_track::Share,
    dynacast::Dynacast,
    fanout::{BatchPacket, Fanout, NO_LAYER},
    h264,
    history::{History, Packet},
    keys::{MemberKey, RouterKey, UpTrackKey},
    layers::{Picture, Target},
    nack::NackTracker,
    negotiate::{CodecParameters, RED},
    rate_meter::RateMeter,
    receive_stats::ReceiveStats,
    relay::Tap,
    rewrite::{Input, Source, StreamId, StreamIds},
    rtcp::NtpTime,
    rtp::RtpTime,
    spatial::SpatialLayers,
    vp8, vp9,
};

/// A layer of a simulcast was switched off by its sender when it missed this many frames of its busiest sibling (all
/// layers have one frame rate), and [`LAYER_TIMEOUT`] has passed.
const MISSED_FRAMES: u64 = 12;

/// A layer is not taken for switched off within this time: an encoder short of bits or of processor drops frames of its
/// top layer first, and a layer that comes and goes costs a key frame each time.
const LAYER_TIMEOUT: Duration = Duration::from_millis(600);

/// The number of key frame requests for one layer that pass at once, for people who join in a row.
const KEY_FRAME_BURST: u32 = 12;

/// After the burst, one request for a key frame passes in this time: a key frame costs the publisher several times an
/// ordinary picture, and encoders answer at most every 300 ms.
const KEY_FRAME_INTERVAL: Duration = Duration::from_millis(250);

/// Key frame requests closer than this are one: the answer to the first is still on its way.
const KEY_FRAME_MERGE: Duration = Duration::from_millis(30);

/// A publisher that sends another codec than its track's is told at most this often.
const INSIST_INTERVAL: Duration = Duration::from_secs(5);

/// [`SpatialLayer`] by number.
pub const SPATIAL: [SpatialLayer; 3] =
    [SpatialLayer::Low, SpatialLayer::Medium, SpatialLayer::High];

/// The payload types of a section that carries a track, as of the last answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadTypes {
    /// Bit for each payload type of the track's codec, RED and retransmissions included.
    of_track: u128,
    /// Bit for each payload type of the other codecs that the publisher may send.
    of_others: u128,
}

impl PayloadTypes {
    /// The payload types of a section with these codecs: the track's codec first, or second behind RED. Variants that
    /// every receiver of the track can decode count as the track's: some clients send another H.264 than the first they
    /// offer.
    pub fn new(codecs: &[CodecParameters]) -> Self {
        let bits = |codec: &CodecParameters| {
            let numbers = [Some(codec.payload_type), codec.rtx_payload_type];
            numbers
                .into_iter()
                .flatten()
                .fold(0_u128, |bits, number| bits | bit(number))
        };
        let plain = codecs.iter().find(|codec| codec.mime_type != RED);
        let is_own = |codec: &CodecParameters| {
            let takes =
                |plain: &CodecParameters| plain.fitness(codec.mime_type, &codec.fmtp).is_some();
            codec.mime_type == RED || plain.is_some_and(takes)
        };
        let all = |own: bool| {
            let codecs = codecs.iter().filter(|codec| is_own(codec) == own);
            codecs.map(bits).fold(0, |a, b| a | b)
        };
        Self {
            of_track: all(true),
            of_others: all(false),
        }
    }

    /// Whether a packet with this payload type is of the track's codec.
    pub fn is_of_track(&self, payload_type: u8) -> bool {
        self.of_track & bit(payload_type) != 0
    }

    /// Whether a packet with this payload type is of another codec that was negotiated.
    pub fn is_of_other(&self, payload_type: u8) -> bool {
        self.of_others & bit(payload_type) != 0
    }
}

fn bit(payload_type: u8) -> u128 {
    1_u128
        .checked_shl(u32::from(payload_type))
        .unwrap_or_default()
}

/// A payload that contradicts its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// The part of a track that a subscriber gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The stream, by number of its [`SpatialLayer`], or [`NO_LAYER`].
    pub stream: u8,
    /// The layers within the stream.
    pub target: Target,
}

/// One RTP stream of a track.
pub struct UpLayer {
    /// The stream's name in this shard.
    pub id: StreamId,
    /// SSRC of the media.
    pub ssrc: u32,
    /// SSRC of the retransmissions, once known.
    pub rtx_ssrc: Option<u32>,
    /// Recent packets, decrypted, shared by all subscribers.
    pub history: History,
    /// The packets that are missing.
    pub nack: NackTracker,
    /// Statistics for receiver reports.
    pub stats: ReceiveStats,
    /// Last sender report: NTP and RTP time of one instant, and when it arrived.
    pub sender_report: Option<(NtpTime, RtpTime, Instant)>,
    /// The spatial layers within the stream.
    pub spatial: SpatialLayers,
    /// Bit rate of a voice in its primary encoding.
    pub rate: RateMeter,
    /// Bit rate of the redundancy around it.
    pub redundancy: RateMeter,
    /// Last packet: its RTP time and arrival.
    pub last_packet: Option<(RtpTime, Instant)>,
    /// Packets arrive now.
    pub active: bool,
    /// Number of frames that ended (marker bits).
    pub frames: u64,
    /// The structure that Dependency Descriptors refer to, once a key frame brought it.
    structure: Option<Box<Structure>>,
    /// Timestamp of the last key frame.
    key_frame: Option<RtpTime>,
    /// Frames of each layer when this one had its last packet.
    frames_then: [u64; 3],
    key_frame_wanted: bool,
    key_frame_requested: Option<Instant>,
    /// Key frame requests that may be sent without waiting, as of the last one.
    key_frame_credit: u32,
}

impl UpLayer {
    fn new(id: StreamId, ssrc: u32, kind: MediaKind, clock_rate: u32) -> Self {
        Self {
            id,
            ssrc,
            rtx_ssrc: None,
            history: History::new(kind),
            nack: NackTracker::new(),
            stats: ReceiveStats::new(clock_rate),
            sender_report: None,
            spatial: SpatialLayers::default(),
            rate: RateMeter::default(),
            redundancy: RateMeter::default(),
            last_packet: None,
            active: false,
            frames: 0,
            structure: None,
            key_frame: None,
            frames_then: [0; 3],
            key_frame_wanted: false,
            key_frame_requested: None,
            key_frame_credit: KEY_FRAME_BURST,
        }
    }

    /// A packet of this layer (number `layer`) as a subscriber's rewriter wants to see it.
    pub fn input(&self, layer: u8, packet: &Packet<'_>, switch_point: bool, now: Instant) -> Input {
        Input {
            source: Source {
                layer,
                stream: self.id,
            },
            index: packet.index,
            time: packet.time,
            picture: packet.picture.map(|picture| picture.ids),
            switch_point,
            sender_report: self.sender_report.map(|(ntp, time, _)| (ntp, time)),
            arrival: now,
        }
    }

    /// The frame that a video packet belongs to; `None` for a packet without content, which is a bandwidth probe.
    /// `dependencies` is the packet's Dependency Descriptor, or empty.
    ///
    /// # Errors
    /// [`Malformed`] when the payload contradicts its format.
    pub fn read(
        &mut self,
        codec: Codec,
        time: RtpTime,
        payload: &[u8],
        dependencies: &[u8],
    ) -> Result<Option<Picture>, Malformed> {
        if payload.is_empty() || codec == Codec::Opus {
            return Ok(None);
        }
        let described = self.describe(dependencies);
        let described = described.as_ref();
        let mut picture = match codec {
            Codec::Opus => return Ok(None),
            Codec::Vp8 => {
                let descriptor = vp8::Descriptor::parse(payload).map_err(|_| Malformed)?;
                descriptor.picture(payload)
            }
            Codec::Vp9 => {
                let descriptor = vp9::Descriptor::parse(payload).map_err(|_| Malformed)?;
                let own = descriptor.picture();
                if let Some(count) = descriptor.spatial_layers.filter(|_| described.is_none()) {
                    self.spatial.describe(count, u8::MAX);
                }
                Picture {
                    needless: described.map_or(own.needless, |picture| picture.needless),
                    ..own
                }
            }
            Codec::H264 => {
                // Several packets of a key frame look like its first. The one that comes first counts.
                let is_first = self.key_frame != Some(time);
                Picture {
                    starts_key_frame: is_first && h264::is_key(payload),
                    ..described.copied().unwrap_or_default()
                }
            }
            Codec::Av1 => described.copied().unwrap_or(Picture {
                starts_key_frame: dependencies.is_empty() && av1::starts_key_frame(payload),
                ..Picture::default()
            }),
        };
        picture.ids.frame_number = described.and_then(|picture| picture.ids.frame_number);
        if picture.starts_key_frame {
            self.key_frame = Some(time);
        }
        Ok(Some(picture))
    }

    /// The frame that the Dependency Descriptor names, where it can be understood.
    fn describe(&mut self, dependencies: &[u8]) -> Option<Picture> {
        if dependencies.is_empty() {
            return None;
        }
        let parsed = dependency_descriptor::parse(dependencies, self.structure.as_deref()).ok()?;
        self.structure = parsed.structure.or(self.structure.take());
        if let (Some(active), Some(structure)) = (parsed.active, &self.structure) {
            self.spatial.describe(structure.spatial_layers(), active);
        }
        Some(parsed.picture)
    }

    /// Somebody needs a key frame.
    pub fn want_key_frame(&mut self) {
        self.key_frame_wanted = true;
    }

    /// A key frame began: no subscriber waits any more.
    pub fn key_frame_arrived(&mut self) {
        self.key_frame_wanted = false;
    }

    /// Whether a request must be sent now (RFC 4585 PLI). True counts as sent.
    pub fn take_key_frame_request(&mut self, now: Instant) -> bool {
        if !self.key_frame_wanted {
            return false;
        }
        if let Some(last) = self.key_frame_requested {
            let waited = now.saturating_duration_since(last);
            let earned = (waited.as_millis() / KEY_FRAME_INTERVAL.as_millis()) as u32;
            let credit = self
                .key_frame_credit
                .saturating_add(earned)
                .min(KEY_FRAME_BURST);
            if waited < KEY_FRAME_MERGE || credit == 0 {
                return false;
            }
            self.key_frame_credit = credit;
        }
        self.key_frame_credit -= 1;
        self.key_frame_requested = Some(now);
        true
    }
}

/// A published track.
pub struct UpTrack {
    /// The track's sid.
    pub sid: TrackSid,
    /// The publisher.
    pub publisher: MemberKey,
    /// The track's room.
    pub router: RouterKey,
    /// Audio or video.
    pub kind: MediaKind,
    /// The track as announced.
    pub announced: PublishedTrack,
    /// The codec, once a section of an offer carries the track.
    pub codec: Option<Codec>,
    /// Mime type as negotiated, for example `video/VP8`.
    pub mime_type: String,
    /// The `fmtp` line, which tells variants of the codec apart.
    pub fmtp: String,
    /// Payload type of RED (RFC 2198), where negotiated.
    pub red: Option<u8>,
    /// Payload types that the publisher may use; `None` where packets come from another shard, which has checked them.
    pub payload_types: Option<PayloadTypes>,
    /// When the publisher was last told to keep to the codec.
    insisted: Option<Instant>,
    /// The publisher muted the track: nothing is forwarded.
    pub muted: bool,
    /// Streams by [`SpatialLayer`]; one without layers is `High`.
    pub layers: [Option<Box<UpLayer>>; 3],
    /// Subscribers.
    pub fanout: Fanout,
    /// Copies of the track for rooms elsewhere.
    pub taps: Vec<Tap>,
    /// Packets of this receive batch, to be forwarded by the flush.
    pub batch: Vec<BatchPacket>,
    /// The wish for layers, as the publisher knows it.
    pub dynacast: Dynacast,
    /// The track is among the voices that are forwarded.
    pub audible: bool,
    /// Number of subscribers that get every voice.
    pub full_ears: usize,
    /// The publisher's silence: packets that should come and do not.
    pub silence: Silence,
    /// The backup: the same picture in another codec.
    pub backup: Option<UpTrackKey>,
}

impl UpTrack {
    /// A track that was announced and has no section yet.
    pub fn new(announced: PublishedTrack, publisher: MemberKey, router: RouterKey) -> Self {
        Self {
            sid: announced.sid,
            publisher,
            router,
            kind: announced.kind,
            codec: None,
            mime_type: String::new(),
            fmtp: String::new(),
            red: None,
            payload_types: None,
            insisted: None,
            muted: announced.muted,
            layers: [None, None, None],
            fanout: Fanout::default(),
            taps: Vec::new(),
            batch: Vec::new(),
            dynacast: match announced.backup_of {
                Some(_) => Dynacast::of_backup(),
                None => Dynacast::default(),
            },
            audible: true,
            full_ears: 0,
            silence: Silence::default(),
            backup: None,
            announced,
        }
    }

    /// Whether the publisher is to be told now to keep to the codec. True counts as told.
    pub fn insist(&mut self, now: Instant) -> bool {
        let waits = |at: Instant| now < at + INSIST_INTERVAL;
        let due = !self.insisted.is_some_and(waits);
        if due {
            self.insisted = Some(now);
        }
        due
    }

    /// Whether the track belongs to a shared screen.
    pub fn is_screen(&self) -> bool {
        self.announced.stream == "screen"
    }

    /// Whether the publisher should send the track now.
    pub fn should_flow(&self) -> bool {
        let is_wanted = self.kind == MediaKind::Audio || self.dynacast.wanted().is_some();
        self.codec.is_some() && !self.muted && is_wanted
    }

    /// Whether a packet of the track came within this time.
    pub fn flows(&self, within: Duration, now: Instant) -> bool {
        let last = |open: &UpLayer| open.last_packet.is_some_and(|(_, at)| now < at + within);
        self.layers.iter().flatten().any(|open| last(open))
    }

    /// The layer, created with its first stream. A new SSRC replaces the old one: the sender started the stream anew.
    pub fn open_layer(
        &mut self,
        layer: SpatialLayer,
        ssrc: u32,
        ids: &mut StreamIds,
    ) -> &mut UpLayer {
        let clock_rate = self.codec.map_or(90_000, Codec::clock_rate);
        let slot = &mut self.layers[layer as usize];
        if slot.as_ref().is_some_and(|open| open.ssrc != ssrc) {
            *slot = None;
        }
        slot.get_or_insert_with(|| Box::new(UpLayer::new(ids.fresh(), ssrc, self.kind, clock_rate)))
    }

    /// Whether a packet with this SSRC would begin the layer anew.
    pub fn is_restart(&self, layer: u8, ssrc: u32) -> bool {
        let open = self.layers.get(usize::from(layer));
        open.and_then(Option::as_ref)
            .is_some_and(|open| open.ssrc != ssrc)
    }

    /// The layer, if a stream of it arrived.
    pub fn layer(&mut self, layer: u8) -> Option<&mut UpLayer> {
        self.layers.get_mut(layer as usize)?.as_deref_mut()
    }

    /// A packet of `layer` arrived. True when the layer had been silent.
    pub fn arrived(&mut self, layer: u8, time: RtpTime, marker: bool, now: Instant) -> bool {
        let frames = self.frames();
        let Some(open) = self.layer(layer) else {
            return false;
        };
        open.last_packet = Some((time, now));
        open.frames_then = frames;
        open.frames += u64::from(marker);
        !std::mem::replace(&mut open.active, true)
    }

    /// Switches off layers that fell silent while others go on. True when something changed.
    pub fn expire_layers(&mut self, now: Instant) -> bool {
        let frames = self.frames();
        let mut changed = false;
        for open in self.layers.iter_mut().flatten() {
            open.spatial.expire(now);
        }
        for (i, layer) in self.layers.iter_mut().enumerate() {
            let Some(layer) = layer.as_mut().filter(|layer| layer.active) else {
                continue;
            };
            let missed = (0..3)
                .filter(|other| *other != i)
                .map(|other| frames[other].saturating_sub(layer.frames_then[other]));
            let silent = layer
                .last_packet
                .is_none_or(|(_, at)| now >= at + LAYER_TIMEOUT);
            if silent && missed.max().unwrap_or(0) >= MISSED_FRAMES {
                layer.active = false;
                changed = true;
            }
        }
        changed
    }

    /// Bits per second of the primary encoding of a voice, and of the redundancy around it (RFC 2198).
    pub fn audio_rates(&self, now: Instant) -> (Bitrate, Bitrate) {
        let active = self.layers.iter().flatten().filter(|open| open.active);
        active.fold((0, 0), |(primary, redundancy), open| {
            (
                primary + open.rate.bitrate(now),
                redundancy + open.redundancy.bitrate(now),
            )
        })
    }

    /// Bits per second of each active layer, as they reach a subscriber: in an SVC stream, with the layers below that a
    /// layer needs.
    pub fn rates(&self, now: Instant) -> [Option<Bitrate>; 3] {
        let mut rates = [None; 3];
        for (layer, open) in self.layers.iter().enumerate() {
            let Some(open) = open.as_ref().filter(|open| open.active) else {
                continue;
            };
            match open.spatial.count() {
                0 | 1 => rates[layer] = Some(open.spatial.bitrate_within(0, now)),
                _ => {
                    for name in open.spatial.names() {
                        rates[name] = open.spatial.bitrate(name, now);
                    }
                }
            }
        }
        rates
    }

    fn frames(&self) -> [u64; 3] {
        [0, 1, 2].map(|layer: usize| self.layers[layer].as_ref().map_or(0, |open| open.frames))
    }

    /// The layer a subscriber with this wish gets now: the best that is active and not above the wish, else the lowest
    /// that is active; [`NO_LAYER`] when nothing is.
    pub fn choose_layer(&self, setting: &TrackSetting) -> u8 {
        if self.muted || setting.disabled {
            return NO_LAYER;
        }
        let limit = self.highest_wanted(setting);
        let is_active = |layer: &u8| {
            self.layers[*layer as usize]
                .as_ref()
                .is_some_and(|open| open.active)
        };
        (0..=limit)
            .rev()
            .find(is_active)
            .or_else(|| (limit + 1..3).find(is_active))
            .unwrap_or(NO_LAYER)
    }

    /// The layers that a subscriber with this wish and share gets now.
    pub fn choose(&self, setting: &TrackSetting, share: Share) -> Choice {
        let Share::UpTo(limit) = share else {
            return Choice {
                stream: NO_LAYER,
                target: Target::ALL,
            };
        };
        let highest = self.highest_wanted(setting).min(limit);
        let wish = TrackSetting {
            max_layer: SPATIAL[usize::from(highest.min(2))],
            width: 0,
            height: 0,
            ..*setting
        };
        let stream = self.choose_layer(&wish);
        let open = self
            .layers
            .get(usize::from(stream))
            .and_then(Option::as_ref);
        Choice {
            stream,
            target: Target {
                spatial: open.map_or(0, |open| open.spatial.choose(highest)),
                temporal: Target::ALL.temporal,
            },
        }
    }

    /// The [`SpatialLayer`]s of an SVC stream; none where the stream is one layer itself.
    pub fn layers_of_svc(&self, stream: u8) -> &'static [SpatialLayer] {
        let open = self
            .layers
            .get(usize::from(stream))
            .and_then(Option::as_ref);
        match open {
            Some(open) if open.spatial.count() > 1 => &SPATIAL[open.spatial.names()],
            _ => &[],
        }
    }

    /// The wish as a layer: the smallest whose announced size covers the wanted size, else the named quality.
    pub fn highest_wanted(&self, setting: &TrackSetting) -> u8 {
        if setting.width == 0 && setting.height == 0 {
            return setting.max_layer as u8;
        }
        // Wishes come from element sizes and are rarely exact; a layer a tenth too small is still the right one.
        let covers = |size: &&LayerSize| {
            u64::from(size.width) * 11 >= u64::from(setting.width) * 10
                && u64::from(size.height) * 11 >= u64::from(setting.height) * 10
        };
        let smallest = self
            .announced
            .layers
            .iter()
            .filter(covers)
            .map(|size| size.layer as u8)
            .min();
        smallest.unwrap_or(SpatialLayer::High as u8)
    }
}

#[cfg(test)]
mod tests;
