//! Admission tickets: a member says who may join. The server hands them on and cannot write one.

use openmls::prelude::OpenMlsCrypto;
use openmls_traits::signatures::{Signer, SignerError};
use tls_codec::{
    DeserializeBytes as _, Serialize as _, TlsDeserializeBytes, TlsSerialize, TlsSize, VLBytes,
};

use crate::profile::SIGNATURES;

/// What a signature of a ticket begins with: it is good for nothing else.
const LABEL: &[u8] = b"Conclave 1.0 Ticket";

/// The version of the format.
const VERSION: u8 = 1;

/// What a ticket says.
#[derive(Debug, Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Content {
    version: u8,
    group: VLBytes,
    identity: VLBytes,
    key: VLBytes,
    not_after: u64,
    issuer: VLBytes,
}

/// A ticket: this identity with this signature key may join this group until then.
#[derive(Debug, Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Ticket {
    content: Content,
    signature: VLBytes,
}

/// The tickets that come with a commit, one for each who joins by it.
#[derive(Debug, Clone, Default, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Tickets {
    tickets: Vec<Ticket>,
}

impl Ticket {
    /// Signs a ticket. `key` is the joiner's signature key, `issuer` that of the signer, `not_after` in seconds since the
    /// epoch of Unix.
    ///
    /// # Errors
    /// When the signer cannot sign.
    pub fn issue(
        group: &[u8],
        identity: &str,
        key: &[u8],
        not_after: u64,
        issuer: &[u8],
        signer: &impl Signer,
    ) -> Result<Self, SignerError> {
        let content = Content {
            version: VERSION,
            group: group.into(),
            identity: identity.as_bytes().into(),
            key: key.into(),
            not_after,
            issuer: issuer.into(),
        };
        let signed = content.to_be_signed().ok_or(SignerError::SigningError)?;
        let signature = signer.sign(&signed)?.into();
        Ok(Self { content, signature })
    }

    /// The ticket in these bytes. `None`: there is none, or of another version.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let ticket = Self::tls_deserialize_exact_bytes(bytes).ok()?;
        (ticket.content.version == VERSION).then_some(ticket)
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.tls_serialize_detached().unwrap_or_default()
    }

    /// The signature key of who signed it.
    pub fn issuer(&self) -> &[u8] {
        self.content.issuer.as_slice()
    }

    /// Whether it lets this identity with this key into the group at this time, and its issuer has signed it. Whether the
    /// issuer may is another question.
    pub fn admits(
        &self,
        crypto: &impl OpenMlsCrypto,
        group: &[u8],
        (identity, key): (&[u8], &[u8]),
        now: u64,
    ) -> bool {
        let Content {
            version,
            group: its_group,
            identity: its_identity,
            key: its_key,
            not_after,
            issuer,
        } = &self.content;
        let is_for_them = *version == VERSION
            && its_group.as_slice() == group
            && its_identity.as_slice() == identity
            && its_key.as_slice() == key
            && now <= *not_after;
        let Some(signed) = self.content.to_be_signed().filter(|_| is_for_them) else {
            return false;
        };
        let (issuer, signature) = (issuer.as_slice(), self.signature.as_slice());
        crypto
            .verify_signature(SIGNATURES, &signed, issuer, signature)
            .is_ok()
    }
}

impl Content {
    fn to_be_signed(&self) -> Option<Vec<u8>> {
        let content = self.tls_serialize_detached().ok()?;
        Some([LABEL, &content].concat())
    }
}

impl Tickets {
    /// The tickets in the additional data of a commit. Bytes that are none are no tickets.
    pub fn read(bytes: &[u8]) -> Self {
        match bytes {
            [] => Self::default(),
            bytes => Self::tls_deserialize_exact_bytes(bytes).unwrap_or_default(),
        }
    }

    /// Their bytes; none where there are no tickets.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self.tickets.as_slice() {
            [] => Vec::new(),
            _ => self.tls_serialize_detached().unwrap_or_default(),
        }
    }

    /// The tickets.
    pub fn iter(&self) -> impl Iterator<Item = &Ticket> {
        self.tickets.iter()
    }
}

impl FromIterator<Ticket> for Tickets {
    fn from_iter<I: IntoIterator<Item = Ticket>>(tickets: I) -> Self {
        Self {
            tickets: tickets.into_iter().collect(),
        }
    }
}
