//! What an image says of itself, and its root by blocks: what another machine is upgraded
//! from.
//!
//! An image is raw, as `mailimg build` makes it. Its tree of hashes is the index of its
//! root: <https://docs.kernel.org/admin-guide/device-mapper/verity.html>.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::boot_entry::{BootEntry, KERNELS};
use super::fat::Volume;
use super::gpt::{Partition, TYPE_ESP, TYPE_ROOT, TYPE_ROOT_VERITY, read_gpt};
use super::storage::Region;
use super::uki::{Described, describe};
use super::verity::{BLOCK, DIGEST, Superblock, hash_size, leaves_at};
use crate::error::{Hint, hinted};

/// Bytes of a hash that tell a block from others. Two blocks of different content agree in
/// so many once in 2^64 pairs; the root hash then does not, and nothing starts.
pub const PREFIX: usize = 8;

/// The beginning of a block's hash.
pub type Prefix = [u8; PREFIX];

/// What to do about a file that is something else.
pub const IS_RAW: &str = "name a .raw image that `mailimg build` made, or one compressed by zstd";

/// What an image is, before a byte of it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Recipe, version, processor, root hash.
    pub described: Described,
    /// The head of its tree of hashes: size and salt.
    pub superblock: Superblock,
}

impl Offer {
    /// Bytes of the root.
    pub fn root_size(&self) -> u64 {
        self.superblock.data_blocks * BLOCK as u64
    }
}

/// An image in a file.
#[derive(Debug)]
pub struct Image {
    file: File,
    /// What it is.
    pub offer: Offer,
    /// The blocks of its root, by their hashes.
    pub index: Vec<Prefix>,
    /// What starts it.
    pub kernel: Vec<u8>,
    /// Where its root begins.
    root: u64,
}

impl Image {
    /// Reads what an image says of itself.
    pub fn read(file: File) -> Result<Self> {
        let table = read_gpt(&&file).hint(IS_RAW)?;
        let esp = table
            .find(&TYPE_ESP)
            .context("finding its boot partition")
            .hint(IS_RAW)?;
        let kernel = read_kernel(&file, esp).context("reading its boot partition")?;
        let described = describe(&kernel).context("reading its kernel image")?;
        let of_type = |kind: &[u8; 16], half: &[u8]| -> Result<&Partition> {
            let mut partitions = table.partitions.iter();
            partitions
                .find(|one| one.type_uuid == *kind && one.uuid == half)
                .context("finding the root that its kernel names")
                .hint("the image is damaged; `mailimg verify` checks one")
        };
        let root = of_type(&TYPE_ROOT, &described.root_hash[..16])?;
        let hashes = of_type(&TYPE_ROOT_VERITY, &described.root_hash[16..])?;
        let mut head = vec![0; BLOCK];
        file.read_exact_at(&mut head, hashes.offset())
            .context("reading its tree of hashes")?;
        let superblock = Superblock::decode(&head)?;
        let size = superblock.data_blocks * BLOCK as u64;
        ensure!(
            size <= root.size() && hash_size(size) <= hashes.size(),
            "its root ends behind its partition"
        );
        let index = read_index(&file, hashes.offset(), &superblock)?;
        Ok(Self {
            offer: Offer {
                described,
                superblock,
            },
            index,
            root: root.offset(),
            kernel,
            file,
        })
    }

    /// Fills the buffer with blocks of the root, from this one on.
    pub fn read_blocks(&self, first: u64, buffer: &mut [u8]) -> Result<()> {
        self.file
            .read_exact_at(buffer, self.root + first * BLOCK as u64)
            .context("reading the image's root")
    }
}

/// The one kernel image of a boot partition.
fn read_kernel(file: &File, esp: &Partition) -> Result<Vec<u8>> {
    let mut disk = file;
    let mut region = Region::new(&mut disk, esp.offset(), esp.size())?;
    let volume = Volume::open(&mut region)?;
    let entries = volume.list(KERNELS)?;
    let mut names = entries
        .into_iter()
        .map(|entry| entry.name)
        .filter(|name| BootEntry::parse(name).is_some());
    let name = names.next().context("it has no kernel image")?;
    if names.next().is_some() {
        return Err(hinted(
            "it has several kernel images",
            "name an image as `mailimg build` makes it, not the disk of a machine",
        ));
    }
    volume.read(&format!("{KERNELS}/{name}"))
}

/// The hashes of all blocks, as far as an index has them.
fn read_index(file: &File, offset: u64, superblock: &Superblock) -> Result<Vec<Prefix>> {
    // One block is its own tree, which nothing we make is.
    ensure!(superblock.data_blocks > 1, "its root has a single block");
    let mut leaves = vec![0; superblock.data_blocks as usize * DIGEST];
    file.read_exact_at(&mut leaves, offset + leaves_at(superblock.data_blocks))
        .context("reading its tree of hashes")?;
    Ok(leaves.chunks_exact(DIGEST).map(prefix_of).collect())
}

/// The beginning of a hash.
pub fn prefix_of(hash: &[u8]) -> Prefix {
    let mut prefix = [0; PREFIX];
    prefix.copy_from_slice(&hash[..PREFIX]);
    prefix
}
