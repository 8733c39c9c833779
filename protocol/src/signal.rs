//! The frames of the signal connection, and the `join_request` parameter that opens it.

use std::io::Read;

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::{
    lenient,
    livekit::{
        JoinRequest, ServerMessage, SignalRequest, SignalResponse, WorkerMessage,
        WrappedJoinRequest, wrapped_join_request::Compression,
    },
    prescan::{self, Paths},
};

/// The longest frame in either direction, bytes. LiveKit's limit.
pub const MAX_FRAME_BYTES: usize = 2 * 1024 * 1024;

/// The longest `join_request`, decompressed, bytes. A join with an offer for 50 sections has about 100 kB.
pub const MAX_JOIN_REQUEST_BYTES: usize = 512 * 1024;

/// The most fields of a frame or a join request, with those of the messages in it ([`prescan`]). Small fields may be
/// eight times as many: a `subscription_permission` for 5,000 people has up to 32,000.
pub const MAX_FIELDS: usize = 4096;

/// The long fields of a request: descriptions, metadata and the contents of blobs.
const LONG_IN_REQUEST: Paths = &[
    &[1, 2],
    &[2, 2],
    &[12, 1, 2],
    &[12, 5, 2],
    &[15, 1],
    &[22, 2, 2],
];

/// The long fields of a join request, whose `sync_state` may be there too.
const LONG_IN_JOIN: Paths = &[&[3], &[6, 2], &[10, 1, 2], &[10, 5, 2]];

/// The small fields of a request: sections of descriptions, wishes, audiences, and data packets that came: one for each
/// track or participant.
const SMALL_IN_REQUEST: Paths = &[
    &[1, 4],
    &[1, 4, 1],
    &[1, 4, 2],
    &[2, 4],
    &[2, 4, 1],
    &[2, 4, 2],
    &[6, 1],
    &[6, 3],
    &[6, 3, 1],
    &[6, 3, 2],
    &[7, 1],
    &[11, 2],
    &[11, 2, 1],
    &[11, 2, 3],
    &[11, 2, 4],
    &[12, 1, 4],
    &[12, 1, 4, 1],
    &[12, 1, 4, 2],
    &[12, 2, 1],
    &[12, 2, 3],
    &[12, 2, 3, 1],
    &[12, 2, 3, 2],
    &[12, 5, 4],
    &[12, 5, 4, 1],
    &[12, 5, 4, 2],
    &[12, 6],
    &[12, 7],
    &[12, 7, 1],
    &[12, 9, 1],
    &[12, 9, 1, 1],
    &[21, 1],
    &[21, 1, 1],
];

/// The small fields of a join request.
const SMALL_IN_JOIN: Paths = &[
    &[6, 4],
    &[6, 4, 1],
    &[6, 4, 2],
    &[10, 1, 4],
    &[10, 1, 4, 1],
    &[10, 1, 4, 2],
    &[10, 2, 1],
    &[10, 2, 3],
    &[10, 2, 3, 1],
    &[10, 2, 3, 2],
    &[10, 5, 4],
    &[10, 5, 4, 1],
    &[10, 5, 4, 2],
    &[10, 6],
    &[10, 7],
    &[10, 7, 1],
    &[10, 9, 1],
    &[10, 9, 1, 1],
];

/// The long fields of a worker's message: metadata and attributes of an agent, and why a job failed.
const LONG_OF_WORKER: Paths = &[&[2, 6], &[2, 7, 2], &[4, 3]];

/// Base64 as clients write it: with padding (Python) and without.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The reason why a `join_request` parameter was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinRequestError {
    /// The parameter is missing.
    #[error("join_request is required")]
    Missing,
    /// The parameter is not base64url.
    #[error("cannot base64 decode wrapped join request")]
    Base64,
    /// The bytes are no `WrappedJoinRequest`.
    #[error("cannot unmarshal wrapped join request")]
    Wrapped,
    /// The content is not gzip, or longer than [`MAX_JOIN_REQUEST_BYTES`].
    #[error("cannot decompress join request")]
    Compression,
    /// The content is no `JoinRequest`.
    #[error("cannot unmarshal join request")]
    Inner,
    /// The request has more than [`MAX_FIELDS`].
    #[error("join request has too many fields")]
    TooManyFields,
}

