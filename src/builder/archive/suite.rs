//! One suite fetched from a mirror: its verified Release and its package indexes.
//!
//! Specification: <https://wiki.debian.org/DebianRepository/Format>. Trust runs
//! from the embedded keyring over the InRelease to each index by digest.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;
use liblzma::read::XzDecoder;
use sha2::{Digest, Sha256};

use super::index::{Index, read_index};
use super::openpgp::{Certificate, verify_signed_text};
use super::release::{Release, check_not_before, check_release, parse_release};
use crate::builder::fetch::{Fetch, Object};
use crate::builder::recipe::Archive;
use crate::error::{Hint, hinted};

/// Largest InRelease accepted, in bytes; sid's is about 220 kB.
const INRELEASE_LIMIT: u64 = 8 << 20;

/// Compressions of an index that we read, best first.
const COMPRESSIONS: [&str; 3] = [".xz", ".gz", ""];

/// A suite whose signature and age were checked.
#[derive(Clone, Debug)]
pub struct Suite {
    /// Its Release file.
    pub release: Release,
    /// SHA-256 of the InRelease, hexadecimal.
    pub inrelease_sha256: String,
}

/// Joins a mirror's base address and a path.
pub fn join_url(mirror: &str, path: &str) -> String {
    format!("{}/{path}", mirror.trim_end_matches('/'))
}

/// Fetches and checks the InRelease of a source.
///
/// `now` and `previous`, the `Date` that the last lock saw, are in seconds
/// since 1970.
pub fn load_suite(
    source: &Archive,
    certificates: &[Certificate],
    fetch: &dyn Fetch,
    now: i64,
    previous: Option<i64>,
) -> Result<Suite> {
    let urls: Vec<String> = source
        .mirrors
        .iter()
        .map(|mirror| join_url(mirror, &format!("dists/{}/InRelease", source.suite)))
        .collect();
    let signed = |bytes: &[u8]| -> Result<Release> {
        let verified = verify_signed_text(bytes, certificates, now)?;
        parse_release(&verified.text)
    };
    // What was kept is good by its signature alone: it may have expired since.
    let seen = fetch
        .kept(&urls)
        .iter()
        .filter_map(|bytes| signed(bytes).ok())
        .map(|release| release.date)
        .max();
    let checked = |bytes: &[u8]| -> Result<Release> {
        let release = signed(bytes)?;
        check_release(&release, &source.suite, now, previous)?;
        check_not_before(&release, seen)?;
        Ok(release)
    };
    // What one mirror serves is checked before the next one is passed over.
    let (good, refused) = (RefCell::new(None), Cell::new(false));
    let check = |bytes: &[u8]| match checked(bytes) {
        Ok(release) => {
            good.replace(Some(release));
            Ok(())
        }
        Err(error) => {
            refused.set(true);
            Err(error)
        }
    };
    let fetched = fetch.document(&urls, INRELEASE_LIMIT, &check);
    let bytes = fetched.with_context(|| {
        let doing = if refused.get() {
            "checking"
        } else {
            "fetching"
        };
        format!("{doing} the InRelease of {}", source.suite)
    })?;
    let release = good.take().context("checking the InRelease")?;
    Ok(Suite {
        release,
        inrelease_sha256: hex::encode(Sha256::digest(&bytes)),
    })
}

/// One index file: where it is and how it unpacks.
#[derive(Clone, Debug)]
struct Wanted {
    object: Object,
    path: String,
    compression: &'static str,
    unpacked_size: u64,
}

/// Fetches and reads the package indexes of a source's components.
pub fn load_indexes(
    source: &Archive,
    suite: &Suite,
    architecture: &str,
    fetch: &dyn Fetch,
) -> Result<Vec<Index>> {
    let mut wanted = Vec::new();
    for component in &source.components {
        wanted.push(find_index(source, suite, component, architecture)?);
        if suite.release.separate_all {
            wanted.push(find_index(source, suite, component, "all")?);
        }
    }
    let objects: Vec<Object> = wanted.iter().map(|index| index.object.clone()).collect();
    let paths = fetch
        .objects(&objects)
        .with_context(|| format!("fetching the package indexes of {}", source.suite))
        .hint(
            "a mirror in the middle of an update serves both old and new files: \
             try again in some minutes, or name another mirror",
        )?;
    wanted
        .iter()
        .zip(&paths)
        .map(|(index, path)| {
            read_or_renew(path, index, architecture, fetch)
                .with_context(|| format!("reading {} of {}", index.path, source.suite))
        })
        .collect()
}

fn find_index(
    source: &Archive,
    suite: &Suite,
    component: &str,
    architecture: &str,
) -> Result<Wanted> {
    let plain = format!("{component}/binary-{architecture}/Packages");
    let files = &suite.release.files;
    for compression in COMPRESSIONS {
        let path = format!("{plain}{compression}");
        let (Some(listed), Some(unpacked)) = (files.get(&path), files.get(&plain)) else {
            continue;
        };
        let mut urls = Vec::new();
        let folder = format!("dists/{}", source.suite);
        if suite.release.by_hash {
            let by_hash = format!(
                "{folder}/{component}/binary-{architecture}/by-hash/SHA256/{}",
                listed.sha256
            );
            urls.extend(
                source
                    .mirrors
                    .iter()
                    .map(|mirror| join_url(mirror, &by_hash)),
            );
        }
        let by_name = format!("{folder}/{path}");
        urls.extend(
            source
                .mirrors
                .iter()
                .map(|mirror| join_url(mirror, &by_name)),
        );
        return Ok(Wanted {
            object: Object {
                label: format!("{} {path}", source.suite),
                urls,
                snapshots: Vec::new(),
                size: listed.size,
                sha256: listed.sha256.clone(),
            },
            path,
            compression,
            unpacked_size: unpacked.size,
        });
    }
    let known: Vec<&str> = files
        .keys()
        .filter_map(|path| path.strip_suffix(&format!("/binary-{architecture}/Packages")))
        .collect();
    if known.is_empty() {
        bail!("{} has no packages for {architecture}", source.suite);
    }
    Err(hinted(
        format!("{} has no component '{component}'", source.suite),
        format!("its components are {}", known.join(", ")),
    ))
}

/// Reads an index; one that decayed in the cache is fetched once more.
fn read_or_renew(
    path: &Path,
    wanted: &Wanted,
    architecture: &str,
    fetch: &dyn Fetch,
) -> Result<Index> {
    let error = match read_file(path, wanted, architecture) {
        Ok(index) => return Ok(index),
        Err(error) => error,
    };
    if hex::encode(Sha256::digest(std::fs::read(path)?)) == wanted.object.sha256 {
        return Err(error).hint("the archive itself is at fault: name another mirror");
    }
    std::fs::remove_file(path).with_context(|| format!("removing {}", path.display()))?;
    let paths = fetch.objects(std::slice::from_ref(&wanted.object))?;
    let path = paths.first().context("fetching it once more")?;
    read_file(path, wanted, architecture)
        .hint("the file changes between writing and reading it: check disk and memory")
}

fn read_file(path: &Path, wanted: &Wanted, architecture: &str) -> Result<Index> {
    let file = BufReader::new(File::open(path)?);
    let stream: Box<dyn Read> = match wanted.compression {
        ".xz" => Box::new(XzDecoder::new(file)),
        ".gz" => Box::new(GzDecoder::new(file)),
        _ => Box::new(file),
    };
    read_index(stream, wanted.unpacked_size, architecture)
}
