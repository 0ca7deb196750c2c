//! A certificate authority of the outside: Debian's Pebble, an ACME server for
//! tests (<https://github.com/letsencrypt/pebble>), behind a front of our own.
//!
//! The front ends TLS and hands every request on as it came, so everything the
//! machine is told is Pebble's. It counts requests, it can be switched off and on
//! while Pebble keeps its state, and it can say what Pebble 2.6 cannot: that a
//! renewal is due now (RFC 9773), or that there were too many orders (RFC 8555,
//! section 6.6). Pebble itself refuses one nonce in twenty.

use std::io::{BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use mailimg::any_certificate::start_tls;
use rustls::ServerConfig;
use tempfile::TempDir;

use super::certificate::Authority;
use super::https::{self, Request};
use super::resolver::{self, Resolver};
use crate::world::peers;
use crate::world::process::{Process, last_lines};
use crate::world::wait::until;

/// The authority's name, which the zone of the outside has.
pub const AUTHORITY_NAME: &str = "acme.outside.example";
/// Key and name of the account that an authority may ask for (RFC 8555, section 7.3.4).
pub const EXTERNAL_ACCOUNT: (&str, &str) = (
    "kid-1",
    "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W",
);
/// How long its certificates hold: 90 days.
const VALIDITY: u32 = 90 * 24 * 3600;
/// Where Pebble listens on loopback: so far above the front's port.
const BACKEND_OFFSET: u16 = 100;
/// Where it tells its root: so far above that.
const MANAGEMENT_OFFSET: u16 = 100;
/// Starting it makes a key.
const LIMIT: Duration = Duration::from_secs(60);
/// How often a front that is off looks whether it is on.
const INTERVAL: Duration = Duration::from_millis(20);

/// Pebble's paths, which no other server has.
const NEW_ACCOUNT: &str = "POST /sign-me-up";
const NEW_ORDER: &str = "POST /order-plz";
const RENEWAL_INFO: &str = "GET /draft-ietf-acme-ari-03/renewalInfo/";

/// Something was made (RFC 9110, section 15.3.2).
const CREATED: u16 = 201;
/// Too many orders (RFC 6585, section 4).
const TOO_MANY: u16 = 429;

/// What the front does otherwise than Pebble.
#[derive(Default)]
struct Whims {
    /// Seconds to wait after an order that was refused.
    refused_for: Option<u32>,
    /// Begin and end of the window that certificates are to be renewed in.
    window: Option<(String, String)>,
}

/// What the authority made, and how often it was asked. A request that Pebble refuses
/// for its nonce and gets a second time makes one thing, not two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// New accounts.
    pub accounts: usize,
    /// New orders, and those that the front refused.
    pub orders: usize,
    /// Requests of any kind.
    pub requests: usize,
}

#[derive(Default)]
struct State {
    open: AtomicBool,
    counts: Mutex<Counts>,
    whims: Mutex<Whims>,
}

/// A running authority.
pub struct Pebble {
    state: Arc<State>,
    place: SocketAddr,
    log: PathBuf,
    root: String,
    process: Process,
    _folder: TempDir,
}

