//! Variants of H.264: the streams that a receiver takes (RFC 6184, section 8).

use crate::sdp::parameter;

/// The fmtp parameter with profile and level.
pub(super) const PROFILE_LEVEL_ID: &str = "profile-level-id";

/// The value that counts where the parameter is absent: baseline, level 1 (RFC 6184, section 8.1).
pub(super) const DEFAULT_PROFILE_LEVEL_ID: &str = "42000a";

/// A profile, which is what a decoder must be able to do. Each takes streams of those before it as far as [`fitness`]
/// says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Profile {
    /// The common part of all.
    ConstrainedBaseline,
    Baseline,
    Main,
    ConstrainedHigh,
    High,
}

/// Patterns of `profile-level-id` (RFC 6184, table 5) without the profiles that no WebRTC client has: `profile_idc`,
/// then the bits of `profile-iop` that count, and their values.
const PATTERNS: [(u8, u8, u8, Profile); 8] = [
    (0x42, 0b0100_1111, 0b0100_0000, Profile::ConstrainedBaseline),
    (0x4d, 0b1000_1111, 0b1000_0000, Profile::ConstrainedBaseline),
    (0x58, 0b1100_1111, 0b1100_0000, Profile::ConstrainedBaseline),
    (0x42, 0b0100_1111, 0b0000_0000, Profile::Baseline),
    (0x58, 0b1100_1111, 0b1000_0000, Profile::Baseline),
    (0x4d, 0b1010_1111, 0b0000_0000, Profile::Main),
    (0x64, 0b1111_1111, 0b0000_1100, Profile::ConstrainedHigh),
    (0x64, 0b1111_1111, 0b0000_0000, Profile::High),
];

impl Profile {
    /// The profile of a `profile-level-id`, which is six hexadecimal digits, the last two of which are the level.
    /// `None` for a profile that is not known, and for text of another form.
    pub(super) fn of(profile_level_id: &str) -> Option<Self> {
        let is_hex = profile_level_id.bytes().all(|b| b.is_ascii_hexdigit());
        if profile_level_id.len() != 6 || !is_hex {
            return None;
        }
        let byte = |at: usize| u8::from_str_radix(profile_level_id.get(at..at + 2)?, 16).ok();
        let (idc, iop) = (byte(0)?, byte(2)?);
        let fits = |(pattern, mask, value, _): &&(u8, u8, u8, Self)| {
            idc == *pattern && iop & mask == *value
        };
        PATTERNS.iter().find(fits).map(|(.., profile)| *profile)
    }
}

/// The fitness of a receiver with one fmtp line for a stream that was negotiated with another: 0 is best, `None` not at
/// all. A receiver of interleaved units takes single ones too; decoders of a higher profile take constrained baseline.
/// Levels do not count: nobody keeps to them, and most allow them to be asymmetric.
pub(super) fn fitness(receiver: &str, stream: &str) -> Option<u8> {
    let mode = |fmtp| parameter(fmtp, "packetization-mode").unwrap_or("0") == "1";
    if mode(stream) && !mode(receiver) {
        return None;
    }
    let profile =
        |fmtp| Profile::of(parameter(fmtp, PROFILE_LEVEL_ID).unwrap_or(DEFAULT_PROFILE_LEVEL_ID));
    let (have, wanted) = (profile(receiver)?, profile(stream)?);
    // Browsers send constrained baseline whatever variant of baseline they say.
    let is_base = |profile: Profile| profile <= Profile::Baseline;
    let takes = have >= wanted || (is_base(have) && is_base(wanted));
    takes.then(|| {
        2 * u8::abs_diff(have as u8, wanted as u8) + u8::from(mode(receiver) != mode(stream))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_profile_is_that_profile() {
        use Profile as P;
        let cases = [
            (
                P::ConstrainedBaseline,
                "42e01f 42c01f 42C015 42401f 4d801f 4da01f 58c01f 58e01e",
            ),
            (P::Baseline, "42001f 42801f 42a01f 42000a 58801f"),
            (P::Main, "4d001f 4d401f 4d4028 4D0032"),
            (P::ConstrainedHigh, "640c1f 640C34"),
            (P::High, "64001f 640032"),
        ];
        for (profile, spellings) in cases {
            for spelling in spellings.split(' ') {
                assert_eq!(Profile::of(spelling), Some(profile), "{spelling}");
            }
        }
        for none in [
            "", "42e0", "42e01", "42e01f0", "42e01g", "+2e01f", "f4001f", "6e001f", "58001f",
            "42f11f", "éé1f",
        ] {
            assert_eq!(Profile::of(none), None, "{none}");
        }
    }
}
