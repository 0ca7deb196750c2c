//! `mailctl ban`: who is kept out, and letting them in again.

use crate::appliance::guard::control::{ControlRequest, ControlResponse};
use crate::appliance::guard::rules::{Ban, ClientNetwork};
use crate::appliance::machine::place::{self, Place};
use crate::error::{Hint, hinted};
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Longest wait for the guard.
const GUARD_LIMIT: Duration = Duration::from_secs(30);
/// The same where the answer is one fact of many.
const GLANCE_LIMIT: Duration = Duration::from_secs(2);
/// Lifts all bans instead of one.
const ALL: &str = "all";

/// What can be done about bans.
#[derive(Debug, Subcommand)]
pub enum BanVerb {
    /// List who is banned, since when and for how long.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Let an address in again; an IPv6 one with its whole /64.
    Lift {
        /// The address, or 'all'.
        address: String,
    },
}

/// Does what was asked, and returns what to say.
pub fn run_verb(place: &Place, verb: &BanVerb) -> Result<String> {
    match verb {
        BanVerb::List { json } => list_bans(place, *json),
        BanVerb::Lift { address } => lift_ban(place, address),
    }
}

/// A ban as it is printed.
#[derive(Serialize)]
struct Shown {
    address: String,
    since: String,
    until: String,
    failures: usize,
    account: String,
}

impl From<&Ban> for Shown {
    fn from(ban: &Ban) -> Self {
        Self {
            address: ban.address.to_string(),
            since: readable_time(ban.since),
            until: readable_time(ban.until),
            failures: ban.failures,
            account: ban.account.clone(),
        }
    }
}

/// The bans that run, as a value.
pub fn facts(place: &Place) -> Result<serde_json::Value> {
    let bans: Vec<Shown> = ask(place, &ControlRequest::List, GLANCE_LIMIT)?
        .iter()
        .map(Shown::from)
        .collect();
    serde_json::to_value(bans).context("writing JSON")
}

/// Lists the bans that run, as text or JSON.
fn list_bans(place: &Place, json: bool) -> Result<String> {
    let bans: Vec<Shown> = ask(place, &ControlRequest::List, GUARD_LIMIT)?
        .iter()
        .map(Shown::from)
        .collect();
    if json {
        return serde_json::to_string_pretty(&bans).context("writing JSON");
    }
    if bans.is_empty() {
        return Ok("No address is banned.".to_owned());
    }
    let mut text = format!(
        "{:<24} {:<20} {:<20} {:>8}  last account tried\n",
        "address", "since", "until", "failures"
    );
    for ban in bans {
        // A stranger chose the name: nothing of it may move the cursor.
        let account: String = ban.account.chars().flat_map(char::escape_default).collect();
        let _ = writeln!(
            text,
            "{:<24} {:<20} {:<20} {:>8}  {account}",
            ban.address, ban.since, ban.until, ban.failures
        );
    }
    Ok(text)
}

/// Ends the ban of an address, or all bans.
fn lift_ban(place: &Place, address: &str) -> Result<String> {
    let wanted = if address == ALL {
        None
    } else {
        let source: ClientNetwork = address
            .parse()
            .with_context(|| format!("reading '{address}'"))
            .hint("give an address as in 192.0.2.1 or 2001:db8::1, or 'all'")
            .usage()?;
        Some(source)
    };
    let lifted = ask(
        place,
        &ControlRequest::Lift { address: wanted },
        GUARD_LIMIT,
    )?;
    match (wanted, lifted.is_empty()) {
        (Some(source), true) => Err(hinted(
            format!("{source} is not banned"),
            "mailctl ban list shows who is",
        )),
        (None, true) => Ok("No address is banned.".to_owned()),
        _ => Ok(lifted
            .iter()
            .map(|ban| format!("Lifted the ban of {}.\n", ban.address))
            .collect()),
    }
}

/// How many bans run, `None` when the guard does not answer.
pub fn count_bans(place: &Place) -> Option<usize> {
    ask(place, &ControlRequest::List, GLANCE_LIMIT)
        .ok()
        .map(|bans| bans.len())
}

fn ask(place: &Place, request: &ControlRequest, limit: Duration) -> Result<Vec<Ban>> {
    let path = place.path(place::GUARD_SOCKET);
    let stream = UnixStream::connect(&path)
        .with_context(|| format!("asking the guard at {}", path.display()))
        .hint("systemctl status mailimg-guard says whether it runs; only root may ask")?;
    let converse = || -> Result<ControlResponse> {
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        let mut text = serde_json::to_string(request)?;
        text.push('\n');
        (&stream).write_all(text.as_bytes())?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    };
    match converse().context("asking the guard")? {
        ControlResponse::Bans(bans) => Ok(bans),
        ControlResponse::Error(why) => bail!("asking the guard: {why}"),
    }
}

fn readable_time(second: u64) -> String {
    i64::try_from(second)
        .ok()
        .and_then(|second| jiff::Timestamp::from_second(second).ok())
        .map_or_else(|| second.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::{Ban, ControlResponse, count_bans};
    use crate::appliance::machine::place::{self, Place};
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;

    #[test]
    fn the_guard_is_asked_and_may_be_absent() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        assert_eq!(count_bans(&place), None);
        let socket = place.path(place::GUARD_SOCKET);
        std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let listener = UnixListener::bind(socket).unwrap();
        let bans = ["192.0.2.1", "2001:db8::1"].map(|address| Ban {
            address: address.parse().unwrap(),
            since: 0,
            until: 1,
            failures: 6,
            account: String::new(),
            earlier: 0,
        });
        let guard = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            let answer = serde_json::to_string(&ControlResponse::Bans(bans.to_vec())).unwrap();
            writeln!(stream, "{answer}").unwrap();
            line
        });
        assert_eq!(count_bans(&place), Some(2));
        assert_eq!(guard.join().unwrap(), "{\"verb\":\"list\"}\n");
    }
}
