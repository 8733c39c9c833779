//! AES-GCM and HKDF for crate `sframe`, on `aws-lc-rs`. A key keeps its schedule: the backends of the crate make it anew
//! for each frame, which takes longer than a frame of sound itself.

use aws_lc_rs::{
    aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{self, HKDF_SHA256, HKDF_SHA512, KeyType, Prk, Salt},
};
use sframe::{
    CipherSuite,
    crypto::{
        AeadDecrypt, AeadEncrypt, DecryptionBufferView, EncryptionBufferView, KeyDerivation,
        get_hkdf_key_expand_label, get_hkdf_salt_expand_label,
    },
    error::{Result, SframeError},
    header::{Counter, KeyId},
    key::{GenericDecryptionKey, GenericEncryptionKey},
};

/// A key to encrypt with.
pub type EncryptionKey = GenericEncryptionKey<Gcm, Hkdf>;

/// A key to decrypt with.
pub type DecryptionKey = GenericDecryptionKey<Gcm, Hkdf>;

/// AES-GCM (RFC 9605, section 4.5.2 without its counter mode).
#[derive(Debug, Clone, Copy)]
pub struct Gcm;

/// HKDF (RFC 9605, section 4.4.2).
#[derive(Debug, Clone, Copy)]
pub struct Hkdf;

/// A key with its schedule, and the salt of its nonces.
pub struct Secret {
    key: LessSafeKey,
    salt: [u8; NONCE_LEN],
}

