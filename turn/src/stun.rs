//! STUN messages (RFC 8489, section 5) and channel data (RFC 8656, section 12.4), from and to bytes. Every byte of a
//! message comes from a sender that is not authenticated yet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aws_lc_rs::hmac;

/// The magic cookie (RFC 8489, section 5).
const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// Length of the header of a message.
const HEADER: usize = 20;

/// Length of a MESSAGE-INTEGRITY attribute with its header.
const INTEGRITY: usize = 24;

/// Length of the header of channel data.
pub const CHANNEL_HEADER: usize = 4;

/// The methods that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Binding: "What is my address?" (RFC 8489).
    Binding,
    /// Allocate (RFC 8656, section 7).
    Allocate,
    /// Refresh (RFC 8656, section 8).
    Refresh,
    /// Send (RFC 8656, section 11.1).
    Send,
    /// Data (RFC 8656, section 11.4).
    Data,
    /// CreatePermission (RFC 8656, section 10).
    CreatePermission,
    /// ChannelBind (RFC 8656, section 12).
    ChannelBind,
}

/// The classes of messages (RFC 8489, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A request, which wants an answer.
    Request,
    /// An indication, which wants none.
    Indication,
    /// A success response.
    Success,
    /// An error response.
    Error,
}

/// Types of attributes.
pub mod attribute {
    #![allow(missing_docs)] // Named as in RFC 8489 and RFC 8656.
    pub const USERNAME: u16 = 0x0006;
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub const ERROR_CODE: u16 = 0x0009;
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub const CHANNEL_NUMBER: u16 = 0x000c;
    pub const LIFETIME: u16 = 0x000d;
    pub const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub const DATA: u16 = 0x0013;
    pub const REALM: u16 = 0x0014;
    pub const NONCE: u16 = 0x0015;
    pub const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    pub const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub const DONT_FRAGMENT: u16 = 0x001a;
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
}

/// The type from which on an attribute need not be understood (RFC 8489, section 14).
const COMPREHENSION_OPTIONAL: u16 = 0x8000;

impl Method {
    const ALL: [(Self, u16); 7] = [
        (Self::Binding, 0x001),
        (Self::Allocate, 0x003),
        (Self::Refresh, 0x004),
        (Self::Send, 0x006),
        (Self::Data, 0x007),
        (Self::CreatePermission, 0x008),
        (Self::ChannelBind, 0x009),
    ];

    fn number(self) -> u16 {
        let row = Self::ALL.iter().find(|(method, _)| *method == self);
        row.map_or(0, |(_, number)| *number)
    }
}

impl Class {
    /// The two bits of the class within the type of a message.
    fn bits(self) -> u16 {
        match self {
            Self::Request => 0x0000,
            Self::Indication => 0x0010,
            Self::Success => 0x0100,
            Self::Error => 0x0110,
        }
    }
}

/// A well-formed message: its header and the lengths of its attributes are right.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
    class: Class,
    method: Method,
    /// Where MESSAGE-INTEGRITY starts; nothing behind it counts.
    integrity: Option<usize>,
}

