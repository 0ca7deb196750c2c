//! Plain HTTP to the metadata address, within one budget of time for everything.
//!
//! Nothing that answers there is trusted to end: each request has a time limit,
//! each answer a size limit, and no redirect is followed. What may still get
//! better (no address yet, no answer, an error of the server's) is tried again
//! while the budget lasts; what will not is reported at once.

use crate::appliance::wire::http::client;
use anyhow::{Context, Result, anyhow, bail};
use std::io::Read;
use std::time::{Duration, Instant};
use ureq::Error;

/// Where clouds serve metadata.
pub const METADATA_URL: &str = "http://169.254.169.254";
/// Time for everything, the wait for the network included.
pub const TIME_BUDGET: Duration = Duration::from_secs(18);
/// Time for one request, from connecting to the last byte.
const REQUEST_LIMIT: Duration = Duration::from_secs(3);
/// Pauses between attempts grow from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Most headers of an answer.
const HEADER_BYTES: usize = 16 * 1024;

/// A header of a request.
pub type Header<'a> = (&'a str, &'a str);

/// Asks one server until the budget is used up.
pub struct Client {
    base: String,
    http: ureq::Agent,
    end: Instant,
}

/// What became of one attempt.
enum Attempt {
    /// The body, or that there is nothing at this path.
    Answer(Option<Vec<u8>>),
    /// To be tried again.
    Later(anyhow::Error),
    /// Final.
    Never(anyhow::Error),
}

#[derive(Clone, Copy)]
enum Method {
    Get,
    Put,
}

impl Client {
    /// A client whose budget begins now.
    pub fn new(base: &str, budget: Duration) -> Self {
        let config = client()
            .max_redirects_will_error(false)
            .max_response_header_size(HEADER_BYTES)
            // A server that answers nonsense once is not asked on the same connection again.
            .max_idle_connections(0)
            .build();
        Self {
            base: base.trim_end_matches('/').to_owned(),
            http: config.into(),
            end: Instant::now() + budget,
        }
    }

    /// Gets a path; `None` when there is nothing.
    pub fn get(&self, path: &str, headers: &[Header<'_>], limit: usize) -> Result<Option<Vec<u8>>> {
        self.ask(Method::Get, path, headers, limit)
    }

    /// Puts nothing to a path, as one asks for a token.
    pub fn put_for_token(&self, path: &str, header: Header<'_>) -> Result<String> {
        const LONGEST_TOKEN: usize = 4096;
        let bytes = self
            .ask(Method::Put, path, &[header], LONGEST_TOKEN)?
            .with_context(|| format!("asking {}{path}: it gives no token", self.base))?;
        String::from_utf8(bytes)
            .ok()
            .map(|text| text.trim().to_owned())
            .filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()))
            .with_context(|| format!("asking {}{path}: its answer is no token", self.base))
    }

    fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[Header<'_>],
        limit: usize,
    ) -> Result<Option<Vec<u8>>> {
        let url = format!("{}{path}", self.base);
        let mut pause = FIRST_PAUSE;
        let mut last = anyhow!("the time was over before");
        loop {
            let left = self.end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(last).with_context(|| format!("asking {url}, in vain until the end"));
            }
            match self.attempt(method, &url, headers, limit, left.min(REQUEST_LIMIT)) {
                Attempt::Answer(body) => return Ok(body),
                Attempt::Never(error) => {
                    return Err(error).with_context(|| format!("asking {url}"));
                }
                Attempt::Later(error) => last = error,
            }
            std::thread::sleep(pause.min(self.end.saturating_duration_since(Instant::now())));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn attempt(
        &self,
        method: Method,
        url: &str,
        headers: &[Header<'_>],
        limit: usize,
        time: Duration,
    ) -> Attempt {
        let called = match method {
            Method::Get => {
                let mut request = self.http.get(url);
                for (name, value) in headers {
                    request = request.header(*name, *value);
                }
                request.config().timeout_global(Some(time)).build().call()
            }
            Method::Put => {
                let mut request = self.http.put(url);
                for (name, value) in headers {
                    request = request.header(*name, *value);
                }
                request
                    .config()
                    .timeout_global(Some(time))
                    .build()
                    .send_empty()
            }
        };
        let response = match called {
            Ok(response) => response,
            Err(error) => return judge(error),
        };
        let status = response.status();
        match status.as_u16() {
            200 => {}
            204 | 404 => return Attempt::Answer(None),
            300..=399 => {
                return Attempt::Never(anyhow!(
                    "it answers {status}, and redirects are not followed"
                ));
            }
            429 | 500..=599 => return Attempt::Later(anyhow!("it answers {status}")),
            _ => return Attempt::Never(anyhow!("it answers {status}")),
        }
        match read_limited(response.into_body().into_reader(), limit) {
            Ok(body) => body.map_or_else(
                || Attempt::Never(anyhow!("the answer has more than {limit} bytes")),
                |body| Attempt::Answer(Some(body)),
            ),
            Err(error) => Attempt::Later(error),
        }
    }
}

/// Reads to the end; `None` when that is too far away.
fn read_limited(reader: impl Read, limit: usize) -> Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    let mut reader = reader.take(limit as u64 + 1);
    if let Err(error) = reader.read_to_end(&mut body) {
        bail!("the answer broke off: {error}");
    }
    Ok((body.len() <= limit).then_some(body))
}

fn judge(error: Error) -> Attempt {
    match error {
        Error::Timeout(_) => Attempt::Later(anyhow!("no whole answer within its time")),
        Error::Io(_) | Error::ConnectionFailed | Error::HostNotFound => {
            Attempt::Later(error.into())
        }
        _ => Attempt::Never(anyhow!(
            "it answers with something that is not HTTP: {error}"
        )),
    }
}
