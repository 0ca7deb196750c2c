//! A blob on its way to a registry: what is there is not sent, what broke off goes on.
//!
//! Specification:
//! <https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pushing-blobs>. A
//! small blob goes in one request, a large one in pieces. Where an upload stands is what the
//! registry says; its address is kept in the cache, so that also the next run goes on.
//! Registries that forget what came of a piece that broke off begin the blob anew.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use ureq::http::Method;
use ureq::http::header::{self, HeaderName};

use super::client::Client;
use super::failure::{Failure, refusal};
use super::message::{Answer, Asked, Body};
use crate::builder::fetch::Cache;
use crate::builder::progress::Stage;
use crate::format::oci::{Descriptor, encoded, join, with_parameter};

/// Bytes that go in one request.
pub const PIECE_BYTES: u64 = 8 << 20;
/// How large pieces have to be at least, as some registries say.
const LEAST_LENGTH: &str = "oci-chunk-min-length";

/// A blob and where it is.
pub struct Blob<'a> {
    /// What it is.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub source: Source<'a>,
}

/// Where the bytes of a blob are.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// In memory.
    Bytes(&'a [u8]),
    /// In a file, from there on.
    File(&'a File, u64),
}

/// What became of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was there.
    There,
    /// Another repository of the same registry had it.
    Mounted,
    /// It was sent, from there on.
    Sent(u64),
}

/// Sends blobs to a repository.
pub(super) struct Uploader<'a> {
    pub client: &'a Client,
    /// Keeps the addresses of uploads.
    pub cache: &'a Cache,
    /// A repository of the same registry that may have them.
    pub mount_from: Option<&'a str>,
    /// Bytes of a piece.
    pub piece: u64,
}

/// Where an upload stands.
#[derive(Debug)]
struct Standing {
    location: String,
    offset: u64,
    least: u64,
}

/// What came of a request.
enum Step {
    Ended(Outcome),
    Stands(Standing),
}

/// A part of a blob; what is read of it counts as sent.
struct Part<'a> {
    source: Source<'a>,
    offset: u64,
    left: u64,
    sent: &'a AtomicU64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..length];
        match self.source {
            Source::Bytes(bytes) => {
                let start = usize::try_from(self.offset).map_err(io::Error::other)?;
                let part = bytes.get(start..start + length);
                buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
            }
            Source::File(file, begin) => file.read_exact_at(buffer, begin + self.offset)?,
        }
        self.offset += length as u64;
        self.left -= length as u64;
        self.sent.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

