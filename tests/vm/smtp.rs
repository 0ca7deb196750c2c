//! Mail into a machine: submission with lettre, and a client that speaks line by line.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport};

use super::network::connect_from;

/// A busy emulated machine takes its time to answer.
const LIMIT: Duration = Duration::from_secs(120);

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

/// An SMTP conversation in the clear, from any of this side's addresses.
pub struct Conversation {
    reader: BufReader<TcpStream>,
}

impl Conversation {
    /// Connects and reads the banner, which begins with 220.
    pub fn open(source: IpAddr, target: SocketAddr) -> Result<(Self, String)> {
        let mut conversation = Self {
            reader: BufReader::new(connect_from(source, target, LIMIT)?),
        };
        let banner = conversation.reply("220")?;
        Ok((conversation, banner))
    }

    /// Sends a line and returns the reply, which must begin with `expected`.
    pub fn say(&mut self, line: &str, expected: &str) -> Result<String> {
        let stream = self.reader.get_mut();
        stream.write_all(format!("{line}\r\n").as_bytes())?;
        self.reply(expected)
            .with_context(|| format!("saying {line:?}"))
    }

    /// Sends one message and ends.
    pub fn deliver(mut self, sender: &str, recipient: &str, message: &str) -> Result<String> {
        self.say("EHLO client.outside.example", "250")?;
        self.say(&format!("MAIL FROM:<{sender}>"), "250")?;
        self.say(&format!("RCPT TO:<{recipient}>"), "250")?;
        self.say("DATA", "354")?;
        let stuffed = message.replace("\r\n.", "\r\n..");
        let reply = self.say(&format!("{stuffed}\r\n."), "250")?;
        self.say("QUIT", "221")?;
        Ok(reply)
    }

    fn reply(&mut self, expected: &str) -> Result<String> {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 {
                bail!("the server hung up after {text:?}");
            }
            text.push_str(&line);
            // A hyphen after the code means that more lines follow.
            if line.as_bytes().get(3) != Some(&b'-') {
                break;
            }
        }
        if !text.starts_with(expected) {
            bail!("expected {expected}, got {:?}", text.trim_end());
        }
        Ok(text)
    }
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