impl Pebble {
    /// Starts one that asks the resolver; with `bound`, accounts need
    /// [`EXTERNAL_ACCOUNT`].
    pub fn start(
        authority: &Authority,
        _resolver: &Resolver,
        place: SocketAddr,
        bound: bool,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let backend = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), place.port() + BACKEND_OFFSET);
        let management = SocketAddr::new(backend.ip(), backend.port() + MANAGEMENT_OFFSET);
        let inner = authority.issue(&["localhost"])?;
        let certificate = folder.path().join("certificate.pem");
        let key = folder.path().join("key.pem");
        std::fs::write(&certificate, &inner.pem)?;
        std::fs::write(&key, &inner.key_pem)?;
        let (kid, hmac) = EXTERNAL_ACCOUNT;
        let configuration = serde_json::json!({ "pebble": {
            "listenAddress": backend,
            "managementListenAddress": management,
            "certificate": certificate,
            "privateKey": key,
            "httpPort": 80,
            "tlsPort": 443,
            "externalAccountBindingRequired": bound,
            "externalAccountMACKeys": { kid: hmac },
            "certificateValidityPeriod": VALIDITY,
            "retryAfter": { "authz": 1, "order": 1 },
        }});
        let path = folder.path().join("pebble.json");
        std::fs::write(&path, configuration.to_string())?;
        let log = folder.path().join("pebble.log");
        let mut command = peers::program("pebble")?;
        command
            .arg("-config")
            .arg(&path)
            .args(["-dnsserver", &resolver::ADDRESS.to_string()])
            .env("PEBBLE_VA_NOSLEEP", "1")
            // Every order proves anew that the name is ours.
            .env("PEBBLE_AUTHZREUSE", "0")
            .env("PEBBLE_WFE_NONCEREJECT", "5");
        let mut process = Process::start(&mut command, &log)?;
        let root = until("Pebble", LIMIT, || {
            process.check_running()?;
            Ok(https::get(backend.ip(), management, "localhost", "/roots/0").ok())
        })
        .with_context(|| last_lines(&log))?
        .body;
        let state = Arc::new(State::default());
        state.open.store(true, Ordering::SeqCst);
        let config = authority.issue(&[AUTHORITY_NAME])?.config;
        let listener = TcpListener::bind(place).with_context(|| format!("listening on {place}"))?;
        let shared = state.clone();
        std::thread::spawn(move || run_front(listener, place, &config, backend, &shared));
        Ok(Self {
            state,
            place,
            log,
            root,
            process,
            _folder: folder,
        })
    }

    /// Its directory, for `ACME_DIRECTORY_URL`.
    pub fn directory(&self) -> String {
        format!("https://{AUTHORITY_NAME}:{}/dir", self.place.port())
    }

    /// The root of its certificates in PEM; each Pebble makes its own.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// What was asked for so far.
    pub fn counts(&self) -> Counts {
        *lock(&self.state.counts)
    }

    /// Refuses connections from now on, or takes them again.
    pub fn switch(&self, on: bool) {
        self.state.open.store(on, Ordering::SeqCst);
    }

    /// Refuses orders and says after how many seconds to come again; zero takes
    /// them again.
    pub fn refuse_orders(&self, seconds: u32) {
        lock(&self.state.whims).refused_for = (seconds > 0).then_some(seconds);
    }

    /// Says that all certificates are to be renewed between these times (RFC 3339);
    /// nothing leaves it to Pebble again.
    pub fn set_window(&self, window: Option<(&str, &str)>) {
        lock(&self.state.whims).window =
            window.map(|(start, end)| (start.to_owned(), end.to_owned()));
    }

    /// What Pebble said last.
    pub fn log(&self) -> String {
        last_lines(&self.log)
    }

    /// All that Pebble said.
    pub fn whole_log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.log)?).into_owned())
    }

    /// Fails with the log's end when it has ended.
    pub fn check_running(&mut self) -> Result<()> {
        self.process.check_running()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes connections while the front is on; off means that nobody listens.
fn run_front(
    listener: TcpListener,
    place: SocketAddr,
    config: &Arc<ServerConfig>,
    backend: SocketAddr,
    state: &Arc<State>,
) -> Result<()> {
    let mut listener = Some(listener);
    loop {
        let wanted = state.open.load(Ordering::SeqCst);
        match &listener {
            Some(_) if !wanted => listener = None,
            None if wanted => listener = Some(TcpListener::bind(place)?),
            Some(open) => {
                open.set_nonblocking(true)?;
                while let Ok((stream, _)) = open.accept() {
                    stream.set_nonblocking(false)?;
                    let (config, state) = (config.clone(), state.clone());
                    std::thread::spawn(move || hand_on(stream, config, backend, &state));
                }
            }
            None => {}
        }
        std::thread::sleep(INTERVAL);
    }
}

/// One request there and its response back; a broken connection is simply over.
fn hand_on(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    backend: SocketAddr,
    state: &State,
) -> Result<()> {
    let mut client = https::accept(stream, config)?;
    let request = Request::read(&mut client)?;
    let response = match own_answer(&request, state) {
        Some(response) => response,
        None => ask(&request, backend)?,
    };
    count(&request, &response, state);
    https::answer(&mut client, &response)
}

/// An account and an order that were made say so (RFC 8555, sections 7.3 and 7.4).
fn count(request: &Request, response: &[u8], state: &State) {
    let counted = [CREATED, TOO_MANY]
        .iter()
        .any(|status| response.starts_with(format!("HTTP/1.1 {status} ").as_bytes()));
    let mut counts = lock(&state.counts);
    counts.requests += 1;
    counts.accounts += usize::from(counted && request.line == NEW_ACCOUNT);
    counts.orders += usize::from(counted && request.line == NEW_ORDER);
}

/// The answer where the front has a whim.
fn own_answer(request: &Request, state: &State) -> Option<Vec<u8>> {
    let whims = lock(&state.whims);
    if let (Some(seconds), NEW_ORDER) = (whims.refused_for, request.line.as_str()) {
        let body = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many orders","status":429}"#;
        return Some(response(
            &format!("{TOO_MANY} Too Many Requests"),
            &format!(
                "Content-Type: application/problem+json\r\nRetry-After: {seconds}\r\n\
                 Replay-Nonce: the-front-has-none\r\n"
            ),
            body,
        ));
    }
    if let (Some((start, end)), true) = (&whims.window, request.line.starts_with(RENEWAL_INFO)) {
        let body = serde_json::json!({ "suggestedWindow": { "start": start, "end": end } });
        return Some(response(
            "200 OK",
            "Content-Type: application/json\r\nRetry-After: 60\r\n",
            &body.to_string(),
        ));
    }
    None
}

fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Pebble's response, which ends with its connection.
fn ask(request: &Request, backend: SocketAddr) -> Result<Vec<u8>> {
    let stream = TcpStream::connect_timeout(&backend, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut pebble = BufReader::new(start_tls(stream, "localhost")?);
    let head: String = request
        .head
        .split_inclusive("\r\n")
        .filter(|line| !line.to_ascii_lowercase().starts_with("connection:"))
        .collect();
    let head = head.trim_end_matches("\r\n");
    let stream = pebble.get_mut();
    stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes())?;
    stream.write_all(&request.body)?;
    stream.flush()?;
    let mut response = Vec::new();
    pebble.read_to_end(&mut response)?;
    Ok(response)
}

/// Where an authority listens by default.
pub fn place(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, 14000)
}
