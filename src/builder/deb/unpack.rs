//! From .deb files to packages: each unpacked once into the cache, read from there ever after.
//!
//! A .deb is read once: its SHA-256 is taken while it is decompressed, and what
//! came out gets its name only when the digest is the pinned one. A damaged
//! file of the cache, .deb or unpacked, is thrown away and made again.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow, bail};
use indicatif::DecimalBytes;
use rustix::process::{Resource, getrlimit, setrlimit};
use sha2::{Digest, Sha256};

use super::Package;
use super::data::{Entry, EntryKind, Sink};
use super::index::{self, FORMAT, Index};
use super::members::read_deb;
use crate::builder::fetch::{Cache, Fetch, Object, storage_error};
use crate::builder::progress::{Progress, Stage};
use crate::builder::tree::{Content, FileSlice, Kind, Node};
use crate::error::{Hint, hinted};

const READ_BUFFER: usize = 1 << 17;
const WRITE_BUFFER: usize = 1 << 20;
/// Open files besides those of the packages.
const OTHER_FILES: u64 = 128;

/// Reads packages, in the order of their objects.
///
/// Only what the cache does not hold unpacked is fetched; so a warm build
/// needs no .deb at all. Fails with the package's label and the path in it.
pub fn unpack_packages(
    objects: &[Object],
    fetch: &dyn Fetch,
    cache: &Cache,
    progress: &Progress,
) -> Result<Vec<Package>> {
    raise_file_limit(objects.len());
    let mut packages: Vec<Option<Package>> = in_parallel(objects, |object| load(object, cache))?;
    let mut missing: Vec<usize> = (0..objects.len())
        .filter(|index| packages[*index].is_none())
        .collect();
    if !missing.is_empty() {
        // The largest first, so that the last thread does not finish alone.
        missing.sort_by_key(|index| (std::cmp::Reverse(objects[*index].size), *index));
        let wanted: Vec<Object> = missing
            .iter()
            .map(|index| objects[*index].clone())
            .collect();
        let paths = fetch.objects(&wanted)?;
        let total = wanted.iter().map(|object| object.size).sum();
        let stage = progress.bytes("unpack", total);
        let work: Vec<(&Object, &Path)> =
            wanted.iter().zip(paths.iter().map(AsRef::as_ref)).collect();
        let unpacked = in_parallel(&work, |(object, path)| {
            unpack(object, path, fetch, cache, &stage)
        })?;
        for (index, package) in missing.iter().zip(unpacked) {
            packages[*index] = Some(package);
        }
        stage.finish(&format!(
            "{} packages, {}",
            missing.len(),
            DecimalBytes(total)
        ));
    }
    Ok(packages.into_iter().flatten().collect())
}

/// Applies a function to all items on all threads, the first items first.
fn in_parallel<T: Sync, R: Send + Sync>(
    items: &[T],
    function: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let results: Vec<OnceLock<Result<R>>> = items.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    rayon::broadcast(|_| {
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else {
                break;
            };
            let result = function(item);
            if result.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            let _ = results[index].set(result);
        }
    });
    // Without a failure every place is filled.
    results
        .into_iter()
        .filter_map(OnceLock::into_inner)
        .collect()
}

