//! How a machine is upgraded by a peer that has an image: only what it lacks travels.
//!
//! The peer starts `mailctl receive` on the machine and speaks with it over its standard
//! input and output. Lines are JSON; what is not text follows its line by length:
//!
//! ```text
//! peer     Hello: the offer, lengths            line, index of the root, index of the kernel
//! machine  Answer::Root: blocks it lacks        line
//! peer     these blocks, PIECE_BLOCKS each      pieces: length (4 bytes, little-endian), zstd
//! machine  Answer::Kernel: pieces it lacks      line
//! peer     these pieces                         one piece
//! machine  Answer::Done, or Answer::Refused     line
//! ```
//!
//! An index has the first bytes of a SHA-256 for each block. It finds what is there already
//! and proves nothing: the machine hashes the whole root, and compares with the root hash.
//! Who the peer is, is the matter of what carries this: ssh.

use std::io::{BufRead, Read, Write};
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use object::{Object, ObjectSection};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::image::{Offer, PREFIX, Prefix, prefix_of};

/// What this is; another number is another conversation.
pub const PROTOCOL: u32 = 1;
/// Blocks of the root in a piece, but for the last one of a stretch: 4 MiB.
pub const PIECE_BLOCKS: u64 = 1024;
/// Bytes that a kernel image is cut into, from the beginning of each of its sections.
const KERNEL_PIECE: usize = 4096;
/// Longest line, in bytes: a million ranges fit.
const LINE_LIMIT: u64 = 64 << 20;
/// Largest piece before it is compressed, in bytes.
pub const PIECE_LIMIT: usize = 64 << 20;
/// How hard zstd tries. Half as fast as 3, and 5 % smaller; the line is slower than both.
const LEVEL: i32 = 9;

/// What the peer says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The image.
    pub offer: Offer,
    /// Bytes of each piece of the kernel image.
    pub kernel: Vec<usize>,
    /// Take a version that is older than the one that runs.
    pub allow_downgrade: bool,
}

/// What the machine says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Blocks of the root that it needs.
    Root(Vec<Range<u64>>),
    /// Pieces of the kernel image that it needs.
    Kernel(Vec<usize>),
    /// The version waits for a restart.
    Done {
        /// The version that runs.
        running: String,
    },
    /// What stands in the way, as errors are printed.
    Refused(String),
}

/// How the last upgrade of a machine stands, for a peer that waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The version that runs.
    pub running: String,
    /// The number of this boot.
    pub boot: String,
    /// How the last upgrade went.
    pub outcome: Outcome,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// There was none.
    None,
    /// Not known yet.
    Open,
    /// Mail is taken and handed out.
    Kept,
    /// The version before is back.
    CameBack(String),
}

/// The pieces in which blocks travel.
pub fn cut_blocks(wanted: &[Range<u64>]) -> impl Iterator<Item = Range<u64>> {
    wanted.iter().flat_map(|range| {
        let end = range.end;
        let starts = range.clone().step_by(PIECE_BLOCKS as usize);
        starts.map(move |start| start..(start + PIECE_BLOCKS).min(end))
    })
}

/// Writes a line.
pub fn write_line<T: Serialize>(output: &mut dyn Write, value: &T) -> Result<()> {
    let mut line = serde_json::to_string(value).context("writing JSON")?;
    line.push('\n');
    let written = output.write_all(line.as_bytes());
    written.and_then(|()| output.flush()).context("sending")
}

/// Reads a line.
pub fn read_line<T: for<'de> Deserialize<'de>>(input: &mut dyn BufRead) -> Result<T> {
    let mut line = Vec::new();
    input
        .take(LINE_LIMIT)
        .read_until(b'\n', &mut line)
        .context("receiving")?;
    ensure!(
        line.ends_with(b"\n"),
        "the other side ended the conversation"
    );
    serde_json::from_slice(&line).context("understanding the other side")
}

/// Writes an index.
pub fn write_index(output: &mut dyn Write, index: &[Prefix]) -> Result<()> {
    output.write_all(index.as_flattened()).context("sending")
}

/// Reads an index of so many blocks.
pub fn read_index(input: &mut dyn Read, blocks: usize) -> Result<Vec<Prefix>> {
    let mut bytes = Vec::new();
    let wanted = blocks * PREFIX;
    input
        .take(wanted as u64)
        .read_to_end(&mut bytes)
        .context("receiving")?;
    ensure!(bytes.len() == wanted, "the other side ended in the index");
    Ok(bytes.chunks_exact(PREFIX).map(prefix_of).collect())
}