impl Uploader<'_> {
    /// Brings a blob there, unless it is.
    pub fn upload(&self, blob: &Blob<'_>, stage: &Stage) -> Result<Outcome> {
        let size = blob.descriptor.size;
        let counted = Cell::new(0);
        let count = |offset: u64| {
            stage.add(offset.saturating_sub(counted.get()));
            counted.set(offset.max(counted.get()));
        };
        let outcome = self
            .bring(blob, &count)
            .with_context(|| format!("sending {}", blob.descriptor.digest))?;
        count(size);
        Ok(outcome)
    }

    fn bring(&self, blob: &Blob<'_>, count: &dyn Fn(u64)) -> Result<Outcome> {
        if self.is_there(&blob.descriptor)? {
            return Ok(Outcome::There);
        }
        let kept = self.kept_path(&blob.descriptor);
        let mut standing = match fs::read_to_string(&kept) {
            Ok(location) => self.ask_standing(&location)?,
            Err(_) => None,
        };
        let mut begun_at = standing.as_ref().map_or(0, |standing| standing.offset);
        let mut patience = self.client.patience();
        let mut farthest = begun_at;
        loop {
            if let Some(standing) = &standing {
                count(standing.offset);
            }
            match self.step(blob, &mut standing) {
                Ok(Step::Ended(outcome)) => {
                    // It is of no use any more; nor does it harm.
                    let _ = fs::remove_file(&kept);
                    return Ok(match outcome {
                        Outcome::Sent(_) => Outcome::Sent(begun_at),
                        other => other,
                    });
                }
                Ok(Step::Stands(next)) => {
                    let before = standing.as_ref().map(|standing| standing.offset);
                    if next.offset > farthest {
                        farthest = next.offset;
                        patience.renew();
                    } else if before.is_some_and(|before| next.offset <= before) {
                        patience.wait(Failure::in_vain())?;
                    }
                    self.cache.store(&kept, next.location.as_bytes())?;
                    standing = Some(next);
                }
                Err(failure) => {
                    patience.wait(failure)?;
                    // The answer may have been lost, and not the blob.
                    if self.is_there(&blob.descriptor)? {
                        return Ok(Outcome::Sent(begun_at));
                    }
                    if let Some(last) = standing.take() {
                        standing = self.ask_standing(&last.location)?;
                    }
                    if standing.is_none() {
                        begun_at = 0;
                    }
                }
            }
        }
    }

    /// Where the address of an unfinished upload is kept.
    fn kept_path(&self, blob: &Descriptor) -> PathBuf {
        let url = self.client.url("blobs/uploads/");
        self.cache.document_path(&format!("{url} {}", blob.digest))
    }

    pub fn is_there(&self, blob: &Descriptor) -> Result<bool> {
        let url = self.client.url(&format!("blobs/{}", blob.digest));
        let asked = Asked::new(Method::HEAD, &url);
        let answer = self.client.ask(&asked, "asking for it")?;
        match answer.status {
            200 => Ok(true),
            404 => Ok(false),
            _ => Err(refusal(answer)),
        }
    }

    /// Where an upload stands; nothing when the registry does not know it any more.
    fn ask_standing(&self, location: &str) -> Result<Option<Standing>> {
        let asked = Asked::new(Method::GET, location);
        let answer = self.client.ask(&asked, "asking where its upload stands")?;
        let offset = match answer.status {
            200 | 204 => answer.header("range").and_then(end_of),
            _ => None,
        };
        Ok(offset.map(|offset| Standing {
            location: next_location(&answer, location),
            offset,
            least: least_length(&answer),
        }))
    }

    /// The next request of an upload.
    fn step(&self, blob: &Blob<'_>, standing: &mut Option<Standing>) -> Result<Step, Failure> {
        let size = blob.descriptor.size;
        let Some(now) = standing.as_ref().filter(|now| now.offset <= size) else {
            return self.begin(&blob.descriptor);
        };
        let left = size - now.offset;
        let piece = self.piece.max(now.least);
        // All of it at once, or nothing but the end.
        let ends = left == 0 || (now.offset == 0 && size <= piece);
        let length = left.min(piece);
        let answer = self.send_part(blob, now, length, ends)?;
        let (start, location) = (now.offset, now.location.clone());
        match answer.status {
            201 | 204 if ends => Ok(Step::Ended(Outcome::Sent(0))),
            202 if !ends => {
                let told = answer.header("range").and_then(end_of);
                Ok(Step::Stands(Standing {
                    offset: told.unwrap_or(start + length),
                    least: now.least,
                    location: next_location(&answer, &location),
                }))
            }
            // It stands elsewhere than we thought, and says where when it is asked.
            416 => Err(Failure::later(answer)),
            // It is forgotten, or what came before is another blob's.
            400 | 404 | 410 => {
                *standing = None;
                Err(Failure::later(answer))
            }
            _ => Err(Failure::Final(refusal(answer))),
        }
    }

    fn begin(&self, blob: &Descriptor) -> Result<Step, Failure> {
        let mut url = self.client.url("blobs/uploads/");
        if let Some(from) = self.mount_from {
            let digest = encoded(&blob.digest);
            url = format!("{url}?mount={digest}&from={}", encoded(from));
        }
        let answer = self.client.send(&Asked {
            body: Body::Bytes(&[]),
            ..Asked::new(Method::POST, &url)
        })?;
        match answer.status {
            201 => Ok(Step::Ended(Outcome::Mounted)),
            202 => {
                let location = answer.header("location");
                let location = location.and_then(|location| join(&url, location));
                Ok(Step::Stands(Standing {
                    offset: 0,
                    least: least_length(&answer),
                    location: location
                        .ok_or_else(|| Failure::unusable("does not say where to send it"))?,
                }))
            }
            _ => Err(Failure::Final(refusal(answer))),
        }
    }

    fn send_part(
        &self,
        blob: &Blob<'_>,
        standing: &Standing,
        length: u64,
        ends: bool,
    ) -> Result<Answer, Failure> {
        let offset = standing.offset;
        let part = || -> Box<dyn Read + '_> {
            Box::new(Part {
                source: blob.source,
                offset,
                left: length,
                sent: &self.client.sent,
            })
        };
        let mut url = standing.location.clone();
        let octets = "application/octet-stream".to_owned();
        let mut headers: Vec<(HeaderName, String)> = vec![(header::CONTENT_TYPE, octets)];
        if ends {
            url = with_parameter(&url, "digest", &blob.descriptor.digest);
        } else {
            let range = format!("{offset}-{}", offset + length - 1);
            headers.push((header::CONTENT_RANGE, range));
        }
        self.client.send(&Asked {
            method: if ends { Method::PUT } else { Method::PATCH },
            url: &url,
            headers: &headers,
            body: if length == 0 {
                Body::Bytes(&[])
            } else {
                Body::Part(length, &part)
            },
        })
    }
}

/// What follows the last byte of `0-99`. Of an upload without a byte it is `0-0`; one with a
/// single byte, which would be the same, is never left unfinished.
fn end_of(range: &str) -> Option<u64> {
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    let last: u64 = range.split_once('-')?.1.trim().parse().ok()?;
    Some(if last == 0 { 0 } else { last + 1 })
}

fn next_location(answer: &Answer, before: &str) -> String {
    answer
        .header("location")
        .and_then(|location| join(before, location))
        .unwrap_or_else(|| before.to_owned())
}

fn least_length(answer: &Answer) -> u64 {
    let told = answer.header(LEAST_LENGTH);
    told.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
