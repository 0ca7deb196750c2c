//! The accounts of this machine: a passwd-file that Dovecot reads as it is.
//!
//! Format: <https://doc.dovecot.org/2.4.1/core/config/auth/databases/passwd_file.html>,
//! `user:password`, five fields that stay empty, and extra fields such as an
//! account's own quota. Every change happens under one lock and replaces the
//! whole file, so that two at once lose nothing and a reader never sees a part.

pub mod mailbox;
pub mod password;
pub mod sessions;

use super::machine::accounts::owner;
use super::machine::files::{lock_file, read_optional, remove_unfinished, write_file};
use super::machine::place::{self, Place};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Group `dovecot` reads the file to check passwords.
const USERS_MODE: u32 = 0o640;
/// The extra field that holds an account's own quota, in bytes; 0 is no limit
/// (<https://doc.dovecot.org/2.4.1/core/plugins/quota.html>).
const QUOTA_FIELD: &str = "userdb_quota_storage_size";

/// One account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// `{SCHEME}hash`.
    pub hash: String,
    /// User, group, name, home and shell, which stay empty unless a person filled them.
    middle: String,
    /// Fields for Dovecot, `KEY=value` or `KEY`.
    extra: Vec<String>,
}

/// How much an account may store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// What the settings say.
    Default,
    /// No limit for this account.
    Unlimited,
    /// Its own limit, in bytes.
    Bytes(u64),
}

impl Account {
    /// An account with nothing but a password.
    pub fn new(hash: String) -> Self {
        Self {
            hash,
            middle: "::::".to_owned(),
            extra: Vec::new(),
        }
    }

    /// The account's own quota.
    pub fn quota(&self) -> Quota {
        let value = self
            .extra
            .iter()
            .find_map(|field| field.strip_prefix(QUOTA_FIELD)?.strip_prefix('='));
        match value.map(|value| value.trim_end_matches('B').parse()) {
            None | Some(Err(_)) => Quota::Default,
            Some(Ok(0)) => Quota::Unlimited,
            Some(Ok(bytes)) => Quota::Bytes(bytes),
        }
    }

    /// Replaces the account's own quota and leaves its other fields alone.
    pub fn set_quota(&mut self, quota: Quota) {
        self.extra.retain(|field| {
            field
                .strip_prefix(QUOTA_FIELD)
                .is_none_or(|rest| !rest.starts_with('='))
        });
        match quota {
            Quota::Default => {}
            Quota::Unlimited => self.extra.push(format!("{QUOTA_FIELD}=0B")),
            Quota::Bytes(bytes) => self.extra.push(format!("{QUOTA_FIELD}={bytes}B")),
        }
    }
}

/// All accounts, sorted by address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users {
    /// By address.
    pub accounts: BTreeMap<String, Account>,
}

impl Users {
    /// Reads the lines of a passwd-file; comments and empty lines are dropped.
    pub fn parse(text: &str) -> Self {
        let accounts = text
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
            .filter_map(parse_line)
            .collect();
        Self { accounts }
    }

    /// The passwd-file.
    pub fn render(&self) -> String {
        self.accounts
            .iter()
            .map(|(address, account)| {
                let extra = account.extra.join(" ");
                format!("{address}:{}:{}:{extra}\n", account.hash, account.middle)
            })
            .collect()
    }

    /// Whether the address is an account.
    pub fn contains(&self, address: &str) -> bool {
        self.accounts.contains_key(address)
    }
}

/// Extra fields may hold `:` themselves, the seven before them may not.
fn parse_line(line: &str) -> Option<(String, Account)> {
    const FIELDS: usize = 8;
    let mut fields: Vec<&str> = line.splitn(FIELDS, ':').collect();
    if fields.len() < 2 {
        return None;
    }
    fields.resize(FIELDS, "");
    let account = Account {
        hash: fields[1].to_owned(),
        middle: fields[2..7].join(":"),
        extra: fields[7].split_whitespace().map(str::to_owned).collect(),
    };
    Some((fields[0].to_owned(), account))
}

/// Reads the accounts as they are now; none when nothing was ever made.
pub fn load_users(place: &Place) -> Result<Users> {
    let bytes = read_optional(&place.path(place::USERS))?.unwrap_or_default();
    let text = String::from_utf8(bytes).context("reading the accounts")?;
    Ok(Users::parse(&text))
}

/// The accounts while nobody else can change them.
pub struct LockedUsers<'a> {
    place: &'a Place,
    /// What is in the file, to be changed and stored.
    pub users: Users,
    _lock: File,
}

impl<'a> LockedUsers<'a> {
    /// Waits for its turn and reads the accounts.
    pub fn open(place: &'a Place) -> Result<Self> {
        let lock = lock_file(&place.path(place::USERS_LOCK))?;
        remove_unfinished(&place.path(place::STATE));
        Ok(Self {
            place,
            users: load_users(place)?,
            _lock: lock,
        })
    }

    /// Replaces the file by what [`Self::users`] now holds; when that fails, the old accounts
    /// are still valid.
    pub fn store(&self) -> Result<()> {
        let path = self.place.path(place::USERS);
        let before = modified(&path);
        write_file(
            &path,
            self.users.render().as_bytes(),
            USERS_MODE,
            owner(self.place, "root", "dovecot")?,
        )?;
        // Dovecot reads the file again when its size or the second of its time differs, and a new
        // hash is as long as the old one: two changes within one second need two times.
        if let (Some(before), Some(after)) = (before, modified(&path))
            && seconds(after) <= seconds(before)
        {
            File::open(&path)
                .and_then(|file| file.set_modified(before + Duration::from_secs(1)))
                .with_context(|| format!("setting the time of {}", path.display()))?;
        }
        Ok(())
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::{LockedUsers, Quota, Users, seconds};
    use crate::appliance::machine::place::Place;

    #[test]
    fn lines_round_trip() {
        let text = "a@b.c:{ARGON2ID}$x$y::::::\n\
                    d@e.f:{ARGON2ID}$z:1:2::/home:/sh:allow_nets=::1 userdb_quota_storage_size=5B x\n";
        let users = Users::parse(&format!("# note\n\n{text}"));
        assert_eq!(users.render(), text);
        assert_eq!(users.accounts["a@b.c"].hash, "{ARGON2ID}$x$y");
        assert_eq!(Users::parse("a@b.c:x").render(), "a@b.c:x::::::\n");
    }

    #[test]
    fn a_quota_leaves_other_fields_alone() {
        let mut users = Users::parse("a@b.c:x::::::one=1 userdb_quota_storage_size=7B two=2\n");
        let account = users.accounts.get_mut("a@b.c").unwrap();
        assert_eq!(account.quota(), Quota::Bytes(7));
        account.set_quota(Quota::Unlimited);
        assert_eq!(account.quota(), Quota::Unlimited);
        account.set_quota(Quota::Bytes(1 << 30));
        assert_eq!(
            users.render(),
            "a@b.c:x::::::one=1 two=2 userdb_quota_storage_size=1073741824B\n"
        );
        let account = users.accounts.get_mut("a@b.c").unwrap();
        account.set_quota(Quota::Default);
        assert_eq!(users.render(), "a@b.c:x::::::one=1 two=2\n");
    }

    #[test]
    fn every_change_has_its_own_second() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let path = folder.path().join("var/lib/mailimg/users");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut times = Vec::new();
        for _ in 0..4 {
            LockedUsers::open(&place).unwrap().store().unwrap();
            times.push(seconds(path.metadata().unwrap().modified().unwrap()));
        }
        assert!(times.is_sorted_by(|one, other| one < other), "{times:?}");
    }
}
