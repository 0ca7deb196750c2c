//! Copying from an image to a disk, and reading back what was copied.
//!
//! Pieces are read and hashed by all processors while the pieces before them are
//! written. What is zeros in the image becomes zeros on the disk, whatever lay there,
//! with as little writing as the disk allows.

use std::io;
use std::panic::resume_unwind;

use anyhow::{Context, Result};
use rayon::iter::{IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};
use sha2::{Digest, Sha256};

use crate::builder::progress::Stage;
use crate::error::hinted;
use crate::format::extents::ReadAt;
use crate::format::storage::{Storage, is_zero};

/// Bytes that are hashed and compared at once.
const PIECE: u64 = 1 << 20;
/// Pieces that are read ahead while others are written.
const BATCH: usize = 16;
/// Zeros shorter than this are written like anything else.
const BLOCK: usize = 64 << 10;

/// What helps where a disk does not do what it should.
const BROKEN: &str = "the disk or its controller is broken: look at `dmesg`, and use another disk";

/// What is copied from where to where, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Place in the image.
    pub from: u64,
    /// Place on the disk.
    pub to: u64,
    /// How much.
    pub length: u64,
}

impl Stretch {
    /// The same place in both.
    pub fn same(offset: u64, length: u64) -> Self {
        Self {
            from: offset,
            to: offset,
            length,
        }
    }
}

/// SHA-256 of a piece; none when it is zeros.
type Fingerprint = Option<[u8; 32]>;

/// What was written, to be compared with what is read back.
#[derive(Debug, Default)]
pub struct Written(Vec<(Stretch, Fingerprint)>);

/// Bytes of all stretches together.
pub fn total(stretches: &[Stretch]) -> u64 {
    stretches.iter().map(|stretch| stretch.length).sum()
}

/// Copies stretches in their order.
pub fn copy(
    image: &dyn ReadAt,
    stretches: &[Stretch],
    disk: &mut dyn Storage,
    stage: &Stage,
) -> Result<Written> {
    let pieces = pieces(stretches);
    let mut batches = pieces.chunks(BATCH);
    let mut ahead = fill(image, batches.next().unwrap_or_default())?;
    let mut written = Written::default();
    let mut zeros = Zeros::default();
    while !ahead.is_empty() {
        let next = batches.next().unwrap_or_default();
        let filled = std::thread::scope(|scope| {
            let filling = scope.spawn(|| fill(image, next));
            let wrote = ahead
                .iter()
                .try_for_each(|piece| piece.write(disk, &mut zeros, stage));
            let filled = filling.join().unwrap_or_else(|panic| resume_unwind(panic));
            wrote.and(filled)
        })?;
        let done = std::mem::replace(&mut ahead, filled);
        written
            .0
            .extend(done.iter().map(|piece| (piece.stretch, piece.fingerprint)));
    }
    zeros.end(disk)?;
    Ok(written)
}

/// Reads back what was written, and fails where the disk has something else.
pub fn compare(disk: &dyn Storage, written: &Written, stage: &Stage) -> Result<()> {
    for batch in written.0.chunks(BATCH) {
        let mut read = Vec::new();
        for (stretch, fingerprint) in batch {
            let mut bytes = vec![0; stretch.length as usize];
            disk.read_at(&mut bytes, stretch.to)
                .with_context(|| format!("reading back what was written at {}", stretch.to))?;
            read.push((stretch.to, bytes, *fingerprint));
            stage.add(stretch.length);
        }
        let differs = read
            .par_iter()
            .find_first(|(_, bytes, expected)| fingerprint(bytes) != *expected);
        if let Some((offset, ..)) = differs {
            return Err(hinted(
                format!("reading back: the disk has something else at {offset} than was written"),
                BROKEN,
            ));
        }
    }
    Ok(())
}

fn pieces(stretches: &[Stretch]) -> Vec<Stretch> {
    let split = |stretch: &Stretch| {
        let Stretch { from, to, length } = *stretch;
        (0..length)
            .step_by(PIECE as usize)
            .map(move |start| Stretch {
                from: from + start,
                to: to + start,
                length: PIECE.min(length - start),
            })
    };
    stretches.iter().flat_map(split).collect()
}

/// A piece that was read.
struct Piece {
    stretch: Stretch,
    bytes: Vec<u8>,
    fingerprint: Fingerprint,
}

