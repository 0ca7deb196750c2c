//! Copies one account's Maildir and scripts from another machine's folder.
//!
//! Maildir++ (<https://doc.dovecot.org/2.4.1/core/config/mailbox/formats/maildir.html>):
//! names stay as they are, with their flags, times and the lists that keep
//! clients from fetching everything anew; indexes are left out, Dovecot makes
//! them again. A message that is here already, with whatever flags, is never
//! touched, so a copy can be repeated and goes on where it stopped. Messages
//! are written to `tmp`, synced together, and only then appear.

use crate::appliance::machine::accounts::owner;
use crate::appliance::machine::files::{Owner, sync_folder};
use crate::appliance::machine::place::Place;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, FileType, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

/// Files of a mailbox that clients' caches depend on.
const KEPT_FILES: [&str; 5] = [
    "dovecot-uidlist",
    "dovecot-keywords",
    "dovecot-uidvalidity",
    "maildirfolder",
    "subscriptions",
];
/// Marks what a run that was cut short left behind.
const UNFINISHED: &[u8] = b"mailctl-import.";
/// Messages synced at once.
const SYNCED_AT_ONCE: usize = 1000;

/// What a copy did, or would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Messages that are new here.
    pub messages: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Messages that were here already.
    pub known: usize,
    /// Sieve scripts that are new here.
    pub scripts: usize,
    /// Links and other things that are no mail.
    pub strange: usize,
}

impl std::ops::AddAssign for Copied {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.known += other.known;
        self.scripts += other.scripts;
        self.strange += other.strange;
    }
}

struct Copier {
    owner: Owner,
    dry_run: bool,
    done: Copied,
}

/// Copies the home of one account. After a failure the same call goes on where it stopped.
pub fn copy_home(place: &Place, from: &Path, to: &Path, dry_run: bool) -> Result<Copied> {
    let mut copier = Copier {
        owner: owner(place, "vmail", "vmail")?,
        dry_run,
        done: Copied::default(),
    };
    copier.ensure_parents(to)?;
    let maildir = from.join("Maildir");
    if maildir.is_dir() {
        copier.copy_folder(&maildir, &to.join("Maildir"))?;
        for (name, kind) in entries(&maildir)? {
            if name.as_bytes().starts_with(b".") && kind.is_dir() {
                copier.copy_folder(&maildir.join(&name), &to.join("Maildir").join(&name))?;
            }
        }
    }
    copier.copy_scripts(from, to)?;
    Ok(copier.done)
}

/// Names and kinds in a folder, sorted; none when it is absent.
fn entries(folder: &Path) -> Result<Vec<(OsString, FileType)>> {
    let read = || -> std::io::Result<Vec<_>> {
        fs::read_dir(folder)?
            .map(|entry| entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?))))
            .collect()
    };
    let mut found = match read() {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        result => result.with_context(|| format!("reading {}", folder.display()))?,
    };
    found.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(found)
}

/// A message's name without its flags.
fn unique_part(name: &OsStr) -> Vec<u8> {
    let bytes = name.as_bytes();
    let end = bytes.iter().position(|byte| *byte == b':');
    bytes[..end.unwrap_or(bytes.len())].to_vec()
}

