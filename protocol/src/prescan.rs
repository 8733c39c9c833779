//! A count of the objects that a message would become in memory, before it is decoded.
//!
//! An empty repeated message is two bytes on the wire and up to 450 in memory: a frame of 2 MB would cost hundreds.
//! Each object, string or packed list of a protobuf message is a length-delimited field (wire type 2), so that these
//! are counted; other fields fill places that are there already. The scan knows no schema: the content of each such
//! field is read as if it were a message, as far as that goes, which never counts fewer fields than a decoder meets. A
//! long text might by accident read as a message of many fields: the caller names those that can be long. It also names
//! those of which honest messages have thousands and each of which takes little ([`Paths`]).

/// The deepest nesting of messages that is counted. No message of LiveKit's is nested so deep; fields below that become
/// no object.
const MAX_DEPTH: usize = 16;

/// The number of small fields that count as one field: a text takes a twentieth of what the largest message does.
const SMALL: usize = 8;

/// A set of fields, each by the numbers of the fields that lead to it.
pub type Paths = &'static [&'static [u32]];

/// The message has more fields than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many fields")]
pub struct TooManyFields;

/// Counts the length-delimited fields of a protobuf message and of all messages in it. Stops at `max`, so that it costs
/// no more time than that many fields. Bytes that are no message are counted as far as they are one; refusing them is
/// the decoder's.
///
/// `long` fields hold text or bytes: they count, their content does not. `small` ones are texts, or messages of a few
/// texts: eight count as one.
///
/// # Errors
/// [`TooManyFields`]: there are more than `max`.
pub fn protobuf(
    message: &[u8],
    max: usize,
    long: Paths,
    small: Paths,
) -> Result<usize, TooManyFields> {
    let mut scan = Scan {
        path: [0; MAX_DEPTH],
        count: Count::new(max),
        long,
        small,
    };
    scan.message(message, 0)?;
    Ok(scan.count.fields())
}

/// Counts for JSON: objects and lists, and the values in them as small ones.
///
/// # Errors
/// [`TooManyFields`]: there are more than `max`.
pub fn json(text: &[u8], max: usize) -> Result<usize, TooManyFields> {
    let (mut count, mut in_string, mut is_escaped, mut is_empty) =
        (Count::new(max), false, false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' if in_string => in_string = false,
            _ if in_string => {}
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'}' | b']' => is_empty = false,
            byte => {
                // The first value of an object or list has no comma before it.
                let is_first = std::mem::take(&mut is_empty);
                is_empty = matches!(byte, b'{' | b'[');
                in_string = *byte == b'"';
                if is_first || *byte == b',' {
                    count.add(1)?;
                }
                if is_empty {
                    count.add(SMALL)?;
                }
            }
        }
    }
    Ok(count.fields())
}

/// The count, in small fields.
struct Count {
    small: usize,
    max: usize,
}

impl Count {
    fn new(max: usize) -> Self {
        let max = max.saturating_mul(SMALL);
        Self { small: 0, max }
    }

    fn add(&mut self, small: usize) -> Result<(), TooManyFields> {
        self.small += small;
        match self.small > self.max {
            true => Err(TooManyFields),
            false => Ok(()),
        }
    }

    fn fields(&self) -> usize {
        self.small.div_ceil(SMALL)
    }
}

struct Scan {
    /// The numbers of the fields that are being read, outermost first.
    path: [u32; MAX_DEPTH],
    count: Count,
    long: Paths,
    small: Paths,
}

impl Scan {
    fn message(&mut self, mut rest: &[u8], depth: usize) -> Result<(), TooManyFields> {
        // Groups need no special treatment: decoders skip them, and their content counts.
        while let Some((tag, after)) = varint(rest) {
            let Ok(number) = u32::try_from(tag >> 3) else {
                return Ok(());
            };
            rest = match tag & 7 {
                0 => match varint(after) {
                    Some((_, after)) => after,
                    None => return Ok(()),
                },
                1 => after.get(8..).unwrap_or_default(),
                2 => match split(after) {
                    Some((content, after)) => {
                        self.field(number, content, depth)?;
                        after
                    }
                    None => return Ok(()),
                },
                3 | 4 => after,
                5 => after.get(4..).unwrap_or_default(),
                _ => return Ok(()),
            };
        }
        Ok(())
    }

    fn field(&mut self, number: u32, content: &[u8], depth: usize) -> Result<(), TooManyFields> {
        let Some(place) = self.path.get_mut(depth) else {
            return self.count.add(SMALL);
        };
        *place = number;
        let path = &self.path[..=depth];
        let is_small = self.small.contains(&path);
        self.count.add(if is_small { 1 } else { SMALL })?;
        if self.long.contains(&path) {
            return Ok(());
        }
        self.message(content, depth + 1)
    }
}

