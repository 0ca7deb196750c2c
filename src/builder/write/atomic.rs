//! Outputs that appear under their final name only when they are whole.
//!
//! An [`Output`] is a temporary file beside the final name, and somebody else may write
//! in that folder: nobody knows its name beforehand, and it is always made new. It is
//! removed when it is dropped and, by [`remove_pending`], on Ctrl-C. Errors of writing
//! gain hints for the reasons that a user can mend.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, anyhow};

use crate::error::{Hint, hinted};

/// Mode of a file that holds secrets.
const PRIVATE_MODE: u32 = 0o600;

/// The temporary files of this process.
static PENDING: Pending = Pending::new();

/// Who may read an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// Whomever the umask allows.
    Public,
    /// Its owner alone, because it holds settings.
    Private,
}

/// A file being written; dropping it removes it.
#[derive(Debug)]
pub struct Output {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    pending: &'static Pending,
    committed: bool,
}

impl Output {
    /// Creates the temporary file for an output; its folder is made if absent.
    pub fn create(path: &Path, privacy: Privacy) -> Result<Self> {
        Self::create_in(path, privacy, &PENDING)
    }

    fn create_in(path: &Path, privacy: Privacy, pending: &'static Pending) -> Result<Self> {
        let temporary = temporary_path(path)?;
        let mut options = OpenOptions::new();
        // New, so neither what lies there by that name nor where a link leads is written to.
        options.read(true).write(true).create_new(true);
        if privacy == Privacy::Private {
            options.mode(PRIVATE_MODE);
        }
        let create = || -> Result<File> {
            if let Some(folder) = path.parent().filter(|folder| folder.as_os_str() != "") {
                fs::create_dir_all(folder)
                    .with_context(|| format!("creating the folder {}", folder.display()))?;
            }
            if path.is_dir() {
                return Err(hinted(
                    format!("{} is a folder", path.display()),
                    "remove it, or choose another --output-dir",
                ));
            }
            pending.add(&temporary, path)?;
            let file = options
                .open(&temporary)
                .inspect_err(|_| pending.forget(&temporary))
                .context("creating a temporary file")?;
            if privacy == Privacy::Private {
                // Whatever the folder's default access list would have others do.
                make_private(&file).context("taking it from other users")?;
            }
            Ok(file)
        };
        let file = create().map_err(|error| explain(error, path))?;
        Ok(Self {
            file,
            temporary,
            path: path.to_owned(),
            pending,
            committed: false,
        })
    }

    /// The file to write to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The name it will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same under a name that was not known before.
    pub fn commit_as(mut self, path: &Path) -> Result<()> {
        path.clone_into(&mut self.path);
        self.commit()
    }

    /// Gives the file its final name, replacing what was there, once all of
    /// it is on the disk.
    pub fn commit(mut self) -> Result<()> {
        let finish = || -> Result<()> {
            self.file.sync_all().context("flushing it to the disk")?;
            let mut pending = self.pending.open()?;
            fs::rename(&self.temporary, &self.path).context("giving it its name")?;
            pending.finished.push(self.path.clone());
            drop(pending);
            Ok(())
        };
        finish().map_err(|error| explain(error, &self.path))?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.committed {
            // Nothing to report to: the error that led here is on its way.
            let _ = fs::remove_file(&self.temporary);
        }
        self.pending.forget(&self.temporary);
    }
}

/// Writes one output as a whole: creates it, fills it, gives it its name.
pub fn write_output<T>(
    path: &Path,
    privacy: Privacy,
    fill: impl FnOnce(&File) -> Result<T>,
) -> Result<T> {
    let output = Output::create(path, privacy)?;
    let value = fill(output.file()).map_err(|error| explain(error, path))?;
    output.commit()?;
    Ok(value)
}

/// Removes every temporary file and lets no further output begin or end; tells which outputs
/// have their names already.
///
/// For the thread that waits for signals, just before it ends the process.
pub fn remove_pending() -> Vec<PathBuf> {
    PENDING.close()
}

/// Takes an existing file from everyone but its owner.
pub fn make_private(file: &File) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(PRIVATE_MODE))
}

/// Says which file could not be written and what would help.
pub fn explain(error: anyhow::Error, path: &Path) -> anyhow::Error {
    let kind = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<io::Error>())
        .map(io::Error::kind);
    let hint = match kind {
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            "the disk is full: free some space, or choose another --output-dir"
        }
        Some(io::ErrorKind::PermissionDenied) => {
            "the folder is not writable: change its permissions, or choose another --output-dir"
        }
        Some(io::ErrorKind::ReadOnlyFilesystem) => {
            "the file system is read-only: choose another --output-dir"
        }
        Some(io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists) => {
            "a file is in the way: remove it, or choose another --output-dir"
        }
        Some(io::ErrorKind::FileTooLarge) => {
            "the file system or a resource limit forbids files of this size"
        }
        _ => return error.context(format!("writing {}", path.display())),
    };
    Err::<(), _>(error)
        .with_context(|| format!("writing {}", path.display()))
        .hint(hint)
        .unwrap_err()
}

fn temporary_path(path: &Path) -> Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| anyhow!("{} is no name for a file", path.display()))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".tmp-{:016x}", rand::random::<u64>()));
    Ok(path.with_file_name(temporary))
}

/// Temporary files that must not outlive the process.
#[derive(Debug)]
struct Pending(Mutex<Registry>);

#[derive(Debug)]
struct Registry {
    outputs: Vec<Unfinished>,
    finished: Vec<PathBuf>,
    closed: bool,
}

