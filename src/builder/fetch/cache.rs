//! The cache on disk: files named by the SHA-256 of what they hold or came from.
//!
//! ```text
//! objects/SHA256          a pinned file, as it came from the mirror
//! documents/SHA256        an InRelease, named by the digest of its address
//! unpacked/SHA256.vN      an unpacked package, named by its .deb's digest
//! NAME.part               any of these in the making, locked by who makes it
//! ```
//!
//! A file gets its name by rename when it is complete. Whoever makes one holds
//! a lock on its `.part` file, so two builds at once never write into each
//! other; the second waits and takes the first one's result. A killed build
//! leaves at most `.part` files, which the next one continues or overwrites.
//!
//! What was unpacked is trusted by its name, so nobody else may write here: the folders
//! are made for their owner alone, and those that others can change are refused.
//!
//! Nothing is flushed to the disk on purpose: after a power cut, a file that
//! lost its content fails the size check of every use or the digest check of
//! the first unpacking, and is made again.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::OFlags;
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::own_folder::{is_ours_alone, own_folder};
use super::storage::storage_error;
use crate::error::Hint;

/// Tells backup programs to leave the folder out, <https://bford.info/cachedir/>.
const CACHEDIR_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n";

/// Mode of what is made here: others never write to it, whatever the umask.
const PART_MODE: u32 = 0o644;

/// A cache folder; cheap to clone.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Where the cache lies when nobody says otherwise: `mailimg` under
    /// `$XDG_CACHE_HOME` or `~/.cache`.
    ///
    /// Source: <https://specifications.freedesktop.org/basedir-spec/latest/>.
    pub fn default_path() -> Result<PathBuf> {
        let absolute = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        absolute("XDG_CACHE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
            .map(|base| base.join("mailimg"))
            .context("finding a place for the cache: neither XDG_CACHE_HOME nor HOME is set")
            .hint("set XDG_CACHE_HOME to a folder for downloaded packages")
    }

    /// Opens a cache folder, making it when it is not there.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        own_folder(&root)?;
        for folder in ["derived", "objects", "documents", "unpacked"] {
            own_folder(&root.join(folder))?;
        }
        let tag = root.join("CACHEDIR.TAG");
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&tag)
            .and_then(|mut file| io::Write::write_all(&mut file, CACHEDIR_TAG));
        match written {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(storage_error(error, &tag))
            }
            _ => Ok(Self { root }),
        }
    }

    /// The path of a pinned file, there or not.
    ///
    /// Fails when the digest is not 64 lower-case hexadecimal digits.
    pub fn object_path(&self, sha256: &str) -> Result<PathBuf> {
        Ok(self.root.join("objects").join(checked_digest(sha256)?))
    }

    /// The path of what a .deb was unpacked to, there or not.
    ///
    /// `format` is the version of the format that the file is written in.
    pub fn unpacked_path(&self, sha256: &str, format: u32) -> Result<PathBuf> {
        let name = format!("{}.v{format}", checked_digest(sha256)?);
        Ok(self.root.join("unpacked").join(name))
    }

    /// The path of something costly made from other content, there or not.
    ///
    /// `sha256` is the digest of what it is made from, `kind` how.
    pub fn derived_path(&self, sha256: &str, kind: &str) -> Result<PathBuf> {
        let name = format!("{}.{kind}", checked_digest(sha256)?);
        Ok(self.root.join("derived").join(name))
    }

    /// The path of the last copy of an unpinned file.
    pub fn document_path(&self, url: &str) -> PathBuf {
        let name = hex::encode(Sha256::digest(url.as_bytes()));
        self.root.join("documents").join(name)
    }

    /// Throws a pinned file away because its content is not what its name says.
    pub fn discard_object(&self, sha256: &str) -> Result<()> {
        discard(&self.object_path(sha256)?)
    }

    /// Takes the right to make a file, waiting for another build that makes it.
    ///
    /// Returns nothing when the other build made it, as `is_good` sees it.
    pub fn claim(&self, path: &Path, is_good: impl Fn(&Path) -> bool) -> Result<Option<Claim>> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        loop {
            let opened = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(PART_MODE)
                .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                .open(&part);
            let file = match opened {
                Ok(file) if is_ours_alone(&file) => file,
                // Somebody else's, or a link: what would be written there is not ours.
                Ok(_) => {
                    discard(&part)?;
                    continue;
                }
                Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                    discard(&part)?;
                    continue;
                }
                Err(error) => return Err(storage_error(error, &part)),
            };
            file.lock()
                .with_context(|| format!("locking {}", part.display()))?;
            // Whoever held the lock before may have renamed or removed the file.
            if !is_same_file(&file, &part) {
                continue;
            }
            let claim = Claim {
                file,
                part: part.clone(),
                path: path.to_owned(),
            };
            if is_good(path) {
                claim.abandon();
                return Ok(None);
            }
            return Ok(Some(claim));
        }
    }

    /// Puts a small file in place whole.
    pub fn store(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        if let Some(claim) = self.claim(path, |_| false)? {
            let written = claim
                .file
                .set_len(0)
                .and_then(|()| io::Write::write_all(&mut &claim.file, bytes));
            if let Err(error) = written {
                let error = storage_error(error, &claim.part);
                claim.abandon();
                return Err(error);
            }
            claim.commit()?;
        }
        Ok(())
    }
}

