//! Files that must survive a power cut: written aside, synced, renamed.
//!
//! No link is followed, whoever owns the folder, see [`folder`].

use super::aside::{self, Aside};
use super::folder::{self, Folder};
use super::place::{self, Place};
use crate::error::Hint;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

pub use super::folder::Owner;

/// The layout this program reads and writes.
pub const STATE_VERSION: u32 = 1;

/// Mode of files that hold secrets.
pub const SECRET: u32 = 0o600;
/// Mode of files that anybody may read.
pub const PUBLIC: u32 = 0o644;

/// Replaces a file so that a reader sees the old or the new bytes, never a part; when that
/// fails, the old ones.
pub fn write_file(path: &Path, bytes: &[u8], mode: u32, owner: Owner) -> Result<()> {
    write_aside(path, bytes, mode, owner).with_context(|| format!("writing {}", path.display()))
}

fn write_aside(path: &Path, bytes: &[u8], mode: u32, owner: Owner) -> std::io::Result<()> {
    let (folder, name) = Folder::of(path)?;
    aside::remove_left(&folder);
    let mut aside = Aside::create(&folder)?;
    aside.file.write_all(bytes)?;
    folder::set_owner(&aside.file, mode, owner)?;
    aside.file.sync_all()?;
    aside.rename(name)?;
    folder.sync()
}

/// Removes what killed runs of [`write_file`] left in a folder.
pub fn remove_unfinished(folder: &Path) {
    if let Ok(folder) = Folder::open(folder) {
        aside::remove_left(&folder);
    }
}

/// Makes the names in a folder durable.
pub fn sync_folder(folder: &Path) -> Result<()> {
    Folder::open(folder)
        .and_then(|folder| folder.sync())
        .with_context(|| format!("syncing {}", folder.display()))
}

/// Writes only what differs, and says whether it did.
pub fn ensure_file(path: &Path, bytes: &[u8], mode: u32, owner: Owner) -> Result<bool> {
    let Some(file) = find_same(path, bytes) else {
        return write_file(path, bytes, mode, owner).map(|()| true);
    };
    folder::set_owner(&file, mode, owner)
        .with_context(|| format!("setting owner and mode of {}", path.display()))?;
    Ok(false)
}

/// The file, if it is one of ours and holds this; a link or another name of a file is neither.
fn find_same(path: &Path, bytes: &[u8]) -> Option<File> {
    let mut file = open_file(path).ok()?;
    let mut found = Vec::new();
    // One byte more tells a longer one.
    let limit = bytes.len() as u64 + 1;
    Read::by_ref(&mut file)
        .take(limit)
        .read_to_end(&mut found)
        .ok()?;
    let same = folder::has_one_name(&file).ok()? && found == bytes;
    same.then_some(file)
}

fn open_file(path: &Path) -> std::io::Result<File> {
    let (folder, name) = Folder::of(path)?;
    folder.file(name)
}

/// Makes a folder with mode and owner; one that exists is corrected.
pub fn ensure_folder(path: &Path, mode: u32, owner: Owner) -> Result<()> {
    folder::ensure(path, mode, owner)
        .with_context(|| format!("making the folder {}", path.display()))
}

