//! The signal connection's frames, and the `join_request` parameter that opens it.

use std::io::Read;

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::livekit::{
    JoinRequest, SignalRequest, SignalResponse, WrappedJoinRequest,
    wrapped_join_request::Compression,
};

/// The longest frame in either direction. LiveKit's limit.
pub const MAX_FRAME_BYTES: usize = 2 * 1024 * 1024;

/// The longest `join_request`, decompressed. A join with an offer for 50 sections has about 100 kB.
pub const MAX_JOIN_REQUEST_BYTES: usize = 512 * 1024;

/// Clients write base64 with padding (Python) and without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a `join_request` parameter was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinRequestError {
    /// It is missing.
    #[error("join_request is required")]
    Missing,
    /// Not base64url.
    #[error("cannot base64 decode wrapped join request")]
    Base64,
    /// Not a `WrappedJoinRequest`.
    #[error("cannot unmarshal wrapped join request")]
    Wrapped,
    /// Not gzip, or longer than [`MAX_JOIN_REQUEST_BYTES`].
    #[error("cannot decompress join request")]
    Compression,
    /// Not a `JoinRequest`.
    #[error("cannot unmarshal join request")]
    Inner,
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
    let wrapped =
        WrappedJoinRequest::decode(bytes.as_slice()).map_err(|_| JoinRequestError::Wrapped)?;
    let inner = match Compression::try_from(wrapped.compression) {
        Ok(Compression::None) => wrapped.join_request,
        Ok(Compression::Gzip) => gunzip(&wrapped.join_request)?,
        Err(_) => return Err(JoinRequestError::Wrapped),
    };
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
    /// Its length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Binary(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
        }
    }

    /// Has it no bytes?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How it is encoded.
    pub fn encoding(&self) -> Encoding {
        match self {
            Self::Binary(_) => Encoding::Protobuf,
            Self::Text(_) => Encoding::Json,
        }
    }
}

/// How the messages of a connection are written. The client's first frame decides for both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// Binary frames.
    #[default]
    Protobuf,
    /// Text frames.
    Json,
}

/// Why a frame was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`MAX_FRAME_BYTES`].
    #[error("signal message too long")]
    TooLong,
    /// Not a message.
    #[error("signal message could not be decoded")]
    Malformed,
}

/// Reads a client's frame. A message this version does not know decodes to `message: None`.
pub fn decode_request(frame: &Frame) -> Result<SignalRequest, FrameError> {
    decode(frame)
}

/// Reads a server's frame.
pub fn decode_response(frame: &Frame) -> Result<SignalResponse, FrameError> {
    decode(frame)
}

/// Writes a client's frame.
pub fn encode_request(request: &SignalRequest, encoding: Encoding) -> Frame {
    encode(request, encoding)
}

/// Writes a server's frame.
pub fn encode_response(response: &SignalResponse, encoding: Encoding) -> Frame {
    encode(response, encoding)
}

fn decode<M: Message + Default + for<'de> Deserialize<'de>>(
    frame: &Frame,
) -> Result<M, FrameError> {
    if frame.len() > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong);
    }
    match frame {
        Frame::Binary(bytes) => M::decode(bytes.clone()).map_err(|_| FrameError::Malformed),
        Frame::Text(text) => serde_json::from_str(text).map_err(|_| FrameError::Malformed),
    }
}

fn encode<M: Message + Serialize>(message: &M, encoding: Encoding) -> Frame {
    match encoding {
        Encoding::Protobuf => Frame::Binary(message.encode_to_vec().into()),
        // pbjson fails only for enum values out of range, which we never write.
        Encoding::Json => Frame::Text(serde_json::to_string(message).unwrap_or_default()),
    }
}

/// The `candidate:…` line of a trickled candidate (`RTCIceCandidateInit` as JSON). `None` for what is not one, and for
/// the empty candidate that ends the trickling.
pub fn candidate_line(candidate_init: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct CandidateInit {
        candidate: String,
    }
    let init: CandidateInit = serde_json::from_str(candidate_init).ok()?;
    (!init.candidate.is_empty()).then_some(init.candidate)
}
