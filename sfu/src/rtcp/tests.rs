use super::*;
use proptest::prelude::*;

fn block(n: u32) -> ReportBlock {
    ReportBlock {
        ssrc: n,
        fraction_lost: n as u8,
        cumulative_lost: -(n as i32),
        highest_seq: n * 3,
        jitter: n * 5,
        last_sr: n * 7,
        delay_since_last_sr: n * 11,
    }
}

fn drain(packet: &RtcpPacket<'_>) {
    match packet {
        RtcpPacket::SenderReport { reports, .. } | RtcpPacket::ReceiverReport { reports, .. } => {
            assert!(reports.clone().count() <= MAX_COUNT)
        }
        RtcpPacket::Bye(ssrcs) | RtcpPacket::Remb { ssrcs, .. } => {
            assert!(ssrcs.clone().count() < 255);
        }
        RtcpPacket::Nack(nack) => assert!(nack.seqs().count() < 1000),
        RtcpPacket::Fir(entries) => assert!(entries.clone().count() < 255),
        RtcpPacket::TransportCc(feedback) => {
            assert!(feedback.statuses().count() <= usize::from(feedback.count))
        }
        RtcpPacket::Pli { .. } => {}
    }
}

#[test]
fn a_compound_of_every_kind_is_read_as_written() {
    let mut out = [0xEE; 1200];
    let info = SenderInfo {
        ntp: NtpTime(0x1122_3344_5566_7788),
        rtp_time: RtpTime(9),
        packets: 10,
        octets: 11,
    };
    let seqs = [65_530, 65_535, 10, 11, 12].map(SeqNo);
    let mut writer = RtcpWriter::new(&mut out);
    writer
        .sender_report(1, &info, &[block(2), block(3)])
        .unwrap();
    writer.receiver_report(4, &[block(5)]).unwrap();
    writer.sdes_cname(1, "conclave").unwrap();
    writer.nack(1, 77, &seqs).unwrap();
    writer.pli(1, 78).unwrap();
    writer.fir(1, 79, 200).unwrap();
    writer.remb(1, 2_500_000, &[80, 81]).unwrap();
    writer.bye(1).unwrap();
    let len = writer.len();
    let mut packets = parse(&out[..len]);
    let Some(RtcpPacket::SenderReport {
        ssrc: 1,
        info: read,
        reports,
    }) = packets.next()
    else {
        panic!("no SR")
    };
    assert_eq!(read, info);
    assert_eq!(reports.collect::<Vec<_>>(), [block(2), block(3)]);
    let Some(RtcpPacket::ReceiverReport { ssrc: 4, reports }) = packets.next() else {
        panic!("no RR")
    };
    assert_eq!(reports.collect::<Vec<_>>(), [block(5)]);
    let Some(RtcpPacket::Nack(nack)) = packets.next() else {
        panic!("no NACK")
    };
    assert_eq!(nack.media_ssrc, 77);
    assert_eq!(nack.seqs().collect::<Vec<_>>(), seqs);
    assert!(matches!(
        packets.next(),
        Some(RtcpPacket::Pli { media_ssrc: 78 })
    ));
    let Some(RtcpPacket::Fir(entries)) = packets.next() else {
        panic!("no FIR")
    };
    assert_eq!(entries.collect::<Vec<_>>(), [(79, 200)]);
    let Some(RtcpPacket::Remb { bitrate, ssrcs }) = packets.next() else {
        panic!("no REMB")
    };
    assert!(bitrate <= 2_500_000 && bitrate > 2_499_900, "{bitrate}");
    assert_eq!(ssrcs.collect::<Vec<_>>(), [80, 81]);
    let Some(RtcpPacket::Bye(ssrcs)) = packets.next() else {
        panic!("no BYE")
    };
    assert_eq!(ssrcs.collect::<Vec<_>>(), [1]);
    assert!(packets.next().is_none());
    assert_eq!(packets.malformed(), 0);
}

#[test]
fn many_blocks_become_several_receiver_reports() {
    let blocks: Vec<ReportBlock> = (0..70).map(block).collect();
    let mut out = [0; 2000];
    let mut writer = RtcpWriter::new(&mut out);
    writer.receiver_report(9, &blocks).unwrap();
    let len = writer.len();
    let read: Vec<ReportBlock> = parse(&out[..len])
        .flat_map(|packet| match packet {
            RtcpPacket::ReceiverReport { ssrc: 9, reports } => reports,
            _ => panic!("not RR"),
        })
        .collect();
    assert_eq!(read, blocks);
    let mut writer = RtcpWriter::new(&mut out[..1000]);
    assert_eq!(writer.receiver_report(9, &blocks), Err(DoesNotFit));
    assert!(writer.is_empty());
}

#[test]
fn a_packet_that_does_not_fit_leaves_the_compound_as_it_was() {
    let mut out = [0; 21];
    let mut writer = RtcpWriter::new(&mut out);
    writer.receiver_report(1, &[]).unwrap();
    assert_eq!(writer.fir(1, 2, 3), Err(DoesNotFit));
    assert_eq!(writer.len(), 8);
    writer.pli(1, 2).unwrap();
    assert_eq!(writer.free(), 1);
}

