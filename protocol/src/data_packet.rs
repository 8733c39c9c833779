//! `livekit.DataPacket` as routing sees it: its receivers, its kind, and the stamp of its sender.
//!
//! A scan over its protobuf fields borrows what routing needs, and stamping copies the other fields as they are, known
//! or not. Before that, the packet is decoded once to be sure that it is well-formed all the way down: the decoders of
//! some clients take a field's type from its number alone and do not hold a nested message to its length, so that a
//! field that lies about either could swallow the stamp and put another one in its place.

use prost::Message;

use crate::{
    livekit::{self, DataPacket},
    prescan::{self, Paths},
};

/// Fields of `DataPacket`.
const USER: u32 = 2;
const SPEAKER: u32 = 3;
const PARTICIPANT_IDENTITY: u32 = 4;
const DESTINATION_IDENTITIES: u32 = 5;
const TRANSCRIPTION: u32 = 7;
const METRICS: u32 = 8;
const CHAT_MESSAGE: u32 = 9;
const STREAM_HEADER: u32 = 13;
const STREAM_TRAILER: u32 = 15;
const SEQUENCE: u32 = 16;
const PARTICIPANT_SID: u32 = 17;

/// Fields of `UserPacket`, all deprecated; older clients still read and write them.
mod user {
    pub const PARTICIPANT_SID: u32 = 1;
    pub const DESTINATION_SIDS: u32 = 3;
    pub const PARTICIPANT_IDENTITY: u32 = 5;
    pub const DESTINATION_IDENTITIES: u32 = 6;
}

/// Number of `ChatMessage.generated`.
const CHAT_GENERATED: u32 = 6;

/// Numbers of `DataStream.Header.text_header`, and of its `generated`.
const TEXT_HEADER: u32 = 9;
const TEXT_GENERATED: u32 = 5;

/// The most receivers that one packet may name. A sender with more receivers sends to everybody, or twice.
pub const MAX_DESTINATIONS: usize = 256;

/// The most objects that a packet may be made of, as `prescan` counts them, in the fields that hold lists: an empty
/// object is two bytes, and a hundred in memory.
const MAX_OBJECTS: usize = 4096;

/// Texts and bytes in those fields that may be long: those of segments, attributes and metrics, and inline content of a
/// header.
const LONG: Paths = &[
    &[TRANSCRIPTION, 4, 2],
    &[METRICS, 5, 8],
    &[STREAM_HEADER, 8, 2],
    &[STREAM_HEADER, 11],
    &[STREAM_TRAILER, 2],
    &[STREAM_TRAILER, 3, 2],
];

/// The bytes are no `DataPacket`, or one that a participant may not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed data packet")]
pub struct MalformedDataPacket;

/// The reason why a packet of a participant is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefusedDataPacket {
    /// The packet is malformed: see [`MalformedDataPacket`].
    #[error(transparent)]
    Malformed(#[from] MalformedDataPacket),
    /// The packet names more than [`MAX_DESTINATIONS`] receivers.
    #[error("a data packet names more than {MAX_DESTINATIONS} receivers")]
    TooManyDestinations,
}

/// The parts of a packet that routing needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DataPacketView<'a> {
    /// The whole packet, which is well-formed.
    packet: &'a [u8],
    /// Receivers by identity, sorted; with `sids` empty as well: everybody.
    identities: Vec<&'a str>,
    /// Receivers by sid, sorted.
    sids: Vec<&'a str>,
    /// The publisher's count of reliable packets; 0 when absent.
    pub sequence: u32,
    reserved: bool,
    /// The sender that the packet claims.
    claimed: &'a str,
    /// The packet is a chat message, or the beginning of a text stream.
    is_text: bool,
}

