//! One client, from its first byte to its last: HTTP/1.1 by RFC 9112
//! (<https://www.rfc-editor.org/rfc/rfc9112>), over TLS or not.
//!
//! hyper refuses what is malformed; what it would put up with and a proxy in
//! front might read otherwise (section 11.2, request smuggling) is refused
//! here: bodies in chunks, and anything after a body that nobody asked for.

use super::answer::Answer;
use super::asked::{Arrival, Asked};
use super::autodiscover::LONGEST_REQUEST;
use super::certificates::Chosen;
use super::lingering::Lingering;
use super::passing::LARGEST_BODY;
use super::routes::{PageMaker, Route};
use super::site::Site;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::LazyConfigAcceptor;

/// Longest wait for a TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Longest wait for all headers of a request, from the one before on.
const HEADERS_LIMIT: Duration = Duration::from_secs(15);
/// Longest wait for a body.
const BODY_LIMIT: Duration = Duration::from_secs(15);
/// Longest life of a connection, however busy.
const CONNECTION_LIMIT: Duration = Duration::from_secs(300);
/// Longest request line and headers together.
const HEADER_BYTES: usize = 16 << 10;

/// Serves a client on the port for HTTP.
pub async fn serve_plain(site: Rc<Site>, stream: TcpStream, peer: IpAddr, is_proxy: bool) {
    let arrival = Arrival {
        is_tls: false,
        is_proxy,
        is_trusted: false,
        peer,
    };
    converse(site, stream, arrival, false).await;
}

/// Serves a client on the port for HTTPS.
pub async fn serve_tls(site: Rc<Site>, stream: TcpStream, peer: IpAddr, is_proxy: bool) {
    let deadline = Instant::now() + HANDSHAKE_LIMIT;
    let acceptor = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
    let Ok(Ok(start)) = timeout_at(deadline, acceptor).await else {
        return;
    };
    let chosen = {
        let hello = start.client_hello();
        let protocols: Vec<&[u8]> = hello.alpn().into_iter().flatten().collect();
        let mut certificates = site.certificates.borrow_mut();
        certificates.choose(hello.server_name(), &protocols)
    };
    let (configuration, is_real, is_challenge) = match chosen {
        Some(Chosen::Pages(configuration, is_real)) => (configuration, is_real, false),
        Some(Chosen::Challenge(configuration)) => (configuration, false, true),
        None => return,
    };
    let Ok(Ok(mut stream)) = timeout_at(deadline, start.into_stream(configuration)).await else {
        return;
    };
    if is_challenge {
        // RFC 8737, section 3: the handshake was the answer.
        let _ = timeout_at(deadline, stream.shutdown()).await;
        return;
    }
    let arrival = Arrival {
        is_tls: true,
        is_proxy,
        is_trusted: is_real,
        peer,
    };
    converse(site, stream, arrival, is_real).await;
}

/// Serves a client on a stream that is there.
pub async fn converse<S>(site: Rc<Site>, stream: S, arrival: Arrival, is_strict: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(move |request| {
        let site = site.clone();
        async move {
            let answer = respond(&site, request, arrival).await;
            let policy = &site.pages.content_policy;
            let response: Response<Full<Bytes>> = answer.into_response(policy, is_strict);
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_LIMIT)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(Lingering::new(stream)), service);
    // What goes wrong with a stranger's connection is nobody's news.
    let _ = timeout(CONNECTION_LIMIT, connection).await;
}

async fn respond(site: &Site, request: Request<Incoming>, arrival: Arrival) -> Answer {
    let (parts, body) = request.into_parts();
    let configuration = site.configuration();
    let Some(length) = body_length(&parts.headers) else {
        return Answer::plain(StatusCode::LENGTH_REQUIRED).closing();
    };
    let Some(asked) = Asked::parse(&configuration, &parts, arrival) else {
        return Answer::plain(StatusCode::BAD_REQUEST).closing();
    };
    if asked.is_secure && configuration.is_monitoring(asked.path) {
        return pass_on(site, &parts, body, length, arrival).await;
    }
    let route = Route::find(&asked);
    if !route.knows(&parts.method) {
        return Answer::plain(StatusCode::METHOD_NOT_ALLOWED)
            .with(header::ALLOW, route.methods())
            .closing();
    }
    let body = match (route, &parts.method) {
        (Route::Autodiscover, &Method::POST) => {
            match read_body(body, length, LONGEST_REQUEST).await {
                Ok(body) => Some(body),
                Err(status) => return Answer::plain(status).closing(),
            }
        }
        _ => None,
    };
    let is_covered = configuration.is_behind_proxy()
        || asked.host == configuration.hostname
        || site.certificates.borrow_mut().is_covered(&asked.host);
    let maker = PageMaker {
        place: &site.place,
        pages: &site.pages,
        configuration: &configuration,
        is_covered,
    };
    let answer = maker
        .answer(route, &asked, body.as_deref())
        .unwrap_or_else(|error| {
            tell!("answering {}: {error:#}", parts_name(&parts));
            Answer::plain(StatusCode::INTERNAL_SERVER_ERROR)
        });
    if length > 0 && body.is_none() {
        answer.closing()
    } else {
        answer
    }
}

/// Hands a request on to the pages of monitoring, whichever name it came under.
async fn pass_on(
    site: &Site,
    parts: &Parts,
    body: Incoming,
    length: u64,
    arrival: Arrival,
) -> Answer {
    match parts.method {
        Method::GET | Method::HEAD | Method::POST => {}
        _ => {
            return Answer::plain(StatusCode::METHOD_NOT_ALLOWED)
                .with(header::ALLOW, "GET, HEAD, POST")
                .closing();
        }
    }
    match read_body(body, length, LARGEST_BODY).await {
        Ok(body) => {
            let client = client_address(&parts.headers, arrival);
            // Behind a proxy it is the proxy's certificate that people see.
            let is_self_signed = arrival.is_tls && !arrival.is_trusted && !arrival.is_proxy;
            let passing = &site.monitoring;
            passing.pass(parts, body, client, is_self_signed).await
        }
        Err(status) => Answer::plain(status).closing(),
    }
}

/// The client's address: the peer's, unless that is a proxy, which adds it at the end.
fn client_address(headers: &HeaderMap, arrival: Arrival) -> IpAddr {
    let forwarded = headers.get_all("x-forwarded-for").iter().next_back();
    let last = forwarded
        .filter(|_| arrival.is_proxy)
        .and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
    last.unwrap_or(arrival.peer)
}

/// What of a request may stand in the journal: no address of anybody.
fn parts_name(parts: &Parts) -> String {
    format!("{} {}", parts.method, parts.uri.path().escape_default())
}

/// Bytes that the body announces, `None` for one that comes in chunks.
fn body_length(headers: &HeaderMap) -> Option<u64> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return None;
    }
    // hyper has refused lengths that contradict each other.
    let length = headers.get(header::CONTENT_LENGTH);
    Some(
        length
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .unwrap_or_default(),
    )
}

async fn read_body(body: Incoming, length: u64, most: usize) -> Result<Bytes, StatusCode> {
    if length > most as u64 {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    match timeout(BODY_LIMIT, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}
