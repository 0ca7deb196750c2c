//! Files written aside: under a name that nobody can guess, made new, renamed when they are whole.
//!
//! Who writes one holds a lock on it, so that what a killed process left can be told from what
//! another is still writing, and goes before the next is written.

use super::folder::Folder;
use rustix::fs::{FlockOperation, flock};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The end of all such names.
const END: &str = ".new";
/// Mode until the content is whole.
const MODE: u32 = 0o600;
/// How often a name is looked for; the first is free unless somebody has our random numbers.
const ATTEMPTS: usize = 8;

/// A file without its name yet; dropping it removes it.
#[derive(Debug)]
pub struct Aside<'a> {
    folder: &'a Folder,
    name: OsString,
    /// What is to be filled.
    pub file: File,
    renamed: bool,
}

impl<'a> Aside<'a> {
    /// Begins a file, readable by its owner alone.
    pub fn create(folder: &'a Folder) -> Result<Self> {
        for _ in 0..ATTEMPTS {
            let name = fresh_name();
            let file = match folder.create(&name, MODE) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                result => result?,
            };
            let aside = Self {
                folder,
                name,
                file,
                renamed: false,
            };
            // Somebody who tidied up between the two lines took it for left over.
            if lock(&aside.file) && aside.file.metadata()?.nlink() == 1 {
                return Ok(aside);
            }
        }
        Err(Error::new(
            ErrorKind::AlreadyExists,
            "no name is free beside it",
        ))
    }

    /// Gives it its name, in place of what has it.
    pub fn rename(mut self, to: &OsStr) -> Result<()> {
        self.folder.rename(&self.name, self.folder, to)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        if !self.renamed {
            // The error that led here is on its way.
            let _ = self.folder.remove(&self.name);
        }
    }
}

/// Makes a link in place of whatever has its name.
pub fn replace_link(folder: &Folder, target: &Path, to: &OsStr) -> Result<()> {
    let mut result = Ok(());
    for _ in 0..ATTEMPTS {
        let name = fresh_name();
        result = folder
            .link(target, &name)
            .and_then(|()| folder.rename(&name, folder, to));
        match &result {
            // Tidied away by another process: a link cannot be locked.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(_) => {
                let _ = folder.remove(&name);
                break;
            }
            Ok(()) => break,
        }
    }
    result
}

/// A name in a folder that is nobody's yet.
pub fn fresh_name() -> OsString {
    OsString::from(format!(".{:016x}{END}", rand::random::<u64>()))
}

/// Removes what killed processes left in a folder.
///
/// Only tidiness: what cannot be removed harms nobody.
pub fn remove_left(folder: &Folder) {
    for (name, kind) in folder.entries().unwrap_or_default() {
        if !is_aside(&name) {
            continue;
        }
        let dead = if kind.is_file() {
            folder.file(&name).is_ok_and(|file| lock(&file))
        } else {
            kind.is_symlink()
        };
        if dead {
            let _ = folder.remove(&name);
        }
    }
}

/// `.RANDOM.new`, and `NAME.PROCESS.new` of older releases.
fn is_aside(name: &OsStr) -> bool {
    let number = name
        .to_str()
        .and_then(|name| name.strip_suffix(END)?.rsplit_once('.'))
        .map(|(_, number)| number);
    number.is_some_and(|number| {
        (1..=16).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn lock(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

#[cfg(test)]
mod tests {
    use super::{Aside, remove_left, replace_link};
    use crate::appliance::machine::folder::Folder;
    use std::io::Write;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn count(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn what_is_being_written_stays_and_what_was_left_goes() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path();
        let folder = Folder::open(path).unwrap();
        let mut aside = Aside::create(&folder).unwrap();
        aside.file.write_all(b"half").unwrap();
        for name in [
            "users.17.new",
            ".00ff00ff00ff00ff.new",
            "kept.new",
            "a.x.new",
        ] {
            std::fs::write(path.join(name), b"").unwrap();
        }
        symlink("kept.new", path.join(".0123456789abcdef.new")).unwrap();
        std::fs::create_dir(path.join(".ff.new")).unwrap();
        remove_left(&folder);
        assert_eq!(count(path), 4);
        aside.rename("whole".as_ref()).unwrap();
        assert_eq!(std::fs::read(path.join("whole")).unwrap(), b"half");
        drop(Aside::create(&folder).unwrap());
        replace_link(&folder, Path::new("whole"), "link".as_ref()).unwrap();
        replace_link(&folder, Path::new("other"), "link".as_ref()).unwrap();
        assert_eq!(
            std::fs::read_link(path.join("link")).unwrap(),
            Path::new("other")
        );
        assert_eq!(count(path), 5);
    }
}
