//! `mailctl health`: whether this boot may be called good.
//!
//! Asks the services as a client would, over loopback, until all answer or the
//! time is up. Nothing outside the machine is asked: neither DNS nor a
//! certificate authority can fail a boot. A machine without settings is
//! healthy, since waiting is all it has to do.

use super::place::{self, Place};
use super::settings_command::load_checked;
use anyhow::{Context, bail};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Pause between two rounds.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest wait for one answer; a slow guest under emulation needs seconds.
const ANSWER: Duration = Duration::from_secs(20);
/// Longest line a server may answer with, in bytes.
const LONGEST_LINE: usize = 2048;

/// Waits until mail is accepted and handed out, at most for `deadline`.
///
/// # Errors
/// What did not answer when the time was up.
pub fn check_health(place: &Place, deadline: Duration) -> anyhow::Result<String> {
    let Some(resolved) = load_checked(place, place::SETTINGS)? else {
        return Ok("Healthy: waiting for settings.".to_owned());
    };
    let recipient = format!("postmaster@{}", resolved.settings.domain);
    let end = Instant::now() + deadline;
    loop {
        let result = check_smtp(&recipient)
            .context("asking the SMTP server on port 25")
            .and_then(|()| check_imap().context("asking the IMAP server"));
        match result {
            Ok(()) => return Ok("Healthy: mail is accepted.".to_owned()),
            Err(error) if Instant::now() + PAUSE > end => {
                return Err(error.context(format!("waited {} s", deadline.as_secs())));
            }
            Err(_) => sleep(PAUSE),
        }
    }
}

struct Session {
    reader: BufReader<TcpStream>,
}

impl Session {
    fn open(port: u16) -> anyhow::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&address, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        Ok(Self {
            reader: BufReader::new(stream),
        })
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut bytes = Vec::new();
        let mut limited = std::io::Read::take(&mut self.reader, LONGEST_LINE as u64);
        limited.read_until(b'\n', &mut bytes)?;
        if bytes.last() != Some(&b'\n') {
            bail!("the connection ended");
        }
        Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    }

    fn send(&mut self, line: &str) -> anyhow::Result<()> {
        self.reader
            .get_mut()
            .write_all(format!("{line}\r\n").as_bytes())
            .with_context(|| format!("sending {line}"))
    }

    /// Reads one SMTP reply (RFC 5321 section 4.2) and wants its code.
    fn expect(&mut self, code: &str) -> anyhow::Result<()> {
        loop {
            let line = self.line()?;
            if !line.starts_with(code) {
                bail!("'{line}' instead of {code}");
            }
            if line.as_bytes().get(code.len()) != Some(&b'-') {
                return Ok(());
            }
        }
    }
}

/// An envelope to an address that always exists; no message follows.
fn check_smtp(recipient: &str) -> anyhow::Result<()> {
    let mut session = Session::open(25)?;
    session.expect("220")?;
    for (command, code) in [
        ("EHLO localhost".to_owned(), "250"),
        ("MAIL FROM:<>".to_owned(), "250"),
        (format!("RCPT TO:<{recipient}>"), "250"),
        ("RSET".to_owned(), "250"),
        ("QUIT".to_owned(), "221"),
    ] {
        session.send(&command)?;
        session.expect(code).with_context(|| command)?;
    }
    Ok(())
}

/// The greeting of RFC 9051 section 7.1, and a listener behind TLS.
fn check_imap() -> anyhow::Result<()> {
    let mut session = Session::open(143)?;
    let greeting = session.line()?;
    if !greeting.starts_with("* OK") {
        bail!("'{greeting}' instead of a greeting");
    }
    session.send("a LOGOUT")?;
    Session::open(993).context("port 993").map(|_| ())
}