/// Reads the `join_request` query parameter (already percent-decoded).
pub fn decode_join_request(parameter: &str) -> Result<JoinRequest, JoinRequestError> {
    if parameter.is_empty() {
        return Err(JoinRequestError::Missing);
    }
    if parameter.len() > MAX_JOIN_REQUEST_BYTES {
        return Err(JoinRequestError::Compression);
    }
    let bytes = BASE64
        .decode(parameter)
        .map_err(|_| JoinRequestError::Base64)?;
    // The content is a message too, which is counted when it is unpacked.
    prescan::protobuf(&bytes, MAX_FIELDS, &[&[2]], &[])
        .map_err(|_| JoinRequestError::TooManyFields)?;
    let wrapped =
        WrappedJoinRequest::decode(bytes.as_slice()).map_err(|_| JoinRequestError::Wrapped)?;
    let inner = match Compression::try_from(wrapped.compression) {
        Ok(Compression::None) => wrapped.join_request,
        Ok(Compression::Gzip) => gunzip(&wrapped.join_request)?,
        Err(_) => return Err(JoinRequestError::Wrapped),
    };
    prescan::protobuf(&inner, MAX_FIELDS, LONG_IN_JOIN, SMALL_IN_JOIN)
        .map_err(|_| JoinRequestError::TooManyFields)?;
    JoinRequest::decode(inner.as_slice()).map_err(|_| JoinRequestError::Inner)
}

fn gunzip(compressed: &[u8]) -> Result<Vec<u8>, JoinRequestError> {
    let mut bytes = Vec::new();
    // One byte more than allowed, so that a bomb is told from a request of exactly the limit.
    let mut reader =
        flate2::read::GzDecoder::new(compressed).take(MAX_JOIN_REQUEST_BYTES as u64 + 1);
    reader
        .read_to_end(&mut bytes)
        .map_err(|_| JoinRequestError::Compression)?;
    if bytes.len() > MAX_JOIN_REQUEST_BYTES {
        return Err(JoinRequestError::Compression);
    }
    Ok(bytes)
}

/// Writes a `join_request` parameter, gzipped, as clients do.
pub fn encode_join_request(request: &JoinRequest) -> String {
    let mut compressed = Vec::new();
    let mut encoder = flate2::read::GzEncoder::new(
        std::io::Cursor::new(request.encode_to_vec()),
        Default::default(),
    );
    // Reading from memory into memory does not fail.
    let written = encoder.read_to_end(&mut compressed);
    debug_assert!(written.is_ok());
    let wrapped = WrappedJoinRequest {
        compression: Compression::Gzip.into(),
        join_request: compressed,
    };
    BASE64.encode(wrapped.encode_to_vec())
}

/// One WebSocket message: protobuf, or protobuf's JSON mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Protobuf.
    Binary(Bytes),
    /// JSON.
    Text(String),
}

impl Frame {
    /// Length of the frame, bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Binary(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
        }
    }

    /// Whether the frame has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The encoding of the frame.
    pub fn encoding(&self) -> Encoding {
        match self {
            Self::Binary(_) => Encoding::Protobuf,
            Self::Text(_) => Encoding::Json,
        }
    }
}

/// The encoding of a connection's messages. The client's first frame decides for both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// Binary frames.
    #[default]
    Protobuf,
    /// Text frames.
    Json,
}

/// The reason why a frame was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The frame is longer than [`MAX_FRAME_BYTES`].
    #[error("signal message too long")]
    TooLong,
    /// The frame is no message.
    #[error("signal message could not be decoded")]
    Malformed,
    /// The frame has more than [`MAX_FIELDS`].
    #[error("signal message has too many fields")]
    TooManyFields,
}

