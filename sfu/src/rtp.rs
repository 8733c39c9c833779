//! RTP headers (RFC 3550, section 5.1) and header extensions (RFC 8285): read without copying, written for egress.
//!
//! Nothing here looks at a payload. Offsets are into the packet that was parsed; they are checked once in
//! [`RtpHeader::parse`], so later look-ups cannot leave the packet.

/// Length of the fixed header, bytes.
pub const FIXED_HEADER_LEN: usize = 12;

/// "Defined by profile" value of one-byte extension headers (RFC 8285, section 4.2).
const PROFILE_ONE_BYTE: u16 = 0xBEDE;
/// "Defined by profile" value of two-byte extension headers, without the four application bits (RFC 8285, section 4.3).
const PROFILE_TWO_BYTE: u16 = 0x1000;

/// The reason why a datagram is no RTP packet, or cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// The datagram is shorter than its own header says.
    #[error("truncated RTP header")]
    Truncated,
    /// The version field is not 2.
    #[error("not RTP version 2")]
    Version,
    /// The padding count is zero or larger than the payload.
    #[error("malformed RTP padding")]
    Padding,
    /// The caller's buffer is too small, or an extension cannot be written (id 0, more than 255 bytes).
    #[error("RTP header does not fit")]
    DoesNotFit,
}

/// A 16-bit sequence number, compared with serial number arithmetic (RFC 1982).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SeqNo(pub u16);

impl SeqNo {
    /// Signed distance from `earlier` to `self`: positive when `self` is newer.
    pub fn since(self, earlier: SeqNo) -> i16 {
        self.0.wrapping_sub(earlier.0) as i16
    }

    /// Whether `self` comes after `other`, less than half the number space away.
    pub fn is_newer_than(self, other: SeqNo) -> bool {
        self.since(other) > 0
    }

    /// The number that follows.
    #[must_use]
    pub fn next(self) -> SeqNo {
        SeqNo(self.0.wrapping_add(1))
    }
}

/// A 32-bit RTP timestamp in units of the codec's clock rate; wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RtpTime(pub u32);

impl RtpTime {
    /// Signed ticks from `earlier` to `self`.
    pub fn since(self, earlier: RtpTime) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }

    /// Whether `self` comes after `other`, less than half the number space away.
    pub fn is_newer_than(self, other: RtpTime) -> bool {
        self.since(other) > 0
    }

    /// `self` moved by `ticks`, which may be negative.
    #[must_use]
    pub fn offset(self, ticks: i64) -> RtpTime {
        RtpTime(self.0.wrapping_add(ticks as u32))
    }
}

/// Whether a datagram that looks like RTP or RTCP (first byte 128 to 191) is RTCP (RFC 5761, section 4).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    datagram
        .get(1)
        .is_some_and(|second| (192..=223).contains(second))
}

/// A parsed RTP header. Copyable: it holds offsets, not bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RtpHeader {
    /// Sequence number.
    pub seq: SeqNo,
    /// Timestamp.
    pub time: RtpTime,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Marker bit: last packet of a video frame, first packet of a talk spurt.
    pub marker: bool,
    /// The payload ends with padding; see [`RtpHeader::padding_len`].
    pub padding: bool,
    /// Bytes before the payload: fixed header, CSRCs and extensions. At least [`FIXED_HEADER_LEN`].
    pub header_len: u16,
    /// "Defined by profile" value of the extension block, 0 when there is none.
    pub extension_profile: u16,
    /// Offset of the extension elements in the packet, bytes.
    extension_start: u16,
    /// Length of the extension elements, bytes.
    extension_len: u16,
}

