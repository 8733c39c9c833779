use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const VIDEO: u32 = 90_000;

/// One publisher's layer: a frame of `packets` packets every 1/30 s.
#[derive(Clone)]
struct Layer {
    source: Source,
    index: u64,
    time: u32,
    picture: u16,
    tl0: u8,
    report: Option<(NtpTime, RtpTime)>,
}

fn source(layer: u8, stream: u32) -> Source {
    Source {
        layer,
        stream: StreamId(stream.into()),
    }
}

impl Layer {
    fn new(layer: u8, salt: u32) -> Layer {
        Layer {
            source: source(layer, salt),
            index: u64::from(salt % 60_000),
            time: salt.wrapping_mul(2_654_435_761),
            picture: (salt % 0x8000) as u16,
            tl0: salt as u8,
            report: None,
        }
    }

    fn packet(&mut self, switch_point: bool, arrival: Instant) -> Input {
        self.index += 1;
        Input {
            source: self.source,
            index: self.index,
            time: RtpTime(self.time),
            picture: Some(PictureIds {
                picture_id: Some(self.picture),
                tl0_pic_idx: Some(self.tl0),
                frame_number: Some(self.picture),
            }),
            switch_point,
            sender_report: self.report,
            arrival,
        }
    }

    fn next_frame(&mut self) {
        self.time = self.time.wrapping_add(3000);
        self.picture = (self.picture + 1) % PICTURE_ID_MODULUS;
        self.tl0 = self.tl0.wrapping_add(1);
    }
}

fn ids(rewritten: Rewritten) -> (u16, u8) {
    let picture = rewritten.picture.unwrap();
    (picture.picture_id.unwrap(), picture.tl0_pic_idx.unwrap())
}

#[test]
fn within_a_layer_losses_and_reordering_pass_through() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(VIDEO);
    let mut layer = Layer::new(0, 77);
    let key = layer.packet(true, now);
    let lost = layer.packet(false, now);
    layer.next_frame();
    let late = layer.packet(false, now);
    let early = layer.packet(false, now);
    let first = rewriter.rewrite(&key).unwrap();
    assert_eq!(rewriter.rewrite(&early).unwrap().index, first.index + 3);
    assert_eq!(rewriter.rewrite(&late).unwrap().index, first.index + 2);
    let origin = rewriter.origin(SeqNo(first.index as u16 + 1)).unwrap();
    assert_eq!((origin.source, origin.index), (layer.source, lost.index));
    assert_eq!(
        rewriter.replay(&lost, origin.out_index).unwrap().time,
        first.time
    );
    assert_eq!(rewriter.replay(&late, origin.out_index), None);
    assert_eq!(
        rewriter.origin(SeqNo(first.index as u16 + 4)),
        None,
        "never sent"
    );
    assert_eq!(
        rewriter.origin(SeqNo(first.index as u16 - 1)),
        None,
        "before the first"
    );
}

#[test]
fn a_switch_continues_all_numbers_and_waits_for_a_key_frame() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(VIDEO);
    let (mut low, mut high) = (Layer::new(0, 5), Layer::new(2, 60_001));
    rewriter.rewrite(&low.packet(true, now)).unwrap();
    low.next_frame();
    let last = rewriter.rewrite(&low.packet(false, now)).unwrap();
    let before = high.packet(false, now);
    assert_eq!(rewriter.rewrite(&before), Err(DropReason::BeforeSwitch));
    let arrival = now + Duration::from_millis(40);
    let key = rewriter.rewrite(&high.packet(true, arrival)).unwrap();
    assert_eq!(key.index, last.index + 1);
    assert_eq!(key.time, last.time.offset(3600));
    assert_eq!(ids(key), (ids(last).0 + 1, ids(last).1 + 1));
    assert_eq!(rewriter.rewrite(&before), Err(DropReason::BeforeSwitch));
    assert_eq!(
        rewriter.rewrite(&low.packet(false, now)),
        Err(DropReason::BeforeSwitch)
    );
    assert_eq!(rewriter.source(), Some(high.source));
    let origin = rewriter.origin(SeqNo(last.index as u16)).unwrap();
    assert_eq!((origin.source, origin.index), (low.source, low.index - 1));
}

#[test]
fn sender_reports_align_the_clocks_of_two_layers() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(VIDEO);
    let (mut low, mut high) = (Layer::new(0, 5), Layer::new(2, 60_001));
    let ntp = NtpTime(1 << 40);
    low.report = Some((ntp, RtpTime(low.time)));
    // One second later on the wall clock: both begin at the same moment.
    high.report = Some((
        NtpTime(ntp.0 + (1 << 32)),
        RtpTime(high.time).offset(90_000),
    ));
    let first = rewriter.rewrite(&low.packet(true, now)).unwrap();
    for layer in [&mut low, &mut high] {
        (0..10).for_each(|_| layer.next_frame());
    }
    rewriter.rewrite(&low.packet(false, now)).unwrap();
    high.next_frame();
    // It arrives 100 ms late; its capture time still counts.
    let arrival = now + Duration::from_millis(133);
    let key = rewriter.rewrite(&high.packet(true, arrival)).unwrap();
    assert_eq!(key.time.since(first.time), 11 * 3000);
    assert_eq!(rewriter.translate_time(RtpTime(high.time)), key.time);
}

