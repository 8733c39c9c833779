//! Fingerprints of certificates.

use aws_lc_rs::digest;

use crate::sdp::{Fingerprint, HashAlgorithm};

/// Whether a certificate (DER) has this fingerprint (RFC 8122 section 5).
pub(super) fn matches(expected: &Fingerprint, certificate: &[u8]) -> bool {
    let algorithm = match expected.algorithm {
        HashAlgorithm::Sha256 => &digest::SHA256,
        HashAlgorithm::Sha384 => &digest::SHA384,
        HashAlgorithm::Sha512 => &digest::SHA512,
    };
    digest::digest(algorithm, certificate).as_ref() == expected.digest
}
