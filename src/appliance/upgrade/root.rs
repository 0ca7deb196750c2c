//! A root comes into the slot that does not run, block by block.
//!
//! The source says which blocks there are, by the first bytes of their hashes. What the
//! running root has is copied from there, what an earlier run brought stays, and the source
//! is asked for the rest. Each block is hashed on its way; the hashes make the tree, and
//! the tree's root hash says whether all of it is right, whoever sent it.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use rand::RngExt;
use rayon::prelude::{ParallelIterator, ParallelSlice};
use rustix::fs::{Advice, fadvise};

use super::machine::Machine;
use super::source::Source;
use crate::error::Hint;
use crate::format::gpt::{ATTRIBUTE_READ_ONLY, Partition};
use crate::format::image::{Offer, Prefix, prefix_of};
use crate::format::layout::{EMPTY, SLOTS, change_partitions};
use crate::format::verity::{
    BLOCK, BlockHasher, DIGEST, Hash, Superblock, build_tree, hash_size, leaves_at,
};

/// Blocks that are read, hashed and written at once: 4 MiB.
const WINDOW: usize = 1024;
/// Bytes after which what was written goes to the disk, so that the memory of a small
/// machine is not full of it.
const FLUSH_BYTES: u64 = 64 << 20;

/// Where the blocks of a root came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub blocks: u64,
    /// Those that the running root has.
    pub copied: u64,
    /// Those that an earlier run had brought.
    pub found: u64,
    /// Those that the source sent.
    pub fetched: u64,
}

/// Writes the root and its tree of hashes, and names the slot's partitions by them.
pub fn write(machine: &Machine, source: &mut dyn Source, index: &[Prefix]) -> Result<Tally> {
    let offer = source.offer().clone();
    let blocks = offer.superblock.data_blocks;
    ensure!(
        index.len() as u64 == blocks,
        "reading the index of the image: it has {} of {blocks} blocks",
        index.len()
    );
    let [root, hashes] = machine.layout.slot(machine.other());
    name(machine, |number| Partition {
        label: EMPTY.to_owned(),
        uuid: rand::rng().random(),
        attributes: 0,
        ..machine.layout.slot(machine.other())[number].clone()
    })
    .context("calling the slot empty")?;

    let mut slot = Slot {
        disk: &machine.disk,
        offset: root.offset(),
        hasher: BlockHasher::new(&offer.superblock.salt),
        leaves: vec![[0; DIGEST]; index.len()],
        written: 0,
    };
    let (missing, mut tally) = slot.copy_what_is_here(machine, index, &offer.superblock)?;
    let wanted = ranges(&missing);
    source
        .fetch(&wanted, &mut |block, bytes| slot.take(block, bytes))
        .context("reading the root of the image")?;
    tally.fetched = missing.len() as u64;

    let (tree, root_hash) = build_tree(&slot.hasher, slot.leaves);
    ensure!(
        root_hash == offer.described.root_hash,
        "checking the root that came: it is not the one that was offered, or it was damaged on \
         the way"
    );
    let disk = &machine.disk;
    let written = disk
        .write_all_at(&offer.superblock.encode(), hashes.offset())
        .and_then(|()| disk.write_all_at(&tree, hashes.offset() + BLOCK as u64))
        .and_then(|()| disk.sync_data());
    written.context("writing the tree of hashes")?;
    name(machine, |number| {
        let suffix = ["r", "v"][number];
        Partition {
            label: format!("{}_{suffix}", offer.described.stem()),
            uuid: half(&root_hash, number),
            attributes: ATTRIBUTE_READ_ONLY,
            ..machine.layout.slot(machine.other())[number].clone()
        }
    })
    .context("naming the slot")?;
    Ok(tally)
}

/// Blocks that the running root does not have.
pub fn missing(machine: &Machine, offer: &Offer, index: &[Prefix]) -> Result<Vec<Range<u64>>> {
    let own = RunningRoot::read(machine, &offer.superblock)?;
    let numbers = (0u64..).zip(index);
    let missing = numbers.filter(|(_, prefix)| !own.blocks.contains_key(*prefix));
    Ok(ranges(&missing.map(|(block, _)| block).collect::<Vec<_>>()))
}

/// The UUIDs of root and hashes are the halves of the root hash.
fn half(root_hash: &Hash, number: usize) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&root_hash[number * 16..][..16]);
    uuid
}

/// Renames the two partitions of the slot that does not run.
fn name(machine: &Machine, partition: impl Fn(usize) -> Partition) -> Result<()> {
    let numbers = SLOTS[machine.other()];
    let changes: Vec<_> = [0, 1].map(|at| (numbers[at], partition(at))).to_vec();
    change_partitions(&mut &machine.disk, &changes)
}

/// Stretches of blocks that follow each other.
fn ranges(blocks: &[u64]) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for block in blocks {
        match ranges.last_mut() {
            Some(last) if last.end == *block => last.end += 1,
            _ => ranges.push(*block..*block + 1),
        }
    }
    ranges
}

/// The slot while it is written.
struct Slot<'a> {
    disk: &'a File,
    offset: u64,
    hasher: BlockHasher,
    leaves: Vec<Hash>,
    /// Bytes since the last flush.
    written: u64,
}

