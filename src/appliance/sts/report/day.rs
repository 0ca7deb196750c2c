//! What happened on one day (UTC), by domain and policy.

use super::event::{Applied, Event, Failure};
use crate::appliance::machine::files::{SECRET, ensure_folder, remove_file, write_file};
use crate::appliance::machine::place::{self, Place};
use anyhow::{Context, Result};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Most domains of a day.
const MOST_DOMAINS: usize = 2000;
/// Most policies of a domain; a day usually sees one.
const MOST_POLICIES: usize = 8;
/// Most kinds of failure that are told apart.
const MOST_FAILURES: usize = 50;
/// Most that a day's names and words take, in bytes as on disk. What comes after that is counted
/// where it is known already, and left out otherwise: the service may have 128 MB.
const DAY_BYTES_MAX: usize = 12 << 20;
/// Largest file of ours: numbers grow, words do not.
const LARGEST_FILE: u64 = 16 << 20;

/// All sessions of a day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    pub domains: BTreeMap<String, DomainDay>,
    /// About how much it takes.
    #[serde(skip)]
    bytes: usize,
}

/// All sessions with one domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainDay {
    /// Its record as it was last seen.
    pub record: String,
    pub policies: Vec<PolicyDay>,
}

/// All sessions under one policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyDay {
    pub policy: Applied,
    pub successes: u64,
    pub failures: u64,
    /// Kinds of failure with their number.
    pub details: Vec<(Failure, u64)>,
}

impl Day {
    /// Counts a session in.
    pub fn count(&mut self, event: Event) {
        let full = self.bytes >= DAY_BYTES_MAX;
        let new = !self.domains.contains_key(&event.domain);
        if new && (full || self.domains.len() >= MOST_DOMAINS) {
            return;
        }
        if new {
            self.bytes += event.domain.len() + event.record.len();
        }
        let domain = self.domains.entry(event.domain).or_insert(DomainDay {
            record: String::new(),
            policies: Vec::new(),
        });
        domain.record = event.record;
        for outcome in event.policies {
            let known = domain
                .policies
                .iter()
                .position(|known| known.policy == outcome.policy);
            let at = match known {
                Some(at) => at,
                None if full || domain.policies.len() >= MOST_POLICIES => continue,
                None => {
                    self.bytes += size(&outcome.policy);
                    domain.policies.push(PolicyDay {
                        policy: outcome.policy,
                        successes: 0,
                        failures: 0,
                        details: Vec::new(),
                    });
                    domain.policies.len() - 1
                }
            };
            let policy = &mut domain.policies[at];
            if outcome.failed == 0 {
                policy.successes += 1;
            } else {
                policy.failures += 1;
            }
            for failure in outcome.failures {
                let details = &mut policy.details;
                match details.iter().position(|(known, _)| *known == failure) {
                    Some(at) => details[at].1 += 1,
                    None if full || details.len() >= MOST_FAILURES => {}
                    None => {
                        self.bytes += size(&failure);
                        details.push((failure, 1));
                    }
                }
            }
        }
    }
}

/// How much something takes on disk.
fn size(part: &impl Serialize) -> usize {
    serde_json::to_vec(part).map_or(0, |bytes| bytes.len())
}

fn measure((name, domain): (&String, &DomainDay)) -> usize {
    let parts = domain.policies.iter().map(|known| {
        let details = known.details.iter().map(|(failure, _)| size(failure));
        size(&known.policy) + details.sum::<usize>()
    });
    name.len() + domain.record.len() + parts.sum::<usize>()
}

/// The day of a moment, in seconds since 1970.
pub fn date_of(now: u64) -> Date {
    i64::try_from(now)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or_default()
        .to_zoned(TimeZone::UTC)
        .date()
}

fn folder(place: &Place) -> PathBuf {
    place.path(place::STS).join("days")
}

fn path(place: &Place, date: Date) -> PathBuf {
    folder(place).join(format!("{date}.json"))
}

/// A day as it was stored; an empty one where there is none or only damage.
pub fn load_day(place: &Place, date: Date) -> Day {
    let path = path(place, date);
    let small = std::fs::metadata(&path).is_ok_and(|file| file.len() <= LARGEST_FILE);
    let read = || {
        let bytes = std::fs::read(&path).ok().filter(|_| small)?;
        let mut day: Day = serde_json::from_slice(&bytes).ok()?;
        day.bytes = day.domains.iter().map(measure).sum();
        Some(day)
    };
    read().unwrap_or_default()
}

