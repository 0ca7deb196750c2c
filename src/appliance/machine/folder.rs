//! Folders that are opened once and worked in, without following a link on the way.
//!
//! Some folders of our state belong to a service's user, and root works in them. Whoever owns
//! a folder may put a link where a file or a folder is expected, at any moment; by name, root
//! would then write, chmod or chown somewhere else. So the way to a folder is walked without
//! links (`O_NOFOLLOW` of <https://man7.org/linux/man-pages/man2/open.2.html>), and all else is
//! done by what is open.

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::{File, FileType, Permissions};
use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, fchown};
use std::path::{Component, Path, PathBuf};

/// User and group of a path, `None` to leave it with the caller.
pub type Owner = Option<(u32, u32)>;

/// A folder that is open.
#[derive(Debug)]
pub struct Folder(OwnedFd);

impl Folder {
    /// Opens a folder to work in; it need not be ours to list.
    pub fn open(path: &Path) -> Result<Self> {
        walk(path).map(Self)
    }

    /// Opens the folder of a path, and names what the path means in it.
    pub fn of(path: &Path) -> Result<(Self, &OsStr)> {
        let name = path.file_name().ok_or_else(|| {
            let text = format!("{} ends in no name", path.display());
            Error::new(ErrorKind::InvalidInput, text)
        })?;
        Ok((Self::open(path.parent().unwrap_or(Path::new(".")))?, name))
    }

    /// Opens a file to read; what is none is refused, and nothing waits for a pipe's other end.
    pub fn file(&self, name: &OsStr) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let file = File::from(self.open_at(name, flags, 0)?);
        if file.metadata()?.is_file() {
            return Ok(file);
        }
        Err(Error::new(ErrorKind::InvalidInput, "it is no file"))
    }

    /// Makes a file that is not there yet, with its mode from the first moment.
    pub fn create(&self, name: &OsStr, mode: u32) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        self.open_at(name, flags, mode).map(File::from)
    }

    /// Opens a file to lock; it is made when it is absent.
    pub fn file_to_lock(&self, name: &OsStr, mode: u32) -> Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK;
        self.open_at(name, flags, mode).map(File::from)
    }

    fn open_at(&self, name: &OsStr, flags: OFlags, mode: u32) -> Result<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.0, name, flags, Mode::from_raw_mode(mode)).map_err(explain)
    }

    /// Makes a link.
    pub fn link(&self, target: &Path, name: &OsStr) -> Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.0, name)?)
    }

    /// Gives a link or a file to its owner.
    pub fn give(&self, name: &OsStr, owner: Owner) -> Result<()> {
        let Some((user, group)) = owner else {
            return Ok(());
        };
        let (user, group) = (
            rustix::fs::Uid::from_raw(user),
            rustix::fs::Gid::from_raw(group),
        );
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::chownat(
            &self.0,
            name,
            Some(user),
            Some(group),
            flags,
        )?)
    }

    /// Moves what is here to a name in another folder, or this one, in place of what has it.
    pub fn rename(&self, from: &OsStr, folder: &Self, to: &OsStr) -> Result<()> {
        Ok(rustix::fs::renameat(&self.0, from, &folder.0, to)?)
    }

    /// Removes a file or a link.
    pub fn remove(&self, name: &OsStr) -> Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Removes a folder with all that is in it.
    pub fn remove_all(&self, name: &OsStr) -> Result<()> {
        std::fs::remove_dir_all(handle_path(&self.0).join(name))
    }

    /// What is in it.
    pub fn entries(&self) -> Result<Vec<(OsString, FileType)>> {
        std::fs::read_dir(handle_path(&self.0))?
            .map(|entry| entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?))))
            .collect()
    }

    /// Makes the names in it durable.
    pub fn sync(&self) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        Ok(rustix::fs::fsync(self.open_at(".".as_ref(), flags, 0)?)?)
    }
}

/// Makes a folder and those above it, unless they are there; mode and owner are set in any case.
pub fn ensure(path: &Path, mode: u32, owner: Owner) -> Result<()> {
    let folder = make(path, mode)?;
    // Neither reading it nor changing it may be allowed to us: what is open for its place
    // alone is changed by this name.
    let folder = handle_path(&folder);
    if let Some((user, group)) = owner {
        chown(&folder, Some(user), Some(group))?;
    }
    std::fs::set_permissions(&folder, Permissions::from_mode(mode))
}

fn make(path: &Path, mode: u32) -> Result<OwnedFd> {
    match walk(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        result => return result,
    }
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(ErrorKind::NotFound.into());
    };
    let above = make(above, 0o755)?;
    match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(&above, name, flags, Mode::empty()) {
        Err(Errno::NOTDIR) if is_link(&above, name) => Err(explain(Errno::LOOP)),
        result => result.map_err(explain),
    }
}

/// Sets owner and mode of a file that is open: the owner first, so that what it holds is never
/// readable by the wrong one.
pub fn set_owner(file: &File, mode: u32, owner: Owner) -> Result<()> {
    if let Some((user, group)) = owner {
        fchown(file, Some(user), Some(group))?;
    }
    file.set_permissions(Permissions::from_mode(mode))
}

/// Whether a file is known by one name: others may be somebody else's, for another purpose.
pub fn has_one_name(file: &File) -> Result<bool> {
    Ok(file.metadata()?.nlink() == 1)
}

/// Opens a folder for its place alone.
///
/// Step by step: openat2(2), which could refuse links by itself, is not there under systemd's
/// RestrictSUIDSGID=.
fn walk(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let start = if path.is_absolute() { "/" } else { "." };
    let mut reached = rustix::fs::openat(rustix::fs::CWD, start, flags, Mode::empty())?;
    for step in path.components() {
        let name = match step {
            Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
            Component::ParentDir => OsStr::new(".."),
            Component::Normal(name) => name,
        };
        reached = match rustix::fs::openat(&reached, name, flags, Mode::empty()) {
            Err(Errno::NOTDIR) if is_link(&reached, name) => return Err(explain(Errno::LOOP)),
            result => result.map_err(explain)?,
        };
    }
    Ok(reached)
}

fn is_link(folder: &OwnedFd, name: &OsStr) -> bool {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|found| rustix::fs::FileType::from_raw_mode(found.st_mode).is_symlink())
}

fn explain(error: Errno) -> Error {
    match error {
        Errno::LOOP => Error::new(ErrorKind::InvalidInput, "a link lies there, or on the way"),
        error => error.into(),
    }
}

/// The name by which the kernel knows what this process has open.
fn handle_path(handle: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()))
}
