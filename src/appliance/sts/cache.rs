//! Policies that hold, in memory and on disk, a file for each domain.
//!
//! A policy holds for as long as it said, whatever becomes of the record and the
//! server that announced it: whoever can suppress those must not be able to
//! lift it (RFC 8461, sections 5.1 and 10.2). That a domain has none is
//! remembered for minutes, and in memory alone.

use super::policy::{Policy, is_domain, parse_policy};
use crate::appliance::machine::files::{SECRET, ensure_folder, remove_file, write_file};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Most domains with a policy.
const MOST_POLICIES: usize = 5000;
/// Most that they take together, as on disk: a stranger with many domains can make each as large
/// as one may be, and all would be more than the service may have.
const POLICIES_BYTES_MAX: usize = 16 << 20;
/// Most domains remembered to have none.
const MOST_ABSENCES: usize = 10_000;
/// Largest file of ours.
const LARGEST_FILE: u64 = 128 << 10;
/// A record that was seen within this time is not looked at again.
const RECORD_TRUSTED: u64 = 60;
/// A policy is fetched again after this time at the latest, so that it never runs
/// out while its domain is in use.
const REFETCH_AFTER: u64 = 24 * 3600;
/// A policy whose domain got no mail for this long is left to run out.
const UNUSED_AFTER: u64 = 30 * 24 * 3600;
/// How long a domain without record is believed to have no policy.
const ABSENCE_BELIEVED: u64 = 600;
/// How long a server that failed is left alone (RFC 8461, section 3.3).
const FAILURE_PAUSE: u64 = 300;
/// How long a policy holds at least, or one that says 0 would never be used.
const LIFETIME_MIN: u64 = 60;

/// A policy and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The identifier of its record.
    pub id: String,
    pub policy: Policy,
    /// When it was fetched, in seconds since 1970.
    pub fetched: u64,
    /// When its record was last looked at.
    #[serde(skip)]
    checked: u64,
    /// When a fetch last failed.
    #[serde(skip)]
    failed: u64,
    /// When it was last asked for.
    #[serde(skip)]
    used: u64,
    /// How long its file is.
    #[serde(skip)]
    bytes: usize,
}

impl Entry {
    fn ends(&self) -> u64 {
        self.fetched
            .saturating_add(self.policy.max_age.max(LIFETIME_MIN))
    }

    /// A clock that was put back does not make it young again for ever.
    fn holds(&self, now: u64) -> bool {
        now < self.ends() && self.fetched <= now.saturating_add(REFETCH_AFTER)
    }

    /// Whether it is time to fetch it again though its record is the same.
    fn is_due(&self, now: u64) -> bool {
        let age = now.saturating_sub(self.fetched);
        age >= REFETCH_AFTER.min(self.policy.max_age / 2)
            && now.saturating_sub(self.failed) >= FAILURE_PAUSE
    }
}

/// What is known of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// Its policy; nothing need be looked up.
    Policy(Policy),
    /// It has none; nothing need be looked up.
    Nothing,
    /// Its policy, whose record may have changed.
    Stale(Box<Entry>),
    /// Nothing is known.
    Unknown,
}

/// All policies.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    entries: BTreeMap<String, Entry>,
    /// Domains without a policy, and until when that is believed.
    absent: BTreeMap<String, u64>,
    /// When the newest that was on disk had been fetched.
    newest: Option<u64>,
    /// How much all entries take.
    bytes: usize,
}

impl Cache {
    /// Loads what is on disk; what cannot be read is fetched again.
    ///
    /// Without a time it is as late as when the newest was fetched.
    pub fn load(folder: PathBuf, now: Option<u64>) -> Result<Self> {
        ensure_folder(&folder, 0o700, None)?;
        let mut found: BTreeMap<String, Entry> = BTreeMap::new();
        let mut bytes = 0;
        for file in std::fs::read_dir(&folder)
            .with_context(|| format!("reading {}", folder.display()))?
            .filter_map(Result::ok)
        {
            let path = file.path();
            let name = file.file_name();
            let domain = name.to_str().and_then(|name| name.strip_suffix(".json"));
            let entry = domain
                .filter(|domain| is_domain(domain))
                .and_then(|domain| Some((domain.to_owned(), load_entry(&path)?)))
                .filter(|(_, entry)| {
                    found.len() < MOST_POLICIES && bytes + entry.bytes <= POLICIES_BYTES_MAX
                });
            match entry {
                Some((domain, entry)) => {
                    bytes += entry.bytes;
                    found.insert(domain, entry);
                }
                // Damaged, or left by a run that was killed.
                None => remove_file(&path)?,
            }
        }
        let newest = found.values().map(|entry| entry.fetched).max();
        let mut cache = Self {
            folder,
            entries: found,
            absent: BTreeMap::new(),
            newest,
            bytes,
        };
        if let Some(now) = now.or(newest) {
            cache.forget(now);
            for entry in cache.entries.values_mut() {
                entry.used = now;
            }
        }
        Ok(cache)
    }

