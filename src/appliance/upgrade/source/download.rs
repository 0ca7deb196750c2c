//! Files of an update, from a server that may be slow, gone or not what it seems.
//!
//! Everything has an end: a size that is known beforehand, a time without a byte, a pace
//! below which it is given up. A large file is read from front to back in stretches
//! (`Range`, RFC 9110, section 14.2, <https://www.rfc-editor.org/rfc/rfc9110#section-14.2>);
//! a server that knows no ranges sends it whole, and what is not wanted is passed over.
//! Who asks for pauses (`Retry-After`) gets them. Where the files lie is said by a
//! [`Shelf`]. Left out: passwords, proxies, http.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use sha2::{Digest, Sha256};
use ureq::http::Response;
use ureq::http::header::{self, HeaderName};

use super::shelf::Shelf;
use crate::appliance::certificate::trust::roots_path;
use crate::appliance::machine::place::Place;
use crate::appliance::wire::http::{client, trusting};
use crate::error::{Hint, hinted};
use crate::format::oci::DOCUMENT_BYTES_MAX;
use crate::format::update::Part;

/// Redirects that are followed, to https alone.
const REDIRECTS_MAX: u32 = 3;
/// Bytes a second that a server has to send on average, once it had its time.
const PACE: u64 = 1024;
/// Times that a stretch is asked for, when nothing of it comes.
const TRIES: u32 = 3;
/// Between two of them.
const PAUSE: Duration = Duration::from_secs(1);
/// Largest answer with a token, in bytes.
const TOKEN_LIMIT: u64 = 1 << 20;
/// What helps when a server does not do as it should.
const NOTHING_LOST: &str =
    "what runs is untouched; try again later, what has come is kept and not fetched again";

/// The longest pause that a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// An update on a server.
pub struct Download {
    client: ureq::Agent,
    shelf: Shelf,
    patience: Duration,
    /// Bytes that came.
    pub travelled: u64,
}

impl Download {
    /// An update by its address; servers have this long for a word.
    pub fn of(place: &Place, address: &str, patience: Duration) -> Result<Self> {
        let shelf = Shelf::of(address)?;
        let roots = roots_path(place);
        let pem = std::fs::read(&roots).with_context(|| format!("reading {}", roots.display()))?;
        let config = client()
            .https_only(true)
            .max_redirects(REDIRECTS_MAX)
            .timeout_connect(Some(patience))
            .timeout_recv_response(Some(patience))
            .timeout_per_read(Some(patience))
            .tls_config(trusting(&pem))
            .build();
        let mut download = Self {
            client: ureq::Agent::new_with_config(config),
            shelf,
            patience,
            travelled: 0,
        };
        download.look_up().hint_where_none(NOTHING_LOST)?;
        Ok(download)
    }

    /// Asks a registry which of its blobs are the files.
    fn look_up(&mut self) -> Result<()> {
        let Shelf::Registry(registry) = &self.shelf else {
            return Ok(());
        };
        let files = registry.clone().find_files(&mut |url, kinds| {
            let answer = self.get(url, &[(header::ACCEPT, kinds)])?;
            answer
                .map(|answer| self.read_whole(answer, DOCUMENT_BYTES_MAX))
                .transpose()
        })?;
        if let Shelf::Registry(registry) = &mut self.shelf {
            registry.take_files(files);
        }
        Ok(())
    }

    /// The address of a file.
    pub fn address(&self, path: &str) -> String {
        self.shelf.address(path)
    }