#[test]
fn sender_reports_that_cannot_be_true_are_not_believed() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(VIDEO);
    let (mut low, mut high) = (Layer::new(0, 5), Layer::new(2, 60_001));
    low.report = Some((NtpTime(1 << 40), RtpTime(low.time)));
    high.report = Some((NtpTime(1 << 50), RtpTime(high.time)));
    let last = rewriter.rewrite(&low.packet(true, now)).unwrap();
    let key = high.packet(true, now + Duration::from_millis(10));
    assert_eq!(rewriter.rewrite(&key).unwrap().time.since(last.time), 900);
}

#[test]
fn time_goes_on_strictly_even_when_the_key_frame_is_older() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(VIDEO);
    let (mut low, mut high) = (Layer::new(0, 5), Layer::new(2, 9));
    low.report = Some((NtpTime(1 << 40), RtpTime(low.time)));
    high.report = Some((NtpTime(1 << 40), RtpTime(high.time)));
    low.next_frame();
    let last = rewriter.rewrite(&low.packet(true, now)).unwrap();
    let key = rewriter.rewrite(&high.packet(true, now)).unwrap();
    assert_eq!(key.time, last.time.offset(1));
}

#[test]
fn a_pause_leaves_no_gap_and_keeps_the_clock() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(48_000);
    let mut audio = Layer::new(2, 65_530);
    let last = rewriter.rewrite(&audio.packet(true, now)).unwrap();
    rewriter.pause();
    let replayed = Input {
        index: audio.index,
        ..audio.clone().packet(true, now)
    };
    assert_eq!(rewriter.rewrite(&replayed), Err(DropReason::BeforeSwitch));
    (0..500).for_each(|_| {
        audio.packet(true, now);
        audio.next_frame();
    });
    let next = rewriter.rewrite(&audio.packet(true, now)).unwrap();
    assert_eq!(next.index, last.index + 1);
    assert_eq!(next.time, last.time.offset(500 * 3000));
    assert_eq!(ids(next).0, ids(last).0 + 1);
}

#[test]
fn a_stream_started_anew_continues_the_old_one() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(VIDEO);
    let (mut old, mut new) = (Layer::new(2, 40_000), Layer::new(2, 3));
    let last = rewriter.rewrite(&old.packet(true, now)).unwrap();
    let next = rewriter
        .rewrite(&new.packet(true, now + Duration::from_secs(1)))
        .unwrap();
    assert_eq!(
        (next.index, next.time),
        (last.index + 1, last.time.offset(90_000))
    );
}

#[test]
fn a_long_loss_is_closed_up_but_pictures_stay_missing() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(VIDEO);
    let mut layer = Layer::new(0, 5);
    let last = rewriter.rewrite(&layer.packet(true, now)).unwrap();
    for _ in 0..2000 {
        layer.packet(false, now);
        layer.next_frame();
    }
    let next = rewriter.rewrite(&layer.packet(false, now)).unwrap();
    assert_eq!(next.index, last.index + 1);
    assert_eq!(next.time, last.time.offset(2000 * 3000));
    assert_eq!(ids(next).0, ids(last).0 + 2000);
}

#[test]
fn what_is_left_out_leaves_no_gap_and_a_loss_still_does() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(VIDEO);
    let mut layer = Layer::new(2, 77);
    let first = rewriter.rewrite(&layer.packet(true, now)).unwrap();
    let mut next = || {
        layer.next_frame();
        layer.packet(false, now)
    };
    let (unwanted, lost, late, wanted) = (next(), next(), next(), next());
    assert_eq!(rewriter.leave_out(&unwanted, true), None);
    assert_eq!(rewriter.rewrite(&unwanted), Err(DropReason::BeforeSwitch));
    let out = rewriter.rewrite(&wanted).unwrap();
    // Two are missing of four; the one left out is not.
    assert_eq!((out.index, ids(out).0), (first.index + 3, ids(first).0 + 3));
    let filler = rewriter.leave_out(&late, true).unwrap();
    assert_eq!(filler.index, first.index + 2, "the receiver waits for it");
    let origin = rewriter.origin(SeqNo(first.index as u16 + 1)).unwrap();
    assert_eq!(origin.index, lost.index);
    assert_eq!(
        ids(rewriter.replay(&lost, origin.out_index).unwrap()).0,
        ids(first).0 + 1
    );
}

