//! The one public port.

use std::sync::Arc;

use crate::support::Server;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

#[tokio::test]
async fn who_was_here_over_tls_does_not_come_without_it() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = std::env::temp_dir().join(format!("conclave-hsts-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let server = Server::dev(&[
        ("CONCLAVE_TLS_CERTIFICATE", certificate.to_str().unwrap()),
        ("CONCLAVE_TLS_KEY", key.to_str().unwrap()),
        ("CONCLAVE_TLS_PORT", "0"),
        ("CONCLAVE_TLS_BIND", "['127.0.0.1']"),
    ]);
    std::fs::remove_dir_all(&folder).unwrap();
    server.wait_for_log("tcp_ports=[");
    let log = server.log();
    let ports = log.split("tcp_ports=[").nth(1).unwrap();
    let port: u16 = ports.split([',', ']']).next().unwrap().parse().unwrap();

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    for target in ["/", "/nothing.js"] {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config.clone()));
        let mut stream = connector.connect(name, stream).await.unwrap();
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // The server may close without a word of TLS.
        let _ = stream.read_to_string(&mut answer).await;
        assert!(
            answer.contains("strict-transport-security: max-age=31536000\r\n"),
            "{answer}"
        );
    }
}
