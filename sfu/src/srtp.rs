//! SRTP and SRTCP (RFC 3711; AEAD profiles of RFC 7714) on keys from DTLS (RFC 5764).
//!
//! [`SrtpSender`] seals, [`SrtpReceiver`] opens; each holds the session keys of one direction. The receiver keeps the
//! roll-over counter and replay window of each SSRC; the sender is told the packet index by its caller, who counts
//! anyway.

mod cipher;
mod profile;
mod replay;

use crate::rtp::{RtpHeader, nearest};

pub use profile::{MAX_RTCP_OVERHEAD, MAX_RTP_OVERHEAD, SrtpError, SrtpProfile};

use cipher::{Cipher, SessionKeys};
use profile::*;
use replay::SsrcTable;

/// Our role in the DTLS handshake: it decides which half of the keying material is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtlsRole {
    /// The client: we sent the ClientHello (active).
    Client,
    /// The server: the peer sent the ClientHello (passive).
    Server,
}

/// Derives both directions from DTLS keying material (RFC 5764, section 4.2: client key, server key, client salt,
/// server salt).
///
/// # Errors
/// [`SrtpError::KeyLength`] when `material` is not [`SrtpProfile::keying_material_len`] bytes long.
pub fn from_keying_material(
    profile: SrtpProfile,
    material: &[u8],
    role: DtlsRole,
) -> Result<(SrtpSender, SrtpReceiver), SrtpError> {
    if material.len() != profile.keying_material_len() {
        return Err(SrtpError::KeyLength);
    }
    let (keys, salts) = material.split_at(2 * profile.key_len());
    let (client_key, server_key) = keys.split_at(profile.key_len());
    let (client_salt, server_salt) = salts.split_at(profile.salt_len());
    let client = SessionKeys::derive(profile, client_key, client_salt)?;
    let server = SessionKeys::derive(profile, server_key, server_salt)?;
    let (ours, theirs) = match role {
        DtlsRole::Client => (client, server),
        DtlsRole::Server => (server, client),
    };
    Ok((
        SrtpSender {
            keys: ours,
            rtcp_index: 0,
        },
        SrtpReceiver::new(theirs),
    ))
}

/// Seals the packets of one transport.
pub struct SrtpSender {
    keys: SessionKeys,
    /// Index of the last SRTCP packet; one count for all SSRCs, so that no (SSRC, index) pair repeats.
    rtcp_index: u32,
}

impl SrtpSender {
    /// The profile in use.
    pub fn profile(&self) -> SrtpProfile {
        self.keys.profile
    }

    /// Seals a packet in place: `out` begins with `header_len` bytes of RTP header and `payload_len` bytes of
    /// payload, and has room for [`SrtpProfile::rtp_overhead`] more. `index` is ROC · 65536 + sequence number.
    /// Returns the length of the SRTP packet.
    ///
    /// The caller never seals two *different* packets (header and extensions included) under one `ssrc` and `index`:
    /// with GCM that gives the authentication key away. A plain retransmission is the same packet, byte for byte.
    ///
    /// # Errors
    /// [`SrtpError::DoesNotFit`], [`SrtpError::KeyExhausted`].
    pub fn seal_rtp(
        &self,
        out: &mut [u8],
        header_len: usize,
        payload_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let (header, payload, tag) = self.split(out, header_len, payload_len, index)?;
        self.keys.rtp.seal_rtp(header, payload, tag, ssrc, index)?;
        Ok(header_len + payload_len + self.profile().rtp_overhead())
    }

    /// Like [`SrtpSender::seal_rtp`] with the payload elsewhere: the header is at the front of `out`, `payload` is
    /// encrypted to behind it, in one pass where the cipher can.
    ///
    /// # Errors
    /// [`SrtpError::DoesNotFit`], [`SrtpError::KeyExhausted`].
    pub fn seal_rtp_from(
        &self,
        out: &mut [u8],
        header_len: usize,
        payload: &[u8],
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let (header, sealed, tag) = self.split(out, header_len, payload.len(), index)?;
        self.keys
            .rtp
            .seal_rtp_from(header, payload, sealed, tag, ssrc, index)?;
        Ok(header_len + payload.len() + self.profile().rtp_overhead())
    }

    /// Seals a compound RTCP packet in place: `out` begins with `len` bytes of RTCP and has room for
    /// [`SrtpProfile::rtcp_overhead`] more. Returns the length of the SRTCP packet.
    ///
    /// # Errors
    /// [`SrtpError::Truncated`] when it is no RTCP packet, [`SrtpError::DoesNotFit`], [`SrtpError::KeyExhausted`].
    pub fn seal_rtcp(&mut self, out: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        if len < RTCP_CLEAR_LEN {
            return Err(SrtpError::Truncated);
        }
        let total = len + self.profile().rtcp_overhead();
        let out = out.get_mut(..total).ok_or(SrtpError::DoesNotFit)?;
        if self.rtcp_index >= RTCP_ENCRYPTED - 1 {
            return Err(SrtpError::KeyExhausted);
        }
        self.rtcp_index += 1;
        self.keys
            .rtcp
            .seal_rtcp(out, len, self.rtcp_index | RTCP_ENCRYPTED)?;
        Ok(total)
    }

