//! The data archive: every path is checked, every content goes to one stream.
//!
//! Formats: ustar, GNU and PAX headers as tar(5) has them; extended attributes
//! in `SCHILY.xattr.*` records. Owners are numeric, the names that some tars
//! carry beside them depend on the machine that made the package. Refused:
//! devices, fifos, sparse files, paths that leave the tree or are there twice,
//! names that are not UTF-8 or hold control characters, hard links to nothing.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;

use anyhow::{Context, Result, bail};
use tar::EntryType;

use super::headers::Checked;
use crate::builder::tree::{Metadata, parent_of};

/// Linux's limits for one name and a whole path, limits.h.
const NAME_MAX: usize = 255;
const PATH_MAX: usize = 4096;
/// A root partition holds no larger file, bytes.
const LARGEST_FILE: u64 = 2 << 30;
/// More paths than any package of Debian 13 has: `dpkg` itself would take minutes for them.
const MOST_ENTRIES: usize = 500_000;
/// Bytes that all their names, targets and attributes may take.
const NAMES_BYTES_MAX: usize = 64 << 20;
/// PAX key before the name of an extended attribute.
const PAX_XATTR: &str = "SCHILY.xattr.";
/// How much is copied at once.
const BUFFER: usize = 1 << 16;

/// A path of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub path: String,
    pub metadata: Metadata,
    pub kind: EntryKind,
}

/// What stands there; contents by their place in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    Directory,
    File { offset: u64, length: u64 },
    Symlink(String),
    HardLink(String),
}

impl EntryKind {
    fn target_length(&self) -> usize {
        match self {
            Self::Symlink(target) | Self::HardLink(target) => target.len(),
            Self::Directory | Self::File { .. } => 0,
        }
    }
}

fn attributes_length(metadata: &Metadata) -> usize {
    let attributes = metadata.xattrs.iter();
    attributes
        .map(|(name, value)| name.len() + value.len())
        .sum()
}

/// Where contents go, one after another.
pub(super) trait Sink {
    /// Takes the next bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
    /// How many bytes it took so far.
    fn position(&self) -> u64;
}

/// Reads the decompressed data archive to its end, contents into a sink.
pub(super) fn read_data(mut reader: impl Read, sink: &mut impl Sink) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    // Every path so far: nothing for what has no content of its own to link to.
    let mut seen: HashMap<String, Option<String>> = HashMap::new();
    let mut buffer = vec![0; BUFFER];
    let mut names = 0;
    for tar_entry in tar::Archive::new(Checked::new(&mut reader)).entries()? {
        let mut tar_entry = tar_entry?;
        if tar_entry.header().entry_type() == EntryType::XGlobalHeader {
            continue;
        }
        let raw = tar_entry.path_bytes().into_owned();
        let shown = String::from_utf8_lossy(&raw).into_owned();
        let path = clean_path(&raw).with_context(|| format!("reading {shown:?}"))?;
        let Some(path) = path else {
            continue;
        };
        let kind = read_kind(&mut tar_entry, &seen, sink, &mut buffer)
            .with_context(|| format!("reading {path}"))?;
        let link_to = match &kind {
            EntryKind::File { .. } => Some(path.clone()),
            EntryKind::HardLink(target) => Some(target.clone()),
            EntryKind::Directory | EntryKind::Symlink(_) => None,
        };
        let metadata = read_metadata(&mut tar_entry).with_context(|| format!("reading {path}"))?;
        names += path.len() + kind.target_length() + attributes_length(&metadata);
        if entries.len() == MOST_ENTRIES || names > NAMES_BYTES_MAX {
            bail!(
                "it has more than {MOST_ENTRIES} paths, or more than {NAMES_BYTES_MAX} bytes of \
                 names and attributes"
            );
        }
        if seen.insert(path.clone(), link_to).is_some() {
            bail!("{path} is there twice");
        }
        entries.push(Entry {
            path,
            metadata,
            kind,
        });
    }
    std::io::copy(&mut reader, &mut std::io::sink())?;
    check_parents(&entries)?;
    Ok(entries)
}

