//! Bytes in a file of which a reader fetches only some, and the index that says which.
//!
//! What is packed is cut into units, see [`super::verity`] and [`super::delta`]. So many
//! neighbours make a frame, which is compressed by zstd (RFC 8878) for itself; a pack is one
//! frame after the other. The index has the first bytes of a SHA-256 of each unit, by which
//! a reader knows what it has already, and of each frame as it lies there, so that nothing
//! else is decompressed. Compressed by zstd itself, and little-endian:
//!
//! ```text
//! "mailimg index 1\n"  units (4 bytes)  units of a frame (4)
//! each unit:  hash (8)        all units one after the other, so that they compress
//! each unit:  length (2)
//! each frame: length (4)  hash (8)
//! ```

use std::io::Write;
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};
use sha2::{Digest, Sha256};

use super::image::{PREFIX, Prefix, prefix_of};

/// What an index begins with.
const MAGIC: &[u8; 16] = b"mailimg index 1\n";
/// Units of a frame: 32 KiB of a root. A reader that lacks one fetches all of them; of
/// fewer the compression would be worse.
pub const FRAME_UNITS: usize = 8;
/// Most units of a frame that a reader takes.
const FRAME_UNITS_LIMIT: usize = 1024;
/// Bytes of the fields that each unit and each frame has.
const UNIT_FIELDS: usize = PREFIX + 2;
const FRAME_FIELDS: usize = 4 + PREFIX;
/// Frames that are compressed at once.
const BATCH: usize = 256;
/// How hard zstd tries, as in [`super::delta`]. 19 takes twenty times as long.
const LEVEL: i32 = 9;

/// A frame as it lies in the pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    length: u32,
    prefix: Prefix,
}

/// What a pack holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its units, by their hashes.
    pub units: Vec<Prefix>,
    /// Bytes of each.
    lengths: Vec<u16>,
    frames: Vec<Frame>,
    frame_units: usize,
}

impl Index {
    /// Reads an index of no more than so many units.
    pub fn decode(packed: &[u8], units_limit: usize) -> Result<Self> {
        let head = MAGIC.len() + 8;
        let limit = head + units_limit * (UNIT_FIELDS + FRAME_FIELDS);
        let bytes = zstd::bulk::decompress(packed, limit).context("decompressing the index")?;
        ensure!(
            bytes.len() >= head && bytes.starts_with(MAGIC),
            "the index is of another kind"
        );
        let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        let units = number(MAGIC.len()) as usize;
        let frame_units = number(MAGIC.len() + 4) as usize;
        ensure!(
            units <= units_limit && (1..=FRAME_UNITS_LIMIT).contains(&frame_units),
            "the index is too large"
        );
        let frames = units.div_ceil(frame_units);
        ensure!(
            bytes.len() == head + units * UNIT_FIELDS + frames * FRAME_FIELDS,
            "the index has another length than it says"
        );
        let (hashes, rest) = bytes[head..].split_at(units * PREFIX);
        let (lengths, frames) = rest.split_at(units * 2);
        Ok(Self {
            units: hashes.chunks_exact(PREFIX).map(prefix_of).collect(),
            lengths: lengths
                .chunks_exact(2)
                .map(|two| u16::from_le_bytes([two[0], two[1]]))
                .collect(),
            frames: frames
                .chunks_exact(FRAME_FIELDS)
                .map(|fields| Frame {
                    length: u32::from_le_bytes(std::array::from_fn(|byte| fields[byte])),
                    prefix: prefix_of(&fields[4..]),
                })
                .collect(),
            frame_units,
        })
    }

