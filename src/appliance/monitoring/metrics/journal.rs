//! The lines of the journal that figures are made of, each read once.
//!
//! journalctl(1) (<https://www.freedesktop.org/software/systemd/man/257/journalctl.html>) hands
//! them on as JSON, a line each. The place where reading stopped, its cursor, is kept together
//! with what was counted until there, so that after a restart of any kind nothing is counted
//! twice and nothing is left out. A journal that is gone or was cut off is read from where it
//! begins now; where the place cannot be found any more, from its end.

use super::record::Record;
use crate::appliance::machine::place::Place;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const JOURNALCTL: &str = "/usr/bin/journalctl";
/// Whose lines are read. The journal vouches for the unit, whatever a line says of itself.
const UNITS: [&str; 3] = [
    "_SYSTEMD_UNIT=postfix.service",
    "_SYSTEMD_UNIT=mailimg-filter.service",
    "_SYSTEMD_UNIT=mailimg-guard.service",
];
/// What is asked of a line besides its place.
const FIELDS: &str = "--output-fields=MESSAGE,SYSLOG_IDENTIFIER,_SYSTEMD_UNIT";
/// Longest line of JSON; journald cuts messages at 48 KiB, and a byte may become four.
const LONGEST_LINE: u64 = 1 << 20;
/// Until journalctl is started again.
const PAUSE: Duration = Duration::from_secs(2);
/// After so many failures in a row the place is forgotten.
const MOST_FAILURES: u32 = 3;

/// What is shared with whoever answers.
pub type Shared = Arc<Mutex<Record>>;

/// A text of the journal, which need not be UTF-8.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Bytes(Vec<u8>),
    Other(serde::de::IgnoredAny),
}

impl Text {
    fn into_string(self) -> String {
        match self {
            Self::Plain(text) => text,
            Self::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Self::Other(_) => String::new(),
        }
    }
}

/// A line of the journal.
#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(rename = "__CURSOR")]
    cursor: String,
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    microseconds: String,
    #[serde(rename = "_SYSTEMD_UNIT")]
    unit: Option<Text>,
    #[serde(rename = "SYSLOG_IDENTIFIER")]
    identifier: Option<Text>,
    #[serde(rename = "MESSAGE")]
    message: Option<Text>,
}

/// Takes a line as journalctl prints it.
pub fn take_line(line: &[u8], record: &mut Record) -> Result<()> {
    let entry: Entry = serde_json::from_slice(line).context("reading a line of the journal")?;
    let text = |text: Option<Text>| text.map(Text::into_string).unwrap_or_default();
    let microseconds: u64 = entry.microseconds.parse().unwrap_or_default();
    record.cursor = Some(entry.cursor);
    let (unit, identifier) = (text(entry.unit), text(entry.identifier));
    record.take(
        &unit,
        &identifier,
        &text(entry.message),
        microseconds / 1_000_000,
    );
    Ok(())
}

/// Reads up to now, before anybody asks: what a former process counted and had not kept yet is
/// counted again, and must not be seen to go back.
pub fn catch_up(place: &Place, shared: &Shared) {
    if place.is_machine()
        && let Err(error) = read_once(shared, false)
    {
        tell!("{error:#}");
    }
}

