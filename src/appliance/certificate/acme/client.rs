//! HTTP to the CA: one request at a time, with an end to everything.
//!
//! The library speaks ACME and leaves the transport to us: time-outs, a size
//! limit of answers, no way back to http, the machine's own list of trusted
//! roots. What a CA says about asking again (`Retry-After`, RFC 9110, section
//! 10.2.3, <https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3>) is kept,
//! since the library drops it with errors, and so is what its clock shows
//! (`Date`, section 6.6.1).

use crate::appliance::machine::clock::now;
use crate::appliance::machine::place::{self, Place};
use crate::appliance::wire::http::{client, trusting};
use anyhow::{Context, Result};
use http::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use http_body_util::BodyExt;
use hyper::body::Bytes;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Roots of the image, before a private CA's is beside them.
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Longest time of one request.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// Longest time to a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// Largest answer; chains have some kilobytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Redirects of a directory that moved.
const REDIRECTS_MAX: u32 = 3;

/// What the transport failed with.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// No answer came.
    #[error("the CA at {host} cannot be reached: {reason}")]
    Unreachable {
        /// Who was asked.
        host: String,
        /// What went wrong.
        reason: String,
    },
    /// An error without an explanation.
    #[error("the CA at {host} answers with the error {status}")]
    Status {
        /// Who was asked.
        host: String,
        /// Its status code.
        status: u16,
    },
    /// An answer beyond all measure.
    #[error("the CA at {host} sends more than {ANSWER_BYTES_MAX} bytes")]
    TooLarge {
        /// Who was asked.
        host: String,
    },
}

/// What a CA said when it refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// When it may be asked again, in seconds since 1970.
    pub retry_after: Option<i64>,
}

/// What a CA said beside its answers.
#[derive(Debug, Clone, Copy, Default)]
struct Said {
    refusal: Option<Refusal>,
    clock_ahead: Option<i64>,
}

/// What the CA said last, seen from outside the library.
#[derive(Debug, Clone, Default)]
pub struct LastSaid(Arc<Mutex<Said>>);

impl LastSaid {
    /// Takes the last refusal, so that it is counted once.
    pub fn take_refusal(&self) -> Option<Refusal> {
        self.with(|said| said.refusal.take())
    }

    /// How many seconds its clock was ahead of ours, less than none if behind.
    pub fn clock_ahead(&self) -> Option<i64> {
        self.with(|said| said.clock_ahead)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Said) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A client of one CA.
pub struct CaClient {
    http_client: ureq::Agent,
    said: LastSaid,
}

impl CaClient {
    /// A client that trusts what the machine trusts.
    pub fn new(place: &Place, said: LastSaid) -> Result<Self> {
        let trust = place.path(place::TRUST);
        let path = if trust.exists() {
            trust
        } else {
            place.path(ROOTS)
        };
        let pem = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let config = client()
            .https_only(true)
            .max_redirects(REDIRECTS_MAX)
            .timeout_global(Some(REQUEST_LIMIT))
            .timeout_connect(Some(CONNECT_LIMIT))
            .tls_config(trusting(&pem))
            .build();
        Ok(Self {
            http_client: ureq::Agent::new_with_config(config),
            said,
        })
    }
}

impl HttpClient for CaClient {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let http_client = self.http_client.clone();
        let said = self.said.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(never) => match never {},
            };
            tokio::task::spawn_blocking(move || send(&http_client, parts, &body, &said))
                .await
                .map_err(|error| Error::Other(Box::new(error)))?
                .map_err(|error| Error::Other(Box::new(error)))
        })
    }
}

fn send(
    http_client: &ureq::Agent,
    mut parts: http::request::Parts,
    body: &[u8],
    said: &LastSaid,
) -> Result<BytesResponse, CaError> {
    let host = parts.uri.host().unwrap_or_default().to_owned();
    let asked = parts.method == http::Method::GET;
    let name = HeaderValue::from_static(concat!("mailimg/", env!("CARGO_PKG_VERSION")));
    parts.headers.insert(USER_AGENT, name);
    let sent = if parts.method == http::Method::POST {
        http_client.run(http::Request::from_parts(parts, body))
    } else {
        http_client.run(http::Request::from_parts(parts, ()))
    };
    let unreachable = |error: ureq::Error| match error {
        ureq::Error::BodyExceedsLimit(_) => CaError::TooLarge { host: host.clone() },
        other => CaError::Unreachable {
            host: host.clone(),
            reason: other.to_string(),
        },
    };
    let (parts, mut body) = sent.map_err(unreachable)?.into_parts();
    let bytes = body
        .with_config()
        .limit(ANSWER_BYTES_MAX)
        .read_to_vec()
        .map_err(unreachable)?;
    let status = parts.status.as_u16();
    let date = parts.headers.get(DATE).and_then(parse_date);
    said.with(|said| said.clock_ahead = date.map(|date| date - now()));
    if status >= 400 {
        let refusal = Refusal {
            status,
            retry_after: parse_retry_after(&parts.headers, now()),
        };
        said.with(|said| said.refusal = Some(refusal));
        let explained = serde_json::from_slice::<instant_acme::Problem>(&bytes).is_ok();
        // The library takes any answer to a plain question for a good one.
        if !explained || asked {
            return Err(CaError::Status { host, status });
        }
    }
    Ok(BytesResponse {
        parts,
        body: Box::new(Bytes::from(bytes)),
    })
}

/// `Retry-After` as seconds since 1970 by our clock: a number of seconds, or a date of
/// RFC 9110, which is by the clock of the CA.
fn parse_retry_after(headers: &HeaderMap, now: i64) -> Option<i64> {
    let value = headers.get(RETRY_AFTER)?;
    if let Ok(seconds) = value.to_str().ok()?.trim().parse::<i64>() {
        return now.checked_add(seconds.max(0));
    }
    let ahead = headers
        .get(DATE)
        .and_then(parse_date)
        .map_or(0, |date| date - now);
    Some(parse_date(value)? - ahead)
}

fn parse_date(value: &HeaderValue) -> Option<i64> {
    let date = jiff::fmt::rfc2822::DateTimeParser::new();
    // "GMT" is one of the zones that mail knew, too.
    let time = date.parse_timestamp(value.to_str().ok()?.trim()).ok()?;
    Some(time.as_second())
}

#[cfg(test)]
mod tests {
    use super::parse_retry_after;
    use http::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};

    #[test]
    fn both_forms_of_retry_after() {
        let parse = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            parse_retry_after(&headers, 1_000_000_000)
        };
        assert_eq!(parse("120"), Some(1_000_000_120));
        assert_eq!(parse("Fri, 31 Dec 1999 23:59:59 GMT"), Some(946_684_799));
        assert_eq!(parse("-5"), Some(1_000_000_000));
        assert_eq!(parse("9223372036854775807"), None);
        assert_eq!(parse("soon"), None);
    }

    #[test]
    fn a_date_to_ask_again_is_by_the_clock_of_the_ca() {
        let mut headers = HeaderMap::new();
        let said = |text| HeaderValue::from_static(text);
        headers.insert(DATE, said("Fri, 31 Dec 1999 22:59:59 GMT"));
        headers.insert(RETRY_AFTER, said("Fri, 31 Dec 1999 23:59:59 GMT"));
        assert_eq!(parse_retry_after(&headers, 500), Some(500 + 3600));
    }
}
