//! Opening one address: HTTP, HTTPS (RFC 9110, with `Range`) or `file:`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::OnceLock;

use ureq::http::{HeaderMap, header};

use super::client::make_client;
use super::options::FetchOptions;
use super::problem::Problem;

/// How many redirects of a mirror are followed.
const REDIRECTS_MAX: u32 = 10;

/// What opens addresses.
pub(crate) trait Open: std::fmt::Debug + Send + Sync {
    /// Opens an address from an offset on.
    fn open(&self, url: &str, offset: u64) -> Result<Opened, Problem>;

    /// What helps when addresses fail.
    fn advice(&self) -> Advice;
}

/// Hints for the ways in which addresses fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Advice {
    /// They may answer later.
    pub later: &'static str,
    /// They serve something else.
    pub wrong: &'static str,
    /// None has the file any more.
    pub gone: &'static str,
}

/// What an address yields.
pub(crate) struct Opened {
    pub reader: Box<dyn Read>,
    /// Where in the file the reader begins: as asked, or 0.
    pub start: u64,
    /// The size of the whole file, when told.
    pub total: Option<u64>,
}

/// Opens addresses; connections are kept for the next file.
#[derive(Debug)]
pub(super) struct Opener {
    options: FetchOptions,
    clients: [OnceLock<Result<ureq::Agent, String>>; 2],
}

impl Opener {
    pub(super) fn new(options: FetchOptions) -> Self {
        Self {
            options,
            clients: [OnceLock::new(), OnceLock::new()],
        }
    }

    fn request(&self, url: &str, offset: u64, tls: bool) -> Result<Opened, Problem> {
        let client = self.clients[usize::from(tls)]
            .get_or_init(|| make_client(&self.options, tls, REDIRECTS_MAX))
            .as_ref()
            .map_err(|reason| Problem::Bad(reason.clone()))?;
        let mut request = client.get(url);
        if offset > 0 {
            request = request.header(header::RANGE, format!("bytes={offset}-"));
        }
        let response = request
            .call()
            .map_err(|error| Problem::of_request(&error))?;
        let (parts, body) = response.into_parts();
        Opened::answered(
            parts.status.as_u16(),
            &parts.headers,
            offset,
            Box::new(body.into_reader()),
        )
    }
}

impl Open for Opener {
    fn open(&self, url: &str, offset: u64) -> Result<Opened, Problem> {
        match url.split_once("://") {
            Some(("file", path)) => open_file(path, offset),
            Some(("http", _)) => self.request(url, offset, false),
            Some(("https", _)) => self.request(url, offset, true),
            _ => Err(Problem::Bad(
                "not an address that begins with http://, https:// or file://".to_owned(),
            )),
        }
    }

    fn advice(&self) -> Advice {
        Advice {
            later: "check the network and the recipe's mirrors; the next run goes on where this \
                    one stopped",
            wrong: "a mirror or a proxy on the way serves something else: name another mirror in \
                    the recipe",
            gone: "the mirrors moved on: run `mailimg lock`, or build without --locked",
        }
    }
}

impl Opened {
    /// Understands an answer to a request for a file from an offset on.
    pub(crate) fn answered(
        status: u16,
        headers: &HeaderMap,
        offset: u64,
        reader: Box<dyn Read>,
    ) -> Result<Self, Problem> {
        let (start, total) = match status {
            200 => (0, number(headers, &header::CONTENT_LENGTH)),
            206 => content_range(headers)
                .filter(|(start, _)| *start == offset)
                .ok_or_else(|| Problem::Bad("answered another range than asked".to_owned()))?,
            // Asked beyond the end: the caller compares and begins anew.
            416 => {
                return Ok(Self {
                    reader: Box::new(io::empty()),
                    start: 0,
                    total: None,
                });
            }
            status => {
                let retry_after = number(headers, &header::RETRY_AFTER);
                return Err(Problem::of_status(status, retry_after));
            }
        };
        Ok(Self {
            reader,
            start,
            total,
        })
    }
}

fn number(headers: &HeaderMap, name: &header::HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// `bytes 7-99/100` as start and total, RFC 9110 section 14.4.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(header::CONTENT_RANGE)?;
    let (range, total) = text
        .to_str()
        .ok()?
        .strip_prefix("bytes ")?
        .split_once('/')?;
    let start = range.split_once('-')?.0.parse().ok()?;
    Some((start, total.parse().ok()))
}

fn open_file(path: &str, offset: u64) -> Result<Opened, Problem> {
    let path = percent_decoded(path)
        .filter(|path| path.starts_with('/'))
        .ok_or_else(|| Problem::Bad("not of the form file:///FOLDER/FILE".to_owned()))?;
    let open = || -> io::Result<Opened> {
        let mut file = File::open(&path)?;
        let total = file.metadata()?.len();
        let start = if offset <= total { offset } else { 0 };
        file.seek(SeekFrom::Start(start))?;
        Ok(Opened {
            reader: Box::new(file),
            start,
            total: Some(total),
        })
    };
    open().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Problem::Gone("no such file".to_owned()),
        _ => Problem::Bad(error.to_string()),
    })
}

/// Undoes `%20` and the like, RFC 3986 section 2.1.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'%' {
            let (code, tail) = rest.split_at_checked(2)?;
            bytes.push(hex::decode(code).ok()?[0]);
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::percent_decoded;

    #[test]
    fn addresses_of_files_may_be_escaped() {
        assert_eq!(percent_decoded("/a%20b/ä").as_deref(), Some("/a b/ä"));
        assert_eq!(percent_decoded("/a%2"), None);
        assert_eq!(percent_decoded("/a%zz"), None);
    }
}
