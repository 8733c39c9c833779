//! SRTP and SRTCP (RFC 3711; AEAD profiles of RFC 7714) on keys from DTLS (RFC 5764).
//!
//! [`SrtpSender`] seals, [`SrtpReceiver`] opens; each holds the session keys of one direction. The receiver keeps the
//! roll-over counter and replay window of each SSRC; the sender is told the packet index by its caller, who counts
//! anyway.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::{constant_time, hmac};

use crate::rtp::{RtpHeader, nearest};

/// Most bytes that protection adds to an RTP packet.
pub const MAX_RTP_OVERHEAD: usize = GCM_TAG_LEN;
/// Most bytes that protection adds to an RTCP packet: tag and index.
pub const MAX_RTCP_OVERHEAD: usize = GCM_TAG_LEN + RTCP_INDEX_LEN;

const GCM_TAG_LEN: usize = 16;
const SHA1_TAG_LEN: usize = 10;
const RTCP_INDEX_LEN: usize = 4;
/// First two words of RTCP: header and SSRC, never encrypted.
const RTCP_CLEAR_LEN: usize = 8;
/// E bit of the SRTCP index word.
const RTCP_ENCRYPTED: u32 = 1 << 31;
/// Packet indices are 48 bits, SRTCP indices 31 (RFC 3711, section 9.2). Beyond, nonces would repeat.
const MAX_RTP_INDEX: u64 = (1 << 48) - 1;
/// Streams with replay state, for each direction of a transport. Ten simulcast videos with retransmissions are 60; the
/// rest is for streams that ended: one that is forgotten and resumes after its first round can no longer be opened.
const MAX_SSRCS: usize = 256;

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

    /// How many bytes to export from DTLS: two keys and two salts.
    pub fn keying_material_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }

    /// Bytes added to an RTP packet.
    pub fn rtp_overhead(self) -> usize {
        match self {
            SrtpProfile::AeadAes256Gcm | SrtpProfile::AeadAes128Gcm => GCM_TAG_LEN,
            SrtpProfile::AesCm128HmacSha1_80 => SHA1_TAG_LEN,
        }
    }

    /// Bytes added to an RTCP packet.
    pub fn rtcp_overhead(self) -> usize {
        self.rtp_overhead() + RTCP_INDEX_LEN
    }
}

/// Our role in the DTLS handshake: it decides which half of the keying material is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtlsRole {
    /// We sent the ClientHello (active).
    Client,
    /// The peer did (passive).
    Server,
}

/// Why a packet was not sealed or opened. Says nothing about its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// The keying material has the wrong length for the profile.
    #[error("keying material of the wrong length")]
    KeyLength,
    /// Shorter than its header, tag and index.
    #[error("truncated SRTP packet")]
    Truncated,
    /// This packet index was received before.
    #[error("replayed SRTP packet")]
    Replayed,
    /// Too old to know whether it was received before.
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

/// Derives both directions from DTLS keying material (RFC 5764, section 4.2: client key, server key, client salt,
/// server salt).
///
/// # Errors
/// [`SrtpError::KeyLength`] when `material` is not [`SrtpProfile::keying_material_len`] bytes long.
pub fn from_keying_material(
    profile: SrtpProfile,
    material: &[u8],
    role: DtlsRole,
) -> Result<(SrtpSender, SrtpReceiver), SrtpError> {
    if material.len() != profile.keying_material_len() {
        return Err(SrtpError::KeyLength);
    }
    let (keys, salts) = material.split_at(2 * profile.key_len());
    let (client_key, server_key) = keys.split_at(profile.key_len());
    let (client_salt, server_salt) = salts.split_at(profile.salt_len());
    let client = SessionKeys::derive(profile, client_key, client_salt)?;
    let server = SessionKeys::derive(profile, server_key, server_salt)?;
    let (ours, theirs) = match role {
        DtlsRole::Client => (client, server),
        DtlsRole::Server => (server, client),
    };
    Ok((
        SrtpSender {
            keys: ours,
            rtcp_index: 0,
        },
        SrtpReceiver::new(theirs),
    ))
}

/// Seals the packets of one transport.
pub struct SrtpSender {
    keys: SessionKeys,
    /// Of the last SRTCP packet; one count for all SSRCs, so that no (SSRC, index) pair repeats.
    rtcp_index: u32,
}

impl SrtpSender {
    /// The profile in use.
    pub fn profile(&self) -> SrtpProfile {
        self.keys.profile
    }

    /// Seals a packet in place: `out` begins with `header_len` bytes of RTP header and `payload_len` bytes of
    /// payload, and has room for [`SrtpProfile::rtp_overhead`] more. `index` is ROC · 65536 + sequence number.
    /// Returns the length of the SRTP packet.
    ///
    /// The caller never seals two *different* packets (header and extensions included) under one `ssrc` and `index`:
    /// with GCM that gives the authentication key away. A plain retransmission is the same packet, byte for byte.
    ///
    /// # Errors
    /// [`SrtpError::DoesNotFit`], [`SrtpError::KeyExhausted`].
    pub fn seal_rtp(
        &self,
        out: &mut [u8],
        header_len: usize,
        payload_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let (header, payload, tag) = self.split(out, header_len, payload_len, index)?;
        self.keys.rtp.seal_rtp(header, payload, tag, ssrc, index)?;
        Ok(header_len + payload_len + self.profile().rtp_overhead())
    }

