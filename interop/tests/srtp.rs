//! Our SRTP and SRTCP beside libsrtp's: the same keys, the same packets, the same network.

use interop::libsrtp::{Error, Session};
use proptest::prelude::*;
use sfu::internals::{
    rtp::RtpHeader,
    srtp::{DtlsRole, SrtpError, SrtpProfile, SrtpReceiver, SrtpSender, from_keying_material},
};

const PROFILES: [SrtpProfile; 3] = [
    SrtpProfile::AeadAes256Gcm,
    SrtpProfile::AeadAes128Gcm,
    SrtpProfile::AesCm128HmacSha1_80,
];

/// Both ends of one direction, ours and libsrtp's.
struct Ends {
    our_sender: SrtpSender,
    our_receiver: SrtpReceiver,
    their_sender: Session,
    their_receiver: Session,
}

impl Ends {
    /// On the half of the keying material that is the client's.
    fn new(profile: SrtpProfile, seed: u8) -> Self {
        let material: Vec<u8> = (0..profile.keying_material_len())
            .map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed))
            .collect();
        let (key_len, salt_len) = (profile.key_len(), profile.salt_len());
        let key = [
            &material[..key_len],
            &material[2 * key_len..2 * key_len + salt_len],
        ]
        .concat();
        let (our_sender, _) = from_keying_material(profile, &material, DtlsRole::Client).unwrap();
        let (_, our_receiver) = from_keying_material(profile, &material, DtlsRole::Server).unwrap();
        Self {
            our_sender,
            our_receiver,
            their_sender: Session::sender(profile, &key),
            their_receiver: Session::receiver(profile, &key),
        }
    }

    /// Seals on both sides, and in both of our ways.
    fn seal_rtp(&mut self, packet: &[u8], index: u64) -> Vec<u8> {
        let header = RtpHeader::parse(packet).unwrap();
        let header_len = usize::from(header.header_len);
        let (clear, payload) = packet.split_at(header_len);
        let total = packet.len() + self.our_sender.profile().rtp_overhead();

        let mut elsewhere = clear.to_vec();
        elsewhere.resize(total, 0xAA);
        let sender = &self.our_sender;
        assert_eq!(
            sender.seal_rtp_from(&mut elsewhere, header_len, payload, header.ssrc, index),
            Ok(total)
        );
        let mut in_place = packet.to_vec();
        in_place.resize(total, 0xAA);
        assert_eq!(
            sender.seal_rtp(&mut in_place, header_len, payload.len(), header.ssrc, index),
            Ok(total)
        );
        let theirs = self.their_sender.seal_rtp(packet).unwrap();
        assert_eq!(elsewhere, theirs, "sealed from elsewhere, index {index}");
        assert_eq!(in_place, theirs, "sealed in place, index {index}");
        theirs
    }

    /// Opens on both sides. `None`: the packet is not even RTP.
    fn open_rtp(&mut self, sealed: &[u8]) -> (Option<Opened>, Result<Vec<u8>, Error>) {
        let theirs = self.their_receiver.open_rtp(sealed);
        let Ok(header) = RtpHeader::parse(sealed) else {
            return (None, theirs);
        };
        let mut out = vec![0xAA; sealed.len()];
        let ours = self
            .our_receiver
            .open_rtp(sealed, &header, &mut out)
            .map(|(len, index)| {
                let clear = &sealed[..usize::from(header.header_len)];
                ([clear, &out[..len]].concat(), index)
            });
        (Some(ours), theirs)
    }

    fn seal_rtcp(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut out = packet.to_vec();
        out.resize(
            packet.len() + self.our_sender.profile().rtcp_overhead(),
            0xAA,
        );
        let len = self.our_sender.seal_rtcp(&mut out, packet.len()).unwrap();
        assert_eq!(len, out.len());
        out
    }

    fn open_rtcp(&mut self, sealed: &[u8]) -> (Result<Vec<u8>, SrtpError>, Result<Vec<u8>, Error>) {
        let mut out = vec![0xAA; sealed.len()];
        let ours = self.our_receiver.open_rtcp(sealed, &mut out);
        let ours = ours.map(|len| out[..len].to_vec());
        (ours, self.their_receiver.open_rtcp(sealed))
    }
}

/// Plain packet and its index.
type Opened = Result<(Vec<u8>, u64), SrtpError>;

/// The same refusal in libsrtp's words.
fn refusal(error: SrtpError) -> Error {
    match error {
        SrtpError::Authentication => Error::Authentication,
        SrtpError::Replayed => Error::Replayed,
        SrtpError::TooOld => Error::TooOld,
        other => panic!("no refusal of a packet that was sealed: {other}"),
    }
}

/// Half the number space.
const HALF: u16 = 32_768;

