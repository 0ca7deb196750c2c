//! Mail servers of the outside that take everything and keep it (RFC 5321).
//!
//! One that has a certificate offers STARTTLS; one that has a login takes mail
//! from whoever gives it, over TLS.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::site::OUTSIDE_HOST_NAME;
use super::smtp::Account;

/// A client that says nothing for so long has gone.
const IDLE_LIMIT: Duration = Duration::from_secs(120);

/// Recipients that begin so are refused.
pub const UNKNOWN: &str = "nobody-";

/// A message as it came in.
#[derive(Clone, Debug)]
pub struct Caught {
    /// Where it came from.
    pub client: IpAddr,
    /// Where it came to.
    pub server: IpAddr,
    /// The name the client gave.
    pub helo: String,
    /// Whether it came over TLS.
    pub encrypted: bool,
    /// Whether the client had logged in.
    pub logged_in: bool,
    /// Envelope sender.
    pub sender: String,
    /// Envelope recipients.
    pub recipients: Vec<String>,
    /// Header and body with CRLF lines.
    pub message: Vec<u8>,
}

/// How a server treats its clients.
#[derive(Clone, Default)]
pub struct Manner {
    /// Offers STARTTLS with this certificate.
    pub tls: Option<Arc<ServerConfig>>,
    /// Takes mail only after this login.
    pub login: Option<Account>,
}

#[derive(Default)]
struct Store {
    caught: Mutex<Vec<Caught>>,
    arrived: Condvar,
}

/// Running servers and what they caught.
#[derive(Clone)]
pub struct Sink {
    store: Arc<Store>,
}

impl Sink {
    /// Listens on port 25 of these addresses until the process ends.
    pub fn start(addresses: &[IpAddr]) -> Result<Self> {
        let sink = Self {
            store: Arc::new(Store::default()),
        };
        for &address in addresses {
            sink.listen(SocketAddr::new(address, 25), &Manner::default())?;
        }
        Ok(sink)
    }

    /// Listens in one more place.
    pub fn listen(&self, place: SocketAddr, manner: &Manner) -> Result<()> {
        let listener = TcpListener::bind(place).with_context(|| format!("listening on {place}"))?;
        let store = self.store.clone();
        let manner = manner.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let store = store.clone();
                let manner = manner.clone();
                std::thread::spawn(move || serve(stream, &store, &manner));
            }
        });
        Ok(())
    }

    /// The message to a recipient, if it came.
    pub fn find(&self, recipient: &str) -> Option<Caught> {
        let caught = self
            .store
            .caught
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        position(&caught, recipient)
    }

    /// How many messages came to a recipient.
    pub fn count(&self, recipient: &str) -> usize {
        self.store
            .caught
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter(|message| message.recipients.iter().any(|name| name == recipient))
            .count()
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
            if let Some(message) = position(&caught, recipient) {
                return Ok(message);
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

fn position(caught: &[Caught], recipient: &str) -> Option<Caught> {
    caught
        .iter()
        .find(|message| message.recipients.iter().any(|name| name == recipient))
        .cloned()
}

/// A client's bytes, in the clear or not.
enum Stream {
    Clear(TcpStream),
    Secure(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.read(buffer),
            Self::Secure(stream) => stream.read(buffer),
        }
    }
}

struct Client {
    reader: BufReader<Stream>,
}

impl Client {
    fn say(&mut self, text: &str) -> Option<()> {
        let line = format!("{text}\r\n");
        match self.reader.get_mut() {
            Stream::Clear(stream) => stream.write_all(line.as_bytes()).ok(),
            Stream::Secure(stream) => {
                stream.write_all(line.as_bytes()).ok()?;
                stream.flush().ok()
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        (self.reader.read_line(&mut line).ok()? > 0).then(|| line.trim_end().to_owned())
    }

    fn secure(self, config: Arc<ServerConfig>) -> Option<Self> {
        let Stream::Clear(stream) = self.reader.into_inner() else {
            return None;
        };
        let connection = ServerConnection::new(config).ok()?;
        Some(Self {
            reader: BufReader::new(Stream::Secure(Box::new(StreamOwned::new(
                connection, stream,
            )))),
        })
    }
}

/// One conversation; a broken one is simply over.
fn serve(stream: TcpStream, store: &Store, manner: &Manner) -> Option<()> {
    stream.set_read_timeout(Some(IDLE_LIMIT)).ok()?;
    let from = stream.peer_addr().ok()?.ip();
    let server = stream.local_addr().ok()?.ip();
    let mut client = Client {
        reader: BufReader::new(Stream::Clear(stream)),
    };
    let mut helo = String::new();
    let mut sender = String::new();
    let mut recipients = Vec::new();
    let mut encrypted = false;
    let mut logged_in = false;
    client.say(&format!("220 {OUTSIDE_HOST_NAME} ESMTP"))?;
    loop {
        let line = client.line()?;
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let welcome = manner.login.is_none() || logged_in;
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                rest.clone_into(&mut helo);
                // No 8BITMIME: the strictest server is the best judge of what is sent.
                let mut offers = format!("250-{OUTSIDE_HOST_NAME}\r\n250-PIPELINING\r\n");
                if manner.tls.is_some() && !encrypted {
                    offers.push_str("250-STARTTLS\r\n");
                }
                if manner.login.is_some() && encrypted {
                    offers.push_str("250-AUTH PLAIN\r\n");
                }
                client.say(&format!("{offers}250 SMTPUTF8"))?;
            }
            "HELO" => {
                rest.clone_into(&mut helo);
                client.say(&format!("250 {OUTSIDE_HOST_NAME}"))?;
            }
            "STARTTLS" if !encrypted && manner.tls.is_some() => {
                client.say("220 2.0.0 go on")?;
                client = client.secure(manner.tls.clone()?)?;
                encrypted = true;
            }
            "AUTH" if encrypted && manner.login.is_some() => {
                logged_in = manner
                    .login
                    .as_ref()
                    .is_some_and(|login| knows(login, rest));
                client.say(if logged_in {
                    "235 2.7.0 welcome"
                } else {
                    "535 5.7.8 who?"
                })?;
            }
            "MAIL" if welcome => {
                sender = path(rest);
                client.say("250 2.1.0 ok")?;
            }
            "MAIL" => client.say("530 5.7.0 log in first")?,
            "RCPT" if path(rest).starts_with(UNKNOWN) => {
                client.say("550 5.1.1 nobody of that name")?;
            }
            "RCPT" => {
                recipients.push(path(rest));
                client.say("250 2.1.5 ok")?;
            }
            "DATA" => {
                client.say("354 go on")?;
                let message = read_data(&mut client.reader)?;
                let caught = Caught {
                    client: from,
                    server,
                    helo: helo.clone(),
                    encrypted,
                    logged_in,
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
                client.say("250 2.0.0 kept")?;
            }
            "RSET" => {
                sender.clear();
                recipients.clear();
                client.say("250 2.0.0 ok")?;
            }
            "NOOP" => client.say("250 2.0.0 ok")?,
            "QUIT" => return client.say("221 2.0.0 bye"),
            _ => client.say("502 5.5.1 not here")?,
        }
    }
}

/// Whether `PLAIN base64` is this login (RFC 4616).
fn knows(login: &Account, argument: &str) -> bool {
    argument
        .split_once(' ')
        .and_then(|(_, secret)| BASE64.decode(secret).ok())
        .is_some_and(|secret| {
            secret == format!("\0{}\0{}", login.address, login.password).into_bytes()
        })
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
