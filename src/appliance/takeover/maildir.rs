//! Copies one account's Maildir and scripts from another machine's folder.
//!
//! Maildir++ (<https://doc.dovecot.org/2.4.1/core/config/mailbox/formats/maildir.html>):
//! names stay as they are, with their flags, times and the lists that keep
//! clients from fetching everything anew; indexes are left out, Dovecot makes
//! them again. A message that is here already, with whatever flags, is never
//! touched, so a copy can be repeated and goes on where it stopped. Messages
//! are written to `tmp`, synced together, and only then appear. A folder under a
//! name that Dovecot does not open gets another one here. Nothing is left
//! without a word.

use super::copier::{Copier, Entries, linked_script, ours, unfinished};
use super::folder_name::{FolderName, check_name, readable_name};
use super::tally::Tally;
use crate::appliance::machine::files::{rename, sync_folder};
use crate::appliance::machine::place::Place;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileType};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What a folder of mail consists of.
const PARTS: [&str; 3] = ["cur", "new", "tmp"];
/// The inbox, and below it all other folders.
const MAILDIR: &str = "Maildir";
/// Files of a mailbox that clients' caches depend on.
const KEPT_FILES: [&str; 4] = [
    "dovecot-uidlist",
    "dovecot-keywords",
    "dovecot-uidvalidity",
    "maildirfolder",
];
/// Which folders an account's clients show.
const SUBSCRIPTIONS: &str = "subscriptions";
/// The script that runs.
const ACTIVE: &str = ".dovecot.sieve";
/// Beginnings of names that Dovecot makes by itself, from the mail.
const REMADE: [&[u8]; 10] = [
    b"dovecot.index",
    b"dovecot.list.index",
    b"dovecot.map.index",
    b"dovecot.mailbox.log",
    b"dovecot-uidlist.",
    b"dovecot-keywords.",
    b"subscriptions.",
    b"maildirsize",
    b"..DOVECOT-TRASHED",
    b".dovecot.",
];
/// Messages synced at once.
const SYNCED_AT_ONCE: usize = 1000;

/// Copies the home of one account; the same call goes on where it stopped.
pub fn copy_home(place: &Place, from: &Path, to: &Path, dry_run: bool) -> Result<Tally> {
    let mut copier = Copier::new(place, dry_run)?;
    copier.ensure_parents(to)?;
    for (name, kind) in copier.theirs(from).unwrap_or_default() {
        let path = from.join(&name);
        if name == MAILDIR && path.is_dir() {
            // Itself, or on another disk.
            copier.copy_maildir(&path, &to.join(MAILDIR))?;
        } else if name == MAILDIR {
            copier.leave(&path, kind, "is no folder");
        } else if name == "sieve" && !kind.is_symlink() {
            copier.copy_scripts(&path, &to.join("sieve"))?;
        } else if name == ACTIVE {
            copier.copy_active(kind, &path, &to.join(ACTIVE))?;
        } else if is_remade(name.as_bytes()) {
            copier.done.remade += 1;
        } else {
            copier.leave(&path, kind, "is no mail");
        }
    }
    Ok(copier.done)
}

/// Messages in a home, whatever their folders are called.
pub fn count_messages(home: &Path) -> usize {
    let is_message = |path: &Path| {
        let folder = path.parent().and_then(Path::file_name);
        folder.is_some_and(|folder| folder == "cur" || folder == "new")
    };
    // A link as its start is followed.
    walkdir::WalkDir::new(home.join(MAILDIR))
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file() && is_message(entry.path()))
        .count()
}

fn is_remade(name: &[u8]) -> bool {
    name.ends_with(b".svbin") || REMADE.iter().any(|start| name.starts_with(start))
}

fn is_kept(name: &OsStr) -> bool {
    KEPT_FILES.iter().any(|kept| name == *kept)
        || name.as_bytes().starts_with(b"dovecot-uidvalidity.")
}