fn read_kind<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    seen: &HashMap<String, Option<String>>,
    sink: &mut impl Sink,
    buffer: &mut [u8],
) -> Result<EntryKind> {
    match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous => {
            let offset = sink.position();
            let length = copy_content(entry, sink, buffer)?;
            Ok(EntryKind::File { offset, length })
        }
        EntryType::Directory => Ok(EntryKind::Directory),
        EntryType::Symlink => Ok(EntryKind::Symlink(link_name(entry)?)),
        EntryType::Link => {
            let target = clean_path(link_name(entry)?.as_bytes())
                .context("reading the hard link's target")?
                .unwrap_or_default();
            match seen.get(&target) {
                Some(Some(file)) => Ok(EntryKind::HardLink(file.clone())),
                Some(None) => bail!("it is a hard link to {target}, which is not a regular file"),
                None => bail!("it is a hard link to {target}, which does not come before it"),
            }
        }
        EntryType::Char | EntryType::Block => bail!("it is a device node"),
        EntryType::Fifo => bail!("it is a fifo"),
        EntryType::GNUSparse => bail!("it is a sparse file"),
        other => bail!(
            "it is of the unknown tar type {:?}",
            char::from(other.as_byte())
        ),
    }
}

fn copy_content<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    sink: &mut impl Sink,
    buffer: &mut [u8],
) -> Result<u64> {
    let size = entry.size();
    if size > LARGEST_FILE {
        bail!("its {size} bytes are more than the {LARGEST_FILE} that a file may have");
    }
    let mut done = 0;
    while done < size {
        match entry.read(buffer)? {
            0 => bail!("the archive ends after {done} of its {size} bytes"),
            count => {
                sink.write(&buffer[..count])?;
                done += count as u64;
            }
        }
    }
    Ok(size)
}

fn link_name<R: Read>(entry: &tar::Entry<'_, R>) -> Result<String> {
    let name = entry.link_name_bytes().context("its target is missing")?;
    let name = std::str::from_utf8(&name).context("reading its target")?;
    if name.is_empty() || name.len() >= PATH_MAX || name.contains(char::is_control) {
        bail!("its target {name:?} is not a path");
    }
    Ok(name.to_owned())
}

fn read_metadata<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Metadata> {
    let mut xattrs = BTreeMap::new();
    if let Some(extensions) = entry.pax_extensions()? {
        for extension in extensions {
            let extension = extension?;
            let key = extension.key().context("reading a PAX key")?;
            if let Some(name) = key.strip_prefix(PAX_XATTR) {
                xattrs.insert(name.to_owned(), extension.value_bytes().to_vec());
            }
        }
    }
    let header = entry.header();
    let mode = header.mode().context("reading its mode")?;
    let id = |number: u64| u32::try_from(number).context("reading its owner");
    Ok(Metadata {
        mode: (mode & 0o7777) as u16,
        uid: id(header.uid()?)?,
        gid: id(header.gid()?)?,
        xattrs,
    })
}

/// A path below the root without `./`; nothing for the root itself.
fn clean_path(raw: &[u8]) -> Result<Option<String>> {
    let path = std::str::from_utf8(raw).context("it is not UTF-8")?;
    if path.starts_with('/') {
        bail!("it is an absolute path");
    }
    let path = path.strip_prefix("./").unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() || path == "." {
        return Ok(None);
    }
    if path.len() >= PATH_MAX {
        bail!("it is longer than {PATH_MAX} bytes");
    }
    for name in path.split('/') {
        match name {
            ".." => bail!("it leads out of the tree"),
            "" | "." => bail!("it is not a clean path"),
            _ if name.len() > NAME_MAX => bail!("it has a name of more than {NAME_MAX} bytes"),
            _ if name.contains(char::is_control) => bail!("it holds a control character"),
            _ => {}
        }
    }
    Ok(Some(path.to_owned()))
}

/// Refuses a package that puts something below its own file or link.
fn check_parents(entries: &[Entry]) -> Result<()> {
    let kinds: HashMap<&str, &EntryKind> = entries
        .iter()
        .map(|entry| (entry.path.as_str(), &entry.kind))
        .collect();
    for entry in entries {
        let mut parent = parent_of(&entry.path);
        while let Some(at) = parent.filter(|at| !at.is_empty()) {
            if kinds
                .get(at)
                .is_some_and(|kind| !matches!(kind, EntryKind::Directory))
            {
                bail!("{} lies below {at}, which is not a directory", entry.path);
            }
            parent = parent_of(at);
        }
    }
    Ok(())
}