/// Reads a client's frame. A message that this version does not know decodes to `message: None`.
pub fn decode_request(frame: &Frame) -> Result<SignalRequest, FrameError> {
    check_fields(frame, LONG_IN_REQUEST, SMALL_IN_REQUEST)?;
    decode(frame)
}

fn check_fields(frame: &Frame, long: Paths, small: Paths) -> Result<(), FrameError> {
    if frame.len() > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong);
    }
    let fields = match frame {
        Frame::Binary(bytes) => prescan::protobuf(bytes, MAX_FIELDS, long, small),
        Frame::Text(text) => prescan::json(text.as_bytes(), MAX_FIELDS),
    };
    fields.map(drop).map_err(|_| FrameError::TooManyFields)
}

/// Reads a server's frame. The number of fields is not limited: a client trusts its server.
pub fn decode_response(frame: &Frame) -> Result<SignalResponse, FrameError> {
    decode(frame)
}

/// Writes a client's frame.
pub fn encode_request(request: &SignalRequest, encoding: Encoding) -> Frame {
    encode(request, encoding)
}

/// Writes a server's frame; an empty one when the message has an enum value that JSON cannot express.
pub fn encode_response(response: &SignalResponse, encoding: Encoding) -> Frame {
    encode(response, encoding)
}

/// Reads a frame of an agent's worker. A message that this version does not know decodes to `message: None`.
pub fn decode_worker_message(frame: &Frame) -> Result<WorkerMessage, FrameError> {
    check_fields(frame, LONG_OF_WORKER, &[])?;
    decode(frame)
}

/// Reads a frame for an agent's worker.
pub fn decode_server_message(frame: &Frame) -> Result<ServerMessage, FrameError> {
    decode(frame)
}

/// Writes a frame of an agent's worker.
pub fn encode_worker_message(message: &WorkerMessage, encoding: Encoding) -> Frame {
    encode(message, encoding)
}

/// Writes a frame for an agent's worker.
pub fn encode_server_message(message: &ServerMessage, encoding: Encoding) -> Frame {
    encode(message, encoding)
}

fn decode<M: Message + Default + for<'de> Deserialize<'de>>(
    frame: &Frame,
) -> Result<M, FrameError> {
    if frame.len() > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong);
    }
    match frame {
        Frame::Binary(bytes) => M::decode(bytes.clone()).map_err(|_| FrameError::Malformed),
        Frame::Text(text) => lenient::message(text.as_bytes()).ok_or(FrameError::Malformed),
    }
}