/// A message's name without its flags.
fn unique_part(name: &OsStr) -> Vec<u8> {
    let bytes = name.as_bytes();
    let end = bytes.iter().position(|byte| *byte == b':');
    bytes[..end.unwrap_or(bytes.len())].to_vec()
}

/// Whether a script names folders as they were named where dots part them.
fn files_by_dots(script: &Path) -> bool {
    let text = fs::read(script).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut commands = text.split("fileinto").skip(1);
    commands.any(|rest| {
        rest.split(';')
            .next()
            .is_some_and(|name| name.contains('.'))
    })
}

/// The names in a list of subscriptions, behind the line that says its version.
fn subscribed(path: &Path) -> Option<BTreeSet<String>> {
    let bytes = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let names = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("V\t"));
    // Newer lists part the levels by tabs.
    Some(names.map(|name| name.replace('\t', "/")).collect())
}

impl Copier {
    /// The inbox and its folders.
    fn copy_maildir(&mut self, from: &Path, to: &Path) -> Result<()> {
        let Some(there) = self.theirs(from) else {
            return Ok(());
        };
        let (folders, own): (Entries, Entries) = there
            .into_iter()
            .partition(|(name, _)| name.as_bytes().starts_with(b"."));
        self.copy_folder(from, own, to)?;
        let mut mended = Vec::new();
        for (name, kind) in folders {
            let path = from.join(&name);
            if is_remade(name.as_bytes()) {
                self.done.remade += 1;
                continue;
            }
            if !kind.is_dir() {
                self.leave(&path, kind, "is no folder");
                continue;
            }
            match check_name(&name.as_bytes()[1..]) {
                FolderName::Good => self.copy_subfolder(&path, &to.join(&name))?,
                FolderName::Mended(other) => mended.push((path, other)),
                FolderName::TooLong => self.done.leave(
                    &path,
                    "has a name that Dovecot does not open (rename it there)",
                ),
            }
        }
        // Last: where the right name is there too, its lists are the ones to take.
        for (path, name) in mended {
            let text = format!(
                "has a name that Dovecot does not open, and is taken as '{}'",
                readable_name(&name)
            );
            self.done.remark(&path, text);
            self.copy_subfolder(&path, &to.join(format!(".{name}")))?;
        }
        Ok(())
    }

    fn copy_subfolder(&mut self, from: &Path, to: &Path) -> Result<()> {
        match self.theirs(from) {
            Some(there) => self.copy_folder(from, there, to),
            None => Ok(()),
        }
    }

    fn copy_folder(&mut self, from: &Path, there: Entries, to: &Path) -> Result<()> {
        self.ensure_folder(to)?;
        for part in PARTS {
            self.ensure_folder(&to.join(part))?;
        }
        self.remove_unfinished(&to.join("tmp"))?;
        let mut known = BTreeSet::new();
        for part in ["cur", "new"] {
            for (name, _) in ours(&to.join(part))? {
                known.insert(unique_part(&name));
            }
        }
        // Where only the others are missing Dovecot makes them.
        if !there.iter().any(|(name, _)| name == PARTS[0]) {
            self.done
                .remark(from, "has no cur there, and is whole here");
        }
        for (name, kind) in there {
            self.copy_beside(from, to, &name, kind, known.is_empty())?;
        }
        let mut wanted = Vec::new();
        for part in ["cur", "new"] {
            for (name, kind) in self.theirs(&from.join(part)).unwrap_or_default() {
                let path = from.join(part).join(&name);
                if !kind.is_file() {
                    self.leave(&path, kind, "is no message");
                } else if name.as_bytes().starts_with(b".") {
                    self.done.leave(&path, "is hidden, and so no message");
                } else if known.insert(unique_part(&name)) {
                    wanted.push((part, name));
                } else {
                    self.done.known += 1;
                }
            }
        }
        for (name, kind) in self.theirs(&from.join("tmp")).unwrap_or_default() {
            self.leave(&from.join("tmp").join(name), kind, "was never delivered");
        }
        for batch in wanted.chunks(SYNCED_AT_ONCE) {
            self.copy_batch(from, to, batch)?;
        }
        Ok(())
    }