    /// What helps where files are missing or are not what they should be.
    pub fn advice(&self) -> &'static str {
        self.shelf.advice()
    }

    /// A small file, if there is one.
    pub fn small(&mut self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let mut read = || -> Result<Option<Vec<u8>>> {
            let answer = self.ask(path, None)?;
            answer
                .map(|answer| self.read_whole(answer, limit))
                .transpose()
        };
        let read = read();
        read.with_context(|| format!("fetching {}", self.address(path)))
            .hint_where_none(NOTHING_LOST)
    }

    fn read_whole(&mut self, answer: Answer, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut body = answer.body.take(limit + 1);
        body.read_to_end(&mut bytes)?;
        self.travelled += bytes.len() as u64;
        ensure!(
            bytes.len() as u64 <= limit,
            "it has more than {limit} bytes"
        );
        Ok(bytes)
    }

    /// A file whose content is known by its digest.
    pub fn part(&mut self, part: &Part, ending: &str) -> Result<Vec<u8>> {
        let path = part.path(ending);
        let bytes = self.small(&path, part.size)?;
        let bytes = bytes.ok_or_else(|| self.missing(&path))?;
        if Part::of(&bytes) == *part {
            return Ok(bytes);
        }
        Err(hinted(
            format!(
                "fetching {}: what came is not what was signed",
                self.address(&path)
            ),
            self.advice(),
        ))
    }

    fn missing(&self, path: &str) -> anyhow::Error {
        hinted(
            format!("fetching {}: it is not there", self.address(path)),
            self.advice(),
        )
    }

    /// Asks for a file, or what of it begins somewhere; nothing when there is none.
    fn ask(&mut self, path: &str, range: Option<(u64, u64)>) -> Result<Option<Answer>> {
        let Some(url) = self.shelf.url(path) else {
            return Ok(None);
        };
        let range_text = range.map(|(start, end)| format!("bytes={start}-{}", end - 1));
        // Compressed once more it would have other places.
        let mut headers = vec![(header::ACCEPT_ENCODING, "identity")];
        headers.extend(range_text.as_deref().map(|text| (header::RANGE, text)));
        let Some(mut answer) = self.get(&url, &headers)? else {
            return Ok(None);
        };
        if let (Some(sent), Some((start, _))) = (answer.range.take(), range) {
            ensure!(
                sent.starts_with(&format!("bytes {start}-")),
                "it answers another range than was asked for"
            );
            answer.start = Some(start);
        }
        Ok(Some(answer))
    }

    /// Asks once, and again where a server wants to wait or to know who asks.
    fn get(&mut self, url: &str, headers: &[(HeaderName, &str)]) -> Result<Option<Answer>> {
        let mut tries = 1;
        let mut knows_us = false;
        loop {
            let mut request = self.client.get(url);
            for (name, value) in headers {
                request = request.header(name, *value);
            }
            if let Some(token) = self.shelf.token(url) {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            let response = request.call().map_err(explain)?;
            match response.status().as_u16() {
                200 => return Ok(Some(Answer::of(response, None, self.patience))),
                206 => {
                    let range = response.headers().get(header::CONTENT_RANGE);
                    let range = range.and_then(|value| value.to_str().ok());
                    let range = range.unwrap_or_default().to_owned();
                    return Ok(Some(Answer::of(response, Some(range), self.patience)));
                }
                404 | 410 => return Ok(None),
                401 if !knows_us && self.introduce(&response)? => knows_us = true,
                status @ (401 | 403) => {
                    return Err(hinted(
                        format!("the server answers {status}"),
                        "updates are for everybody to read: nothing in them is secret",
                    ));
                }
                429 | 503 if tries < TRIES => {
                    let pause = response.headers().get(header::RETRY_AFTER);
                    let pause = pause.and_then(|value| value.to_str().ok()?.trim().parse().ok());
                    let pause = Duration::from_secs(pause.unwrap_or(1));
                    ensure!(
                        pause <= RETRY_AFTER_MAX,
                        "the server asks to wait {} seconds",
                        pause.as_secs()
                    );
                    std::thread::sleep(pause.max(PAUSE.min(self.patience)));
                    tries += 1;
                }
                _ => return Err(anyhow!("the server answers {}", response.status())),
            }
        }
    }

    /// Gets the token that a registry gives to everybody; tells whether there is one.
    fn introduce(&mut self, response: &Response<ureq::Body>) -> Result<bool> {
        let Shelf::Registry(registry) = &mut self.shelf else {
            return Ok(false);
        };
        let Some(url) = registry.token_url(response.headers()) else {
            return Ok(false);
        };
        let given = self.client.get(&url).call().map_err(explain)?;
        if given.status() != 200 {
            return Ok(false);
        }
        let mut bytes = Vec::new();
        let body = given.into_body().into_reader();
        body.take(TOKEN_LIMIT).read_to_end(&mut bytes)?;
        Ok(registry.take_token(&bytes))
    }

    /// Reads a large file in stretches.
    pub fn stretches<'a>(&'a mut self, part: &Part, ending: &str) -> Stretches<'a> {
        Stretches {
            path: part.path(ending),
            size: part.size,
            download: self,
            open: None,
        }
    }
}

