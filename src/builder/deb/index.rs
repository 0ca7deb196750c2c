//! The file that an unpacked package becomes in the cache, so that the next
//! build decompresses nothing.
//!
//! ```text
//! contents   the regular files' bytes, one after another
//! index      control data and entries; numbers little-endian, texts and byte
//!            strings after their length as u32, lists after their count as u32
//! trailer    magic, lengths of contents and index (u64), CRC-32 of contents,
//!            of the index and of the trailer before this (u32)
//! ```
//!
//! [`FORMAT`] is part of the file's name: a program never meets a format other
//! than its own. The checksums are against decay, not against malice; what a
//! mirror sent was checked by SHA-256 before it came here.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail};

use super::Script;
use super::control::Control;
use super::data::{Entry, EntryKind};
use crate::builder::tree::Metadata;

/// Raised with every change of this file or of what is read out of a .deb.
pub(super) const FORMAT: u32 = 1;

const MAGIC: [u8; 8] = *b"mailimgU";
const TRAILER_LENGTH: usize = 36;
/// How much is read at once when the contents are checked.
const CHECK_BUFFER: usize = 1 << 20;

const DIRECTORY: u8 = b'd';
const FILE: u8 = b'f';
const SYMLINK: u8 = b'l';
const HARD_LINK: u8 = b'h';

/// What is known about a package besides its contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    pub control: Control,
    pub entries: Vec<Entry>,
}

/// The index and the trailer as they follow the contents.
pub(super) fn encode(index: &Index, contents_length: u64, contents_crc: u32) -> Vec<u8> {
    let mut output = Vec::new();
    let control = &index.control;
    for text in [
        &control.name,
        &control.version,
        &control.architecture,
        &control.paragraph,
    ] {
        put_bytes(&mut output, text.as_bytes());
    }
    put_count(&mut output, control.conffiles.len());
    for path in &control.conffiles {
        put_bytes(&mut output, path.as_bytes());
    }
    put_count(&mut output, control.scripts.len());
    for script in &control.scripts {
        put_bytes(&mut output, script.kind.as_bytes());
        put_bytes(&mut output, script.sha256.as_bytes());
        put_bytes(&mut output, &script.text);
    }
    put_count(&mut output, index.entries.len());
    for entry in &index.entries {
        put_entry(&mut output, entry);
    }
    let index_length = output.len() as u64;
    let index_crc = crc32fast::hash(&output);
    let mut trailer = Vec::with_capacity(TRAILER_LENGTH);
    trailer.extend(MAGIC);
    trailer.extend(contents_length.to_le_bytes());
    trailer.extend(index_length.to_le_bytes());
    trailer.extend(contents_crc.to_le_bytes());
    trailer.extend(index_crc.to_le_bytes());
    let trailer_crc = crc32fast::hash(&trailer);
    trailer.extend(trailer_crc.to_le_bytes());
    output.extend(trailer);
    output
}

fn put_entry(output: &mut Vec<u8>, entry: &Entry) {
    let kind = match &entry.kind {
        EntryKind::Directory => DIRECTORY,
        EntryKind::File { .. } => FILE,
        EntryKind::Symlink(_) => SYMLINK,
        EntryKind::HardLink(_) => HARD_LINK,
    };
    output.push(kind);
    put_bytes(output, entry.path.as_bytes());
    output.extend(entry.metadata.mode.to_le_bytes());
    output.extend(entry.metadata.uid.to_le_bytes());
    output.extend(entry.metadata.gid.to_le_bytes());
    put_count(output, entry.metadata.xattrs.len());
    for (name, value) in &entry.metadata.xattrs {
        put_bytes(output, name.as_bytes());
        put_bytes(output, value);
    }
    match &entry.kind {
        EntryKind::Directory => {}
        EntryKind::File { offset, length } => {
            output.extend(offset.to_le_bytes());
            output.extend(length.to_le_bytes());
        }
        EntryKind::Symlink(target) | EntryKind::HardLink(target) => {
            put_bytes(output, target.as_bytes());
        }
    }
}

fn put_bytes(output: &mut Vec<u8>, bytes: &[u8]) {
    put_count(output, bytes.len());
    output.extend(bytes);
}

