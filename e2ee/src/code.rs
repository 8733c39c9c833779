//! The verification code of a meeting: people compare it, by voice, and know that they are in one group, and that nobody
//! else made it.

use openmls::prelude::{HashType, OpenMlsCrypto};

/// The number of digits.
const DIGITS: usize = 30;

/// The digits of a block.
const BLOCK: usize = 5;

/// What the code is made with, so that it is good for nothing else.
const LABEL: &[u8] = b"Conclave 1.0 Verification Code";

/// The code of an epoch, from its authenticator (RFC 9420, section 8.7): 30 digits in blocks of five. `None`: the library
/// knows no SHA-256.
pub fn digits(crypto: &impl OpenMlsCrypto, epoch_authenticator: &[u8]) -> Option<String> {
    let hash = crypto
        .hash(HashType::Sha2_256, &[LABEL, epoch_authenticator].concat())
        .ok()?;
    let blocks = hash.chunks_exact(BLOCK).take(DIGITS / BLOCK);
    let number = |block: &[u8]| {
        block
            .iter()
            .fold(0, |all, byte| all << 8 | u64::from(*byte))
    };
    let blocks: Vec<_> = blocks
        .map(|block| format!("{:05}", number(block) % 100_000))
        .collect();
    Some(blocks.join(" "))
}

#[cfg(test)]
mod tests {
    use openmls::prelude::OpenMlsProvider as _;

    use super::*;

    #[test]
    fn a_code_is_six_blocks_of_five_digits_and_another_for_another_epoch() {
        let provider = openmls_rust_crypto::OpenMlsRustCrypto::default();
        let digits = |authenticator: [u8; 32]| digits(provider.crypto(), &authenticator).unwrap();
        let code = digits([7; 32]);
        let blocks: Vec<_> = code.split(' ').collect();
        assert_eq!(blocks.len(), 6);
        assert!(
            blocks
                .iter()
                .all(|block| block.len() == 5 && block.bytes().all(|b| b.is_ascii_digit()))
        );
        assert_ne!(code, digits([8; 32]));
    }
}
