//! A picture in VP9 with spatial layers in one stream, of which only the descriptors are true; and what a decoder of it
//! would make of the packets that arrive.

use std::collections::BTreeMap;

use client::media::{IncomingPacket, OutgoingPacket};
use sfu::internals::vp9::Descriptor;

/// Payload bytes of a packet.
const LEN: usize = 1000;

/// What higher layers build on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prediction {
    /// Lower layers of each picture: `L3T1`.
    Always,
    /// Lower layers of key pictures: `L3T1_KEY`.
    KeyPictures,
    /// Nothing: `S3T1`.
    Never,
}

/// Sends it.
#[derive(Debug, Clone)]
pub struct Source {
    pub prediction: Prediction,
    /// Packets a picture of each layer.
    pub packets: Vec<usize>,
    /// Layers from this one on are switched off.
    pub active: u8,
    /// It answers requests for key frames, after the first one.
    pub obeys: bool,
    /// Its descriptors are noise, but for their length.
    pub lies: bool,
    sequence: u64,
    picture: u16,
    begun: bool,
    /// Layers that the picture before had.
    before: u8,
}

impl Source {
    /// Three layers with 1, 2 and 4 packets a picture: 240, 480 and 960 kbit/s.
    pub fn new(prediction: Prediction) -> Self {
        Self {
            prediction,
            packets: vec![1, 2, 4],
            active: 3,
            obeys: true,
            lies: false,
            sequence: 0,
            picture: 0,
            begun: false,
            before: 0,
        }
    }

    /// The packets of one picture.
    pub fn picture(&mut self, key: bool, timestamp: u32) -> Vec<OutgoingPacket> {
        let key = key && (self.obeys || !self.begun);
        self.begun = true;
        self.picture = (self.picture + 1) & 0x7FFF;
        let layers = self.packets.len() as u8;
        let mut out = Vec::new();
        for layer in 0..layers.min(self.active) {
            let is_referred_to = match self.prediction {
                Prediction::Always => true,
                Prediction::KeyPictures => key,
                Prediction::Never => false,
            };
            // As libwebrtc says it: of the layers that there could be.
            let not_for_higher = !is_referred_to || layer + 1 == layers;
            let count = self.packets[usize::from(layer)];
            for i in 0..count {
                let (begins, ends) = (i == 0, i + 1 == count);
                let has_structure = key && layer == 0 && begins;
                // One that was switched off begins anew, from what is below it.
                let is_inter = !key && self.before > layer;
                let first = 0xA0
                    | u8::from(is_inter) << 6
                    | u8::from(begins) << 3
                    | u8::from(ends) << 2
                    | u8::from(has_structure) << 1
                    | u8::from(not_for_higher);
                let inter_layer = u8::from(layer > 0 && is_referred_to);
                let [high, low] = self.picture.to_be_bytes();
                let mut payload = vec![first, 0x80 | high, low, 0x10 | layer << 1 | inter_layer, 0];
                if has_structure {
                    payload.push((layers - 1) << 5);
                }
                payload.resize(LEN, 0xEE);
                if self.lies {
                    let noise = self
                        .sequence
                        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                        .to_be_bytes();
                    payload[..8].copy_from_slice(&noise);
                }
                self.sequence += 1;
                out.push(OutgoingPacket {
                    sequence: self.sequence,
                    timestamp,
                    marker: ends && layer + 1 == layers.min(self.active),
                    payload: payload.into(),
                    audio_level: None,
                });
            }
        }
        self.before = layers.min(self.active);
        out
    }
}

/// A picture as it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Highest layer.
    pub layer: u8,
    pub key: bool,
    pub bytes: usize,
}

/// What arrived, picture by picture. Panics where a decoder would stop: a number that is missing, a frame in parts, a
/// picture that does not end where its last packet is, or one that builds on what did not arrive.
pub fn decode(packets: &[IncomingPacket], prediction: Prediction) -> Vec<Seen> {
    let mut numbers: Vec<_> = packets.iter().map(|packet| packet.sequence).collect();
    numbers.sort_unstable();
    numbers.dedup();
    if let (Some(first), Some(last)) = (numbers.first(), numbers.last()) {
        assert_eq!(
            last - first + 1,
            numbers.len() as u64,
            "a number is missing"
        );
    }
    let sorted: BTreeMap<u64, _> = packets.iter().map(|p| (p.sequence, p)).collect();
    let sorted: Vec<_> = sorted.into_values().collect();
    // Of each layer the picture id of the last frame.
    let mut last: BTreeMap<u8, u16> = BTreeMap::new();
    let pictures = sorted.chunk_by(|a, b| a.timestamp == b.timestamp);
    pictures
        .map(|picture| {
            let (end, rest) = picture.split_last().unwrap();
            assert!(end.marker, "a picture without its end");
            assert!(
                rest.iter().all(|packet| !packet.marker),
                "an end within a picture"
            );
            let read = |packet: &&IncomingPacket| Descriptor::parse(&packet.payload).unwrap();
            let frames: Vec<_> = picture.iter().map(read).collect();
            let key = !frames[0].inter_picture_predicted;
            let mut here = Vec::new();
            for frame in frames.chunk_by(|a, b| a.spatial_id == b.spatial_id) {
                let layer = frame[0].spatial_id;
                assert!(frame[0].starts_frame && frame[frame.len() - 1].ends_frame);
                let id = frame[0].ids.picture_id.unwrap();
                // D says so of each frame; what the mode says, must be the same.
                let builds_on_lower = frame[0].inter_layer_predicted;
                match prediction {
                    Prediction::Always => assert_eq!(builds_on_lower, layer > 0),
                    Prediction::KeyPictures => assert!(key || !builds_on_lower),
                    Prediction::Never => assert!(!builds_on_lower),
                }
                if builds_on_lower {
                    assert!(
                        here.contains(&(layer - 1)),
                        "layer {layer} without those below"
                    );
                }
                if frame[0].inter_picture_predicted {
                    let before = id.wrapping_sub(1) & 0x7FFF;
                    assert_eq!(last.get(&layer), Some(&before), "layer {layer} has a hole");
                }
                last.insert(layer, id);
                here.push(layer);
            }
            Seen {
                layer: *here.iter().max().unwrap(),
                key,
                bytes: picture.iter().map(|packet| packet.payload.len()).sum(),
            }
        })
        .collect()
}
