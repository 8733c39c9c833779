//! The parts that all feedback packets have.

/// The parts of a feedback packet: sender SSRC, media SSRC and feedback control information (RFC 4585, section 6.1).
pub(super) fn feedback(body: &[u8]) -> Option<(u32, u32, &[u8])> {
    let (head, fci) = body.split_first_chunk::<8>()?;
    Some((be32(head), be32(&head[4..]), fci))
}

/// The first four bytes as a big-endian number; 0 where there are fewer.
pub(super) fn be32(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk::<4>()
        .map_or(0, |bytes| u32::from_be_bytes(*bytes))
}