/// What the library says, in words that help.
fn explain(error: ureq::Error) -> anyhow::Error {
    match error {
        ureq::Error::HostNotFound => anyhow!("the name of the server is not known"),
        ureq::Error::Io(error) if error.to_string().contains("failed to lookup") => {
            anyhow!("the name of the server is not known")
        }
        ureq::Error::Timeout(_) => anyhow!("the server does not answer"),
        ureq::Error::TooManyRedirects => anyhow!("the server sends on and on"),
        other if other.to_string().contains("invalid peer certificate") => hinted(
            format!("the server's certificate does not hold: {other}"),
            "`mailctl status` tells the machine's time; an authority of one's own is made known \
             by ACME_CA_FILE",
        ),
        ureq::Error::RequireHttpsOnly(_) => anyhow!("the server sends on to http, without TLS"),
        other => anyhow::Error::new(other),
    }
}

/// What a server sends.
struct Answer {
    /// Where in the file it begins; nothing when it is all of it, asked for or not.
    start: Option<u64>,
    /// What it says of that.
    range: Option<String>,
    body: Steady,
}

impl Answer {
    fn of(response: Response<ureq::Body>, range: Option<String>, patience: Duration) -> Self {
        Self {
            start: None,
            range,
            body: Steady {
                reader: Box::new(response.into_body().into_reader()),
                began: Instant::now(),
                bytes: 0,
                patience,
            },
        }
    }
}

/// Gives up what comes too slowly.
struct Steady {
    reader: Box<dyn Read>,
    began: Instant,
    bytes: u64,
    patience: Duration,
}

impl Read for Steady {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.bytes += count as u64;
        let took = self.began.elapsed();
        if count > 0 && took > self.patience && self.bytes < took.as_secs() * PACE {
            return Err(io::Error::other(
                "the server sends less than 1 KiB a second",
            ));
        }
        Ok(count)
    }
}

/// A large file, read from front to back.
pub struct Stretches<'a> {
    download: &'a mut Download,
    path: String,
    size: u64,
    /// The answer that is being read, where it stands, and where it ends.
    open: Option<(Steady, u64, u64)>,
}

impl Stretches<'_> {
    /// So many bytes at a place; `end` is where the stretch ends that is asked for at once.
    pub fn read(&mut self, at: u64, length: usize, end: u64) -> Result<Vec<u8>> {
        let mut tries = 1;
        loop {
            match self.try_read(at, length, end.min(self.size)) {
                Err(error) if error.is::<io::Error>() && tries < TRIES => {
                    tries += 1;
                    self.open = None;
                    std::thread::sleep(PAUSE.min(self.download.patience));
                }
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("fetching {}", self.download.address(&self.path)))
                        .hint_where_none(NOTHING_LOST);
                }
                done => return done,
            }
        }
    }

    fn try_read(&mut self, at: u64, length: usize, end: u64) -> Result<Vec<u8>> {
        let goes_on = |open: &(Steady, u64, u64)| (open.1..open.2).contains(&at);
        if !self.open.as_ref().is_some_and(goes_on) {
            self.open = None;
            let answer = self.download.ask(&self.path, Some((at, end)))?;
            let answer = answer.ok_or_else(|| self.download.missing(&self.path))?;
            self.open = Some(match answer.start {
                Some(start) => (answer.body, start, end),
                // The server knows no ranges.
                None => (answer.body, 0, self.size),
            });
        }
        let (body, stands, end) = self.open.as_mut().context("nothing is open")?;
        let mut skipped = body.take(at - *stands);
        let passed = io::copy(&mut skipped, &mut io::sink())?;
        *stands += passed;
        self.download.travelled += passed;
        let mut bytes = vec![0; length];
        body.read_exact(&mut bytes)?;
        *stands += length as u64;
        self.download.travelled += length as u64;
        // The connection serves once more when its end was seen.
        if stands == end && body.read(&mut [0])? > 0 {
            bail!("it is longer than was asked for");
        }
        Ok(bytes)
    }
}

/// SHA-256, hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
