//! The one public port: TLS with HTTP and WebSocket in it, TURN in it, and beside it ICE over TCP. The first bytes of a
//! connection tell what it is for.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use anyhow::{Context, anyhow};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{io::AsyncBufReadExt, net::TcpStream, time::timeout};
use tokio_rustls::TlsAcceptor;

use crate::{config::Tls, edge::HttpPort, ice_tcp::IceTcp, listen::Guest, turn::TurnServer};

/// The time in which a client must say what it wants. Clients do so at once, except that a browser may open a
/// connection in advance.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(15);

/// The time for the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The time between two looks at the files.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// First byte of a TLS handshake record. A frame of ICE (RFC 4571) that began with it would be 5,632 bytes long.
const TLS_HANDSHAKE: u8 = 0x16;

/// The first byte of a STUN request is below this; that of an HTTP request is a letter.
const STUN_END: u8 = 4;

/// The server of the port. Cheap to clone.
#[derive(Clone)]
pub struct TlsPort {
    acceptor: TlsAcceptor,
    http: HttpPort,
    ice_tcp: IceTcp,
    turn: Option<Arc<TurnServer>>,
}

impl TlsPort {
    /// A server of the port; `turn` is there when TURN is served over TLS.
    pub fn new(
        certificates: &Arc<Certificates>,
        http: HttpPort,
        ice_tcp: IceTcp,
        turn: Option<Arc<TurnServer>>,
    ) -> anyhow::Result<Self> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .context("TLS")?
            .with_no_client_auth()
            .with_cert_resolver(certificates.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec(), b"stun.turn".to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            http,
            ice_tcp,
            turn,
        })
    }

    /// Serves one connection until it ends.
    pub async fn serve(self, stream: TcpStream, remote: SocketAddr, guest: Guest) {
        let mut first = [0; 1];
        match timeout(FIRST_BYTE_TIMEOUT, stream.peek(&mut first)).await {
            Ok(Ok(1)) if first[0] == TLS_HANDSHAKE => self.serve_tls(stream, remote, guest).await,
            Ok(Ok(1)) => {
                // A connection that has not passed a check is counted by the ICE server.
                guest.introduce();
                self.ice_tcp.serve(stream, remote).await;
            }
            _ => {}
        }
    }

    async fn serve_tls(self, stream: TcpStream, remote: SocketAddr, guest: Guest) {
        let mut stream = match timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => return,
        };
        let first = match timeout(FIRST_BYTE_TIMEOUT, stream.fill_buf()).await {
            Ok(Ok(bytes)) => bytes.first().copied(),
            _ => return,
        };
        match (first, self.turn) {
            (Some(..STUN_END), Some(turn)) => {
                if let Some(guard) = self.ice_tcp.admit(remote.ip()) {
                    guest.introduce();
                    turn.serve_stream(stream, remote, guard).await;
                }
            }
            (Some(STUN_END..), _) => self.http.serve(stream, remote.ip(), guest).await,
            _ => {}
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The certificate that is in use, from files that may change.
#[derive(Debug)]
pub struct Certificates {
    certificate: PathBuf,
    key: PathBuf,
    /// When the files were written that were read at the start.
    written: Written,
    current: RwLock<Arc<CertifiedKey>>,
}

/// When certificate and key were written; `None`: the file system does not say.
type Written = [Option<SystemTime>; 2];

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// A sentence that names the file that is wrong.
    pub fn load(config: &Tls) -> anyhow::Result<Arc<Self>> {
        // Asked before the files are read: files that are written meanwhile are read again.
        let written = [&config.certificate, &config.key].map(|path| written(path));
        let current = read(&config.certificate, &config.key)?;
        Ok(Arc::new(Self {
            written,
            certificate: config.certificate.clone(),
            key: config.key.clone(),
            current: RwLock::new(Arc::new(current)),
        }))
    }

    /// Reads the files again whenever they have changed, for as long as the process lives. Files that are wrong change
    /// nothing: the old certificate stays, and the log says why.
    pub async fn watch(self: Arc<Self>, every: Duration) {
        let mut seen = self.written;
        loop {
            tokio::time::sleep(every).await;
            let now = [&self.certificate, &self.key].map(|path| written(path));
            if now != seen {
                seen = now;
                self.reload();
            }
        }
    }

    fn reload(&self) {
        match read(&self.certificate, &self.key) {
            Ok(fresh) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
                tracing::info!("the TLS certificate was read again");
            }
            Err(error) => {
                tracing::warn!("the TLS certificate stays as it was: {error:#}");
            }
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(
            self.current
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        )
    }
}