impl<'a> DataPacketView<'a> {
    /// Reads a packet.
    ///
    /// # Errors
    /// [`RefusedDataPacket::Malformed`] for anything but a well-formed `DataPacket`, and for one that names speakers:
    /// clients would believe it, and only the server knows. Also for one with two user packets, each of which would be
    /// stamped, and for one of more objects than any client sends. [`RefusedDataPacket::TooManyDestinations`].
    pub fn parse(packet: &'a [u8]) -> Result<Self, RefusedDataPacket> {
        let mut view = Self {
            packet,
            ..Self::default()
        };
        let (mut objects, mut has_user) = (0, false);
        for field in Fields(packet) {
            let field = field?;
            if [TRANSCRIPTION, METRICS, STREAM_HEADER, STREAM_TRAILER].contains(&field.number) {
                let counted = prescan::protobuf(field.raw, MAX_OBJECTS - objects, LONG, &[]);
                objects += counted.map_err(|_| MalformedDataPacket)?;
            }
            match (field.number, field.value) {
                (USER, _) if std::mem::replace(&mut has_user, true) => {
                    return Err(MalformedDataPacket.into());
                }
                (DESTINATION_IDENTITIES, Value::Bytes(name)) => view.add_identity(name)?,
                (SEQUENCE, Value::Varint(value)) => view.sequence = value as u32,
                (PARTICIPANT_IDENTITY, Value::Bytes(name)) => view.claimed = text(name)?,
                (CHAT_MESSAGE, _) => view.is_text = true,
                (STREAM_HEADER, Value::Bytes(header)) => view.is_text |= has_text(header)?,
                (TRANSCRIPTION | METRICS, _) => view.reserved = true,
                (SPEAKER, _) => return Err(MalformedDataPacket.into()),
                (USER, Value::Bytes(packet)) => view.read_user(packet)?,
                _ => {}
            }
        }
        // Decoded last, for that is what costs: a packet with too many names has been refused by now.
        DataPacket::decode(packet).map_err(|_| MalformedDataPacket)?;
        for names in [&mut view.identities, &mut view.sids] {
            names.sort_unstable();
            names.dedup();
        }
        Ok(view)
    }

    /// Whether a participant with this identity and sid is a receiver.
    pub fn is_addressed_to(&self, identity: &str, sid: &str) -> bool {
        (self.identities.is_empty() && self.sids.is_empty())
            || self.identities.binary_search(&identity).is_ok()
            || self.sids.binary_search(&sid).is_ok()
    }

    /// Whether the only receiver is the participant with this identity.
    pub fn is_addressed_only_to(&self, identity: &str) -> bool {
        self.identities == [identity] && self.sids.is_empty()
    }

    /// Whether the packet is taken from agents only, as transcriptions and metrics are.
    pub fn is_reserved_for_agents(&self) -> bool {
        self.reserved
    }