    /// What lies beside the messages of a folder.
    fn copy_beside(
        &mut self,
        from: &Path,
        to: &Path,
        name: &OsStr,
        kind: FileType,
        is_new: bool,
    ) -> Result<()> {
        let path = from.join(name);
        if PARTS.iter().any(|part| name == *part) {
            return Ok(());
        }
        if kind.is_file() && is_kept(name) {
            // Before the messages: Dovecot would make its own as soon as it sees one.
            if is_new {
                self.copy_small(&path, &to.join(name))?;
            }
        } else if kind.is_file() && name == SUBSCRIPTIONS {
            self.copy_subscriptions(&path, &to.join(name))?;
        } else if is_remade(name.as_bytes()) {
            self.done.remade += 1;
        } else if kind.is_dir() {
            self.done.leave(
                &path,
                "is a folder that no mail program sees (move it to Maildir/.NAME there)",
            );
        } else {
            self.leave(&path, kind, "is no mail");
        }
        Ok(())
    }

    fn copy_subscriptions(&mut self, from: &Path, to: &Path) -> Result<()> {
        if self.copy_small(from, to)? {
            return Ok(());
        }
        let (Some(theirs), Some(ours)) = (subscribed(from), subscribed(to)) else {
            return Ok(());
        };
        let missing: Vec<&str> = theirs.difference(&ours).map(String::as_str).collect();
        if !missing.is_empty() {
            let text = format!(
                "names folders that are not subscribed to here: {}",
                missing.join(", ")
            );
            self.done.remark(from, text);
        }
        Ok(())
    }

    fn copy_batch(&mut self, from: &Path, to: &Path, batch: &[(&str, OsString)]) -> Result<()> {
        let mut copied = Vec::new();
        for (part, name) in batch {
            let aside = to.join("tmp").join(unfinished());
            if let Some(bytes) = self.copy_file(&from.join(part).join(name), &aside)? {
                self.done.messages += 1;
                self.done.bytes += bytes;
                copied.push((aside, part, name));
            }
        }
        if self.dry_run || copied.is_empty() {
            return Ok(());
        }
        File::open(to)
            .and_then(|folder| rustix::fs::syncfs(&folder).map_err(Into::into))
            .with_context(|| format!("syncing {}", to.display()))?;
        for (aside, part, name) in copied {
            rename(&aside, &to.join(part).join(name))?;
        }
        sync_folder(&to.join("cur"))?;
        sync_folder(&to.join("new"))
    }

    fn copy_scripts(&mut self, from: &Path, to: &Path) -> Result<()> {
        for (name, kind) in self.theirs(from).unwrap_or_default() {
            let path = from.join(&name);
            if kind.is_file() && name.as_bytes().ends_with(b".sieve") {
                self.ensure_folder(to)?;
                let new = self.copy_small(&path, &to.join(&name))?;
                self.done.scripts += usize::from(new);
                if new && files_by_dots(&path) {
                    self.done.remark(
                        &path,
                        "files into folders whose levels it parts by '.': here they are parted by '/'",
                    );
                }
            } else if is_remade(name.as_bytes()) {
                self.done.remade += 1;
            } else {
                self.leave(&path, kind, "is no script");
            }
        }
        Ok(())
    }

    fn copy_active(&mut self, kind: FileType, from: &Path, to: &Path) -> Result<()> {
        if fs::symlink_metadata(to).is_ok() {
            return Ok(());
        }
        if kind.is_file() {
            self.copy_small(from, to)?;
        } else if let Some(script) = linked_script(from) {
            self.link(&Path::new("sieve").join(script), to)?;
        } else {
            self.leave(from, kind, "is no script");
        }
        Ok(())
    }
}