/// Every package keeps its file open, and many systems start with 1024.
fn raise_file_limit(packages: usize) {
    let mut limit = getrlimit(Resource::Nofile);
    let needed = packages as u64 + OTHER_FILES;
    if limit.current.is_some_and(|current| current < needed) {
        limit.current = Some(limit.maximum.map_or(needed, |maximum| needed.min(maximum)));
        // When it fails, opening the file too many says so.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// The package as the cache holds it unpacked; nothing when it does not, or damaged.
fn load(object: &Object, cache: &Cache) -> Result<Option<Package>> {
    cached_package(&object.sha256, cache)
}

/// The package of a .deb's digest, if the cache holds it unpacked.
pub fn cached_package(sha256: &str, cache: &Cache) -> Result<Option<Package>> {
    let path = cache.unpacked_path(sha256, FORMAT)?;
    match File::open(&path) {
        Ok(file) => Ok(read_unpacked(file).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let full = error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error());
            let result = Err(error).with_context(|| format!("reading {}", path.display()));
            match full {
                true => result.hint("every package keeps a file open: raise `ulimit -n`"),
                false => result,
            }
        }
    }
}

fn read_unpacked(file: File) -> Result<Package> {
    let Index { control, entries } = index::load(&file)?;
    let file = Arc::new(file);
    Ok(Package {
        name: control.name,
        version: control.version,
        architecture: control.architecture,
        control: control.paragraph,
        conffiles: control.conffiles,
        scripts: control.scripts,
        entries: entries
            .into_iter()
            .map(|entry| make_node(entry, &file))
            .collect(),
    })
}

fn make_node(entry: Entry, file: &Arc<File>) -> (String, Node) {
    let kind = match entry.kind {
        EntryKind::Directory => Kind::Directory,
        EntryKind::File { offset, length } => Kind::File(Content::Slice(FileSlice {
            file: Arc::clone(file),
            offset,
            length,
        })),
        EntryKind::Symlink(target) => Kind::Symlink(target),
        EntryKind::HardLink(target) => Kind::HardLink(target),
    };
    let metadata = entry.metadata;
    (entry.path, Node { metadata, kind })
}

/// Why a .deb was not unpacked.
enum Failure {
    /// It is not the file that was pinned.
    Damaged(String),
    /// It is, and still cannot be used.
    Unusable(anyhow::Error),
}

fn unpack(
    object: &Object,
    deb: &Path,
    fetch: &dyn Fetch,
    cache: &Cache,
    stage: &Stage,
) -> Result<Package> {
    let context = || format!("unpacking {}", object.label);
    match unpack_into_cache(object, deb, cache, stage) {
        Ok(()) => {}
        Err(Failure::Unusable(error)) => return Err(error).with_context(context),
        Err(Failure::Damaged(_)) => {
            cache.discard_object(&object.sha256)?;
            let paths = fetch.objects(std::slice::from_ref(object))?;
            let [deb] = paths.as_slice() else {
                bail!("fetching {} once more: nothing came", object.label);
            };
            match unpack_into_cache(object, deb, cache, stage) {
                Ok(()) => {}
                Err(Failure::Unusable(error)) => return Err(error).with_context(context),
                Err(Failure::Damaged(found)) => {
                    return Err(hinted(
                        format!("{} {found}, pinned is {}", deb.display(), object.sha256),
                        "the file changes between writing and reading it: check disk and memory",
                    ))
                    .with_context(context);
                }
            }
        }
    }
    load(object, cache)?
        .ok_or_else(|| anyhow!("what was just written to the cache reads back damaged"))
        .hint("check disk and memory of this machine")
        .with_context(context)
}

fn unpack_into_cache(
    object: &Object,
    deb: &Path,
    cache: &Cache,
    stage: &Stage,
) -> Result<(), Failure> {
    let path = cache
        .unpacked_path(&object.sha256, FORMAT)
        .map_err(Failure::Unusable)?;
    let is_good = |path: &Path| File::open(path).is_ok_and(|file| index::load(&file).is_ok());
    let claim = cache.claim(&path, is_good).map_err(Failure::Unusable)?;
    let Some(claim) = claim else {
        stage.add(object.size);
        return Ok(());
    };
    let result = write_unpacked(object, deb, &claim.file, claim.part_path(), stage);
    match result {
        Ok(()) => claim.commit().map_err(Failure::Unusable),
        Err(failure) => {
            claim.abandon();
            Err(failure)
        }
    }
}

fn write_unpacked(
    object: &Object,
    deb: &Path,
    output: &File,
    output_path: &Path,
    stage: &Stage,
) -> Result<(), Failure> {
    let file = match File::open(deb) {
        Ok(file) => file,
        // Another build found it damaged and threw it away.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::Damaged("is gone".to_owned()));
        }
        Err(error) => {
            let error = anyhow!(error).context(format!("reading {}", deb.display()));
            return Err(Failure::Unusable(error));
        }
    };
    if output.metadata().is_ok_and(|part| part.len() > 0)
        && let Err(error) = output.set_len(0)
    {
        return Err(Failure::Unusable(storage_error(error, output_path)));
    }
    let mut input = Hashing {
        inner: BufReader::with_capacity(READ_BUFFER, file),
        digest: Sha256::new(),
        stage,
    };
    let mut contents = Contents {
        writer: BufWriter::with_capacity(WRITE_BUFFER, output),
        path: output_path,
        sum: crc32fast::Hasher::new(),
        length: 0,
    };
    let result = read_deb(&mut input, &mut contents);
    // What a damaged file failed with does not matter, so the digest comes first.
    io::copy(&mut input, &mut io::sink())
        .with_context(|| format!("reading {}", deb.display()))
        .map_err(Failure::Unusable)?;
    let found = hex::encode(input.digest.finalize());
    if found != object.sha256 {
        return Err(Failure::Damaged(format!("has the SHA-256 {found}")));
    }
    result
        .and_then(|index| contents.finish(&index))
        .hint_where_none(
            "the package is as its archive has it: tell whoever runs the archive, or do without \
             it in the recipe",
        )
        .map_err(Failure::Unusable)
}

/// Takes the digest of all that passes.
struct Hashing<'a, R> {
    inner: R,
    digest: Sha256,
    stage: &'a Stage,
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.digest.update(&buffer[..count]);
        self.stage.add(count as u64);
        Ok(count)
    }
}

/// The contents' part of an unpacked file in the making.
struct Contents<'a> {
    writer: BufWriter<&'a File>,
    path: &'a Path,
    sum: crc32fast::Hasher,
    length: u64,
}

impl Sink for Contents<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer
            .write_all(bytes)
            .map_err(|error| storage_error(error, self.path))?;
        self.sum.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn position(&self) -> u64 {
        self.length
    }
}

impl Contents<'_> {
    fn finish(mut self, index: &Index) -> Result<()> {
        let tail = index::encode(index, self.length, self.sum.finalize());
        self.writer
            .write_all(&tail)
            .and_then(|()| self.writer.flush())
            .map_err(|error| storage_error(error, self.path))
    }
}
