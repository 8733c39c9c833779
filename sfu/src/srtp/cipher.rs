//! The ciphers of SRTP and SRTCP: AES-GCM (RFC 7714), AES in counter mode with HMAC-SHA1 (RFC 3711), and the derivation
//! of their session keys.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::{constant_time, hmac};

use super::profile::{
    GCM_TAG_LEN, RTCP_CLEAR_LEN, RTCP_ENCRYPTED, RTCP_INDEX_LEN, SHA1_TAG_LEN, SrtpError,
    SrtpProfile, be32,
};

/// The ciphers of one direction.
pub(super) struct SessionKeys {
    pub(super) profile: SrtpProfile,
    pub(super) rtp: Cipher,
    pub(super) rtcp: Cipher,
}

impl SessionKeys {
    pub(super) fn derive(profile: SrtpProfile, key: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        Ok(Self {
            profile,
            rtp: Cipher::derive(profile, key, salt, 0)?,
            rtcp: Cipher::derive(profile, key, salt, 3)?,
        })
    }
}

/// A cipher with its keys.
pub(super) enum Cipher {
    Gcm {
        key: LessSafeKey,
        salt: [u8; 12],
    },
    /// AES in counter mode. Boxed: its contexts take 1.7 KB, and hardly any client needs them.
    CmSha1(Box<CmSha1>),
}

pub(super) struct CmSha1 {
    key: EncryptingKey,
    salt: [u8; 14],
    auth: hmac::Key,
}

impl Cipher {
    /// Derives session keys with the labels `label` (encryption), `label + 1` (authentication) and `label + 2` (salt).
    pub(super) fn derive(
        profile: SrtpProfile,
        key: &[u8],
        salt: &[u8],
        label: u8,
    ) -> Result<Self, SrtpError> {
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

    pub(super) fn gcm(key: &[u8], salt: [u8; 12]) -> Result<Self, SrtpError> {
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

    pub(super) fn seal_rtp(
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

    /// Like [`Cipher::seal_rtp`] with the payload elsewhere: in one pass where the cipher can.
    pub(super) fn seal_rtp_from(
        &self,
        header: &[u8],
        payload: &[u8],
        sealed: &mut [u8],
        tag: &mut [u8],
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        match self {
            Cipher::Gcm { key, salt } => {
                let nonce = gcm_rtp_nonce(salt, ssrc, index);
                key.seal_out_of_place_scatter(nonce, Aad::from(header), payload, sealed, &[], tag)
                    .map_err(|_| SrtpError::Authentication)
            }
            Cipher::CmSha1(_) => {
                sealed.copy_from_slice(payload);
                self.seal_rtp(header, sealed, tag, ssrc, index)
            }
        }
    }

    pub(super) fn open_rtp(
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

    /// Seals an RTCP packet. `out` is the packet of `len` bytes, followed by room for exactly tag and index.
    pub(super) fn seal_rtcp(&self, out: &mut [u8], len: usize, word: u32) -> Result<(), SrtpError> {
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

    /// Opens an RTCP packet. `out` is as long as the plain packet, `len`.
    pub(super) fn open_rtcp(
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

/// GCM nonce of an RTP packet: 00 00 | SSRC | ROC | SEQ, xor salt (RFC 7714, section 8.1).
pub(super) fn gcm_rtp_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> Nonce {
    let value = u128::from(ssrc) << 48 | u128::from(index);
    Nonce::assume_unique_for_key(xor_salt(salt, value))
}

/// GCM nonce of an RTCP packet: 00 00 | SSRC | 00 00 | 0 and index, xor salt (RFC 7714, section 9.1).
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

/// Initial counter: salt · 2^16 xor SSRC · 2^64 xor index · 2^16 (RFC 3711, section 4.1.1).
pub(super) fn cm_iv(salt: &[u8; 14], ssrc: u32, index: u64) -> [u8; 16] {
    let mut padded = [0; 16];
    padded[..14].copy_from_slice(salt);
    (u128::from_be_bytes(padded) ^ u128::from(ssrc) << 64 ^ u128::from(index) << 16).to_be_bytes()
}

/// Key derivation (RFC 3711, section 4.3; AES-256 per RFC 6188; short GCM salts padded, RFC 7714 section 11).
pub(super) fn derive(
    master_key: &[u8],
    salt: &[u8],
    label: u8,
    out: &mut [u8],
) -> Result<(), SrtpError> {
    let mut iv = [0; 16];
    iv.get_mut(..salt.len())
        .ok_or(SrtpError::KeyLength)?
        .copy_from_slice(salt);
    iv[7] ^= label;
    out.fill(0);
    apply_ctr(&ctr_key(master_key)?, iv, out)
}

pub(super) fn ctr_key(key: &[u8]) -> Result<EncryptingKey, SrtpError> {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    UnboundCipherKey::new(algorithm, key)
        .and_then(EncryptingKey::ctr)
        .map_err(|_| SrtpError::KeyLength)
}

pub(super) fn apply_ctr(
    key: &EncryptingKey,
    iv: [u8; 16],
    data: &mut [u8],
) -> Result<(), SrtpError> {
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