    /// When the newest of those that were loaded had been fetched: it is later now.
    pub fn newest(&self) -> Option<u64> {
        self.newest
    }

    /// What is known of a domain, which counts as a use of it.
    pub fn get(&mut self, domain: &str, now: u64) -> Held {
        if let Some(entry) = self.entries.get_mut(domain) {
            if entry.holds(now) {
                entry.used = now;
                if now.saturating_sub(entry.checked) < RECORD_TRUSTED && entry.checked <= now {
                    return Held::Policy(entry.policy.clone());
                }
                return Held::Stale(Box::new(entry.clone()));
            }
            self.remove(domain);
        }
        match self.absent.get(domain) {
            Some(until) if now < *until && *until <= now + ABSENCE_BELIEVED => Held::Nothing,
            _ => Held::Unknown,
        }
    }

    /// Whether the entry is to be fetched, told what its record says now.
    pub fn wants_fetch(entry: &Entry, id: Option<&str>, now: u64) -> bool {
        match id {
            Some(id) if id != entry.id => now.saturating_sub(entry.failed) >= FAILURE_PAUSE,
            // The record is gone: the policy holds, and the server may still have it.
            _ => entry.is_due(now),
        }
    }

    /// Notes that a record was looked at, and whether fetching failed after that.
    pub fn note_check(&mut self, domain: &str, fetch_failed: bool, now: u64) {
        if let Some(entry) = self.entries.get_mut(domain) {
            entry.checked = now;
            if fetch_failed {
                entry.failed = now;
            }
        }
    }

    /// Keeps a policy that was just fetched, in memory even when the disk takes no file.
    pub fn put(&mut self, domain: &str, id: &str, policy: Policy, now: u64) -> Result<()> {
        self.absent.remove(domain);
        let mut entry = Entry {
            id: id.to_owned(),
            policy,
            fetched: now,
            checked: now,
            failed: 0,
            used: now,
            bytes: 0,
        };
        let bytes = serde_json::to_vec(&entry).context("writing JSON")?;
        entry.bytes = bytes.len();
        self.forget_entry(domain);
        while self.entries.len() >= MOST_POLICIES || self.bytes + entry.bytes > POLICIES_BYTES_MAX {
            // The one that was unused for longest.
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(domain, _)| domain.clone()) else {
                break;
            };
            self.remove(&oldest);
        }
        self.bytes += entry.bytes;
        self.entries.insert(domain.to_owned(), entry);
        write_file(&self.path(domain), &bytes, SECRET, None)
    }

    /// Notes that a domain has no policy, or none that could be fetched.
    pub fn put_absence(&mut self, domain: &str, failed: bool, now: u64) {
        if self.absent.len() >= MOST_ABSENCES {
            self.absent.retain(|_, until| now < *until);
        }
        if self.absent.len() >= MOST_ABSENCES {
            self.absent.pop_first();
        }
        let time = if failed {
            FAILURE_PAUSE
        } else {
            ABSENCE_BELIEVED
        };
        self.absent.insert(domain.to_owned(), now + time);
    }

    /// Domains in use whose policy should be fetched again, before anybody waits for it.
    pub fn due(&self, now: u64) -> Vec<String> {
        let due = |entry: &Entry| {
            entry.holds(now) && entry.is_due(now) && now.saturating_sub(entry.used) < UNUSED_AFTER
        };
        self.entries
            .iter()
            .filter(|(_, entry)| due(entry))
            .map(|(domain, _)| domain.clone())
            .collect()
    }

    /// The entry as it stands, without a use.
    pub fn entry(&self, domain: &str) -> Option<&Entry> {
        self.entries.get(domain)
    }

    /// Drops what has run out.
    pub fn forget(&mut self, now: u64) {
        let gone: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| !entry.holds(now))
            .map(|(domain, _)| domain.clone())
            .collect();
        for domain in gone {
            self.remove(&domain);
        }
        self.absent.retain(|_, until| now < *until);
    }

    fn forget_entry(&mut self, domain: &str) {
        if let Some(entry) = self.entries.remove(domain) {
            self.bytes -= entry.bytes;
        }
    }

    fn remove(&mut self, domain: &str) {
        self.forget_entry(domain);
        if let Err(error) = remove_file(&self.path(domain)) {
            tell!("{error:#}");
        }
    }

    fn path(&self, domain: &str) -> PathBuf {
        self.folder.join(format!("{domain}.json"))
    }
}

