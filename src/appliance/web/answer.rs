//! What a client gets: status, headers and a body that is held whole.
//!
//! Status codes by RFC 9110 (<https://www.rfc-editor.org/rfc/rfc9110#section-15>).

use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;

/// A year, which is what browsers' lists ask for. The domain's other names are
/// not ours to promise for, so `includeSubDomains` is left out (RFC 6797).
const STRICT_TRANSPORT: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// An answer before the headers that all of them have.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    closes: bool,
}

impl Answer {
    /// A body of some media type.
    pub fn new(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let content_type = HeaderValue::from_static(content_type);
        Self {
            status: StatusCode::OK,
            headers: vec![(header::CONTENT_TYPE, content_type)],
            body: body.into(),
            closes: false,
        }
    }

    /// An answer that another process of ours made.
    pub fn passed(
        status: StatusCode,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
    ) -> Self {
        Self {
            status,
            headers,
            body,
            closes: false,
        }
    }

    /// A status that says it all.
    pub fn plain(status: StatusCode) -> Self {
        let reason = status.canonical_reason().unwrap_or_default();
        let body = format!("{} {reason}\n", status.as_u16());
        Self::new("text/plain; charset=utf-8", body).with_status(status)
    }

    /// The same with another status.
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same with one more header; a value that cannot be sent is left out.
    pub fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// The same, after which nothing more is read from this client.
    pub fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// The finished response.
    pub fn into_response(self, content_policy: &str, is_strict: bool) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        headers.insert(
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        );
        // Pages that another process made have a policy of their own.
        if let Ok(policy) = HeaderValue::from_str(content_policy) {
            headers
                .entry(header::CONTENT_SECURITY_POLICY)
                .or_insert(policy);
        }
        if is_strict {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, STRICT_TRANSPORT);
        }
        if self.closes {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
