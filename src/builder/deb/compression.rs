//! Decompression of a .deb's inner archives, by the end of the member's name.
//!
//! deb(5) allows gzip, xz, zstd and none at all; bzip2 and lzma, which it also
//! names, have not been made for years and are refused.

use std::io::{self, Read};

use anyhow::{Result, bail};
use flate2::read::MultiGzDecoder;
use liblzma::read::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

/// Enough for the 64 MiB window of `xz -9`, bytes; see xz(1).
const XZ_MEMORY: u64 = 128 << 20;
/// The window of `zstd --ultra -22`, as a power of two; see zstd(1).
const ZSTD_WINDOW_LOG: u32 = 27;
/// No package of Debian 13 unpacks to as much, bytes.
const LARGEST_ARCHIVE: u64 = 8 << 30;

/// Reads a member named `STEM.tar` plus compression.
///
/// Returns nothing when the name is another one.
pub(super) fn open<'a>(
    name: &str,
    stem: &str,
    reader: impl Read + 'a,
) -> Result<Option<Box<dyn Read + 'a>>> {
    let Some(suffix) = name.strip_prefix(stem) else {
        return Ok(None);
    };
    let reader: Box<dyn Read + 'a> = match suffix {
        ".tar" => Box::new(reader),
        ".tar.gz" => Box::new(MultiGzDecoder::new(reader)),
        ".tar.xz" => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?;
            Box::new(XzDecoder::new_stream(reader, stream))
        }
        ".tar.zst" => {
            let mut decoder = zstd::stream::read::Decoder::new(reader)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        _ => bail!("{name} is compressed in a way that is not read: xz, zstd and gzip are"),
    };
    Ok(Some(Box::new(Limited {
        inner: reader,
        left: LARGEST_ARCHIVE,
    })))
}

/// Fails instead of yielding more than a limit: compressed bombs end here.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| io::Error::other("it unpacks to more than any package should"))?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::{Limited, open};
    use std::io::Read;

    #[test]
    fn the_name_decides() {
        assert!(open("data.tar", "data", &b""[..]).unwrap().is_some());
        assert!(open("_gpgorigin", "data", &b""[..]).unwrap().is_none());
        let refused = open("data.tar.bz2", "data", &b""[..]).err().unwrap();
        assert_eq!(
            refused.to_string(),
            "data.tar.bz2 is compressed in a way that is not read: xz, zstd and gzip are"
        );
    }

    #[test]
    fn bombs_end_at_the_limit() {
        let mut limited = Limited {
            inner: std::io::repeat(0),
            left: 1000,
        };
        assert!(limited.read_to_end(&mut Vec::new()).is_err());
    }
}
