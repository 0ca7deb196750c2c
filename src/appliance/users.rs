//! The accounts of this machine: a passwd-file that Dovecot reads as it is.
//!
//! Format: <https://doc.dovecot.org/2.4.1/core/config/auth/databases/passwd_file.html>,
//! `user:password` and six fields that stay empty. Every change happens under
//! one lock and replaces the whole file, so that two at once lose nothing and
//! a reader never sees a part.

use super::accounts::owner;
use super::place::{self, Place};
use super::state::{list_files, lock_file, read_optional, write_file};
use crate::settings::MailAddress;
use anyhow::Context;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

/// Group `dovecot` reads the file to check passwords.
const MODE: u32 = 0o640;

/// Accounts and their password hashes, sorted by address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users {
    /// Address to `{SCHEME}hash`.
    pub hashes: BTreeMap<String, String>,
}

impl Users {
    /// Reads the lines of a passwd-file; comments and empty lines are dropped.
    pub fn parse(text: &str) -> Self {
        let hashes = text
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
            .filter_map(|line| {
                let mut fields = line.split(':');
                Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
            })
            .collect();
        Self { hashes }
    }

    /// The passwd-file.
    pub fn render(&self) -> String {
        self.hashes
            .iter()
            .map(|(address, hash)| format!("{address}:{hash}::::::\n"))
            .collect()
    }
}

/// Reads the accounts as they are now; none when nothing was ever made.
///
/// # Errors
/// An unreadable file.
pub fn load_users(place: &Place) -> anyhow::Result<Users> {
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
    ///
    /// # Errors
    /// State that cannot be locked or read.
    pub fn open(place: &'a Place) -> anyhow::Result<Self> {
        let lock = lock_file(&place.path(place::USERS_LOCK))?;
        Ok(Self {
            place,
            users: load_users(place)?,
            _lock: lock,
        })
    }

    /// Replaces the file by what [`Self::users`] now holds.
    ///
    /// # Errors
    /// A write that failed; the old accounts are then still valid.
    pub fn store(&self) -> anyhow::Result<()> {
        write_file(
            &self.place.path(place::USERS),
            self.users.render().as_bytes(),
            MODE,
            owner(self.place, "root", "dovecot")?,
        )
    }
}

/// Where an address's mail lies, relative to [`place::MAIL`].
pub fn inbox_name(address: &MailAddress) -> String {
    format!("mail/inboxes/{}/{address}", address.domain)
}

/// Where an address's mail lies.
pub fn inbox_path(place: &Place, address: &MailAddress) -> PathBuf {
    place.path(place::MAIL).join(inbox_name(address))
}

/// Bytes in an address's mailbox, `None` before the first mail.
pub fn inbox_size(place: &Place, address: &MailAddress) -> Option<u64> {
    let path = inbox_path(place, address);
    path.is_dir()
        .then(|| list_files(&path).iter().map(|(_, size)| size).sum())
}

#[cfg(test)]
mod tests {
    use super::Users;

    #[test]
    fn lines_round_trip() {
        let text = "a@b.c:{ARGON2ID}$x$y::::::\nd@e.f:{ARGON2ID}$z::::::\n";
        let users = Users::parse(&format!("# note\n\n{text}"));
        assert_eq!(users.render(), text);
        assert_eq!(users.hashes["a@b.c"], "{ARGON2ID}$x$y");
    }
}