    /// Like [`SrtpSender::seal_rtp`] with the payload elsewhere: the header is at the front of `out`, `payload` is
    /// encrypted to behind it, in one pass where the cipher can.
    ///
    /// # Errors
    /// [`SrtpError::DoesNotFit`], [`SrtpError::KeyExhausted`].
    pub fn seal_rtp_from(
        &self,
        out: &mut [u8],
        header_len: usize,
        payload: &[u8],
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let (header, sealed, tag) = self.split(out, header_len, payload.len(), index)?;
        match &self.keys.rtp {
            Cipher::Gcm { key, salt } => {
                let nonce = gcm_rtp_nonce(salt, ssrc, index);
                key.seal_out_of_place_scatter(
                    nonce,
                    Aad::from(&*header),
                    payload,
                    sealed,
                    &[],
                    tag,
                )
                .map_err(|_| SrtpError::Authentication)?;
            }
            cipher @ Cipher::CmSha1(_) => {
                sealed.copy_from_slice(payload);
                cipher.seal_rtp(header, sealed, tag, ssrc, index)?;
            }
        }
        Ok(header_len + payload.len() + self.profile().rtp_overhead())
    }

    /// Seals a compound RTCP packet in place: `out` begins with `len` bytes of RTCP and has room for
    /// [`SrtpProfile::rtcp_overhead`] more. Returns the length of the SRTCP packet.
    ///
    /// # Errors
    /// [`SrtpError::Truncated`] when it is no RTCP packet, [`SrtpError::DoesNotFit`], [`SrtpError::KeyExhausted`].
    pub fn seal_rtcp(&mut self, out: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        if len < RTCP_CLEAR_LEN {
            return Err(SrtpError::Truncated);
        }
        let total = len + self.profile().rtcp_overhead();
        let out = out.get_mut(..total).ok_or(SrtpError::DoesNotFit)?;
        if self.rtcp_index >= RTCP_ENCRYPTED - 1 {
            return Err(SrtpError::KeyExhausted);
        }
        self.rtcp_index += 1;
        self.keys
            .rtcp
            .seal_rtcp(out, len, self.rtcp_index | RTCP_ENCRYPTED)?;
        Ok(total)
    }

    #[allow(clippy::type_complexity)]
    fn split<'a>(
        &self,
        out: &'a mut [u8],
        header_len: usize,
        payload_len: usize,
        index: u64,
    ) -> Result<(&'a mut [u8], &'a mut [u8], &'a mut [u8]), SrtpError> {
        if index > MAX_RTP_INDEX {
            return Err(SrtpError::KeyExhausted);
        }
        let total = header_len + payload_len + self.profile().rtp_overhead();
        let out = out.get_mut(..total).ok_or(SrtpError::DoesNotFit)?;
        let (header, rest) = out.split_at_mut(header_len);
        let (payload, tag) = rest.split_at_mut(payload_len);
        Ok((header, payload, tag))
    }
}

impl std::fmt::Debug for SrtpSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SrtpSender")
            .field("profile", &self.keys.profile)
            .finish_non_exhaustive()
    }
}

/// Opens the packets of one transport.
pub struct SrtpReceiver {
    keys: SessionKeys,
    rtp: SsrcTable,
    rtcp: SsrcTable,
}

impl SrtpReceiver {
    fn new(keys: SessionKeys) -> Self {
        Self {
            keys,
            rtp: SsrcTable::default(),
            rtcp: SsrcTable::default(),
        }
    }

    /// The profile in use.
    pub fn profile(&self) -> SrtpProfile {
        self.keys.profile
    }

    /// Opens an SRTP packet whose header is `header`; writes the plain payload (with its padding, if any) to the
    /// front of `out`. Returns its length and the packet index (ROC · 65536 + sequence number).
    ///
    /// # Errors
    /// On any error no state changes, and `out` holds unspecified bytes.
    pub fn open_rtp(
        &mut self,
        packet: &[u8],
        header: &RtpHeader,
        out: &mut [u8],
    ) -> Result<(usize, u64), SrtpError> {
        let header_len = usize::from(header.header_len);
        let payload_len = packet
            .len()
            .checked_sub(header_len + self.profile().rtp_overhead())
            .ok_or(SrtpError::Truncated)?;
        let out = out.get_mut(..payload_len).ok_or(SrtpError::DoesNotFit)?;
        let slot = self.rtp.find(header.ssrc);
        let index = match slot {
            Some(slot) => {
                let window = &self.rtp.streams[slot].window;
                let index = nearest(window.highest, header.seq);
                window.check(index)?;
                index
            }
            // A stream begins in its first round (RFC 3711, section 3.3.1).
            None => u64::from(header.seq.0),
        };
        if index > MAX_RTP_INDEX {
            return Err(SrtpError::KeyExhausted);
        }
        let (clear, rest) = packet.split_at(header_len);
        let (sealed, tag) = rest.split_at(payload_len);
        self.keys
            .rtp
            .open_rtp(clear, sealed, tag, out, header.ssrc, index)?;
        self.rtp.accept(slot, header.ssrc, index);
        Ok((payload_len, index))
    }

