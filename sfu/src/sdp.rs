//! The part of SDP (RFC 8866) that WebRTC clients speak (JSEP, RFC 9429), as data: [`SessionDescription`].
//!
//! [`SessionDescription::parse`] turns text into values that need no second check: tokens are tokens, numbers are in
//! range, counts are bounded. `Display` writes the text back, in one fixed order.
//!
//! Some things are essential: the lines themselves, `v=`, `o=` and `m=` (RFC 8866, section 5), without which it is not
//! known what is answered; `a=mid` (RFC 9143), which says which section is which; and `a=ice-ufrag`, `a=ice-pwd` (RFC
//! 8839), `a=fingerprint` (RFC 8122) and `a=setup` (RFC 8842), by which all sections talk to the same peer over one
//! transport. One of these that cannot be read costs the description: an [`SdpError`] with its line. Any other
//! attribute that cannot be read, or is one too many, counts as absent (RFC 8866, section 5.13, asks that of unknown
//! ones): it may cost a codec, a layer or a candidate, never the rest of the offer.

mod description;
mod parse;
#[cfg(test)]
mod tests;
mod write;

pub use description::*;
