//! Mail into a machine: a client that speaks SMTP line by line (RFC 5321), and
//! submission with lettre for a second opinion.

use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport};

use super::wire::{LIMIT, Wire};

/// The name that clients give.
pub const CLIENT_NAME: &str = "client.outside.example";

/// A mail account of a machine.
#[derive(Clone, Debug)]
pub struct Account {
    /// Full address, which is the user's name as well.
    pub address: String,
    /// Password.
    pub password: String,
}

/// Sends a text through port 465 with a password.
pub fn submit(
    machine: IpAddr,
    host_name: &str,
    account: &Account,
    recipient: &str,
    subject: &str,
    text: &str,
) -> Result<()> {
    let message = Message::builder()
        .from(account.address.parse()?)
        .to(recipient.parse()?)
        .subject(subject)
        .body(text.to_owned())?;
    let tls = TlsParameters::builder(host_name.to_owned())
        .dangerous_accept_invalid_certs(true)
        .dangerous_accept_invalid_hostnames(true)
        .build_rustls()?;
    SmtpTransport::builder_dangerous(machine.to_string())
        .port(465)
        .tls(Tls::Wrapper(tls))
        .credentials(Credentials::new(
            account.address.clone(),
            account.password.clone(),
        ))
        .authentication(vec![Mechanism::Plain])
        .timeout(Some(LIMIT))
        .build()
        .send(&message)
        .with_context(|| {
            format!(
                "submitting a message from {} to {recipient}",
                account.address
            )
        })?;
    Ok(())
}

/// What a server answers.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its three digits.
    pub code: u16,
    /// All lines with their codes.
    pub text: String,
}

impl Reply {
    /// An error with the whole text unless the code is one of these.
    pub fn must_be(self, codes: &[u16], to: &str) -> Result<Self> {
        ensure!(
            codes.contains(&self.code),
            "expected {codes:?}, got {:?} to {:?}",
            self.text,
            shortened(to)
        );
        Ok(self)
    }

    /// Whether EHLO's answer has a line that begins with this word.
    pub fn offers(&self, word: &str) -> bool {
        self.text
            .lines()
            .filter_map(|line| line.get(4..))
            .any(|line| line.split([' ', '=']).next() == Some(word))
    }
}

fn shortened(text: &str) -> &str {
    text.get(..100).unwrap_or(text)
}

/// An SMTP conversation from any of this side's addresses.
pub struct Conversation {
    wire: Wire,
}

impl Conversation {
    /// Connects and reads the banner, which begins with 220.
    pub fn open(source: IpAddr, target: SocketAddr) -> Result<(Self, String)> {
        let (conversation, reply) = Self::open_any(source, target)?;
        Ok((conversation, reply.must_be(&[220], "connecting")?.text))
    }

    /// Connects and reads whatever the server says first.
    pub fn open_any(source: IpAddr, target: SocketAddr) -> Result<(Self, Reply)> {
        let mut conversation = Self {
            wire: Wire::open(source, target)?,
        };
        let reply = conversation.reply()?;
        Ok((conversation, reply))
    }

    /// Connects with TLS from the first byte, as on port 465.
    pub fn open_tls(source: IpAddr, target: SocketAddr, name: &str) -> Result<Self> {
        let mut conversation = Self {
            wire: Wire::open_tls(source, target, name)?,
        };
        conversation.reply()?.must_be(&[220], "connecting")?;
        Ok(conversation)
    }

    /// The connection below, for a client that keeps no rules.
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// Introduces itself and returns what the server offers.
    pub fn hello(&mut self) -> Result<Reply> {
        let line = format!("EHLO {CLIENT_NAME}");
        self.ask(&line)?.must_be(&[250], &line)
    }

    /// STARTTLS and a second EHLO, whose answer is returned.
    pub fn start_tls(mut self, name: &str) -> Result<(Self, Reply)> {
        self.hello()?;
        self.say("STARTTLS", "220")?;
        let mut secure = Self {
            wire: self.wire.secure(name)?,
        };
        let offers = secure.hello()?;
        Ok((secure, offers))
    }

    /// AUTH PLAIN (RFC 4616) and its answer.
    pub fn log_in(&mut self, account: &Account) -> Result<Reply> {
        let secret = BASE64.encode(format!("\0{}\0{}", account.address, account.password));
        self.wire.send_line(&format!("AUTH PLAIN {secret}"))?;
        self.reply()
    }

    /// Sends a line and returns the reply.
    pub fn ask(&mut self, line: &str) -> Result<Reply> {
        self.wire.send_line(line)?;
        self.reply()
            .with_context(|| format!("saying {:?}", shortened(line)))
    }

    /// Sends a line and returns the reply, which must begin with `expected`.
    pub fn say(&mut self, line: &str, expected: &str) -> Result<String> {
        let reply = self.ask(line)?;
        if !reply.text.starts_with(expected) {
            bail!(
                "expected {expected}, got {:?} to {:?}",
                reply.text,
                shortened(line)
            );
        }
        Ok(reply.text)
    }

    /// Sender and recipients, each accepted.
    pub fn envelope(&mut self, sender: &str, recipients: &[&str]) -> Result<()> {
        self.say(&format!("MAIL FROM:<{sender}>"), "250")?;
        for recipient in recipients {
            self.say(&format!("RCPT TO:<{recipient}>"), "250")?;
        }
        Ok(())
    }

    /// DATA and a message, with the answer to the final dot.
    pub fn data(&mut self, message: &[u8]) -> Result<Reply> {
        self.say("DATA", "354")?;
        self.wire.send(&stuffed(message))?;
        self.wire.send(b".\r\n")?;
        self.reply().context("ending a message")
    }

    /// Sends one message after EHLO and returns the answer to its end.
    pub fn send(&mut self, sender: &str, recipients: &[&str], message: &[u8]) -> Result<Reply> {
        self.envelope(sender, recipients)?;
        self.data(message)
    }

    /// Sends one message and ends.
    pub fn deliver(mut self, sender: &str, recipient: &str, message: &str) -> Result<String> {
        self.hello()?;
        let reply = self
            .send(sender, &[recipient], message.as_bytes())?
            .must_be(&[250], "the message")?;
        self.say("QUIT", "221")?;
        Ok(reply.text)
    }

    /// The next reply.
    pub fn reply(&mut self) -> Result<Reply> {
        let mut lines = Vec::new();
        loop {
            let Some(line) = self.wire.line()? else {
                bail!("the server hung up after {:?}", lines.join("\n"));
            };
            // A hyphen after the code means that more lines follow.
            let last = line.as_bytes().get(3) != Some(&b'-');
            lines.push(line);
            if last {
                break;
            }
        }
        let text = lines.join("\n");
        let code = text
            .get(..3)
            .and_then(|digits| digits.parse().ok())
            .with_context(|| format!("reading the reply {text:?}"))?;
        Ok(Reply { code, text })
    }
}

/// Doubles the dots that begin lines and ends the last line.
pub fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(message.len() + 16);
    let mut begins = true;
    for &byte in message {
        if begins && byte == b'.' {
            bytes.push(b'.');
        }
        bytes.push(byte);
        begins = byte == b'\n';
    }
    if !message.ends_with(b"\r\n") {
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The first line a server says, or nothing while nobody listens.
pub fn read_banner(target: SocketAddr, limit: Duration) -> Option<String> {
    let stream = TcpStream::connect_timeout(&target, limit).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    let mut line = String::new();
    BufReader::new(stream)
        .take(1024)
        .read_line(&mut line)
        .ok()?;
    (!line.is_empty()).then_some(line)
}