fn fill(image: &dyn ReadAt, pieces: &[Stretch]) -> Result<Vec<Piece>> {
    let read = |stretch: &Stretch| {
        let mut bytes = vec![0; stretch.length as usize];
        image
            .read_exact_at(&mut bytes, stretch.from)
            .with_context(|| format!("reading the image at {}", stretch.from))?;
        Ok(Piece {
            stretch: *stretch,
            fingerprint: fingerprint(&bytes),
            bytes,
        })
    };
    pieces.into_par_iter().map(read).collect()
}

/// Says where the disk refused, and what would help.
fn explain(error: io::Error, offset: u64) -> anyhow::Error {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull => "free some space where the file lies, then run this again",
        _ => BROKEN,
    };
    hinted(format!("writing to the disk at {offset}: {error}"), hint)
}

fn fingerprint(bytes: &[u8]) -> Fingerprint {
    (!is_zero(bytes)).then(|| Sha256::digest(bytes).into())
}

impl Piece {
    fn write(&self, disk: &mut dyn Storage, zeros: &mut Zeros, stage: &Stage) -> Result<()> {
        let mut data = 0;
        let mut put = |from: usize, to: usize| {
            if from == to {
                return Ok(());
            }
            let offset = self.stretch.to + from as u64;
            disk.write_at(&self.bytes[from..to], offset)
                .map_err(|error| explain(error, offset))
        };
        let mut holes = Vec::new();
        if self.fingerprint.is_none() {
            holes.push((0, self.bytes.len()));
            data = self.bytes.len();
        } else {
            for start in (0..self.bytes.len()).step_by(BLOCK) {
                let end = self.bytes.len().min(start + BLOCK);
                if is_zero(&self.bytes[start..end]) {
                    put(data, start)?;
                    holes.push((start, end));
                    data = end;
                }
            }
        }
        put(data, self.bytes.len())?;
        for (start, end) in holes {
            zeros.add(self.stretch.to + start as u64, (end - start) as u64, disk)?;
        }
        stage.add(self.stretch.length);
        Ok(())
    }
}

/// Zeros that are still to be made, as long a stretch as there is.
#[derive(Default)]
struct Zeros {
    start: u64,
    length: u64,
}

impl Zeros {
    fn add(&mut self, start: u64, length: u64, disk: &mut dyn Storage) -> Result<()> {
        if start != self.start + self.length {
            self.end(disk)?;
            self.start = start;
        }
        self.length += length;
        Ok(())
    }

    fn end(&mut self, disk: &mut dyn Storage) -> Result<()> {
        if self.length > 0 {
            disk.zero_at(self.start, self.length)
                .map_err(|error| explain(error, self.start))?;
        }
        self.length = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop, prop_assert, proptest};

    use super::{Stretch, compare, copy};
    use crate::builder::progress::Progress;
    use crate::builder::write::layered::Layered;
    use crate::error::render;

    /// Blocks of zeros and of others, with a part of a block at the end.
    fn content(blocks: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for block in blocks {
            bytes.resize(bytes.len() + (64 << 10), *block);
        }
        bytes.resize(bytes.len() + 700, 1);
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 24,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]
        #[test]
        fn zeros_are_zeros_and_neighbours_stay(
            blocks in prop::collection::vec(0u8..2, 0..70),
            shift in 0u64..3,
        ) {
            let image = content(&blocks);
            let length = image.len() as u64;
            let layered = Layered::over(&image).unwrap();
            let mut disk = vec![9; image.len() + 5000];
            let stage = Progress::hidden().bytes("write", 0);
            let stretches = [Stretch { from: 0, to: shift * 512, length }];
            let written = copy(&layered, &stretches, &mut disk, &stage).unwrap();
            let start = (shift * 512) as usize;
            prop_assert!(disk[start..start + image.len()] == image);
            prop_assert!(disk[..start].iter().all(|byte| *byte == 9));
            prop_assert!(disk[start + image.len()..].iter().all(|byte| *byte == 9));
            compare(&disk, &written, &stage).unwrap();
        }
    }

    #[test]
    fn a_disk_that_forgets_is_told() {
        let image = content(&[0, 1, 0]);
        let layered = Layered::over(&image).unwrap();
        let stretches = [Stretch::same(0, image.len() as u64)];
        let stage = Progress::hidden().bytes("write", 0);
        for place in [0, 70_000] {
            let mut disk = image.clone();
            let written = copy(&layered, &stretches, &mut disk, &stage).unwrap();
            disk[place] ^= 1;
            let text = render(&compare(&disk, &written, &stage).unwrap_err());
            assert!(text.contains("has something else at 0"), "{text}");
            assert!(text.contains("hint: the disk or its controller"), "{text}");
        }
    }
}