/// Reads a file that may be absent; no link is followed, at its name or on the way.
pub fn read_optional(path: &Path) -> Result<Option<Vec<u8>>> {
    let read = || {
        let mut bytes = Vec::new();
        open_file(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    optional(read(), path)
}

/// Reads a file that may be absent, or what a link of ours or of the image leads to.
pub fn read_linked(path: &Path) -> Result<Option<Vec<u8>>> {
    optional(fs::read(path), path)
}

fn optional(read: std::io::Result<Vec<u8>>, path: &Path) -> Result<Option<Vec<u8>>> {
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// Moves a file or a folder to another path, in place of a file that is there.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    let work = || {
        let ((old, from), (new, to)) = (Folder::of(from)?, Folder::of(to)?);
        old.rename(from, &new, to)
    };
    work().with_context(|| format!("moving {} to {}", from.display(), to.display()))
}

/// Removes a file that may be absent.
pub fn remove_file(path: &Path) -> Result<()> {
    match Folder::of(path).and_then(|(folder, name)| folder.remove(name)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Removes a folder that may be absent, with all that is in it.
pub fn remove_folder(path: &Path) -> Result<()> {
    match Folder::of(path).and_then(|(folder, name)| folder.remove_all(name)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Notes the state's version, and refuses state of a newer image.
pub fn ensure_version(place: &Place) -> Result<()> {
    let path = place.path(place::STATE_VERSION);
    let Some(bytes) = read_optional(&path)? else {
        ensure_folder(&place.path(place::STATE), 0o755, None)?;
        return write_file(&path, format!("{STATE_VERSION}\n").as_bytes(), PUBLIC, None);
    };
    check_version(&path, &bytes)
}

/// Refuses state of a newer image, and takes none for new.
pub fn check_state(place: &Place) -> Result<()> {
    let path = place.path(place::STATE_VERSION);
    match read_optional(&path)? {
        Some(bytes) => check_version(&path, &bytes),
        None => Ok(()),
    }
}

fn check_version(path: &Path, bytes: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(bytes);
    let Ok(found) = text.trim().parse::<u32>() else {
        bail!("'{}' in {} is no version", text.trim(), path.display());
    };
    if found > STATE_VERSION {
        return Err(anyhow::anyhow!(
            "the state in {} has version {found}, this image knows up to {STATE_VERSION}",
            place::STATE
        ))
        .hint("boot the newer image again; state is never converted back");
    }
    Ok(())
}

/// Opens a file for its lock.
pub fn open_lock(path: &Path) -> Result<File> {
    Folder::of(path)
        .and_then(|(folder, name)| folder.file_to_lock(name, SECRET))
        .with_context(|| format!("opening {}", path.display()))
}

/// Waits for the lock on a file and holds it until dropped.
pub fn lock_file(path: &Path) -> Result<File> {
    let file = open_lock(path)?;
    rustix::io::retry_on_intr(|| {
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
    })
    .with_context(|| format!("locking {}", path.display()))?;
    Ok(file)
}

/// All files below a folder, sorted; empty when it is absent.
pub fn list_files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut files: Vec<(PathBuf, u64)> = walkdir::WalkDir::new(folder)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .filter_map(|entry| {
            let size = entry.metadata().ok()?.len();
            Some((entry.into_path(), size))
        })
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::{
        PUBLIC, SECRET, ensure_file, ensure_folder, ensure_version, lock_file, read_optional,
        remove_file, remove_folder, remove_unfinished, rename, write_file,
    };
    use crate::appliance::machine::place::Place;
    use crate::error::render;
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    #[test]
    fn replacing_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_file(&path, b"one", 0o644, None).unwrap();
        assert!(ensure_file(&path, b"two", SECRET, None).unwrap());
        assert!(!ensure_file(&path, b"two", SECRET, None).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, SECRET);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let leave = || {
            for name in ["file.17.new", "file.x.new", ".0123456789abcdef.new"] {
                std::fs::write(folder.path().join(name), b"").unwrap();
            }
        };
        let left = || std::fs::read_dir(folder.path()).unwrap().count();
        leave();
        remove_unfinished(folder.path());
        assert_eq!(left(), 2);
        leave();
        write_file(&path, b"three", SECRET, None).unwrap();
        assert_eq!(left(), 2);
    }

    /// Root wrote, chmodded, chowned and read by name in folders that a service owns.
    #[test]
    fn what_others_laid_in_the_way_is_neither_filled_nor_followed_nor_given_away() {
        let folder = tempfile::tempdir().unwrap();
        let precious = folder.path().join("precious");
        std::fs::write(&precious, "same").unwrap();
        std::fs::set_permissions(&precious, Permissions::from_mode(0o600)).unwrap();
        let kept = || {
            let mode = precious.metadata().unwrap().permissions().mode();
            assert_eq!(
                (std::fs::read(&precious).unwrap(), mode & 0o777),
                (b"same".into(), 0o600)
            );
        };
        let path = folder.path().join("file");
        let lay = |what: &str, path: &Path| match what {
            "link" => symlink(&precious, path).unwrap(),
            "link to nothing" => symlink("nothing", path).unwrap(),
            "other name" => std::fs::hard_link(&precious, path).unwrap(),
            "pipe" => make_pipe(path),
            _ => drop(UnixListener::bind(path).unwrap()),
        };
        for what in ["link", "link to nothing", "other name", "pipe", "socket"] {
            lay(what, &path);
            if what != "other name" {
                assert!(read_optional(&path).is_err(), "a {what} was read");
                assert!(lock_file(&path).is_err(), "a {what} was locked");
            }
            assert!(ensure_file(&path, b"same", PUBLIC, None).unwrap(), "{what}");
            let metadata = path.symlink_metadata().unwrap();
            assert!(metadata.is_file() && metadata.nlink() == 1, "{what}");
            assert_eq!(metadata.permissions().mode() & 0o777, PUBLIC);
            kept();
            lay(what, &path.with_extension("other"));
            std::fs::rename(path.with_extension("other"), &path).unwrap();
            write_file(&path, b"new", SECRET, None).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"new");
            kept();
            std::fs::remove_file(&path).unwrap();
        }
        let elsewhere = folder.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        std::fs::set_permissions(&elsewhere, Permissions::from_mode(0o750)).unwrap();
        symlink(&elsewhere, &path).unwrap();
        let below = path.join("below");
        std::fs::create_dir(&below).unwrap();
        for refused in [
            ensure_folder(&path, 0o700, None),
            ensure_folder(&below, 0o700, None),
            write_file(&below, b"", PUBLIC, None),
            ensure_file(&below, b"", PUBLIC, None).map(|_| ()),
            lock_file(&below).map(|_| ()),
            rename(&precious, &below),
            read_optional(&below).map(|_| ()),
            remove_file(&below),
            remove_folder(&below),
        ] {
            let text = format!("{:#}", refused.unwrap_err());
            assert!(text.ends_with("a link lies there, or on the way"), "{text}");
        }
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 1);
        let mode = elsewhere.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o750);
        kept();
    }

    fn make_pipe(path: &Path) {
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    }

    #[test]
    fn newer_state_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        ensure_version(&place).unwrap();
        ensure_version(&place).unwrap();
        let path = folder.path().join("var/lib/mailimg/state-version");
        std::fs::write(path, "2\n").unwrap();
        assert_eq!(
            render(&ensure_version(&place).unwrap_err()),
            "error: the state in /var/lib/mailimg has version 2, this image knows up to 1\n\
             hint: boot the newer image again; state is never converted back"
        );
    }
}