    #[allow(clippy::type_complexity)]
    fn split<'a>(
        &self,
        out: &'a mut [u8],
        header_len: usize,
        payload_len: usize,
        index: u64,
    ) -> Result<(&'a mut [u8], &'a mut [u8], &'a mut [u8]), SrtpError> {
        if index > MAX_RTP_INDEX {
            return Err(SrtpError::KeyExhausted);
        }
        let total = header_len + payload_len + self.profile().rtp_overhead();
        let out = out.get_mut(..total).ok_or(SrtpError::DoesNotFit)?;
        let (header, rest) = out.split_at_mut(header_len);
        let (payload, tag) = rest.split_at_mut(payload_len);
        Ok((header, payload, tag))
    }
}

impl std::fmt::Debug for SrtpSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SrtpSender")
            .field("profile", &self.keys.profile)
            .finish_non_exhaustive()
    }
}

/// Opens the packets of one transport.
pub struct SrtpReceiver {
    keys: SessionKeys,
    rtp: SsrcTable,
    rtcp: SsrcTable,
}

impl SrtpReceiver {
    fn new(keys: SessionKeys) -> Self {
        Self {
            keys,
            rtp: SsrcTable::default(),
            rtcp: SsrcTable::default(),
        }
    }

    /// The profile in use.
    pub fn profile(&self) -> SrtpProfile {
        self.keys.profile
    }

    /// Opens an SRTP packet whose header is `header`; writes the plain payload (with its padding, if any) to the
    /// front of `out`. Returns its length and the packet index (ROC · 65536 + sequence number).
    ///
    /// # Errors
    /// On any error no state changes, and `out` holds unspecified bytes.
    pub fn open_rtp(
        &mut self,
        packet: &[u8],
        header: &RtpHeader,
        out: &mut [u8],
    ) -> Result<(usize, u64), SrtpError> {
        let header_len = usize::from(header.header_len);
        let payload_len = packet
            .len()
            .checked_sub(header_len + self.profile().rtp_overhead())
            .ok_or(SrtpError::Truncated)?;
        let out = out.get_mut(..payload_len).ok_or(SrtpError::DoesNotFit)?;
        let slot = self.rtp.find(header.ssrc);
        let index = match slot {
            Some(slot) => {
                let window = self.rtp.window(slot);
                let index = nearest(window.highest(), header.seq);
                window.check(index)?;
                index
            }
            // A stream begins in its first round (RFC 3711, section 3.3.1).
            None => u64::from(header.seq.0),
        };
        if index > MAX_RTP_INDEX {
            return Err(SrtpError::KeyExhausted);
        }
        let (clear, rest) = packet.split_at(header_len);
        let (sealed, tag) = rest.split_at(payload_len);
        self.keys
            .rtp
            .open_rtp(clear, sealed, tag, out, header.ssrc, index)?;
        self.rtp.accept(slot, header.ssrc, index);
        Ok((payload_len, index))
    }

    /// Opens an SRTCP packet; writes the plain compound packet to the front of `out` and returns its length.
    ///
    /// # Errors
    /// On any error no state changes, and `out` holds unspecified bytes.
    pub fn open_rtcp(&mut self, packet: &[u8], out: &mut [u8]) -> Result<usize, SrtpError> {
        let len = packet
            .len()
            .checked_sub(self.profile().rtcp_overhead())
            .ok_or(SrtpError::Truncated)?;
        if len < RTCP_CLEAR_LEN {
            return Err(SrtpError::Truncated);
        }
        let out = out.get_mut(..len).ok_or(SrtpError::DoesNotFit)?;
        let ssrc = be32(&packet[4..8]);
        let word_at = match self.keys.rtcp {
            Cipher::Gcm { .. } => len + GCM_TAG_LEN,
            Cipher::CmSha1(_) => len,
        };
        let word = be32(&packet[word_at..word_at + RTCP_INDEX_LEN]);
        let index = u64::from(word & !RTCP_ENCRYPTED);
        let slot = self.rtcp.find(ssrc);
        if let Some(slot) = slot {
            self.rtcp.window(slot).check(index)?;
        }
        self.keys.rtcp.open_rtcp(packet, len, ssrc, word, out)?;
        self.rtcp.accept(slot, ssrc, index);
        Ok(len)
    }
}

impl std::fmt::Debug for SrtpReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SrtpReceiver")
            .field("profile", &self.keys.profile)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