    /// Writes it.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(u32::try_from(self.units.len())?.to_le_bytes());
        bytes.extend(u32::try_from(self.frame_units)?.to_le_bytes());
        bytes.extend(self.units.as_flattened());
        bytes.extend(self.lengths.iter().flat_map(|length| length.to_le_bytes()));
        for frame in &self.frames {
            bytes.extend(frame.length.to_le_bytes());
            bytes.extend(frame.prefix);
        }
        zstd::bulk::compress(&bytes, LEVEL).context("compressing the index")
    }

    /// Bytes of what is packed.
    pub fn unpacked_size(&self) -> u64 {
        self.lengths.iter().map(|length| u64::from(*length)).sum()
    }

    /// Whether all units but the last have this length.
    pub fn is_even(&self, length: usize) -> bool {
        self.lengths.iter().all(|one| usize::from(*one) == length)
    }

    /// Where each frame begins in the pack, and where the last one ends.
    pub fn places(&self) -> Vec<u64> {
        let mut places = vec![0];
        let mut end = 0;
        for frame in &self.frames {
            end += u64::from(frame.length);
            places.push(end);
        }
        places
    }

    /// The frames that hold these units, which are in their order.
    pub fn frames_of(&self, units: &[Range<u64>]) -> Vec<usize> {
        let mut frames: Vec<usize> = Vec::new();
        for range in units.iter().filter(|range| !range.is_empty()) {
            let first = range.start as usize / self.frame_units;
            let last = (range.end as usize - 1) / self.frame_units;
            let known = frames.last().map_or(0, |frame| frame + 1);
            frames.extend(first.max(known)..=last);
        }
        frames
    }

    /// The units of a frame.
    pub fn units_of(&self, frame: usize) -> Range<usize> {
        let first = frame * self.frame_units;
        first..(first + self.frame_units).min(self.units.len())
    }

    /// Bytes of one unit.
    pub fn length_of(&self, unit: usize) -> usize {
        usize::from(self.lengths[unit])
    }

    /// Bytes of a frame in the pack.
    pub fn packed_length(&self, frame: usize) -> usize {
        self.frames[frame].length as usize
    }

    /// The units of a frame, out of its bytes in the pack.
    pub fn unpack(&self, frame: usize, packed: &[u8]) -> Result<Vec<u8>> {
        ensure!(
            prefix_of(&Sha256::digest(packed)) == self.frames[frame].prefix,
            "what came is not what was signed"
        );
        let length = self.units_of(frame).map(|unit| self.length_of(unit)).sum();
        let bytes = zstd::bulk::decompress(packed, length).context("decompressing")?;
        ensure!(bytes.len() == length, "what came has another length");
        Ok(bytes)
    }

    /// What of a frame's units is wanted, neighbours together: the first, and their bytes.
    pub fn wanted_in<'a>(
        &self,
        frame: usize,
        bytes: &'a [u8],
        wanted: &[Range<u64>],
    ) -> Vec<(u64, &'a [u8])> {
        let units = self.units_of(frame);
        let (first, end) = (units.start as u64, units.end as u64);
        let mut places = vec![0];
        for unit in units {
            places.push(places[places.len() - 1] + self.length_of(unit));
        }
        let place = |unit: u64| places[(unit - first) as usize];
        let from = wanted.partition_point(|range| range.end <= first);
        let ranges = wanted[from..].iter().take_while(|range| range.start < end);
        ranges
            .map(|range| range.start.max(first)..range.end.min(end))
            .map(|part| (part.start, &bytes[place(part.start)..place(part.end)]))
            .collect()
    }
}

/// Writes a pack of units of these hashes and lengths, and returns its index.
pub fn write_pack(
    output: &mut dyn Write,
    units: Vec<Prefix>,
    lengths: Vec<u16>,
    read: &(dyn Fn(Range<usize>) -> Result<Vec<u8>> + Sync),
) -> Result<Index> {
    let mut index = Index {
        units,
        lengths,
        frames: Vec::new(),
        frame_units: FRAME_UNITS,
    };
    let count = index.units.len().div_ceil(FRAME_UNITS);
    let numbers: Vec<usize> = (0..count).collect();
    for batch in numbers.chunks(BATCH) {
        let packed = batch
            .par_iter()
            .map(|frame| {
                let bytes = read(index.units_of(*frame))?;
                zstd::bulk::compress(&bytes, LEVEL).context("compressing")
            })
            .collect::<Result<Vec<_>>>()?;
        for frame in packed {
            output.write_all(&frame).context("writing the pack")?;
            index.frames.push(Frame {
                length: u32::try_from(frame.len())?,
                prefix: prefix_of(&Sha256::digest(&frame)),
            });
        }
    }
    Ok(index)
}