impl<'a> Message<'a> {
    /// Parses a message; `None` for anything that is no message of a method we know.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header: &[u8; HEADER] = bytes.first_chunk()?;
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if kind & 0xc000 != 0
            || header[4..8] != MAGIC
            || len % 4 != 0
            || bytes.len() != HEADER + len
        {
            return None;
        }
        let class = match kind & 0x0110 {
            0x0000 => Class::Request,
            0x0010 => Class::Indication,
            0x0100 => Class::Success,
            _ => Class::Error,
        };
        let number = kind & 0x000f | (kind & 0x00e0) >> 1 | (kind & 0x3e00) >> 2;
        let (method, _) = Method::ALL
            .into_iter()
            .find(|(_, known)| *known == number)?;
        let mut message = Self {
            bytes,
            class,
            method,
            integrity: None,
        };
        let mut at = HEADER;
        while at < bytes.len() {
            let (kind, value) = message.attribute_at(at)?;
            if kind == attribute::MESSAGE_INTEGRITY {
                if value.len() != INTEGRITY - 4 {
                    return None;
                }
                message.integrity.get_or_insert(at);
            }
            at += 4 + padded(value.len());
        }
        Some(message)
    }

    fn attribute_at(&self, at: usize) -> Option<(u16, &'a [u8])> {
        let head: &[u8; 4] = self.bytes.get(at..)?.first_chunk()?;
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = self.bytes.get(at + 4..at + 4 + len)?;
        // The padding has to be there too.
        self.bytes.get(..at + 4 + padded(len))?;
        Some((u16::from_be_bytes([head[0], head[1]]), value))
    }

    /// The message's class.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The message's method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The message's transaction id.
    pub fn transaction(&self) -> [u8; 12] {
        let id = self.bytes.get(8..HEADER).and_then(|id| id.try_into().ok());
        id.unwrap_or_default()
    }

    /// Types and values of the attributes, in their order, as far as MESSAGE-INTEGRITY covers them.
    pub fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> + '_ {
        let end = self.integrity.unwrap_or(self.bytes.len());
        let mut at = HEADER;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let (kind, value) = self.attribute_at(at)?;
            at += 4 + padded(value.len());
            Some((kind, value))
        })
    }

    /// The value of the first attribute of this type.
    pub fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes()
            .find(|(other, _)| *other == kind)
            .map(|(_, value)| value)
    }

    /// The text of an attribute, when it is text.
    pub fn text(&self, kind: u16) -> Option<&'a str> {
        self.attribute(kind)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// An attribute that is a 32-bit number.
    pub fn number(&self, kind: u16) -> Option<u32> {
        let value: [u8; 4] = self.attribute(kind)?.try_into().ok()?;
        Some(u32::from_be_bytes(value))
    }

    /// The address in a value of an attribute of type XOR-…-ADDRESS (RFC 8489, section 14.2).
    pub fn xor_address(&self, value: &[u8]) -> Option<SocketAddr> {
        let (head, address) = value.split_first_chunk::<4>()?;
        let port = u16::from_be_bytes([head[2] ^ MAGIC[0], head[3] ^ MAGIC[1]]);
        let ip: IpAddr = match head[1] {
            1 => {
                let mut octets: [u8; 4] = address.try_into().ok()?;
                octets.iter_mut().zip(MAGIC).for_each(|(a, b)| *a ^= b);
                Ipv4Addr::from(octets).into()
            }
            2 => {
                let mut octets: [u8; 16] = address.try_into().ok()?;
                let mask = MAGIC.into_iter().chain(self.transaction());
                octets.iter_mut().zip(mask).for_each(|(a, b)| *a ^= b);
                Ipv6Addr::from(octets).into()
            }
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }

    /// Types of attributes that must be understood and are not in `known`.
    pub fn unknown(&self, known: &[u16]) -> Vec<u16> {
        let must = |(kind, _): (u16, _)| {
            (kind < COMPREHENSION_OPTIONAL && !known.contains(&kind)).then_some(kind)
        };
        self.attributes().filter_map(must).collect()
    }

    /// Whether the message has a MESSAGE-INTEGRITY attribute.
    pub fn is_signed(&self) -> bool {
        self.integrity.is_some()
    }

    /// Whether the message was signed with `key`.
    pub fn verify(&self, key: &[u8]) -> bool {
        let parts = self.integrity.and_then(|at| {
            let tag = self.bytes.get(at + 4..at + INTEGRITY)?;
            Some((at, tag))
        });
        let Some((at, tag)) = parts else {
            return false;
        };
        // The length field is as if the message ended with the integrity.
        let Ok(len) = u16::try_from(at + INTEGRITY - HEADER) else {
            return false;
        };
        let mut covered = self.bytes[..at].to_vec();
        covered[2..4].copy_from_slice(&len.to_be_bytes());
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
        hmac::verify(&key, &covered, tag).is_ok()
    }
}

fn padded(len: usize) -> usize {
    len.next_multiple_of(4)
}

/// A writer of messages.
pub struct Builder {
    bytes: Vec<u8>,
    transaction: [u8; 12],
}

