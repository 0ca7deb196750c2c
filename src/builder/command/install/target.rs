//! The disk that is written to: opened for nobody else, and never where `/var` lies.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{
    Advice, FallocateFlags, FlockOperation, OFlags, fadvise, fallocate, fcntl_lock, flock,
    ioctl_blksszget,
};
use rustix::io::Errno;

use super::in_use::{Host, number_text};
use crate::error::{Hint, hinted};
use crate::format::gpt::SECTOR;
use crate::format::storage::{Storage, write_zeros};

/// A disk, or a file that stands for one.
#[derive(Debug)]
pub struct Target {
    file: File,
    size: u64,
}

impl Target {
    /// Opens a disk that nobody uses, and keeps others from it.
    pub fn open(path: &Path, host: &Host) -> Result<Self> {
        let name = path.display();
        let metadata = fs::metadata(path)
            .with_context(|| format!("opening {name}"))
            .hint(
                "name a disk like /dev/vda (`lsblk` lists them), or a file that stands for one",
            )?;
        let kind = metadata.file_type();
        let block = kind.is_block_device();
        if block {
            host.check_block_device(path, &number_text(metadata.rdev()))?;
        } else if kind.is_file() {
            host.check_file(path)?;
        } else {
            return Err(hinted(
                format!("{name} is no disk"),
                "name a disk like /dev/vda (`lsblk` lists them), or a file that stands for one",
            ));
        }
        let file = open_alone(path, block)?;
        if block && ioctl_blksszget(&file).is_ok_and(|sector| u64::from(sector) != SECTOR) {
            return Err(hinted(
                format!("{name} has sectors of another size than {SECTOR} bytes"),
                "name another disk; some NVMe disks can be formatted anew with `nvme format`",
            ));
        }
        let size = (&file)
            .size()
            .with_context(|| format!("reading the size of {name}"))?;
        Ok(Self {
            file,
            size: size - size % SECTOR,
        })
    }
}

fn open_alone(path: &Path, block: bool) -> Result<File> {
    let name = path.display();
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    if block {
        // The kernel then refuses everyone else who means to have the device alone.
        options.custom_flags(OFlags::EXCL.bits() as i32);
    }
    let file = options.open(path).map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::ResourceBusy => "another program uses it: `lsblk` and `fuser -v` show which",
            ErrorKind::PermissionDenied => "it takes root to write to a disk: use sudo",
            ErrorKind::ReadOnlyFilesystem => "the disk is read-only: name another one",
            _ => "`lsblk` lists the disks, `dmesg` says what is wrong with one",
        };
        Err::<(), _>(error)
            .with_context(|| format!("opening {name} to write to it"))
            .hint(hint)
            .unwrap_err()
    })?;
    if block {
        // udev reads a disk under this lock; whether we get it or not is no matter.
        let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
        return Ok(file);
    }
    let locks = [
        flock(&file, FlockOperation::NonBlockingLockExclusive),
        // QEMU holds locks of this kind on what a machine runs from.
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive),
    ];
    for lock in locks {
        match lock {
            // A file system without locks has nobody to keep out.
            Ok(()) | Err(Errno::NOLCK | Errno::NOTSUP | Errno::INVAL) => {}
            Err(Errno::AGAIN | Errno::ACCESS) => {
                return Err(hinted(
                    format!("another program is using {name}"),
                    "wait for the other install, or stop the virtual machine that runs from it",
                ));
            }
            Err(error) => return Err(error).with_context(|| format!("locking {name}")),
        }
    }
    Ok(file)
}

impl Target {
    /// Whether it is the same file as another one.
    pub fn is(&self, other: &File) -> bool {
        let identity = |file: &File| {
            let metadata = file.metadata().ok()?;
            Some((metadata.dev(), metadata.ino(), metadata.rdev()))
        };
        identity(&self.file).is_some_and(|own| identity(other) == Some(own))
    }
}

impl Storage for Target {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        // What is read next comes from the disk, not from memory.
        fadvise(&self.file, 0, None, Advice::DontNeed).or(Ok(()))
    }

    /// Disks that know how make zeros without being sent any, files become sparse.
    fn zero_at(&mut self, offset: u64, length: u64) -> io::Result<()> {
        for how in [FallocateFlags::PUNCH_HOLE, FallocateFlags::ZERO_RANGE] {
            let flags = how | FallocateFlags::KEEP_SIZE;
            if length > 0 && fallocate(&self.file, flags, offset, length).is_ok() {
                return Ok(());
            }
        }
        write_zeros(|bytes, offset| self.write_at(bytes, offset), offset, length)
    }
}

/// A disk with a stretch that cannot be written to.
pub struct Fenced<'a> {
    disk: &'a mut dyn Storage,
    kept: Range<u64>,
}

impl<'a> Fenced<'a> {
    /// Keeps a stretch as it is.
    pub fn new(disk: &'a mut dyn Storage, kept: Range<u64>) -> Self {
        Self { disk, kept }
    }

    fn check(&self, offset: u64, length: u64) -> io::Result<()> {
        let end = offset.saturating_add(length);
        if length > 0 && offset < self.kept.end && self.kept.start < end {
            return Err(io::Error::new(
                ErrorKind::PermissionDenied,
                "the place belongs to /var, which is kept",
            ));
        }
        Ok(())
    }
}

impl Storage for Fenced<'_> {
    fn size(&self) -> io::Result<u64> {
        self.disk.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.read_at(buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check(offset, bytes.len() as u64)?;
        self.disk.write_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.sync()
    }

    fn zero_at(&mut self, offset: u64, length: u64) -> io::Result<()> {
        self.check(offset, length)?;
        self.disk.zero_at(offset, length)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{Fenced, Target};
    use crate::builder::command::install::in_use::Host;
    use crate::error::render;
    use crate::format::storage::Storage;

    #[test]
    fn a_file_stands_for_a_disk_of_whole_sectors() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::new(Path::new("/"));
        let path = folder.path().join("disk");
        fs::write(&path, vec![7; 10_000]).unwrap();
        let mut target = Target::open(&path, &host).unwrap();
        assert_eq!(target.size().unwrap(), 9728);
        target.zero_at(100, 5000).unwrap();
        target.write_at(b"mail", 4096).unwrap();
        target.sync().unwrap();
        let mut expected = vec![7; 10_000];
        expected[100..5100].fill(0);
        expected[4096..4100].copy_from_slice(b"mail");
        assert!(fs::read(&path).unwrap() == expected);

        let text = render(&Target::open(&path, &host).unwrap_err());
        assert!(text.contains("another program is using"), "{text}");
        let text = render(&Target::open(folder.path(), &host).unwrap_err());
        assert!(text.contains("is no disk\nhint: name a disk"), "{text}");
        let text = render(&Target::open(&folder.path().join("no"), &host).unwrap_err());
        assert!(text.contains("No such file"), "{text}");
    }

    #[test]
    fn what_is_fenced_stays() {
        let mut disk = vec![1; 100];
        let mut fenced = Fenced::new(&mut disk, 40..60);
        fenced.write_at(&[2; 40], 0).unwrap();
        fenced.zero_at(60, 40).unwrap();
        for (offset, length) in [(0, 41), (59, 1), (40, 20), (0, 100), (50, 1)] {
            assert!(fenced.write_at(&vec![3; length], offset).is_err());
            assert!(fenced.zero_at(offset, length as u64).is_err());
        }
        assert_eq!(disk[40..60], [1; 20]);
        assert_eq!((disk[39], disk[60]), (2, 0));
    }
}
