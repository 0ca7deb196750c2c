//! A connection that speaks lines, in the clear at first or encrypted at once.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mailimg::any_certificate::{TlsStream, start_tls};
use rustls::pki_types::CertificateDer;

use crate::world::network::connect_from;

/// A busy emulated machine takes its time to answer.
pub const LIMIT: Duration = Duration::from_secs(120);
/// Nothing says so much in one line.
const LONGEST_LINE: u64 = 64 << 10;

/// Bytes to and from a server.
enum Stream {
    Clear(TcpStream),
    Secure(Box<TlsStream>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.read(buffer),
            Self::Secure(stream) => stream.read(buffer),
        }
    }
}

impl Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Clear(stream) => stream.write_all(bytes),
            Self::Secure(stream) => {
                stream.write_all(bytes)?;
                stream.flush()
            }
        }
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Clear(stream) => stream,
            Self::Secure(stream) => &stream.sock,
        }
    }
}

/// A connection from one of this side's addresses.
pub struct Wire {
    reader: BufReader<Stream>,
}

impl Wire {
    /// Connects in the clear.
    pub fn open(source: IpAddr, target: SocketAddr) -> Result<Self> {
        let stream = connect_from(source, target, LIMIT)?;
        // Lines are short, and an answer is waited for after each.
        stream.set_nodelay(true)?;
        Ok(Self {
            reader: BufReader::new(Stream::Clear(stream)),
        })
    }

    /// Connects and speaks TLS at once.
    pub fn open_tls(source: IpAddr, target: SocketAddr, name: &str) -> Result<Self> {
        Self::open(source, target)?.secure(name)
    }

    /// Speaks TLS from now on.
    pub fn secure(self, name: &str) -> Result<Self> {
        ensure!(
            self.reader.buffer().is_empty(),
            "the server said more than the answer to STARTTLS"
        );
        match self.reader.into_inner() {
            Stream::Clear(stream) => Ok(Self {
                reader: BufReader::new(Stream::Secure(Box::new(start_tls(stream, name)?))),
            }),
            Stream::Secure(_) => bail!("the connection is encrypted already"),
        }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.reader.get_mut().write(bytes).context("sending")
    }

    /// Sends a line.
    pub fn send_line(&mut self, line: &str) -> Result<()> {
        self.send(format!("{line}\r\n").as_bytes())
    }

    /// The next line without its end, or nothing when the server hung up.
    pub fn line(&mut self) -> Result<Option<String>> {
        let mut line = Vec::new();
        let read = (&mut self.reader)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line);
        match read {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned())),
            // Servers hang up without a closing alert, and with data unread.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error).context("waiting for a line"),
        }
    }

    /// Everything up to the end of the connection, which may be a rude one.
    pub fn rest(&mut self, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match (&mut self.reader).take(limit).read_to_end(&mut bytes) {
            Err(error)
                if !matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                ) =>
            {
                Err(error).context("waiting for the end of a connection")
            }
            _ => Ok(bytes),
        }
    }

    /// The server's certificate and those above it, in DER; none in the clear.
    pub fn certificates(&self) -> Vec<CertificateDer<'static>> {
        match self.reader.get_ref() {
            Stream::Clear(_) => Vec::new(),
            Stream::Secure(stream) => stream
                .conn
                .peer_certificates()
                .map(|chain| chain.iter().map(|one| one.clone().into_owned()).collect())
                .unwrap_or_default(),
        }
    }

    /// That many bytes, as they come.
    pub fn bytes(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Waits at most so long for each answer from now on.
    pub fn set_limit(&self, limit: Duration) -> Result<()> {
        self.reader
            .get_ref()
            .socket()
            .set_read_timeout(Some(limit))?;
        Ok(())
    }
}
