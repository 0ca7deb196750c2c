//! One account's mail: where it lies, how much disk it takes, and its end.
//!
//! Sizes are those of du(1): blocks in use, folders included, a file with two
//! names counted once.

use crate::appliance::machine::files::{ensure_folder, remove_folder, rename, sync_folder};
use crate::appliance::machine::place::{self, Place};
use crate::settings::MailAddress;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Unit of `st_blocks` (stat(3type)).
const STAT_BLOCK_BYTES: u64 = 512;
/// Where mail waits for its removal, out of Dovecot's sight, below [`place::MAIL`].
const PURGED: &str = "purged";

/// Where an address's mail lies, relative to [`place::MAIL`].
pub fn inbox_name(address: &MailAddress) -> String {
    format!("mail/inboxes/{}/{address}", address.domain)
}

/// Where an address's mail lies; scripts and other files of the account too.
pub fn inbox_path(place: &Place, address: &MailAddress) -> PathBuf {
    place.path(place::MAIL).join(inbox_name(address))
}

/// What is in an address's mailbox, `None` before the first mail.
pub fn inbox_use(place: &Place, address: &MailAddress) -> Option<MailboxUse> {
    let path = inbox_path(place, address).join("Maildir");
    path.is_dir().then(|| mailbox_use(&path))
}

/// What is in a mailbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MailboxUse {
    /// Bytes on disk.
    pub bytes: u64,
    /// Messages in all folders.
    pub messages: u64,
    /// Messages in the inbox that nobody has read.
    pub unread: u64,
}

/// Looks through a Maildir; what vanishes meanwhile counts nothing.
pub fn mailbox_use(maildir: &Path) -> MailboxUse {
    let mut seen = BTreeSet::new();
    let mut found = MailboxUse::default();
    for entry in walkdir::WalkDir::new(maildir)
        .into_iter()
        .filter_map(Result::ok)
    {
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let is_first = metadata.nlink() < 2
            || metadata.is_dir()
            || seen.insert((metadata.dev(), metadata.ino()));
        if is_first {
            found.bytes += metadata.blocks() * STAT_BLOCK_BYTES;
        }
        let folder = entry.path().parent().and_then(Path::file_name);
        let is_new = folder.is_some_and(|folder| folder == "new");
        if metadata.is_file() && (is_new || folder.is_some_and(|folder| folder == "cur")) {
            found.messages += 1;
            // The inbox is the folder itself: `cur/NAME:2,FLAGS`.
            let name = entry.file_name().to_string_lossy();
            let is_read = name
                .rsplit_once(":2,")
                .is_some_and(|(_, flags)| flags.contains('S'));
            found.unread += u64::from(entry.depth() == 2 && (is_new || !is_read));
        }
    }
    found
}

/// Whether there is mail to purge, also mail that an interrupted run set aside.
pub fn has_inbox(place: &Place, address: &MailAddress) -> bool {
    inbox_path(place, address).exists() || purged_path(place, address).exists()
}

fn purged_path(place: &Place, address: &MailAddress) -> PathBuf {
    place
        .path(place::MAIL)
        .join(PURGED)
        .join(address.to_string())
}

/// Takes an address's mail out of sight in one step. The caller holds the accounts' lock.
pub fn set_inbox_aside(place: &Place, address: &MailAddress) -> Result<()> {
    let inbox = inbox_path(place, address);
    if !inbox.exists() {
        return Ok(());
    }
    let aside = purged_path(place, address);
    ensure_folder(&place.path(place::MAIL).join(PURGED), 0o700, None)?;
    ensure_folder(&aside, 0o700, None)?;
    let free = (0u32..)
        .map(|number| aside.join(number.to_string()))
        .find(|path| !path.exists())
        .context("finding a free name")?;
    rename(&inbox, &free)?;
    // Deleted mail must not come back after a power cut.
    sync_folder(&aside)?;
    inbox.parent().map_or(Ok(()), sync_folder)
}

/// Removes what was set aside. After a failure the same call goes on where it stopped.
pub fn remove_set_aside(place: &Place, address: &MailAddress) -> Result<()> {
    remove_folder(&purged_path(place, address))
}

/// Bytes as `du -h` prints them: rounded up, one decimal below ten.
pub fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["", "K", "M", "G", "T", "P"];
    let mut unit = 0;
    let mut scale: u64 = 1;
    // 1023.1K is printed as 1.0M.
    while unit + 1 < UNITS.len() && bytes.div_ceil(scale) >= 1024 {
        scale *= 1024;
        unit += 1;
    }
    let tenths = u128::from(bytes) * 10;
    let tenths = tenths.div_ceil(u128::from(scale));
    if unit > 0 && tenths < 100 {
        format!("{}.{}{}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        format!("{}{}", bytes.div_ceil(scale), UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::{human_size, mailbox_use};
    use std::process::Command;

    #[test]
    fn sizes_read_as_those_of_du() {
        for (bytes, text) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0K"),
            (1025, "1.1K"),
            (4096, "4.0K"),
            (10 * 1024 - 1, "10K"),
            (12 * 1024, "12K"),
            (12 * 1024 + 1, "13K"),
            (1023 * 1024 + 1, "1.0M"),
            (3 << 19, "1.5M"),
            (5 << 30, "5.0G"),
        ] {
            assert_eq!(human_size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn usage_is_that_of_du() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("new");
        std::fs::create_dir(&new).unwrap();
        std::fs::write(new.join("1"), vec![1; 70_000]).unwrap();
        std::fs::hard_link(new.join("1"), folder.path().join("2")).unwrap();
        std::fs::write(folder.path().join("3"), b"x").unwrap();
        let output = Command::new("du")
            .arg("-sh")
            .arg(folder.path())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            text.split_whitespace().next().unwrap(),
            human_size(mailbox_use(folder.path()).bytes)
        );
    }
}
