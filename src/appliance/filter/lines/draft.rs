//! A user's message, kept until it is known whether its lines have to be shortened.
//!
//! Small ones stay in memory, and what is larger goes to a file without a name in the
//! service's own /var/tmp.

use super::{ENCODING, LineMeter, shorten};
use anyhow::{Context, Result};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use tempfile::SpooledTempFile;

/// What is kept in memory, in bytes.
const MEMORY_BYTES_MAX: usize = 256 << 10;
/// The largest body that is written anew, in bytes: all of it is in memory then, one at a time.
const BODY_BYTES_MAX: u64 = 64 << 20;
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
            body: spool(),
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

    /// The body with short lines, and whether it is quoted-printable now; `None` when its lines
    /// are short, or it is larger than anything that people write.
    pub fn shorten(&mut self) -> Result<Option<(SpooledTempFile, bool)>> {
        let length = self.body.stream_position().context("measuring a body")?;
        if !self.meter.is_too_long() || length > BODY_BYTES_MAX {
            return Ok(None);
        }
        let mut body = Vec::new();
        self.body
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.body.read_to_end(&mut body))
            .context("reading a body back")?;
        let content_type = self.content_type.as_deref().unwrap_or_default();
        let encoding = self.encoding.as_deref().unwrap_or_default();
        let mut output = BufWriter::new(spool());
        let quoted =
            shorten(content_type, encoding, &body, &mut output).context("writing a body anew")?;
        let mut output = output.into_inner().context("writing a body anew")?;
        output.rewind().context("writing a body anew")?;
        Ok(Some((output, quoted)))
    }
}

fn spool() -> SpooledTempFile {
    tempfile::spooled_tempfile_in(MEMORY_BYTES_MAX, FOLDER)
}
