//! The outer archive of a .deb, read from front to back.
//!
//! Format: ar(5) in the common variant that deb(5) describes. Left out: long
//! names, symbol tables and everything else that only object files need.

use std::io::{self, Read};

use anyhow::{Context, Result, bail};

const MAGIC: &[u8; 8] = b"!<arch>\n";
const HEADER_LENGTH: usize = 60;
const HEADER_END: &[u8] = b"`\n";

/// An archive; reading it reads the member it stands at.
pub(super) struct Archive<R> {
    inner: R,
    /// What of the present member is unread.
    remaining: u64,
    /// Whether a padding byte follows the present member.
    padded: bool,
}

/// What an archive says about a member.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub name: String,
    pub size: u64,
}

impl<R: Read> Archive<R> {
    /// Reads the archive's opening.
    pub(super) fn open(mut inner: R) -> Result<Self> {
        let mut magic = [0; MAGIC.len()];
        inner
            .read_exact(&mut magic)
            .context("reading its first bytes")?;
        if &magic != MAGIC {
            bail!("it is not a Debian archive");
        }
        Ok(Self {
            inner,
            remaining: 0,
            padded: false,
        })
    }

    /// Goes to the next member; nothing at the end of the archive.
    pub(super) fn next_member(&mut self) -> Result<Option<Member>> {
        io::copy(self, &mut io::sink())?;
        if self.padded {
            let mut padding = [0];
            // The last member's padding is sometimes left off.
            if self.inner.read(&mut padding)? == 0 {
                return Ok(None);
            }
        }
        let mut header = [0; HEADER_LENGTH];
        let mut filled = 0;
        while filled < HEADER_LENGTH {
            match self.inner.read(&mut header[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => bail!("it ends inside a member's header"),
                count => filled += count,
            }
        }
        let member = parse_header(&header).context("reading a member's header")?;
        self.remaining = member.size;
        self.padded = member.size % 2 == 1;
        Ok(Some(member))
    }
}

impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = self.remaining.min(buffer.len() as u64) as usize;
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.inner.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the archive ends inside a member",
            ));
        }
        self.remaining -= count as u64;
        Ok(count)
    }
}

fn parse_header(header: &[u8; HEADER_LENGTH]) -> Result<Member> {
    if &header[58..] != HEADER_END {
        bail!("its end mark is missing");
    }
    let name = std::str::from_utf8(&header[..16])?.trim_end_matches(' ');
    let name = name.strip_suffix('/').unwrap_or(name);
    let size = std::str::from_utf8(&header[48..58])?.trim_end_matches(' ');
    if !size.bytes().all(|byte| byte.is_ascii_digit()) {
        bail!("the size {size:?} is not a number");
    }
    Ok(Member {
        name: name.to_owned(),
        size: size.parse().context("reading its size")?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Archive, Member};
    use std::io::Read;

    fn header(name: &str, size: &str) -> String {
        format!(
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n",
            0, 0, 0, 100644
        )
    }

    #[test]
    fn members_come_in_order_whether_read_or_not() {
        let text = format!(
            "!<arch>\n{}abc\n{}xy{}",
            header("one/", "3"),
            header("two", "2"),
            header("three", "0")
        );
        let mut archive = Archive::open(text.as_bytes()).unwrap();
        let member = |name: &str, size| Member {
            name: name.to_owned(),
            size,
        };
        assert_eq!(archive.next_member().unwrap(), Some(member("one", 3)));
        assert_eq!(archive.next_member().unwrap(), Some(member("two", 2)));
        let mut content = String::new();
        archive.read_to_string(&mut content).unwrap();
        assert_eq!(content, "xy");
        assert_eq!(archive.next_member().unwrap(), Some(member("three", 0)));
        assert_eq!(archive.next_member().unwrap(), None);
    }

    #[test]
    fn bad_archives_are_refused_in_words() {
        let cases = [
            ("<html>".to_owned(), "reading its first bytes"),
            ("<html></html>".to_owned(), "it is not a Debian archive"),
            (
                "!<arch>\nshort".to_owned(),
                "it ends inside a member's header",
            ),
            (
                format!("!<arch>\n{}", header("a", "+3")),
                "reading a member's header",
            ),
            (
                format!("!<arch>\n{}ab", header("a", "3")),
                "the archive ends inside a member",
            ),
        ];
        for (text, expected) in cases {
            let outcome = Archive::open(text.as_bytes()).and_then(|mut archive| {
                archive.next_member()?;
                archive.next_member()
            });
            assert_eq!(outcome.unwrap_err().to_string(), expected);
        }
    }
}
