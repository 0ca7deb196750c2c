//! Mail out of a machine: as much of IMAP4rev1 (RFC 3501) as reading an inbox takes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::smtp::Account;
use super::tls::{TlsStream, connect_tls};
use super::wait::until;

/// A busy emulated machine takes its time to answer.
const LIMIT: Duration = Duration::from_secs(120);

/// A session with an open inbox.
pub struct Inbox {
    reader: BufReader<TlsStream>,
    next_tag: u32,
    /// How many messages there were when it was opened.
    pub messages: u32,
}

/// One answer: its lines, with literals taken out.
struct Answer {
    lines: Vec<String>,
    literals: Vec<Vec<u8>>,
}

impl Inbox {
    /// Logs in over TLS from one of this side's addresses and selects the inbox.
    pub fn open(
        source: IpAddr,
        machine: IpAddr,
        host_name: &str,
        account: &Account,
    ) -> Result<Self> {
        let stream = connect_tls(source, SocketAddr::new(machine, 993), host_name, LIMIT)?;
        let mut inbox = Self {
            reader: BufReader::new(stream),
            next_tag: 1,
            messages: 0,
        };
        let greeting = inbox.read_line()?;
        if !greeting.starts_with("* OK") {
            bail!("the IMAP server greets with {greeting:?}");
        }
        inbox
            .say(&format!(
                "LOGIN {} {}",
                quoted(&account.address),
                quoted(&account.password)
            ))
            .with_context(|| format!("logging in as {}", account.address))?;
        let answer = inbox.say("SELECT INBOX")?;
        inbox.messages = answer
            .lines
            .iter()
            .find_map(|line| {
                line.strip_prefix("* ")?
                    .strip_suffix(" EXISTS")?
                    .parse()
                    .ok()
            })
            .context("the server says not how many messages there are")?;
        Ok(inbox)
    }

    /// A message as it was stored, by its number from 1.
    pub fn fetch(&mut self, number: u32) -> Result<Vec<u8>> {
        self.say(&format!("FETCH {number} BODY.PEEK[]"))?
            .literals
            .into_iter()
            .next()
            .with_context(|| format!("message {number} has no body"))
    }

    /// Ends the session.
    pub fn log_out(mut self) -> Result<()> {
        self.say("LOGOUT").map(drop)
    }

    fn say(&mut self, command: &str) -> Result<Answer> {
        let tag = format!("t{}", self.next_tag);
        self.next_tag += 1;
        let stream = self.reader.get_mut();
        stream.write_all(format!("{tag} {command}\r\n").as_bytes())?;
        stream.flush()?;
        let mut answer = Answer {
            lines: Vec::new(),
            literals: Vec::new(),
        };
        loop {
            let line = self.read_line()?;
            if let Some(length) = literal_length(&line) {
                let mut literal = vec![0; length];
                self.reader.read_exact(&mut literal)?;
                answer.literals.push(literal);
            }
            if let Some(status) = line.strip_prefix(&format!("{tag} ")) {
                if status.starts_with("OK") {
                    return Ok(answer);
                }
                // Only the verb: a login has a password behind it.
                bail!(
                    "{}: {status}",
                    command.split(' ').next().unwrap_or_default()
                );
            }
            answer.lines.push(line);
        }
    }

    fn read_line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        if self.reader.read_until(b'\n', &mut line)? == 0 {
            bail!("the IMAP server hung up");
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}

/// Waits until a message with this subject has been delivered and returns it.
pub fn wait_for_message(
    source: IpAddr,
    machine: IpAddr,
    host_name: &str,
    account: &Account,
    subject: &str,
) -> Result<String> {
    let wanted = format!("Subject: {subject}\r\n");
    until(
        &format!("{subject:?} in the inbox of {}", account.address),
        LIMIT,
        || {
            let mut inbox = Inbox::open(source, machine, host_name, account)?;
            let mut found = None;
            for number in 1..=inbox.messages {
                let message = String::from_utf8_lossy(&inbox.fetch(number)?).into_owned();
                found = found.or_else(|| message.contains(&wanted).then_some(message));
            }
            inbox.log_out()?;
            Ok(found)
        },
    )
}

/// `{123}` at the end of a line announces as many bytes.
fn literal_length(line: &str) -> Option<usize> {
    line.strip_suffix('}')?.rsplit_once('{')?.1.parse().ok()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
