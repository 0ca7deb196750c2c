//! `mailctl admit`: lets a user in who has no more than a share of the sessions.
//!
//! Dovecot counts sessions of IMAP of a user at one address (`mail_max_userip_connections`), and
//! none of ManageSieve, which it looks for by another name than it lists them; whoever had a few
//! addresses took all processes there are. So each session asks here after the
//! password was found right, as a post-login script
//! (<https://doc.dovecot.org/2.4.1/core/config/post_login_scripting.html>): standard output is the
//! client, and whoever runs the next program lets it in.
//!
//! Sessions are counted by anvil, which sends a list of them when asked, as `doveadm who` does:
//! <https://github.com/dovecot/core/blob/2.4.1/src/anvil/connect-limit.c>. Those that were let in
//! a moment ago are not on it yet, so a few more may come in at once. Without anvil there is no
//! list, and everybody is let in.

use crate::appliance::machine::place::DOVECOT_SESSIONS;
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write, stdout};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

/// It answers at once; nobody waits longer for it.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Longer than any list: a line is shorter than 512 bytes, and there are 320 processes, beside
/// sessions that sleep.
const LONGEST_LIST: u64 = 4 << 20;
/// Until the refusal is on its way; Dovecot cuts the connection when this program ends.
const FAREWELL: Duration = Duration::from_millis(200);

/// What a session speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// RFC 9051.
    Imap,
    /// RFC 5804.
    Sieve,
}

impl Protocol {
    /// Its name in anvil's list.
    fn name(self) -> &'static str {
        match self {
            Self::Imap => "imap",
            Self::Sieve => "managesieve",
        }
    }

    /// What the client of one session too many is told.
    fn refusal(self) -> &'static str {
        match self {
            Self::Imap => "* BYE [LIMIT] Too many sessions of this user.\r\n",
            Self::Sieve => "BYE (TRYLATER) \"Too many sessions of this user.\"\r\n",
        }
    }
}

/// What Dovecot's configuration says.
#[derive(Debug, Args)]
pub struct AdmitOptions {
    protocol: Protocol,
    /// So many sessions a user may have.
    limit: usize,
    /// Lets the session go on.
    #[arg(trailing_var_arg = true, required = true)]
    next: Vec<OsString>,
}

/// Runs the next program in place of this one, or refuses.
pub fn admit(options: &AdmitOptions) -> Result<String> {
    let user = std::env::var("USER").context("looking for the user in USER")?;
    match count(&user, options.protocol) {
        Ok(sessions) if sessions >= options.limit => {
            tell!("user={user:?} sessions={sessions}: refused one more");
            // A client that is gone needs no answer.
            let _ = stdout().write_all(options.protocol.refusal().as_bytes());
            let _ = stdout().flush();
            sleep(FAREWELL);
            return Ok(String::new());
        }
        Ok(_) => {}
        Err(error) => tell!("{error:#}; let in uncounted"),
    }
    let Some((program, arguments)) = options.next.split_first() else {
        bail!("no program to go on with");
    };
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("starting {}", program.display()))
}

fn count(user: &str, protocol: Protocol) -> Result<usize> {
    let mut stream = UnixStream::connect(DOVECOT_SESSIONS)
        .with_context(|| format!("asking {DOVECOT_SESSIONS}"))?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    // The empty line says that this is nobody who could be given commands.
    stream.write_all(b"VERSION\tanvil-client\t2\t0\n\nCONNECT-DUMP\n")?;
    count_in(BufReader::new(stream.take(LONGEST_LIST)), user, protocol)
        .context("reading anvil's list of sessions")
}

/// The services of all sessions in anvil's list, as it calls them.
pub fn count_sessions(list: &str) -> impl Iterator<Item = &str> {
    let lines = list.lines().skip(2).take_while(|line| !line.is_empty());
    lines.filter_map(|line| {
        let service = line.split('\t').nth(2)?;
        Some(
            service
                .split_once('-')
                .map_or(service, |(service, _)| service),
        )
    })
}

/// Version, names of columns that vary, then a line for each session, then an empty one.
fn count_in(list: impl BufRead, user: &str, protocol: Protocol) -> Result<usize> {
    let mut sessions = 0;
    for line in list.lines().skip(2) {
        let line = line?;
        if line.is_empty() {
            return Ok(sessions);
        }
        let mut columns = line.split('\t').skip(1);
        let (Some(who), Some(service)) = (columns.next(), columns.next()) else {
            bail!("a line that cannot be read");
        };
        // Those that sleep are of the service imap-hibernate.
        let (service, _) = service.split_once('-').unwrap_or((service, ""));
        if who == user && service == protocol.name() {
            sessions += 1;
        }
    }
    bail!("it has no end")
}

#[cfg(test)]
mod tests {
    use super::{Protocol, count_in};

    const LIST: &str = "VERSION\tanvil-server\t2\t0\n\
        \n\
        71\ta@b.example\timap\t192.0.2.1\t0af5\t192.0.2.9\n\
        71\ta@b.example\timap-hibernate\t2001:db8::1\t0af6\t\n\
        72\ta@b.example\tmanagesieve\t192.0.2.1\t0af7\t192.0.2.9\n\
        73\taa@b.example\timap\t192.0.2.1\t0af8\t192.0.2.9\n\
        74\ta@b.example\tlmtp\t\t0af9\t\n\
        \n";

    #[test]
    fn sessions_of_a_user_are_counted_over_all_addresses() {
        let count = |user, protocol| count_in(LIST.as_bytes(), user, protocol).unwrap();
        assert_eq!(count("a@b.example", Protocol::Imap), 2);
        assert_eq!(count("a@b.example", Protocol::Sieve), 1);
        assert_eq!(count("b@b.example", Protocol::Imap), 0);
        let services: Vec<&str> = super::count_sessions(LIST).collect();
        assert_eq!(services, ["imap", "imap", "managesieve", "imap", "lmtp"]);
    }

    #[test]
    fn a_list_without_an_end_is_an_error() {
        let half = &LIST[..LIST.len() - 1];
        assert!(count_in(half.as_bytes(), "a@b.example", Protocol::Imap).is_err());
        assert!(count_in(&b""[..], "a@b.example", Protocol::Imap).is_err());
    }
}
