//! What is fetched, and from where in general.

use std::path::PathBuf;

use anyhow::Result;

/// A file pinned by size and digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Short name for messages, `postfix 3.10.5-1+deb13u1`.
    pub label: String,
    /// Addresses of the same bytes, tried in order.
    pub urls: Vec<String>,
    /// Further ones, asked only when none of those has it any more.
    pub snapshots: Vec<String>,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// Whether a document is what it should be.
pub type Check<'a> = &'a dyn Fn(&[u8]) -> Result<()>;

/// Where files come from: a mirror through a cache, or a folder in tests.
pub trait Fetch: Sync {
    /// A small file that is not pinned (an InRelease), asked for anew each
    /// time; offline, the copy of the last time.
    ///
    /// `limit` is the largest size accepted, in bytes. An answer that `check` refuses is
    /// as none: the next address is asked, and nothing of it is kept.
    fn document(&self, urls: &[String], limit: u64, check: Check<'_>) -> Result<Vec<u8>>;

    /// The copies of a document that earlier runs kept.
    fn kept(&self, urls: &[String]) -> Vec<Vec<u8>>;

    /// Pinned files, in parallel; returns their paths in the same order.
    fn objects(&self, objects: &[Object]) -> Result<Vec<PathBuf>>;
}
