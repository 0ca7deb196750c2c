//! An HTTP/1.1 server that answers one request a connection, well or badly.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a request gets.
pub enum Reply {
    /// A status with a text.
    Status(u16, &'static str),
    /// A file, from the offset that was asked for.
    File(Vec<u8>),
    /// A file, always from its beginning.
    WholeFile(Vec<u8>),
    /// A file whose length is not told beforehand.
    Unannounced(Vec<u8>),
    /// So many bytes from the offset that was asked for, then the connection closes.
    BreaksOff(Vec<u8>, usize),
    /// The first bytes of a file, then nothing until the client goes away.
    Stalls(Vec<u8>, usize),
    /// A file, a byte at a time.
    Drips(Vec<u8>),
}

/// A running server.
pub struct Server {
    base: String,
    requests: Arc<Mutex<Vec<String>>>,
}

trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

type Wrap = dyn Fn(std::net::TcpStream) -> Box<dyn Connection> + Send + Sync;

impl Server {
    /// Serves one file at every path.
    pub fn serving(bytes: &[u8]) -> Self {
        let bytes = bytes.to_vec();
        Self::start(move |_, _| Reply::File(bytes.clone()))
    }

    /// Answers by path and by the number of the request, from 0.
    pub fn start(answer: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(
            "http://127.0.0.1",
            Box::new(|stream| Box::new(stream)),
            answer,
        )
    }

    /// Serves one file over TLS as `localhost`.
    pub fn with_tls(certificate: &rcgen::Certificate, key: &rcgen::KeyPair, bytes: &[u8]) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let wrap = move |stream| {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            Box::new(rustls::StreamOwned::new(connection, stream)) as Box<dyn Connection>
        };
        let bytes = bytes.to_vec();
        Self::listen("https://localhost", Box::new(wrap), move |_, _| {
            Reply::File(bytes.clone())
        })
    }

    fn listen(
        base: &str,
        wrap: Box<Wrap>,
        answer: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("{base}:{}", listener.local_addr().unwrap().port());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        let shared = Arc::new((wrap, answer, AtomicUsize::new(0)));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, log) = (Arc::clone(&shared), Arc::clone(&log));
                std::thread::spawn(move || {
                    let (wrap, answer, count) = &*shared;
                    let mut reader = BufReader::new(wrap(stream));
                    let Some((path, offset)) = read_request(&mut reader) else {
                        return;
                    };
                    let range = match offset {
                        0 => String::new(),
                        offset => format!(" bytes={offset}-"),
                    };
                    log.lock().unwrap().push(format!("{path}{range}"));
                    let reply = answer(&path, count.fetch_add(1, Ordering::SeqCst));
                    // The client may well hang up in the middle.
                    let _ = send(reader.get_mut(), reply, offset);
                });
            }
        });
        Self { base, requests }
    }

    /// An address of this server.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The requests so far, path and range.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<(String, usize)> {
    let mut lines = reader.lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let mut offset = 0;
    for line in lines.take_while(|line| !line.is_empty()) {
        if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
            offset = range.trim_end_matches('-').parse().ok()?;
        }
    }
    Some((path, offset))
}

fn send(mut stream: &mut dyn Connection, reply: Reply, offset: usize) -> std::io::Result<()> {
    let head = |status: u16, length: usize, more: &str| {
        format!(
            "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n"
        )
    };
    match reply {
        Reply::Status(status, text) => {
            write!(stream, "{}{text}", head(status, text.len(), ""))?;
        }
        Reply::File(bytes) if offset > bytes.len() => {
            write!(stream, "{}", head(416, 0, ""))?;
        }
        Reply::File(bytes) if offset > 0 => {
            let (total, last) = (bytes.len(), bytes.len() - 1);
            let range = format!("Content-Range: bytes {offset}-{last}/{total}\r\n");
            write!(stream, "{}", head(206, total - offset, &range))?;
            stream.write_all(&bytes[offset..])?;
        }
        Reply::File(bytes) | Reply::WholeFile(bytes) => {
            write!(stream, "{}", head(200, bytes.len(), ""))?;
            stream.write_all(&bytes)?;
        }
        Reply::Unannounced(bytes) => {
            write!(stream, "HTTP/1.1 200 X\r\nConnection: close\r\n\r\n")?;
            stream.write_all(&bytes)?;
        }
        Reply::BreaksOff(bytes, count) => {
            let total = bytes.len();
            let range = format!("Content-Range: bytes {offset}-{}/{total}\r\n", total - 1);
            let (status, range) = match offset {
                0 => (200, ""),
                _ => (206, range.as_str()),
            };
            write!(stream, "{}", head(status, total - offset, range))?;
            let end = total.min(offset + count);
            stream.write_all(&bytes[offset..end])?;
        }
        Reply::Stalls(bytes, count) => {
            write!(stream, "{}", head(200, bytes.len(), ""))?;
            stream.write_all(&bytes[..count])?;
            stream.flush()?;
            // Ends when the client hangs up.
            std::io::copy(&mut stream, &mut std::io::sink())?;
        }
        Reply::Drips(bytes) => {
            write!(stream, "{}", head(200, bytes.len(), ""))?;
            for byte in bytes.chunks(1) {
                stream.write_all(byte)?;
                stream.flush()?;
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
    stream.flush()
}
