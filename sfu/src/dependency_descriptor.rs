//! The Dependency Descriptor (AV1 RTP specification, appendix A): the layers that a frame belongs to, whatever the
//! codec.
//!
//! A key frame brings the [`Structure`] that the descriptors after it refer to. We read what layer selection needs:
//! which layers are there for a decoder, and which of them need a frame. Frame differences and chains are passed over:
//! between key pictures nobody changes to a layer of which anything was left out.

use crate::layers::{Picture, PictureIds};

/// A descriptor is shorter than it says, refers to what is not there, or exceeds the limits of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed dependency descriptor")]
pub struct Malformed;

/// The most templates of a structure: a template id has six bits.
const MAX_TEMPLATES: usize = 64;
/// The most decode targets of a structure: their count has five bits.
const MAX_TARGETS: usize = 32;
/// Decode target indication "switch" (section A.8.3.3).
const SWITCH: u64 = 2;
/// Length of the mandatory fields, bytes. A longer descriptor has extended ones.
const MANDATORY_LEN: usize = 3;

/// A frame dependency template: one kind of frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Template {
    spatial: u8,
    temporal: u8,
    /// Decode target indications, two bits each, the first lowest.
    indications: u64,
    /// Spatial layers that do not need the frame: see [`Picture::needless`].
    needless: u8,
}

/// The template dependency structure of a coded video sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure {
    id_offset: u8,
    templates: [Template; MAX_TEMPLATES],
    template_count: u8,
    /// Highest layers of each decode target: spatial, temporal.
    targets: [(u8, u8); MAX_TARGETS],
    target_count: u8,
    spatial_layers: u8,
}

impl Structure {
    /// Number of spatial layers.
    pub fn spatial_layers(&self) -> u8 {
        self.spatial_layers
    }

    fn targets(&self) -> &[(u8, u8)] {
        &self.targets[..usize::from(self.target_count)]
    }

    /// Spatial layers of which no decode target needs a frame with these indications. A layer without a target of its
    /// own shows what the next lower one does.
    fn needless(&self, indications: u64) -> u8 {
        let (mut has_target, mut needed) = (0_u8, 0_u8);
        for (i, (spatial, _)) in self.targets().iter().enumerate() {
            has_target |= 1 << spatial;
            needed |= u8::from(indications >> (2 * i) & 3 != 0) << spatial;
        }
        let mut needless = 0;
        let mut shown = None;
        for spatial in 0..self.spatial_layers {
            if has_target >> spatial & 1 != 0 {
                shown = Some(spatial);
            }
            if shown.is_some_and(|shown| needed >> shown & 1 == 0) {
                needless |= 1 << spatial;
            }
        }
        needless
    }

    /// Spatial layers that have a decode target among `targets`.
    fn layers_of(&self, targets: u32) -> u8 {
        let active = self.targets().iter().enumerate();
        active.fold(0, |layers, (i, (spatial, _))| {
            layers | u8::from(targets >> i & 1 != 0) << spatial
        })
    }
}

/// A parsed descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// The frame.
    pub picture: Picture,
    /// The structure that the descriptor brings.
    pub structure: Option<Box<Structure>>,
    /// Spatial layers that can be decoded from here on (bit `s`: layer `s`), where the descriptor says so.
    pub active: Option<u8>,
}

/// A reader of bits, highest first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn flag(&mut self) -> Result<bool, Malformed> {
        let byte = self.bytes.get(self.at / 8).ok_or(Malformed)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(bit != 0)
    }

    /// `f(count)`, at most 64 bits.
    fn take(&mut self, count: usize) -> Result<u64, Malformed> {
        (0..count).try_fold(0, |value, _| Ok(value << 1 | u64::from(self.flag()?)))
    }

    fn byte(&mut self, count: usize) -> Result<u8, Malformed> {
        debug_assert!(count <= 8);
        self.take(count).map(|value| value as u8)
    }

    /// `ns(limit)`: a value below `limit` in as few bits as that allows (section A.8.2).
    fn below(&mut self, limit: u64) -> Result<u64, Malformed> {
        let width = (u64::BITS - limit.leading_zeros()) as usize;
        let short = (1 << width) - limit;
        let value = self.take(width - 1)?;
        if value < short {
            return Ok(value);
        }
        Ok((value << 1) - short + u64::from(self.flag()?))
    }
}