impl RtpHeader {
    /// Reads the header of `packet` (plain or SRTP: the header is never encrypted).
    pub fn parse(packet: &[u8]) -> Result<RtpHeader, RtpError> {
        let Some((fixed, rest)) = packet.split_first_chunk::<FIXED_HEADER_LEN>() else {
            return Err(RtpError::Truncated);
        };
        if fixed[0] >> 6 != 2 {
            return Err(RtpError::Version);
        }
        let csrc_len = usize::from(fixed[0] & 0x0F) * 4;
        let mut header = RtpHeader {
            seq: SeqNo(u16::from_be_bytes([fixed[2], fixed[3]])),
            time: RtpTime(u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]])),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            payload_type: fixed[1] & 0x7F,
            marker: fixed[1] & 0x80 != 0,
            padding: fixed[0] & 0x20 != 0,
            ..RtpHeader::default()
        };
        let mut header_len = FIXED_HEADER_LEN + csrc_len;
        let after_csrc = rest.get(csrc_len..).ok_or(RtpError::Truncated)?;
        if fixed[0] & 0x10 != 0 {
            let (block, elements) = after_csrc
                .split_first_chunk::<4>()
                .ok_or(RtpError::Truncated)?;
            let len = usize::from(u16::from_be_bytes([block[2], block[3]])) * 4;
            if elements.len() < len {
                return Err(RtpError::Truncated);
            }
            header.extension_profile = u16::from_be_bytes([block[0], block[1]]);
            header.extension_start = as_offset(header_len + 4)?;
            header.extension_len = as_offset(len)?;
            header_len += 4 + len;
        }
        header.header_len = as_offset(header_len)?;
        Ok(header)
    }

    /// The extension elements of `packet`, which must be the packet this header was parsed from. Empty when the block
    /// is absent, malformed from the first element on, or of an unknown profile.
    pub fn extensions<'a>(&self, packet: &'a [u8]) -> Extensions<'a> {
        let start = usize::from(self.extension_start);
        let elements = packet
            .get(start..start + usize::from(self.extension_len))
            .unwrap_or_default();
        match self.extension_profile {
            PROFILE_ONE_BYTE => Extensions {
                rest: elements,
                two_byte: false,
            },
            profile if profile & 0xFFF0 == PROFILE_TWO_BYTE => Extensions {
                rest: elements,
                two_byte: true,
            },
            _ => Extensions {
                rest: &[],
                two_byte: false,
            },
        }
    }

    /// The value of the first extension element with the negotiated `id`.
    pub fn extension<'a>(&self, packet: &'a [u8], id: u8) -> Option<&'a [u8]> {
        self.extensions(packet)
            .find(|(found, _)| *found == id)
            .map(|(_, value)| value)
    }

    /// Number of bytes at the end of the *decrypted* `payload` that are padding (0 without the padding bit).
    pub fn padding_len(&self, payload: &[u8]) -> Result<usize, RtpError> {
        if !self.padding {
            return Ok(0);
        }
        match payload.last() {
            Some(&count) if count > 0 && usize::from(count) <= payload.len() => {
                Ok(usize::from(count))
            }
            _ => Err(RtpError::Padding),
        }
    }
}

fn as_offset(len: usize) -> Result<u16, RtpError> {
    u16::try_from(len).map_err(|_| RtpError::Truncated)
}

/// Iterator over `(id, value)` of an extension block. Ends early at a malformed element.
#[derive(Debug, Clone)]
pub struct Extensions<'a> {
    rest: &'a [u8],
    two_byte: bool,
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        loop {
            let (&first, rest) = self.rest.split_first()?;
            if first == 0 {
                self.rest = rest;
                continue;
            }
            let (id, len, body) = if self.two_byte {
                let (&len, body) = rest.split_first()?;
                (first, usize::from(len), body)
            } else {
                (first >> 4, usize::from(first & 0x0F) + 1, rest)
            };
            // One-byte id 15 ends the block; id 0 with a length is not valid (RFC 8285, section 4.2).
            if (!self.two_byte && (id == 15 || id == 0)) || body.len() < len {
                self.rest = &[];
                return None;
            }
            let (value, rest) = body.split_at(len);
            self.rest = rest;
            return Some((id, value));
        }
    }
}

