use super::*;

fn tap(shard: u16) -> Tap {
    Tap::new("TR_VCabcdefghijkl".parse().unwrap(), shard, None)
}

fn packet(payload: &[u8]) -> Received<'_> {
    Received {
        ssrc: 0x0102_0304,
        index: 1 << 40 | 5,
        time: RtpTime(0xffff_fff0),
        payload_type: 111,
        marker: true,
        payload,
        dependencies: &[7, 8, 9],
        voice: Some(AudioLevel {
            level: 40,
            voice: true,
        }),
    }
}

#[test]
fn packets_come_out_as_they_went_in() {
    let mut queue = RelayQueue::default();
    let plain = Received {
        marker: false,
        voice: None,
        dependencies: &[],
        ..packet(b"")
    };
    assert!(queue.push(&tap(3), Arrival::Media as u8, 1, &packet(b"sound")));
    assert!(queue.push(&tap(700), Arrival::Recovered as u8, 2, &plain));
    let mut carried = Vec::new();
    queue.drain(|shard, bytes| carried.push((shard, bytes.to_vec())));
    assert_eq!([carried[0].0, carried[1].0], [3, 700]);
    let sid = tap(0).relayed;
    let sid = sid.as_str();
    let first = parse(&carried[0].1).unwrap();
    assert_eq!(first, (sid, Arrival::Media as u8, 1, packet(b"sound")));
    let second = parse(&carried[1].1).unwrap();
    assert_eq!(second, (sid, Arrival::Recovered as u8, 2, plain));
    queue.drain(|_, _| panic!("nothing is left"));
}

#[test]
fn what_is_no_packet_is_refused() {
    let mut queue = RelayQueue::default();
    queue.push(&tap(0), 0, 0, &packet(b"x"));
    queue.drain(|_, bytes| {
        for len in 0..bytes.len() - 1 {
            // Without its last byte it is a packet without payload.
            assert!(parse(&bytes[..len]).is_none(), "{len}");
        }
        let mut wrong = bytes.to_vec();
        wrong[1] = 3;
        assert!(parse(&wrong).is_none(), "there are three layers");
    });
}

#[test]
fn a_queue_that_nobody_empties_is_bounded() {
    let mut queue = RelayQueue::default();
    let payload = [0; 1200];
    let taken = (0..2000).filter(|_| queue.push(&tap(0), 0, 0, &packet(&payload)));
    let taken = taken.count();
    assert!((800..880).contains(&taken), "{taken}");
    assert!(queue.0.len() <= MAX_QUEUED);
}
