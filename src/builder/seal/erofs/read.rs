//! Reading an EROFS image back, as far as [`super::plan_erofs`] lays one out.
//!
//! The image may come from anywhere: nothing in it is believed before it was
//! checked against the image's size, and folders that contain themselves end
//! the reading. Left out: compression, chunks and shared attributes, which
//! [`super::plan_erofs`] never writes; an image that has them is refused.

use std::collections::BTreeMap;
use std::io;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::inode::{DIRECTORY, EXTENDED_SIZE, Layout, REGULAR, SYMLINK};
use super::sizes::{BLOCK, SLOT, TARGET_MAX};
use super::superblock::Superblock;

/// Deepest folder that is read; the kernel's PATH_MAX allows no deeper path.
const DEPTH_LIMIT: usize = 2048;
/// Most paths that are read; ours have some thousands.
const PATHS_LIMIT: usize = 1 << 20;
/// Largest folder in bytes, and largest file that [`Root::read`] returns.
const MEMORY_LIMIT: u64 = 64 << 20;
/// How much of a file is read at once.
const PIECE: u64 = 1 << 20;
/// File type bits of a mode.
const TYPE_BITS: u16 = 0o170_000;

/// A path of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Permission bits.
    pub mode: u16,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Extended attributes as they are stored, their header left out.
    pub xattrs: Vec<u8>,
    /// What stands there.
    pub what: What,
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A folder.
    Directory,
    /// A regular file: its size and SHA-256.
    File(u64, [u8; 32]),
    /// A symbolic link and its target.
    Symlink(String),
}

/// Fills a buffer from an offset of the image.
type ReadAt<'a> = &'a dyn Fn(&mut [u8], u64) -> io::Result<()>;

/// An open image.
pub struct Root<'a> {
    read_at: ReadAt<'a>,
    root_nid: u64,
    size: u64,
}

/// An inode and where its data lies.
struct Read {
    mode: u16,
    uid: u32,
    gid: u32,
    size: u64,
    layout: Layout,
    first_block: u64,
    xattrs: Vec<u8>,
    /// Where inline data begins, in bytes from the start of the image.
    tail: u64,
}

impl<'a> Root<'a> {
    /// Reads the superblock; the image may have up to `size` bytes.
    pub fn open(read_at: ReadAt<'a>, size: u64) -> Result<Self> {
        ensure!(size >= BLOCK, "the image ends inside its superblock");
        let mut block = vec![0; BLOCK as usize];
        read_at(&mut block, 0)?;
        let superblock = Superblock::decode(&block)?;
        let claimed = u64::from(superblock.blocks) * BLOCK;
        ensure!(
            claimed <= size,
            "the image ends after {size} of {claimed} bytes"
        );
        Ok(Self {
            read_at,
            root_nid: u64::from(superblock.root_nid),
            size: claimed,
        })
    }

    /// The size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Every path with what stands there, the root as the empty path.
    pub fn stats(&self) -> Result<BTreeMap<String, Stat>> {
        let mut found = BTreeMap::new();
        let mut known: BTreeMap<u64, Stat> = BTreeMap::new();
        let mut rest = vec![(String::new(), self.root_nid, 0)];
        while let Some((path, nid, depth)) = rest.pop() {
            ensure!(
                depth < DEPTH_LIMIT && found.len() < PATHS_LIMIT,
                "/{path} lies too deep"
            );
            let stat = match known.get(&nid) {
                Some(Stat {
                    what: What::Directory,
                    ..
                }) => bail!("the folder /{path} is there twice"),
                Some(stat) => stat.clone(),
                None => {
                    let inode = self
                        .inode(nid)
                        .with_context(|| format!("reading /{path}"))?;
                    let stat = self
                        .stat(&inode)
                        .with_context(|| format!("reading /{path}"))?;
                    if stat.what == What::Directory {
                        let names = self.names(&inode);
                        for (name, nid) in names.with_context(|| format!("reading /{path}"))? {
                            let below = match path.as_str() {
                                "" => name,
                                path => format!("{path}/{name}"),
                            };
                            rest.push((below, nid, depth + 1));
                        }
                    }
                    known.insert(nid, stat.clone());
                    stat
                }
            };
            found.insert(path, stat);
        }
        Ok(found)
    }

