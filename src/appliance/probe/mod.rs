//! What is tried: each probe asks one service as its clients do.

mod account;

use crate::any_certificate::start_tls;
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::room::{Room, shortage};
use crate::appliance::wire::dns::course::Patience;
use crate::appliance::wire::dns::message::Question;
use crate::appliance::wire::dns::{RESOLVER, blocking};
use crate::appliance::wire::line::{ANSWER_LIMIT, Conversation, connect};
use account::load_password;
use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hickory_proto::rr::RecordType;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

pub use account::{PROBE_NAME, ensure_probe};

/// Whom is asked. A machine that no CA has reached yet is healthy.
const HOST: &str = "localhost";
/// Space that must be left below /var for mail to be accepted, in bytes.
const LEAST_SPACE: u64 = 64 << 20;
/// Files that must still fit below /var.
const LEAST_FILES: u64 = 1000;
/// Within the machine nothing gets lost.
const PATIENCE: Patience = Patience {
    one_answer: ANSWER_LIMIT,
    tries: 1,
};

/// One thing that must work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Port 25 takes mail to postmaster of the first domain.
    Reception,
    /// Port 465 takes a login.
    Submission,
    /// Port 993 takes a login and shows a mailbox.
    Imap,
    /// A mail filter answers: how it is called, and its socket.
    Milter(&'static str, &'static str),
    /// The resolver answers.
    Resolver,
    /// /var can be written to.
    Storage,
}

impl Probe {
    /// How it is called where it is reported.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Reception => "smtp",
            Self::Submission => "submission",
            Self::Imap => "imap",
            Self::Milter(name, _) => name,
            Self::Resolver => "resolver",
            Self::Storage => "storage",
        }
    }

    /// Tries once.
    pub fn run(&self, place: &Place, domain: &str) -> Result<()> {
        match self {
            Self::Reception => try_reception(&format!("postmaster@{domain}")).context("port 25"),
            Self::Submission => try_submission(place).context("port 465"),
            Self::Imap => try_imap(place).context("port 993"),
            Self::Milter(_, path) => try_milter(place, path).with_context(|| (*path).to_owned()),
            Self::Resolver => try_resolver().context("port 53"),
            Self::Storage => try_storage(place).context("/var"),
        }
    }
}

/// An envelope to an address that always exists; no message follows.
fn try_reception(recipient: &str) -> Result<()> {
    let mut session = Conversation::new(connect(25)?);
    session.expect_smtp("220")?;
    for (command, code) in [
        ("EHLO localhost".to_owned(), "250"),
        ("MAIL FROM:<>".to_owned(), "250"),
        (format!("RCPT TO:<{recipient}>"), "250"),
        ("RSET".to_owned(), "250"),
        ("QUIT".to_owned(), "221"),
    ] {
        session.send(&command)?;
        session.expect_smtp(code).with_context(|| command)?;
    }
    Ok(())
}

/// A login by RFC 4616 (PLAIN).
fn try_submission(place: &Place) -> Result<()> {
    let password = load_password(place)?;
    let login = STANDARD.encode(format!("\0{PROBE_NAME}\0{password}"));
    let mut session = Conversation::new(start_tls(connect(465)?, HOST)?);
    session.expect_smtp("220")?;
    for (name, command, code) in [
        ("EHLO", "EHLO localhost", "250"),
        ("AUTH", &format!("AUTH PLAIN {login}"), "235"),
        ("QUIT", "QUIT", "221"),
    ] {
        session.send(command)?;
        session.expect_smtp(code).context(name)?;
    }
    Ok(())
}

/// A login and a look into the mailbox, RFC 9051.
fn try_imap(place: &Place) -> Result<()> {
    let password = load_password(place)?;
    let mut session = Conversation::new(start_tls(connect(993)?, HOST)?);
    session.expect_imap("*").context("greeting")?;
    for (name, command) in [
        ("LOGIN", format!("x LOGIN {PROBE_NAME} {password}")),
        ("SELECT", "y SELECT INBOX".to_owned()),
        ("LOGOUT", "z LOGOUT".to_owned()),
    ] {
        session.send(&command)?;
        session.expect_imap(&command[..1]).context(name)?;
    }
    Ok(())
}

/// Option negotiation of the milter protocol, as Postfix begins it.
fn try_milter(place: &Place, path: &str) -> Result<()> {
    let mut stream = UnixStream::connect(place.path(path))?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    // Version 6, and all actions and steps that Postfix 3.10 has.
    stream.write_all(b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).context("no answer")?;
    ensure!(answer[4] == b'O', "an answer that is none");
    // Politely: not every filter likes to be left.
    stream.write_all(b"\0\0\0\x01Q").context("leaving")
}

/// Any answer will do, and Unbound knows this name by itself: nothing outside the machine
/// is needed for it.
fn try_resolver() -> Result<()> {
    let question = Question::new(HOST, RecordType::A)?;
    blocking::ask(RESOLVER, &question, PATIENCE)?;
    Ok(())
}

/// A file that is written and gone again, and room for mail.
fn try_storage(place: &Place) -> Result<()> {
    let path = place.path(place::STATE);
    let mut file = tempfile::Builder::new()
        .prefix(".health.")
        .tempfile_in(&path)
        .and_then(|mut file| {
            file.write_all(b"healthy\n")?;
            Ok(file)
        })
        .with_context(|| format!("writing to {}", path.display()))?;
    file.flush()?;
    file.close()
        .with_context(|| format!("removing a file from {}", path.display()))?;
    match full_disk(place)? {
        Some(shortage) => bail!("{shortage}"),
        None => Ok(()),
    }
}

/// What the machine's state is short of, if it is: no fault of the system that runs.
pub fn full_disk(place: &Place) -> Result<Option<String>> {
    let least = Room {
        bytes: LEAST_SPACE,
        files: LEAST_FILES,
    };
    shortage(&place.path(place::STATE), least)
}

#[cfg(test)]
mod tests {
    use super::Probe;
    use crate::appliance::machine::place::Place;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    #[test]
    fn milters_must_negotiate() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let probe = Probe::Milter("m", "/m.sock");
        assert!(probe.run(&place, "a.example").is_err());
        let listener = UnixListener::bind(folder.path().join("m.sock")).unwrap();
        for (answer, good) in [(b"\0\0\0\x0dO", true), (b"\0\0\0\x01t", false)] {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let (mut stream, _) = listener.accept().unwrap();
                    let mut offer = [0; 17];
                    stream.read_exact(&mut offer).unwrap();
                    stream.write_all(answer).unwrap();
                    let _ = stream.read_to_end(&mut Vec::new());
                });
                assert_eq!(probe.run(&place, "a.example").is_ok(), good);
            });
        }
    }

    #[test]
    fn storage_must_take_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        assert!(Probe::Storage.run(&place, "a.example").is_err());
        let state = folder.path().join("var/lib/mailimg");
        std::fs::create_dir_all(&state).unwrap();
        Probe::Storage.run(&place, "a.example").unwrap();
        assert_eq!(std::fs::read_dir(state).unwrap().count(), 0);
    }
}
