//! An uncompressed EROFS image laid out from a tree.
//!
//! On-disk format: <https://erofs.docs.kernel.org/en/latest/core_ondisk.html>
//! and the kernel's `fs/erofs/erofs_fs.h`; made for Linux 6.12 but uses
//! nothing newer than 5.4. Block 0 holds the superblock, then follow the
//! inodes with their inline data, then the blocks of directories, then those
//! of files in path order, so that what lies together is read together.
//!
//! Left out: compression (see the manual, page figures), chunks, shared extended
//! attributes, the attribute name filter and device nodes.

mod dirent;
mod inode;
mod read;
mod sizes;
mod slots;
mod superblock;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use crate::builder::tree::{Content, Kind, Node, Tree, name_of, parent_of};
use crate::format::extents::Extents;

pub use read::{Root, Stat, What};
pub use sizes::BLOCK;

use dirent::{Entry, FileType};
use inode::Inode;
use sizes::{SLOT, TARGET_MAX};
use slots::Slots;
use superblock::Superblock;

/// The metadata area begins right behind the superblock's block.
///
/// The superblock says that node ids count from block 0, so no inode is
/// number 0, which directory readers would take for a deleted entry.
const METADATA_BLOCK: u64 = 1;
/// Lays a tree out as an EROFS image.
///
/// `build_time` in seconds since 1970 becomes the time of every file. Fails
/// on a hard link whose target is no file and on what the format cannot hold.
pub fn plan_erofs(tree: &Tree, build_time: u64, uuid: [u8; 16]) -> Result<Extents> {
    let mut plan = collect(tree)?;
    let metadata_blocks = plan.place_inodes();
    let total_blocks = plan.place_data(METADATA_BLOCK + metadata_blocks)?;
    let root_nid = u16::try_from(plan.files[0].nid).context("placing the root directory")?;
    let superblock = Superblock {
        root_nid,
        inodes: plan.files.len() as u64,
        build_time,
        blocks: u32::try_from(total_blocks).context("laying out an image of over 16 TiB")?,
        uuid,
    };
    let mut image = Extents::default();
    image.push(0, Content::from(superblock.encode()))?;
    plan.emit(metadata_blocks, build_time, &mut image)?;
    image.grow_to(total_blocks * BLOCK);
    Ok(image)
}

/// What a file's data is made of.
enum Data {
    /// Regular file.
    File(Content),
    /// Target of a symbolic link.
    Target(String),
    /// Sorted names and the index of the file that each one names.
    Directory(Vec<(String, usize)>),
}

/// A file of the image and where it lies.
struct Planned {
    inode: Inode,
    data: Data,
    nid: u64,
    first_block: u64,
}

impl Planned {
    fn file_type(&self) -> FileType {
        match self.data {
            Data::File(_) => FileType::Regular,
            Data::Target(_) => FileType::Symlink,
            Data::Directory(_) => FileType::Directory,
        }
    }
}

struct Plan {
    files: Vec<Planned>,
}

/// Numbers the files and gathers names, link counts and sizes.
fn collect(tree: &Tree) -> Result<Plan> {
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut files = Vec::with_capacity(tree.len());
    for (path, node) in tree.iter() {
        if matches!(node.kind, Kind::HardLink(_)) {
            continue;
        }
        numbers.insert(path, files.len());
        files.push(plan_file(path, node)?);
    }
    for (path, node) in tree.iter() {
        let number = match &node.kind {
            Kind::HardLink(target) => match numbers.get(target.as_str()) {
                Some(&number) if matches!(files[number].data, Data::File(_)) => {
                    files[number].inode.links += 1;
                    number
                }
                _ => bail!("placing {path}: its hard link's target {target} is no file"),
            },
            _ => numbers[path],
        };
        let Some(parent) = parent_of(path) else {
            continue;
        };
        let parent = *numbers
            .get(parent)
            .with_context(|| format!("placing {path}: no parent"))?;
        if node.is_directory() {
            files[parent].inode.links += 1;
            if let Data::Directory(names) = &mut files[number].data {
                names.push(("..".to_owned(), parent));
            }
        }
        match &mut files[parent].data {
            Data::Directory(names) => names.push((name_of(path).to_owned(), number)),
            _ => bail!("placing {path}: its parent is not a directory"),
        }
    }
    for (number, planned) in files.iter_mut().enumerate() {
        if let Data::Directory(names) = &mut planned.data {
            names.push((".".to_owned(), number));
            if number == 0 {
                names.push(("..".to_owned(), number));
            }
            // Lookup in the kernel is a binary search by bytes over all names.
            names.sort();
            planned.inode.size = dirent::size(names.iter().map(|(name, _)| name.len()));
        }
    }
    Ok(Plan { files })
}

