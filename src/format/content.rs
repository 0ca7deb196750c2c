//! File contents by reference: bytes in memory or a stretch of a file on disk.
//!
//! A stretch lies in an unpacked package of the cache. It is read by position,
//! so many threads share one open file and nothing is copied until an image
//! is written.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// How much is read at once when contents are copied.
const COPY_BUFFER: usize = 1 << 20;

/// A stretch of a file that does not change while it is in use.
#[derive(Clone, Debug)]
pub struct FileSlice {
    /// The open file.
    pub file: Arc<File>,
    /// Where the stretch begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
}

/// The content of a regular file.
#[derive(Clone, Debug)]
pub enum Content {
    /// Held in memory.
    Bytes(Arc<[u8]>),
    /// Held by a file on disk.
    Slice(FileSlice),
}

impl Content {
    /// The length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Slice(slice) => slice.length,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether both are the same bytes held in memory, or the same stretch of one file.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bytes(one), Self::Bytes(two)) => one == two,
            (Self::Slice(one), Self::Slice(two)) => {
                Arc::ptr_eq(&one.file, &two.file)
                    && one.offset == two.offset
                    && one.length == two.length
            }
            _ => false,
        }
    }

    /// Fills the buffer from an offset; reading past the end is an error.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.len()) {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "reading past a file's end",
            ));
        }
        match self {
            Self::Bytes(bytes) => {
                let start = offset as usize;
                buffer.copy_from_slice(&bytes[start..start + buffer.len()]);
                Ok(())
            }
            Self::Slice(slice) => slice.file.read_exact_at(buffer, slice.offset + offset),
        }
    }

    /// All of it, in memory.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.len() as usize];
        self.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Writes all of it, piece by piece.
    pub fn copy_to(&self, output: &mut impl Write) -> io::Result<()> {
        if let Self::Bytes(bytes) = self {
            return output.write_all(bytes);
        }
        let mut buffer = vec![0; COPY_BUFFER.min(self.len() as usize)];
        let mut offset = 0;
        while offset < self.len() {
            let length = (buffer.len() as u64).min(self.len() - offset) as usize;
            self.read_exact_at(&mut buffer[..length], offset)?;
            output.write_all(&buffer[..length])?;
            offset += length as u64;
        }
        Ok(())
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().into())
    }
}

impl<const N: usize> From<[u8; N]> for Content {
    fn from(bytes: [u8; N]) -> Self {
        Self::Bytes(Arc::new(bytes))
    }
}
