//! Whether a file system has room left: bytes, and files, which come to an end apart from them.

use std::path::Path;

use anyhow::{Context, Result};

/// How much must be left.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// For the content of files.
    pub bytes: u64,
    /// For files and folders, each an inode.
    pub files: u64,
}

/// What a path's file system is short of, in words; `None` while there is room.
pub fn shortage(path: &Path, least: Room) -> Result<Option<String>> {
    let space = rustix::fs::statvfs(path)
        .with_context(|| format!("asking for the space left at {}", path.display()))?;
    let bytes = space.f_bavail.saturating_mul(space.f_frsize);
    if bytes < least.bytes {
        let text = format!("{bytes} bytes are left, {} are needed", least.bytes);
        return Ok(Some(text));
    }
    // Some file systems do not count, and say 0 of 0.
    let files_left = space.f_files == 0 || space.f_favail >= least.files;
    Ok((!files_left).then(|| format!("only {} more files fit", space.f_favail)))
}

#[cfg(test)]
mod tests {
    use super::{Room, shortage};
    use std::path::Path;

    #[test]
    fn either_may_be_short() {
        let root = Path::new("/");
        let enough = Room { bytes: 1, files: 0 };
        assert_eq!(shortage(root, enough).unwrap(), None);
        let bytes = u64::MAX;
        let text = shortage(root, Room { bytes, ..enough }).unwrap().unwrap();
        assert!(text.ends_with("are needed"), "{text}");
        let none = shortage(Path::new("/nowhere"), enough).unwrap_err();
        assert!(none.to_string().contains("/nowhere"), "{none}");
    }
}
