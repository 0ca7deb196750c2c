//! Writing an image out and sealing it with a dm-verity hash tree.
//!
//! Format 1 of <https://docs.kernel.org/admin-guide/device-mapper/verity.html>
//! with the superblock of
//! <https://gitlab.com/cryptsetup/cryptsetup/-/wikis/DMVerity>: SHA-256,
//! blocks of 4096 bytes, the salt before every block. The output is
//! byte-identical to that of `veritysetup format`.
//!
//! Left out: other hashes and block sizes, forward error correction, and
//! signatures of the root hash.

mod superblock;

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail};
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};
use sha2::{Digest, Sha256};

use super::extents::{Extents, ReadAt};

pub use superblock::{BLOCK, Superblock};

/// Length of a SHA-256 digest in bytes.
pub const DIGEST: usize = 32;
/// Digests in a hash block.
const FAN_OUT: usize = BLOCK / DIGEST;
/// How much one thread fills, hashes and writes at once.
const CHUNK: u64 = 4 << 20;

/// A hash of a block, or the one of the whole tree.
pub type Hash = [u8; DIGEST];

/// The size in bytes of the hash partition for a data size in bytes.
pub fn hash_size(data_size: u64) -> u64 {
    let mut blocks = 1;
    let mut level = data_size.div_ceil(BLOCK as u64);
    while level > 1 {
        level = level.div_ceil(FAN_OUT as u64);
        blocks += level;
    }
    blocks * BLOCK as u64
}

/// Where in the hash partition the hashes of the data's blocks lie, one after the other,
/// for a number of blocks: the last level of the tree.
pub fn leaves_at(data_blocks: u64) -> u64 {
    match data_blocks {
        // The root hash itself is the only one.
        ..=1 => BLOCK as u64,
        blocks => {
            let leaves = blocks.div_ceil(FAN_OUT as u64) * BLOCK as u64;
            hash_size(blocks * BLOCK as u64) - leaves
        }
    }
}

/// Writes an image and its hash tree; returns the root hash.
///
/// The data, rounded up to 4096 bytes, goes to `data_offset` of one file, the
/// superblock and the tree, [`hash_size`] bytes, to `hash_offset` of another
/// (or the same). Blocks of zeros are skipped so that the file stays sparse:
/// what is there already must be zeros.
pub fn write_verity(
    image: &Extents,
    data: &File,
    data_offset: u64,
    hash: &File,
    hash_offset: u64,
    salt: [u8; 32],
    uuid: [u8; 16],
) -> Result<Hash> {
    if image.size() == 0 {
        bail!("sealing an empty image");
    }
    let data_blocks = image.size().div_ceil(BLOCK as u64);
    let hasher = BlockHasher::new(&salt);
    let chunks: Vec<Vec<Hash>> = chunks_of(data_blocks)
        .into_par_iter()
        .map_init(
            || vec![0; CHUNK as usize],
            |buffer, (start, length)| {
                let buffer = &mut buffer[..length];
                let met = image
                    .read_at(buffer, start)
                    .with_context(|| format!("reading the contents of the image at {start}"))?;
                if met {
                    write_sparse(data, data_offset + start, buffer)
                        .with_context(|| format!("writing the image at {start}"))?;
                }
                Ok(hasher.blocks(buffer))
            },
        )
        .collect::<Result<_>>()?;
    let (tree, root) = build_tree(&hasher, chunks.concat());
    let superblock = Superblock {
        uuid,
        data_blocks,
        salt: salt.to_vec(),
    };
    hash.write_all_at(&superblock.encode(), hash_offset)
        .and_then(|()| hash.write_all_at(&tree, hash_offset + BLOCK as u64))
        .context("writing the hash tree")?;
    Ok(root)
}

