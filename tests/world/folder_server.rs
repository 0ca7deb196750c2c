//! A web server that serves a folder over https, well or badly.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// How it serves.
#[derive(Clone, Debug, Default)]
pub enum Manner {
    #[default]
    Well,
    /// Every file whole, whatever was asked for.
    WithoutRanges,
    /// Nothing but this status.
    Status(u16),
    /// A page for people.
    Page,
    /// Sends on to there.
    On(String),
    /// Says nothing.
    Silent,
    /// A byte now and then, of files that end so.
    Dripping(&'static str),
    /// More and more of files that end so.
    Endless(&'static str),
    /// So many bytes of packs, and then nothing.
    Stalling(usize),
    /// So many bytes of packs, and then the end of the connection.
    Cutting(usize),
    /// A flipped bit of a file that ends so, in the middle.
    Flipping(&'static str),
    /// Half of files that end so.
    Half(&'static str),
}

#[derive(Default)]
struct State {
    manner: Manner,
    /// Paths with their ranges.
    asked: Vec<String>,
    /// Bytes of bodies.
    sent: usize,
    /// Bytes of packs that may still be sent.
    left: usize,
    connections: usize,
}

/// The server.
pub struct Server {
    pub port: u16,
    /// What its certificate is trusted by.
    pub authority: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    /// Serves a folder.
    pub fn of(folder: PathBuf) -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let configuration = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::on(listener, Arc::new(configuration), certificate.pem(), folder)
    }

    /// Serves a folder on a socket, with a certificate that this authority vouches for.
    pub fn on(
        listener: TcpListener,
        configuration: Arc<ServerConfig>,
        authority: String,
        folder: PathBuf,
    ) -> Self {
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            authority,
            state: Arc::default(),
        };
        server.set(Manner::Well);
        let state = Arc::clone(&server.state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, folder) = (Arc::clone(&state), folder.clone());
                let connection = ServerConnection::new(Arc::clone(&configuration)).unwrap();
                std::thread::spawn(move || {
                    lock(&state).connections += 1;
                    let stream = StreamOwned::new(connection, stream);
                    // A client that goes away is none of ours.
                    let _ = serve(stream, &folder, &state);
                });
            }
        });
        server
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("https://localhost:{}/", self.port)
    }

    /// From now on it serves so.
    pub fn set(&self, manner: Manner) {
        let mut state = lock(&self.state);
        state.left = match manner {
            Manner::Stalling(bytes) | Manner::Cutting(bytes) => bytes,
            _ => usize::MAX,
        };
        state.manner = manner;
        state.asked.clear();
        state.sent = 0;
        state.connections = 0;
    }

    /// What was asked for since.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.state).asked.clone()
    }

    /// Bytes of bodies that were sent since.
    pub fn sent(&self) -> usize {
        lock(&self.state).sent
    }

    /// Bytes that may still be sent.
    pub fn left(&self) -> usize {
        lock(&self.state).left
    }

    /// Connections since.
    pub fn connections(&self) -> usize {
        lock(&self.state).connections
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap()
}

type Stream = StreamOwned<ServerConnection, TcpStream>;

fn serve(stream: Stream, folder: &std::path::Path, state: &Mutex<State>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if stream.by_ref().take(8000).read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_owned());
        }
        let path = lines[0].split(' ').nth(1).unwrap_or("/").to_owned();
        let range = lines.iter().find_map(|line| {
            let range = line.to_ascii_lowercase();
            let (start, end) = range.strip_prefix("range: bytes=")?.split_once('-')?;
            Some((start.parse().ok()?, end.parse().ok()?))
        });
        let manner = {
            let mut state = lock(state);
            state.asked.push(format!("{path} {range:?}"));
            state.manner.clone()
        };
        let name = path.split('?').next().unwrap_or_default();
        let file = folder.join(name.trim_start_matches('/'));
        answer(stream.get_mut(), &file, range, &manner, state)?;
    }
}

fn answer(
    stream: &mut Stream,
    file: &std::path::Path,
    range: Option<(usize, usize)>,
    manner: &Manner,
    state: &Mutex<State>,
) -> std::io::Result<()> {
    let is = |ending: &str| file.to_str().is_some_and(|path| path.ends_with(ending));
    let plain = |status: &str, more: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\n{more}Content-Length: {length}\r\n\r\n{body}")
    };
    match manner {
        Manner::Status(status) => {
            return stream.write_all(plain(&format!("{status} As Told"), "", "no").as_bytes());
        }
        Manner::Page => {
            let page = "<!DOCTYPE html><title>Welcome</title>";
            return stream.write_all(plain("200 OK", "", page).as_bytes());
        }
        Manner::On(to) => {
            let more = format!("Location: {to}\r\n");
            return stream.write_all(plain("302 Found", &more, "").as_bytes());
        }
        Manner::Silent => loop {
            std::thread::sleep(Duration::from_secs(60));
        },
        _ => {}
    }
    let Ok(mut bytes) = fs::read(file) else {
        return stream.write_all(plain("404 Not Found", "", "not here").as_bytes());
    };
    if matches!(manner, Manner::Flipping(ending) if is(ending)) {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    }
    if matches!(manner, Manner::Half(ending) if is(ending)) {
        bytes.truncate(bytes.len() / 2);
    }
    let whole = bytes.len();
    let head = match range.filter(|_| !matches!(manner, Manner::WithoutRanges)) {
        Some((start, end)) if start < whole => {
            let end = end.min(whole - 1);
            bytes = bytes[start..=end].to_vec();
            format!("206 Partial Content\r\nContent-Range: bytes {start}-{end}/{whole}")
        }
        Some(_) => {
            return stream.write_all(plain("416 Range Not Satisfiable", "", "").as_bytes());
        }
        None => "200 OK".to_owned(),
    };
    let endless = matches!(manner, Manner::Endless(ending) if is(ending));
    let length = if endless {
        usize::MAX >> 1
    } else {
        bytes.len()
    };
    stream.write_all(format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n").as_bytes())?;
    if endless {
        loop {
            stream.write_all(&[b' '; 65536])?;
        }
    }
    if matches!(manner, Manner::Dripping(ending) if is(ending)) {
        for byte in bytes {
            stream.write_all(&[byte])?;
            stream.flush()?;
            std::thread::sleep(Duration::from_millis(300));
        }
        return Ok(());
    }
    for part in bytes.chunks(4096) {
        let allowed = {
            let mut state = lock(state);
            let allowed = if is(".pack") {
                part.len().min(state.left)
            } else {
                part.len()
            };
            if is(".pack") {
                state.left -= allowed;
            }
            state.sent += allowed;
            allowed
        };
        stream.write_all(&part[..allowed])?;
        stream.flush()?;
        if allowed < part.len() {
            if matches!(manner, Manner::Stalling(_)) {
                loop {
                    std::thread::sleep(Duration::from_secs(60));
                }
            }
            return Err(std::io::Error::other("cut"));
        }
    }
    Ok(())
}