/// What varies in a packet.
#[derive(Debug, Clone)]
struct Shape {
    csrcs: Vec<u32>,
    /// "Defined by profile" and its words.
    extension: Option<(u16, Vec<u32>)>,
    payload: Vec<u8>,
    /// Bytes of padding, their count among them.
    padding: u8,
    /// Payload type and marker.
    second: u8,
    /// How far its number is from the one before.
    step: u16,
    stream: usize,
    fate: Fate,
}

/// What the network does with a packet.
#[derive(Debug, Clone)]
struct Fate {
    /// Packets that overtake it.
    delay: usize,
    /// None: it is lost. More than one: it comes again later.
    copies: usize,
    /// The bit that arrives wrong in the last copy.
    broken: Option<prop::sample::Index>,
}

fn fate() -> impl Strategy<Value = Fate> {
    let delay = prop_oneof![4 => Just(0usize), 4 => 0..8usize, 1 => 0..200usize];
    let copies = prop_oneof![1 => Just(0usize), 5 => Just(1usize), 2 => 2..4usize];
    let broken = prop::option::weighted(0.2, any::<prop::sample::Index>());
    (delay, copies, broken).prop_map(|(delay, copies, broken)| Fate {
        delay,
        copies,
        broken,
    })
}

fn shape() -> impl Strategy<Value = Shape> {
    let extension = prop::option::of((
        prop_oneof![Just(0xBEDEu16), Just(0x1000), any::<u16>()],
        prop::collection::vec(any::<u32>(), 0..8),
    ));
    // Also such that one or two of them lost make half the number space.
    let step = prop_oneof![
        12 => Just(1u16), 4 => 1..70u16, 2 => 100..300u16, 2 => 1..32_768u16, 2 => Just(16_384u16), 2 => 32_760..=HALF,
    ];
    (
        prop::collection::vec(any::<u32>(), 0..16),
        extension,
        prop::collection::vec(any::<u8>(), 0..300),
        prop_oneof![2 => Just(0u8), 1 => 1..=255u8],
        // Payload types that are told from RTCP (RFC 5761, section 4).
        prop_oneof![0..192u8, 224..=255u8],
        step,
        0..2usize,
        fate(),
    )
        .prop_map(
            |(csrcs, extension, payload, padding, second, step, stream, fate)| Shape {
                csrcs,
                extension,
                payload,
                padding,
                second,
                step,
                stream,
                fate,
            },
        )
}

/// A packet as RFC 3550, section 5.1, has it; written here, so that it owes nothing to our own writer.
fn rtp(shape: &Shape, seq: u16, ssrc: u32) -> Vec<u8> {
    let first = 0x80
        | u8::from(shape.padding > 0) << 5
        | u8::from(shape.extension.is_some()) << 4
        | shape.csrcs.len() as u8;
    let mut out = vec![first, shape.second];
    out.extend(seq.to_be_bytes());
    out.extend((u32::from(seq) * 960).to_be_bytes());
    out.extend(ssrc.to_be_bytes());
    out.extend(shape.csrcs.iter().flat_map(|csrc| csrc.to_be_bytes()));
    if let Some((profile, words)) = &shape.extension {
        out.extend(profile.to_be_bytes());
        out.extend((words.len() as u16).to_be_bytes());
        out.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    }
    out.extend(&shape.payload);
    if shape.padding > 0 {
        out.extend(vec![0; usize::from(shape.padding) - 1]);
        out.push(shape.padding);
    }
    out
}

/// What the network makes of packets that were sent in this order: which arrive when, and how.
fn network(sent: &[Vec<u8>], fates: impl Iterator<Item = Fate>) -> Vec<Vec<u8>> {
    let mut flights = Vec::new();
    for (at, (packet, fate)) in sent.iter().zip(fates).enumerate() {
        for copy in 0..fate.copies {
            let mut packet = packet.clone();
            if let Some(broken) = fate.broken.filter(|_| copy + 1 == fate.copies) {
                let bit = broken.index(packet.len() * 8);
                packet[bit / 8] ^= 1 << (bit % 8);
            }
            flights.push((at + fate.delay * (copy + 1), packet));
        }
    }
    // Stable: what arrives at one time keeps its order.
    flights.sort_by_key(|(at, _)| *at);
    flights.into_iter().map(|(_, packet)| packet).collect()
}

/// An RTCP packet (RFC 3550, section 6.4): any type, of as many words as there are.
fn rtcp(kind: u8, ssrc: u32, words: &[u32]) -> Vec<u8> {
    let mut out = vec![0x80, kind];
    out.extend((words.len() as u16 + 1).to_be_bytes());
    out.extend(ssrc.to_be_bytes());
    out.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    out
}