/// Recomputes the tree of a sealed image and returns its root hash.
///
/// Fails when the superblock or a block of the tree is not what the data
/// calls for; the caller compares the root hash with the one it trusts.
/// `sizes` are those of the partitions of data and hashes, in bytes: no superblock
/// makes us read beyond them.
pub fn verify(
    data: &impl ReadAt,
    data_offset: u64,
    hash: &impl ReadAt,
    hash_offset: u64,
    sizes: [u64; 2],
) -> Result<Hash> {
    let mut block = vec![0; BLOCK];
    hash.read_exact_at(&mut block, hash_offset)
        .context("reading the verity superblock")?;
    let superblock = Superblock::decode(&block)?;
    let claimed = superblock.data_blocks * BLOCK as u64;
    if claimed > sizes[0] || hash_size(claimed) > sizes[1] {
        bail!(
            "reading the verity superblock: {} data blocks do not fit into the partitions",
            superblock.data_blocks
        );
    }
    // Before memory is set aside for as many hashes as a damaged number says.
    let last = (superblock.data_blocks - 1) * BLOCK as u64;
    data.read_exact_at(&mut block, data_offset + last)
        .with_context(|| format!("reading the image at {last}"))?;
    let hasher = BlockHasher::new(&superblock.salt);
    let chunks: Vec<Vec<Hash>> = chunks_of(superblock.data_blocks)
        .into_par_iter()
        .map_init(
            || vec![0; CHUNK as usize],
            |buffer, (start, length)| {
                let buffer = &mut buffer[..length];
                data.read_exact_at(buffer, data_offset + start)
                    .with_context(|| format!("reading the image at {start}"))?;
                Ok(hasher.blocks(buffer))
            },
        )
        .collect::<Result<_>>()?;
    let (tree, root) = build_tree(&hasher, chunks.concat());
    let mut stored = vec![0; tree.len()];
    hash.read_exact_at(&mut stored, hash_offset + BLOCK as u64)
        .context("reading the hash tree")?;
    if let Some(at) = first_difference(&tree, &stored) {
        bail!(
            "checking the hash tree: hash {} of the tree does not match its data",
            at / DIGEST
        );
    }
    Ok(root)
}

fn first_difference(left: &[u8], right: &[u8]) -> Option<usize> {
    left.iter().zip(right).position(|(one, other)| one != other)
}

/// Offsets and lengths of the pieces that threads work on.
fn chunks_of(blocks: u64) -> Vec<(u64, usize)> {
    let size = blocks * BLOCK as u64;
    (0..size)
        .step_by(CHUNK as usize)
        .map(|start| (start, CHUNK.min(size - start) as usize))
        .collect()
}

/// Writes the stretches between blocks of zeros.
fn write_sparse(file: &File, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
    let mut start = None;
    for at in (0..=bytes.len()).step_by(BLOCK) {
        let block = &bytes[at..bytes.len().min(at + BLOCK)];
        match (start, is_zero(block)) {
            (None, false) => start = Some(at),
            (Some(from), true) => {
                file.write_all_at(&bytes[from..at], offset + from as u64)?;
                start = None;
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_zero(block: &[u8]) -> bool {
    // Whole lanes at once, stopping early: most blocks differ at their start.
    block
        .chunks(64)
        .all(|lane| lane.iter().fold(0, |all, byte| all | byte) == 0)
}

/// Hashes blocks behind the salt.
pub struct BlockHasher {
    salted: Sha256,
    /// Hash of a block of zeros: sparse images have many.
    zero: Hash,
}

impl BlockHasher {
    /// For a tree with this salt.
    pub fn new(salt: &[u8]) -> Self {
        let salted = Sha256::new().chain_update(salt);
        let zero = salted.clone().chain_update([0; BLOCK]).finalize().into();
        Self { salted, zero }
    }

    /// The hash of one block.
    pub fn block(&self, block: &[u8]) -> Hash {
        if is_zero(block) {
            return self.zero;
        }
        self.salted.clone().chain_update(block).finalize().into()
    }

    /// The hash of each block.
    pub fn blocks(&self, bytes: &[u8]) -> Vec<Hash> {
        bytes
            .chunks_exact(BLOCK)
            .map(|block| self.block(block))
            .collect()
    }
}

/// The tree from its top level down, and the root hash.
pub fn build_tree(hasher: &BlockHasher, leaves: Vec<Hash>) -> (Vec<u8>, Hash) {
    let mut levels: Vec<Vec<u8>> = Vec::new();
    let mut hashes = leaves;
    while hashes.len() > 1 {
        let mut level = vec![0; hashes.len().div_ceil(FAN_OUT) * BLOCK];
        level
            .par_chunks_mut(BLOCK)
            .zip(hashes.par_chunks(FAN_OUT))
            .for_each(|(block, hashes)| {
                block[..hashes.len() * DIGEST].copy_from_slice(hashes.as_flattened());
            });
        hashes = level
            .par_chunks(BLOCK)
            .map(|block| hasher.block(block))
            .collect();
        levels.push(level);
    }
    levels.reverse();
    (levels.concat(), hashes[0])
}

#[cfg(test)]
mod tests;