impl Secret {
    /// The nonce of a frame (RFC 9605, section 4.4.3).
    fn nonce(&self, counter: Counter) -> Nonce {
        let mut nonce = self.salt;
        let counter = counter.to_be_bytes();
        for (byte, counter) in nonce[NONCE_LEN - counter.len()..].iter_mut().zip(counter) {
            *byte ^= counter;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

impl TryFrom<CipherSuite> for Gcm {
    type Error = SframeError;

    fn try_from(_: CipherSuite) -> Result<Self> {
        Ok(Self)
    }
}

impl AeadEncrypt for Gcm {
    type Secret = Secret;

    fn encrypt<'a, B>(&self, secret: &Secret, buffer: B, counter: Counter) -> Result<()>
    where
        B: Into<EncryptionBufferView<'a>>,
    {
        let EncryptionBufferView { aad, data, tag } = buffer.into();
        let sealed =
            secret
                .key
                .seal_in_place_separate_tag(secret.nonce(counter), Aad::from(&*aad), data);
        tag.copy_from_slice(sealed.map_err(|_| SframeError::EncryptionFailure)?.as_ref());
        Ok(())
    }
}

impl AeadDecrypt for Gcm {
    type Secret = Secret;

    fn decrypt<'a, B>(&self, secret: &Secret, buffer: B, counter: Counter) -> Result<()>
    where
        B: Into<DecryptionBufferView<'a>>,
    {
        let DecryptionBufferView { aad, data } = buffer.into();
        let opened = secret
            .key
            .open_in_place(secret.nonce(counter), Aad::from(&*aad), data);
        opened
            .map(|_| ())
            .map_err(|_| SframeError::DecryptionFailure)
    }
}

impl KeyDerivation for Hkdf {
    type Secret = Secret;

    fn expand_from<M, K>(suite: CipherSuite, key_material: M, key_id: K) -> Result<Secret>
    where
        M: AsRef<[u8]>,
        K: Into<KeyId>,
    {
        let key_id = key_id.into();
        let (hash, cipher) = match suite {
            CipherSuite::AesGcm128Sha256 => (HKDF_SHA256, &AES_128_GCM),
            CipherSuite::AesGcm256Sha512 => (HKDF_SHA512, &AES_256_GCM),
            _ => return Err(SframeError::KeyDerivationFailure),
        };
        // No salt is used to extract (RFC 9605, section 4.4.2).
        let extracted = Salt::new(hash, b"").extract(key_material.as_ref());
        let mut key = [0; 32];
        let key = &mut key[..suite.key_len()];
        expand(&extracted, &get_hkdf_key_expand_label(key_id, suite), key)?;
        let mut salt = [0; NONCE_LEN];
        expand(
            &extracted,
            &get_hkdf_salt_expand_label(key_id, suite),
            &mut salt,
        )?;
        let unbound = UnboundKey::new(cipher, key);
        zeroize::Zeroize::zeroize(key);
        let key = LessSafeKey::new(unbound.map_err(|_| SframeError::KeyDerivationFailure)?);
        Ok(Secret { key, salt })
    }
}

/// So many bytes of output.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand(extracted: &Prk, label: &[u8], out: &mut [u8]) -> Result<()> {
    let expanded: std::result::Result<(), _> = extracted
        .expand(&[label], Length(out.len()))
        .and_then(|okm: hkdf::Okm<'_, Length>| okm.fill(out));
    expanded.map_err(|_| SframeError::KeyDerivationFailure)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use sframe::{
        frame::{EncryptedFrameView, MediaFrameView, SingleUseCounter},
        header::SframeHeader,
    };

    use super::*;

    #[derive(Deserialize)]
    struct Vectors {
        header: Vec<Header>,
        sframe: Vec<Frame>,
    }

    #[derive(Deserialize)]
    struct Header {
        kid: u64,
        ctr: u64,
        encoded: String,
    }

    #[derive(Deserialize)]
    struct Frame {
        cipher_suite: u16,
        kid: u64,
        ctr: u64,
        base_key: String,
        sframe_salt: String,
        nonce: String,
        metadata: String,
        pt: String,
        ct: String,
    }

    fn vectors() -> Vectors {
        serde_json::from_str(include_str!("../tests/vectors/rfc9605.json")).unwrap()
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<_> = text
            .chars()
            .map(|c| c.to_digit(16).unwrap() as u8)
            .collect();
        digits.chunks(2).map(|two| two[0] << 4 | two[1]).collect()
    }

    #[test]
    fn headers_are_those_of_rfc_9605() {
        for header in vectors().header {
            let ours = SframeHeader::new(header.kid, header.ctr);
            assert_eq!(Vec::from(&ours), hex(&header.encoded));
        }
    }

    #[test]
    fn frames_are_those_of_rfc_9605() {
        let frames = vectors().sframe;
        assert_eq!(frames.len(), 2);
        for frame in frames {
            let suite = match frame.cipher_suite {
                4 => CipherSuite::AesGcm128Sha256,
                _ => CipherSuite::AesGcm256Sha512,
            };
            let (base_key, metadata) = (hex(&frame.base_key), hex(&frame.metadata));
            let secret = Hkdf::expand_from(suite, &base_key, frame.kid).unwrap();
            assert_eq!(secret.salt.to_vec(), hex(&frame.sframe_salt));
            assert_eq!(secret.nonce(frame.ctr).as_ref().to_vec(), hex(&frame.nonce));

            let key = EncryptionKey::derive_from(suite, frame.kid, &base_key).unwrap();
            let mut counter = SingleUseCounter::new(frame.ctr);
            let (plain, mut out) = (hex(&frame.pt), Vec::new());
            let media =
                MediaFrameView::try_with_meta_data(&mut counter, &plain, &metadata).unwrap();
            let encrypted = media.encrypt_into(&key, &mut out).unwrap();
            assert_eq!(encrypted.sframe_cipher_text(), hex(&frame.ct));

            let key = DecryptionKey::derive_from(suite, frame.kid, &base_key).unwrap();
            let (wire, mut out) = (hex(&frame.ct), Vec::new());
            let encrypted = EncryptedFrameView::try_with_meta_data(&wire, &metadata).unwrap();
            assert_eq!(
                encrypted.decrypt_into(&key, &mut out).unwrap().payload(),
                plain
            );
        }
    }
}