impl Copier {
    /// Makes a folder of vmail's; a link in its place is refused.
    fn ensure_folder(&self, path: &Path) -> Result<()> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => return Ok(()),
            Ok(_) => bail!("{} is no folder", path.display()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        }
        if self.dry_run {
            return Ok(());
        }
        DirBuilder::new()
            .mode(0o700)
            .create(path)
            .and_then(|()| self.give(path))
            .with_context(|| format!("making {}", path.display()))
    }

    fn give(&self, path: &Path) -> std::io::Result<()> {
        match self.owner {
            Some((user, group)) => lchown(path, Some(user), Some(group)),
            None => Ok(()),
        }
    }

    fn ensure_parents(&self, home: &Path) -> Result<()> {
        let mut missing: Vec<&Path> = home.ancestors().take_while(|path| !path.exists()).collect();
        missing.reverse();
        missing
            .into_iter()
            .try_for_each(|path| self.ensure_folder(path))
    }

    fn copy_folder(&mut self, from: &Path, to: &Path) -> Result<()> {
        self.ensure_folder(to)?;
        for part in ["cur", "new", "tmp"] {
            self.ensure_folder(&to.join(part))?;
        }
        self.remove_unfinished(&to.join("tmp"))?;
        let mut known = BTreeSet::new();
        for part in ["cur", "new"] {
            for (name, _) in entries(&to.join(part))? {
                known.insert(unique_part(&name));
            }
        }
        // Lists first: Dovecot would make its own as soon as it sees a message.
        if known.is_empty() {
            for (name, kind) in entries(from)? {
                let kept = KEPT_FILES.iter().any(|kept| name == *kept)
                    || name.as_bytes().starts_with(b"dovecot-uidvalidity.");
                if kept && kind.is_file() {
                    self.copy_small(&from.join(&name), &to.join(&name))?;
                }
            }
        }
        let mut wanted = Vec::new();
        for part in ["cur", "new"] {
            for (name, kind) in entries(&from.join(part))? {
                if !kind.is_file() {
                    self.done.strange += 1;
                } else if known.insert(unique_part(&name)) {
                    wanted.push((part, name));
                } else {
                    self.done.known += 1;
                }
            }
        }
        for batch in wanted.chunks(SYNCED_AT_ONCE) {
            self.copy_batch(from, to, batch)?;
        }
        Ok(())
    }

    fn remove_unfinished(&self, tmp: &Path) -> Result<()> {
        for (name, _) in entries(tmp)? {
            if name.as_bytes().starts_with(UNFINISHED) && !self.dry_run {
                let path = tmp.join(name);
                fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
            }
        }
        Ok(())
    }

    fn copy_batch(&mut self, from: &Path, to: &Path, batch: &[(&str, OsString)]) -> Result<()> {
        let aside = |name: &OsStr| {
            let mut unfinished = OsString::from(OsStr::from_bytes(UNFINISHED));
            unfinished.push(name);
            to.join("tmp").join(unfinished)
        };
        let mut copied = Vec::new();
        for (part, name) in batch {
            let source = from.join(part).join(name);
            match self.copy_file(&source, &aside(name)) {
                Ok(bytes) => {
                    self.done.messages += 1;
                    self.done.bytes += bytes;
                    copied.push((part, name));
                }
                // Read or deleted over there meanwhile: a later run finds it.
                Err(error) if error.kind() == ErrorKind::NotFound && !source.exists() => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("copying {}", source.display()));
                }
            }
        }
        if self.dry_run || copied.is_empty() {
            return Ok(());
        }
        File::open(to)
            .and_then(|folder| rustix::fs::syncfs(&folder).map_err(Into::into))
            .with_context(|| format!("syncing {}", to.display()))?;
        for (part, name) in copied {
            let target = to.join(part).join(name);
            fs::rename(aside(name), &target)
                .with_context(|| format!("writing {}", target.display()))?;
        }
        sync_folder(&to.join("cur"))?;
        sync_folder(&to.join("new"))
    }

    /// Bytes, time and nothing else; refuses to replace.
    fn copy_file(&self, from: &Path, to: &Path) -> std::io::Result<u64> {
        let mut source = OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(from)?;
        let metadata = source.metadata()?;
        if self.dry_run {
            return Ok(metadata.len());
        }
        let mut target = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(to)?;
        let bytes = std::io::copy(&mut source, &mut target)?;
        // IMAP's internal date is the file's time.
        target.set_modified(metadata.modified()?)?;
        self.give(to)?;
        Ok(bytes)
    }

    /// A file that nobody else writes, synced by itself; one that is here stays. Says whether it is new.
    fn copy_small(&self, from: &Path, to: &Path) -> Result<bool> {
        if fs::symlink_metadata(to).is_ok() {
            return Ok(false);
        }
        let mut name = OsString::from(OsStr::from_bytes(UNFINISHED));
        name.push(to.file_name().unwrap_or_default());
        let aside = to.with_file_name(name);
        let copy = || -> std::io::Result<()> {
            if self.dry_run {
                return Ok(());
            }
            match fs::remove_file(&aside) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            self.copy_file(from, &aside)?;
            File::open(&aside)?.sync_all()?;
            fs::rename(&aside, to)
        };
        copy()
            .map(|()| true)
            .with_context(|| format!("copying {}", from.display()))
    }

    fn copy_scripts(&mut self, from: &Path, to: &Path) -> Result<()> {
        let scripts: Vec<OsString> = entries(&from.join("sieve"))?
            .into_iter()
            .filter(|(name, kind)| kind.is_file() && name.as_bytes().ends_with(b".sieve"))
            .map(|(name, _)| name)
            .collect();
        let folder = to.join("sieve");
        if !scripts.is_empty() {
            self.ensure_folder(&folder)?;
        }
        for name in scripts {
            let new = self.copy_small(&from.join("sieve").join(&name), &folder.join(&name))?;
            self.done.scripts += usize::from(new);
        }
        let active = Path::new(".dovecot.sieve");
        let (source, target) = (from.join(active), to.join(active));
        let Ok(metadata) = fs::symlink_metadata(&source) else {
            return Ok(());
        };
        if fs::symlink_metadata(&target).is_ok() {
            return Ok(());
        }
        if metadata.is_file() {
            self.copy_small(&source, &target)?;
        } else if let Some(script) = linked_script(&source) {
            if !self.dry_run {
                symlink(Path::new("sieve").join(script), &target)
                    .and_then(|()| self.give(&target))
                    .with_context(|| format!("writing {}", target.display()))?;
            }
        } else {
            self.done.strange += 1;
        }
        Ok(())
    }
}

