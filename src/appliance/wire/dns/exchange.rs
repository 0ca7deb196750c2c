//! Asking on sockets that let others work meanwhile.

use super::course::{Course, Failure, MOST_STRAYS, Patience, Way, any_port};
use super::message::{DATAGRAM_ROOM, Packet, Question, framed};
use anyhow::{Context, Result, ensure};
use hickory_proto::op::Message;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

/// Asks, and ends by the deadline at the latest.
pub async fn ask(
    server: SocketAddr,
    question: &Question,
    patience: Patience,
    deadline: Instant,
) -> Result<Message, Failure> {
    let mut course = Course::begin(question, patience, deadline.into_std())?;
    loop {
        let (way, until) = course.next();
        let (until, packet) = (Instant::from_std(until), course.packet());
        let answer = match way {
            Way::Udp => {
                let heard = timeout_at(until, over_udp(server, packet)).await;
                course.take_datagram(heard.ok())?
            }
            Way::Tcp => {
                let heard = timeout_at(until, over_tcp(server, packet.bytes())).await;
                course.take_stream(heard.ok())?
            }
        };
        if let Some(answer) = answer {
            return Ok(answer);
        }
    }
}

/// The answer, `None` when other things come.
async fn over_udp(server: SocketAddr, packet: &Packet) -> io::Result<Option<Message>> {
    let socket = UdpSocket::bind(any_port(server)).await?;
    // From then on only this server's datagrams arrive.
    socket.connect(server).await?;
    socket.send(packet.bytes()).await?;
    let mut room = vec![0; DATAGRAM_ROOM];
    for _ in 0..=MOST_STRAYS {
        let length = socket.recv(&mut room).await?;
        if let Some(answer) = packet.read_answer(&room[..length]) {
            return Ok(Some(answer));
        }
    }
    Ok(None)
}

/// Sends one message over TCP and reads one.
pub async fn over_tcp(server: SocketAddr, message: &[u8]) -> Result<Vec<u8>> {
    let framed = framed(message)?;
    let mut stream = TcpStream::connect(server)
        .await
        .with_context(|| format!("connecting to {server}"))?;
    stream.write_all(&framed).await.context("sending")?;
    let length = stream.read_u16().await.context("reading the answer")?;
    ensure!(length > 0, "the answer is empty");
    let mut answer = vec![0; usize::from(length)];
    let read = stream.read_exact(&mut answer).await;
    read.context("reading the answer")?;
    Ok(answer)
}
