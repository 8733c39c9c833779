use super::*;
use crate::{sdp::HashAlgorithm, transport::generate_certificate};

fn fingerprint(certificate: &[u8]) -> Fingerprint {
    Fingerprint {
        algorithm: HashAlgorithm::Sha256,
        digest: crate::transport::sha256(certificate).to_vec(),
    }
}

/// What a client says whose first words come with the end of its handshake, in one datagram; and how the handshake
/// ended.
fn heard(expects_it: bool) -> (Vec<Vec<u8>>, Option<Progress>) {
    let mut now = Instant::now();
    let [own, its, others] = [(); 3].map(|()| generate_certificate());
    let context = DtlsContext::new(own.0, own.1);
    let mut server = Association::new(&context, DtlsRole::Server, 1, now);
    server.expect(&[fingerprint(if expects_it { &its.0 } else { &others.0 })]);
    let certificate = DtlsCertificate {
        certificate: its.0,
        private_key: its.1,
    };
    let mut client = Dtls::new_auto(Arc::default(), certificate, now);
    client.set_active(true);
    let (mut said, mut progress) = (Vec::new(), None);
    for _ in 0..10 {
        client.handle_timeout(now).unwrap();
        let (mut datagrams, mut is_up) = (Vec::new(), false);
        let mut buffer = [0; RECORD_BUFFER];
        loop {
            match client.poll_output(&mut buffer) {
                Output::Packet(packet) => datagrams.push(packet.to_vec()),
                Output::Connected => {
                    is_up = true;
                    client.send_application_data(b"hello").unwrap();
                }
                Output::Timeout(_) => break,
                _ => {}
            }
        }
        if is_up {
            datagrams = vec![datagrams.concat()];
        }
        let mut answers = Vec::new();
        for datagram in datagrams {
            server.handle(&context, &datagram, now);
            let driven = server.drive(now, |output| match output {
                DtlsOutput::Packet(packet) => answers.push(packet.to_vec()),
                DtlsOutput::Data(data) => said.push(data.to_vec()),
            });
            if !matches!(driven, Progress::Same) {
                progress = Some(driven);
            }
        }
        for answer in answers {
            let _ = client.handle_packet(&answer);
        }
        now += Duration::from_millis(10);
    }
    (said, progress)
}

#[test]
fn nothing_is_heard_of_who_has_another_certificate() {
    let (said, progress) = heard(true);
    assert_eq!(said, [b"hello"]);
    assert!(matches!(progress, Some(Progress::Done(_))));
    let (said, progress) = heard(false);
    assert_eq!(said, [[0; 0]; 0]);
    assert!(matches!(progress, Some(Progress::Failed)));
}
