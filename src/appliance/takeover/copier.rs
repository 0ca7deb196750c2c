//! Copies files of another machine into folders of vmail's.
//!
//! What cannot be read there is told of and in nobody's way; what cannot be
//! written here ends the copy. Nothing that is here is replaced.

use super::tally::Tally;
use crate::appliance::machine::accounts::owner;
use crate::appliance::machine::files::{Owner, SECRET, ensure_folder, remove_file, rename};
use crate::appliance::machine::folder::{self, Folder};
use crate::appliance::machine::place::Place;
use anyhow::{Context, Result, bail};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileType, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Marks what a run that was cut short left behind.
const UNFINISHED: &[u8] = b"mailctl-import.";

/// What is in a folder, by name.
pub type Entries = Vec<(OsString, FileType)>;

/// One copy of one home.
pub struct Copier {
    owner: Owner,
    /// Whether nothing is to be written.
    pub dry_run: bool,
    /// What came of it so far.
    pub done: Tally,
}

/// Names and kinds in a folder, sorted; none when it is absent.
fn entries(folder: &Path) -> std::io::Result<Entries> {
    let read = || -> std::io::Result<Entries> {
        fs::read_dir(folder)?
            .map(|entry| entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?))))
            .collect()
    };
    let mut found = match read() {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        result => result?,
    };
    found.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(found)
}

/// A folder of ours.
pub fn ours(folder: &Path) -> Result<Entries> {
    entries(folder).with_context(|| format!("reading {}", folder.display()))
}

/// A name for a file that is not finished yet, which nobody can guess: vmail's folders are
/// written to by whoever reads mail.
pub fn unfinished() -> OsString {
    let mut unfinished = OsString::from(OsStr::from_bytes(UNFINISHED));
    unfinished.push(format!("{:016x}", rand::random::<u64>()));
    unfinished
}

/// Opens a file, and no link to one.
fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
}

/// Reads a file to its end.
fn read_through(path: &Path) -> std::io::Result<u64> {
    std::io::copy(&mut open(path)?, &mut std::io::sink())
}

impl Copier {
    /// Nothing was copied yet.
    pub fn new(place: &Place, dry_run: bool) -> Result<Self> {
        Ok(Self {
            owner: owner(place, "vmail", "vmail")?,
            dry_run,
            done: Tally::default(),
        })
    }

    /// A folder of theirs, `None` when it cannot be read or is none.
    pub fn theirs(&mut self, folder: &Path) -> Option<Entries> {
        match entries(folder) {
            Ok(found) => Some(found),
            Err(error) => {
                self.done.leave_unreadable(folder, &error);
                None
            }
        }
    }

    /// Leaves out something for what it is.
    pub fn leave(&mut self, path: &Path, kind: FileType, otherwise: &str) {
        let text = if kind.is_symlink() {
            "is a link (put what it leads to in its place)"
        } else if kind.is_file() || kind.is_dir() {
            otherwise
        } else {
            "is no file"
        };
        self.done.leave(path, text);
    }

    /// Makes a folder of vmail's; a link in its place is refused.
    pub fn ensure_folder(&self, path: &Path) -> Result<()> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => return Ok(()),
            Ok(_) => bail!("{} is no folder", path.display()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        }
        if self.dry_run {
            return Ok(());
        }
        ensure_folder(path, 0o700, self.owner)
    }

    /// Makes the folders that lead to a home, and the home.
    pub fn ensure_parents(&self, home: &Path) -> Result<()> {
        let mut missing: Vec<&Path> = home.ancestors().take_while(|path| !path.exists()).collect();
        missing.reverse();
        missing
            .into_iter()
            .try_for_each(|path| self.ensure_folder(path))
    }

    /// Removes what a run that was cut short left in a folder.
    pub fn remove_unfinished(&self, folder: &Path) -> Result<()> {
        for (name, _) in ours(folder)? {
            if name.as_bytes().starts_with(UNFINISHED) && !self.dry_run {
                remove_file(&folder.join(name))?;
            }
        }
        Ok(())
    }

    /// Bytes, time and nothing else; refuses to replace. `None` when it cannot be read.
    pub fn copy_file(&mut self, from: &Path, to: &Path) -> Result<Option<u64>> {
        let copy = || -> std::io::Result<u64> {
            let mut source = open(from)?;
            let metadata = source.metadata()?;
            if self.dry_run {
                return Ok(metadata.len());
            }
            let (folder, name) = Folder::of(to)?;
            let mut target = folder.create(name, SECRET)?;
            let bytes = std::io::copy(&mut source, &mut target)?;
            // IMAP's internal date is the file's time.
            target.set_modified(metadata.modified()?)?;
            folder::set_owner(&target, SECRET, self.owner)?;
            Ok(bytes)
        };
        let error = match copy() {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(error) => error,
        };
        // Whose trouble it was, the error does not say.
        let theirs = match read_through(from) {
            Ok(_) => {
                return Err(error).with_context(|| format!("copying {}", from.display()));
            }
            Err(theirs) => theirs,
        };
        if !self.dry_run {
            remove_file(to)?;
        }
        // Read or deleted over there meanwhile: a later run finds it.
        if theirs.kind() != ErrorKind::NotFound {
            self.done.leave_unreadable(from, &theirs);
        }
        Ok(None)
    }

    /// A file that nobody else writes, synced by itself; one that is here stays. Says whether it is new.
    pub fn copy_small(&mut self, from: &Path, to: &Path) -> Result<bool> {
        if fs::symlink_metadata(to).is_ok() {
            return Ok(false);
        }
        if let Some(folder) = to.parent() {
            self.remove_unfinished(folder)?;
        }
        let aside = to.with_file_name(unfinished());
        if self.copy_file(from, &aside)?.is_none() {
            return Ok(false);
        }
        if !self.dry_run {
            open(&aside)
                .and_then(|file| file.sync_all())
                .with_context(|| format!("copying {}", from.display()))?;
            rename(&aside, to)?;
        }
        Ok(true)
    }

    /// Makes a link of vmail's.
    pub fn link(&self, target: &Path, link: &Path) -> Result<()> {
        if self.dry_run {
            return Ok(());
        }
        Folder::of(link)
            .and_then(|(folder, name)| {
                folder.link(target, name)?;
                folder.give(name, self.owner)
            })
            .with_context(|| format!("writing {}", link.display()))
    }
}

/// The script that a link names: one of the account's own, wherever its home was.
pub fn linked_script(link: &Path) -> Option<PathBuf> {
    let target = fs::read_link(link).ok()?;
    let folder = target.parent()?.file_name()?;
    (folder == "sieve").then(|| target.file_name().map(PathBuf::from))?
}
