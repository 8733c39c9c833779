use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use sfu::{Destination, SendBatch, TransportProtocol};

use super::*;

const V4: &str = "127.0.0.1";
const V6: &str = "::1";

fn sockets(addresses: &[&str]) -> Arc<MediaSockets> {
    let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
    Arc::new(MediaSockets::bind(&addresses, 0).unwrap())
}

fn has_ipv6() -> bool {
    UdpSocket::bind("[::1]:0").is_ok()
}

/// A socket as browsers have it, that waits long enough for a loaded machine.
fn peer(address: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((address, 0)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Datagram number `i`: its bytes tell it from all others.
fn payload(i: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (i * 31 + at * 7 + at / 256) as u8)
        .collect()
}

fn push(batch: &mut Batch, to: Destination, bytes: &[u8]) {
    // Sealing reserves more than it needs in the end.
    batch.reserve(to, bytes.len() + 16).unwrap()[..bytes.len()].copy_from_slice(bytes);
    batch.commit(bytes.len());
}

fn receive_one(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 70_000];
    let len = socket.recv(&mut buffer).unwrap();
    buffer.truncate(len);
    buffer
}

/// Receives `count` datagrams, with where they came from and to.
fn receive_all(sockets: &MediaSockets, count: usize) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
    let wake = Wake::new().unwrap();
    let mut receiver = Receiver::new();
    let mut all = Vec::new();
    while all.len() < count {
        let ready = sockets.wait(&wake, Some(Duration::from_secs(10))).unwrap();
        assert_ne!(ready.0, 0, "only {} of {count} datagrams came", all.len());
        for index in 0..sockets.len() {
            while ready.readable(index)
                && receiver.receive(sockets, index, |d| {
                    all.push((d.remote, d.local, d.payload.to_vec()))
                })
            {}
        }
    }
    all
}

fn everything_arrives_as_sent(address: &str, offload: bool) {
    let sockets = sockets(&[address]);
    if !offload {
        sockets.sockets[0].gso.store(false, Relaxed);
    }
    let local = sockets.addresses()[0];
    let peers = [peer(address), peer(address), peer(address)];
    let mut batch = Batch::new(sockets.clone());
    let mut expected = vec![Vec::new(); peers.len()];
    // Runs of equal sizes, with shorter and longer ones between them, to three receivers in turns.
    let sizes = [
        1200, 1200, 1200, 700, 1200, 1, 1, 1, 1300, 1300, 20, 20, 1200, 1200, 900, 900, 1400, 1400,
        1399, 1400,
    ];
    for (i, &size) in sizes.iter().cycle().take(240).enumerate() {
        let to = (i / 20) % peers.len();
        let bytes = payload(i, size);
        push(
            &mut batch,
            Destination {
                remote: peers[to].1,
                local,
                protocol: TransportProtocol::Udp,
            },
            &bytes,
        );
        expected[to].push(bytes);
    }
    batch.send();
    for ((socket, _), expected) in peers.iter().zip(expected) {
        for (i, bytes) in expected.iter().enumerate() {
            assert_eq!(&receive_one(socket), bytes, "datagram {i}");
        }
    }
    let counters = sockets.counters();
    assert_eq!(counters.packets_out.load(Relaxed), 240);
    assert_eq!(
        counters.bytes_out.load(Relaxed),
        sizes.iter().sum::<usize>() as u64 * 12
    );
}

#[test]
fn everything_arrives_as_sent_with_gso() {
    everything_arrives_as_sent(V4, true);
}

#[test]
fn everything_arrives_as_sent_without_gso() {
    everything_arrives_as_sent(V4, false);
}

#[test]
fn everything_arrives_as_sent_over_ipv6() {
    if has_ipv6() {
        everything_arrives_as_sent(V6, true);
        everything_arrives_as_sent(V6, false);
    }
}

#[test]
fn equal_sizes_to_one_destination_are_one_run_that_a_shorter_one_ends() {
    let sockets = sockets(&[V4]);
    let local = sockets.addresses()[0];
    let (_a, a) = peer(V4);
    let (_b, b) = peer(V4);
    let mut batch = Batch::new(sockets);
    for (remote, len) in [
        (a, 100),
        (a, 100),
        (a, 60),
        (a, 100),
        (b, 100),
        (b, 100),
        (b, 101),
        (b, 101),
    ] {
        push(
            &mut batch,
            Destination {
                remote,
                local,
                protocol: TransportProtocol::Udp,
            },
            &payload(len, len),
        );
    }
    let runs: Vec<_> = batch.runs[0]
        .iter()
        .map(|run| (run.remote, run.len, run.segment))
        .collect();
    assert_eq!(
        runs,
        [(a, 260, 100), (a, 100, 100), (b, 200, 100), (b, 202, 101)]
    );
}

