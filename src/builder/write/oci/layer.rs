//! One layer: a tar of the paths that belong to it, compressed and hashed on the way.
//!
//! Specification: <https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md>. Each
//! path has one layer; folders on the way to it are in that layer too, as they are in the
//! others. Names that the format has no room for and extended attributes are in its own
//! extensions, which every reader of layers knows. No layer takes anything away, so there
//! are no whiteouts.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::gzip::Gzip;
use crate::builder::compose::{Container, Layer};
use crate::builder::tree::{Content, Kind, Metadata, Node, Tree, parent_of};
use crate::format::oci::{Descriptor, LAYER_TYPE};

/// When everything in a layer was changed, seconds since 1970. An image's own time is that of
/// its lock, and would make every layer of the next one new though nothing else differs.
const TIME: u64 = 0;
/// An extended attribute in a tar.
const XATTR: &str = "SCHILY.xattr.";

/// A layer in a file without a name.
pub(super) struct Blob {
    pub file: File,
    pub descriptor: Descriptor,
    /// Digest of what was compressed, `sha256:…`.
    pub diff_id: String,
}

/// Writes what passes and hashes it.
struct Hashed<W> {
    output: W,
    digest: Sha256,
    length: u64,
}

impl<W> Hashed<W> {
    fn new(output: W) -> Self {
        Self {
            output,
            digest: Sha256::new(),
            length: 0,
        }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.output.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Writes a layer to a file without a name in a folder.
pub(super) fn write_layer(container: &Container, layer: Layer, folder: &Path) -> Result<Blob> {
    let file = tempfile::tempfile_in(folder)
        .with_context(|| format!("writing to {}", folder.display()))?;
    let compressed = Hashed::new(io::BufWriter::with_capacity(1 << 20, file));
    let tar = Hashed::new(Gzip::new(compressed)?);
    let mut builder = Builder::new(tar);
    for (path, node) in paths(container, layer) {
        append(&mut builder, &container.tree, path, node)
            .with_context(|| format!("writing /{path}"))?;
    }
    let tar = builder.into_inner()?;
    let diff_id = format!("sha256:{}", hex::encode(tar.digest.finalize()));
    let compressed = tar.output.finish()?;
    let mut file = compressed
        .output
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(Blob {
        file,
        descriptor: Descriptor::new(LAYER_TYPE, &compressed.digest.finalize(), compressed.length),
        diff_id,
    })
}

/// The paths of a layer with the folders that lead to them; further names of a file last,
/// since they have to follow it.
fn paths(container: &Container, layer: Layer) -> Vec<(&str, &Node)> {
    let mut chosen = BTreeSet::new();
    for (path, _) in container.tree.iter() {
        if container.layer(path) != layer {
            continue;
        }
        chosen.insert(path);
        let mut folder = parent_of(path);
        while let Some(path) = folder {
            if !chosen.insert(path) {
                break;
            }
            folder = parent_of(path);
        }
    }
    let nodes = chosen
        .into_iter()
        .filter_map(|path| Some((path, container.tree.get(path)?)));
    let (links, others): (Vec<_>, Vec<_>) =
        nodes.partition(|(_, node)| matches!(node.kind, Kind::HardLink(_)));
    others.into_iter().chain(links).collect()
}

fn append(builder: &mut Builder<impl Write>, tree: &Tree, path: &str, node: &Node) -> Result<()> {
    let metadata = match &node.kind {
        Kind::HardLink(target) => &tree.get(target).context("finding its file")?.metadata,
        _ => &node.metadata,
    };
    let mut header = header(metadata, TIME);
    let attributes = metadata.xattrs.iter();
    let attributes: Vec<(String, &[u8])> = attributes
        .map(|(name, value)| (format!("{XATTR}{name}"), value.as_slice()))
        .collect();
    if !attributes.is_empty() && !matches!(node.kind, Kind::HardLink(_)) {
        let attributes = attributes.iter().map(|(name, value)| (&**name, *value));
        builder.append_pax_extensions(attributes)?;
    }
    match &node.kind {
        Kind::Directory => {
            header.set_entry_type(EntryType::Directory);
            let name = if path.is_empty() {
                "./".to_owned()
            } else {
                format!("{path}/")
            };
            builder.append_data(&mut header, name, io::empty())?;
        }
        Kind::File(content) => {
            header.set_size(content.len());
            builder.append_data(&mut header, path, reader(content))?;
        }
        Kind::Symlink(target) => {
            header.set_entry_type(EntryType::Symlink);
            builder.append_link(&mut header, path, target)?;
        }
        Kind::HardLink(target) => {
            header.set_entry_type(EntryType::Link);
            builder.append_link(&mut header, path, target)?;
        }
    }
    Ok(())
}

pub(super) fn header(metadata: &Metadata, time: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(u32::from(metadata.mode));
    header.set_uid(u64::from(metadata.uid));
    header.set_gid(u64::from(metadata.gid));
    header.set_mtime(time);
    header.set_size(0);
    header
}

/// A content that is read from its beginning.
struct Reader<'a> {
    content: &'a Content,
    offset: u64,
}

fn reader(content: &Content) -> impl Read + '_ {
    io::BufReader::with_capacity(1 << 20, Reader { content, offset: 0 })
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.content.len() - self.offset;
        let length = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        self.content
            .read_exact_at(&mut buffer[..length], self.offset)?;
        self.offset += length as u64;
        Ok(length)
    }
}