/// Reads the value of a descriptor. `known` is the structure of the sequence, where one arrived.
///
/// # Errors
/// [`Malformed`], also when the structure that the descriptor refers to is not there.
pub fn parse(value: &[u8], known: Option<&Structure>) -> Result<Descriptor, Malformed> {
    let mut bits = Bits {
        bytes: value,
        at: 0,
    };
    let (starts_frame, ends_frame) = (bits.flag()?, bits.flag()?);
    let template_id = bits.byte(6)?;
    let frame_number = bits.take(16)? as u16;
    let (mut structure, mut own_indications, mut active) = (None, false, None);
    if value.len() > MANDATORY_LEN {
        let (brings_structure, brings_active) = (bits.flag()?, bits.flag()?);
        own_indications = bits.flag()?;
        // The frame's own frame differences and chains lie behind everything that is read.
        bits.take(2)?;
        if brings_structure {
            let read = read_structure(&mut bits)?;
            active = Some(read.layers_of(u32::MAX));
            structure = Some(Box::new(read));
        }
        if brings_active {
            let current = structure.as_deref().or(known).ok_or(Malformed)?;
            let targets = bits.take(current.target_count.into())?;
            active = Some(current.layers_of(targets as u32));
        }
    }
    let current = structure.as_deref().or(known).ok_or(Malformed)?;
    let index = usize::from((template_id + 64 - current.id_offset) % 64);
    let template = current.templates[..usize::from(current.template_count)]
        .get(index)
        .ok_or(Malformed)?;
    let (indications, needless) = match own_indications {
        true => {
            let own = read_indications(&mut bits, current.target_count)?;
            (own, current.needless(own))
        }
        false => (template.indications, template.needless),
    };
    let switch_up =
        current
            .targets()
            .iter()
            .enumerate()
            .fold(0, |mask, (i, (spatial, temporal))| {
                let is_switch = indications >> (2 * i) & 3 == SWITCH;
                mask | u8::from(is_switch && *spatial == template.spatial) << temporal
            });
    let picture = Picture {
        ids: PictureIds {
            frame_number: Some(frame_number),
            ..PictureIds::default()
        },
        spatial: template.spatial,
        temporal: template.temporal,
        starts_frame,
        ends_frame,
        // Only the first frame of a coded video sequence brings a structure, and it must.
        starts_key_frame: starts_frame && structure.is_some() && template.spatial == 0,
        switch_up,
        needless,
    };
    Ok(Descriptor {
        picture,
        structure,
        active,
    })
}

/// Replaces the frame number in the value of a descriptor.
pub fn rewrite(value: &mut [u8], frame_number: u16) {
    if let Some(field) = value.get_mut(1..MANDATORY_LEN) {
        field.copy_from_slice(&frame_number.to_be_bytes());
    }
}

fn read_indications(bits: &mut Bits<'_>, targets: u8) -> Result<u64, Malformed> {
    (0..targets).try_fold(0, |all, target| Ok(all | bits.take(2)? << (2 * target)))
}

/// `template_dependency_structure()`.
fn read_structure(bits: &mut Bits<'_>) -> Result<Structure, Malformed> {
    let mut structure = Structure {
        id_offset: bits.byte(6)?,
        templates: [Template::default(); MAX_TEMPLATES],
        template_count: 0,
        targets: [(0, 0); MAX_TARGETS],
        target_count: bits.byte(5)? + 1,
        spatial_layers: 0,
    };
    read_template_layers(bits, &mut structure)?;
    let targets = structure.target_count;
    let templates = &mut structure.templates[..usize::from(structure.template_count)];
    for template in templates.iter_mut() {
        template.indications = read_indications(bits, targets)?;
    }
    // Frame differences: a flag before each of four bits.
    for _ in templates.iter() {
        while bits.flag()? {
            bits.take(4)?;
        }
    }
    let chains = bits.below(u64::from(targets) + 1)?;
    if chains > 0 {
        for _ in 0..targets {
            bits.below(chains)?;
        }
        for _ in 0..templates.len() as u64 * chains {
            bits.take(4)?;
        }
    }
    for (i, target) in structure.targets[..usize::from(targets)]
        .iter_mut()
        .enumerate()
    {
        let present = templates
            .iter()
            .filter(|template| template.indications >> (2 * i) & 3 != 0);
        *target = present.fold((0, 0), |(spatial, temporal), template| {
            (
                spatial.max(template.spatial),
                temporal.max(template.temporal),
            )
        });
    }
    if bits.flag()? {
        for _ in 0..structure.spatial_layers {
            bits.take(32)?;
        }
    }
    for i in 0..usize::from(structure.template_count) {
        structure.templates[i].needless = structure.needless(structure.templates[i].indications);
    }
    Ok(structure)
}

