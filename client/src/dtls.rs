//! DTLS for str0m with timers for a path that ICE has just seen answer.
//!
//! str0m's own choice is that of RFC 6347 for an unknown path: a lost handshake packet costs a second, a second one two
//! more. Browsers begin with 50 ms; so do we.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use dimpl::{Config, Dtls, DtlsCertificate};
use str0m::{
    config::DtlsVersion,
    crypto::{
        CryptoError, CryptoProvider,
        dtls::{DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, ProtocolVersion},
        from_feature_flags,
    },
};

/// The time until a flight is sent again, the first time; doubled each time after.
const FIRST_RETRANSMISSION: Duration = Duration::from_millis(50);

/// The number of times that a flight is sent again. The last is after 25 s or so; a join has long failed by then.
const RETRANSMISSIONS: usize = 8;

/// A provider that is str0m's but for the timers.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let provider = || {
        Arc::new(CryptoProvider {
            dtls_provider: &Provider,
            ..from_feature_flags()
        })
    };
    PROVIDER.get_or_init(provider).clone()
}

#[derive(Debug)]
struct Provider;

impl DtlsProvider for Provider {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        dimpl::certificate::generate_self_signed_certificate().ok()
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let mut config = Config::builder()
            .use_server_cookie(false)
            .flight_start_rto(FIRST_RETRANSMISSION)
            .flight_retries(RETRANSMISSIONS);
        if let Some(mtu) = mtu {
            config = config.mtu(mtu);
        }
        let config = config
            .build()
            .map_err(|error| CryptoError::Other(error.to_string()))?;
        let (config, certificate) = (Arc::new(config), certificate.clone());
        let new: fn(Arc<Config>, DtlsCertificate, Instant) -> Dtls = match version {
            DtlsVersion::Dtls12 => Dtls::new_12,
            DtlsVersion::Dtls13 => Dtls::new_13,
            _ => Dtls::new_auto,
        };
        Ok(Box::new(Association(new(config, certificate, now))))
    }
}

struct Association(Dtls);

impl fmt::Debug for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Association")
    }
}

impl DtlsInstance for Association {
    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.0.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        self.0.poll_output(buffer)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.0.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.0.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.0.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.0.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.0.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.0.close()
    }
}