/// The header extensions the engine knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Extension {
    /// Media section of the packet (RFC 9143).
    Mid = 0,
    /// Simulcast stream (RFC 8852).
    Rid = 1,
    /// Simulcast stream that this RTX packet repairs (RFC 8852).
    RepairedRid = 2,
    /// Transport-wide sequence number (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    TransportCc = 3,
    /// Absolute send time, 24 bits of 6.18 fixed point seconds.
    AbsSendTime = 4,
    /// Audio level (RFC 6464).
    AudioLevel = 5,
    /// Dependency descriptor (AV1 RTP specification, appendix A).
    DependencyDescriptor = 6,
}

impl Extension {
    /// All extensions, in the order of their discriminants.
    pub const ALL: [Extension; 7] = [
        Extension::Mid,
        Extension::Rid,
        Extension::RepairedRid,
        Extension::TransportCc,
        Extension::AbsSendTime,
        Extension::AudioLevel,
        Extension::DependencyDescriptor,
    ];

    /// URI of the extension in `a=extmap`.
    pub fn uri(self) -> &'static str {
        match self {
            Extension::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Extension::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Extension::RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Extension::TransportCc => {
                "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
            }
            Extension::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Extension::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Extension::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
        }
    }
}

/// The ids under which extensions were negotiated, for one media section or one transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExtensionMap {
    /// The ids, indexed by [`Extension`]; 0 is "not negotiated" (0 is no valid id).
    ids: [u8; 7],
}

impl ExtensionMap {
    /// Negotiates `extension` under `id`; 0 takes it back.
    pub fn set(&mut self, extension: Extension, id: u8) {
        self.ids[extension as usize] = id;
    }

    /// The id of `extension`, when negotiated.
    pub fn id(&self, extension: Extension) -> Option<u8> {
        Some(self.ids[extension as usize]).filter(|id| *id != 0)
    }

    /// The value of `extension` in `packet`, when negotiated and present.
    pub fn value<'a>(
        &self,
        extension: Extension,
        header: &RtpHeader,
        packet: &'a [u8],
    ) -> Option<&'a [u8]> {
        header.extension(packet, self.id(extension)?)
    }
}

/// An audio level (RFC 6464).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioLevel {
    /// Level in -dBov: 0 is the loudest, 127 is silence.
    pub level: u8,
    /// The sender believes that this is voice.
    pub voice: bool,
}

impl AudioLevel {
    /// Reads the extension's value. The one- and the two-byte form differ only in a padding byte.
    pub fn parse(value: &[u8]) -> Option<AudioLevel> {
        let first = *value.first()?;
        Some(AudioLevel {
            level: first & 0x7F,
            voice: first & 0x80 != 0,
        })
    }

    /// The extension's value.
    pub fn to_byte(self) -> u8 {
        self.level.min(127) | if self.voice { 0x80 } else { 0 }
    }
}

/// The transport-wide sequence number in the value of [`Extension::TransportCc`].
pub fn transport_cc_seq(value: &[u8]) -> Option<SeqNo> {
    value
        .first_chunk::<2>()
        .map(|bytes| SeqNo(u16::from_be_bytes(*bytes)))
}

/// The fields of an egress header; it never has CSRCs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EgressHeader {
    /// Sequence number.
    pub seq: SeqNo,
    /// Timestamp.
    pub time: RtpTime,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
    /// The payload ends with padding.
    pub padding: bool,
}

