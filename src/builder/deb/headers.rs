//! Tar headers that claim a length are looked at before they are read.
//!
//! A long name, a PAX header and the map of a sparse file are read into memory whole,
//! whatever length they claim, and some kilobytes of a package unpack to gigabytes of
//! zeros. So this stands between decompression and the reader of tar, and follows along.
//! Formats: <https://www.gnu.org/software/tar/manual/html_node/Standard.html>.

use std::io::{self, Read};

use tar::{EntryType, Header, PaxExtensions};

/// Bytes of a header, and what contents are padded to.
const BLOCK: usize = 512;
/// Longest name or target, with its end; Linux takes 4096 bytes.
const NAME_BYTES_MAX: u64 = 2 * 4096;
/// Longest PAX header: Linux takes attributes of 64 KiB, and no package has many.
const PAX_BYTES_MAX: u64 = 1 << 20;

/// Where in the archive the last byte was.
enum Place {
    /// In a header, of which so many bytes are known.
    Header { filled: usize },
    /// In a content and its padding; a PAX header is kept.
    Content { left: u64, pax: Option<Pax> },
    /// Behind the end, where anything may follow.
    Behind,
}

/// A PAX header in the making.
struct Pax {
    bytes: Vec<u8>,
    length: usize,
}

/// Passes an archive on, and fails where a header claims too much.
pub(super) struct Checked<R> {
    inner: R,
    header: Header,
    place: Place,
}

impl<R: Read> Checked<R> {
    /// Looks at the headers of an archive that is read from its beginning.
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            header: Header::new_old(),
            place: Place::Header { filled: 0 },
        }
    }

    fn follow(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match &mut self.place {
                Place::Behind => return Ok(()),
                Place::Header { filled } => {
                    let count = (BLOCK - *filled).min(bytes.len());
                    let (now, after) = bytes.split_at(count);
                    self.header.as_mut_bytes()[*filled..*filled + count].copy_from_slice(now);
                    *filled += count;
                    bytes = after;
                    if *filled == BLOCK {
                        self.place = next(&self.header)?;
                    }
                }
                Place::Content { left, pax } => {
                    let count = (*left).min(bytes.len() as u64) as usize;
                    let (now, after) = bytes.split_at(count);
                    *left -= count as u64;
                    bytes = after;
                    if let Some(pax) = pax {
                        let missing = pax.length - pax.bytes.len();
                        pax.bytes.extend(&now[..count.min(missing)]);
                    }
                    if *left == 0 {
                        pax.as_ref().map_or(Ok(()), check_pax)?;
                        self.place = Place::Header { filled: 0 };
                    }
                }
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.follow(&buffer[..count])?;
        Ok(count)
    }
}

/// What follows a header.
fn next(header: &Header) -> io::Result<Place> {
    if header.as_bytes().iter().all(|byte| *byte == 0) {
        return Ok(Place::Behind);
    }
    let length = header.entry_size()?;
    let kind = header.entry_type();
    let limit = match kind {
        EntryType::GNULongName | EntryType::GNULongLink => NAME_BYTES_MAX,
        EntryType::XHeader | EntryType::XGlobalHeader => PAX_BYTES_MAX,
        EntryType::GNUSparse => return Err(io::Error::other("it holds a sparse file")),
        _ => u64::MAX,
    };
    if length > limit {
        return Err(io::Error::other(format!(
            "a header of {length} bytes is in it, of which {limit} would be many"
        )));
    }
    let left = length
        .checked_next_multiple_of(BLOCK as u64)
        .ok_or_else(|| io::Error::other("a file in it is longer than any number"))?;
    if left == 0 {
        return Ok(Place::Header { filled: 0 });
    }
    let pax = matches!(kind, EntryType::XHeader | EntryType::XGlobalHeader).then(|| Pax {
        bytes: Vec::new(),
        length: length as usize,
    });
    Ok(Place::Content { left, pax })
}

/// A length there counts instead of the next header's: what is read as a header next would
/// depend on who reads it.
fn check_pax(pax: &Pax) -> io::Result<()> {
    let sized = PaxExtensions::new(&pax.bytes)
        .filter_map(Result::ok)
        .any(|extension| {
            extension.key_bytes() == b"size" || extension.key_bytes().starts_with(b"GNU.sparse.")
        });
    match sized {
        true => Err(io::Error::other(
            "a PAX header in it says how long a file is, which no package needs",
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};

    use tar::{EntryType, Header};

    use super::Checked;

    fn header(kind: EntryType, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        header
    }

    /// How many bytes pass of a header and then zeros without end, and what is said.
    fn refused(header: &Header) -> (usize, String) {
        let mut reader = Checked::new(header.as_bytes().chain(io::repeat(0)).take(64 << 20));
        let mut passed = Vec::new();
        let error = reader.read_to_end(&mut passed).unwrap_err();
        (passed.len(), error.to_string())
    }

    /// 109 kB of a package took 3 GiB of memory.
    #[test]
    fn lengths_of_headers_are_bounded_before_they_are_read() {
        for kind in [
            EntryType::GNULongName,
            EntryType::GNULongLink,
            EntryType::XHeader,
            EntryType::XGlobalHeader,
        ] {
            for size in [(1 << 20) + 1, 3 << 30] {
                let (passed, text) = refused(&header(kind, size));
                assert!(passed <= 512, "{kind:?}: {passed} bytes passed");
                assert!(text.starts_with("a header of "), "{text}");
            }
        }
        let (passed, text) = refused(&header(EntryType::GNUSparse, 0));
        assert!(passed <= 512 && text == "it holds a sparse file", "{text}");
        let (_, text) = refused(&header(EntryType::Regular, u64::MAX - 5));
        assert_eq!(text, "a file in it is longer than any number");
    }

    #[test]
    fn what_packages_have_passes_as_it_is() {
        let mut archive = tar::Builder::new(Vec::new());
        let long = "name/".repeat(60) + "end";
        archive
            .append_pax_extensions([("SCHILY.xattr.security.capability", &[1u8; 20][..])])
            .unwrap();
        for (name, length) in [(long.as_str(), 1000), ("short", 512), ("empty", 0)] {
            let mut header = header(EntryType::Regular, length);
            archive
                .append_data(&mut header, name, io::repeat(7).take(length))
                .unwrap();
        }
        let mut bytes = archive.into_inner().unwrap();
        // Behind the end, what looks like a header is none.
        bytes.extend(header(EntryType::GNULongName, 3 << 30).as_bytes());
        let mut passed = Vec::new();
        Checked::new(&*bytes).read_to_end(&mut passed).unwrap();
        assert!(passed == bytes);
        // The same in small pieces.
        let mut reader = Checked::new(&*bytes);
        let mut piece = [0; 7];
        while reader.read(&mut piece).unwrap() > 0 {}
    }

    #[test]
    fn a_length_in_a_pax_header_is_refused() {
        for key in ["size", "GNU.sparse.realsize"] {
            let mut archive = tar::Builder::new(Vec::new());
            archive
                .append_pax_extensions([("path", &b"x"[..]), (key, &b"1"[..])])
                .unwrap();
            let bytes = archive.into_inner().unwrap();
            let error = Checked::new(&*bytes).read_to_end(&mut Vec::new());
            let text = error.unwrap_err().to_string();
            assert!(
                text.starts_with("a PAX header in it says how long"),
                "{text}"
            );
        }
    }
}
