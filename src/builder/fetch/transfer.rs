//! One transfer: from an open address into the cache's unfinished file, or into memory.
//!
//! Size and SHA-256 are checked while the bytes come in. A file that was begun
//! before is continued from where it ends; when the whole then turns out wrong,
//! the old part may be to blame and it is fetched once more from its beginning.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::cache::Claim;
use super::object::Object;
use super::opener::Open;
use super::problem::Problem;
use super::storage::storage_error;
use crate::builder::progress::Stage;

/// How much is read at once.
const BUFFER: usize = 1 << 17;
/// An attempt that brought so many bytes does not count as a failure.
const ADVANCE_BYTES_MIN: u64 = 1 << 20;
const WEB_PAGE: &str = "answered a web page instead of it";

/// One pinned file on its way into the cache.
pub(super) struct Transfer<'a> {
    pub object: &'a Object,
    pub claim: &'a Claim,
    pub stage: &'a Stage,
    pub stop: &'a AtomicBool,
    /// How many of its bytes the stage already counts.
    pub counted: u64,
}

impl Transfer<'_> {
    /// Brings the file from one address, continuing what is there.
    pub(super) fn run(&mut self, opener: &dyn Open, url: &str) -> Result<(), Problem> {
        let (mut digest, have) = self.read_part().map_err(Problem::Fatal)?;
        if have == self.object.size && self.is_whole(&digest) {
            return Ok(());
        }
        let counted = self.counted.max(have);
        let resumed = have > 0 && have < self.object.size;
        let offset = if resumed { have } else { 0 };
        let mut opened = opener.open(url, offset)?;
        if opened.start == 0 {
            digest = Sha256::new();
            self.restart().map_err(Problem::Fatal)?;
        }
        let result = self.copy(&mut opened.reader, opened.start, opened.total, &mut digest);
        match result {
            Err(Problem::Bad(_)) if opened.start > 0 => {
                // The part may be to blame: once more from the beginning.
                self.restart().map_err(Problem::Fatal)?;
                self.run(opener, url)
            }
            Err(Problem::Bad(reason)) => {
                self.restart().map_err(Problem::Fatal)?;
                Err(Problem::Bad(reason))
            }
            Err(Problem::Transient {
                reason,
                retry_after,
                ..
            }) => Err(Problem::Transient {
                reason,
                retry_after,
                advanced: self.counted.saturating_sub(counted) >= ADVANCE_BYTES_MIN,
            }),
            other => other,
        }
    }

    fn copy(
        &mut self,
        reader: &mut dyn Read,
        start: u64,
        total: Option<u64>,
        digest: &mut Sha256,
    ) -> Result<(), Problem> {
        let size = self.object.size;
        let mut position = start;
        let mut buffer = vec![0; BUFFER];
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Problem::transient("stopped"));
            }
            let length = match reader.read(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Problem::of_transfer(&error, position)),
            };
            let bytes = &buffer[..length];
            if position == 0 && is_web_page(bytes) {
                return Err(Problem::Bad(WEB_PAGE.to_owned()));
            }
            if let Some(total) = total.filter(|total| *total != size) {
                return Err(Problem::Bad(format!("has {total} bytes, expected {size}")));
            }
            if length == 0 {
                break;
            }
            if position + length as u64 > size {
                return Err(Problem::Bad(format!("has more than {size} bytes")));
            }
            (&self.claim.file)
                .write_all(bytes)
                .map_err(|error| Problem::Fatal(storage_error(error, self.claim.part_path())))?;
            digest.update(bytes);
            position += length as u64;
            self.stage.add(position.saturating_sub(self.counted));
            self.counted = self.counted.max(position);
        }
        if position < size {
            return Err(Problem::transient(format!(
                "ended after {position} of {size} bytes"
            )));
        }
        if !self.is_whole(digest) {
            return Err(Problem::Bad("has another SHA-256 than pinned".to_owned()));
        }
        Ok(())
    }

    fn is_whole(&self, digest: &Sha256) -> bool {
        hex::encode(digest.clone().finalize()) == self.object.sha256
    }

    /// The digest and length of what is there; the file then stands at its end.
    fn read_part(&self) -> Result<(Sha256, u64)> {
        let mut file = &self.claim.file;
        let mut read = || -> io::Result<(Sha256, u64)> {
            let mut digest = Sha256::new();
            let mut length = 0;
            if file.metadata()?.len() == 0 {
                return Ok((digest, 0));
            }
            file.seek(SeekFrom::Start(0))?;
            let mut buffer = vec![0; BUFFER];
            loop {
                match file.read(&mut buffer)? {
                    0 => return Ok((digest, length)),
                    count => {
                        digest.update(&buffer[..count]);
                        length += count as u64;
                    }
                }
            }
        };
        read().with_context(|| format!("reading {}", self.claim.part_path().display()))
    }

    fn restart(&self) -> Result<()> {
        let mut file = &self.claim.file;
        let mut restart = || -> io::Result<()> {
            if file.metadata()?.len() > 0 {
                file.set_len(0)?;
            }
            file.seek(SeekFrom::Start(0)).map(drop)
        };
        restart().map_err(|error| storage_error(error, self.claim.part_path()))
    }
}

/// Reads a small file of at most `limit` bytes into memory.
pub(super) fn read_document(opener: &dyn Open, url: &str, limit: u64) -> Result<Vec<u8>, Problem> {
    let opened = opener.open(url, 0)?;
    let mut bytes = Vec::new();
    opened
        .reader
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| Problem::of_transfer(&error, bytes.len() as u64))?;
    if bytes.len() as u64 > limit {
        return Err(Problem::Bad(format!("has more than {limit} bytes")));
    }
    if is_web_page(&bytes) {
        return Err(Problem::Bad(WEB_PAGE.to_owned()));
    }
    Ok(bytes)
}

/// Whether a page of a log-in portal or an error page came instead of a file.
fn is_web_page(bytes: &[u8]) -> bool {
    let start = bytes.trim_ascii_start();
    [&b"<!doctype html"[..], b"<html"].iter().any(|opening| {
        start
            .get(..opening.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(opening))
    })
}
