//! Sessions of libsrtp 2, the C library of which most implementations of SRTP are made (libwebrtc and Firefox among
//! them).
//!
//! Crate `srtp` binds it too, but leaves AES-GCM out unless OpenSSL comes along, and generates its declarations with
//! libclang. The few that are needed are written down here; `srtp2/srtp.h` has them.

use std::{
    ffi::{c_int, c_uint, c_ulong, c_void},
    ptr,
    sync::Once,
};

use sfu::internals::srtp::SrtpProfile;

/// `SRTP_MAX_TRAILER_LEN`, rounded up: the most that sealing adds, bytes.
const MAX_TRAILER_LEN: usize = 256;

/// `ssrc_any_inbound` and `ssrc_any_outbound` of `srtp_ssrc_type_t`.
const ANY_INBOUND: c_uint = 2;
const ANY_OUTBOUND: c_uint = 3;

/// `srtp_ssrc_t`.
#[repr(C)]
struct Ssrc {
    kind: c_uint,
    value: c_uint,
}

/// `srtp_crypto_policy_t`.
#[repr(C)]
#[derive(Default)]
struct CryptoPolicy {
    cipher_type: u32,
    cipher_key_len: c_int,
    auth_type: u32,
    auth_key_len: c_int,
    auth_tag_len: c_int,
    services: c_uint,
}

/// `srtp_policy_t`.
#[repr(C)]
struct Policy {
    ssrc: Ssrc,
    rtp: CryptoPolicy,
    rtcp: CryptoPolicy,
    key: *const u8,
    keys: *mut c_void,
    key_count: c_ulong,
    deprecated_ekt: *mut c_void,
    window_size: c_ulong,
    allow_repeat_tx: c_int,
    encrypted_extensions: *mut c_int,
    encrypted_extension_count: c_int,
    next: *mut Policy,
}

#[link(name = "srtp2")]
unsafe extern "C" {
    fn srtp_init() -> c_uint;
    fn srtp_crypto_policy_set_rtp_default(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_gcm_128_16_auth(policy: *mut CryptoPolicy);
    fn srtp_crypto_policy_set_aes_gcm_256_16_auth(policy: *mut CryptoPolicy);
    fn srtp_create(session: *mut *mut c_void, policy: *const Policy) -> c_uint;
    fn srtp_dealloc(session: *mut c_void) -> c_uint;
    fn srtp_protect(session: *mut c_void, packet: *mut c_void, len: *mut c_int) -> c_uint;
    fn srtp_unprotect(session: *mut c_void, packet: *mut c_void, len: *mut c_int) -> c_uint;
    fn srtp_protect_rtcp(session: *mut c_void, packet: *mut c_void, len: *mut c_int) -> c_uint;
    fn srtp_unprotect_rtcp(session: *mut c_void, packet: *mut c_void, len: *mut c_int) -> c_uint;
}

/// One of the four functions that work on a packet in place.
type InPlace = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_int) -> c_uint;

/// The reason why libsrtp did not seal or open a packet: `srtp_err_status_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The tag is wrong.
    Authentication,
    /// This packet index was received before.
    Replayed,
    /// The packet is older than the replay window.
    TooOld,
    /// Any other, by its number.
    Other(u32),
}

/// Packets of one direction, all streams under one master key.
pub struct Session(*mut c_void);

impl Session {
    /// A session that seals. `key` is the master key followed by the master salt.
    pub fn sender(profile: SrtpProfile, key: &[u8]) -> Self {
        Self::new(profile, key, ANY_OUTBOUND)
    }

    /// A session that opens, with a replay window of 128 packets. `key` is the master key followed by the master salt.
    pub fn receiver(profile: SrtpProfile, key: &[u8]) -> Self {
        Self::new(profile, key, ANY_INBOUND)
    }

    fn new(profile: SrtpProfile, key: &[u8], direction: c_uint) -> Self {
        static INIT: Once = Once::new();
        assert_eq!(key.len(), profile.key_len() + profile.salt_len());
        let mut policy = Policy {
            ssrc: Ssrc {
                kind: direction,
                value: 0,
            },
            rtp: CryptoPolicy::default(),
            rtcp: CryptoPolicy::default(),
            key: key.as_ptr(),
            keys: ptr::null_mut(),
            key_count: 0,
            deprecated_ekt: ptr::null_mut(),
            window_size: 0,
            allow_repeat_tx: 0,
            encrypted_extensions: ptr::null_mut(),
            encrypted_extension_count: 0,
            next: ptr::null_mut(),
        };
        let fill = match profile {
            SrtpProfile::AeadAes256Gcm => srtp_crypto_policy_set_aes_gcm_256_16_auth,
            SrtpProfile::AeadAes128Gcm => srtp_crypto_policy_set_aes_gcm_128_16_auth,
            SrtpProfile::AesCm128HmacSha1_80 => srtp_crypto_policy_set_rtp_default,
        };
        let mut session = ptr::null_mut();
        // SAFETY: the library is initialised once and before all else; what it gets lives as long as each call, and it
        // copies the key, whose length is the profile's.
        unsafe {
            INIT.call_once(|| assert_eq!(srtp_init(), 0, "srtp_init"));
            fill(&mut policy.rtp);
            fill(&mut policy.rtcp);
            assert_eq!(srtp_create(&mut session, &policy), 0, "srtp_create");
        }
        Self(session)
    }

    /// Seals an RTP packet.
    ///
    /// # Errors
    /// What libsrtp says.
    pub fn seal_rtp(&mut self, packet: &[u8]) -> Result<Vec<u8>, Error> {
        self.apply(srtp_protect, packet)
    }

    /// Opens an SRTP packet.
    ///
    /// # Errors
    /// What libsrtp says.
    pub fn open_rtp(&mut self, packet: &[u8]) -> Result<Vec<u8>, Error> {
        self.apply(srtp_unprotect, packet)
    }

    /// Seals a compound RTCP packet.
    ///
    /// # Errors
    /// What libsrtp says.
    pub fn seal_rtcp(&mut self, packet: &[u8]) -> Result<Vec<u8>, Error> {
        self.apply(srtp_protect_rtcp, packet)
    }

    /// Opens an SRTCP packet.
    ///
    /// # Errors
    /// What libsrtp says.
    pub fn open_rtcp(&mut self, packet: &[u8]) -> Result<Vec<u8>, Error> {
        self.apply(srtp_unprotect_rtcp, packet)
    }

    fn apply(&mut self, function: InPlace, packet: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = packet.to_vec();
        out.resize(packet.len() + MAX_TRAILER_LEN, 0);
        let mut len = packet.len() as c_int;
        // SAFETY: the buffer has the room that the library may write to beyond `len`, and is aligned as `malloc` aligns.
        let status = unsafe { function(self.0, out.as_mut_ptr().cast(), &mut len) };
        match status {
            0 => {
                out.truncate(len as usize);
                Ok(out)
            }
            7 => Err(Error::Authentication),
            9 => Err(Error::Replayed),
            10 => Err(Error::TooOld),
            other => Err(Error::Other(other)),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: `srtp_create` made it, and nobody else has it.
        unsafe { srtp_dealloc(self.0) };
    }
}