/// The right to make one file of the cache.
///
/// Dropped, the unfinished file stays for the next attempt to continue.
#[derive(Debug)]
pub struct Claim {
    /// The unfinished file, open for reading and writing at its start.
    pub file: File,
    part: PathBuf,
    path: PathBuf,
}

impl Claim {
    /// The path of the unfinished file, for messages.
    pub fn part_path(&self) -> &Path {
        &self.part
    }

    /// Gives the finished file its name.
    pub fn commit(self) -> Result<()> {
        fs::rename(&self.part, &self.path).map_err(|error| storage_error(error, &self.path))
    }

    /// Removes the unfinished file.
    pub fn abandon(self) {
        // It is locked by us and without a name that anybody reads.
        let _ = fs::remove_file(&self.part);
    }
}

/// Removes a file that may already be gone.
pub(super) fn discard(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(storage_error(error, path)),
        _ => Ok(()),
    }
}

fn checked_digest(sha256: &str) -> Result<&str> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if sha256.len() != 64 || !sha256.bytes().all(is_digit) {
        bail!("reading the digest {sha256:?}: not a SHA-256 of 64 lower-case hexadecimal digits");
    }
    Ok(sha256)
}

fn is_same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => open.dev() == named.dev() && open.ino() == named.ino(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::Cache;
    use crate::error::render;
    use std::io::Write;
    use std::path::Path;

    #[test]
    fn the_second_of_two_builds_takes_the_first_ones_result() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let path = cache.object_path(&"a".repeat(64)).unwrap();
        let mut claim = cache.claim(&path, Path::exists).unwrap().unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| cache.claim(&path, Path::exists).unwrap());
            claim.file.write_all(b"whole").unwrap();
            claim.commit().unwrap();
            assert!(second.join().unwrap().is_none());
        });
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        let names: Vec<_> = std::fs::read_dir(folder.path().join("objects"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[test]
    fn the_second_build_takes_over_from_one_that_gave_up() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let path = cache.object_path(&"a".repeat(64)).unwrap();
        let claim = cache.claim(&path, Path::exists).unwrap().unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| cache.claim(&path, Path::exists).unwrap());
            claim.abandon();
            second.join().unwrap().unwrap().commit().unwrap();
        });
        assert!(path.exists());
    }

    /// A link there, or a file that others can write to, was filled.
    #[test]
    fn an_unfinished_file_that_others_made_is_not_continued() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        let precious = folder.path().join("precious");
        std::fs::write(&precious, "kept").unwrap();
        let path = cache.object_path(&"a".repeat(64)).unwrap();
        let part = path.with_extension("part");
        for spoil in [
            (|part: &Path, precious: &Path| symlink(precious, part).unwrap()) as fn(&Path, &Path),
            |part, _| symlink("nowhere", part).unwrap(),
            |part, _| {
                std::fs::write(part, "theirs").unwrap();
                let open = std::fs::Permissions::from_mode(0o666);
                std::fs::set_permissions(part, open).unwrap();
            },
        ] {
            spoil(&part, &precious);
            let mut claim = cache.claim(&path, |_| false).unwrap().unwrap();
            let made = claim.file.metadata().unwrap();
            assert_eq!(made.len(), 0);
            assert_eq!(made.permissions().mode() & 0o022, 0);
            claim.file.write_all(b"ours").unwrap();
            claim.commit().unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"ours");
            assert!(!path.is_symlink());
        }
        assert_eq!(std::fs::read(&precious).unwrap(), b"kept");
    }

    #[test]
    fn digests_cannot_lead_out_of_the_cache() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        for digest in ["", "../../etc/passwd", &"A".repeat(64), &"a/".repeat(32)] {
            assert!(cache.object_path(digest).is_err(), "{digest}");
        }
    }

    #[test]
    fn a_cache_that_cannot_be_made_says_what_to_set() {
        let error = Cache::open("/dev/null/cache").unwrap_err();
        assert!(
            render(&error).ends_with("hint: set XDG_CACHE_HOME to a folder that you can write to"),
            "{}",
            render(&error)
        );
    }
}