/// Follows the journal for ever, in a thread of its own.
pub fn follow(shared: &Shared, reads: &AtomicBool) {
    let mut failures = 0;
    loop {
        reads.store(true, Ordering::Relaxed);
        let outcome = read_once(shared, true);
        reads.store(false, Ordering::Relaxed);
        match outcome {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                tell!("{error:#}");
            }
        }
        if failures >= MOST_FAILURES {
            tell!("going on with what is written from now on");
            lock(shared).cursor = None;
            failures = 0;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whoever panicked left whole counts.
pub fn lock(shared: &Shared) -> std::sync::MutexGuard<'_, Record> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where reading begins.
fn beginning(record: &Record) -> Vec<String> {
    match &record.cursor {
        Some(cursor) => vec!["--no-tail".to_owned(), format!("--after-cursor={cursor}")],
        // Who had no figures until now gets those of this boot.
        None if record.is_new() => vec!["--no-tail".to_owned(), "--boot".to_owned()],
        // Rather not counted than twice.
        None => vec!["--lines=0".to_owned()],
    }
}

fn start(beginning: &[String], on_and_on: bool) -> Result<Child> {
    let mut command = Command::new(JOURNALCTL);
    command.args(["--quiet", "--all", "--output=json", FIELDS]);
    command.args(beginning);
    if on_and_on {
        command.arg("--follow");
    }
    command.args(UNITS).env("LC_ALL", "C").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
        .spawn()
        .with_context(|| format!("starting {JOURNALCTL}"))
}

/// Runs journalctl to its end.
fn read_once(shared: &Shared, on_and_on: bool) -> Result<()> {
    let beginning = beginning(&lock(shared));
    let mut child = start(&beginning, on_and_on)?;
    let output = child.stdout.take().context("reading the journal")?;
    let mut lines = 0_u64;
    let result = read_lines(BufReader::new(output), |line| {
        lines += 1;
        if let Err(error) = take_line(line, &mut lock(shared)) {
            tell!("{error:#}");
        }
    });
    if result.is_err() {
        // It may be alive, with nobody who reads.
        let _ = child.kill();
    }
    let status = child.wait().context("waiting for journalctl")?;
    result.context("reading the journal")?;
    ensure!(
        lines > 0 || status.success(),
        "{JOURNALCTL} failed with {status}"
    );
    Ok(())
}

/// Hands on each line; of those that are too long only the beginning, which is no JSON.
fn read_lines(mut input: impl BufRead, mut take: impl FnMut(&[u8])) -> std::io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        input
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        take(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::{beginning, read_lines, take_line};
    use crate::appliance::monitoring::metrics::record::Record;

    /// Printed by journalctl 257; the last one has a byte that is no UTF-8.
    const LINES: &[u8] = br#"{"__CURSOR":"s=1;i=1","__REALTIME_TIMESTAMP":"1795868280000001","_SYSTEMD_UNIT":"postfix.service","SYSLOG_IDENTIFIER":"postfix/smtpd","MESSAGE":"connect from a[192.0.2.1]"}
{"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"1795868280000002","_SYSTEMD_UNIT":"ssh.service","SYSLOG_IDENTIFIER":"postfix/smtpd","MESSAGE":"connect from a[192.0.2.1]"}
{"__CURSOR":"s=1;i=3","__REALTIME_TIMESTAMP":"1795868280000003","_SYSTEMD_UNIT":"postfix.service","SYSLOG_IDENTIFIER":"postfix/smtpd","MESSAGE":[99,111,110,110,101,99,116,32,102,114,111,109,32,255]}
{"__CURSOR":"s=1;i=3","__REALTIME_TIMESTAMP":"1795868280000003","_SYSTEMD_UNIT":"postfix.service","SYSLOG_IDENTIFIER":"(master)","MESSAGE":"postfix.service: ProtectHostname=yes is configured, but UTS namespace setup is prohibited (container manager?), ignoring namespace setup."}
{"__CURSOR":"s=1;i=4","__REALTIME_TIMESTAMP":"1795868280000004","_SYSTEMD_UNIT":"postfix.service","SYSLOG_IDENTIFIER":null,"MESSAGE":null}
"#;

    #[test]
    fn lines_are_read_whoever_wrote_what() {
        let mut record = Record::default();
        read_lines(LINES, |line| take_line(line, &mut record).unwrap()).unwrap();
        assert_eq!(record.cursor.as_deref(), Some("s=1;i=4"));
        let count = |name, labels: &[&'static str]| record.counters.get(name, labels);
        assert_eq!(count("postfix_connections_total", &["smtpd"]), 2);
        assert_eq!(count("postfix_lines_total", &[]), 3);
        assert_eq!(count("postfix_unparsed_lines_total", &[]), 1);
        assert_eq!(beginning(&record), ["--no-tail", "--after-cursor=s=1;i=4"]);
        record.cursor = None;
        assert_eq!(beginning(&record), ["--lines=0"]);
        assert_eq!(beginning(&Record::default()), ["--no-tail", "--boot"]);
        for wrong in ["", "{", "[]", "null"] {
            assert!(take_line(wrong.as_bytes(), &mut record).is_err());
        }
    }

    #[test]
    fn a_line_without_an_end_fills_no_memory() {
        let long = vec![b'x'; 3 << 20];
        let mut longest = 0;
        read_lines(&long[..], |line| longest = longest.max(line.len())).unwrap();
        assert_eq!(longest, 1 << 20);
    }
}
