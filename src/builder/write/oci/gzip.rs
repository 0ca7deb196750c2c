//! Compression on all processors into one gzip member, with the same bytes every time.
//!
//! Formats: RFC 1952 (gzip) and RFC 1951 (deflate), <https://www.rfc-editor.org/rfc/rfc1952>.
//! The input is cut into pieces of one size, whoever compresses them; each is deflated
//! without what came before it and ends on a byte, so that one behind the other is a
//! stream that any reader takes. Several members, which RFC 1952 allows too, are refused
//! by some.

use std::io::{self, Write};

use anyhow::{Context, Result};
use flate2::{Compress, Compression, FlushCompress, Status};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use rayon::slice::ParallelSlice;

/// How much is deflated at once: a piece knows nothing of the others, which costs little
/// at this size.
pub(super) const PIECE: usize = 1 << 20;
/// How many pieces wait for each other.
const PIECES: usize = 16;
/// The usual one; the next costs twice the time for one part in a hundred.
const LEVEL: Compression = Compression::new(6);
/// Magic number, deflate, no name and no time, an unknown system: RFC 1952, section 2.3.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// The last block, with nothing in it.
const END: [u8; 2] = [3, 0];

/// Compresses what is written to it.
pub(super) struct Gzip<W> {
    output: W,
    waiting: Vec<u8>,
    checksum: crc32fast::Hasher,
    length: u64,
}

impl<W: Write> Gzip<W> {
    pub(super) fn new(mut output: W) -> io::Result<Self> {
        output.write_all(&HEADER)?;
        Ok(Self {
            output,
            waiting: Vec::with_capacity(PIECE * PIECES),
            checksum: crc32fast::Hasher::new(),
            length: 0,
        })
    }

    /// Compresses the rest; what it wrote to.
    pub(super) fn finish(mut self) -> Result<W> {
        self.compress_waiting()?;
        self.output.write_all(&END)?;
        self.output
            .write_all(&self.checksum.finalize().to_le_bytes())?;
        // Of the length the format has the lower 32 bits.
        self.output.write_all(&(self.length as u32).to_le_bytes())?;
        Ok(self.output)
    }

    fn compress_waiting(&mut self) -> io::Result<()> {
        let pieces: Vec<&[u8]> = self.waiting.par_chunks(PIECE).collect();
        let compressed = pieces
            .par_iter()
            .map(|piece| deflate(piece))
            .collect::<Result<Vec<_>>>()
            .map_err(io::Error::other)?;
        for piece in compressed {
            self.output.write_all(&piece)?;
        }
        self.checksum.update(&self.waiting);
        self.length += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE * PIECES - self.waiting.len());
        self.waiting.extend_from_slice(&bytes[..taken]);
        if self.waiting.len() == PIECE * PIECES {
            self.compress_waiting()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A piece as blocks that end on a byte.
fn deflate(piece: &[u8]) -> Result<Vec<u8>> {
    /// Room for the block that ends it, and for what cannot be compressed.
    const MARGIN: usize = 64 << 10;
    let mut compress = Compress::new(LEVEL, false);
    let mut output = Vec::with_capacity(piece.len() + MARGIN);
    let status = compress
        .compress_vec(piece, &mut output, FlushCompress::Sync)
        .context("compressing")?;
    anyhow::ensure!(
        status == Status::Ok && compress.total_in() == piece.len() as u64,
        "compressing: {} of {} bytes were taken",
        compress.total_in(),
        piece.len()
    );
    Ok(output)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use flate2::read::GzDecoder;

    use super::{Gzip, PIECE, PIECES};

    fn compress(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = Gzip::new(Vec::new()).unwrap();
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    #[test]
    fn one_member_holds_any_length() {
        // Noise, which does not get smaller, and a text that does.
        let mut state = 1u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        let noise: Vec<u8> = noise.take(PIECE * PIECES + PIECE / 2).collect();
        let text = b"Received: from here\r\n".repeat(PIECE / 10);
        for bytes in [&b""[..], b"x", &text, &noise, &noise[..PIECE]] {
            let compressed = compress(bytes);
            // A decoder of one member stops at its end.
            let mut decoder = GzDecoder::new(&compressed[..]);
            let mut back = Vec::new();
            decoder.read_to_end(&mut back).unwrap();
            assert!(back == bytes, "{} bytes", bytes.len());
            assert!(decoder.into_inner().is_empty(), "{} bytes", bytes.len());
        }
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let text = b"Received: from there\r\n".repeat(PIECE / 4);
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| compress(&text))
        };
        assert!(with(1) == with(5));
    }
}