/// Stores a day; one without domains is removed.
pub fn store_day(place: &Place, date: Date, day: &Day) -> Result<()> {
    let path = path(place, date);
    if day.domains.is_empty() {
        return remove_file(&path);
    }
    ensure_folder(&folder(place), 0o700, None)?;
    let bytes = serde_json::to_vec(day).context("writing JSON")?;
    write_file(&path, &bytes, SECRET, None)
}

/// Removes a day.
pub fn remove_day(place: &Place, date: Date) -> Result<()> {
    remove_file(&path(place, date))
}

/// All days that are stored, the oldest first.
pub fn list_days(place: &Place) -> Vec<Date> {
    let Ok(entries) = std::fs::read_dir(folder(place)) else {
        return Vec::new();
    };
    let mut dates: Vec<Date> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_suffix(".json")?
                .parse()
                .ok()
        })
        .collect();
    dates.sort();
    dates
}

#[cfg(test)]
mod tests {
    use super::{
        DAY_BYTES_MAX, Day, LARGEST_FILE, MOST_DOMAINS, date_of, list_days, load_day, store_day,
    };
    use crate::appliance::machine::place::Place;
    use crate::appliance::sts::report::event::{Event, parse_event};

    fn event(domain: &str, failed: bool, server: &str) -> Event {
        let failures = if failed {
            format!(r#""failure-details":[{{"c":202,"n":"{server}"}}],"#)
        } else {
            String::new()
        };
        let text = format!(
            r#"{{"d":"{domain}","pr":"v=TLSRPTv1;rua=mailto:a@b.example","policies":[{{"policy-type":2,{failures}"f":{}}}]}}"#,
            u8::from(failed)
        );
        parse_event(text.as_bytes()).unwrap()
    }

    #[test]
    fn sessions_are_counted_by_domain_policy_and_failure() {
        let mut day = Day::default();
        for _ in 0..3 {
            day.count(event("a.example", false, ""));
        }
        day.count(event("a.example", true, "mx1"));
        day.count(event("a.example", true, "mx1"));
        day.count(event("a.example", true, "mx2"));
        let policy = &day.domains["a.example"].policies[0];
        assert_eq!((policy.successes, policy.failures), (3, 3));
        let counts: Vec<u64> = policy.details.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 1]);

        for number in 0..MOST_DOMAINS + 10 {
            day.count(event(&format!("d{number}.example"), false, ""));
        }
        assert_eq!(day.domains.len(), MOST_DOMAINS);
        for number in 0..100 {
            day.count(event("a.example", true, &format!("x{number}")));
        }
        let policy = &day.domains["a.example"].policies[0];
        assert_eq!((policy.failures, policy.details.len()), (103, 50));
    }

    /// A file of what every limit by number allows was more than the service may have.
    #[test]
    fn a_day_of_long_words_is_held_to_a_budget() {
        let mut day = Day::default();
        let long = "x".repeat(250);
        for number in 0..60_000 {
            let domain = format!("d{}.example", number % MOST_DOMAINS);
            day.count(event(&domain, true, &format!("{number}{long}")));
        }
        assert!(day.bytes < DAY_BYTES_MAX + (64 << 10), "{}", day.bytes);
        let file = serde_json::to_vec(&day).unwrap().len() as u64;
        assert!(file < LARGEST_FILE, "{file}");
        // What is known is counted on.
        let before = day.domains["d0.example"].policies[0].failures;
        day.count(event("d0.example", true, "another"));
        let policy = &day.domains["d0.example"].policies[0];
        assert_eq!(policy.failures, before + 1);
    }

    #[test]
    fn days_are_stored_and_listed() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        assert!(list_days(&place).is_empty());
        let (one, two) = (date_of(1_800_000_000), date_of(1_800_086_400));
        assert_eq!(one.to_string(), "2027-01-15");
        let mut day = Day::default();
        day.count(event("a.example", true, "mx1"));
        store_day(&place, two, &day).unwrap();
        store_day(&place, one, &day).unwrap();
        assert_eq!(list_days(&place), [one, two]);
        assert_eq!(load_day(&place, one), day);
        store_day(&place, one, &Day::default()).unwrap();
        assert_eq!(list_days(&place), [two]);
        assert_eq!(load_day(&place, one), Day::default());
    }
}