    /// Opens an SRTCP packet; writes the plain compound packet to the front of `out` and returns its length.
    ///
    /// # Errors
    /// On any error no state changes, and `out` holds unspecified bytes.
    pub fn open_rtcp(&mut self, packet: &[u8], out: &mut [u8]) -> Result<usize, SrtpError> {
        let len = packet
            .len()
            .checked_sub(self.profile().rtcp_overhead())
            .ok_or(SrtpError::Truncated)?;
        if len < RTCP_CLEAR_LEN {
            return Err(SrtpError::Truncated);
        }
        let out = out.get_mut(..len).ok_or(SrtpError::DoesNotFit)?;
        let ssrc = be32(&packet[4..8]);
        let word_at = match self.keys.rtcp {
            Cipher::Gcm { .. } => len + GCM_TAG_LEN,
            Cipher::CmSha1(_) => len,
        };
        let word = be32(&packet[word_at..word_at + RTCP_INDEX_LEN]);
        let index = u64::from(word & !RTCP_ENCRYPTED);
        let slot = self.rtcp.find(ssrc);
        if let Some(slot) = slot {
            self.rtcp.streams[slot].window.check(index)?;
        }
        self.keys.rtcp.open_rtcp(packet, len, ssrc, word, out)?;
        self.rtcp.accept(slot, ssrc, index);
        Ok(len)
    }
}

impl std::fmt::Debug for SrtpReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SrtpReceiver")
            .field("profile", &self.keys.profile)
            .finish_non_exhaustive()
    }
}

/// Which of the last 128 packet indices were received (RFC 3711, section 3.3.2).
#[derive(Debug, Clone, Copy)]
struct ReplayWindow {
    highest: u64,
    /// Bit `i` is `highest - i`.
    seen: u128,
}

impl ReplayWindow {
    fn check(&self, index: u64) -> Result<(), SrtpError> {
        match self.highest.checked_sub(index) {
            None => Ok(()),
            Some(age) if age >= 128 => Err(SrtpError::TooOld),
            Some(age) if self.seen >> age & 1 == 1 => Err(SrtpError::Replayed),
            Some(_) => Ok(()),
        }
    }

    fn accept(&mut self, index: u64) {
        if index <= self.highest {
            self.seen |= 1 << (self.highest - index);
            return;
        }
        let ahead = index - self.highest;
        self.seen = if ahead >= 128 {
            1
        } else {
            self.seen << ahead | 1
        };
        self.highest = index;
    }
}

#[derive(Debug, Clone, Copy)]
struct StreamState {
    window: ReplayWindow,
    last_used: u64,
}

/// Replay state by SSRC. Only authenticated packets get here, so only the peer itself can fill it; then the stream
/// that was silent the longest goes. (Its first round could be replayed after that: to a stream long gone.)
#[derive(Debug, Default)]
struct SsrcTable {
    ssrcs: Vec<u32>,
    /// Parallel to `ssrcs`.
    streams: Vec<StreamState>,
    uses: u64,
}

impl SsrcTable {
    fn find(&self, ssrc: u32) -> Option<usize> {
        self.ssrcs.iter().position(|known| *known == ssrc)
    }

    fn accept(&mut self, slot: Option<usize>, ssrc: u32, index: u64) {
        self.uses += 1;
        if let Some(slot) = slot {
            let stream = &mut self.streams[slot];
            stream.window.accept(index);
            stream.last_used = self.uses;
            return;
        }
        let window = ReplayWindow {
            highest: index,
            seen: 1,
        };
        let stream = StreamState {
            window,
            last_used: self.uses,
        };
        if self.ssrcs.len() < MAX_SSRCS {
            self.ssrcs.push(ssrc);
            self.streams.push(stream);
            return;
        }
        let idlest = (0..self.streams.len()).min_by_key(|slot| self.streams[*slot].last_used);
        if let Some(idlest) = idlest {
            self.ssrcs[idlest] = ssrc;
            self.streams[idlest] = stream;
        }
    }
}

struct SessionKeys {
    profile: SrtpProfile,
    rtp: Cipher,
    rtcp: Cipher,
}

impl SessionKeys {
    fn derive(profile: SrtpProfile, key: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        Ok(Self {
            profile,
            rtp: Cipher::derive(profile, key, salt, 0)?,
            rtcp: Cipher::derive(profile, key, salt, 3)?,
        })
    }
}

enum Cipher {
    Gcm {
        key: LessSafeKey,
        salt: [u8; 12],
    },
    /// Boxed: its contexts take 1.7 KB, and hardly anybody needs them.
    CmSha1(Box<CmSha1>),
}

struct CmSha1 {
    key: EncryptingKey,
    salt: [u8; 14],
    auth: hmac::Key,
}

