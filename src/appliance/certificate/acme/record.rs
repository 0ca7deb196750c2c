//! What the agent remembers of each name, for itself and for `cert status`.

use super::back_off::Pause;
use super::challenge::ChallengeMethod;
use super::failure::{Failure, Kind};
use super::renewal::Renewal;
use crate::appliance::machine::clock::DAY;
use crate::appliance::machine::files::{PUBLIC, ensure_folder, read_optional, write_file};
use crate::appliance::machine::place::{self, Place};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A failure and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// What it was the last time.
    pub failure: Failure,
    /// When it was last tried.
    pub at: i64,
    /// When this row of failures began.
    pub since: i64,
    /// How many there were.
    pub times: u32,
    /// Whether nobody had set the clock yet, which may have been the reason.
    #[serde(default)]
    pub unsynchronized: bool,
}

/// What is known of DANE for a name (RFC 7672).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SeenTlsa {
    /// The key in question.
    pub digest: String,
    /// Since when DNS lists it.
    pub since: Option<i64>,
    /// The longest that others may remember what was published before.
    pub ttl: u32,
}

/// All that is remembered of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Which CA the rest is about.
    pub directory: String,
    /// How the CA last reached us.
    pub method: ChallengeMethod,
    /// The failure that waits to be mended.
    pub failed: Option<Failed>,
    /// Until when nothing is tried.
    pub pause: Option<Pause>,
    /// Why nothing is to be done yet, for a name that need not have a certificate.
    pub waiting: Option<String>,
    /// When DNS first kept us from asking the CA, or when it was asked nevertheless.
    pub held_back: Option<i64>,
    /// When the certificate in use is due.
    pub renewal: Option<Renewal>,
    /// Which CA the certificate is of, unless it was imported.
    pub issued_by: String,
    /// When certificates were issued in the last days.
    pub issued: Vec<i64>,
    /// What is known of DANE.
    pub tlsa: SeenTlsa,
    /// Serial of the certificate that alerts are about, and the days left that were told.
    pub alerted: Option<(String, Vec<u16>)>,
    /// When the journal was last told of the failure.
    pub logged: Option<i64>,
}

impl Record {
    /// Notes a failure and how long to wait.
    pub fn fail(&mut self, failure: Failure, now: i64, chance: f64) {
        let (since, times) = self
            .failed
            .as_ref()
            .map_or((now, 0), |before| (before.since.min(now), before.times));
        // What nobody was asked for can be looked at again at once.
        self.pause = match failure.retry_after {
            _ if failure.is_local() => None,
            Some(until) => Some(Pause::asked(until, now)),
            // Each time it costs the CA a certificate, and these are counted by the week.
            None if failure.kind == Kind::Chain => Some(Pause::of(REFUSED_CHAIN_PAUSE, now)),
            None => Some(Pause::after(times + 1, now, chance)),
        };
        self.failed = Some(Failed {
            times: times + u32::from(!failure.is_local()),
            failure,
            at: now,
            since,
            unsynchronized: false,
        });
    }

    /// Notes a new certificate; one that somebody insisted on counts for nothing else.
    pub fn succeed(&mut self, directory: &str, forced: bool, now: i64) {
        directory.clone_into(&mut self.issued_by);
        self.failed = None;
        self.pause = None;
        self.waiting = None;
        self.held_back = None;
        self.renewal = None;
        self.logged = None;
        self.issued.retain(|at| (now - at).abs() < ISSUED_KEPT);
        if !forced {
            self.issued.push(now);
        }
    }
}

/// The pause after a certificate that is not what was ordered.
const REFUSED_CHAIN_PAUSE: i64 = 12 * 3600;
/// How long it is remembered that a certificate was issued.
const ISSUED_KEPT: i64 = 7 * DAY;

/// The folder of a name.
pub fn name_folder(place: &Place, name: &str) -> PathBuf {
    place.path(place::ACME).join("names").join(name)
}

fn record_path(place: &Place, name: &str) -> PathBuf {
    name_folder(place, name).join("record.json")
}

/// Loads what is remembered; a torn file counts as nothing, and is said.
pub fn load_record(place: &Place, name: &str) -> Record {
    let path = record_path(place, name);
    let parse = || -> Result<Record> {
        match read_optional(&path)? {
            Some(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("reading {}", path.display())),
            None => Ok(Record::default()),
        }
    };
    parse().unwrap_or_else(|error| {
        tell!("warning: {error:#}; it is begun anew");
        Record::default()
    })
}

/// Keeps what is to be remembered.
pub fn store_record(place: &Place, name: &str, record: &Record) -> Result<()> {
    ensure_folder(&name_folder(place, name), 0o755, None)?;
    let mut text = serde_json::to_vec_pretty(record).context("writing JSON")?;
    text.push(b'\n');
    write_file(&record_path(place, name), &text, PUBLIC, None)
}

#[cfg(test)]
mod tests {
    use super::{Record, load_record, name_folder, store_record};
    use crate::appliance::certificate::acme::failure::{Failure, Kind};
    use crate::appliance::machine::place::Place;

    #[test]
    fn torn_files_are_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let mut record = load_record(&place, "a.example");
        assert_eq!(record, Record::default());
        record.fail(Failure::new(Kind::Refused, "no", ""), 1000, 0.5);
        store_record(&place, "a.example", &record).unwrap();
        assert_eq!(load_record(&place, "a.example"), record);
        let path = name_folder(&place, "a.example").join("record.json");
        let whole = std::fs::read(&path).unwrap();
        for length in (0..whole.len() - 2).step_by(9) {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(load_record(&place, "a.example"), Record::default());
        }
        // Of an older release, which knew less.
        std::fs::write(&path, "{\"directory\": \"x\"}").unwrap();
        assert_eq!(load_record(&place, "a.example").directory, "x");
    }

    #[test]
    fn failures_add_up_and_are_forgotten() {
        let mut record = Record::default();
        record.fail(Failure::new(Kind::PointsElsewhere, "", ""), 10, 0.5);
        assert_eq!(record.pause, None);
        record.fail(Failure::new(Kind::Port, "", ""), 20, 0.5);
        record.fail(Failure::new(Kind::Port, "", ""), 320, 0.5);
        let failed = record.failed.clone().unwrap();
        assert_eq!((failed.since, failed.times), (10, 2));
        assert_eq!(record.pause.unwrap().until, 920);
        let mut limited = Failure::new(Kind::RateLimited, "", "");
        limited.retry_after = Some(5000);
        record.fail(limited, 920, 0.5);
        assert_eq!(record.pause.unwrap().until, 5000);
        record.succeed("https://ca.example/dir", false, 6000);
        assert_eq!((record.failed, record.pause), (None, None));
        assert_eq!(record.issued, [6000]);
    }
}
