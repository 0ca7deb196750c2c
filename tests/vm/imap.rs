//! Mail out of a machine: as much of IMAP4rev1 (RFC 3501) as reading a mailbox takes.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::smtp::Account;
use super::wire::{LIMIT, Wire};
use crate::world::wait::until;

/// The port with TLS from the first byte.
const PORT: u16 = 993;
/// The port with STARTTLS.
const CLEAR_PORT: u16 = 143;

/// A session over TLS, before and after the login.
pub struct Imap {
    wire: Wire,
    next_tag: u32,
}

/// One answer: its lines, with literals taken out.
#[derive(Debug)]
pub struct Answer {
    /// Untagged lines, then the tagged one without its tag.
    pub lines: Vec<String>,
    /// The literals in between.
    pub literals: Vec<Vec<u8>>,
}

impl Answer {
    /// `OK`, `NO` or `BAD` and what follows.
    pub fn status(&self) -> &str {
        self.lines.last().map_or("", String::as_str)
    }
}

impl Imap {
    /// Connects over TLS from one of this side's addresses.
    pub fn connect(source: IpAddr, machine: IpAddr, host_name: &str) -> Result<Self> {
        let target = SocketAddr::new(machine, PORT);
        let mut imap = Self {
            wire: Wire::open_tls(source, target, host_name)?,
            next_tag: 1,
        };
        let greeting = imap.line()?;
        ensure!(
            greeting.starts_with("* OK"),
            "the IMAP server greets with {greeting:?}"
        );
        Ok(imap)
    }

    /// Connects to port 143 and encrypts.
    pub fn start_tls(source: IpAddr, machine: IpAddr, host_name: &str) -> Result<Self> {
        let target = SocketAddr::new(machine, CLEAR_PORT);
        let mut imap = Self {
            wire: Wire::open(source, target)?,
            next_tag: 1,
        };
        imap.line()?;
        imap.say("STARTTLS")?;
        Ok(Self {
            wire: imap.wire.secure(host_name)?,
            next_tag: imap.next_tag,
        })
    }

    /// Connects and logs in.
    pub fn open(
        source: IpAddr,
        machine: IpAddr,
        host_name: &str,
        account: &Account,
    ) -> Result<Self> {
        let mut imap = Self::connect(source, machine, host_name)?;
        let status = imap.log_in(account)?;
        ensure!(
            status.starts_with("OK"),
            "logging in as {}: {status}",
            account.address
        );
        Ok(imap)
    }

    /// LOGIN and its status.
    pub fn log_in(&mut self, account: &Account) -> Result<String> {
        let answer = self.ask(&format!(
            "LOGIN {} {}",
            quoted(&account.address),
            quoted(&account.password)
        ))?;
        Ok(answer.status().to_owned())
    }

    /// Opens a folder and returns how many messages it has.
    pub fn select(&mut self, folder: &str) -> Result<u32> {
        let answer = self.say(&format!("SELECT {}", quoted(folder)))?;
        exists(&answer.lines).context("the server says not how many messages there are")
    }

    /// All messages of a folder; none when there is no such folder.
    pub fn messages(&mut self, folder: &str) -> Result<Vec<Vec<u8>>> {
        let answer = self.ask(&format!("SELECT {}", quoted(folder)))?;
        if !answer.status().starts_with("OK") || exists(&answer.lines).unwrap_or(0) == 0 {
            return Ok(Vec::new());
        }
        Ok(self.say("FETCH 1:* BODY.PEEK[]")?.literals)
    }

    /// Puts a message into a folder and returns the status.
    pub fn append(&mut self, folder: &str, message: &[u8]) -> Result<String> {
        let tag = self.tag();
        self.wire.send_line(&format!(
            "{tag} APPEND {} {{{}}}",
            quoted(folder),
            message.len()
        ))?;
        let line = self.line()?;
        if !line.starts_with('+') {
            return Ok(line
                .strip_prefix(&format!("{tag} "))
                .unwrap_or(&line)
                .to_owned());
        }
        self.wire.send(message)?;
        self.wire.send(b"\r\n")?;
        Ok(self.answer(&tag)?.status().to_owned())
    }