    /// The identity in whose name an agent with the identity `own` sends a text: for example a transcript of that
    /// participant's words.
    pub fn speaks_for(&self, own: &str) -> Option<&'a str> {
        let is_another = !self.claimed.is_empty() && self.claimed != own;
        (self.is_text && is_another).then_some(self.claimed)
    }

    /// The packet with its sender set to `identity` and `sid`, whatever it said before; empty ones leave no sender.
    ///
    /// # Errors
    /// None for a packet that was parsed; the scan returns a `Result`.
    pub fn stamp(&self, identity: &str, sid: &str) -> Result<Vec<u8>, MalformedDataPacket> {
        self.stamped(identity, sid, false)
    }

    /// Stamps a text that an agent sends in the name of `identity`, and marks it as generated.
    ///
    /// # Errors
    /// As [`DataPacketView::stamp`].
    pub fn stamp_generated(
        &self,
        identity: &str,
        sid: &str,
    ) -> Result<Vec<u8>, MalformedDataPacket> {
        self.stamped(identity, sid, true)
    }

    fn stamped(
        &self,
        identity: &str,
        sid: &str,
        is_generated: bool,
    ) -> Result<Vec<u8>, MalformedDataPacket> {
        let room = 2 * (identity.len() + sid.len()) + 24;
        let mut out = Vec::with_capacity(self.packet.len() + room);
        for field in Fields(self.packet) {
            let field = field?;
            match (field.number, field.value) {
                (PARTICIPANT_IDENTITY | PARTICIPANT_SID, _) => {}
                (USER, Value::Bytes(user)) => {
                    put_bytes(&mut out, USER, &stamp_user(user, identity, sid)?)
                }
                (CHAT_MESSAGE, Value::Bytes(message)) if is_generated => {
                    put_bytes(&mut out, CHAT_MESSAGE, &with_flag(message, CHAT_GENERATED))
                }
                (STREAM_HEADER, Value::Bytes(header)) if is_generated => {
                    put_bytes(&mut out, STREAM_HEADER, &generated_header(header)?)
                }
                _ => out.extend_from_slice(field.raw),
            }
        }
        put_text(&mut out, PARTICIPANT_IDENTITY, identity);
        put_text(&mut out, PARTICIPANT_SID, sid);
        Ok(out)
    }

    fn add_identity(&mut self, name: &'a [u8]) -> Result<(), RefusedDataPacket> {
        self.take_one_more()?;
        self.identities.push(text(name)?);
        Ok(())
    }

    fn add_sid(&mut self, sid: &'a [u8]) -> Result<(), RefusedDataPacket> {
        self.take_one_more()?;
        self.sids.push(text(sid)?);
        Ok(())
    }

    fn take_one_more(&self) -> Result<(), RefusedDataPacket> {
        match self.identities.len() + self.sids.len() < MAX_DESTINATIONS {
            true => Ok(()),
            false => Err(RefusedDataPacket::TooManyDestinations),
        }
    }

    fn read_user(&mut self, packet: &'a [u8]) -> Result<(), RefusedDataPacket> {
        for field in Fields(packet) {
            let field = field?;
            match (field.number, field.value) {
                (user::DESTINATION_SIDS, Value::Bytes(sid)) => self.add_sid(sid)?,
                (user::DESTINATION_IDENTITIES, Value::Bytes(name)) => self.add_identity(name)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The packet for a message on a data channel with a label of its own: LiveKit passes it on to everybody as a user's.
pub fn of_user(payload: &[u8]) -> Vec<u8> {
    let user = livekit::UserPacket {
        payload: payload.to_vec(),
        ..Default::default()
    };
    let packet = DataPacket {
        value: Some(livekit::data_packet::Value::User(user)),
        ..DataPacket::default()
    };
    packet.encode_to_vec()
}

/// [`DataPacketView::parse`] and [`DataPacketView::stamp`] in one.
///
/// # Errors
/// As [`DataPacketView::parse`].
pub fn stamp(packet: &[u8], identity: &str, sid: &str) -> Result<Vec<u8>, RefusedDataPacket> {
    Ok(DataPacketView::parse(packet)?.stamp(identity, sid)?)
}

fn stamp_user(packet: &[u8], identity: &str, sid: &str) -> Result<Vec<u8>, MalformedDataPacket> {
    let mut out = Vec::with_capacity(packet.len() + identity.len() + sid.len() + 8);
    for field in Fields(packet) {
        let field = field?;
        if !matches!(
            field.number,
            user::PARTICIPANT_SID | user::PARTICIPANT_IDENTITY
        ) {
            out.extend_from_slice(field.raw);
        }
    }
    put_text(&mut out, user::PARTICIPANT_SID, sid);
    put_text(&mut out, user::PARTICIPANT_IDENTITY, identity);
    Ok(out)
}

/// Whether this is the header of a text stream.
fn has_text(header: &[u8]) -> Result<bool, MalformedDataPacket> {
    for field in Fields(header) {
        if field?.number == TEXT_HEADER {
            return Ok(true);
        }
    }
    Ok(false)
}

fn generated_header(header: &[u8]) -> Result<Vec<u8>, MalformedDataPacket> {
    let mut out = Vec::with_capacity(header.len() + 4);
    for field in Fields(header) {
        let field = field?;
        match (field.number, field.value) {
            (TEXT_HEADER, Value::Bytes(text)) => {
                put_bytes(&mut out, TEXT_HEADER, &with_flag(text, TEXT_GENERATED))
            }
            _ => out.extend_from_slice(field.raw),
        }
    }
    Ok(out)
}

/// The message with this flag set. The flag is appended: of a field that is there twice the last one counts.
fn with_flag(message: &[u8], number: u32) -> Vec<u8> {
    let mut out = message.to_vec();
    prost::encoding::encode_key(number, prost::encoding::WireType::Varint, &mut out);
    prost::encoding::encode_varint(1, &mut out);
    out
}

fn text(bytes: &[u8]) -> Result<&str, MalformedDataPacket> {
    std::str::from_utf8(bytes).map_err(|_| MalformedDataPacket)
}

fn put_text(out: &mut Vec<u8>, number: u32, text: &str) {
    if !text.is_empty() {
        put_bytes(out, number, text.as_bytes());
    }
}

fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, out);
    prost::encoding::encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// One protobuf field.
struct Field<'a> {
    number: u32,
    value: Value<'a>,
    /// Key and value, as in the message.
    raw: &'a [u8],
}

enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The fields of a message, in order.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn read(&mut self) -> Result<Field<'a>, MalformedDataPacket> {
        let start = self.0;
        let key = self.varint()?;
        // Decoders that keep 32 bits would see another field in a longer key.
        let number = u32::try_from(key).map_err(|_| MalformedDataPacket)? >> 3;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| MalformedDataPacket)?;
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            // Groups have never been used in this protocol.
            _ => return Err(MalformedDataPacket),
        };
        if number == 0 {
            return Err(MalformedDataPacket);
        }
        Ok(Field {
            number,
            value,
            raw: &start[..start.len() - self.0.len()],
        })
    }

    fn varint(&mut self) -> Result<u64, MalformedDataPacket> {
        prost::encoding::decode_varint(&mut self.0).map_err(|_| MalformedDataPacket)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], MalformedDataPacket> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(MalformedDataPacket)?;
        self.0 = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, MalformedDataPacket>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests;