/// Splits off a length and that many bytes; the rest comes second.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = varint(bytes)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

/// Splits off a number of at most ten bytes, seven bits in each, the lowest first; the rest comes second.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::livekit::{
        SessionDescription, SignalRequest, SyncState, TrackPublishedResponse, UpdateSubscription,
        signal_request::Message as Request,
    };
    use proptest::prelude::*;
    use prost::Message;

    fn bytes(message: Request) -> Vec<u8> {
        SignalRequest {
            message: Some(message),
        }
        .encode_to_vec()
    }

    #[test]
    fn each_message_in_a_message_counts_whatever_it_holds() {
        let tracks = |n| {
            bytes(Request::SyncState(SyncState {
                publish_tracks: vec![TrackPublishedResponse::default(); n],
                ..Default::default()
            }))
        };
        // One is the `sync_state` itself.
        assert_eq!(protobuf(&tracks(9), 10, &[], &[]), Ok(10));
        assert_eq!(protobuf(&tracks(10), 10, &[], &[]), Err(TooManyFields));
        let sids = UpdateSubscription {
            track_sids: vec!["TR_VCabcdefghijkl".into(); 300],
            ..Default::default()
        };
        assert_eq!(
            protobuf(&bytes(Request::Subscription(sids)), 1000, &[], &[]),
            Ok(301)
        );
    }

    #[test]
    fn what_breaks_off_is_counted_up_to_there() {
        // A decoder makes the objects before it finds the end missing, and behind a group or a number too.
        let mut message = vec![0x0b, 0x0a, 0x00, 0x0c, 0x08, 0x80, 0x01];
        message.extend([0x12, 0x00].repeat(50));
        message.extend([0x12, 0x7f, 0x00]);
        assert_eq!(protobuf(&message, 100, &[], &[]), Ok(51));
        assert_eq!(protobuf(&message, 50, &[], &[]), Err(TooManyFields));
    }

    #[test]
    fn a_text_that_is_named_may_say_anything() {
        let text = "2".repeat(1_000_000);
        let description = |sdp: &str| SessionDescription {
            sdp: sdp.to_owned(),
            ..Default::default()
        };
        let offer = bytes(Request::Offer(description(&text)));
        assert_eq!(protobuf(&offer, 4096, &[], &[]), Err(TooManyFields));
        assert_eq!(protobuf(&offer, 4096, &[&[1, 2]], &[]), Ok(2));
        let answer = bytes(Request::Answer(description(&text)));
        assert_eq!(
            protobuf(&answer, 4096, &[&[1, 2], &[2]], &[]),
            Ok(1),
            "by its own path only"
        );
    }

    #[test]
    fn of_small_fields_eight_count_as_one() {
        let sids = UpdateSubscription {
            track_sids: vec!["TR_VCabcdefghijkl".into(); 80],
            ..Default::default()
        };
        let wish = bytes(Request::Subscription(sids));
        assert_eq!(protobuf(&wish, 11, &[], &[&[6, 1]]), Ok(11));
        assert_eq!(protobuf(&wish, 10, &[], &[&[6, 1]]), Err(TooManyFields));
        assert_eq!(protobuf(&wish, 80, &[], &[&[7, 1]]), Err(TooManyFields));
    }

    #[test]
    fn depth_is_bounded() {
        let mut message = Vec::new();
        for _ in 0..10_000 {
            let mut outer = vec![0x0a];
            prost::encoding::encode_varint(message.len() as u64, &mut outer);
            outer.append(&mut message);
            message = outer;
        }
        assert_eq!(protobuf(&message, 100, &[], &[]), Ok(MAX_DEPTH + 1));
    }

    #[test]
    fn values_of_json_count_and_texts_do_not() {
        // Four objects and lists, and four values in them.
        assert_eq!(json(br#"{"a":[{},{}],"b":"{[,\",["}"#, 10), Ok(5));
        let empties = format!("[{}]", "{},".repeat(5000));
        assert_eq!(json(empties.as_bytes(), 4096), Err(TooManyFields));
        let text = format!("{{\"sdp\":\"{}\"}}", ",".repeat(1_000_000));
        assert_eq!(json(text.as_bytes(), 4096), Ok(2));
        let texts = format!("[{}]", r#""","#.repeat(8 * 4095));
        assert_eq!(json(texts.as_bytes(), 4097), Ok(4097));
        assert_eq!(json(texts.as_bytes(), 4096), Err(TooManyFields));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = protobuf(&bytes, 50, &[&[1, 2]], &[&[1]]);
            let _ = json(&bytes, 50);
        }
    }
}
