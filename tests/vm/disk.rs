//! Disks of machines: overlays over an image, and overlays over those.
//!
//! Provision one machine, end it, then fork its disk for each case. A case
//! that cuts the power needs what QEMU wrote in order (a `blklogwrites`
//! filter); it goes into [`Disk::arguments`], through which all machines get
//! their disk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use mailimg::command::boot::overlay::{Format, Image, MINIMUM_DISK_BYTES, disk_arguments};
use tempfile::TempDir;

use super::peers;
use super::process::run;

/// Smallest piece that is written.
const SECTOR: usize = 512;

/// A writable disk; the files below it stay as they are.
pub struct Disk {
    path: PathBuf,
    bytes: u64,
    _folder: TempDir,
    /// Keeps the files below until nobody needs them.
    _below: Option<Arc<Disk>>,
}

impl Disk {
    /// A fresh disk over an image, as large as a small VPS has.
    pub fn over(image: &Path) -> Result<Self> {
        Self::make(&Image::open(image)?, None)
    }

    /// A fresh disk over one whose machine has ended.
    pub fn fork(self: &Arc<Self>) -> Result<Self> {
        let image = Image {
            path: self.path.clone(),
            format: Format::Qcow2,
            bytes: self.bytes,
        };
        Self::make(&image, Some(self.clone()))
    }

    fn make(image: &Image, below: Option<Arc<Disk>>) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("mailimg-disk-")
            .tempdir_in("/var/tmp")?;
        let path = folder.path().join("disk.qcow2");
        image.make_overlay(&path, MINIMUM_DISK_BYTES)?;
        let bytes = image.bytes.max(MINIMUM_DISK_BYTES);
        Ok(Self {
            path,
            bytes,
            _folder: folder,
            _below: below,
        })
    }

    /// QEMU's options.
    pub fn arguments(&self) -> Vec<String> {
        disk_arguments(&self.path)
    }

    /// Changes one byte of this disk, given the raw image far below it.
    pub fn flip_byte(&self, raw_image: &Path, offset: u64) -> Result<()> {
        ensure!(
            Image::open(raw_image)?.format == Format::Raw,
            "{} is not raw",
            raw_image.display()
        );
        let start = offset - offset % SECTOR as u64;
        let mut sector = [0; SECTOR];
        File::open(raw_image)?.read_exact_at(&mut sector, start)?;
        sector[usize::try_from(offset - start)?] ^= 0xff;
        let pattern = tempfile::NamedTempFile::new()?;
        std::fs::write(pattern.path(), sector)?;
        let order = format!("write -s {} {start} {SECTOR}", pattern.path().display());
        run(peers::program("qemu-io")?
            .args(["-f", "qcow2", "-c", &order])
            .arg(&self.path))
        .context("flipping a byte")?;
        Ok(())
    }
}
