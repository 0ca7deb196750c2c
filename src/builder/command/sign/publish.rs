//! The folder that machines take an update from: parts first, then what names them.
//!
//! A part is named by its content, so what is there under its name is not written again.
//! Parts that neither this update nor the one before names are removed: who is in the
//! middle of fetching that one may end it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::builder::progress::Progress;
use crate::builder::write::atomic::{Output, Privacy, explain, write_output};
use crate::error::Hint;
use crate::format::delta::{cut_kernel, piece_prefix};
use crate::format::image::{Image, Prefix};
use crate::format::minisign::{SecretKey, Signature};
use crate::format::pack::write_pack;
use crate::format::update::{INDEX, PACK, PARTS, Packed, Part, SIGNATURES, UPDATE_FILE, Update};
use crate::format::verity::BLOCK;

/// A folder of updates.
pub(super) struct Folder {
    path: PathBuf,
    /// The update that was there before.
    before: Option<(Vec<u8>, Update)>,
}

impl Folder {
    /// Opens one, or makes it.
    pub fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path.join(PARTS))
            .with_context(|| format!("making the folder {}", path.join(PARTS).display()))
            .hint("choose a folder that you may write to with `--into`")?;
        let mut folder = Self {
            path: path.to_owned(),
            before: None,
        };
        folder.before = folder.current()?;
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The update that is there.
    pub fn current(&self) -> Result<Option<(Vec<u8>, Update)>> {
        let path = self.path.join(UPDATE_FILE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("reading {}", path.display()))?,
        };
        let update = Update::parse(&text)
            .with_context(|| format!("reading {}", path.display()))
            .hint("choose another folder, or remove the file")?;
        Ok(Some((text, update)))
    }

    /// Writes root and kernel image.
    pub fn write_parts(&self, image: &Image, progress: &Progress) -> Result<(Packed, Packed)> {
        progress.note("packing the root");
        let blocks = image.index.len();
        let root = self.write_pack(image.index.clone(), vec![BLOCK as u16; blocks], &|blocks| {
            let mut bytes = vec![0; blocks.len() * BLOCK];
            image.read_blocks(blocks.start as u64, &mut bytes)?;
            Ok(bytes)
        })?;
        progress.note("packing the kernel image");
        let pieces = cut_kernel(&image.kernel);
        let prefixes = pieces.iter().map(|piece| &image.kernel[piece.clone()]);
        let prefixes = prefixes.map(piece_prefix).collect();
        let lengths = pieces.iter().map(|piece| u16::try_from(piece.len()));
        let lengths = lengths.collect::<Result<_, _>>()?;
        let kernel = self.write_pack(prefixes, lengths, &|range| {
            let [first, last] = [&pieces[range.start], &pieces[range.end - 1]];
            Ok(image.kernel[first.start..last.end].to_vec())
        })?;
        Ok((root, kernel))
    }

    fn write_pack(
        &self,
        units: Vec<Prefix>,
        lengths: Vec<u16>,
        read: &(dyn Fn(Range<usize>) -> Result<Vec<u8>> + Sync),
    ) -> Result<Packed> {
        let unnamed = self.path.join(PARTS).join(PACK);
        let output = Output::create(&unnamed, Privacy::Public)?;
        let mut hashed = Hashed {
            output: output.file(),
            hash: Sha256::new(),
            size: 0,
        };
        let index = write_pack(&mut hashed, units, lengths, read)
            .map_err(|error| explain(error, &unnamed))?;
        let pack = Part {
            sha256: hex::encode(hashed.hash.finalize()),
            size: hashed.size,
        };
        output.commit_as(&self.path.join(pack.path(PACK)))?;
        let index = index.encode()?;
        let part = Part::of(&index);
        self.write(&part.path(INDEX), &index)?;
        Ok(Packed { index: part, pack })
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_output(&self.path.join(name), Privacy::Public, |mut file| {
            Ok(file.write_all(bytes)?)
        })
    }

    /// Signs an update, and lets it be seen.
    pub fn conclude(&self, update: &Update, keys: &[SecretKey]) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(update).context("writing JSON")?;
        text.push(b'\n');
        self.write(&signatures_path(&text), sign(&text, keys).as_bytes())?;
        self.write(UPDATE_FILE, &text)
    }

    /// Adds signatures to those that an update has, in the place of older ones of the same
    /// keys.
    pub fn add_signatures(&self, text: &[u8], keys: &[SecretKey]) -> Result<()> {
        let name = signatures_path(text);
        let there = match fs::read_to_string(self.path.join(&name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            there => there.with_context(|| format!("reading {name}"))?,
        };
        // What cannot be read is of no use to machines either.
        let all = Signature::parse_all(&there).unwrap_or_default();
        let lines: Vec<&str> = there.lines().collect();
        let numbers: Vec<_> = keys.iter().map(|key| key.public().number).collect();
        let mut kept = String::new();
        for (signature, lines) in all.iter().zip(lines.chunks(4)) {
            if !numbers.contains(&signature.number) {
                kept += &format!("{}\n", lines.join("\n"));
            }
        }
        self.write(&name, (kept + &sign(text, keys)).as_bytes())
    }

    /// Removes parts that nobody needs any more.
    pub fn remove_old(&self) -> Result<()> {
        let mut kept: BTreeSet<PathBuf> = BTreeSet::new();
        let current = self.current()?;
        for (text, update) in current.iter().chain(&self.before) {
            kept.extend(update.parts().iter().map(|name| self.path.join(name)));
            kept.insert(self.path.join(signatures_path(text)));
        }
        for entry in fs::read_dir(self.path.join(PARTS)).context("reading the folder of parts")? {
            let path = entry.context("reading the folder of parts")?.path();
            if is_part(&path) && !kept.contains(&path) {
                fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
            }
        }
        Ok(())
    }
}

fn signatures_path(text: &[u8]) -> String {
    Part::of(text).path(SIGNATURES)
}

fn sign(text: &[u8], keys: &[SecretKey]) -> String {
    let comment = format!("file:{UPDATE_FILE}\thashed");
    keys.iter().map(|key| key.sign(text, &comment)).collect()
}

/// Whether a file has a name that one of ours would have.
fn is_part(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let ending = path.extension().and_then(|ending| ending.to_str());
    stem.is_some_and(|stem| stem.len() == 64 && stem.bytes().all(|byte| byte.is_ascii_hexdigit()))
        && ending.is_some_and(|ending| [SIGNATURES, INDEX, PACK].contains(&ending))
}

/// Counts and hashes what is written.
struct Hashed<'a> {
    output: &'a fs::File,
    hash: Sha256,
    size: u64,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.output.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.output.flush()
    }
}

/// Bytes for people.
pub(super) fn human(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
