//! A lock on disk: read when it is there, replaced whole.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result};

use crate::builder::lock::Lock;
use crate::builder::write::atomic::{Privacy, write_output};

/// Reads a lock; none when the file does not exist.
pub fn load_lock_if_any(path: &Path) -> Result<Option<Lock>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("reading {}", path.display()));
        }
    };
    Lock::parse(&text)
        .with_context(|| format!("reading {}", path.display()))
        .map(Some)
}

/// Writes a lock beside its final name and renames it, so that a full disk or
/// Ctrl-C leaves the old one whole. Its folder must be there.
pub fn write_lock(lock: &Lock, path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::metadata(folder).with_context(|| format!("writing {}", path.display()))?;
    write_output(path, Privacy::Public, |mut file| {
        Ok(file.write_all(lock.to_text().as_bytes())?)
    })
}

#[cfg(test)]
mod tests {
    use super::{load_lock_if_any, write_lock};
    use crate::builder::lock::Lock;
    use crate::error::render;

    fn lock() -> Lock {
        Lock {
            recipe_sha256: "0".repeat(64),
            made: None,
            sources: Vec::new(),
            packages: Vec::new(),
        }
    }

    #[test]
    fn a_lock_is_written_whole_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mail.lock");
        assert_eq!(load_lock_if_any(&path).unwrap(), None);
        write_lock(&lock(), &path).unwrap();
        assert_eq!(load_lock_if_any(&path).unwrap(), Some(lock()));
        let names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["mail.lock"]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = write_lock(&lock(), "/nonexistent/mail.lock".as_ref()).unwrap_err();
        assert!(render(&error).starts_with("error: writing /nonexistent/mail.lock: "));
    }

    #[test]
    fn a_broken_lock_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mail.lock");
        std::fs::write(&path, "packages = 1\n").unwrap();
        let error = load_lock_if_any(&path).unwrap_err();
        assert!(render(&error).contains("mail.lock: reading the lock: "));
    }
}
