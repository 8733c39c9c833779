//! What the delivery service sees of those who are added: their key packages, and which part of a welcome is for whom.

use openmls::prelude::{
    KeyPackageIn, MlsMessageBodyIn, OpenMlsCrypto, OpenMlsProvider as _, ProtocolVersion,
};
use openmls_rust_crypto::OpenMlsRustCrypto;
use tls_codec::{
    DeserializeBytes as _, Serialize as _, TlsDeserializeBytes, TlsSerialize, TlsSize, VLBytes,
};

use crate::{
    group::{GroupError, invalid, message},
    policy,
    profile::Profile,
};

/// Version and wire format that a welcome begins with (RFC 9420, section 6).
const WELCOME: [u8; 4] = [0, 1, 0, 3];

/// Somebody who wants to be added, by its key package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newcomer {
    /// The identity.
    pub identity: Vec<u8>,
    /// Its signature key.
    pub key: Vec<u8>,
    /// What the key package is called in a welcome.
    reference: Vec<u8>,
}

/// A welcome (RFC 9420, section 12.4.3.1).
#[derive(Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Welcome {
    suite: u16,
    secrets: Vec<Secrets>,
    group_info: VLBytes,
}

/// What one who is added needs.
#[derive(Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Secrets {
    reference: VLBytes,
    kem_output: VLBytes,
    ciphertext: VLBytes,
}

impl Newcomer {
    /// Reads a key package and checks it.
    ///
    /// # Errors
    /// When it is none, of another profile, or its signature is false.
    pub fn read(key_package: &[u8], profile: Profile) -> Result<Self, GroupError> {
        let MlsMessageBodyIn::KeyPackage(package) = message(key_package)?.extract() else {
            return Err(GroupError::Malformed("key package"));
        };
        let provider = OpenMlsRustCrypto::default();
        let crypto: &_ = provider.crypto();
        let package = KeyPackageIn::validate(package, crypto, ProtocolVersion::Mls10);
        let package = package.map_err(invalid)?;
        if package.ciphersuite() != profile.suite() {
            return Err(GroupError::Malformed("key package"));
        }
        let leaf = package.leaf_node();
        Ok(Self {
            identity: policy::identity(leaf.credential())?,
            key: leaf.signature_key().as_slice().to_vec(),
            reference: reference(&package, crypto)?,
        })
    }

    /// The part of a welcome that is for this one. `None`: there is none.
    pub fn part_of(&self, welcome: &[u8]) -> Option<Vec<u8>> {
        let body = welcome.strip_prefix(&WELCOME)?;
        let mut welcome = Welcome::tls_deserialize_exact_bytes(body).ok()?;
        welcome
            .secrets
            .retain(|one| one.reference.as_slice() == self.reference);
        let [_] = welcome.secrets.as_slice() else {
            return None;
        };
        let body = welcome.tls_serialize_detached().ok()?;
        Some([WELCOME.as_slice(), &body].concat())
    }
}

fn reference(
    package: &openmls::prelude::KeyPackage,
    crypto: &impl OpenMlsCrypto,
) -> Result<Vec<u8>, GroupError> {
    let reference = package.hash_ref(crypto).map_err(invalid)?;
    Ok(reference.as_slice().to_vec())
}
