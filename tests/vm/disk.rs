//! Disks of machines: overlays over an image.
//!
//! A case that cuts the power keeps what QEMU wrote in order, see [`Disk::logged`].

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mailimg::builder::command::boot::qemu::escape_commas;
use mailimg::builder::command::boot::throw_away_disk::{
    DiskImage, MINIMUM_DISK_BYTES, disk_arguments,
};
use tempfile::TempDir;

/// Smallest piece that is written.
const SECTOR: usize = 512;

/// A writable disk; the files below it stay as they are.
pub struct Disk {
    path: PathBuf,
    /// Where its writes are kept in order, if they are.
    log: Option<PathBuf>,
    _folder: TempDir,
}

impl Disk {
    /// A fresh disk over an image, as large as a small VPS has.
    pub fn over(image: &Path) -> Result<Self> {
        Self::make(&DiskImage::open(image)?)
    }

    /// A fresh disk over an image, whose writes and flushes are kept in order
    /// for [`super::write_log::replay`].
    pub fn logged(image: &Path) -> Result<Self> {
        let mut disk = Self::over(image)?;
        let log = disk.path.with_file_name("writes.log");
        File::create(&log)?;
        disk.log = Some(log);
        Ok(disk)
    }

    /// Its file, qcow2 over the files below.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The log of [`Disk::logged`].
    pub fn log(&self) -> Result<&Path> {
        self.log.as_deref().context("the disk keeps no log")
    }

    fn make(image: &DiskImage) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("mailimg-disk-")
            .tempdir_in("/var/tmp")?;
        let path = folder.path().join("disk.qcow2");
        image.make_overlay(&path, MINIMUM_DISK_BYTES)?;
        Ok(Self {
            path,
            log: None,
            _folder: folder,
        })
    }

    /// QEMU's options.
    pub fn arguments(&self) -> Vec<String> {
        match &self.log {
            None => disk_arguments(&self.path),
            Some(log) => logged_arguments(&self.path, log),
        }
    }
}

/// QEMU's options for a disk whose writes are logged.
///
/// The filter hears of flushes, the files below need none: nothing outlives
/// the host's page cache. Zeroes are written as data, since QEMU before 9.0
/// logs requests to write zeroes in the wrong place when there are others.
/// Requests are not merged: the filter adds two pieces to each, one too many
/// for the host when there are as many as it takes.
fn logged_arguments(disk: &Path, log: &Path) -> Vec<String> {
    [
        "-blockdev".to_owned(),
        format!(
            "driver=file,node-name=disk-file,cache.no-flush=on,discard=unmap,{}",
            option("filename", disk)
        ),
        "-blockdev".to_owned(),
        "driver=qcow2,node-name=disk-below,file=disk-file,cache.no-flush=on,discard=unmap"
            .to_owned(),
        "-blockdev".to_owned(),
        format!(
            "driver=file,node-name=log-file,cache.no-flush=on,{}",
            option("filename", log)
        ),
        "-blockdev".to_owned(),
        format!(
            "driver=blklogwrites,node-name=disk0,file=disk-below,log=log-file,\
             log-sector-size={SECTOR},discard=unmap"
        ),
        "-device".to_owned(),
        "virtio-blk-pci,drive=disk0,bootindex=1,write-zeroes=off,request-merging=off".to_owned(),
    ]
    .into()
}

fn option(key: &str, path: &Path) -> String {
    format!("{key}={}", escape_commas(&path.display().to_string()))
}
