//! What the CA connects to: the machine's answers, served from their folders.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

const CHALLENGES: &str = "/.well-known/acme-challenge/";

fn listen(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || answer(stream));
        }
    });
    port
}

/// Serves HTTP-01 and returns its port.
pub fn serve_http(folder: PathBuf) -> u16 {
    listen(move |stream| {
        let mut reader = BufReader::new(stream);
        let Some(path) = read_request(&mut reader) else {
            return;
        };
        let found = path
            .strip_prefix(CHALLENGES)
            .filter(|token| !token.contains('/'))
            .and_then(|token| fs::read(folder.join(token)).ok());
        let reply = match found {
            Some(body) => [
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", body.len()).as_bytes(),
                b"Connection: close\r\n\r\n",
                &body,
            ]
            .concat(),
            None => {
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()
            }
        };
        let _ = reader.get_mut().write_all(&reply);
    })
}

/// The path of a request, read to the end of its header.
pub fn read_request(reader: &mut impl BufRead) -> Option<String> {
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut line = String::new();
    while reader.read_line(&mut line).ok()? > 2 {
        line.clear();
    }
    first.split(' ').nth(1).map(str::to_owned)
}

#[derive(Debug)]
struct Presented(Arc<CertifiedKey>);

impl ResolvesServerCert for Presented {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// Serves TLS-ALPN-01 and returns its port.
pub fn serve_alpn(folder: PathBuf) -> u16 {
    listen(move |stream| {
        // A failed handshake is the CA's to tell.
        let _ = shake_hands(stream, &folder);
    })
}

fn shake_hands(mut stream: TcpStream, folder: &Path) -> Option<()> {
    let mut acceptor = Acceptor::default();
    let accepted = loop {
        acceptor.read_tls(&mut stream).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            break accepted;
        }
    };
    let name = accepted.client_hello().server_name()?.to_owned();
    let offered = accepted
        .client_hello()
        .alpn()?
        .any(|protocol| protocol == b"acme-tls/1");
    let pem = fs::read(folder.join(format!("{name}.pem"))).ok()?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .ok()?;
    let key = PrivateKeyDer::from_pem_slice(&pem).ok()?;
    let provider = ring::default_provider();
    let key = provider.key_provider.load_private_key(key).ok()?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .ok()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Presented(Arc::new(CertifiedKey::new(chain, key)))));
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    if !offered {
        return None;
    }
    let mut connection = accepted.into_connection(Arc::new(config)).ok()?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).ok()?;
    }
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).ok()?;
    Some(())
}
