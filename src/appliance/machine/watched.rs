//! A file that is read again when it was replaced.

use anyhow::{Context, Result};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::rc::Rc;

/// Changes whenever a file is written anew: device, inode, size, time.
pub type Stamp = (u64, u64, u64, i64, i64);

/// The parsed content of a file, as of its last change.
pub struct Watched<T> {
    path: PathBuf,
    parse: fn(&str) -> Result<T>,
    held: Option<(Stamp, Rc<T>)>,
}

impl<T> Watched<T> {
    /// Reads nothing yet.
    pub fn new(path: PathBuf, parse: fn(&str) -> Result<T>) -> Self {
        Self {
            path,
            parse,
            held: None,
        }
    }

    /// The content as it is now; that the file is gone is an error, whatever is held.
    pub fn get(&mut self) -> Result<Rc<T>> {
        let load = || -> Result<(Stamp, Rc<T>)> {
            let stamp = stamp(&std::fs::metadata(&self.path)?);
            if let Some((held, content)) = &self.held
                && *held == stamp
            {
                return Ok((stamp, content.clone()));
            }
            // Read after the stamp: a change in between is seen next time.
            let content = (self.parse)(&std::fs::read_to_string(&self.path)?)?;
            Ok((stamp, Rc::new(content)))
        };
        let (stamp, content) =
            load().with_context(|| format!("reading {}", self.path.display()))?;
        self.held = Some((stamp, content.clone()));
        Ok(content)
    }
}

pub fn stamp(metadata: &Metadata) -> Stamp {
    (
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec(),
    )
}
