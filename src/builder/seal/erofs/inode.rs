//! EROFS inodes, compact and extended, and inline extended attributes.
//!
//! Layout: `struct erofs_inode_compact`, `struct erofs_inode_extended` and
//! `struct erofs_xattr_entry` of the kernel's `fs/erofs/erofs_fs.h`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use super::sizes::BLOCK;

/// File type bits of a mode, inode(7).
pub(super) const DIRECTORY: u16 = 0o040_000;
pub(super) const REGULAR: u16 = 0o100_000;
pub(super) const SYMLINK: u16 = 0o120_000;

const COMPACT_SIZE: u64 = 32;
pub(super) const EXTENDED_SIZE: u64 = 64;
/// Bit 0 of the format: extended. Bits 1 to 3: data layout.
const FORMAT_EXTENDED: u16 = 1;
const LAYOUT_SHIFT: u16 = 1;
/// Length of the header before inline attributes.
const XATTR_HEADER: usize = 12;
/// Attribute name prefixes and the numbers that stand for them.
const XATTR_PREFIXES: [(&str, u8); 5] = [
    ("system.posix_acl_access", 2),
    ("system.posix_acl_default", 3),
    ("user.", 1),
    ("trusted.", 4),
    ("security.", 6),
];

/// Where a file's data lies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// All of it in blocks of its own.
    Plain = 0,
    /// Whole blocks apart, the rest behind the inode.
    Inline = 2,
}

/// What an inode says, places apart.
pub(super) struct Inode {
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub links: u32,
    pub size: u64,
    /// Encoded attributes, a multiple of 4 bytes; empty when there are none.
    pub xattrs: Vec<u8>,
}

impl Inode {
    fn is_compact(&self) -> bool {
        u16::try_from(self.uid).is_ok()
            && u16::try_from(self.gid).is_ok()
            && u16::try_from(self.links).is_ok()
            && u32::try_from(self.size).is_ok()
    }

    fn head_size(&self) -> u64 {
        let fixed = if self.is_compact() {
            COMPACT_SIZE
        } else {
            EXTENDED_SIZE
        };
        fixed + self.xattrs.len() as u64
    }

    fn layout(&self) -> Layout {
        let tail = self.size % BLOCK;
        if tail > 0 && self.head_size() + tail <= BLOCK {
            Layout::Inline
        } else {
            Layout::Plain
        }
    }

    /// Bytes of metadata: inode, attributes and inline data.
    pub fn footprint(&self) -> u64 {
        self.head_size() + (self.size - self.block_bytes())
    }

    /// How many bytes of the data lie in blocks of their own.
    pub fn block_bytes(&self) -> u64 {
        match self.layout() {
            Layout::Plain => self.size,
            Layout::Inline => self.size - self.size % BLOCK,
        }
    }

    /// How many blocks of its own the data takes.
    pub fn data_blocks(&self) -> u64 {
        self.block_bytes().div_ceil(BLOCK)
    }

    /// The inode with its attributes.
    pub fn encode(&self, number: u32, first_block: u64, build_time: u64) -> Result<Vec<u8>> {
        let first_block = u32::try_from(first_block).context("laying out over 16 TiB")?;
        let xattr_count = match self.xattrs.len() {
            0 => 0,
            length => u16::try_from(1 + (length - XATTR_HEADER) / 4)
                .context("storing over 256 KiB of extended attributes")?,
        };
        let mut format = (self.layout() as u16) << LAYOUT_SHIFT;
        let mut head = Vec::with_capacity(self.head_size() as usize);
        if self.is_compact() {
            head.extend(format.to_le_bytes());
            head.extend(xattr_count.to_le_bytes());
            head.extend(self.mode.to_le_bytes());
            head.extend((self.links as u16).to_le_bytes());
            head.extend((self.size as u32).to_le_bytes());
            head.extend([0; 4]);
            head.extend(first_block.to_le_bytes());
            head.extend(number.to_le_bytes());
            head.extend((self.uid as u16).to_le_bytes());
            head.extend((self.gid as u16).to_le_bytes());
            head.extend([0; 4]);
        } else {
            format |= FORMAT_EXTENDED;
            head.extend(format.to_le_bytes());
            head.extend(xattr_count.to_le_bytes());
            head.extend(self.mode.to_le_bytes());
            head.extend([0; 2]);
            head.extend(self.size.to_le_bytes());
            head.extend(first_block.to_le_bytes());
            head.extend(number.to_le_bytes());
            head.extend(self.uid.to_le_bytes());
            head.extend(self.gid.to_le_bytes());
            head.extend(build_time.to_le_bytes());
            head.extend([0; 4]);
            head.extend(self.links.to_le_bytes());
            head.extend([0; 16]);
        }
        head.extend(&self.xattrs);
        Ok(head)
    }
}

/// Attributes as they stand behind an inode, their header included.
pub(super) fn encode_xattrs(xattrs: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>> {
    if xattrs.is_empty() {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; XATTR_HEADER];
    for (name, value) in xattrs {
        let Some((rest, index)) = XATTR_PREFIXES
            .iter()
            .find_map(|(prefix, index)| Some((name.strip_prefix(prefix)?, *index)))
        else {
            bail!("storing the extended attribute {name}: EROFS has no such class");
        };
        let name_length = u8::try_from(rest.len())
            .with_context(|| format!("storing the extended attribute {name}: name too long"))?;
        let value_length = u16::try_from(value.len())
            .with_context(|| format!("storing the extended attribute {name}: value too long"))?;
        bytes.extend([name_length, index]);
        bytes.extend(value_length.to_le_bytes());
        bytes.extend(rest.as_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    Ok(bytes)
}
