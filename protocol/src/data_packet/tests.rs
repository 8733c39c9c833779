use super::*;
use crate::livekit::{ActiveSpeakerUpdate, Transcription, UserPacket, data_packet};
use proptest::prelude::*;

#[allow(deprecated)]
fn packet() -> DataPacket {
    DataPacket {
        participant_identity: "mallory".into(),
        participant_sid: "PA_mallory".into(),
        destination_identities: vec!["bob".into()],
        sequence: 7,
        value: Some(data_packet::Value::User(UserPacket {
            participant_sid: "PA_mallory".into(),
            participant_identity: "mallory".into(),
            payload: b"hello".to_vec(),
            destination_sids: vec!["PA_carol".into()],
            topic: Some("chat".into()),
            ..Default::default()
        })),
        ..Default::default()
    }
}

#[test]
#[allow(deprecated)]
fn the_stamp_replaces_every_claim_of_a_sender() {
    let stamped = stamp(&packet().encode_to_vec(), "alice", "PA_alice").unwrap();
    let mut expected = packet();
    expected.participant_identity = "alice".into();
    expected.participant_sid = "PA_alice".into();
    let Some(data_packet::Value::User(user)) = &mut expected.value else {
        unreachable!()
    };
    user.participant_identity = "alice".into();
    user.participant_sid = "PA_alice".into();
    assert_eq!(DataPacket::decode(stamped.as_slice()).unwrap(), expected);
}

#[test]
#[allow(deprecated)]
fn a_hidden_sender_leaves_no_name() {
    let stamped = stamp(&packet().encode_to_vec(), "", "").unwrap();
    let stamped = DataPacket::decode(stamped.as_slice()).unwrap();
    assert_eq!(
        (
            stamped.participant_identity.as_str(),
            stamped.participant_sid.as_str()
        ),
        ("", "")
    );
    let Some(data_packet::Value::User(user)) = stamped.value else {
        unreachable!()
    };
    assert_eq!(
        (
            user.participant_identity.as_str(),
            user.participant_sid.as_str()
        ),
        ("", "")
    );
}

#[test]
#[allow(deprecated)]
fn a_text_in_the_name_of_another_says_that_it_is_generated() {
    use crate::livekit::{ChatMessage, data_stream};
    let header = |content_header| {
        data_packet::Value::StreamHeader(data_stream::Header {
            topic: "lk.transcription".into(),
            content_header: Some(content_header),
            ..Default::default()
        })
    };
    let text = data_stream::header::ContentHeader::TextHeader(data_stream::TextHeader {
        version: 3,
        ..Default::default()
    });
    let bytes = data_stream::header::ContentHeader::ByteHeader(Default::default());
    let encoded = |value| {
        DataPacket {
            participant_identity: "alice".into(),
            value: Some(value),
            ..Default::default()
        }
        .encode_to_vec()
    };
    let chat = data_packet::Value::ChatMessage(ChatMessage {
        message: "hello".into(),
        ..Default::default()
    });
    for value in [header(text), chat] {
        let packet = encoded(value);
        let view = DataPacketView::parse(&packet).unwrap();
        assert_eq!(view.speaks_for("alice"), None);
        assert_eq!(view.speaks_for("agent"), Some("alice"));
        let stamped = view.stamp_generated("alice", "PA_agent").unwrap();
        let stamped = DataPacket::decode(stamped.as_slice()).unwrap();
        assert_eq!(stamped.participant_identity, "alice");
        assert_eq!(stamped.participant_sid, "PA_agent");
        match stamped.value.unwrap() {
            data_packet::Value::ChatMessage(chat) => {
                assert_eq!((chat.generated, chat.message.as_str()), (true, "hello"))
            }
            data_packet::Value::StreamHeader(header) => {
                assert_eq!(header.topic, "lk.transcription");
                let Some(data_stream::header::ContentHeader::TextHeader(text)) =
                    header.content_header
                else {
                    panic!("no text")
                };
                assert_eq!((text.generated, text.version), (true, 3));
            }
            other => panic!("{other:?}"),
        }
    }
    // Files and everything else are of who sends them.
    let file = encoded(header(bytes));
    assert_eq!(
        DataPacketView::parse(&file).unwrap().speaks_for("agent"),
        None
    );
    let user = packet().encode_to_vec();
    assert_eq!(
        DataPacketView::parse(&user).unwrap().speaks_for("agent"),
        None
    );
}

#[test]
fn destinations_are_read_from_both_places() {
    let encoded = packet().encode_to_vec();
    let view = DataPacketView::parse(&encoded).unwrap();
    assert_eq!(view.sequence, 7);
    assert!(view.is_addressed_to("bob", "PA_bob"));
    assert!(view.is_addressed_to("carol", "PA_carol"));
    assert!(!view.is_addressed_to("dave", "PA_dave"));
    assert!(DataPacketView::default().is_addressed_to("dave", "PA_dave"));
}