/// RFC 3711, appendix A: such a jump is an advance in the first half of a round, and a step back in the second.
#[test]
fn a_jump_by_half_the_number_space_is_understood_as_libsrtp_does() {
    for profile in PROFILES {
        for seq in [0u64, 1, 100, 32_767, 32_768, 50_000, 65_535] {
            let mut ends = Ends::new(profile, 0);
            // Not in the first round, and then half a round more in two steps, of which the receivers see the second.
            let base = 65_536 + seq;
            let numbers = (0..base)
                .step_by(30_000)
                .chain([base, base + 20_000, base + 32_768]);
            let mut sent: Vec<_> = numbers
                .map(|index| {
                    let mut packet = vec![0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 1];
                    packet[2..4].copy_from_slice(&(index as u16).to_be_bytes());
                    ends.seal_rtp(&packet, index)
                })
                .collect();
            let last = sent.pop().unwrap();
            sent.pop();
            for packet in sent {
                let (ours, theirs) = ends.open_rtp(&packet);
                assert_eq!(ours.map(|ours| ours.is_ok()), Some(true));
                assert!(theirs.is_ok());
            }
            let (ours, theirs) = ends.open_rtp(&last);
            let ours = ours.unwrap().map(|(plain, _)| plain);
            assert_eq!(ours.is_ok(), seq < 32_768, "{seq}");
            assert_eq!(ours.map_err(refusal), theirs, "{seq}");
        }
    }
}

proptest! {
    // A case that was found to fail is added as a test of its own.
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rtp_is_sealed_bit_for_bit_as_libsrtp_does_and_opened_or_refused_alike(
        seed in any::<u8>(),
        ssrcs in any::<[u32; 2]>(),
        first in any::<[u16; 2]>(),
        shapes in prop::collection::vec(shape(), 1..120),
    ) {
        for profile in PROFILES {
            let mut ends = Ends::new(profile, seed);
            // Number of the packet that each stream sends next.
            let mut next = first.map(u64::from);
            let mut begun = [false; 2];
            let mut sent = Vec::new();
            for shape in &shapes {
                let stream = if ssrcs[0] == ssrcs[1] { 0 } else { shape.stream };
                if std::mem::replace(&mut begun[stream], true) {
                    // Half the number space is understood as an advance in the first half only (RFC 3711, appendix A).
                    let is_ambiguous = shape.step == HALF && next[stream] as u16 >= HALF;
                    next[stream] += u64::from(shape.step) - u64::from(is_ambiguous);
                }
                let packet = rtp(shape, next[stream] as u16, ssrcs[stream]);
                sent.push(ends.seal_rtp(&packet, next[stream]));
            }
            for packet in network(&sent, shapes.iter().map(|shape| shape.fate.clone())) {
                let is_whole = sent.contains(&packet);
                match ends.open_rtp(&packet) {
                    (Some(Ok((plain, _))), opened) => {
                        prop_assert!(is_whole);
                        prop_assert_eq!(opened, Ok(plain));
                    }
                    (Some(Err(error)), refused) if is_whole => {
                        prop_assert_eq!(refused, Err(refusal(error)));
                    }
                    (_, refused) => {
                        prop_assert!(!is_whole && refused.is_err());
                    }
                }
            }
        }
    }

    #[test]
    fn rtcp_of_one_source_is_sealed_bit_for_bit_as_libsrtp_does(
        seed in any::<u8>(),
        ssrc in any::<u32>(),
        packets in prop::collection::vec((192..=223u8, prop::collection::vec(any::<u32>(), 0..60)), 1..20),
    ) {
        for profile in PROFILES {
            let mut ends = Ends::new(profile, seed);
            for (kind, words) in &packets {
                let packet = rtcp(*kind, ssrc, words);
                let sealed = ends.seal_rtcp(&packet);
                prop_assert_eq!(&sealed, &ends.their_sender.seal_rtcp(&packet).unwrap());
            }
        }
    }

    #[test]
    fn rtcp_of_several_sources_is_opened_or_refused_as_libsrtp_does(
        seed in any::<u8>(),
        ssrcs in any::<[u32; 3]>(),
        packets in prop::collection::vec(
            (192..=223u8, 0..3usize, prop::collection::vec(any::<u32>(), 0..20), fate()), 1..300,
        ),
        is_sealed_by_us in any::<bool>(),
    ) {
        for profile in PROFILES {
            let mut ends = Ends::new(profile, seed);
            let sent: Vec<_> = packets
                .iter()
                .map(|(kind, source, words, _)| {
                    let packet = rtcp(*kind, ssrcs[*source], words);
                    if is_sealed_by_us {
                        ends.seal_rtcp(&packet)
                    } else {
                        ends.their_sender.seal_rtcp(&packet).unwrap()
                    }
                })
                .collect();
            for packet in network(&sent, packets.iter().map(|(.., fate)| fate.clone())) {
                let is_whole = sent.contains(&packet);
                match ends.open_rtcp(&packet) {
                    (Ok(plain), opened) => {
                        prop_assert!(is_whole);
                        prop_assert_eq!(opened, Ok(plain));
                    }
                    (Err(error), refused) if is_whole => {
                        prop_assert_eq!(refused, Err(refusal(error)));
                    }
                    (Err(_), refused) => prop_assert!(refused.is_err()),
                }
            }
        }
    }
}