/// `template_layers()`: templates are in the order of their layers.
fn read_template_layers(bits: &mut Bits<'_>, structure: &mut Structure) -> Result<(), Malformed> {
    let (mut spatial, mut temporal) = (0, 0);
    for template in &mut structure.templates {
        *template = Template {
            spatial,
            temporal,
            ..Template::default()
        };
        structure.template_count += 1;
        match bits.take(2)? {
            0 => {}
            1 => temporal += 1,
            2 => (spatial, temporal) = (spatial + 1, 0),
            _ => {
                structure.spatial_layers = spatial + 1;
                return Ok(());
            }
        }
        // Section A.8.3.2: four spatial and eight temporal layers.
        if spatial > 3 || temporal > 7 {
            return Err(Malformed);
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes what [`Bits`] reads.
    #[derive(Default)]
    struct Writer(Vec<bool>);

    impl Writer {
        fn put(&mut self, value: u64, count: usize) {
            (0..count)
                .rev()
                .for_each(|bit| self.0.push(value >> bit & 1 != 0));
        }

        fn below(&mut self, value: u64, limit: u64) {
            let width = (u64::BITS - limit.leading_zeros()) as usize;
            let short = (1 << width) - limit;
            if value < short {
                self.put(value, width - 1);
            } else {
                self.put(value + short, width);
            }
        }

        fn bytes(&self) -> Vec<u8> {
            let byte = |bits: &[bool]| {
                (0..8).fold(0, |byte, i| {
                    byte << 1 | u8::from(bits.get(i) == Some(&true))
                })
            };
            self.0.chunks(8).map(byte).collect()
        }
    }

    /// Head of a descriptor: first and last packet, template, number; then the extended flags.
    fn head(template: u64, number: u64, flags: Option<u64>) -> Writer {
        let mut writer = Writer::default();
        writer.put(0b11, 2);
        writer.put(template, 6);
        writer.put(number, 16);
        if let Some(flags) = flags {
            writer.put(flags, 5);
        }
        writer
    }

    type Row = (u64, [u64; 4], &'static [u64], [u64; 2]);

    /// The structure of L2T2 (AV1 RTP specification, appendix A.11.3 in this order): per template the step to the next
    /// layer, the indications for the targets S0T0 S0T1 S1T0 S1T1, frame differences, chain differences.
    const L2T2: [Row; 8] = [
        (0, [2, 2, 2, 2], &[], [0, 0]),
        (0, [2, 2, 3, 3], &[4], [4, 3]),
        (1, [2, 2, 3, 3], &[4], [4, 3]),
        (2, [0, 1, 0, 3], &[2], [2, 1]),
        (0, [0, 0, 2, 2], &[1], [1, 1]),
        (0, [0, 0, 2, 2], &[4, 1], [1, 1]),
        (1, [0, 0, 2, 2], &[4, 1], [1, 1]),
        (3, [0, 0, 0, 1], &[2, 1], [3, 2]),
    ];

    fn key_frame(offset: u64, resolutions: bool) -> Vec<u8> {
        let mut writer = head(offset, 1000, Some(0b11000));
        writer.put(offset, 6);
        writer.put(3, 5);
        L2T2.iter().for_each(|row| writer.put(row.0, 2));
        L2T2.iter()
            .flat_map(|row| row.1)
            .for_each(|indication| writer.put(indication, 2));
        for row in &L2T2 {
            for difference in row.2 {
                writer.put(1, 1);
                writer.put(difference - 1, 4);
            }
            writer.put(0, 1);
        }
        writer.below(2, 5);
        [0, 0, 1, 1]
            .into_iter()
            .for_each(|chain| writer.below(chain, 2));
        L2T2.iter()
            .flat_map(|row| row.3)
            .for_each(|difference| writer.put(difference, 4));
        writer.put(resolutions.into(), 1);
        if resolutions {
            [319, 179, 639, 359]
                .into_iter()
                .for_each(|size| writer.put(size, 16));
        }
        writer.put(0b1111, 4);
        writer.bytes()
    }

    #[test]
    fn a_key_frame_brings_the_structure_that_later_frames_refer_to() {
        for (offset, resolutions) in [(0, false), (60, true)] {
            let key = parse(&key_frame(offset, resolutions), None).unwrap();
            let structure = key.structure.unwrap();
            assert_eq!(structure.spatial_layers(), 2);
            assert_eq!(structure.targets[..4], [(0, 0), (0, 1), (1, 0), (1, 1)]);
            assert!(
                key.picture.starts_key_frame && key.picture.starts_frame && key.picture.ends_frame
            );
            assert_eq!(key.picture.ids.frame_number, Some(1000));
            assert_eq!(key.picture.switch_up, 0b11);
            // Template by template: layers, and where temporal layers may begin.
            let expected = [
                (0, 0, 0b11),
                (0, 0, 0b11),
                (0, 0, 0b11),
                (0, 1, 0),
                (1, 0, 0b11),
                (1, 0, 0b11),
                (1, 0, 0b11),
                (1, 1, 0),
            ];
            for (i, expected) in expected.into_iter().enumerate() {
                let value = head((offset + i as u64) % 64, 1001, None).bytes();
                let picture = parse(&value, Some(&structure)).unwrap().picture;
                assert_eq!(
                    (picture.spatial, picture.temporal, picture.switch_up),
                    expected,
                    "template {i}"
                );
                assert!(!picture.starts_key_frame);
            }
            let beyond = head((offset + 8) % 64, 1001, None).bytes();
            assert_eq!(parse(&beyond, Some(&structure)), Err(Malformed));
        }
    }

    /// A key frame with templates of these steps to the next layer and indications, without frame differences and
    /// chains.
    fn key_frame_of(templates: &[(u64, &str)], active: Option<u64>) -> Vec<u8> {
        let mut writer = head(0, 1, Some(0b10000 | u64::from(active.is_some()) << 3));
        writer.put(0, 6);
        let targets = templates[0].1.len();
        writer.put(targets as u64 - 1, 5);
        templates.iter().for_each(|(step, _)| writer.put(*step, 2));
        for indication in templates.iter().flat_map(|(_, all)| all.chars()) {
            let known = ['-', 'D', 'S', 'R']
                .iter()
                .position(|known| *known == indication);
            writer.put(known.unwrap() as u64, 2);
        }
        templates.iter().for_each(|_| writer.put(0, 1));
        writer.below(0, targets as u64 + 1);
        writer.put(0, 1);
        if let Some(active) = active {
            writer.put(active, targets);
        }
        writer.bytes()
    }

    /// Who needs the frames of each template, by spatial layer.
    fn viewers(key: &[u8], layers: u8) -> Vec<Vec<u8>> {
        let structure = parse(key, None).unwrap().structure.unwrap();
        let of = |template: u8| {
            let value = head(template.into(), 2, None).bytes();
            let picture = parse(&value, Some(&structure)).unwrap().picture;
            (0..layers).filter(|layer| picture.is_for(*layer)).collect()
        };
        (0..structure.template_count).map(of).collect()
    }

    #[test]
    fn each_frame_is_for_the_layers_whose_decode_targets_need_it() {
        type Templates<'a> = &'a [(u64, &'a str)];
        type NeededBy<'a> = &'a [&'a [u8]];
        // As libwebrtc's encoders describe them; the last column of a row: who needs it.
        let modes: [(Templates<'_>, NeededBy<'_>); 5] = [
            // L3T1: what is below is needed at each picture.
            (
                &[
                    (0, "SRR"),
                    (2, "SSS"),
                    (0, "-SR"),
                    (2, "-SS"),
                    (0, "--S"),
                    (3, "--S"),
                ],
                &[&[0, 1, 2], &[0, 1, 2], &[1, 2], &[1, 2], &[2], &[2]],
            ),
            // L3T1_KEY.
            (
                &[
                    (0, "S--"),
                    (2, "SSS"),
                    (0, "-S-"),
                    (2, "-SS"),
                    (0, "--S"),
                    (3, "--S"),
                ],
                &[&[0], &[0, 1, 2], &[1], &[1, 2], &[2], &[2]],
            ),
            // L2T2_KEY_SHIFT.
            (
                &[
                    (0, "SSSS"),
                    (0, "SS--"),
                    (1, "SS--"),
                    (2, "-D--"),
                    (0, "--SS"),
                    (1, "--SS"),
                    (3, "---D"),
                ],
                &[&[0, 1], &[0], &[0], &[0], &[1], &[1], &[1]],
            ),
            // S3T1.
            (
                &[
                    (0, "S--"),
                    (2, "S--"),
                    (0, "-S-"),
                    (2, "-S-"),
                    (0, "--S"),
                    (3, "--S"),
                ],
                &[&[0], &[0], &[1], &[1], &[2], &[2]],
            ),
            // A layer without a target of its own shows the one below.
            (
                &[(2, "SS"), (2, "-S"), (3, "-S")],
                &[&[0, 1, 2], &[2], &[2]],
            ),
        ];
        for (templates, expected) in modes {
            let layers = if expected.iter().any(|all| all.contains(&2)) {
                3
            } else {
                2
            };
            assert_eq!(
                viewers(&key_frame_of(templates, None), layers),
                expected,
                "{templates:?}"
            );
        }
    }

    #[test]
    fn which_layers_can_be_decoded_is_said_by_the_structure_and_changed_by_later_frames() {
        let templates = [(0, "SSS"), (2, "S--"), (0, "-SS"), (2, "-S-"), (3, "--S")];
        let all = parse(&key_frame_of(&templates, None), None).unwrap();
        assert_eq!(all.active, Some(0b111));
        let two = parse(&key_frame_of(&templates, Some(0b011)), None).unwrap();
        assert_eq!(two.active, Some(0b011));
        let mut writer = head(1, 2, Some(0b01000));
        writer.put(0b100, 3);
        let later = parse(&writer.bytes(), all.structure.as_deref()).unwrap();
        assert_eq!(later.active, Some(0b100));
        let plain = head(1, 2, None).bytes();
        assert_eq!(
            parse(&plain, all.structure.as_deref()).unwrap().active,
            None
        );
    }

    #[test]
    fn a_frame_may_bring_its_own_indications_and_active_targets() {
        let structure = parse(&key_frame(0, false), None)
            .unwrap()
            .structure
            .unwrap();
        let mut writer = head(3, 7, Some(0b01100));
        writer.put(0b0011, 4);
        [0, 2, 0, 3]
            .into_iter()
            .for_each(|indication| writer.put(indication, 2));
        let picture = parse(&writer.bytes(), Some(&structure)).unwrap().picture;
        assert_eq!((picture.temporal, picture.switch_up), (1, 0b10));
        let cut = &writer.bytes()[..4];
        assert_eq!(parse(cut, Some(&structure)), Err(Malformed));
    }

    #[test]
    fn without_its_structure_a_descriptor_says_nothing() {
        assert_eq!(parse(&head(0, 1, None).bytes(), None), Err(Malformed));
        let key = key_frame(0, true);
        for cut in 0..key.len() - 1 {
            assert_eq!(parse(&key[..cut], None), Err(Malformed), "cut at {cut}");
        }
    }

    #[test]
    fn the_frame_number_is_replaced() {
        let mut value = key_frame(0, false);
        rewrite(&mut value, 0xABCD);
        assert_eq!(
            parse(&value, None).unwrap().picture.ids.frame_number,
            Some(0xABCD)
        );
        rewrite(&mut value[..2], 0);
    }

    proptest! {
        #[test]
        fn any_value_is_read_or_refused(value in proptest::collection::vec(any::<u8>(), 0..80), key: bool) {
            let structure = parse(&key_frame(0, false), None).unwrap().structure;
            let _ = parse(&value, structure.as_deref());
            // With a valid head, so that the structure is reached.
            let mut long = head(0, 1, Some(0b11111)).bytes();
            long.extend(&value);
            let known = structure.as_deref().filter(|_| key);
            let _ = parse(&long, known);
        }
    }
}
