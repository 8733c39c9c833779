//! Who a member is: its name in the meeting, and the key it signs with.

use openmls::prelude::{BasicCredential, CredentialWithKey, CryptoError};
use openmls_basic_credential::SignatureKeyPair;
use tls_codec::{DeserializeBytes as _, Serialize as _};

use crate::profile::SIGNATURES;

/// A member's identity and its signature key. A client keeps it for as long as a meeting goes on, so that it comes in again
/// with the ticket it has; the state of a group it never keeps, for no key may encrypt anew what it has encrypted.
#[derive(Debug)]
pub struct Identity {
    name: String,
    keys: SignatureKeyPair,
}

impl Identity {
    /// An identity with a new key.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new(name: &str) -> Result<Self, CryptoError> {
        Ok(Self {
            name: name.to_owned(),
            keys: SignatureKeyPair::new(SIGNATURES)?,
        })
    }

    /// An identity whose key was kept. `None`: these bytes are no key.
    pub fn with_key(name: &str, kept: &[u8]) -> Option<Self> {
        let (keys, rest) = SignatureKeyPair::tls_deserialize_bytes(kept).ok()?;
        rest.is_empty().then(|| Self {
            name: name.to_owned(),
            keys,
        })
    }

    /// The same identity once more.
    pub fn again(&self) -> Self {
        Self {
            name: self.name.clone(),
            keys: self.keys.clone(),
        }
    }

    /// Its key, to be kept where nobody else reads it.
    pub fn key_to_keep(&self) -> Vec<u8> {
        self.keys.tls_serialize_detached().unwrap_or_default()
    }

    /// The identity: that of the participant.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its public signature key.
    pub fn public_key(&self) -> &[u8] {
        self.keys.public()
    }

    /// What signs for it.
    pub fn signer(&self) -> &SignatureKeyPair {
        &self.keys
    }

    pub(crate) fn credential(&self) -> CredentialWithKey {
        CredentialWithKey {
            credential: BasicCredential::new(self.name.as_bytes().to_vec()).into(),
            signature_key: self.keys.public().into(),
        }
    }
}