impl Cipher {
    /// Session keys with the labels `label` (encryption), `label + 1` (authentication) and `label + 2` (salt).
    fn derive(profile: SrtpProfile, key: &[u8], salt: &[u8], label: u8) -> Result<Self, SrtpError> {
        let mut session_key = [0; 32];
        let session_key = &mut session_key[..profile.key_len()];
        derive(key, salt, label, session_key)?;
        match profile {
            SrtpProfile::AeadAes256Gcm | SrtpProfile::AeadAes128Gcm => {
                let mut session_salt = [0; 12];
                derive(key, salt, label + 2, &mut session_salt)?;
                Self::gcm(session_key, session_salt)
            }
            SrtpProfile::AesCm128HmacSha1_80 => {
                let (mut session_salt, mut auth) = ([0; 14], [0; 20]);
                derive(key, salt, label + 1, &mut auth)?;
                derive(key, salt, label + 2, &mut session_salt)?;
                Ok(Cipher::CmSha1(Box::new(CmSha1 {
                    key: ctr_key(session_key)?,
                    salt: session_salt,
                    auth: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &auth),
                })))
            }
        }
    }

    fn gcm(key: &[u8], salt: [u8; 12]) -> Result<Self, SrtpError> {
        let algorithm = if key.len() == 32 {
            &AES_256_GCM
        } else {
            &AES_128_GCM
        };
        let key = UnboundKey::new(algorithm, key).map_err(|_| SrtpError::KeyLength)?;
        Ok(Cipher::Gcm {
            key: LessSafeKey::new(key),
            salt,
        })
    }

    fn seal_rtp(
        &self,
        header: &[u8],
        payload: &mut [u8],
        tag: &mut [u8],
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        match self {
            Cipher::Gcm { key, salt } => {
                let nonce = gcm_rtp_nonce(salt, ssrc, index);
                key.seal_in_place_scatter(nonce, Aad::from(header), payload, &[], tag)
                    .map_err(|_| SrtpError::Authentication)
            }
            Cipher::CmSha1(cm) => {
                apply_ctr(&cm.key, cm_iv(&cm.salt, ssrc, index), payload)?;
                let roc = ((index >> 16) as u32).to_be_bytes();
                tag.copy_from_slice(&sha1_tag(&cm.auth, &[header, payload, &roc]));
                Ok(())
            }
        }
    }

    fn open_rtp(
        &self,
        header: &[u8],
        sealed: &[u8],
        tag: &[u8],
        out: &mut [u8],
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        match self {
            Cipher::Gcm { key, salt } => {
                let nonce = gcm_rtp_nonce(salt, ssrc, index);
                key.open_separate_gather(nonce, Aad::from(header), sealed, tag, out)
                    .map_err(|_| SrtpError::Authentication)
            }
            Cipher::CmSha1(cm) => {
                let roc = ((index >> 16) as u32).to_be_bytes();
                verify_sha1(&cm.auth, &[header, sealed, &roc], tag)?;
                out.copy_from_slice(sealed);
                apply_ctr(&cm.key, cm_iv(&cm.salt, ssrc, index), out)
            }
        }
    }

    /// `out` is the RTCP packet of `len` bytes followed by room for exactly tag and index.
    fn seal_rtcp(&self, out: &mut [u8], len: usize, word: u32) -> Result<(), SrtpError> {
        let ssrc = be32(&out[4..8]);
        let index = u64::from(word & !RTCP_ENCRYPTED);
        let (packet, trailer) = out.split_at_mut(len);
        let (clear, payload) = packet.split_at_mut(RTCP_CLEAR_LEN);
        match self {
            Cipher::Gcm { key, salt } => {
                let (tag, word_out) = trailer.split_at_mut(GCM_TAG_LEN);
                let nonce = gcm_rtcp_nonce(salt, ssrc, word);
                let aad = Aad::from(gcm_rtcp_aad(clear, word));
                key.seal_in_place_scatter(nonce, aad, payload, &[], tag)
                    .map_err(|_| SrtpError::Authentication)?;
                word_out.copy_from_slice(&word.to_be_bytes());
            }
            Cipher::CmSha1(cm) => {
                let (word_out, tag) = trailer.split_at_mut(RTCP_INDEX_LEN);
                apply_ctr(&cm.key, cm_iv(&cm.salt, ssrc, index), payload)?;
                word_out.copy_from_slice(&word.to_be_bytes());
                tag.copy_from_slice(&sha1_tag(&cm.auth, &[clear, payload, word_out]));
            }
        }
        Ok(())
    }

    /// `out` is as long as the plain packet, `len`.
    fn open_rtcp(
        &self,
        packet: &[u8],
        len: usize,
        ssrc: u32,
        word: u32,
        out: &mut [u8],
    ) -> Result<(), SrtpError> {
        let encrypted = word & RTCP_ENCRYPTED != 0;
        let (clear, payload) = packet[..len].split_at(RTCP_CLEAR_LEN);
        let (out_clear, out_payload) = out.split_at_mut(RTCP_CLEAR_LEN);
        out_clear.copy_from_slice(clear);
        match self {
            Cipher::Gcm { key, salt } => {
                let tag = &packet[len..len + GCM_TAG_LEN];
                let nonce = gcm_rtcp_nonce(salt, ssrc, word);
                if encrypted {
                    let aad = Aad::from(gcm_rtcp_aad(clear, word));
                    key.open_separate_gather(nonce, aad, payload, tag, out_payload)
                } else {
                    // Everything is associated data (RFC 7714, section 9.3). No browser sends this.
                    let aad = [&packet[..len], &word.to_be_bytes()].concat();
                    out_payload.copy_from_slice(payload);
                    key.open_separate_gather(nonce, Aad::from(aad), &[], tag, &mut [])
                }
                .map_err(|_| SrtpError::Authentication)
            }
            Cipher::CmSha1(cm) => {
                let (authenticated, tag) = packet.split_at(len + RTCP_INDEX_LEN);
                verify_sha1(&cm.auth, &[authenticated], tag)?;
                out_payload.copy_from_slice(payload);
                if encrypted {
                    let index = u64::from(word & !RTCP_ENCRYPTED);
                    apply_ctr(&cm.key, cm_iv(&cm.salt, ssrc, index), out_payload)?;
                }
                Ok(())
            }
        }
    }
}

