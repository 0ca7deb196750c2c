//! Which key signs for each domain, which comes next, which went.
//!
//! Every domain has keys of its own. The state is a small file beside them:
//! the selector that signs, the one that waits for its record to be published,
//! and those whose records must stay in DNS while mail that they signed is
//! still under way (RFC 6376 section 3.6.2,
//! <https://www.rfc-editor.org/rfc/rfc6376#section-3.6.2>). Changing
//! DKIM_KEY_SELECTOR in the settings retires the old key at once.

pub mod configuration;
pub mod key;

use super::machine::accounts::owner;
use super::machine::clock::{DAY, now};
use super::machine::files::{
    Owner, PUBLIC, ensure_folder, lock_file, read_optional, remove_file, rename, write_file,
};
use super::machine::place::{self, Place};
use crate::error::hinted;
use crate::settings::Settings;
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use key::{domain_folder, ensure_key, key_path, load_record, record_name};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::PathBuf;

/// The signer's unit.
pub const UNIT: &str = "opendkim.service";
/// RFC 1035 section 2.3.4.
const LONGEST_LABEL: usize = 63;
/// How long mail may be under way: Postfix gives up after 5 days, others after a week or more.
const RETIRED_SECONDS: i64 = 14 * DAY;

/// A key that signs no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// Its selector.
    pub selector: String,
    /// Until when its record must stay published, in seconds since 1970.
    pub until: i64,
}

/// The keys of one domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selectors {
    /// `DKIM_KEY_SELECTOR` when this was written.
    pub configured: String,
    /// The key that signs.
    pub active: String,
    /// The key that will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<String>,
    /// Keys that did.
    #[serde(default)]
    pub retired: Vec<Retired>,
}

impl Selectors {
    fn new(selector: &str) -> Self {
        Self {
            configured: selector.to_owned(),
            active: selector.to_owned(),
            pending: None,
            retired: Vec::new(),
        }
    }

    /// The selectors of all keys.
    fn all(&self) -> impl Iterator<Item = &str> {
        let retired = self.retired.iter().map(|retired| &retired.selector);
        [&self.configured, &self.active]
            .into_iter()
            .chain(&self.pending)
            .chain(retired)
            .map(String::as_str)
    }

    /// Signs with another key from now on.
    pub fn activate(&mut self, selector: &str, now: i64) {
        if self.active != selector {
            let old = std::mem::replace(&mut self.active, selector.to_owned());
            self.retire(old, now);
        }
        self.retired.retain(|retired| retired.selector != selector);
        self.pending = self.pending.take().filter(|pending| pending != selector);
    }

    /// Notes a key that signs no more.
    pub fn retire(&mut self, selector: String, now: i64) {
        self.retired.retain(|retired| retired.selector != selector);
        self.retired.push(Retired {
            selector,
            until: now + RETIRED_SECONDS,
        });
    }
}

/// A selector that names its day and was never used.
pub fn free_selector(place: &Place, base: &str, domain: &str) -> String {
    let day = date(now()).replace('-', "");
    let mut number = 1;
    loop {
        let end = match number {
            1 => format!("-{day}"),
            _ => format!("-{day}-{number}"),
        };
        let start: String = base.chars().take(LONGEST_LABEL - end.len()).collect();
        let selector = format!("{}{end}", start.trim_end_matches('-'));
        let used = place.path(key_path(domain, &selector));
        if !used.exists() && !used.with_extension("txt").exists() {
            return selector;
        }
        number += 1;
    }
}

/// The day of a time, `YYYY-MM-DD`.
pub fn date(seconds: i64) -> String {
    Timestamp::from_second(seconds)
        .map(|time| time.to_string().chars().take(10).collect())
        .unwrap_or_default()
}

fn state_path(domain: &str) -> PathBuf {
    domain_folder(domain).join("selectors.json")
}