#[allow(deprecated)]
#[test]
fn a_packet_names_n_receivers_and_not_one_more_wherever_they_stand() {
    let names = |count: usize| (0..count).map(|i| format!("name-{i}")).collect::<Vec<_>>();
    let packet = |identities, sids, more| DataPacket {
        destination_identities: names(identities),
        value: Some(data_packet::Value::User(UserPacket {
            destination_sids: names(sids),
            destination_identities: names(more),
            ..Default::default()
        })),
        ..Default::default()
    };
    for counts in [(256, 0, 0), (0, 256, 0), (0, 0, 256), (100, 100, 56)] {
        let full = packet(counts.0, counts.1, counts.2).encode_to_vec();
        let view = DataPacketView::parse(&full).unwrap();
        let last = counts.0.max(counts.1).max(counts.2) - 1;
        let name = format!("name-{last}");
        assert!(view.is_addressed_to(&name, "") || view.is_addressed_to("", &name));
        assert!(!view.is_addressed_to("name", "name-") && !view.is_addressed_to("", ""));
        for more in [(1, 0, 0), (0, 1, 0), (0, 0, 1)] {
            let packet = packet(counts.0 + more.0, counts.1 + more.1, counts.2 + more.2);
            assert_eq!(
                DataPacketView::parse(&packet.encode_to_vec()),
                Err(RefusedDataPacket::TooManyDestinations)
            );
        }
    }
    // Two bytes for each name.
    let hollow: Vec<u8> = [0x2a, 0].repeat(60_000);
    assert_eq!(
        DataPacketView::parse(&hollow),
        Err(RefusedDataPacket::TooManyDestinations)
    );
}

#[test]
fn transcriptions_are_for_agents() {
    let value = Some(data_packet::Value::Transcription(Transcription::default()));
    let encoded = DataPacket {
        value,
        ..Default::default()
    }
    .encode_to_vec();
    assert!(
        DataPacketView::parse(&encoded)
            .unwrap()
            .is_reserved_for_agents()
    );
    assert!(
        !DataPacketView::parse(&packet().encode_to_vec())
            .unwrap()
            .is_reserved_for_agents()
    );
}

#[test]
#[allow(deprecated)]
fn nobody_says_who_speaks() {
    let value = Some(data_packet::Value::Speaker(ActiveSpeakerUpdate::default()));
    let encoded = DataPacket {
        value,
        ..Default::default()
    }
    .encode_to_vec();
    let refused = Err(MalformedDataPacket.into());
    assert_eq!(DataPacketView::parse(&encoded), refused);
}

/// Each is well-formed for a lenient decoder, which would read it differently than a strict one.
#[test]
fn fields_that_lie_about_their_type_or_length_are_refused() {
    let name = [b"\x22\x03bob".as_slice()].concat();
    for packet in [
        // A user packet that calls itself a number: its length covers what follows.
        [&[0x10, 40][..], &name].concat(),
        // The sender's field behind a key with more than 32 bits.
        [&[0xA2, 0x80, 0x80, 0x80, 0x10, 3][..], b"bob"].concat(),
        // A stream chunk whose content is longer than the chunk.
        [&[0x72, 2, 0x1A, 9][..], &name].concat(),
        // The same inside a user packet.
        [&[0x12, 2, 0x12, 9][..], &name].concat(),
        // A group, and its end.
        vec![0x13, 0x14],
        // No field at all.
        vec![0x00, 0x00],
    ] {
        assert_eq!(
            stamp(&packet, "alice", "PA_alice"),
            Err(MalformedDataPacket.into()),
            "{packet:x?}"
        );
    }
}

#[test]
fn two_user_packets_in_one_are_refused_wherever_they_stand() {
    let user = packet().encode_to_vec();
    let lone = DataPacketView::parse(&user);
    assert!(lone.is_ok());
    for more in [&[0x12, 0][..], &[0x12, 2, 0x0a, 0]] {
        for both in [[&user, more].concat(), [more, &user].concat()] {
            let refused = Err(MalformedDataPacket.into());
            assert_eq!(DataPacketView::parse(&both), refused, "{more:x?}");
        }
    }
}

#[test]
fn a_long_text_counts_as_one_object() {
    use crate::livekit::data_stream::{Header, Trailer};
    // Read as a message, it would be tens of thousands.
    let text = "\n\0".repeat(30_000);
    let attributes = [("a".to_owned(), text.clone())];
    let header = Header {
        attributes: attributes.clone().into(),
        inline_content: Some(text.clone().into_bytes()),
        ..Default::default()
    };
    let trailer = Trailer {
        reason: text.clone(),
        attributes: attributes.into(),
        ..Default::default()
    };
    let segment = crate::livekit::TranscriptionSegment {
        text,
        ..Default::default()
    };
    let transcription = Transcription {
        segments: vec![segment],
        ..Default::default()
    };
    for value in [
        data_packet::Value::StreamHeader(header),
        data_packet::Value::StreamTrailer(trailer),
        data_packet::Value::Transcription(transcription),
    ] {
        let value = Some(value);
        let packet = DataPacket {
            value,
            ..Default::default()
        };
        assert!(DataPacketView::parse(&packet.encode_to_vec()).is_ok());
    }
}

#[test]
fn what_is_not_known_is_passed_on() {
    let mut encoded = packet().encode_to_vec();
    put_bytes(&mut encoded, 500, b"from the future");
    let stamped = stamp(&encoded, "alice", "PA_alice").unwrap();
    assert!(
        stamped
            .windows(15)
            .any(|window| window == b"from the future")
    );
}

proptest! {
    #[test]
    fn random_bytes_are_refused_or_stamped_but_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let view = DataPacketView::parse(&bytes);
        if let Ok(stamped) = stamp(&bytes, "alice", "PA_a") {
            prop_assert!(view.is_err() || DataPacketView::parse(&stamped).is_ok());
        }
    }

    #[test]
    fn truncation_is_refused(cut in 1usize..40) {
        let encoded = packet().encode_to_vec();
        let cut = &encoded[..encoded.len() - cut.min(encoded.len() - 1)];
        // A cut at a field's end is a shorter valid packet; never one with a sender of its own.
        if let Ok(stamped) = stamp(cut, "alice", "PA_alice") {
            prop_assert_eq!(DataPacket::decode(stamped.as_slice()).unwrap().participant_sid, "PA_alice");
        }
    }
}