/// RFC 7714, section 8.1: 00 00 | SSRC | ROC | SEQ, xor salt.
fn gcm_rtp_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> Nonce {
    let value = u128::from(ssrc) << 48 | u128::from(index);
    Nonce::assume_unique_for_key(xor_salt(salt, value))
}

/// RFC 7714, section 9.1: 00 00 | SSRC | 00 00 | 0 and index, xor salt.
fn gcm_rtcp_nonce(salt: &[u8; 12], ssrc: u32, word: u32) -> Nonce {
    let value = u128::from(ssrc) << 48 | u128::from(word & !RTCP_ENCRYPTED);
    Nonce::assume_unique_for_key(xor_salt(salt, value))
}

fn xor_salt(salt: &[u8; 12], value: u128) -> [u8; 12] {
    let mut padded = [0; 16];
    padded[4..].copy_from_slice(salt);
    let nonce = (u128::from_be_bytes(padded) ^ value).to_be_bytes();
    std::array::from_fn(|i| nonce[i + 4])
}

fn gcm_rtcp_aad(clear: &[u8], word: u32) -> [u8; 12] {
    let mut aad = [0; 12];
    aad[..8].copy_from_slice(clear);
    aad[8..].copy_from_slice(&word.to_be_bytes());
    aad
}

/// RFC 3711, section 4.1.1: salt · 2^16 xor SSRC · 2^64 xor index · 2^16.
fn cm_iv(salt: &[u8; 14], ssrc: u32, index: u64) -> [u8; 16] {
    let mut padded = [0; 16];
    padded[..14].copy_from_slice(salt);
    (u128::from_be_bytes(padded) ^ u128::from(ssrc) << 64 ^ u128::from(index) << 16).to_be_bytes()
}

/// Key derivation (RFC 3711, section 4.3; AES-256 per RFC 6188; short GCM salts padded, RFC 7714 section 11).
fn derive(master_key: &[u8], salt: &[u8], label: u8, out: &mut [u8]) -> Result<(), SrtpError> {
    let mut iv = [0; 16];
    iv.get_mut(..salt.len())
        .ok_or(SrtpError::KeyLength)?
        .copy_from_slice(salt);
    iv[7] ^= label;
    out.fill(0);
    apply_ctr(&ctr_key(master_key)?, iv, out)
}

fn ctr_key(key: &[u8]) -> Result<EncryptingKey, SrtpError> {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    UnboundCipherKey::new(algorithm, key)
        .and_then(EncryptingKey::ctr)
        .map_err(|_| SrtpError::KeyLength)
}

fn apply_ctr(key: &EncryptingKey, iv: [u8; 16], data: &mut [u8]) -> Result<(), SrtpError> {
    key.less_safe_encrypt(data, EncryptionContext::Iv128(iv.into()))
        .map(|_| ())
        .map_err(|_| SrtpError::Authentication)
}

fn sha1_tag(auth: &hmac::Key, parts: &[&[u8]]) -> [u8; SHA1_TAG_LEN] {
    let mut context = hmac::Context::with_key(auth);
    for part in parts {
        context.update(part);
    }
    let tag = context.sign();
    std::array::from_fn(|i| tag.as_ref()[i])
}

fn verify_sha1(auth: &hmac::Key, parts: &[&[u8]], tag: &[u8]) -> Result<(), SrtpError> {
    constant_time::verify_slices_are_equal(&sha1_tag(auth, parts), tag)
        .map_err(|_| SrtpError::Authentication)
}

