//! An image as sorted pieces of content by reference; gaps read as zeros.
//!
//! A root image of hundreds of megabytes costs a few megabytes this way:
//! file contents stay where they are until somebody reads the image by
//! position, from any number of threads.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use anyhow::{Result, bail};

use crate::format::content::Content;

/// Something that is read by position, from several threads at once.
pub trait ReadAt: Sync {
    /// Fills the buffer from an offset in bytes; a short source is an error.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }
}

/// A stretch of content at a position of the image.
#[derive(Clone, Debug)]
struct Piece {
    offset: u64,
    length: u64,
    content: Content,
    /// Where the stretch begins within the content.
    start: u64,
}

impl Piece {
    fn end(&self) -> u64 {
        self.offset + self.length
    }
}

/// An image made of pieces.
#[derive(Clone, Debug, Default)]
pub struct Extents {
    pieces: Vec<Piece>,
    size: u64,
}

impl Extents {
    /// The size in bytes, gaps included.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Makes the image at least this many bytes long.
    pub fn grow_to(&mut self, size: u64) {
        self.size = self.size.max(size);
    }

    /// Appends a whole content at an offset at or past the last piece's end.
    pub fn push(&mut self, offset: u64, content: Content) -> Result<()> {
        let length = content.len();
        self.push_part(offset, content, 0, length)
    }

    /// Appends a stretch of a content at an offset at or past the last piece's end.
    pub fn push_part(
        &mut self,
        offset: u64,
        content: Content,
        start: u64,
        length: u64,
    ) -> Result<()> {
        if length == 0 {
            return Ok(());
        }
        let last = self.pieces.last().map_or(0, Piece::end);
        if offset < last {
            bail!("laying out an image: a piece at {offset} overlaps one that ends at {last}");
        }
        if start + length > content.len() {
            bail!("laying out an image: a piece at {offset} is longer than its content");
        }
        self.pieces.push(Piece {
            offset,
            length,
            content,
            start,
        });
        self.grow_to(offset + length);
        Ok(())
    }

    /// Fills the buffer from an offset; past the image's end there are zeros.
    ///
    /// Says whether any piece was met: if not, the buffer is all zeros.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        let end = offset + buffer.len() as u64;
        let first = self.pieces.partition_point(|piece| piece.end() <= offset);
        let mut at = offset;
        for piece in &self.pieces[first..] {
            if piece.offset >= end {
                break;
            }
            let from = piece.offset.max(at);
            let to = piece.end().min(end);
            buffer[(at - offset) as usize..(from - offset) as usize].fill(0);
            piece.content.read_exact_at(
                &mut buffer[(from - offset) as usize..(to - offset) as usize],
                piece.start + (from - piece.offset),
            )?;
            at = to;
        }
        buffer[(at - offset) as usize..].fill(0);
        Ok(at > offset)
    }
}

impl ReadAt for Extents {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_at(buffer, offset).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::Extents;
    use crate::format::content::Content;

    #[test]
    fn gaps_read_as_zeros_and_pieces_by_part() {
        let mut image = Extents::default();
        image.push(2, Content::from("abc")).unwrap();
        image.push_part(7, Content::from("0123456"), 3, 2).unwrap();
        image.grow_to(11);
        let mut all = [0xff; 13];
        assert!(image.read_at(&mut all, 0).unwrap());
        assert_eq!(&all, b"\0\0abc\0\x0034\0\0\0\0");
        for from in 0..12 {
            for to in from..13 {
                let mut part = vec![0xff; to - from];
                image.read_at(&mut part, from as u64).unwrap();
                assert_eq!(part, &all[from..to], "{from}..{to}");
            }
        }
        assert!(!image.read_at(&mut [0; 2], 5).unwrap());
        assert_eq!(image.size(), 11);
    }

    #[test]
    fn overlapping_and_overlong_pieces_are_refused() {
        let mut image = Extents::default();
        image.push(0, Content::from("abc")).unwrap();
        assert!(image.push(2, Content::from("d")).is_err());
        assert!(image.push_part(3, Content::from("d"), 0, 2).is_err());
    }
}