fn put_count(output: &mut Vec<u8>, count: usize) {
    // Every string and list here is bounded far below by the readers.
    output.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

/// Reads the index of a file and checks index and contents against their sums.
pub(super) fn load(file: &File) -> Result<Index> {
    let (contents_crc, contents_length, index) = load_index(file)?;
    let mut sum = crc32fast::Hasher::new();
    let mut buffer = vec![0; CHECK_BUFFER.min(contents_length as usize)];
    let mut offset = 0;
    while offset < contents_length {
        let length = (contents_length - offset).min(buffer.len() as u64) as usize;
        file.read_exact_at(&mut buffer[..length], offset)?;
        sum.update(&buffer[..length]);
        offset += length as u64;
    }
    if sum.finalize() != contents_crc {
        bail!("the contents' checksum is wrong");
    }
    Ok(index)
}

fn load_index(file: &File) -> Result<(u32, u64, Index)> {
    let size = file.metadata()?.len();
    let before_trailer = size
        .checked_sub(TRAILER_LENGTH as u64)
        .context("it is too short")?;
    let mut trailer = [0; TRAILER_LENGTH];
    file.read_exact_at(&mut trailer, before_trailer)?;
    let mut reader = Reader { rest: &trailer };
    let (summed, trailer_crc) = trailer.split_at(TRAILER_LENGTH - 4);
    if reader.take(MAGIC.len())? != MAGIC || crc32fast::hash(summed).to_le_bytes() != trailer_crc {
        bail!("the trailer is damaged");
    }
    let (contents_length, index_length) = (reader.u64()?, reader.u64()?);
    let (contents_crc, index_crc) = (reader.u32()?, reader.u32()?);
    if contents_length.checked_add(index_length) != Some(before_trailer) {
        bail!("the lengths do not add up");
    }
    let mut bytes = vec![0; index_length as usize];
    file.read_exact_at(&mut bytes, contents_length)?;
    if crc32fast::hash(&bytes) != index_crc {
        bail!("the index's checksum is wrong");
    }
    let index = decode(&bytes, contents_length)?;
    Ok((contents_crc, contents_length, index))
}

fn decode(bytes: &[u8], contents_length: u64) -> Result<Index> {
    let mut reader = Reader { rest: bytes };
    let mut control = Control {
        name: reader.text()?,
        version: reader.text()?,
        architecture: reader.text()?,
        paragraph: reader.text()?,
        ..Control::default()
    };
    for _ in 0..reader.u32()? {
        control.conffiles.push(reader.text()?);
    }
    for _ in 0..reader.u32()? {
        control.scripts.push(Script {
            kind: reader.text()?,
            sha256: reader.text()?,
            text: reader.bytes()?.to_vec(),
        });
    }
    let count = reader.u32()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let entry = reader.entry()?;
        if let EntryKind::File { offset, length } = entry.kind
            && offset
                .checked_add(length)
                .is_none_or(|end| end > contents_length)
        {
            bail!("{} lies outside the contents", entry.path);
        }
        entries.push(entry);
    }
    if !reader.rest.is_empty() {
        bail!("the index is longer than its entries");
    }
    Ok(Index { control, entries })
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .context("the index ends early")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    fn text(&mut self) -> Result<String> {
        Ok(std::str::from_utf8(self.bytes()?)?.to_owned())
    }

    fn entry(&mut self) -> Result<Entry> {
        let [kind] = self.array()?;
        let path = self.text()?;
        let mut metadata = Metadata::root(self.u16()?);
        metadata.uid = self.u32()?;
        metadata.gid = self.u32()?;
        for _ in 0..self.u32()? {
            let name = self.text()?;
            metadata.xattrs.insert(name, self.bytes()?.to_vec());
        }
        let kind = match kind {
            DIRECTORY => EntryKind::Directory,
            FILE => EntryKind::File {
                offset: self.u64()?,
                length: self.u64()?,
            },
            SYMLINK => EntryKind::Symlink(self.text()?),
            HARD_LINK => EntryKind::HardLink(self.text()?),
            other => bail!("{path} is of the unknown kind {other}"),
        };
        Ok(Entry {
            path,
            metadata,
            kind,
        })
    }
}
