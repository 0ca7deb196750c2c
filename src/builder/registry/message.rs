//! Requests to a registry and answers of it, as this program sees them.

use std::io::Read;

use ureq::http::header::{HeaderMap, HeaderName};
use ureq::http::{Method, Response};

/// What is asked.
pub(super) struct Asked<'a> {
    pub method: Method,
    pub url: &'a str,
    pub headers: &'a [(HeaderName, String)],
    pub body: Body<'a>,
}

impl<'a> Asked<'a> {
    /// A question without more.
    pub fn new(method: Method, url: &'a str) -> Self {
        Self {
            method,
            url,
            headers: &[],
            body: Body::Nothing,
        }
    }
}

/// What is sent with a request.
pub(super) enum Body<'a> {
    /// It has none.
    Nothing,
    /// Bytes in memory.
    Bytes(&'a [u8]),
    /// So many bytes of a reader, which is made anew for every try.
    Part(u64, &'a dyn Fn() -> Box<dyn Read + 'a>),
}

/// What came back.
pub(super) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub reader: Box<dyn Read>,
}

impl Answer {
    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl From<Response<ureq::Body>> for Answer {
    fn from(response: Response<ureq::Body>) -> Self {
        let (parts, body) = response.into_parts();
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            reader: Box::new(body.into_reader()),
        }
    }
}