#[derive(Debug)]
struct Unfinished {
    temporary: PathBuf,
    path: PathBuf,
}

impl Pending {
    const fn new() -> Self {
        Self(Mutex::new(Registry {
            outputs: Vec::new(),
            finished: Vec::new(),
            closed: false,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The registry, held for as long as a name is being given.
    fn open(&self) -> Result<MutexGuard<'_, Registry>> {
        let registry = self.lock();
        if registry.closed {
            return Err(anyhow!("interrupted"));
        }
        Ok(registry)
    }

    fn add(&self, temporary: &Path, path: &Path) -> Result<()> {
        let mut registry = self.open()?;
        if registry.outputs.iter().any(|other| other.path == path) {
            return Err(anyhow!("it is being written already"));
        }
        registry.outputs.push(Unfinished {
            temporary: temporary.to_owned(),
            path: path.to_owned(),
        });
        Ok(())
    }

    fn forget(&self, temporary: &Path) {
        let mut registry = self.lock();
        registry
            .outputs
            .retain(|other| other.temporary != temporary);
    }

    fn close(&self) -> Vec<PathBuf> {
        let mut registry = self.lock();
        registry.closed = true;
        for output in registry.outputs.drain(..) {
            // A file that is gone already is what is wanted.
            let _ = fs::remove_file(output.temporary);
        }
        std::mem::take(&mut registry.finished)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::{self, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use anyhow::anyhow;

    use super::{Output, Pending, Privacy, explain, write_output};
    use crate::error::render;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_name_appears_only_when_the_file_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out/image");
        let output = Output::create(&path, Privacy::Public).unwrap();
        output.file().write_all(b"half").unwrap();
        let unfinished = names(path.parent().unwrap());
        assert!(unfinished[0].starts_with(".image.tmp-"), "{unfinished:?}");
        assert_eq!(unfinished.len(), 1);
        assert!(
            render(&Output::create(&path, Privacy::Public).unwrap_err())
                .ends_with("it is being written already")
        );
        drop(output);
        assert_eq!(names(path.parent().unwrap()), [""; 0]);

        fs::write(&path, "old").unwrap();
        write_output(&path, Privacy::Private, |mut file| {
            Ok(file.write_all(b"whole")?)
        })
        .unwrap();
        assert_eq!(names(path.parent().unwrap()), ["image"]);
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );

        write_output(&path, Privacy::Public, |_| Err::<(), _>(anyhow!("no"))).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(path.parent().unwrap()), ["image"]);
    }

    /// Who may write in the folder made them beforehand, open to everybody or leading
    /// elsewhere: the settings of a build were theirs to read.
    #[test]
    fn what_others_laid_out_beforehand_is_neither_filled_nor_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let precious = folder.path().join("precious");
        fs::write(&precious, "kept").unwrap();
        let mut temporary = Vec::new();
        for _ in 0..3 {
            let output = Output::create(&path, Privacy::Private).unwrap();
            let mode = output.file().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            temporary.push(output.temporary.clone());
        }
        temporary.push(
            folder
                .path()
                .join(format!(".image.tmp-{}", std::process::id())),
        );
        for (count, name) in temporary.iter().enumerate() {
            assert!(!temporary[..count].contains(name), "the name comes again");
            std::os::unix::fs::symlink(&precious, name).unwrap();
        }
        write_output(&path, Privacy::Private, |mut file| {
            Ok(file.write_all(b"secret")?)
        })
        .unwrap();
        assert_eq!(fs::read(&precious).unwrap(), b"kept");
        assert_eq!(fs::read(&path).unwrap(), b"secret");
        assert!(!path.is_symlink());
        for name in temporary {
            assert!(name.is_symlink(), "{} was taken", name.display());
        }
    }

    #[test]
    fn an_interrupt_removes_what_is_unfinished_and_lets_nothing_follow() {
        static PENDING: Pending = Pending::new();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let output = Output::create_in(&path, Privacy::Public, &PENDING).unwrap();
        let finished = folder.path().join("finished");
        let other = Output::create_in(&finished, Privacy::Public, &PENDING).unwrap();
        other.commit().unwrap();
        assert_eq!(PENDING.close(), [finished]);
        assert_eq!(names(folder.path()), ["finished"]);
        assert!(render(&output.commit().unwrap_err()).ends_with("interrupted"));
        Output::create_in(&path, Privacy::Public, &PENDING).unwrap_err();
        assert_eq!(names(folder.path()), ["finished"]);
    }

    #[test]
    fn errors_of_writing_tell_what_helps() {
        let path = Path::new("out/mail.raw");
        // Every write to this device fails for want of space.
        let full = File::options().write(true).open("/dev/full").unwrap();
        let error = (&full).write_all(b"x").unwrap_err();
        assert_eq!(
            render(&explain(error.into(), path)),
            "error: writing out/mail.raw: No space left on device (os error 28)\n\
             hint: the disk is full: free some space, or choose another --output-dir"
        );
        let error = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(
            render(&explain(anyhow!(error).context("creating it"), path)).starts_with(
                "error: writing out/mail.raw: creating it: permission denied\n\
                 hint: the folder is not writable"
            )
        );
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let error = Output::create(&folder.path().join("file/image"), Privacy::Public).unwrap_err();
        assert!(render(&error).contains("hint: a file is in the way"));
        let error = Output::create(folder.path(), Privacy::Public).unwrap_err();
        assert!(render(&error).contains("is a folder"));
    }
}