fn encode<M: Message + Serialize>(message: &M, encoding: Encoding) -> Frame {
    match encoding {
        Encoding::Protobuf => Frame::Binary(message.encode_to_vec().into()),
        // JSON has no word for an enum value out of range. The room passes none on; a client may get its own back.
        Encoding::Json => Frame::Text(serde_json::to_string(message).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::livekit::{Ping, SessionDescription, signal_request, signal_response};
    use base64::engine::general_purpose::{URL_SAFE as PADDED, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    fn request(sdp: String) -> JoinRequest {
        let offer = SessionDescription {
            r#type: "offer".into(),
            sdp,
            id: 1,
            ..Default::default()
        };
        JoinRequest {
            publisher_offer: Some(offer),
            ..Default::default()
        }
    }

    fn wrap(compression: i32, join_request: Vec<u8>) -> Vec<u8> {
        WrappedJoinRequest {
            compression,
            join_request,
        }
        .encode_to_vec()
    }

    #[test]
    fn join_requests_are_read_with_and_without_gzip_and_padding() {
        for length in [0, 1, 2, 3, 3000] {
            let expected = request("v".repeat(length));
            let plain = wrap(Compression::None.into(), expected.encode_to_vec());
            for text in [
                PADDED.encode(&plain),
                URL_SAFE_NO_PAD.encode(&plain),
                encode_join_request(&expected),
            ] {
                assert_eq!(decode_join_request(&text), Ok(expected.clone()));
            }
        }
    }

    #[test]
    fn each_layer_of_a_join_request_has_its_error() {
        use JoinRequestError as E;
        let text = |compression, bytes: &[u8]| PADDED.encode(wrap(compression, bytes.to_vec()));
        assert_eq!(decode_join_request(""), Err(E::Missing));
        assert_eq!(decode_join_request("not base64!"), Err(E::Base64));
        assert_eq!(
            decode_join_request(&PADDED.encode([0xff; 8])),
            Err(E::Wrapped)
        );
        assert_eq!(decode_join_request(&text(7, b"")), Err(E::Wrapped));
        assert_eq!(
            decode_join_request(&text(1, b"not gzip")),
            Err(E::Compression)
        );
        assert_eq!(decode_join_request(&text(0, &[0xff; 8])), Err(E::Inner));
        assert_eq!(E::Missing.to_string(), "join_request is required");
        assert_eq!(
            E::Base64.to_string(),
            "cannot base64 decode wrapped join request"
        );
        assert_eq!(
            E::Wrapped.to_string(),
            "cannot unmarshal wrapped join request"
        );
    }

    #[test]
    fn a_decompression_bomb_is_refused_at_the_limit() {
        let overhead = request(String::new()).encoded_len() + 8;
        let fits = request("v".repeat(MAX_JOIN_REQUEST_BYTES - overhead));
        assert!(fits.encoded_len() <= MAX_JOIN_REQUEST_BYTES);
        assert_eq!(decode_join_request(&encode_join_request(&fits)), Ok(fits));
        let bomb = request("v".repeat(MAX_JOIN_REQUEST_BYTES));
        assert_eq!(
            decode_join_request(&encode_join_request(&bomb)),
            Err(JoinRequestError::Compression)
        );
    }

    #[test]
    fn a_frame_is_read_up_to_the_limit() {
        let text = |length| Frame::Text(format!("{{}}{}", " ".repeat(length - 2)));
        assert_eq!(
            decode_request(&text(MAX_FRAME_BYTES)),
            Ok(SignalRequest { message: None })
        );
        assert_eq!(
            decode_request(&text(MAX_FRAME_BYTES + 1)),
            Err(FrameError::TooLong)
        );
        let binary = Frame::Binary(vec![0; MAX_FRAME_BYTES + 1].into());
        assert_eq!(decode_request(&binary), Err(FrameError::TooLong));
    }

    #[test]
    fn both_encodings_carry_the_same_message() {
        let ping = Ping {
            timestamp: i64::MAX,
            rtt: 3,
        };
        let request = SignalRequest {
            message: Some(signal_request::Message::PingReq(ping)),
        };
        let response = SignalResponse {
            message: Some(signal_response::Message::Pong(5)),
        };
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            let frame = encode_request(&request, encoding);
            assert_eq!(frame.encoding(), encoding);
            assert_eq!(decode_request(&frame), Ok(request.clone()));
            let frame = encode_response(&response, encoding);
            assert_eq!(decode_response(&frame), Ok(response.clone()));
        }
    }

    #[test]
    fn a_message_from_the_future_decodes_to_nothing() {
        // Field 999, length-delimited, empty.
        let future = Frame::Binary(vec![0xba, 0x3e, 0x00].into());
        assert_eq!(decode_request(&future), Ok(SignalRequest { message: None }));
        let future = Frame::Text(r#"{"tomorrow":{"a":1}}"#.into());
        assert_eq!(decode_request(&future), Ok(SignalRequest { message: None }));
    }

    proptest! {
        #[test]
        fn random_frames_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in ".{0,200}") {
            let _ = decode_request(&Frame::Binary(bytes.clone().into()));
            let _ = decode_request(&Frame::Text(text.clone()));
            let _ = decode_join_request(&text);
            let _ = decode_join_request(&PADDED.encode(bytes));
        }
    }
}