#[test]
fn malformed_packets_are_counted_and_skipped() {
    // An RR that promises two blocks and has none, then a PLI, then a length beyond the end.
    let bytes = [
        &[0x82, 201, 0, 1, 0, 0, 0, 1][..],
        &[0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2],
        &[0x80, 201, 0, 9, 0, 0, 0, 1],
    ]
    .concat();
    let mut packets = parse(&bytes);
    assert!(matches!(
        packets.next(),
        Some(RtcpPacket::Pli { media_ssrc: 2 })
    ));
    assert!(packets.next().is_none());
    assert_eq!(packets.malformed(), 2);
    let unknown = [0x80, 207, 0, 0, 0x81, 203, 0, 1, 0, 0, 0, 5];
    let mut packets = parse(&unknown);
    assert!(matches!(packets.next(), Some(RtcpPacket::Bye(_))));
    assert_eq!(packets.malformed(), 0);
}

#[test]
fn padding_is_cut_off() {
    let bytes = [
        0xA1, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 9, 0, 1, 0, 0, 0, 4,
    ];
    let Some(RtcpPacket::Nack(nack)) = parse(&bytes).next() else {
        panic!("no NACK")
    };
    assert_eq!(nack.seqs().collect::<Vec<_>>(), [9, 10].map(SeqNo));
}

#[test]
fn transport_feedback_is_read_chunk_by_chunk() {
    let mut fci = vec![0xFF, 0xFE, 0, 14, 0xFF, 0xFF, 0xFF, 7];
    // Run of 3 small deltas; vector of two-bit symbols 2 0 1 0 0 0 1; vector of one-bit symbols 1 0 0 1 ...
    fci.extend([0x20, 3]);
    fci.extend((0xC000u16 | 0b10_00_01_00_00_00_01).to_be_bytes());
    fci.extend((0x8000u16 | 0b10_0100_0000_0000).to_be_bytes());
    fci.extend([4, 0, 8, 0xFF, 0xFC, 1, 2, 3, 4, 0]);
    let mut bytes = vec![0x8F, 205, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2];
    bytes.extend(fci);
    bytes[3] = (bytes.len() / 4 - 1) as u8;
    let Some(RtcpPacket::TransportCc(feedback)) = parse(&bytes).next() else {
        panic!()
    };
    assert_eq!((feedback.reference_time, feedback.feedback_count), (-1, 7));
    let expected = [
        (0xFFFE, Some(-252)),
        (0xFFFF, Some(-252)),
        (0, Some(-244)),
        (1, Some(-248)),
        (2, None),
        (3, Some(-247)),
        (4, None),
        (5, None),
        (6, None),
        (7, Some(-245)),
        (8, Some(-242)),
        (9, None),
        (10, None),
        (11, Some(-238)),
    ];
    let expected = expected.map(|(seq, ticks)| (SeqNo(seq), ticks));
    assert_eq!(feedback.statuses().collect::<Vec<_>>(), expected);
}

#[test]
fn lengths_of_time_convert_both_ways() {
    let (earlier, later) = (NtpTime(5 << 32), NtpTime(11 << 31));
    assert!((later.seconds_since(earlier) - 0.5).abs() < 1e-9);
    assert!((earlier.seconds_since(later) + 0.5).abs() < 1e-9);
    assert_eq!(to_compact(Duration::from_millis(1500)), 98_304);
    assert_eq!(from_compact(98_304), Duration::from_millis(1500));
    assert_eq!(to_compact(Duration::from_secs(100_000)), u32::MAX);
}

proptest! {
    #[test]
    fn any_set_of_losses_survives_a_nack(
        start: u16, steps in proptest::collection::vec(1u16..40, 1..60),
    ) {
        let mut at = start;
        let seqs: Vec<SeqNo> = steps
            .iter()
            .map(|step| {
                at = at.wrapping_add(*step);
                SeqNo(at)
            })
            .collect();
        let mut out = [0; 300];
        let mut writer = RtcpWriter::new(&mut out);
        writer.nack(1, 2, &seqs).unwrap();
        let len = writer.len();
        let Some(RtcpPacket::Nack(nack)) = parse(&out[..len]).next() else { panic!() };
        prop_assert_eq!(nack.seqs().collect::<Vec<_>>(), seqs);
    }

    #[test]
    fn random_bytes_never_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 198u8..210, force: bool,
    ) {
        if force && bytes.len() >= 4 {
            bytes[0] = bytes[0] & 0x3F | 0x80;
            bytes[1] = kind;
            bytes[2] = 0;
            bytes[3] = (bytes.len() / 4 - 1) as u8;
        }
        for packet in parse(&bytes) {
            drain(&packet);
        }
    }

    #[test]
    fn remb_is_never_above_what_was_meant(bitrate: u64) {
        let mut out = [0; 40];
        RtcpWriter::new(&mut out).remb(1, bitrate, &[]).unwrap();
        let Some(RtcpPacket::Remb { bitrate: read, .. }) = parse(&out[..20]).next() else { panic!() };
        prop_assert!(read <= bitrate && read >= bitrate - (bitrate >> 17));
    }
}