fn plan_file(path: &str, node: &Node) -> Result<Planned> {
    let (kind_bits, size, data) = match &node.kind {
        Kind::Directory => (inode::DIRECTORY, 0, Data::Directory(Vec::new())),
        Kind::File(content) => (inode::REGULAR, content.len(), Data::File(content.clone())),
        Kind::Symlink(target) => {
            if target.is_empty() || target.len() > TARGET_MAX {
                bail!("placing {path}: a link's target must have 1 to {TARGET_MAX} bytes");
            }
            (
                inode::SYMLINK,
                target.len() as u64,
                Data::Target(target.clone()),
            )
        }
        Kind::HardLink(_) => bail!("placing {path}: a hard link has no inode of its own"),
    };
    let metadata = &node.metadata;
    Ok(Planned {
        inode: Inode {
            mode: kind_bits | metadata.mode,
            uid: metadata.uid,
            gid: metadata.gid,
            links: if node.is_directory() { 2 } else { 1 },
            size,
            xattrs: inode::encode_xattrs(&metadata.xattrs)
                .with_context(|| format!("placing {path}"))?,
        },
        data,
        nid: 0,
        first_block: 0,
    })
}

impl Plan {
    /// Gives every inode its place; returns how many blocks they take.
    fn place_inodes(&mut self) -> u64 {
        let mut slots = Slots::default();
        for planned in &mut self.files {
            let offset = slots.take(planned.inode.footprint());
            planned.nid = (METADATA_BLOCK * BLOCK + offset) / SLOT;
        }
        slots.blocks()
    }

    /// Gives all data that is not inline its blocks; returns where they end.
    fn place_data(&mut self, first: u64) -> Result<u64> {
        let mut next = first;
        for directories in [true, false] {
            for planned in &mut self.files {
                if matches!(planned.data, Data::Directory(_)) == directories {
                    planned.first_block = next;
                    next += planned.inode.data_blocks();
                }
            }
        }
        Ok(next)
    }

    /// Writes inodes and names, and refers to the contents of files.
    fn emit(&self, metadata_blocks: u64, build_time: u64, image: &mut Extents) -> Result<()> {
        let start = METADATA_BLOCK * BLOCK;
        let mut metadata = vec![0; (metadata_blocks * BLOCK) as usize];
        let mut tails: Vec<(u64, &Content, u64)> = Vec::new();
        let mut blocks: Vec<(u64, Content, u64)> = Vec::new();
        for (number, planned) in self.files.iter().enumerate() {
            let head = planned
                .inode
                .encode(number as u32 + 1, planned.first_block, build_time)?;
            let at = planned.nid * SLOT - start;
            metadata[at as usize..at as usize + head.len()].copy_from_slice(&head);
            let whole = planned.inode.block_bytes();
            let tail_at = at + head.len() as u64;
            let held = match &planned.data {
                Data::File(content) => {
                    blocks.push((planned.first_block * BLOCK, content.clone(), whole));
                    if whole < content.len() {
                        tails.push((start + tail_at, content, whole));
                    }
                    continue;
                }
                Data::Target(target) => target.clone().into_bytes(),
                Data::Directory(names) => dirent::encode(names.iter().map(|(name, number)| {
                    let named = &self.files[*number];
                    Entry {
                        name: name.as_bytes(),
                        nid: named.nid,
                        file_type: named.file_type(),
                    }
                })),
            };
            let tail = &held[whole as usize..];
            metadata[tail_at as usize..tail_at as usize + tail.len()].copy_from_slice(tail);
            if whole > 0 {
                blocks.push((planned.first_block * BLOCK, Content::from(held), whole));
            }
        }
        push_metadata(image, start, metadata, tails)?;
        blocks.sort_by_key(|(offset, _, _)| *offset);
        for (offset, content, length) in blocks {
            image.push_part(offset, content, 0, length)?;
        }
        Ok(())
    }
}

/// Adds the metadata area, with the files' inline tails read from their source.
fn push_metadata(
    image: &mut Extents,
    start: u64,
    metadata: Vec<u8>,
    mut tails: Vec<(u64, &Content, u64)>,
) -> Result<()> {
    let metadata = Content::from(metadata);
    let end = start + metadata.len();
    let mut at = start;
    tails.sort_by_key(|(offset, _, _)| *offset);
    for (offset, content, from) in tails {
        image.push_part(at, metadata.clone(), at - start, offset - at)?;
        let length = content.len() - from;
        image.push_part(offset, content.clone(), from, length)?;
        at = offset + length;
    }
    image.push_part(at, metadata, at - start, end - at)
}

#[cfg(test)]
mod tests;