impl Builder {
    /// A message without attributes.
    pub fn new(class: Class, method: Method, transaction: [u8; 12]) -> Self {
        let number = method.number();
        let kind = number & 0x000f | (number & 0x0070) << 1 | (number & 0x0f80) << 2 | class.bits();
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&transaction);
        Self { bytes, transaction }
    }

    /// A response to `request`.
    pub fn answer(class: Class, request: &Message<'_>) -> Self {
        Self::new(class, request.method(), request.transaction())
    }

    /// Adds an attribute. A value that is longer than a datagram can be is left out.
    pub fn add(mut self, kind: u16, value: &[u8]) -> Self {
        let Ok(len) = u16::try_from(value.len()) else {
            debug_assert!(false, "no attribute of ours is that long");
            return self;
        };
        self.bytes.extend_from_slice(&kind.to_be_bytes());
        self.bytes.extend_from_slice(&len.to_be_bytes());
        self.bytes.extend_from_slice(value);
        let end = padded(self.bytes.len());
        self.bytes.resize(end, 0);
        self
    }

    /// Adds an attribute of type XOR-…-ADDRESS.
    pub fn add_address(self, kind: u16, address: SocketAddr) -> Self {
        let mask = MAGIC.into_iter().chain(self.transaction);
        let port = address.port().to_be_bytes();
        let mut value = vec![0, 1, port[0] ^ MAGIC[0], port[1] ^ MAGIC[1]];
        match address.ip() {
            IpAddr::V4(v4) => value.extend(v4.octets().into_iter().zip(mask).map(|(a, b)| a ^ b)),
            IpAddr::V6(v6) => {
                value[1] = 2;
                value.extend(v6.octets().into_iter().zip(mask).map(|(a, b)| a ^ b));
            }
        }
        self.add(kind, &value)
    }

    /// Adds ERROR-CODE, without words: an answer to a stranger should be short.
    pub fn add_error(self, code: u16) -> Self {
        let [class, number] = [code / 100, code % 100].map(|part| part as u8);
        self.add(attribute::ERROR_CODE, &[0, 0, class, number])
    }

    /// The message, not signed.
    pub fn finish(mut self) -> Vec<u8> {
        self.set_len(0);
        self.bytes
    }

    /// The message, signed with `key`.
    pub fn sign(mut self, key: &[u8]) -> Vec<u8> {
        self.set_len(INTEGRITY);
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
        let tag = hmac::sign(&key, &self.bytes);
        self.add(attribute::MESSAGE_INTEGRITY, tag.as_ref()).bytes
    }

    fn set_len(&mut self, more: usize) {
        let len = u16::try_from(self.bytes.len() - HEADER + more).unwrap_or(u16::MAX);
        self.bytes[2..4].copy_from_slice(&len.to_be_bytes());
    }
}

/// Channel data: the channel's number, and the content. `None` for other bytes. Padding at the end is ignored.
pub fn channel_data(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let head: &[u8; CHANNEL_HEADER] = bytes.first_chunk()?;
    let number = u16::from_be_bytes([head[0], head[1]]);
    let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let data = bytes.get(CHANNEL_HEADER..CHANNEL_HEADER + len)?;
    (0x4000..0x5000).contains(&number).then_some((number, data))
}

/// The bytes are neither a message nor channel data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotTurn;

