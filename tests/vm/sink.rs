//! A mail server of the outside that takes everything and keeps it (RFC 5321).
//!
//! No STARTTLS and no refusals yet: tests that need them give it a policy.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::site::OUTSIDE_HOST_NAME;

/// A client that says nothing for so long has gone.
const IDLE_LIMIT: Duration = Duration::from_secs(120);

/// A message as it came in.
#[derive(Clone, Debug)]
pub struct Caught {
    /// Where it came from.
    pub client: IpAddr,
    /// The name the client gave.
    pub helo: String,
    /// Envelope sender.
    pub sender: String,
    /// Envelope recipients.
    pub recipients: Vec<String>,
    /// Header and body with CRLF lines.
    pub message: Vec<u8>,
}

#[derive(Default)]
struct Store {
    caught: Mutex<Vec<Caught>>,
    arrived: Condvar,
}

/// A running server.
#[derive(Clone)]
pub struct Sink {
    store: Arc<Store>,
}

impl Sink {
    /// Listens on port 25 of these addresses until the process ends.
    pub fn start(addresses: &[IpAddr]) -> Result<Self> {
        let store = Arc::new(Store::default());
        for &address in addresses {
            let listener = TcpListener::bind(SocketAddr::new(address, 25))
                .with_context(|| format!("listening on {address} port 25"))?;
            let store = store.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let store = store.clone();
                    std::thread::spawn(move || serve(&stream, &store));
                }
            });
        }
        Ok(Self { store })
    }

    /// Waits for a message to a recipient.
    pub fn wait_for(&self, recipient: &str, limit: Duration) -> Result<Caught> {
        let started = Instant::now();
        let mut caught = self
            .store
            .caught
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loop {
            let found = caught
                .iter()
                .find(|message| message.recipients.iter().any(|name| name == recipient));
            if let Some(message) = found {
                return Ok(message.clone());
            }
            let Some(left) = limit.checked_sub(started.elapsed()) else {
                bail!(
                    "no message to {recipient} came out within {} s",
                    limit.as_secs()
                );
            };
            caught = self
                .store
                .arrived
                .wait_timeout(caught, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

/// One conversation; a broken one is simply over.
fn serve(stream: &TcpStream, store: &Store) -> Option<()> {
    stream.set_read_timeout(Some(IDLE_LIMIT)).ok()?;
    let client = stream.peer_addr().ok()?.ip();
    let mut reader = BufReader::new(stream);
    let mut helo = String::new();
    let mut sender = String::new();
    let mut recipients = Vec::new();
    let say = |text: &str| (&*stream).write_all(format!("{text}\r\n").as_bytes()).ok();
    say(&format!("220 {OUTSIDE_HOST_NAME} ESMTP"))?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                rest.clone_into(&mut helo);
                say(&format!(
                    "250-{OUTSIDE_HOST_NAME}\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8"
                ))?;
            }
            "HELO" => {
                rest.clone_into(&mut helo);
                say(&format!("250 {OUTSIDE_HOST_NAME}"))?;
            }
            "MAIL" => {
                sender = path(rest);
                say("250 2.1.0 ok")?;
            }
            "RCPT" => {
                recipients.push(path(rest));
                say("250 2.1.5 ok")?;
            }
            "DATA" => {
                say("354 go on")?;
                let message = read_data(&mut reader)?;
                let caught = Caught {
                    client,
                    helo: helo.clone(),
                    sender: std::mem::take(&mut sender),
                    recipients: std::mem::take(&mut recipients),
                    message,
                };
                store
                    .caught
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(caught);
                store.arrived.notify_all();
                say("250 2.0.0 kept")?;
            }
            "RSET" => {
                sender.clear();
                recipients.clear();
                say("250 2.0.0 ok")?;
            }
            "NOOP" => say("250 2.0.0 ok")?,
            "QUIT" => return say("221 2.0.0 bye"),
            _ => say("502 5.5.1 not here")?,
        }
    }
}

/// `FROM:<a@b> SIZE=1` to `a@b`.
fn path(argument: &str) -> String {
    argument
        .split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'))
        .map(|(address, _)| address.to_owned())
        .unwrap_or_default()
}

/// Reads to the lone dot and takes the stuffed dots out.
fn read_data(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        if line == b".\r\n" {
            return Some(message);
        }
        message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