/// Writes a piece, and returns how many bytes of it travel.
pub fn write_piece(output: &mut dyn Write, bytes: &[u8]) -> Result<u64> {
    let packed = zstd::bulk::compress(bytes, LEVEL).context("compressing")?;
    let length = u32::try_from(packed.len())?.to_le_bytes();
    let sent = output
        .write_all(&length)
        .and_then(|()| output.write_all(&packed));
    sent.context("sending")?;
    Ok(packed.len() as u64 + 4)
}

/// Reads a piece that has so many bytes.
pub fn read_piece(input: &mut dyn Read, bytes: usize) -> Result<Vec<u8>> {
    ensure!(
        bytes <= PIECE_LIMIT,
        "the other side's pieces are too large"
    );
    let mut length = [0; 4];
    input.read_exact(&mut length).context("receiving")?;
    let length = u32::from_le_bytes(length) as usize;
    ensure!(
        length <= zstd::zstd_safe::compress_bound(bytes),
        "the other side sent {length} bytes for {bytes}"
    );
    let mut packed = vec![0; length];
    input.read_exact(&mut packed).context("receiving")?;
    let piece = zstd::bulk::decompress(&packed, bytes).context("decompressing")?;
    ensure!(
        piece.len() == bytes,
        "the other side sent {} bytes for {bytes}",
        piece.len()
    );
    Ok(piece)
}

/// Where a kernel image is cut: its sections lie elsewhere in the next one, and are the
/// same bytes for the most part.
pub fn cut_kernel(kernel: &[u8]) -> Vec<Range<usize>> {
    let mut cuts = vec![0];
    if let Ok(program) = object::File::parse(kernel) {
        let starts = program
            .sections()
            .filter_map(|section| section.file_range());
        cuts.extend(starts.map(|(start, _)| start as usize));
    }
    cuts.push(kernel.len());
    cuts.sort_unstable();
    cuts.dedup();
    let mut pieces = Vec::new();
    for pair in cuts.windows(2) {
        for start in (pair[0]..pair[1].min(kernel.len())).step_by(KERNEL_PIECE) {
            pieces.push(start..(start + KERNEL_PIECE).min(pair[1]));
        }
    }
    pieces
}

/// What a piece of a kernel image is found by.
pub fn piece_prefix(piece: &[u8]) -> Prefix {
    prefix_of(&Sha256::digest(piece))
}

#[cfg(test)]
mod tests {
    use super::{cut_kernel, read_index, read_line, read_piece, write_line, write_piece};

    #[test]
    fn pieces_and_lines_come_as_they_went() {
        let mut wire = Vec::new();
        write_line(&mut wire, &vec![1, 2]).unwrap();
        let piece: Vec<u8> = (0..100_000u32).map(|number| (number / 7) as u8).collect();
        let sent = write_piece(&mut wire, &piece).unwrap();
        assert!(sent < 20_000, "{sent}");
        let mut input = &wire[..];
        assert_eq!(read_line::<Vec<u8>>(&mut input).unwrap(), [1, 2]);
        assert!(read_piece(&mut input, piece.len()).unwrap() == piece);
        // Cut anywhere, and with the wrong length.
        let start = wire.len() - sent as usize;
        for end in start..wire.len() {
            assert!(read_piece(&mut &wire[start..end], piece.len()).is_err());
        }
        assert!(read_piece(&mut &wire[start..], piece.len() - 1).is_err());
        assert!(read_piece(&mut &wire[start..], piece.len() + 1).is_err());
        assert!(read_piece(&mut &[0xff; 64][..], 10).is_err());
        assert!(read_index(&mut &[0; 15][..], 2).is_err());
        for bad in ["", "[1", "[1]x\n"] {
            assert!(read_line::<Vec<u8>>(&mut bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_kernel_is_cut_wholly_and_once() {
        for kernel in [vec![1; 10_000], vec![0; 4096], Vec::new()] {
            let pieces = cut_kernel(&kernel);
            let mut at = 0;
            for piece in pieces {
                assert_eq!(piece.start, at);
                assert!(piece.end > at);
                at = piece.end;
            }
            assert_eq!(at, kernel.len());
        }
    }
}