/// Keys of a domain as they were stored, `None` when nothing was.
fn read_selectors(place: &Place, domain: &str) -> Result<Option<Selectors>> {
    let path = place.path(state_path(domain));
    let parse = |bytes: Vec<u8>| {
        let selectors: Selectors = serde_json::from_slice(&bytes)?;
        // The signer's user owns the file, and root makes names of files of what it says.
        if let Some(other) = selectors.all().find(|selector| !is_selector(selector)) {
            bail!("{other:?} is no selector");
        }
        Ok(selectors)
    };
    read_optional(&path)?
        .map(parse)
        .transpose()
        .with_context(|| format!("reading {}", path.display()))
}

/// Whether a text is a selector, one label or more (RFC 6376 section 3.1), and so a name of a
/// file: never `..`, nor a path.
pub fn is_selector(text: &str) -> bool {
    text.split('.').all(|label| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    })
}

/// Keys of a domain as the settings have them now.
///
/// A damaged file counts as none, with a warning: signing with the configured
/// key is better than a machine that does not start. The next change keeps it
/// beside the new one.
pub fn load_selectors(place: &Place, settings: &Settings, domain: &str) -> Selectors {
    let configured = &settings.dkim_selector;
    let stored = read_selectors(place, domain).unwrap_or_else(|error| {
        tell!("warning: {error:#}; '{configured}' signs for {domain}");
        None
    });
    match stored {
        Some(mut selectors) => {
            if selectors.configured != *configured {
                configured.clone_into(&mut selectors.configured);
                selectors.activate(configured, now());
            }
            selectors
        }
        None => Selectors::new(configured),
    }
}

/// Keys while nobody else can change them.
pub struct LockedKeys<'a> {
    place: &'a Place,
    /// Who reads the private keys.
    pub signer: Owner,
    _lock: File,
}

impl<'a> LockedKeys<'a> {
    /// Waits for its turn.
    pub fn open(place: &'a Place) -> Result<Self> {
        ensure_folder(&place.path(place::DKIM), 0o755, None)?;
        Ok(Self {
            place,
            signer: owner(place, "opendkim", "opendkim")?,
            _lock: lock_file(&place.path(place::DKIM).join("lock"))?,
        })
    }

    /// Keeps the state of a domain; when that fails, the old one is still there.
    pub fn store(&self, domain: &str, selectors: &Selectors) -> Result<()> {
        let mut bytes = serde_json::to_vec_pretty(selectors).context("writing JSON")?;
        bytes.push(b'\n');
        let path = self.place.path(state_path(domain));
        self.ensure_folder(domain)?;
        if read_optional(&path).is_ok_and(|old| old.as_ref() == Some(&bytes)) {
            return Ok(());
        }
        if read_selectors(self.place, domain).is_err() {
            // It names keys that signed; only a person can still read that out of it.
            let aside = path.with_extension("json.damaged");
            rename(&path, &aside)?;
        }
        write_file(&path, &bytes, PUBLIC, self.signer)
    }

    /// Makes the folder of a domain's keys.
    pub fn ensure_folder(&self, domain: &str) -> Result<()> {
        ensure_folder(&self.place.path(domain_folder(domain)), 0o755, self.signer)
    }
}

/// Makes the keys that are missing, `DOMAIN`'s first, and removes those long retired.
pub fn ensure_keys(place: &Place, settings: &Settings) -> Result<()> {
    let locked = LockedKeys::open(place)?;
    for domain in settings.domains() {
        let selectors = load_selectors(place, settings, domain);
        for selector in std::iter::once(&selectors.active).chain(&selectors.pending) {
            ensure_key(place, domain, selector, locked.signer)
                .with_context(|| format!("making the DKIM key of {domain}"))?;
        }
        locked.store(domain, &selectors)?;
        for retired in &selectors.retired {
            if retired.until < now() {
                remove_file(&place.path(key_path(domain, &retired.selector)))?;
            }
        }
    }
    Ok(())
}

/// Served domains, or the one asked for, which must be served.
pub fn chosen_domains(settings: &Settings, only: Option<&str>) -> Result<Vec<String>> {
    let only = only.map(str::to_ascii_lowercase);
    let chosen: Vec<String> = settings
        .domains()
        .filter(|domain| only.as_ref().is_none_or(|only| only == domain))
        .map(str::to_owned)
        .collect();
    if chosen.is_empty() {
        return Err(hinted(
            format!(
                "'{}' is no domain of this machine",
                only.unwrap_or_default()
            ),
            "mailctl settings show names the domains",
        ));
    }
    Ok(chosen)
}