#[test]
fn a_run_never_exceeds_what_one_ip_datagram_holds() {
    let sockets = sockets(&[V4]);
    let to = Destination {
        remote: peer(V4).1,
        local: sockets.addresses()[0],
        protocol: TransportProtocol::Udp,
    };
    let mut batch = Batch::new(sockets);
    for i in 0..130 {
        push(&mut batch, to, &payload(i, 1200));
    }
    assert!(
        batch.runs[0]
            .iter()
            .all(|run| run.len <= 65_000 && run.len / run.segment <= 64)
    );
    batch.send();
    for i in 0..130 {
        push(&mut batch, to, &payload(i, 10));
    }
    assert_eq!(
        batch.runs[0]
            .iter()
            .map(|run| run.len / 10)
            .collect::<Vec<_>>(),
        [64, 64, 2]
    );
}

#[test]
fn a_reservation_that_is_not_committed_is_not_sent() {
    let sockets = sockets(&[V4]);
    let local = sockets.addresses()[0];
    let (socket, remote) = peer(V4);
    let to = Destination {
        remote,
        local,
        protocol: TransportProtocol::Udp,
    };
    let mut batch = Batch::new(sockets);
    push(&mut batch, to, b"first");
    batch.reserve(to, 5).unwrap().copy_from_slice(b"never");
    push(&mut batch, to, b"second");
    batch.reserve(to, 5).unwrap().copy_from_slice(b"never");
    batch.send();
    assert_eq!(receive_one(&socket), b"first");
    assert_eq!(receive_one(&socket), b"second");
}

#[test]
fn a_full_batch_is_sent_and_used_anew() {
    let sockets = sockets(&[V4]);
    let (socket, remote) = peer(V4);
    let to = Destination {
        remote,
        local: sockets.addresses()[0],
        protocol: TransportProtocol::Udp,
    };
    let mut batch = Batch::new(sockets.clone());
    for i in 0..30 {
        push(&mut batch, to, &payload(i, 60_000));
    }
    let sent = sockets.counters().packets_out.load(Relaxed);
    assert!(
        (17..30).contains(&sent),
        "{sent} of 30 were sent before the end"
    );
    batch.send();
    assert_eq!(sockets.counters().packets_out.load(Relaxed), 30);
    assert_eq!(receive_one(&socket), payload(0, 60_000));
}

#[test]
fn what_can_never_be_sent_is_refused_and_counted() {
    let sockets = sockets(&[V4]);
    let local = sockets.addresses()[0];
    let remote = peer(V4).1;
    let mut batch = Batch::new(sockets.clone());
    let foreign = SocketAddr::new("192.0.2.1".parse().unwrap(), local.port());
    assert!(
        batch
            .reserve(
                Destination {
                    remote,
                    local: foreign,
                    protocol: TransportProtocol::Udp,
                },
                10
            )
            .is_none()
    );
    assert!(
        batch
            .reserve(
                Destination {
                    remote: "[::1]:9".parse().unwrap(),
                    local,
                    protocol: TransportProtocol::Udp,
                },
                10
            )
            .is_none()
    );
    assert!(
        batch
            .reserve(
                Destination {
                    remote,
                    local,
                    protocol: TransportProtocol::Udp
                },
                65_001
            )
            .is_none()
    );
    batch.commit(0);
    assert_eq!(sockets.counters().dropped_unsendable.load(Relaxed), 3);
}

#[test]
fn a_closed_port_hurts_nobody_else() {
    let sockets = sockets(&[V4]);
    let local = sockets.addresses()[0];
    let closed = peer(V4).1;
    let (socket, remote) = peer(V4);
    let mut batch = Batch::new(sockets.clone());
    for i in 0..10 {
        push(
            &mut batch,
            Destination {
                remote: closed,
                local,
                protocol: TransportProtocol::Udp,
            },
            &payload(i, 100),
        );
        push(
            &mut batch,
            Destination {
                remote,
                local,
                protocol: TransportProtocol::Udp,
            },
            &payload(i, 100),
        );
        batch.send();
    }
    for i in 0..10 {
        assert_eq!(receive_one(&socket), payload(i, 100));
    }
    socket.send_to(b"back", local).unwrap();
    assert_eq!(
        receive_all(&sockets, 1)[0],
        (remote, local, b"back".to_vec())
    );
}

#[test]
fn a_refused_destination_is_counted_and_the_rest_is_sent() {
    let sockets = sockets(&[V4]);
    let local = sockets.addresses()[0];
    let (socket, remote) = peer(V4);
    let mut batch = Batch::new(sockets.clone());
    // Broadcast needs a socket option that media sockets do not have.
    let forbidden = "255.255.255.255:9".parse().unwrap();
    for i in 0..2 {
        push(
            &mut batch,
            Destination {
                remote: forbidden,
                local,
                protocol: TransportProtocol::Udp,
            },
            &payload(i, 100),
        );
    }
    push(
        &mut batch,
        Destination {
            remote,
            local,
            protocol: TransportProtocol::Udp,
        },
        b"after",
    );
    batch.send();
    assert_eq!(receive_one(&socket), b"after");
    assert_eq!(sockets.counters().dropped_refused.load(Relaxed), 2);
    assert_eq!(sockets.counters().packets_out.load(Relaxed), 1);
}