#[cfg(test)]
mod tests {
    use super::{FRAME_UNITS, Index, write_pack};
    use crate::format::image::prefix_of;
    use sha2::{Digest, Sha256};

    /// A pack of units of uneven lengths.
    fn sample() -> (Vec<Vec<u8>>, Vec<u8>, Index) {
        let units: Vec<Vec<u8>> = (0..FRAME_UNITS * 5 + 3)
            .map(|number| vec![number as u8; 100 + number * 7])
            .collect();
        let hashes = units.iter().map(|unit| prefix_of(&Sha256::digest(unit)));
        let lengths = units.iter().map(|unit| unit.len() as u16);
        let mut pack = Vec::new();
        let index = write_pack(&mut pack, hashes.collect(), lengths.collect(), &|range| {
            Ok(units[range].concat())
        })
        .unwrap();
        (units, pack, index)
    }

    #[test]
    fn every_frame_comes_as_it_went() {
        let (units, pack, index) = sample();
        assert_eq!(
            Index::decode(&index.encode().unwrap(), 1000).unwrap(),
            index
        );
        let places = index.places();
        assert_eq!(*places.last().unwrap(), pack.len() as u64);
        for frame in 0..places.len() - 1 {
            let packed = &pack[places[frame] as usize..places[frame + 1] as usize];
            let bytes = index.unpack(frame, packed).unwrap();
            assert!(bytes == units[index.units_of(frame)].concat());
            for at in 0..packed.len() {
                let mut changed = packed.to_vec();
                changed[at] ^= 1;
                assert!(index.unpack(frame, &changed).is_err());
            }
        }
        let size: usize = units.iter().map(Vec::len).sum();
        assert_eq!(index.unpacked_size(), size as u64);
    }

    #[test]
    fn units_are_found_in_their_frames_once() {
        let (_, _, index) = sample();
        let each = FRAME_UNITS as u64;
        assert_eq!(index.frames_of(&[]), [0; 0]);
        assert_eq!(index.frames_of(&[0..1, 2..3, each..each + 1]), [0, 1]);
        assert_eq!(
            index.frames_of(&[1..2 * each + 1, 5 * each..5 * each + 3]),
            [0, 1, 2, 5]
        );
    }

    #[test]
    fn of_a_frame_comes_what_is_wanted() {
        let (units, _, index) = sample();
        let each = FRAME_UNITS as u64;
        let bytes = units[index.units_of(1)].concat();
        let one = each as usize + 1;
        let wanted = [0..2, each + 1..each + 2, 2 * each - 1..3 * each];
        let found = index.wanted_in(1, &bytes, &wanted);
        let numbers: Vec<u64> = found.iter().map(|(unit, _)| *unit).collect();
        assert_eq!(numbers, [each + 1, 2 * each - 1]);
        assert!(found[0].1 == units[one]);
        assert!(found[1].1 == units[2 * one - 3]);
        assert_eq!(index.wanted_in(4, &[], &wanted), []);
    }

    #[test]
    fn an_index_that_lies_is_refused() {
        let (_, _, index) = sample();
        let bytes = zstd::bulk::decompress(&index.encode().unwrap(), 1 << 20).unwrap();
        let decode = |bytes: &[u8], limit: usize| {
            Index::decode(&zstd::bulk::compress(bytes, 1).unwrap(), limit)
        };
        assert!(decode(&bytes, index.units.len()).is_ok());
        assert!(decode(&bytes, index.units.len() - 1).is_err());
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length], 1000).is_err(), "{length}");
        }
        // Its numbers: of units, and of units in a frame.
        for (at, value) in [(16, 0), (16, 200), (19, 255), (20, 0), (20, 3), (23, 255)] {
            let mut changed = bytes.clone();
            changed[at] = value;
            assert!(decode(&changed, 1000).is_err(), "{at} {value}");
        }
        assert!(Index::decode(b"no zstd at all", 1000).is_err());
    }
}
