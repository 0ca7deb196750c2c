//! When each account last logged in, for people who look after accounts.
//!
//! Written every few minutes: what came after that is not known once the process is killed.

use crate::appliance::machine::files::{SECRET, ensure_file, read_optional};
use crate::appliance::machine::place::{self, Place};
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// Accounts are made by people; this stops mistakes.
const MOST: usize = 100_000;
/// Names before which this stands are none of accounts.
pub const OF_PAGES: &str = "monitoring: ";

/// The last login of each account, in seconds since 1970.
#[derive(Debug, Default)]
pub struct LastLogins {
    times: BTreeMap<String, u64>,
    is_changed: bool,
}

impl LastLogins {
    /// Reads what a former process wrote; what cannot be read is told and begun anew.
    pub fn restore(place: &Place) -> Self {
        let times = load_logins(place).unwrap_or_else(|error| {
            tell!("{error:#}");
            BTreeMap::new()
        });
        Self {
            times,
            is_changed: false,
        }
    }

    /// Notes a login.
    pub fn note(&mut self, account: &str, now: u64) {
        if account.starts_with(OF_PAGES) || account.is_empty() {
            return;
        }
        if self.times.len() < MOST || self.times.contains_key(account) {
            self.times.insert(account.to_owned(), now);
            self.is_changed = true;
        }
    }

    /// Writes them if there is something new.
    pub fn store(&mut self, place: &Place) -> Result<()> {
        if !self.is_changed {
            return Ok(());
        }
        let text = serde_json::to_string(&self.times).context("writing JSON")?;
        ensure_file(&place.path(place::LOGINS), text.as_bytes(), SECRET, None)?;
        self.is_changed = false;
        Ok(())
    }
}

/// What was written last.
pub fn load_logins(place: &Place) -> Result<BTreeMap<String, u64>> {
    let path = place.path(place::LOGINS);
    match read_optional(&path)? {
        Some(bytes) => {
            serde_json::from_slice(&bytes).with_context(|| format!("reading {}", path.display()))
        }
        None => Ok(BTreeMap::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::{LastLogins, load_logins};
    use crate::appliance::machine::place::{self, Place};

    #[test]
    fn the_last_login_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let path = place.path(place::LOGINS);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut logins = LastLogins::restore(&place);
        logins.store(&place).unwrap();
        assert!(!path.exists());
        for (account, now) in [
            ("a@b.example", 1),
            ("a@b.example", 2),
            ("monitoring: mail", 3),
        ] {
            logins.note(account, now);
        }
        logins.store(&place).unwrap();
        let read = load_logins(&place).unwrap();
        assert_eq!(read, [("a@b.example".to_owned(), 2)].into());
        std::fs::write(&path, "{").unwrap();
        let mut logins = LastLogins::restore(&place);
        logins.note("c@b.example", 4);
        logins.store(&place).unwrap();
        assert_eq!(load_logins(&place).unwrap().len(), 1);
    }
}
