//! Limits of names, metadata and attributes, and the errors for longer ones. LiveKit's limits and words.

use crate::error::Error;

/// The longest room name, identity and participant name, bytes.
pub const MAX_NAME: usize = 256;

/// The longest metadata of a room or participant, bytes.
pub const MAX_METADATA: usize = 512 * 1024;

/// The longest attributes of a participant, all keys and values together, bytes.
pub const MAX_ATTRIBUTES: usize = 64 * 1024;

/// Checks the length of a room name.
///
/// # Errors
/// [`Error::TooLong`].
pub fn check_room_name(name: &str) -> Result<(), Error> {
    check(
        name.len(),
        "room name length exceeds limits: max length",
        MAX_NAME,
    )
}

/// Checks the length of an identity.
///
/// # Errors
/// [`Error::TooLong`].
pub fn check_identity(identity: &str) -> Result<(), Error> {
    let words = "participant identity length exceeds limits: max length";
    check(identity.len(), words, MAX_NAME)
}

/// Checks the length of a participant's name.
///
/// # Errors
/// [`Error::TooLong`].
pub fn check_name(name: &str) -> Result<(), Error> {
    check(name.len(), "name length exceeds limits", MAX_NAME)
}

/// Checks the length of metadata.
///
/// # Errors
/// [`Error::TooLong`].
pub fn check_metadata(metadata: &str) -> Result<(), Error> {
    check(metadata.len(), "metadata size exceeds limits", MAX_METADATA)
}

/// Checks the length of attributes: all keys and values together.
///
/// # Errors
/// [`Error::TooLong`].
pub fn check_attributes<'a>(
    attributes: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<(), Error> {
    let size = |(key, value): (&String, &String)| key.len() + value.len();
    let size = attributes.into_iter().map(size).sum();
    check(size, "attribute size exceeds limits", MAX_ATTRIBUTES)
}

fn check(len: usize, what: &'static str, max: usize) -> Result<(), Error> {
    match len > max {
        true => Err(Error::TooLong { what, max }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_at_n_and_not_at_n_plus_one_in_livekits_words() {
        type Check = fn(&str) -> Result<(), Error>;
        let attributes: Check = |text| check_attributes([(&"k".to_owned(), &text[1..].to_owned())]);
        let checks: [(Check, usize, &str); 5] = [
            (
                check_room_name,
                256,
                "room name length exceeds limits: max length 256",
            ),
            (
                check_identity,
                256,
                "participant identity length exceeds limits: max length 256",
            ),
            (check_name, 256, "name length exceeds limits 256"),
            (
                check_metadata,
                524_288,
                "metadata size exceeds limits 524288",
            ),
            (attributes, 65_536, "attribute size exceeds limits 65536"),
        ];
        for (check, max, words) in checks {
            assert_eq!(check(&"x".repeat(max)), Ok(()));
            let error = check(&"x".repeat(max + 1)).unwrap_err();
            assert_eq!(
                (error.row().status, error.to_string().as_str()),
                (400, words)
            );
        }
    }
}