/// Sends `sizes` from a media socket with GSO to another, which receives with GRO or without.
fn everything_is_received(address: &str, coalesce: bool) {
    let (sender, receiver) = (sockets(&[address]), sockets(&[address]));
    if !coalesce {
        sys::set_option(receiver.sockets[0].fd(), libc::SOL_UDP, libc::UDP_GRO, 0).unwrap();
    }
    let (from, to) = (sender.addresses()[0], receiver.addresses()[0]);
    let mut batch = Batch::new(sender);
    let sizes = [1200, 1200, 1200, 1200, 333, 50, 1200, 1200];
    let expected: Vec<_> = (0..80)
        .map(|i| payload(i, sizes[i % sizes.len()]))
        .collect();
    for bytes in &expected {
        push(
            &mut batch,
            Destination {
                remote: to,
                local: from,
                protocol: TransportProtocol::Udp,
            },
            bytes,
        );
    }
    batch.send();
    let received = receive_all(&receiver, expected.len());
    for (got, bytes) in received.iter().zip(&expected) {
        assert_eq!((got.0, got.1, &got.2), (from, to, bytes));
    }
    let calls = receiver.counters().receive_calls.load(Relaxed);
    assert!(calls < 40, "{calls} calls for 80 datagrams");
    assert_eq!(receiver.counters().packets_in.load(Relaxed), 80);
}

#[test]
fn datagrams_are_received_as_sent_with_and_without_gro() {
    everything_is_received(V4, true);
    everything_is_received(V4, false);
    if has_ipv6() {
        everything_is_received(V6, true);
        everything_is_received(V6, false);
    }
}

#[test]
fn loopback_alone_is_bound_to_loopback_alone() {
    let sockets = sockets(&[V4]);
    assert_eq!(
        sockets.sockets[0]
            .socket
            .local_addr()
            .unwrap()
            .ip()
            .to_string(),
        V4
    );
}

#[test]
fn both_families_share_one_port() {
    if has_ipv6() {
        let sockets = sockets(&[V4, V6]);
        let ports: Vec<_> = sockets
            .sockets
            .iter()
            .map(|s| s.socket.local_addr().unwrap().port())
            .collect();
        assert_eq!(ports, [sockets.port(); 2]);
        let (a, b) = (peer(V4), peer(V6));
        a.0.send_to(b"four", sockets.addresses()[0]).unwrap();
        b.0.send_to(b"six", sockets.addresses()[1]).unwrap();
        let mut received = receive_all(&sockets, 2);
        received.sort();
        assert_eq!(received[0], (a.1, sockets.addresses()[0], b"four".to_vec()));
        assert_eq!(received[1], (b.1, sockets.addresses()[1], b"six".to_vec()));
    }
}

/// The wildcard is bound as soon as one address is not a loopback one; 192.0.2.1 (RFC 5737) is nobody's.
#[test]
fn a_wildcard_socket_answers_from_the_address_it_was_reached_at() {
    let sockets = sockets(&[V4, "127.0.0.2", "192.0.2.1"]);
    assert!(
        sockets.sockets[0]
            .socket
            .local_addr()
            .unwrap()
            .ip()
            .is_unspecified()
    );
    let (socket, remote) = peer(V4);
    for local in &sockets.addresses()[..2] {
        socket.send_to(b"question", local).unwrap();
        let received = receive_all(&sockets, 1);
        assert_eq!(received[0], (remote, *local, b"question".to_vec()));
        let mut batch = Batch::new(sockets.clone());
        for i in 0..3 {
            push(
                &mut batch,
                Destination {
                    remote,
                    local: *local,
                    protocol: TransportProtocol::Udp,
                },
                &payload(i, 500),
            );
        }
        batch.send();
        for i in 0..3 {
            let mut buffer = [0; 1500];
            let (len, from) = socket.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..len], from), (payload(i, 500).as_slice(), *local));
        }
    }
}

#[test]
fn behind_a_nat_datagrams_count_as_sent_to_the_outer_address() {
    let sockets = sockets(&["192.0.2.1"]);
    let outer = sockets.addresses()[0];
    let (socket, remote) = peer(V4);
    socket.send_to(b"hello", (V4, sockets.port())).unwrap();
    assert_eq!(
        receive_all(&sockets, 1)[0],
        (remote, outer, b"hello".to_vec())
    );
    let mut batch = Batch::new(sockets);
    push(
        &mut batch,
        Destination {
            remote,
            local: outer,
            protocol: TransportProtocol::Udp,
        },
        b"and back",
    );
    batch.send();
    assert_eq!(receive_one(&socket), b"and back");
}

#[test]
fn a_used_port_is_an_error() {
    let first = sockets(&[V4]);
    let error = MediaSockets::bind(&[V4.parse().unwrap()], first.port()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn a_wake_ends_the_wait_until_it_is_cleared() {
    let sockets = sockets(&[V4]);
    let wake = Arc::new(Wake::new().unwrap());
    assert!(!sockets.wait(&wake, Some(Duration::ZERO)).unwrap().woken());
    let other = wake.clone();
    let thread = std::thread::spawn(move || other.signal());
    assert!(sockets.wait(&wake, None).unwrap().woken());
    thread.join().unwrap();
    wake.clear();
    assert!(!sockets.wait(&wake, Some(Duration::ZERO)).unwrap().woken());
}
