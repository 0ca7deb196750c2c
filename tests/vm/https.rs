//! HTTP as tests speak it: one request a connection (RFC 9112), from any of this
//! side's addresses, and a small server for files of outside domains.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::wire::Wire;

/// A client that says nothing for so long has gone.
const IDLE_LIMIT: Duration = Duration::from_secs(30);
/// Nothing that a test reads is larger.
const LARGEST: u64 = 4 << 20;

/// What came back.
#[derive(Debug)]
pub struct Response {
    /// The three digits of the status line.
    pub status: u16,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as it came, text or not.
    pub body: String,
}

impl Response {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    fn parse(text: &str) -> Result<Self> {
        let (head, body) = text
            .split_once("\r\n\r\n")
            .with_context(|| format!("reading the response {text:?}"))?;
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok())
            .with_context(|| format!("reading the status in {head:?}"))?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let chunked = headers
            .iter()
            .any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        Ok(Self {
            status,
            headers,
            body: if chunked {
                unchunked(body)?
            } else {
                body.to_owned()
            },
        })
    }
}

/// Puts a chunked body together (RFC 9112, section 7.1).
fn unchunked(mut rest: &str) -> Result<String> {
    let mut body = String::new();
    loop {
        let (length, after) = rest.split_once("\r\n").context("reading a chunk's size")?;
        let length = usize::from_str_radix(length.trim(), 16)?;
        let chunk = after.get(..length).context("a chunk is cut short")?;
        if length == 0 {
            return Ok(body);
        }
        body.push_str(chunk);
        rest = after[length..].trim_start_matches("\r\n");
    }
}

/// GET over TLS, whoever vouches for the certificate; `name` is the host.
pub fn get(source: IpAddr, target: SocketAddr, name: &str, path: &str) -> Result<Response> {
    let wire = Wire::open_tls(source, target, name)?;
    exchange(wire, &request("GET", name, path))
}

/// GET in the clear.
pub fn get_clear(source: IpAddr, target: SocketAddr, name: &str, path: &str) -> Result<Response> {
    let wire = Wire::open(source, target)?;
    exchange(wire, &request("GET", name, path))
}

fn request(method: &str, host: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

/// Sends bytes and reads the response that ends with the connection.
pub fn exchange(mut wire: Wire, request: &str) -> Result<Response> {
    wire.send(request.as_bytes())?;
    let bytes = wire.rest(LARGEST)?;
    Response::parse(&String::from_utf8_lossy(&bytes))
}

/// A request as a server of ours reads it.
pub struct Request {
    /// `GET /path`, without the version.
    pub line: String,
    /// All of the head, the last empty line included.
    pub head: String,
    /// As long as its header says.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.split("\r\n").skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Reads one.
    pub fn read(reader: &mut impl BufRead) -> Result<Self> {
        let mut head = String::new();
        let mut limited = reader.take(LARGEST);
        while !head.ends_with("\r\n\r\n") {
            ensure!(limited.read_line(&mut head)? > 0, "the client hung up");
        }
        let line = head.split(" HTTP/").next().unwrap_or_default().to_owned();
        let mut request = Self {
            line,
            head,
            body: Vec::new(),
        };
        let length: u64 = request.header("content-length").map_or(Ok(0), str::parse)?;
        limited.take(length).read_to_end(&mut request.body)?;
        Ok(request)
    }
}

/// A client's connection after the handshake.
pub type Client = BufReader<StreamOwned<ServerConnection, TcpStream>>;

/// Speaks TLS with a client.
pub fn accept(stream: TcpStream, config: Arc<ServerConfig>) -> Result<Client> {
    stream.set_read_timeout(Some(IDLE_LIMIT))?;
    let connection = ServerConnection::new(config)?;
    Ok(BufReader::new(StreamOwned::new(connection, stream)))
}

/// Answers a client and ends its connection.
pub fn answer(client: &mut Client, bytes: &[u8]) -> Result<()> {
    let stream = client.get_mut();
    stream.write_all(bytes)?;
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(())
}

/// Serves one text per host at one path until the process ends.
pub fn serve_texts(
    place: SocketAddr,
    config: Arc<ServerConfig>,
    path: &'static str,
    texts: HashMap<String, String>,
) -> Result<()> {
    let listener = TcpListener::bind(place).with_context(|| format!("listening on {place}"))?;
    let texts = Arc::new(texts);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, texts) = (config.clone(), texts.clone());
            std::thread::spawn(move || -> Result<()> {
                let mut client = accept(stream, config)?;
                let request = Request::read(&mut client)?;
                let text = request
                    .header("host")
                    .and_then(|host| texts.get(host))
                    .filter(|_| request.line == format!("GET {path}"));
                let (status, body) = match text {
                    Some(text) => ("200 OK", text.as_str()),
                    None => ("404 Not Found", ""),
                };
                let response = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
                     Connection: close\r\n\r\n{body}",
                    body.len()
                );
                answer(&mut client, response.as_bytes())
            });
        }
    });
    Ok(())
}