/// Length of the first message (or channel data) of a byte stream, with its padding (RFC 8656, section 12.5); `None`
/// when its header is not complete yet.
///
/// # Errors
/// [`NotTurn`] when the bytes cannot begin either.
pub fn stream_message_len(bytes: &[u8]) -> Result<Option<usize>, NotTurn> {
    let Some(head) = bytes.first_chunk::<4>() else {
        return Ok(None);
    };
    let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
    match head[0] {
        0..=0x3f => Ok(Some(HEADER + len)),
        0x40..=0x4f => Ok(Some(padded(CHANNEL_HEADER + len))),
        _ => Err(NotTurn),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of RFC 5769, section 2.4: a request with long-term authentication.
    const SAMPLE: &[u8] = b"\x00\x01\x00\x60\x21\x12\xa4\x42\x78\xad\x34\x33\xc6\xad\x72\xc0\x29\xda\x41\x2e\
        \x00\x06\x00\x12\xe3\x83\x9e\xe3\x83\x88\xe3\x83\xaa\xe3\x83\x83\xe3\x82\xaf\xe3\x82\xb9\x00\x00\
        \x00\x15\x00\x1c\x66\x2f\x2f\x34\x39\x39\x6b\x39\x35\x34\x64\x36\x4f\x4c\x33\x34\x6f\x4c\x39\x46\
        \x53\x54\x76\x79\x36\x34\x73\x41\x00\x14\x00\x0b\x65\x78\x61\x6d\x70\x6c\x65\x2e\x6f\x72\x67\x00\
        \x00\x08\x00\x14\xf6\x70\x24\x65\x6d\xd6\x4a\x3e\x02\xb8\xe0\x71\x2e\x85\xc9\xa2\x8c\xa8\x96\x66";

    #[test]
    fn the_sample_of_rfc_5769_is_read_and_verified() {
        let message = Message::parse(SAMPLE).unwrap();
        assert_eq!(
            (message.class(), message.method()),
            (Class::Request, Method::Binding)
        );
        assert_eq!(message.text(attribute::REALM), Some("example.org"));
        assert_eq!(
            message.text(attribute::NONCE),
            Some("f//499k954d6OL34oL9FSTvy64sA")
        );
        let user = message.text(attribute::USERNAME).unwrap();
        assert_eq!(user, "\u{30de}\u{30c8}\u{30ea}\u{30c3}\u{30af}\u{30b9}");
        assert!(message.verify(&crate::auth::key(user, "example.org", "TheMatrIX")));
        assert!(!message.verify(&crate::auth::key(user, "example.org", "TheMatrix")));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let id = *b"abcdefghijkl";
        for address in [
            "192.0.2.1:32853",
            "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
        ] {
            let address: SocketAddr = address.parse().unwrap();
            let bytes = Builder::new(Class::Success, Method::ChannelBind, id)
                .add(attribute::DATA, b"abc")
                .add_address(attribute::XOR_MAPPED_ADDRESS, address)
                .add_error(438)
                .sign(b"key");
            let message = Message::parse(&bytes).unwrap();
            assert_eq!(
                (message.class(), message.method()),
                (Class::Success, Method::ChannelBind)
            );
            assert_eq!(message.transaction(), id);
            assert_eq!(message.attribute(attribute::DATA), Some(&b"abc"[..]));
            let value = message.attribute(attribute::XOR_MAPPED_ADDRESS).unwrap();
            assert_eq!(message.xor_address(value), Some(address));
            assert_eq!(
                message.attribute(attribute::ERROR_CODE),
                Some(&[0, 0, 4, 38][..])
            );
            assert!(message.verify(b"key") && !message.verify(b"yek"));
        }
    }

    #[test]
    fn what_follows_the_integrity_does_not_count() {
        let mut bytes = Builder::new(Class::Request, Method::Refresh, [1; 12]).sign(b"key");
        bytes.extend_from_slice(&[0, 0x0d, 0, 4, 0, 0, 0, 0]);
        let len = (bytes.len() - HEADER) as u16;
        bytes[2..4].copy_from_slice(&len.to_be_bytes());
        let message = Message::parse(&bytes).unwrap();
        assert!(message.verify(b"key"));
        assert_eq!(message.attribute(attribute::LIFETIME), None);
    }

    #[test]
    fn every_changed_byte_before_the_integrity_is_noticed() {
        let bytes = Builder::new(Class::Request, Method::Allocate, [7; 12])
            .add(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
            .sign(b"key");
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let fooled = Message::parse(&changed).is_some_and(|message| message.verify(b"key"));
            assert!(!fooled, "byte {at}");
        }
    }

    #[test]
    fn channel_data_has_a_number_of_its_range_and_all_its_bytes() {
        assert_eq!(
            channel_data(&[0x40, 0, 0, 2, 8, 9]),
            Some((0x4000, &[8, 9][..]))
        );
        assert_eq!(
            channel_data(&[0x4f, 0xff, 0, 1, 8, 0, 0, 0]),
            Some((0x4fff, &[8][..]))
        );
        assert_eq!(channel_data(&[0x50, 0, 0, 1, 8]), None);
        assert_eq!(channel_data(&[0x3f, 0xff, 0, 1, 8]), None);
        assert_eq!(channel_data(&[0x40, 0, 0, 3, 8, 9]), None);
        assert_eq!(channel_data(&[0x40, 0]), None);
    }

    #[test]
    fn messages_of_a_stream_are_as_long_as_they_say() {
        assert_eq!(stream_message_len(&[0, 1, 0]), Ok(None));
        assert_eq!(stream_message_len(SAMPLE), Ok(Some(SAMPLE.len())));
        assert_eq!(stream_message_len(&[0x40, 0, 0, 5]), Ok(Some(12)));
        assert_eq!(stream_message_len(b"GET "), Ok(Some(padded(4 + 0x5420))));
        assert_eq!(stream_message_len(&[0x16, 3, 1, 0]), Ok(Some(276)));
        assert_eq!(stream_message_len(&[0x80, 0, 0, 0]), Err(NotTurn));
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_looked_at(bytes in prop::collection::vec(any::<u8>(), 0..120), keep in any::<bool>()) {
            let mut bytes = bytes;
            if keep && bytes.len() >= HEADER {
                let len = (bytes.len() - HEADER) as u16 & !3;
                bytes.truncate(HEADER + usize::from(len));
                bytes[0] = 0;
                bytes[1] = 3;
                bytes[2..4].copy_from_slice(&len.to_be_bytes());
                bytes[4..8].copy_from_slice(&MAGIC);
            }
            if let Some(message) = Message::parse(&bytes) {
                let all: usize = message.attributes().map(|(_, value)| value.len()).sum();
                prop_assert!(all <= bytes.len());
                for (_, value) in message.attributes() {
                    message.xor_address(value);
                }
                message.verify(b"key");
            }
            channel_data(&bytes);
            let _ = stream_message_len(&bytes);
        }
    }
}