impl Slot<'_> {
    /// Copies blocks from the running root, and returns those that have to be fetched.
    fn copy_what_is_here(
        &mut self,
        machine: &Machine,
        index: &[Prefix],
        superblock: &Superblock,
    ) -> Result<(Vec<u64>, Tally)> {
        let own = RunningRoot::read(machine, superblock)?;
        let mut tally = Tally {
            blocks: index.len() as u64,
            ..Tally::default()
        };
        let mut missing = Vec::new();
        let mut buffer = vec![0; WINDOW * BLOCK];
        for (window, wanted) in index.chunks(WINDOW).enumerate() {
            let first = window * WINDOW;
            let bytes = &mut buffer[..wanted.len() * BLOCK];
            // What an earlier run brought is here still.
            self.disk
                .read_exact_at(bytes, self.offset + (first * BLOCK) as u64)
                .context("reading the slot")?;
            let mut copied = own.copy(wanted, bytes)?;
            let here = self.hash(bytes);
            for (at, prefix) in wanted.iter().enumerate() {
                match (here[at].starts_with(prefix), copied[at]) {
                    (true, true) => tally.copied += 1,
                    (true, false) => tally.found += 1,
                    // A damaged block of the running root is fetched, too.
                    (false, _) => {
                        copied[at] = false;
                        missing.push((first + at) as u64);
                    }
                }
            }
            self.put(first as u64, bytes, &copied)?;
            self.leaves[first..first + wanted.len()].copy_from_slice(&here);
        }
        Ok((missing, tally))
    }

    /// Takes blocks that the source sent.
    fn take(&mut self, block: u64, bytes: &[u8]) -> Result<()> {
        let hashes = self.hash(bytes);
        let first = usize::try_from(block)?;
        let leaves = self.leaves.get_mut(first..first + hashes.len());
        leaves
            .context("the source sent more than it was asked for")?
            .copy_from_slice(&hashes);
        let changed = vec![true; hashes.len()];
        self.put(block, bytes, &changed)
    }

    fn hash(&self, bytes: &[u8]) -> Vec<Hash> {
        let blocks = bytes.par_chunks_exact(BLOCK);
        blocks.map(|block| self.hasher.block(block)).collect()
    }

    /// Writes those blocks that changed, neighbours together.
    fn put(&mut self, first: u64, bytes: &[u8], changed: &[bool]) -> Result<()> {
        let numbers = (0..changed.len() as u64).filter(|at| changed[*at as usize]);
        for range in ranges(&numbers.collect::<Vec<_>>()) {
            let part = &bytes[range.start as usize * BLOCK..range.end as usize * BLOCK];
            let at = self.offset + (first + range.start) * BLOCK as u64;
            self.disk
                .write_all_at(part, at)
                .context("writing the slot")
                .hint("the disk may be failing; the running version is untouched")?;
            self.written += part.len() as u64;
        }
        if self.written >= FLUSH_BYTES {
            self.written = 0;
            self.disk.sync_data().context("writing the slot")?;
            // Only a wish: nobody reads these pages again soon.
            let _ = fadvise(self.disk, 0, None, Advice::DontNeed);
        }
        Ok(())
    }
}

/// The root that runs, by the hashes of its blocks.
struct RunningRoot<'a> {
    disk: &'a File,
    offset: u64,
    blocks: HashMap<Prefix, u64>,
}

impl<'a> RunningRoot<'a> {
    /// Reads its hashes; it counts as empty when they are made with another salt.
    fn read(machine: &'a Machine, wanted: &Superblock) -> Result<Self> {
        let [root, hashes] = machine.layout.slot(machine.running);
        let mut head = vec![0; BLOCK];
        let disk = &machine.disk;
        disk.read_exact_at(&mut head, hashes.offset())
            .context("reading the hashes of the running root")?;
        let superblock = Superblock::decode(&head)?;
        let mut blocks = HashMap::new();
        let fits = superblock.data_blocks * BLOCK as u64 <= root.size()
            && hash_size(superblock.data_blocks * BLOCK as u64) <= hashes.size();
        if fits && superblock.salt == wanted.salt && superblock.data_blocks > 1 {
            let mut leaves = vec![0; superblock.data_blocks as usize * DIGEST];
            disk.read_exact_at(
                &mut leaves,
                hashes.offset() + leaves_at(superblock.data_blocks),
            )
            .context("reading the hashes of the running root")?;
            for (block, leaf) in leaves.chunks_exact(DIGEST).enumerate() {
                blocks.insert(prefix_of(leaf), block as u64);
            }
        }
        Ok(Self {
            disk,
            offset: root.offset(),
            blocks,
        })
    }

    /// Fills in the blocks that it has, neighbours with one read, and says which.
    fn copy(&self, wanted: &[Prefix], bytes: &mut [u8]) -> Result<Vec<bool>> {
        let own: Vec<Option<u64>> = wanted
            .iter()
            .map(|prefix| self.blocks.get(prefix).copied())
            .collect();
        let mut at = 0;
        while at < own.len() {
            let Some(block) = own[at] else {
                at += 1;
                continue;
            };
            let follows = |count: &u64| own.get(at + *count as usize) == Some(&Some(block + count));
            let count = 1 + (1..).take_while(follows).count();
            let buffer = &mut bytes[at * BLOCK..(at + count) * BLOCK];
            self.disk
                .read_exact_at(buffer, self.offset + block * BLOCK as u64)
                .context("reading the running root")?;
            at += count;
        }
        Ok(own.iter().map(Option::is_some).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn neighbours_are_asked_for_together() {
        assert_eq!(ranges(&[]), []);
        assert_eq!(ranges(&[1, 2, 3, 7, 9, 10]), [1..4, 7..8, 9..11]);
    }
}
