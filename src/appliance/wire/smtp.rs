//! Handing a message to Postfix on this machine: as much of SMTP
//! (RFC 5321, <https://www.rfc-editor.org/rfc/rfc5321>) as that takes.

use super::line::{Conversation, connect_to};
use crate::appliance::machine::place;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Longest wait for an answer; filters that sign come before the last.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Where Postfix takes the machine's own mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Door {
    /// A socket file, which says who may: what comes in there is signed and goes anywhere.
    Socket(PathBuf),
    /// A port, in tests.
    Port(SocketAddr),
}

impl Default for Door {
    fn default() -> Self {
        Self::Socket(PathBuf::from(place::OWN_MAIL_SOCKET))
    }
}

impl FromStr for Door {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with('/') {
            return Ok(Self::Socket(PathBuf::from(text)));
        }
        text.parse().map(Self::Port)
    }
}

impl TryFrom<String> for Door {
    type Error = std::net::AddrParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Door> for String {
    fn from(door: Door) -> Self {
        door.to_string()
    }
}

impl fmt::Display for Door {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(formatter),
            Self::Port(address) => address.fmt(formatter),
        }
    }
}

/// Who writes to whom.
pub struct Envelope<'a> {
    /// What we call ourselves.
    pub hostname: &'a str,
    /// Where bounces go; empty for nowhere.
    pub sender: &'a str,
    /// Who gets it.
    pub recipient: &'a str,
}

/// Hands a message over; its lines end with CR LF.
pub fn hand_over(door: &Door, envelope: &Envelope<'_>, message: &str) -> Result<()> {
    let work = || match door {
        Door::Port(address) => speak(connect_to(*address, ANSWER_LIMIT)?, envelope, message),
        Door::Socket(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(ANSWER_LIMIT))?;
            stream.set_write_timeout(Some(ANSWER_LIMIT))?;
            speak(stream, envelope, message)
        }
    };
    work().with_context(|| format!("handing mail for {} to {door}", envelope.recipient))
}

fn speak(stream: impl Read + Write, envelope: &Envelope<'_>, message: &str) -> Result<()> {
    let Envelope {
        hostname,
        sender,
        recipient,
    } = envelope;
    let mut session = Conversation::new(stream);
    session.expect_smtp("220").context("greeting")?;
    for (command, code) in [
        (format!("EHLO {hostname}"), "250"),
        (format!("MAIL FROM:<{sender}>"), "250"),
        (format!("RCPT TO:<{recipient}>"), "250"),
        ("DATA".to_owned(), "354"),
    ] {
        session.send(&command)?;
        session.expect_smtp(code).with_context(|| command)?;
    }
    session.send(&dotted(message))?;
    session.expect_smtp("250").context("the message")?;
    // Taken is taken, whatever comes now.
    let _ = session.send("QUIT");
    Ok(())
}

/// The message as DATA has it, but for the last line break (section 4.5.2).
fn dotted(message: &str) -> String {
    let mut text = String::with_capacity(message.len() + 16);
    for line in message.split_inclusive("\r\n") {
        if line.starts_with('.') {
            text.push('.');
        }
        text.push_str(line);
    }
    if !text.ends_with("\r\n") {
        text.push_str("\r\n");
    }
    text.push('.');
    text
}

#[cfg(test)]
mod tests {
    use super::dotted;

    #[test]
    fn a_line_of_one_dot_ends_no_message() {
        assert_eq!(dotted("a\r\n.\r\n..b\r\n"), "a\r\n..\r\n...b\r\n.");
        assert_eq!(dotted("no end"), "no end\r\n.");
    }
}
