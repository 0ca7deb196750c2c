//! Files that must survive a power cut: written aside, synced, renamed.

use super::place::{self, Place};
use crate::error::Hint;
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// The layout this program reads and writes.
pub const STATE_VERSION: u32 = 1;

/// Mode of files that hold secrets.
pub const SECRET: u32 = 0o600;
/// Mode of files that anybody may read.
pub const PUBLIC: u32 = 0o644;

/// User and group of a path, `None` to leave it with the caller.
pub type Owner = Option<(u32, u32)>;

/// Replaces a file so that a reader sees the old or the new bytes, never a part; when that
/// fails, the old ones.
pub fn write_file(path: &Path, bytes: &[u8], mode: u32, owner: Owner) -> Result<()> {
    write_aside(path, bytes, mode, owner).with_context(|| format!("writing {}", path.display()))
}

fn write_aside(path: &Path, bytes: &[u8], mode: u32, owner: Owner) -> Result<()> {
    let folder = path.parent().context("a file name without a folder")?;
    let name = path.file_name().context("a path without a file name")?;
    let mut temporary = name.to_os_string();
    temporary.push(format!(".{}.new", std::process::id()));
    let temporary = folder.join(temporary);
    let result = (|| {
        // Left over by a run that was killed and had our process number.
        remove_file(&temporary)?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(SECRET)
            .open(&temporary)?;
        file.write_all(bytes)?;
        if let Some((user, group)) = owner {
            chown(&temporary, Some(user), Some(group))?;
        }
        // After the owner, so that the content is never readable by the wrong one.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_folder(folder)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// Removes what killed runs of [`write_file`] left beside a file. The caller holds its lock.
pub fn remove_unfinished(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str))
    else {
        return;
    };
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let other = entry.file_name();
        let number = other.to_str().and_then(|other| {
            other
                .strip_prefix(name)?
                .strip_prefix('.')?
                .strip_suffix(".new")
        });
        if number.is_some_and(|number| number.parse::<u32>().is_ok()) {
            // Only tidiness: what cannot be removed harms nobody.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Makes the names in a folder durable.
pub fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)?
        .sync_all()
        .with_context(|| format!("syncing {}", folder.display()))
}

/// Writes only what differs, and says whether it did.
pub fn ensure_file(path: &Path, bytes: &[u8], mode: u32, owner: Owner) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .and_then(|()| match owner {
                Some((user, group)) => chown(path, Some(user), Some(group)),
                None => Ok(()),
            })
            .with_context(|| format!("setting owner and mode of {}", path.display()))?;
        return Ok(false);
    }
    write_file(path, bytes, mode, owner).map(|()| true)
}

/// Makes a folder with mode and owner; one that exists is corrected.
pub fn ensure_folder(path: &Path, mode: u32, owner: Owner) -> Result<()> {
    let make = || -> std::io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(path)?;
        if let Some((user, group)) = owner {
            chown(path, Some(user), Some(group))?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    };
    make().with_context(|| format!("making the folder {}", path.display()))
}

/// Reads a file that may be absent.
pub fn read_optional(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// Removes a file that may be absent.
pub fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
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

/// Waits for the lock on a file and holds it until dropped.
pub fn lock_file(path: &Path) -> Result<File> {
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(SECRET)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))?;
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
    use super::{SECRET, ensure_file, ensure_version, remove_unfinished, write_file};
    use crate::appliance::machine::place::Place;
    use crate::error::render;
    use std::os::unix::fs::PermissionsExt;

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
        for name in ["file.17.new", "file.x.new", "other.17.new"] {
            std::fs::write(folder.path().join(name), b"").unwrap();
        }
        remove_unfinished(&path);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
        assert!(path.exists() && !folder.path().join("file.17.new").exists());
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