#[test]
fn pictures_keep_their_gaps_where_their_numbers_say_what_refers_to_what() {
    let now = Instant::now();
    let mut rewriter = Rewriter::new(VIDEO);
    let mut layer = Layer::new(2, 0x7FFE);
    let first = rewriter.rewrite(&layer.packet(true, now)).unwrap();
    for close in [false, true, false, true] {
        layer.next_frame();
        assert_eq!(rewriter.leave_out(&layer.packet(false, now), close), None);
    }
    layer.next_frame();
    let out = rewriter.rewrite(&layer.packet(false, now)).unwrap();
    assert_eq!(out.index, first.index + 1);
    assert_eq!(ids(out).0, (ids(first).0 + 3) % PICTURE_ID_MODULUS);
}

#[derive(Debug, Clone)]
enum Step {
    Packet {
        layer: usize,
        key: bool,
        lost: bool,
        held: bool,
        left_out: bool,
    },
    Frame,
    Release,
    Pause,
    Restart(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let packet = (
        0usize..3,
        prop::bool::weighted(0.15),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(layer, key, lost, held, left_out)| Step::Packet {
            layer,
            key,
            lost,
            held,
            left_out,
        });
    let step = prop_oneof![
        20 => packet,
        6 => Just(Step::Frame),
        2 => Just(Step::Release),
        1 => Just(Step::Pause),
        1 => (0usize..3).prop_map(Step::Restart),
    ];
    proptest::collection::vec(step, 1..400)
}

proptest! {
    /// Whatever happens, each output number stands for one input; gaps are exactly the inputs that did not
    /// arrive; and every packet that went out lately is found again.
    #[test]
    fn no_two_inputs_share_a_number_and_nothing_else_is_missing(steps in steps(), salt: u16) {
        let start = Instant::now();
        let mut now = start;
        let mut rewriter = Rewriter::new(VIDEO);
        let mut layers: Vec<Layer> =
            (0..3).map(|i| Layer::new(i, u32::from(salt) + u32::from(i) * 1000)).collect();
        let mut held: Vec<Input> = Vec::new();
        let mut unwanted: Vec<Input> = Vec::new();
        // With the number of switches before: after many, the rewriter has forgotten what it left out.
        let (mut left_out, mut era): (Vec<(u32, Input)>, u32) = (Vec::new(), 0);
        let mut eras: BTreeMap<u64, u32> = BTreeMap::new();
        let mut sent: BTreeMap<u64, Input> = BTreeMap::new();
        let mut times: BTreeMap<u64, RtpTime> = BTreeMap::new();
        let mut restarts = 0;
        for step in steps {
            let mut arrived = Vec::new();
            match step {
                Step::Packet { layer, key, lost, held: hold, left_out } => {
                    let packet = layers[layer].packet(key, now);
                    if left_out {
                        unwanted.push(packet);
                    }
                    if hold {
                        held.push(packet);
                    } else if !lost {
                        arrived.push(packet);
                    }
                }
                Step::Frame => {
                    now += Duration::from_millis(33);
                    layers.iter_mut().for_each(Layer::next_frame);
                }
                Step::Release => arrived.append(&mut held),
                Step::Pause => rewriter.pause(),
                Step::Restart(layer) => {
                    restarts += 1;
                    layers[layer] = Layer::new(layer as u8, u32::from(salt) + 100_000 * restarts);
                }
            }
            for input in arrived {
                let highest = rewriter.highest();
                let before = rewriter.source();
                let is = |other: &Input| (other.source, other.index) == (input.source, input.index);
                if unwanted.iter().any(is) {
                    let is_next = rewriter.is_in(input.source) && rewriter.is_next(&input);
                    match rewriter.leave_out(&input, false) {
                        None if is_next => left_out.push((era, input)),
                        None => {}
                        Some(out) => {
                            prop_assert!(sent.insert(out.index, input).is_none(), "one number, two packets");
                            eras.insert(out.index, era);
                        }
                    }
                    continue;
                }
                let Ok(out) = rewriter.rewrite(&input) else { continue };
                era += u32::from(before != rewriter.source());
                eras.insert(out.index, era);
                if let Some(highest) = highest && before != rewriter.source() {
                    prop_assert_eq!(out.index, highest + 1, "a switch leaves no gap");
                    prop_assert!(out.time.is_newer_than(times[&highest]));
                }
                prop_assert!(sent.insert(out.index, input).is_none(), "one number, two packets");
                times.insert(out.index, out.time);
                prop_assert_eq!(rewriter.replay(&input, out.index), Some(out));
                let origin = rewriter.origin(SeqNo(out.index as u16)).unwrap();
                prop_assert_eq!((origin.source, origin.index), (input.source, input.index));
            }
        }
        let indices: Vec<u64> = sent.keys().copied().collect();
        for pair in indices.windows(2) {
            let (a, b) = (&sent[&pair[0]], &sent[&pair[1]]);
            if pair[1] > pair[0] + 1 {
                prop_assert_eq!(a.source, b.source, "gaps are only within a source");
                let between = |(era, one): &&(u32, Input)| {
                    *era == eras[&pair[0]] && one.source == a.source && (a.index..b.index).contains(&one.index)
                };
                let left_out = left_out.iter().filter(between).count() as u64;
                prop_assert_eq!(b.index - a.index - left_out, pair[1] - pair[0]);
            }
        }
    }
}
