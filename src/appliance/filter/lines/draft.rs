//! A user's message, kept until it is known whether its lines have to be shortened.
//!
//! Small ones stay in memory, and what is larger goes to a file without a name in the
//! service's own /var/tmp.

use super::{ENCODING, LineMeter, Shortened, shorten};
use anyhow::{Context, Result};
use std::io::{Read, Seek, SeekFrom, Write};
use tempfile::SpooledTempFile;

/// What is kept in memory, in bytes.
const MEMORY_BYTES_MAX: usize = 256 << 10;
/// Where larger ones go.
const FOLDER: &str = "/var/tmp";

/// A message under way.
#[derive(Debug)]
pub struct Draft {
    meter: LineMeter,
    body: SpooledTempFile,
    content_type: Option<Vec<u8>>,
    encoding: Option<Vec<u8>>,
    /// How many headers name an encoding.
    pub encodings: u32,
    /// Whether it says that it is made of parts at all (RFC 2045, section 4).
    pub has_version: bool,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            meter: LineMeter::default(),
            body: tempfile::spooled_tempfile_in(MEMORY_BYTES_MAX, FOLDER),
            content_type: None,
            encoding: None,
            encodings: 0,
            has_version: false,
        }
    }
}

impl Draft {
    /// Notes a header of the message.
    pub fn note_header(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"Content-Type") {
            self.content_type.get_or_insert_with(|| value.to_vec());
        } else if name.eq_ignore_ascii_case(ENCODING.as_bytes()) {
            self.encodings += 1;
            self.encoding.get_or_insert_with(|| value.to_vec());
        } else if name.eq_ignore_ascii_case(b"MIME-Version") {
            self.has_version = true;
        }
    }

    /// Keeps the next piece of the body.
    pub fn update(&mut self, piece: &[u8]) -> Result<()> {
        self.meter.update(piece);
        self.body.write_all(piece).context("keeping a body")
    }

    /// The body with short lines; `None` when it has no others.
    pub fn shorten(&mut self) -> Result<Option<Shortened>> {
        if !self.meter.is_too_long() {
            return Ok(None);
        }
        let mut body = Vec::new();
        self.body
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.body.read_to_end(&mut body))
            .context("reading a body back")?;
        let value = |header: &Option<Vec<u8>>| header.clone().unwrap_or_default();
        let (content_type, encoding) = (value(&self.content_type), value(&self.encoding));
        Ok(Some(shorten(&content_type, &encoding, &body)))
    }
}
