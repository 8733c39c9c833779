use std::time::Duration;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// A client that does what no browser would.
struct Client {
    endpoint: Endpoint,
    handle: AssociationHandle,
    association: Association,
    data: DataChannels,
    /// Packets so long that there is a message in them are lost on their way to it.
    loses: bool,
    now: Instant,
}

impl Client {
    /// Connected to channels that may send messages of this length.
    fn new(max_message_size: u64) -> Self {
        let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None);
        let transport =
            TransportConfig::default().with_max_receive_message_size(MAX_SENT_MESSAGE as u32);
        let mut config = ClientConfig::default();
        config.transport = Arc::new(transport);
        let (handle, association) = endpoint.connect(config, PEER).unwrap();
        let mut client = Self {
            endpoint,
            handle,
            association,
            data: DataChannels::new(max_message_size, false, DtlsRole::Server),
            loses: false,
            now: Instant::now(),
        };
        client.exchange();
        client
    }

    /// A while, in which all that is sent arrives.
    fn exchange(&mut self) {
        for _ in 0..40 {
            self.association.handle_timeout(self.now);
            while let Some(transmit) = self.association.poll_transmit(self.now) {
                if let Payload::RawEncode(packets) = transmit.payload {
                    for packet in packets {
                        self.data.handle_packet(&packet, self.now);
                    }
                }
            }
            while self.data.poll_message(Hold::None).is_some() {}
            self.data.handle_timeout(self.now);
            let mut packets = Vec::new();
            self.data
                .poll_transmit(self.now, |packet| packets.push(packet.to_vec()));
            packets.retain(|packet| !self.loses || packet.len() < 500);
            for packet in packets {
                let event = self
                    .endpoint
                    .handle(self.now, PEER, None, None, packet.into());
                if let Some((_, DatagramEvent::AssociationEvent(event))) = event {
                    self.association.handle_event(event);
                }
            }
            while let Some(event) = self.association.poll_endpoint_event() {
                if let Some(reply) = self.endpoint.handle_event(self.handle, event) {
                    self.association.handle_event(reply);
                }
            }
            while self.association.poll().is_some() {}
            self.now += 20 * MS;
        }
    }

    fn open(&mut self, id: StreamId, label: &str) {
        let mut stream = self.association.open_stream(id, Ppi::Binary).unwrap();
        let open = open_message(label, false);
        stream.write_with_ppi(&open, Ppi::Dcep).unwrap();
        self.exchange();
    }

    /// Reads what there is on a stream; how much that was.
    fn read(&mut self, id: StreamId) -> usize {
        let mut bytes = 0;
        loop {
            let before = bytes;
            let stream = self.association.stream(id);
            if let Ok(Some(message)) = stream.and_then(|mut stream| stream.read()) {
                bytes += message.len();
            }
            self.exchange();
            if bytes == before {
                return bytes;
            }
        }
    }

    /// Sends it messages until one is not taken; their bytes.
    fn fill(&mut self) -> usize {
        let mut bytes = 0;
        while self.data.send(DataChannel::Reliable, &[7; 60_000]) == SendOutcome::Sent {
            bytes += 60_000;
        }
        bytes
    }
}

#[test]
fn an_acknowledgement_with_something_behind_it_opens_the_channel() {
    for role in [DtlsRole::Client, DtlsRole::Server] {
        for acknowledgement in [&[DCEP_ACK][..], &[DCEP_ACK, 0, 0, 0]] {
            let mut data = DataChannels::new(0, true, role);
            let [_, lossy, _] = our_streams(role);
            assert!(!data.is_open(DataChannel::Lossy));
            data.handle_dcep(lossy, acknowledgement);
            assert!(data.is_open(DataChannel::Lossy));
            assert_eq!(data.take_opened(), [DataChannel::Lossy]);
        }
    }
}

#[test]
fn a_message_is_as_long_as_its_receiver_takes() {
    for (takes, longest) in [
        (0, MAX_SENT_MESSAGE),
        (u64::MAX, MAX_SENT_MESSAGE),
        (262_144, 262_144),
        (70_000, 70_000),
        (1, 1),
    ] {
        let mut client = Client::new(takes);
        let mut send = |len| client.data.send(DataChannel::Reliable, &vec![7; len]);
        assert_eq!(send(1), SendOutcome::Closed);
        client.open(0, "_reliable");
        let mut send = |len| client.data.send(DataChannel::Reliable, &vec![7; len]);
        assert_eq!(send(longest), SendOutcome::Sent, "{takes}");
        assert_eq!(send(longest + 1), SendOutcome::TooLong, "{takes}");
        client.exchange();
        assert_eq!(client.read(0), longest + 1, "and an acknowledgement");
    }
}

#[test]
fn who_opens_a_channel_again_and_again_is_owed_no_more_than_on_one() {
    // Closed in between or not.
    for closes in [false, true] {
        let mut client = Client::new(0);
        client.loses = true;
        let mut bytes = 0;
        for id in 0..50 {
            client.open(id, "_reliable");
            bytes += client.fill();
            if closes {
                client.association.stream(id).unwrap().close().unwrap();
                client.exchange();
            }
        }
        assert!(bytes > MAX_BUFFERED_RELIABLE / 2, "{closes}: {bytes}");
        assert!(bytes <= MAX_BUFFERED_RELIABLE, "{closes}: {bytes}");
        assert_eq!(client.data.unread(DataChannel::Reliable), bytes);
    }
}

#[test]
fn what_a_closed_channel_had_to_send_is_owed_until_it_is_sent() {
    let mut client = Client::new(0);
    client.open(0, "_reliable");
    client.loses = true;
    for _ in 0..4 {
        let outcome = client.data.send(DataChannel::Reliable, &[7; 60_000]);
        assert_eq!(outcome, SendOutcome::Sent);
    }
    client.association.stream(0).unwrap().close().unwrap();
    client.exchange();
    assert!(!client.data.is_open(DataChannel::Reliable));
    client.open(2, "_reliable");
    assert!(client.data.is_open(DataChannel::Reliable));
    assert_eq!(client.data.unread(DataChannel::Reliable), 240_000);
    client.loses = false;
    (0..40).for_each(|_| client.exchange());
    assert_eq!(client.data.unread(DataChannel::Reliable), 0);
    assert!(client.data.waiting.is_empty());
}

#[test]
fn an_opening_is_answered_once_and_few_wait_for_an_acknowledgement() {
    let mut client = Client::new(0);
    let streams = 0..2 * MAX_ANSWERS as StreamId;
    for id in streams.clone() {
        let mut stream = client.association.open_stream(id, Ppi::Binary).unwrap();
        stream.write_with_ppi(b"x", Ppi::Binary).unwrap();
        client.exchange();
    }
    let open = open_message("mine", false);
    for id in streams.chain([0; 1000]) {
        client.data.handle_dcep(id, &open);
    }
    assert_eq!(client.data.waiting(None), MAX_ANSWERS);
    assert_eq!(client.data.others.len(), MAX_OTHERS);
    client.exchange();
    assert_eq!(client.data.waiting(None), 0, "acknowledged");
    client.data.handle_dcep(0, &open);
    assert_eq!(client.data.waiting(None), 0, "answered before");
    client.data.handle_dcep(MAX_ANSWERS as StreamId, &open);
    assert_eq!(client.data.waiting(None), 1, "it may try again");
}