fn load_entry(path: &std::path::Path) -> Option<Entry> {
    let size = std::fs::metadata(path).ok()?.len();
    if size > LARGEST_FILE {
        return None;
    }
    let bytes = std::fs::read(path).ok()?;
    let mut entry: Entry = serde_json::from_slice(&bytes).ok()?;
    entry.bytes = bytes.len();
    // Checked as if it came from the network: its words go to Postfix.
    let mut text = format!(
        "version: STSv1\nmode: {}\nmax_age: {}\n",
        entry.policy.mode.word(),
        entry.policy.max_age
    );
    for pattern in &entry.policy.patterns {
        text.push_str(&format!("mx: {pattern}\n"));
    }
    (parse_policy(text.as_bytes()).as_ref() == Ok(&entry.policy)).then_some(entry)
}

#[cfg(test)]
mod tests {
    use super::{
        ABSENCE_BELIEVED, Cache, FAILURE_PAUSE, Held, MOST_POLICIES, POLICIES_BYTES_MAX,
        RECORD_TRUSTED, REFETCH_AFTER, UNUSED_AFTER,
    };
    use crate::appliance::sts::policy::{Mode, Policy};

    const START: u64 = 1_800_000_000;
    const WEEK: u64 = 7 * 24 * 3600;

    fn policy(max_age: u64) -> Policy {
        Policy {
            mode: Mode::Enforce,
            patterns: vec!["mail.a.example".to_owned()],
            max_age,
        }
    }

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::load(folder.path().join("policies"), Some(START)).unwrap();
        (folder, cache)
    }

    #[test]
    fn a_policy_holds_as_long_as_it_said_and_no_longer() {
        let (_folder, mut cache) = cache();
        assert_eq!(cache.get("a.example", START), Held::Unknown);
        cache.put("a.example", "1", policy(WEEK), START).unwrap();
        assert_eq!(
            cache.get("a.example", START + RECORD_TRUSTED - 1),
            Held::Policy(policy(WEEK))
        );
        // Every failure on the way changes nothing.
        for later in [RECORD_TRUSTED, REFETCH_AFTER, WEEK - 1] {
            let now = START + later;
            let Held::Stale(entry) = cache.get("a.example", now) else {
                panic!("not stale after {later}");
            };
            assert_eq!(entry.policy, policy(WEEK));
            cache.note_check("a.example", true, now);
            assert_eq!(cache.get("a.example", now), Held::Policy(policy(WEEK)));
        }
        assert_eq!(cache.get("a.example", START + WEEK), Held::Unknown);
    }

    /// Five thousand of the largest were more than the service may have: it was killed for ever.
    #[test]
    fn many_large_ones_are_held_to_a_budget() {
        let (folder, mut cache) = cache();
        let large = Policy {
            patterns: (0..100)
                .map(|n| format!("{n:0>60}.{n:0>60}.{n:0>60}.{n:0>60}.example"))
                .collect(),
            ..policy(WEEK)
        };
        for number in 0..700 {
            let now = START + number;
            cache
                .put(&format!("d{number}.example"), "1", large.clone(), now)
                .unwrap();
            assert!(cache.bytes <= POLICIES_BYTES_MAX);
        }
        assert!(cache.entry("d0.example").is_none());
        assert!(cache.entry("d699.example").is_some());
        let sum: usize = cache.entries.values().map(|entry| entry.bytes).sum();
        assert_eq!(sum, cache.bytes);
        let loaded = Cache::load(folder.path().join("policies"), Some(START)).unwrap();
        assert_eq!(
            (loaded.entries.len(), loaded.bytes),
            (cache.entries.len(), sum)
        );
    }

    #[test]
    fn it_is_fetched_again_when_its_record_changes_or_it_grows_old() {
        let (_folder, mut cache) = cache();
        cache.put("a.example", "1", policy(WEEK), START).unwrap();
        let wants =
            |cache: &Cache, id, now| Cache::wants_fetch(cache.entry("a.example").unwrap(), id, now);
        let soon = START + RECORD_TRUSTED;
        assert!(!wants(&cache, Some("1"), soon) && !wants(&cache, None, soon));
        assert!(wants(&cache, Some("2"), soon));
        cache.note_check("a.example", true, soon);
        assert!(!wants(&cache, Some("2"), soon + FAILURE_PAUSE - 1));
        assert!(wants(&cache, Some("2"), soon + FAILURE_PAUSE));
        assert!(
            wants(&cache, Some("1"), START + REFETCH_AFTER)
                && wants(&cache, None, START + REFETCH_AFTER)
        );
        assert_eq!(cache.due(START + REFETCH_AFTER - 1), Vec::<String>::new());
        assert_eq!(cache.due(START + REFETCH_AFTER), ["a.example"]);
        // A short one at half of its life.
        cache.put("a.example", "1", policy(100), START).unwrap();
        assert_eq!(cache.due(START + 50), ["a.example"]);
        // One that nobody uses is left to run out.
        cache
            .put("a.example", "1", policy(2 * UNUSED_AFTER), START)
            .unwrap();
        assert_eq!(cache.due(START + UNUSED_AFTER), Vec::<String>::new());
    }

    #[test]
    fn absence_is_believed_for_minutes() {
        let (_folder, mut cache) = cache();
        for (failed, time) in [(false, ABSENCE_BELIEVED), (true, FAILURE_PAUSE)] {
            cache.put_absence("a.example", failed, START);
            assert_eq!(cache.get("a.example", START + time - 1), Held::Nothing);
            assert_eq!(cache.get("a.example", START + time), Held::Unknown);
        }
        // A clock that was put back believes nothing.
        assert_eq!(cache.get("a.example", START - WEEK), Held::Unknown);
        for number in 0..20_000 {
            cache.put_absence(&format!("d{number}.example"), false, START);
        }
        assert!(cache.absent.len() <= 10_000);
    }

    #[test]
    fn policies_survive_a_restart_and_damage_does_not() {
        let (folder, mut cache) = cache();
        let folder = folder.path().join("policies");
        cache.put("a.example", "1", policy(WEEK), START).unwrap();
        cache.put("short.example", "1", policy(0), START).unwrap();
        let file = |name: &str| folder.join(name);
        std::fs::write(file("b.example.json"), "{").unwrap();
        std::fs::write(file("..json"), "{}").unwrap();
        std::fs::write(file("c.example.json.12.new"), "{}").unwrap();
        let good = std::fs::read_to_string(file("a.example.json")).unwrap();
        let evil = good.replace("mail.a.example", "x.example } { match=evil.example");
        std::fs::write(file("evil.example.json"), evil).unwrap();
        assert!(matches!(cache.get("short.example", START), Held::Policy(_)));
        let mut cache = Cache::load(folder.clone(), Some(START + 60)).unwrap();
        assert!(matches!(cache.get("a.example", START + 60), Held::Stale(_)));
        assert_eq!(cache.entries.len(), 1);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        cache.forget(START + WEEK);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    }

    /// A boot with the clock at 2006 or 2046 dropped every policy that mail relied on.
    #[test]
    fn a_clock_that_nobody_set_yet_drops_nothing() {
        let (folder, mut cache) = cache();
        let folder = folder.path().join("policies");
        let later = START + 5 * WEEK;
        cache.put("old.example", "1", policy(WEEK), START).unwrap();
        cache.put("a.example", "1", policy(WEEK), later).unwrap();
        let mut cache = Cache::load(folder.clone(), None).unwrap();
        assert_eq!(cache.newest(), Some(later));
        assert!(matches!(cache.get("a.example", later), Held::Stale(_)));
        assert_eq!(cache.get("old.example", later), Held::Unknown);
        for wrong in [START - 1000 * WEEK, START + 1000 * WEEK] {
            let wrong = Cache::load(folder.clone(), Some(wrong)).unwrap();
            assert_eq!(wrong.entries.len(), 0);
        }
    }

    #[test]
    fn a_clock_that_jumps_back_lets_nothing_live_for_ever() {
        let (_folder, mut cache) = cache();
        cache
            .put("a.example", "1", policy(WEEK), START + 10 * WEEK)
            .unwrap();
        assert_eq!(cache.get("a.example", START), Held::Unknown);
    }

    #[test]
    fn the_number_is_bounded_and_the_least_used_goes() {
        let (_folder, mut cache) = cache();
        for number in 0..MOST_POLICIES as u64 {
            cache.entries.insert(
                format!("d{number}.example"),
                super::Entry {
                    id: "1".to_owned(),
                    policy: policy(WEEK),
                    fetched: START,
                    checked: START,
                    failed: 0,
                    used: START + number,
                    bytes: 0,
                },
            );
        }
        cache.put("a.example", "1", policy(WEEK), START).unwrap();
        assert_eq!(cache.entries.len(), MOST_POLICIES);
        assert!(cache.entry("d0.example").is_none() && cache.entry("d1.example").is_some());
    }
}
