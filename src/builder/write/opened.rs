//! A finished image, raw or qcow2, opened to be read.
//!
//! Both are told apart by their first bytes. Left out: writing, which `mailimg configure`
//! does with what it opens itself.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use anyhow::Result;

use super::qcow2::{MAGIC, Qcow2};
use crate::format::extents::ReadAt;
use crate::format::storage::Storage;

/// An image.
#[derive(Debug)]
pub enum Opened<'a> {
    /// As on a disk.
    Raw(&'a File),
    /// QEMU's format.
    Qcow2(Qcow2<'a>),
}

impl<'a> Opened<'a> {
    /// Looks at what a file is.
    pub fn new(file: &'a File) -> Result<Self> {
        let mut magic = [0; MAGIC.len()];
        if FileExt::read_exact_at(file, &mut magic, 0).is_ok() && magic == MAGIC {
            return Ok(Self::Qcow2(Qcow2::open(file)?));
        }
        Ok(Self::Raw(file))
    }
}

impl Storage for Opened<'_> {
    fn size(&self) -> io::Result<u64> {
        match self {
            Self::Raw(file) => file.size(),
            Self::Qcow2(disk) => disk.size(),
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Raw(file) => file.read_at(buffer, offset),
            Self::Qcow2(disk) => disk.read_at(buffer, offset),
        }
    }

    fn write_at(&mut self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ReadAt for Opened<'_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        Storage::read_at(self, buffer, offset)
    }
}
