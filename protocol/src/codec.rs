//! Names of codecs. LiveKit's messages have them as a MIME type (`video/H264`: the Go SDK) or as its second half alone
//! (`h264`: browsers), in any case; both mean the same everywhere.

/// The name alone, in lower case, as in `SubscribedCodec`.
pub fn name(given: &str) -> String {
    let short = given.rsplit('/').next().unwrap_or_default();
    short.trim().to_ascii_lowercase()
}

/// The MIME type of a codec of this family, `audio` or `video`; empty where no codec is named.
pub fn mime_type(family: &str, given: &str) -> String {
    match name(given).as_str() {
        "" => String::new(),
        name => format!("{family}/{name}"),
    }
}

/// Whether both names mean one codec. An empty name means none.
pub fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (name(one), name(other));
    !one.is_empty() && one == other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mime_type_and_a_name_in_any_case_mean_the_same_codec() {
        for given in [
            "h264",
            "H264",
            "video/h264",
            "video/H264",
            "VIDEO/h264",
            " video/H264 ",
        ] {
            assert_eq!(name(given), "h264");
            assert_eq!(mime_type("video", given), "video/h264");
            assert!(is_same(given, "H264") && !is_same(given, "video/vp8"));
        }
        for nothing in ["", "video/", "/", " "] {
            assert_eq!(mime_type("video", nothing), "");
            assert!(!is_same(nothing, nothing));
        }
    }
}
