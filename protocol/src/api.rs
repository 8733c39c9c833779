//! Bodies of server API calls, read and written.

use bytes::Bytes;
use prost::Message;
use serde::de::DeserializeOwned;

use crate::{
    lenient,
    prescan::{self, Paths},
};

/// The most fields of a request, with those of the messages in it ([`prescan`]).
pub const MAX_FIELDS: usize = 1000;

/// The format of a call's bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Protobuf's JSON mapping, read as leniently as Go does ([`lenient`]).
    Json,
    /// Protobuf.
    Protobuf,
}

/// Reads a request. `long` names the fields that may hold long texts, `small` those of which there may be eight times
/// as many ([`prescan::protobuf`]). `None` for bytes that are no such request, or have more than [`MAX_FIELDS`]: then
/// nothing of them is decoded.
pub fn decode<M: Message + Default + DeserializeOwned>(
    format: Format,
    body: &Bytes,
    long: Paths,
    small: Paths,
) -> Option<M> {
    match format {
        Format::Json => {
            prescan::json(body, MAX_FIELDS).ok()?;
            lenient::message(body)
        }
        Format::Protobuf => {
            prescan::protobuf(body, MAX_FIELDS, long, small).ok()?;
            M::decode(body.clone()).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::livekit::{ListRoomsRequest, SendDataRequest};

    #[test]
    fn a_request_has_so_many_fields_and_not_one_more() {
        let request = |n| ListRoomsRequest {
            names: vec!["r".into(); n],
        };
        for n in [MAX_FIELDS, MAX_FIELDS + 1] {
            let binary = Bytes::from(request(n).encode_to_vec());
            let expected = (n <= MAX_FIELDS).then(|| request(n));
            assert_eq!(decode(Format::Protobuf, &binary, &[], &[]), expected);
        }
        // The object and the list count as eight each, and the list is a value of the object.
        let most = 8 * MAX_FIELDS - 17;
        for n in [most, most + 1] {
            let json = Bytes::from(serde_json::to_vec(&request(n)).unwrap());
            let expected = (n <= most).then(|| request(n));
            assert_eq!(decode(Format::Json, &json, &[], &[]), expected);
        }
        let binary = Bytes::from(request(8 * MAX_FIELDS).encode_to_vec());
        let small = decode(Format::Protobuf, &binary, &[], &[&[1]]);
        assert_eq!(small, Some(request(8 * MAX_FIELDS)));
    }

    #[test]
    fn data_may_be_long_and_look_like_anything() {
        let request = SendDataRequest {
            room: "r".into(),
            data: [0x0a, 0x00].repeat(500_000),
            ..Default::default()
        };
        let binary = Bytes::from(request.encode_to_vec());
        assert_eq!(
            decode(Format::Protobuf, &binary, &[&[2]], &[]),
            Some(request.clone())
        );
        let json = Bytes::from(serde_json::to_vec(&request).unwrap());
        assert_eq!(decode(Format::Json, &json, &[&[2]], &[]), Some(request));
    }
}