/// The script that a link names: one of the account's own, wherever its home was.
fn linked_script(link: &Path) -> Option<PathBuf> {
    let target = fs::read_link(link).ok()?;
    let folder = target.parent()?.file_name()?;
    (folder == "sieve").then(|| target.file_name().map(PathBuf::from))?
}

#[cfg(test)]
mod tests {
    use super::{Copied, copy_home};
    use crate::appliance::machine::place::Place;
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_copy_can_be_repeated_and_never_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let (from, to) = (folder.path().join("from"), folder.path().join("mail/to"));
        write(&from, "Maildir/cur/1.M1.host,S=3:2,S", "one");
        write(&from, "Maildir/new/2.M1.host", "two");
        write(&from, "Maildir/tmp/3.M1.host", "half");
        write(&from, "Maildir/.Sent.Old/cur/4.M1.host:2,", "four");
        write(&from, "Maildir/dovecot-uidlist", "3 V1 N5");
        write(&from, "Maildir/dovecot.index", "index");
        write(&from, "sieve/mine.sieve", "keep;");
        write(&from, "sieve/mine.svbin", "x");
        symlink("sieve/mine.sieve", from.join(".dovecot.sieve")).unwrap();
        symlink("/etc/passwd", from.join("Maildir/cur/5.M1.host:2,")).unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let message = from.join("Maildir/cur/1.M1.host,S=3:2,S");
        std::fs::File::options()
            .write(true)
            .open(&message)
            .unwrap()
            .set_modified(old)
            .unwrap();

        let would = copy_home(&place, &from, &to, true).unwrap();
        assert!(!to.exists() && would.messages == 3);
        // Cut short once.
        write(&to, "Maildir/tmp/mailctl-import.2.M1.host", "t");
        let done = copy_home(&place, &from, &to, false).unwrap();
        let expected = Copied {
            messages: 3,
            bytes: 10,
            known: 0,
            scripts: 1,
            strange: 1,
        };
        assert_eq!(done, expected);
        let copy = to.join("Maildir/cur/1.M1.host,S=3:2,S");
        assert_eq!(copy.metadata().unwrap().modified().unwrap(), old);
        assert_eq!(
            std::fs::read_to_string(to.join("Maildir/new/2.M1.host")).unwrap(),
            "two"
        );
        assert!(to.join("Maildir/dovecot-uidlist").exists());
        assert!(!to.join("Maildir/dovecot.index").exists());
        assert_eq!(
            std::fs::read_dir(to.join("Maildir/tmp")).unwrap().count(),
            0
        );
        assert_eq!(
            std::fs::read_link(to.join(".dovecot.sieve")).unwrap(),
            Path::new("sieve/mine.sieve")
        );

        // Read here meanwhile, changed here, come there.
        std::fs::rename(
            to.join("Maildir/new/2.M1.host"),
            to.join("Maildir/cur/2.M1.host:2,S"),
        )
        .unwrap();
        write(&to, "sieve/mine.sieve", "discard;");
        write(&from, "Maildir/new/6.M1.host", "six");
        let again = copy_home(&place, &from, &to, false).unwrap();
        assert_eq!((again.messages, again.known, again.scripts), (1, 3, 0));
        assert_eq!(
            std::fs::read_to_string(to.join("sieve/mine.sieve")).unwrap(),
            "discard;"
        );
        assert_eq!(
            std::fs::read_dir(to.join("Maildir/new")).unwrap().count(),
            1
        );
    }

    #[test]
    fn a_link_in_the_way_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        write(&from, "Maildir/cur/1.M1.host:2,S", "one");
        std::fs::create_dir_all(&to).unwrap();
        symlink(folder.path(), to.join("Maildir")).unwrap();
        let error = copy_home(&place, &from, &to, false).unwrap_err();
        assert!(error.to_string().ends_with("Maildir is no folder"));
    }
}
