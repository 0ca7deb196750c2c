//! Asking on sockets that block: for those who do one thing after the other.

use super::course::{Course, Failure, MOST_STRAYS, Patience, Way, any_port};
use super::message::{DATAGRAM_ROOM, Packet, Question, framed};
use anyhow::{Context, Result, ensure};
use hickory_proto::op::Message;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// Asks, and ends when the whole patience is over at the latest.
pub fn ask(
    server: SocketAddr,
    question: &Question,
    patience: Patience,
) -> Result<Message, Failure> {
    let mut course = Course::begin(question, patience, Instant::now() + patience.whole())?;
    loop {
        let (way, until) = course.next();
        let packet = course.packet();
        let answer = match way {
            Way::Udp => {
                let heard = match over_udp(server, packet, until) {
                    Err(error) if is_late(&error) => None,
                    heard => Some(heard),
                };
                course.take_datagram(heard)?
            }
            Way::Tcp => {
                let heard = match over_tcp(server, packet.bytes(), until) {
                    Err(error) if error.downcast_ref().is_some_and(is_late) => None,
                    heard => Some(heard),
                };
                course.take_stream(heard)?
            }
        };
        if let Some(answer) = answer {
            return Ok(answer);
        }
    }
}

/// The answer, `None` when other things come.
fn over_udp(server: SocketAddr, packet: &Packet, until: Instant) -> io::Result<Option<Message>> {
    let socket = UdpSocket::bind(any_port(server))?;
    // From then on only this server's datagrams arrive.
    socket.connect(server)?;
    socket.send(packet.bytes())?;
    let mut room = vec![0; DATAGRAM_ROOM];
    for _ in 0..=MOST_STRAYS {
        let length = receive(&socket, &mut room, until)?;
        if let Some(answer) = packet.read_answer(&room[..length]) {
            return Ok(Some(answer));
        }
    }
    Ok(None)
}

fn receive(socket: &UdpSocket, room: &mut [u8], until: Instant) -> io::Result<usize> {
    loop {
        socket.set_read_timeout(Some(left(until)?))?;
        match socket.recv(room) {
            // A signal came.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            received => return received,
        }
    }
}

/// Sends one message over TCP and reads one.
fn over_tcp(server: SocketAddr, message: &[u8], until: Instant) -> Result<Vec<u8>> {
    let framed = framed(message)?;
    let mut stream = left(until)
        .and_then(|left| TcpStream::connect_timeout(&server, left))
        .map(|stream| Timed { stream, until })
        .with_context(|| format!("connecting to {server}"))?;
    stream.write_all(&framed).context("sending")?;
    let mut length = [0; 2];
    stream
        .read_exact(&mut length)
        .context("reading the answer")?;
    let length = u16::from_be_bytes(length);
    ensure!(length > 0, "the answer is empty");
    let mut answer = vec![0; usize::from(length)];
    stream
        .read_exact(&mut answer)
        .context("reading the answer")?;
    Ok(answer)
}

/// A connection with an end: a time-out of the socket alone begins anew with each byte.
struct Timed {
    stream: TcpStream,
    until: Instant,
}

impl Read for Timed {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.until)?))?;
        self.stream.read(room)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.until)?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// The time that is left; none is an error.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    Ok(left)
}

fn is_late(error: &io::Error) -> bool {
    // The kernel's word for a socket whose time is over is the first.
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
