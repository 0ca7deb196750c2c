//! The tar file around documents and layers, with one time and no owner.

use std::fs::File;
use std::io::{BufWriter, Read, Write};

use anyhow::{Context, Result};
use tar::Builder;

use super::layer::header;
use crate::builder::tree::Metadata;

/// An archive that is being written.
pub(super) struct Archive<'a> {
    builder: Builder<BufWriter<&'a File>>,
    time: u64,
}

impl<'a> Archive<'a> {
    pub(super) fn new(output: &'a File, time: u64) -> Self {
        Self {
            builder: Builder::new(BufWriter::with_capacity(1 << 20, output)),
            time,
        }
    }

    pub(super) fn add(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.add_file(path, bytes, bytes.len() as u64)
    }

    pub(super) fn add_file(&mut self, path: &str, bytes: impl Read, size: u64) -> Result<()> {
        let mut header = header(&Metadata::root(0o644), self.time);
        header.set_size(size);
        self.builder
            .append_data(&mut header, path, bytes)
            .with_context(|| format!("writing {path}"))
    }

    pub(super) fn finish(self) -> Result<()> {
        self.builder.into_inner()?.flush()?;
        Ok(())
    }
}