    /// The content of a regular file; nothing when there is none at that path.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let mut inode = self.inode(self.root_nid)?;
        for name in path.split('/') {
            if inode.mode & TYPE_BITS != DIRECTORY {
                return Ok(None);
            }
            let names = self.names(&inode)?;
            let Some((_, nid)) = names.into_iter().find(|(at, _)| at == name) else {
                return Ok(None);
            };
            inode = self.inode(nid)?;
        }
        if inode.mode & TYPE_BITS != REGULAR {
            return Ok(None);
        }
        self.whole(&inode, MEMORY_LIMIT)
            .with_context(|| format!("reading /{path}"))
            .map(Some)
    }

    fn inode(&self, nid: u64) -> Result<Read> {
        let at = nid.checked_mul(SLOT).context("an inode lies outside")?;
        let mut bytes = [0; EXTENDED_SIZE as usize];
        // A compact inode may be the last thing of the image.
        let length = (self.size.saturating_sub(at)).min(EXTENDED_SIZE) as usize;
        ensure!(length >= SLOT as usize, "an inode lies outside");
        (self.read_at)(&mut bytes[..length], at)?;
        let two = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let four = |at: usize| u32::from(two(at)) | u32::from(two(at + 2)) << 16;
        let format = two(0);
        let extended = format & 1 == 1;
        let layout = match format >> 1 {
            0 => Layout::Plain,
            2 => Layout::Inline,
            other => bail!("its data is stored in layout {other}, which mailimg never writes"),
        };
        let head = if extended { EXTENDED_SIZE } else { SLOT };
        ensure!(length as u64 >= head, "an inode lies outside");
        let xattr_length = match two(2) {
            0 => 0,
            count => 12 + (u64::from(count) - 1) * 4,
        };
        let mut xattrs = vec![0; xattr_length as usize];
        (self.read_at)(&mut xattrs, at + head)?;
        let (size, uid, gid) = match extended {
            true => (
                u64::from(four(8)) | u64::from(four(12)) << 32,
                four(24),
                four(28),
            ),
            false => (u64::from(four(8)), u32::from(two(24)), u32::from(two(26))),
        };
        Ok(Read {
            mode: two(4),
            uid,
            gid,
            size,
            layout,
            first_block: u64::from(four(16)),
            xattrs: xattrs.split_off(xattrs.len().min(12)),
            tail: at + head + xattr_length,
        })
    }

    fn stat(&self, inode: &Read) -> Result<Stat> {
        let what = match inode.mode & TYPE_BITS {
            DIRECTORY => What::Directory,
            REGULAR => {
                let mut digest = Sha256::new();
                self.pieces(inode, |piece| digest.update(piece))?;
                What::File(inode.size, digest.finalize().into())
            }
            SYMLINK => {
                let target = self.whole(inode, TARGET_MAX as u64)?;
                What::Symlink(String::from_utf8(target).context("reading a link's target")?)
            }
            _ => bail!("neither a file, a folder nor a link stands there"),
        };
        Ok(Stat {
            mode: inode.mode & !TYPE_BITS,
            uid: inode.uid,
            gid: inode.gid,
            xattrs: inode.xattrs.clone(),
            what,
        })
    }

    fn whole(&self, inode: &Read, limit: u64) -> Result<Vec<u8>> {
        ensure!(inode.size <= limit, "{} bytes are too many", inode.size);
        let mut bytes = Vec::new();
        self.pieces(inode, |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }

    /// Hands out a file's data piece by piece.
    fn pieces(&self, inode: &Read, mut take: impl FnMut(&[u8])) -> Result<()> {
        let in_blocks = match inode.layout {
            Layout::Plain => inode.size,
            Layout::Inline => inode.size - inode.size % BLOCK,
        };
        let start = inode.first_block * BLOCK;
        for (mut at, mut left) in [(start, in_blocks), (inode.tail, inode.size - in_blocks)] {
            if left == 0 {
                continue;
            }
            ensure!(
                at.checked_add(left).is_some_and(|end| end <= self.size),
                "its data lies outside the image"
            );
            let mut buffer = vec![0; left.min(PIECE) as usize];
            while left > 0 {
                let piece = &mut buffer[..left.min(PIECE) as usize];
                (self.read_at)(piece, at)?;
                take(piece);
                at += piece.len() as u64;
                left -= piece.len() as u64;
            }
        }
        Ok(())
    }

    /// The names in a folder but `.` and `..`, with their inodes' numbers.
    fn names(&self, inode: &Read) -> Result<Vec<(String, u64)>> {
        let data = self.whole(inode, MEMORY_LIMIT)?;
        let mut names = Vec::new();
        for block in data.chunks(BLOCK as usize) {
            for (name, nid) in super::dirent::decode(block)? {
                if name != b"." && name != b".." {
                    let name = str::from_utf8(name).context("reading a name")?;
                    ensure!(!name.contains('/'), "the name {name:?} has a slash");
                    names.push((name.to_owned(), nid));
                }
            }
        }
        Ok(names)
    }
}