fn written(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|file| file.modified()).ok()
}

fn read(certificate: &Path, key: &Path) -> anyhow::Result<CertifiedKey> {
    let name = certificate.display();
    let text = std::fs::read(certificate)
        .with_context(|| format!("cannot read tls.certificate {name}"))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|_| anyhow!("tls.certificate {name} is no PEM file"))?;
    if chain.is_empty() {
        return Err(anyhow!(
            "tls.certificate {name} has no certificate in it (PEM is expected)"
        ));
    }
    let key_name = key.display();
    let text = std::fs::read(key).with_context(|| format!("cannot read tls.key {key_name}"))?;
    let private = PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| anyhow!("tls.key {key_name} has no private key in it (PEM is expected)"))?;
    CertifiedKey::from_der(chain, private, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            anyhow!("tls.key {key_name} is not the key of the certificate in {name}")
        }
        other => anyhow!("tls.certificate {name} and tls.key {key_name} cannot be used: {other}"),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A directory of its own, gone at the end.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("conclave-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Certificate and key, PEM.
    fn generate() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["meet.example.org".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn config(certificate: PathBuf, key: PathBuf) -> Tls {
        Tls {
            certificate,
            key,
            ..Tls::default()
        }
    }

    #[test]
    fn a_wrong_file_is_named_in_one_sentence() {
        let directory = Directory::new("tls-wrong");
        let ((certificate, key), (_, other)) = (generate(), generate());
        let [good, good_key] = [("a.pem", &certificate), ("a.key", &key)]
            .map(|(name, text)| directory.write(name, text));
        let other_key = directory.write("b.key", &other);
        let empty = directory.write("empty", "");
        let missing = directory.0.join("missing");
        assert!(Certificates::load(&config(good.clone(), good_key.clone())).is_ok());
        for (certificate, key, named, why) in [
            (
                &missing,
                &good_key,
                "missing",
                "cannot read tls.certificate",
            ),
            (&good, &missing, "missing", "cannot read tls.key"),
            (&empty, &good_key, "empty", "no certificate in it"),
            (&good, &empty, "empty", "no private key in it"),
            (&good_key, &good_key, "a.key", "no certificate in it"),
            (
                &good,
                &other_key,
                "b.key",
                "is not the key of the certificate",
            ),
        ] {
            let error = Certificates::load(&config(certificate.clone(), key.clone())).unwrap_err();
            let text = format!("{error:#}");
            assert!(
                text.contains(named) && text.contains(why) && !text.contains('\n'),
                "{text}"
            );
            assert!(!text.contains("BEGIN"), "{text}");
        }
    }

    #[test]
    fn new_files_are_taken_and_bad_ones_change_nothing() {
        let directory = Directory::new("tls-reload");
        let (first, first_key) = generate();
        let path = directory.write("cert", &first);
        let key_path = directory.write("key", &first_key);
        let certificates = Certificates::load(&config(path, key_path)).unwrap();
        let current = || certificates.current.read().unwrap().cert[0].clone();
        let old = current();
        let (second, second_key) = generate();
        // Half of the renewal is there.
        directory.write("cert", &second);
        certificates.reload();
        assert_eq!(current(), old);
        directory.write("key", &second_key);
        certificates.reload();
        assert_ne!(current(), old);
    }

    #[tokio::test]
    async fn files_that_change_are_noticed_while_the_server_runs() {
        let directory = Directory::new("tls-watch");
        let (first, first_key) = generate();
        let path = directory.write("cert", &first);
        let key_path = directory.write("key", &first_key);
        let certificates = Certificates::load(&config(path.clone(), key_path)).unwrap();
        let current = || certificates.current.read().unwrap().cert[0].clone();
        let old = current();
        let every = Duration::from_millis(5);
        let watching = tokio::spawn(certificates.clone().watch(every));
        let (second, second_key) = generate();
        directory.write("key", &second_key);
        directory.write("cert", &second);
        // The file system's clock is coarse; the renewal of a certificate is weeks younger than the old one.
        let renewed = fs::File::options().append(true).open(path).unwrap();
        let later = SystemTime::now() + Duration::from_secs(3600);
        renewed.set_modified(later).unwrap();
        let taken = async {
            while current() == old {
                tokio::time::sleep(every).await;
            }
        };
        timeout(Duration::from_secs(20), taken)
            .await
            .expect("the renewed certificate is taken");
        watching.abort();
    }
}