impl EgressHeader {
    /// Writes the header with `extensions` (id, value) to the front of `out`; returns its length in bytes. One-byte
    /// elements are used when all fit (id 1 to 14, 1 to 16 bytes), else two-byte ones.
    ///
    /// # Errors
    /// [`RtpError::DoesNotFit`]; `out` may then be partly written.
    pub fn write(&self, out: &mut [u8], extensions: &[(u8, &[u8])]) -> Result<usize, RtpError> {
        let (fixed, rest) = out
            .split_first_chunk_mut::<FIXED_HEADER_LEN>()
            .ok_or(RtpError::DoesNotFit)?;
        fixed[0] = 0x80 | u8::from(self.padding) << 5 | u8::from(!extensions.is_empty()) << 4;
        fixed[1] = u8::from(self.marker) << 7 | (self.payload_type & 0x7F);
        fixed[2..4].copy_from_slice(&self.seq.0.to_be_bytes());
        fixed[4..8].copy_from_slice(&self.time.0.to_be_bytes());
        fixed[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        if extensions.is_empty() {
            return Ok(FIXED_HEADER_LEN);
        }
        Ok(FIXED_HEADER_LEN + write_extensions(rest, extensions)?)
    }
}

fn write_extensions(out: &mut [u8], extensions: &[(u8, &[u8])]) -> Result<usize, RtpError> {
    let one_byte = extensions
        .iter()
        .all(|(id, value)| (1..=14).contains(id) && (1..=16).contains(&value.len()));
    let profile = if one_byte {
        PROFILE_ONE_BYTE
    } else {
        PROFILE_TWO_BYTE
    };
    let (block, elements) = out
        .split_first_chunk_mut::<4>()
        .ok_or(RtpError::DoesNotFit)?;
    let mut at = 0;
    for (id, value) in extensions {
        let len = u8::try_from(value.len()).map_err(|_| RtpError::DoesNotFit)?;
        let head_len = if one_byte { 1 } else { 2 };
        let end = at + head_len + value.len();
        let element = elements
            .get_mut(at..end)
            .filter(|_| *id != 0)
            .ok_or(RtpError::DoesNotFit)?;
        if one_byte {
            element[0] = id << 4 | (len - 1);
        } else {
            element[0] = *id;
            element[1] = len;
        }
        element[head_len..].copy_from_slice(value);
        at = end;
    }
    let padded = at.next_multiple_of(4);
    elements
        .get_mut(at..padded)
        .ok_or(RtpError::DoesNotFit)?
        .fill(0);
    let words = u16::try_from(padded / 4).map_err(|_| RtpError::DoesNotFit)?;
    block[..2].copy_from_slice(&profile.to_be_bytes());
    block[2..].copy_from_slice(&words.to_be_bytes());
    Ok(4 + padded)
}

/// Turns 16-bit sequence numbers into 64-bit ones that never wrap.
///
/// The first number `s` becomes `65536 + s`, so that packets that were sent before it can still be told apart.
#[derive(Debug, Clone, Copy, Default)]
pub struct SeqUnwrapper {
    highest: Option<u64>,
}

impl SeqUnwrapper {
    /// An unwrapper that has seen no number.
    pub fn new() -> Self {
        Self::default()
    }

    /// The unwrapped number of `seq`: the one nearest to the highest so far.
    pub fn unwrap(&mut self, seq: SeqNo) -> u64 {
        let Some(highest) = self.highest else {
            let first = 0x1_0000 + u64::from(seq.0);
            self.highest = Some(first);
            return first;
        };
        let unwrapped = nearest(highest, seq);
        self.highest = Some(highest.max(unwrapped));
        unwrapped
    }

    /// The highest number so far.
    pub fn highest(&self) -> Option<u64> {
        self.highest
    }
}

/// The 64-bit number with the low 16 bits `seq` that is nearest to `reference`; never below zero. Of two that are equally
/// far it is the one in `reference`'s own round (RFC 3711, appendix A).
pub fn nearest(reference: u64, seq: SeqNo) -> u64 {
    let distance = match seq.since(SeqNo(reference as u16)) {
        i16::MIN if (reference as u16) < 0x8000 => 0x8000,
        distance => i64::from(distance),
    };
    match reference.checked_add_signed(distance) {
        Some(found) => found,
        // Below zero there is no number: `seq` can only be of the next round.
        None => reference
            .wrapping_add_signed(distance)
            .wrapping_add(0x1_0000),
    }
}

#[cfg(test)]
mod tests;
