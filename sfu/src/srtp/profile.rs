//! The protection profiles: their sizes and limits, and the errors.

/// The most bytes that protection adds to an RTP packet.
pub const MAX_RTP_OVERHEAD: usize = GCM_TAG_LEN;
/// The most bytes that protection adds to an RTCP packet: tag and index.
pub const MAX_RTCP_OVERHEAD: usize = GCM_TAG_LEN + RTCP_INDEX_LEN;

pub(super) const GCM_TAG_LEN: usize = 16;
pub(super) const SHA1_TAG_LEN: usize = 10;
pub(super) const RTCP_INDEX_LEN: usize = 4;
/// Length of the part of an RTCP packet that is never encrypted, bytes: header and SSRC.
pub(super) const RTCP_CLEAR_LEN: usize = 8;
/// E bit of the SRTCP index word.
pub(super) const RTCP_ENCRYPTED: u32 = 1 << 31;
/// The last RTP packet index, of 48 bits; SRTCP indices have 31 (RFC 3711, section 9.2). Beyond, nonces would repeat.
pub(super) const MAX_RTP_INDEX: u64 = (1 << 48) - 1;

/// Protection profile (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SrtpProfile {
    /// `SRTP_AEAD_AES_256_GCM`
    AeadAes256Gcm,
    /// `SRTP_AEAD_AES_128_GCM`
    AeadAes128Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`
    AesCm128HmacSha1_80,
}

impl SrtpProfile {
    /// Length of a master key, bytes.
    pub fn key_len(self) -> usize {
        match self {
            SrtpProfile::AeadAes256Gcm => 32,
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AesCm128HmacSha1_80 => 16,
        }
    }

    /// Length of a master salt, bytes.
    pub fn salt_len(self) -> usize {
        match self {
            SrtpProfile::AeadAes256Gcm | SrtpProfile::AeadAes128Gcm => 12,
            SrtpProfile::AesCm128HmacSha1_80 => 14,
        }
    }

    /// Number of bytes to export from DTLS: two keys and two salts.
    pub fn keying_material_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }

    /// Number of bytes added to an RTP packet.
    pub fn rtp_overhead(self) -> usize {
        match self {
            SrtpProfile::AeadAes256Gcm | SrtpProfile::AeadAes128Gcm => GCM_TAG_LEN,
            SrtpProfile::AesCm128HmacSha1_80 => SHA1_TAG_LEN,
        }
    }

    /// Number of bytes added to an RTCP packet.
    pub fn rtcp_overhead(self) -> usize {
        self.rtp_overhead() + RTCP_INDEX_LEN
    }
}

/// The reason why a packet was not sealed or opened. Says nothing about its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// The keying material has the wrong length for the profile.
    #[error("keying material of the wrong length")]
    KeyLength,
    /// The packet is shorter than its header, tag and index.
    #[error("truncated SRTP packet")]
    Truncated,
    /// This packet index was received before.
    #[error("replayed SRTP packet")]
    Replayed,
    /// The packet is too old to know whether it was received before.
    #[error("SRTP packet older than the replay window")]
    TooOld,
    /// The tag is wrong.
    #[error("SRTP authentication failed")]
    Authentication,
    /// The caller's buffer is too small.
    #[error("buffer too small")]
    DoesNotFit,
    /// All packet indices are used: the association needs new keys.
    #[error("SRTP key exhausted")]
    KeyExhausted,
}

pub(super) fn be32(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk::<4>()
        .map_or(0, |bytes| u32::from_be_bytes(*bytes))
}
