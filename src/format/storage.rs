//! Bytes by position: what a disk image is to the code that reads and edits it.
//!
//! A raw image is a [`File`], a qcow2 image a `Qcow2` of the builder, a
//! partition of either a [`Region`]. Reads and writes are exact: going past
//! the end is an error, never a short count.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};

/// Zeros to write and to compare with.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Whether there is nothing but zeros.
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes
        .chunks(ZEROS.len())
        .all(|chunk| chunk == &ZEROS[..chunk.len()])
}

/// Something with a fixed size that is read and written by position.
pub trait Storage {
    /// The size in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Fills the buffer from an offset.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all bytes at an offset.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes everything written so far survive a power cut.
    fn sync(&mut self) -> io::Result<()>;

    /// Overwrites a stretch with zeros.
    fn zero_at(&mut self, offset: u64, length: u64) -> io::Result<()> {
        write_zeros(|bytes, offset| self.write_at(bytes, offset), offset, length)
    }
}

/// Overwrites a stretch with zeros, piece by piece.
pub fn write_zeros(
    mut write_at: impl FnMut(&[u8], u64) -> io::Result<()>,
    mut offset: u64,
    mut length: u64,
) -> io::Result<()> {
    while length > 0 {
        let step = length.min(ZEROS.len() as u64);
        write_at(&ZEROS[..step as usize], offset)?;
        offset += step;
        length -= step;
    }
    Ok(())
}

/// Refuses a stretch that leaves the storage.
pub fn check_bounds(offset: u64, length: usize, size: u64) -> io::Result<()> {
    match offset.checked_add(length as u64) {
        Some(end) if end <= size => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{length} bytes at offset {offset} lie past the end, {size}"),
        )),
    }
}

impl Storage for &File {
    fn size(&self) -> io::Result<u64> {
        let metadata = self.metadata()?;
        if metadata.file_type().is_block_device() {
            let mut device: &File = self;
            return device.seek(SeekFrom::End(0));
        }
        Ok(metadata.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

impl Storage for Vec<u8> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        check_bounds(offset, buffer.len(), self.len() as u64)?;
        let start = offset as usize;
        buffer.copy_from_slice(&self[start..start + buffer.len()]);
        Ok(())
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        check_bounds(offset, bytes.len(), self.len() as u64)?;
        let start = offset as usize;
        self[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stretch of another storage, a partition of a disk.
pub struct Region<'a> {
    inner: &'a mut dyn Storage,
    offset: u64,
    length: u64,
}

impl<'a> Region<'a> {
    /// Takes the stretch of `length` bytes from `offset`; it must lie inside.
    pub fn new(inner: &'a mut dyn Storage, offset: u64, length: u64) -> io::Result<Self> {
        let size = inner.size()?;
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{length} bytes at offset {offset} lie past the end, {size}"),
            ));
        }
        Ok(Self {
            inner,
            offset,
            length,
        })
    }
}

impl Storage for Region<'_> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.length)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        check_bounds(offset, buffer.len(), self.length)?;
        self.inner.read_at(buffer, self.offset + offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        check_bounds(offset, bytes.len(), self.length)?;
        self.inner.write_at(bytes, self.offset + offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.inner.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::{Region, Storage};

    #[test]
    fn a_region_never_touches_its_neighbours() {
        let mut disk = vec![7u8; 12];
        let mut region = Region::new(&mut disk, 4, 4).unwrap();
        region.write_at(b"ab", 2).unwrap();
        region.zero_at(0, 2).unwrap();
        assert!(region.write_at(b"abc", 2).is_err());
        assert!(region.read_at(&mut [0; 2], u64::MAX).is_err());
        assert!(region.zero_at(0, 5).is_err());
        assert_eq!(disk, b"\x07\x07\x07\x07\0\0ab\x07\x07\x07\x07");
        assert!(Region::new(&mut disk, 10, 3).is_err());
    }
}