/// One record to publish.
#[derive(Debug, Serialize)]
struct Row {
    domain: String,
    selector: String,
    /// `active`, `pending` or `retired`.
    state: &'static str,
    name: String,
    /// A line of a zone.
    record: String,
    /// The day after which a retired record may go.
    #[serde(skip_serializing_if = "Option::is_none")]
    removable_after: Option<String>,
}

/// The records to publish, of one domain or of all.
pub fn show_records(
    place: &Place,
    settings: &Settings,
    only: Option<&str>,
    json: bool,
) -> Result<String> {
    let mut rows = Vec::new();
    for domain in chosen_domains(settings, only)? {
        let selectors = load_selectors(place, settings, &domain);
        let row = |selector: &str, state, record, until: Option<i64>| Row {
            name: record_name(&domain, selector),
            domain: domain.clone(),
            selector: selector.to_owned(),
            state,
            record,
            removable_after: until.map(date),
        };
        let active = load_record(place, &domain, &selectors.active)?;
        rows.push(row(&selectors.active, "active", active, None));
        if let Some(pending) = &selectors.pending {
            let record = load_record(place, &domain, pending)?;
            rows.push(row(pending, "pending", record, None));
        }
        for retired in &selectors.retired {
            // Removed by a person who also removed the record.
            if let Ok(record) = load_record(place, &domain, &retired.selector) {
                rows.push(row(
                    &retired.selector,
                    "retired",
                    record,
                    Some(retired.until),
                ));
            }
        }
    }
    if json {
        return serde_json::to_string_pretty(&rows).context("writing JSON");
    }
    let lines: Vec<String> = rows.iter().map(render_row).collect();
    Ok(lines.join("\n"))
}

/// A comment of a zone file, and the record.
fn render_row(row: &Row) -> String {
    let domain = &row.domain;
    let note = match &row.removable_after {
        Some(after) => format!("retired, the record may be removed after {after}"),
        None if row.state == "pending" => format!(
            "pending: publish this one too, then run mailctl dkim rotate --activate {domain}"
        ),
        None => "active".to_owned(),
    };
    format!("; {domain}: {note}\n{}", row.record)
}

#[cfg(test)]
mod tests {
    use super::{RETIRED_SECONDS, Selectors, date, is_selector};

    #[test]
    fn a_key_is_active_pending_or_retired_and_never_two_of_them() {
        let mut selectors = Selectors::new("one");
        selectors.pending = Some("two".to_owned());
        selectors.activate("two", 1000);
        assert_eq!(
            (selectors.active.as_str(), &selectors.pending),
            ("two", &None)
        );
        assert_eq!(selectors.retired[0].selector, "one");
        assert_eq!(selectors.retired[0].until, 1000 + RETIRED_SECONDS);
        selectors.pending = Some("three".to_owned());
        selectors.activate("one", 2000);
        assert_eq!(selectors.pending.as_deref(), Some("three"));
        let retired: Vec<&str> = selectors
            .retired
            .iter()
            .map(|retired| retired.selector.as_str())
            .collect();
        assert_eq!(retired, ["two"]);
        selectors.activate("one", 3000);
        assert_eq!(selectors.retired[0].until, 2000 + RETIRED_SECONDS);
    }

    #[test]
    fn a_selector_is_no_path() {
        for good in ["mail", "mailserver-20261122-2", "s1._x.2026"] {
            assert!(is_selector(good), "{good}");
        }
        let long = "a".repeat(64);
        for bad in [
            "", ".", "..", "../x", "a/b", "/a", "a.", "a..b", "a\n", "a\0b", &long,
        ] {
            assert!(!is_selector(bad), "{bad:?}");
        }
    }

    #[test]
    fn days() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(1_795_305_600), "2026-11-22");
    }
}
