//! A registry in memory that keeps to the specification, or misbehaves as asked.
//!
//! It answers one request a connection. Every repository has the same blobs and manifests.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use sha2::{Digest, Sha256};

/// What was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `GET /v2/…`.
    pub line: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// What the answer says of its length, when that is not true.
    pub length: Option<usize>,
    /// Says nothing more after that, and keeps the connection.
    pub stalls: bool,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            length: None,
            stalls: false,
        }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }
}

#[derive(Default)]
pub struct State {
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// By tag and by digest: kind and bytes.
    pub manifests: BTreeMap<String, (String, Vec<u8>)>,
    pub uploads: Vec<Option<Vec<u8>>>,
    pub asked: Vec<Asked>,
    /// So much of the next PATCH is kept before the connection ends.
    pub cut: Option<usize>,
    /// Whether blobs are only there for who mounts them.
    pub elsewhere: bool,
    /// Whether it lists what is about an image by itself.
    pub lists: bool,
}

type Manner = dyn Fn(&Asked) -> Option<Reply> + Send + Sync;

/// The server.
pub struct Registry {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

impl Registry {
    /// One that keeps to the specification.
    pub fn new() -> Self {
        Self::with(|_| None)
    }

    /// One that answers some requests otherwise.
    pub fn with(manner: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let manner: Arc<Manner> = Arc::new(manner);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, manner) = (Arc::clone(&shared), Arc::clone(&manner));
                // A client that goes away is none of ours.
                std::thread::spawn(move || serve(stream, &state, &*manner));
            }
        });
        Self { port, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The requests so far with a method, without what is the same in all.
    pub fn lines(&self, method: &str) -> Vec<String> {
        let state = self.state();
        let lines = state.asked.iter().map(|asked| asked.line.clone());
        lines.filter(|line| line.starts_with(method)).collect()
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>, manner: &Manner) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let line = line
        .rsplit_once(' ')
        .map_or("", |(line, _)| line)
        .to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or("0", String::as_str);
    let mut body = Vec::new();
    let length = length.parse().unwrap();
    stream.by_ref().take(length).read_to_end(&mut body)?;
    let asked = Asked {
        line,
        headers,
        body,
    };
    state.lock().unwrap().asked.push(asked.clone());
    let reply = match manner(&asked) {
        Some(reply) => reply,
        None => match answer(&asked, &mut state.lock().unwrap()) {
            Some(reply) => reply,
            None => return Ok(()),
        },
    };
    let is_head = asked.line.starts_with("HEAD");
    let length = reply.length.unwrap_or(reply.body.len());
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
    if reply.status != 204 {
        head += &format!("Content-Length: {length}\r\n");
    }
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let stream = stream.get_mut();
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if !is_head {
        stream.write_all(&reply.body)?;
    }
    stream.flush()?;
    if reply.stalls {
        // Ends when the client hangs up.
        std::io::copy(stream, &mut std::io::sink())?;
    }
    Ok(())
}

/// What the specification says; nothing for a connection that ends.
fn answer(asked: &Asked, state: &mut State) -> Option<Reply> {
    let (method, target) = asked.line.split_once(' ')?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parameter = |name: &str| {
        let mut all = query.split('&').filter_map(|one| one.split_once('='));
        let found = all.find(|(key, _)| *key == name);
        found.map(|(_, value)| value.replace("%3A", ":"))
    };
    let name = path.rsplit('/').next()?.to_owned();
    let none = Some(Reply::status(404));
    if path.contains("/manifests/") {
        if method == "PUT" {
            let kind = asked.header("content-type").to_owned();
            let stored = (kind, asked.body.clone());
            let digest = digest(&asked.body);
            state.manifests.insert(digest.clone(), stored.clone());
            state.manifests.insert(name, stored);
            let stored = Reply::status(201).header("Docker-Content-Digest", digest);
            let subject = state.lists && asked.body.windows(9).any(|part| part == b"\"subject\"");
            return Some(if subject {
                stored.header("OCI-Subject", "x")
            } else {
                stored
            });
        }
        let Some((kind, bytes)) = state.manifests.get(&name) else {
            return none;
        };
        return Some(Reply::status(200).header("Content-Type", kind).body(bytes));
    }
    if !path.contains("/blobs/uploads/") {
        let Some(bytes) = state.blobs.get(&name).filter(|_| !state.elsewhere) else {
            return none;
        };
        let offset = asked.header("range").strip_prefix("bytes=");
        let offset = offset.and_then(|range| range.trim_end_matches('-').parse().ok());
        return Some(match offset {
            Some(offset) if offset < bytes.len() => {
                let total = bytes.len();
                let range = format!("bytes {offset}-{}/{total}", total - 1);
                let part = Reply::status(206).header("Content-Range", range);
                part.body(&bytes[offset..])
            }
            _ => Reply::status(200).body(bytes),
        });
    }
    if method == "POST" {
        if parameter("mount").is_some_and(|digest| state.blobs.contains_key(&digest)) {
            return Some(Reply::status(201));
        }
        state.uploads.push(Some(Vec::new()));
        let location = format!("{path}{}?state=a", state.uploads.len() - 1);
        return Some(Reply::status(202).header("Location", location));
    }
    let Some(Some(upload)) = name
        .parse()
        .ok()
        .and_then(|at: usize| state.uploads.get_mut(at))
    else {
        return none;
    };
    let stands = |upload: &[u8], status| {
        let last = upload.len().saturating_sub(1);
        Reply::status(status)
            .header("Range", format!("0-{last}"))
            .header("Location", target)
    };
    match method {
        "GET" => Some(stands(upload, 204)),
        "PATCH" => {
            let start = asked.header("content-range").split('-').next();
            let expected = upload.len().to_string();
            if start != Some(expected.as_str()) {
                return Some(stands(upload, 416));
            }
            if let Some(kept) = state.cut.take() {
                upload.extend(&asked.body[..kept]);
                return None;
            }
            upload.extend(&asked.body);
            Some(stands(upload, 202))
        }
        _ => {
            upload.extend(&asked.body);
            let (bytes, expected) = (std::mem::take(upload), parameter("digest")?);
            let at: usize = name.parse().unwrap();
            state.uploads[at] = None;
            if digest(&bytes) != expected {
                let words = br#"{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}"#;
                return Some(Reply::status(400).body(words));
            }
            state.blobs.insert(expected, bytes);
            Some(Reply::status(201))
        }
    }
}
