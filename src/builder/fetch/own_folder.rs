//! Folders that nobody but their owner writes to.
//!
//! Who can write to a folder can put another file under any name in it, and who owns the
//! folder around it can put another folder in its place.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::process::geteuid;

use super::storage::storage_error;
use crate::error::hinted;

/// Mode of a folder for its owner alone.
const OWN_MODE: u32 = 0o700;
/// Mode bits that let others write.
const OTHERS_WRITE: u32 = 0o022;
/// Mode bit that lets everybody write.
const EVERYBODY_WRITES: u32 = 0o002;
/// Mode bit of a folder in which everybody removes only what is his own.
const STICKY: u32 = 0o1000;

/// Makes a folder for its owner alone, with what is above it; one that others could
/// change is refused.
pub(super) fn own_folder(path: &Path) -> Result<()> {
    if let Some(above) = path.parent().filter(|above| above.as_os_str() != "") {
        fs::create_dir_all(above).map_err(|error| storage_error(error, above))?;
        check_above(path, above)?;
    }
    if !path.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(OWN_MODE)
            .create(path)
            .map_err(|error| storage_error(error, path))?;
    }
    let found = look_at(path)?;
    if !found.is_dir() {
        return Err(storage_error(
            std::io::ErrorKind::NotADirectory.into(),
            path,
        ));
    }
    if found.uid() != geteuid().as_raw() {
        return Err(refuse(path, &format!("belongs to user {}", found.uid())));
    }
    if found.mode() & OTHERS_WRITE != 0 {
        return Err(refuse(path, "can be written to by others"));
    }
    if found.mode() & 0o777 != OWN_MODE {
        // A read-only file system keeps the mode, and harms nobody.
        let _ = fs::set_permissions(path, Permissions::from_mode(OWN_MODE));
    }
    Ok(())
}

/// Refuses a folder that somebody else can take away and replace.
fn check_above(path: &Path, above: &Path) -> Result<()> {
    let found = look_at(above)?;
    let theirs = ![0, geteuid().as_raw()].contains(&found.uid());
    if theirs || (found.mode() & EVERYBODY_WRITES != 0 && found.mode() & STICKY == 0) {
        return Err(refuse(path, "can be replaced by others"));
    }
    Ok(())
}

fn look_at(path: &Path) -> Result<Metadata> {
    fs::metadata(path).with_context(|| format!("looking at {}", path.display()))
}

fn refuse(path: &Path, why: &str) -> anyhow::Error {
    hinted(
        format!("using the cache {}: it {why}", path.display()),
        "what they put there would get into images: set XDG_CACHE_HOME to a folder of your own, \
         or remove this one",
    )
}

/// Whether an open file is an ordinary one that nobody else can write to.
pub(super) fn is_ours_alone(file: &File) -> bool {
    file.metadata().is_ok_and(|found| {
        found.is_file() && found.uid() == geteuid().as_raw() && found.mode() & OTHERS_WRITE == 0
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::own_folder;
    use crate::error::render;

    #[test]
    fn a_folder_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/cache");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        own_folder(&path).unwrap();
        assert_eq!(mode(), 0o700);
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        own_folder(&path).unwrap();
        assert_eq!(mode(), 0o700);
    }

    /// An edited package in a cache that others write to got into a build by a lock.
    #[test]
    fn a_folder_that_others_can_change_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let above = folder.path().join("above");
        let path = above.join("cache");
        own_folder(&path).unwrap();
        let refused = |changed: &std::path::Path, mode: u32, why: &str| {
            let before = fs::metadata(changed).unwrap().permissions();
            fs::set_permissions(changed, Permissions::from_mode(mode)).unwrap();
            let text = render(&own_folder(&path).unwrap_err());
            assert!(text.contains(why), "{text}");
            assert!(text.contains("\nhint: "), "{text}");
            fs::set_permissions(changed, before).unwrap();
        };
        refused(&path, 0o777, "cache: it can be written to by others");
        refused(&path, 0o770, "cache: it can be written to by others");
        refused(&path, 0o1777, "cache: it can be written to by others");
        refused(&above, 0o777, "cache: it can be replaced by others");
        own_folder(&path).unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
            let text = render(&own_folder(&path).unwrap_err());
            assert!(text.contains("cache: it belongs to user 65534"), "{text}");
            std::os::unix::fs::chown(&path, Some(0), None).unwrap();
            std::os::unix::fs::chown(&above, Some(65534), None).unwrap();
            let text = render(&own_folder(&path).unwrap_err());
            assert!(
                text.contains("cache: it can be replaced by others"),
                "{text}"
            );
        }
    }
}