fn be32(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk::<4>()
        .map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::{EgressHeader, RtpTime, SeqNo};
    use proptest::prelude::*;

    const PROFILES: [SrtpProfile; 3] = [
        SrtpProfile::AeadAes256Gcm,
        SrtpProfile::AeadAes128Gcm,
        SrtpProfile::AesCm128HmacSha1_80,
    ];

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text
            .chars()
            .filter_map(|c| c.to_digit(16))
            .map(|digit| digit as u8)
            .collect();
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect()
    }

    fn pair(profile: SrtpProfile) -> (SrtpSender, SrtpReceiver) {
        let material: Vec<u8> = (0..profile.keying_material_len() as u8).collect();
        let (sender, _) = from_keying_material(profile, &material, DtlsRole::Client).unwrap();
        let (_, receiver) = from_keying_material(profile, &material, DtlsRole::Server).unwrap();
        (sender, receiver)
    }

    /// Both directions on the same session keys, as the vectors of RFC 7714 have them.
    fn session(key: &str) -> (SrtpSender, SrtpReceiver) {
        let profile = if key.len() > 32 {
            SrtpProfile::AeadAes256Gcm
        } else {
            SrtpProfile::AeadAes128Gcm
        };
        let cipher = || {
            let salt = hex("517569642070726f2071756f").try_into().unwrap();
            Cipher::gcm(&hex(key), salt).unwrap()
        };
        let keys = || SessionKeys {
            profile,
            rtp: cipher(),
            rtcp: cipher(),
        };
        (
            SrtpSender {
                keys: keys(),
                rtcp_index: 0x5d3,
            },
            SrtpReceiver::new(keys()),
        )
    }

    const KEY_128: &str = "000102030405060708090a0b0c0d0e0f";
    const KEY_256: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const RTP: &str = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976
        69736120 696e2070 61727465 73207472 6573";
    const RTCP: &str = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61
        deadbeef deadbeef deadbeef deadbeef deadbeef";

    #[test]
    fn rtp_vectors_of_rfc_7714_section_16() {
        for (key, sealed) in [
            (
                KEY_128,
                "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f
                 42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
            ),
            (
                KEY_256,
                "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3
                 b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
            ),
        ] {
            let (sender, mut receiver) = session(key);
            let (plain, sealed) = (hex(RTP), hex(sealed));
            let mut out = plain.clone();
            out.resize(plain.len() + 16, 0);
            let len = sender
                .seal_rtp(&mut out, 12, plain.len() - 12, 0x5501a0b2, 0xf17b)
                .unwrap();
            assert_eq!(out[..len], sealed);
            out.fill(0);
            out[..12].copy_from_slice(&plain[..12]);
            sender
                .seal_rtp_from(&mut out, 12, &plain[12..], 0x5501a0b2, 0xf17b)
                .unwrap();
            assert_eq!(out, sealed);
            let header = RtpHeader::parse(&sealed).unwrap();
            let opened = receiver.open_rtp(&sealed, &header, &mut out);
            assert_eq!(opened, Ok((plain.len() - 12, 0xf17b)));
            assert_eq!(out[..plain.len() - 12], plain[12..]);
        }
    }

    #[test]
    fn rtcp_vectors_of_rfc_7714_section_17() {
        let tagged = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61
            deadbeef deadbeef deadbeef deadbeef deadbeef 841dd968 3dd78ec9 2ae58790 125f62b3 000005d4";
        for (key, sealed) in [
            (
                KEY_128,
                "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1
                 730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
            ),
            (
                KEY_256,
                "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1
                 110555be 8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4",
            ),
        ] {
            let (mut sender, mut receiver) = session(key);
            let (plain, sealed) = (hex(RTCP), hex(sealed));
            let mut out = plain.clone();
            out.resize(plain.len() + 20, 0);
            assert_eq!(sender.seal_rtcp(&mut out, plain.len()), Ok(sealed.len()));
            assert_eq!(out, sealed);
            assert_eq!(receiver.open_rtcp(&sealed, &mut out), Ok(plain.len()));
            assert_eq!(out[..plain.len()], plain);
            assert_eq!(
                receiver.open_rtcp(&sealed, &mut out),
                Err(SrtpError::Replayed)
            );
        }
        let (_, mut receiver) = session(KEY_128);
        let (mut tagged, mut out) = (hex(tagged), [0; 100]);
        assert_eq!(
            receiver.open_rtcp(&tagged, &mut out),
            Ok(52),
            "authenticated only"
        );
        assert_eq!(out[..52], tagged[..52]);
        tagged[30] ^= 1;
        let (_, mut receiver) = session(KEY_128);
        assert_eq!(
            receiver.open_rtcp(&tagged, &mut out),
            Err(SrtpError::Authentication)
        );
    }

    #[test]
    fn key_derivation_and_keystream_vectors_of_rfc_3711_appendix_b() {
        let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
        let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
        for (label, expected) in [
            (0, "C61E7A93744F39EE10734AFE3FF7A087"),
            (2, "30CBBC08863D8C85D49DB34A9AE1"),
            (1, "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"),
        ] {
            let expected = hex(expected);
            let mut out = vec![0; expected.len()];
            derive(&key, &salt, label, &mut out).unwrap();
            assert_eq!(out, expected, "label {label}");
        }
        let key = ctr_key(&hex("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
        let salt = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap();
        let mut stream = [0; 48];
        apply_ctr(&key, cm_iv(&salt, 0, 0), &mut stream).unwrap();
        let expected = hex(
            "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB
            41E95B3BB0A2E8DD477901E4FCA894C0",
        );
        assert_eq!(stream, expected[..]);
    }

    #[test]
    fn a_whole_aes_cm_packet_as_libsrtp_makes_it() {
        let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
        let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
        let keys = SessionKeys::derive(SrtpProfile::AesCm128HmacSha1_80, &key, &salt).unwrap();
        let mut sender = SrtpSender {
            keys,
            rtcp_index: 0,
        };
        let mut out = hex("800f1234 decafbad cafebabe abababab abababab abababab abababab");
        out.resize(38, 0);
        assert_eq!(
            sender.seal_rtp(&mut out, 12, 16, 0xcafebabe, 0x1234),
            Ok(38)
        );
        let expected = hex(
            "800f1234 decafbad cafebabe 4e55dc4c e79978d8 8ca4d215 949d2402
            b78d6acc 99ea179b 8dbb",
        );
        assert_eq!(out, expected);
        let mut out = hex("81c8000b cafebabe abababab abababab abababab abababab");
        out.resize(38, 0);
        assert_eq!(sender.seal_rtcp(&mut out, 24), Ok(38));
        let expected = hex(
            "81c8000b cafebabe 7128035b e487b9bd bef89041 f977a5a8 80000001
            993e08cd 54d6c123 0798",
        );
        assert_eq!(out, expected);
    }

    fn sealed(sender: &SrtpSender, ssrc: u32, index: u64, payload: &[u8]) -> Vec<u8> {
        let header = EgressHeader {
            seq: SeqNo(index as u16),
            time: RtpTime(index as u32),
            ssrc,
            payload_type: 96,
            marker: false,
            padding: false,
        };
        let mut out = vec![0; 12 + 8 + payload.len() + MAX_RTP_OVERHEAD];
        let header_len = header.write(&mut out, &[(3, b"xyz")]).unwrap();
        let len = sender
            .seal_rtp_from(&mut out, header_len, payload, ssrc, index)
            .unwrap();
        out.truncate(len);
        out
    }

    fn open(receiver: &mut SrtpReceiver, packet: &[u8]) -> Result<(Vec<u8>, u64), SrtpError> {
        let header = RtpHeader::parse(packet).unwrap();
        let mut out = vec![0; 2000];
        let (len, index) = receiver.open_rtp(packet, &header, &mut out)?;
        Ok((out[..len].to_vec(), index))
    }

    #[test]
    fn the_roll_over_counter_follows_with_loss_and_reordering() {
        for profile in PROFILES {
            let (sender, mut receiver) = pair(profile);
            for index in [
                65_000, 65_535, 65_537, 65_534, 65_536, 98_000, 130_000, 131_072, 131_070,
            ] {
                let packet = sealed(&sender, 7, index, b"payload");
                assert_eq!(
                    open(&mut receiver, &packet),
                    Ok((b"payload".to_vec(), index))
                );
                assert_eq!(open(&mut receiver, &packet), Err(SrtpError::Replayed));
            }
            assert_eq!(
                open(&mut receiver, &sealed(&sender, 7, 130_900, b"")),
                Err(SrtpError::TooOld)
            );
        }
    }

    #[test]
    fn a_wrong_tag_changes_nothing() {
        for profile in PROFILES {
            let (sender, mut receiver) = pair(profile);
            let good = sealed(&sender, 7, 100, b"payload");
            for at in 12..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 0x40;
                if RtpHeader::parse(&bad).is_ok() {
                    assert_eq!(open(&mut receiver, &bad), Err(SrtpError::Authentication));
                }
            }
            let mut far = sealed(&sender, 7, 30_000, b"payload");
            *far.last_mut().unwrap() ^= 1;
            assert_eq!(open(&mut receiver, &far), Err(SrtpError::Authentication));
            assert!(receiver.rtp.ssrcs.is_empty());
            assert!(open(&mut receiver, &good).is_ok());
            assert_eq!(open(&mut receiver, &far), Err(SrtpError::Authentication));
            assert!(
                open(&mut receiver, &sealed(&sender, 7, 99, b"")).is_ok(),
                "window did not move"
            );
        }
    }

    #[test]
    fn the_table_of_streams_is_bounded_and_keeps_the_busy_ones() {
        let (sender, mut receiver) = pair(SrtpProfile::AeadAes128Gcm);
        for ssrc in 0..1000 {
            assert!(open(&mut receiver, &sealed(&sender, ssrc, 1, b"x")).is_ok());
            let busy = sealed(&sender, 0, u64::from(ssrc) + 2, b"x");
            assert!(open(&mut receiver, &busy).is_ok());
            assert_eq!(open(&mut receiver, &busy), Err(SrtpError::Replayed));
        }
        assert_eq!(receiver.rtp.ssrcs.len(), MAX_SSRCS);
    }

    #[test]
    fn the_two_directions_have_different_keys() {
        for profile in PROFILES {
            let material: Vec<u8> = (0..profile.keying_material_len() as u8).collect();
            let (client, mut client_receiver) =
                from_keying_material(profile, &material, DtlsRole::Client).unwrap();
            let packet = sealed(&client, 7, 1, b"own");
            assert_eq!(
                open(&mut client_receiver, &packet),
                Err(SrtpError::Authentication)
            );
            assert!(matches!(
                from_keying_material(profile, &material[1..], DtlsRole::Client),
                Err(SrtpError::KeyLength)
            ));
        }
    }

    #[test]
    fn nonces_are_unique_over_streams_indices_and_rollovers() {
        let salt = [0x5A; 12];
        let mut seen = std::collections::BTreeSet::new();
        for ssrc in [0, 1, 2, 1 << 16, u32::MAX] {
            for index in [
                0,
                1,
                0xFFFF,
                0x1_0000,
                0x1_0001,
                0xFFFF_FFFF,
                1 << 32,
                MAX_RTP_INDEX,
            ] {
                assert!(seen.insert(*gcm_rtp_nonce(&salt, ssrc, index).as_ref()));
            }
        }
    }

    #[test]
    fn exhausted_keys_and_short_buffers_are_refused() {
        let (mut sender, mut receiver) = pair(SrtpProfile::AeadAes256Gcm);
        let mut out = [0x80; 60];
        assert_eq!(
            sender.seal_rtp(&mut out, 12, 33, 1, 1),
            Err(SrtpError::DoesNotFit)
        );
        assert_eq!(
            sender.seal_rtp(&mut out, 12, 3, 1, MAX_RTP_INDEX + 1),
            Err(SrtpError::KeyExhausted)
        );
        assert_eq!(sender.seal_rtcp(&mut out, 41), Err(SrtpError::DoesNotFit));
        assert_eq!(sender.seal_rtcp(&mut out, 7), Err(SrtpError::Truncated));
        sender.rtcp_index = RTCP_ENCRYPTED - 2;
        assert_eq!(sender.seal_rtcp(&mut out, 20), Ok(40));
        assert_eq!(sender.seal_rtcp(&mut out, 20), Err(SrtpError::KeyExhausted));
        let packet = sealed(&sender, 7, 1, b"12345");
        let header = RtpHeader::parse(&packet).unwrap();
        assert_eq!(
            receiver.open_rtp(&packet, &header, &mut [0; 4]),
            Err(SrtpError::DoesNotFit)
        );
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_opened(
            payload in proptest::collection::vec(any::<u8>(), 0..1400),
            start in 0u64..40_000,
            steps in proptest::collection::vec(1u64..20_000, 1..30),
        ) {
            for profile in PROFILES {
                let (sender, mut receiver) = pair(profile);
                let mut index = start;
                for step in &steps {
                    let packet = sealed(&sender, 0xABCD, index, &payload);
                    prop_assert_eq!(open(&mut receiver, &packet), Ok((payload.clone(), index)));
                    index += step;
                }
            }
        }

        #[test]
        fn a_packet_is_opened_once_in_whatever_order_it_comes(
            start in 0u64..65_536, offsets in proptest::collection::vec(0u64..300, 1..400),
        ) {
            for profile in PROFILES {
                let (sender, mut receiver) = pair(profile);
                let (mut opened, mut highest) = (std::collections::BTreeSet::new(), 0);
                prop_assert!(open(&mut receiver, &sealed(&sender, 7, start, b"first")).is_ok());
                opened.insert(start);
                for offset in &offsets {
                    let index = start + offset;
                    match open(&mut receiver, &sealed(&sender, 7, index, b"x")) {
                        Ok((_, at)) => prop_assert!(at == index && opened.insert(index)),
                        Err(SrtpError::Replayed) => prop_assert!(opened.contains(&index)),
                        Err(error) => {
                            prop_assert_eq!(error, SrtpError::TooOld);
                            prop_assert!(index + 64 <= highest);
                        }
                    }
                    highest = highest.max(index);
                }
            }
        }

        #[test]
        fn rtcp_survives_the_round_trip(
            mut packet in proptest::collection::vec(any::<u8>(), 8..200), rounds in 1usize..5,
        ) {
            for profile in PROFILES {
                let (mut sender, mut receiver) = pair(profile);
                for _ in 0..rounds {
                    let len = packet.len();
                    let mut sealed = packet.clone();
                    sealed.resize(len + MAX_RTCP_OVERHEAD, 0);
                    let sealed_len = sender.seal_rtcp(&mut sealed, len).unwrap();
                    let mut out = [0; 300];
                    prop_assert_eq!(receiver.open_rtcp(&sealed[..sealed_len], &mut out), Ok(len));
                    prop_assert_eq!(&out[..len], &packet[..]);
                    packet[7] ^= 1;
                }
            }
        }

        #[test]
        fn random_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            for profile in PROFILES {
                let (_, mut receiver) = pair(profile);
                let mut out = [0; 100];
                prop_assert!(receiver.open_rtcp(&bytes, &mut out).is_err());
                let mut bytes = bytes.clone();
                if let Some(first) = bytes.first_mut() {
                    *first = 0x80;
                }
                if let Ok(header) = RtpHeader::parse(&bytes) {
                    prop_assert!(receiver.open_rtp(&bytes, &header, &mut out).is_err());
                }
                prop_assert!(receiver.rtp.ssrcs.is_empty() && receiver.rtcp.ssrcs.is_empty());
            }
        }
    }

    /// Which way to seal is quicker; prints, asserts nothing. Run with `--ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    fn measure_one_pass_against_copy_and_in_place() {
        let (sender, mut receiver) = pair(SrtpProfile::AeadAes256Gcm);
        let payload = [7u8; 1188];
        let mut out = [0u8; 1300];
        let rounds = 300_000u64;
        for profile in PROFILES {
            let (sender, _) = pair(profile);
            for name in ["one pass", "copy", "one pass", "copy"] {
                let start = std::time::Instant::now();
                for index in 0..rounds {
                    if name == "copy" {
                        out[12..1200].copy_from_slice(&payload);
                        sender.seal_rtp(&mut out, 12, 1188, 1, index).unwrap();
                    } else {
                        sender
                            .seal_rtp_from(&mut out, 12, &payload, 1, index)
                            .unwrap();
                    }
                }
                let ns = start.elapsed().as_nanos() as u64 / rounds;
                println!("{profile:?} {name}: {ns} ns per 1200-byte packet");
            }
        }
        let packets: Vec<Vec<u8>> = (0..1000)
            .map(|index| sealed(&sender, 1, index, &payload))
            .collect();
        let mut opened = 0u64;
        let start = std::time::Instant::now();
        for _ in 0..100 {
            receiver.rtp = SsrcTable::default();
            for packet in &packets {
                let header = RtpHeader::parse(packet).unwrap();
                opened += u64::from(receiver.open_rtp(packet, &header, &mut out).is_ok());
            }
        }
        println!(
            "open: {} ns ({opened})",
            start.elapsed().as_nanos() as u64 / opened
        );
    }
}
