//! Handing a request on to the pages of monitoring, and their answer back.
//!
//! HTTP/1.1 over a Unix socket, a connection for each request. Of what the client sent only
//! what the pages need goes on; in both directions everything is bounded. This process looks
//! at no cookie and no password, and keeps none.

use super::answer::Answer;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// The client's address.
pub const CLIENT_HEADER: &str = "x-mailimg-client";
/// What certificate the client was shown.
pub const CERTIFICATE_HEADER: &str = "x-mailimg-certificate";
/// That it is ours and nobody else's.
pub const SELF_SIGNED: &str = "self-signed";

/// Largest body that goes on.
pub const LARGEST_BODY: usize = 64 << 10;
/// Largest answer that comes back.
const LARGEST_ANSWER: usize = 4 << 20;
/// Longest wait for it.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Requests that are under way at once; with the largest answers they fit in memory.
const MOST: usize = 8;

/// Headers that go on.
const ASKED: [HeaderName; 5] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::ACCEPT,
    header::ORIGIN,
];
/// Headers that come back.
const ANSWERED: [HeaderName; 10] = [
    header::ALLOW,
    header::CACHE_CONTROL,
    header::CONTENT_SECURITY_POLICY,
    header::CONTENT_TYPE,
    header::LOCATION,
    header::REFRESH,
    header::RETRY_AFTER,
    header::SET_COOKIE,
    header::VARY,
    header::WWW_AUTHENTICATE,
];

/// What is shown while the pages' process is away.
const AWAY: &str = "The monitoring pages are not there at the moment.\n\n\
    Mail goes on without them. They come back by themselves within seconds, as after a\n\
    restart or an update; if they do not, 'mailctl status' on the machine says what runs.\n";
/// What is shown when too much is asked for at once.
const BUSY: &str = "The monitoring pages are busy. Try again in a moment.\n";

/// Whatever keeps an answer from coming.
type Problem = Box<dyn std::error::Error + Send + Sync>;

/// The way to the pages.
#[derive(Debug)]
pub struct Passing {
    socket: PathBuf,
    under_way: Cell<usize>,
}

/// Counts a request while it is under way.
struct UnderWay<'a>(&'a Cell<usize>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The task that moves a connection's bytes, which ends with its request.
struct Driving(AbortHandle);

impl Drop for Driving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Passing {
    /// The pages behind a socket.
    pub fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            under_way: Cell::new(0),
        }
    }

    /// Hands a request on.
    pub async fn pass(
        &self,
        parts: &Parts,
        body: Bytes,
        client: IpAddr,
        is_self_signed: bool,
    ) -> Answer {
        if self.under_way.get() >= MOST {
            return unavailable(BUSY);
        }
        self.under_way.set(self.under_way.get() + 1);
        let _under_way = UnderWay(&self.under_way);
        let request = make_request(parts, body, client, is_self_signed);
        match timeout(ANSWER_LIMIT, self.ask(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tell!("handing a request on to the pages of monitoring: {error}");
                unavailable(AWAY)
            }
            Err(_) => {
                tell!("handing a request on to the pages of monitoring: no answer in time");
                unavailable(AWAY)
            }
        }
    }

    async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Answer, Problem> {
        let stream = UnixStream::connect(&self.socket).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let _driving = Driving(tokio::task::spawn_local(connection).abort_handle());
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, LARGEST_ANSWER).collect().await?;
        let body = body.to_bytes();
        Ok(Answer::passed(
            parts.status,
            chosen(&parts.headers, &ANSWERED),
            body,
        ))
    }
}

fn unavailable(text: &'static str) -> Answer {
    Answer::new("text/plain; charset=utf-8", text)
        .with_status(StatusCode::SERVICE_UNAVAILABLE)
        .with(header::RETRY_AFTER, "5")
        .with(header::CACHE_CONTROL, "no-store")
}

fn make_request(
    parts: &Parts,
    body: Bytes,
    client: IpAddr,
    is_self_signed: bool,
) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    request.method_mut().clone_from(&parts.method);
    // Only path and query: the target may have named a host.
    if let Some(target) = parts.uri.path_and_query() {
        *request.uri_mut() = http::Uri::from(target.clone());
    }
    let headers = request.headers_mut();
    headers.extend(chosen(&parts.headers, &ASKED));
    headers.insert(header::HOST, HeaderValue::from_static("localhost"));
    if let Ok(value) = HeaderValue::from_str(&client.to_canonical().to_string()) {
        headers.insert(CLIENT_HEADER, value);
    }
    if is_self_signed {
        headers.insert(CERTIFICATE_HEADER, HeaderValue::from_static(SELF_SIGNED));
    }
    request
}

fn chosen(headers: &HeaderMap, names: &[HeaderName]) -> Vec<(HeaderName, HeaderValue)> {
    names
        .iter()
        .flat_map(|name| {
            let values = headers.get_all(name).iter();
            values.map(move |value| (name.clone(), value.clone()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Bytes, make_request};
    use http::Request;

    #[test]
    fn what_a_client_says_of_itself_stays_behind() {
        let parts = Request::builder()
            .uri("https://evil.example/monitoring/?a=b")
            .header("host", "evil.example")
            .header("x-mailimg-client", "192.0.2.9")
            .header("x-mailimg-certificate", "real")
            .header("x-forwarded-for", "192.0.2.9")
            .header("connection", "upgrade")
            .header("cookie", "a=b")
            .body(())
            .unwrap()
            .into_parts()
            .0;
        let client = "::ffff:192.0.2.1".parse().unwrap();
        let request = make_request(&parts, Bytes::new(), client, true);
        assert_eq!(request.uri(), "/monitoring/?a=b");
        let mut headers: Vec<(&str, &str)> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        headers.sort_unstable();
        assert_eq!(
            headers,
            [
                ("cookie", "a=b"),
                ("host", "localhost"),
                ("x-mailimg-certificate", "self-signed"),
                ("x-mailimg-client", "192.0.2.1"),
            ]
        );
    }
}