    /// Waits in IDLE (RFC 2177) for a line that contains a text; `begun` is
    /// called once the server waits too. Returns how long after it the line came.
    pub fn idle(
        &mut self,
        text: &str,
        limit: Duration,
        begun: impl FnOnce() -> Result<()>,
    ) -> Result<Duration> {
        let tag = self.tag();
        self.wire.send_line(&format!("{tag} IDLE"))?;
        let line = self.line()?;
        ensure!(line.starts_with('+'), "IDLE is answered {line:?}");
        begun()?;
        let started = Instant::now();
        self.wire.set_limit(limit)?;
        while !self.line()?.contains(text) {}
        let took = started.elapsed();
        self.wire.set_limit(LIMIT)?;
        self.wire.send_line("DONE")?;
        self.answer(&tag)?;
        Ok(took)
    }

    /// Waits until the server ends the session, and returns its last words.
    pub fn wait_for_end(&mut self, limit: Duration) -> Result<String> {
        self.wire.set_limit(limit)?;
        let mut last = String::new();
        while let Some(line) = self
            .wire
            .line()
            .context("waiting for the end of a session")?
        {
            last = line;
        }
        Ok(last)
    }

    /// Ends the session.
    pub fn log_out(mut self) -> Result<()> {
        self.say("LOGOUT").map(drop)
    }

    /// Gives a command, which must succeed.
    pub fn say(&mut self, command: &str) -> Result<Answer> {
        let answer = self.ask(command)?;
        if !answer.status().starts_with("OK") {
            // Only the verb: a login has a password behind it.
            bail!(
                "{}: {}",
                command.split(' ').next().unwrap_or_default(),
                answer.status()
            );
        }
        Ok(answer)
    }

    /// Gives a command.
    pub fn ask(&mut self, command: &str) -> Result<Answer> {
        let tag = self.tag();
        self.wire.send_line(&format!("{tag} {command}"))?;
        self.answer(&tag)
    }

    fn tag(&mut self) -> String {
        self.next_tag += 1;
        format!("t{}", self.next_tag)
    }

    fn answer(&mut self, tag: &str) -> Result<Answer> {
        let mut answer = Answer {
            lines: Vec::new(),
            literals: Vec::new(),
        };
        loop {
            let Some(line) = self.wire.line()? else {
                bail!("the IMAP server hung up after {:?}", answer.lines);
            };
            if let Some(length) = literal_length(&line) {
                answer.literals.push(self.wire.bytes(length)?);
            }
            if let Some(status) = line.strip_prefix(&format!("{tag} ")) {
                answer.lines.push(status.to_owned());
                return Ok(answer);
            }
            answer.lines.push(line);
        }
    }

    fn line(&mut self) -> Result<String> {
        self.wire.line()?.context("the IMAP server hung up")
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
    let mut imap = Imap::open(source, machine, host_name, account)?;
    let message = wait_in(&mut imap, "INBOX", subject)
        .with_context(|| format!("reading the mail of {}", account.address))?;
    imap.log_out()?;
    Ok(message)
}

/// The same in an open session and any folder.
pub fn wait_in(imap: &mut Imap, folder: &str, subject: &str) -> Result<String> {
    let wanted = format!("Subject: {subject}\r\n");
    until(&format!("{subject:?} in {folder}"), LIMIT, || {
        Ok(imap
            .messages(folder)?
            .iter()
            .map(|message| String::from_utf8_lossy(message).into_owned())
            .find(|message| message.contains(&wanted)))
    })
}

/// The number of `* 3 EXISTS`.
fn exists(lines: &[String]) -> Option<u32> {
    lines.iter().find_map(|line| {
        line.strip_prefix("* ")?
            .strip_suffix(" EXISTS")?
            .parse()
            .ok()
    })
}

/// `{123}` at the end of a line announces as many bytes.
fn literal_length(line: &str) -> Option<usize> {
    line.strip_suffix('}')?.rsplit_once('{')?.1.parse().ok()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
