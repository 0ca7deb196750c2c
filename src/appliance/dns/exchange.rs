//! One question to one name server and its answer: UDP with EDNS, TCP for
//! what does not fit (RFC 1035 section 4.2, RFC 6891, RFC 7766).

use anyhow::{Context, Result, bail};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

/// How long one answer may take.
const ONE_ANSWER: Duration = Duration::from_secs(2);
/// How often a question is sent over UDP, where packets get lost.
const TRIES: u32 = 2;
/// Longest answer over UDP: what passes every path unfragmented (RFC 9715).
const UDP_SIZE: u16 = 1232;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Nothing came back in time.
    Silent,
    /// No way there from this machine.
    Unreachable(String),
    /// Something came back that is no answer.
    Garbled(String),
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// The name.
    pub name: Name,
    /// The type.
    pub kind: RecordType,
    /// Whether the server shall ask others.
    pub recursive: bool,
    /// Whether a resolver shall answer what it cannot validate, too.
    pub unchecked: bool,
}

impl Question {
    fn message(&self, with_edns: bool) -> Message {
        let mut message = Message::query();
        message.metadata.recursion_desired = self.recursive;
        message.metadata.checking_disabled = self.unchecked;
        message.add_query(Query::query(self.name.clone(), self.kind));
        if with_edns {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_SIZE).set_version(0);
            message.set_edns(edns);
        }
        message
    }
}

/// Asks, again when nothing comes, and by the deadline at the latest.
///
/// # Errors
/// No answer.
pub async fn ask(
    server: SocketAddr,
    question: &Question,
    deadline: Instant,
) -> Result<Message, Failure> {
    let answer = ask_with(server, &question.message(true), deadline).await?;
    // Servers from before EDNS say so in one of these ways (RFC 6891 section 7).
    let old = matches!(
        answer.response_code,
        ResponseCode::FormErr | ResponseCode::NotImp
    );
    if old {
        return ask_with(server, &question.message(false), deadline).await;
    }
    Ok(answer)
}

async fn ask_with(
    server: SocketAddr,
    message: &Message,
    deadline: Instant,
) -> Result<Message, Failure> {
    let bytes = message
        .to_vec()
        .map_err(|error| Failure::Garbled(error.to_string()))?;
    for _ in 0..TRIES {
        let until = deadline.min(Instant::now() + ONE_ANSWER);
        let tried = timeout_at(until, over_udp(server, message, &bytes)).await;
        match tried {
            Err(_) => {}
            Ok(Err(failure)) => return Err(failure),
            Ok(Ok(answer)) if answer.truncation => {
                let until = deadline.min(Instant::now() + ONE_ANSWER);
                return match timeout_at(until, over_tcp(server, &bytes)).await {
                    Err(_) => Err(Failure::Garbled(
                        "its answer does not fit UDP, and it does not answer over TCP".to_owned(),
                    )),
                    Ok(Err(error)) => Err(Failure::Garbled(format!(
                        "its answer does not fit UDP, and over TCP there is none: {error:#}"
                    ))),
                    Ok(Ok(bytes)) => parse_answer(&bytes, message)
                        .ok_or_else(|| Failure::Garbled("its answer cannot be read".to_owned())),
                };
            }
            Ok(Ok(answer)) => return Ok(answer),
        }
    }
    Err(Failure::Silent)
}

async fn over_udp(server: SocketAddr, message: &Message, bytes: &[u8]) -> Result<Message, Failure> {
    let failed = |error: std::io::Error| match error.kind() {
        // An ICMP message: nobody listens there.
        ErrorKind::ConnectionRefused => Failure::Silent,
        _ => Failure::Unreachable(error.to_string()),
    };
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await.map_err(failed)?;
    socket.connect(server).await.map_err(failed)?;
    socket.send(bytes).await.map_err(failed)?;
    let mut packet = vec![0; 4096];
    let mut unread = 0;
    loop {
        let length = socket.recv(&mut packet).await.map_err(failed)?;
        if let Some(answer) = parse_answer(&packet[..length], message) {
            return Ok(answer);
        }
        unread += 1;
        // Strays are passed over, a flood of them is not.
        if unread > 16 {
            return Err(Failure::Garbled("its answers cannot be read".to_owned()));
        }
    }
}

/// An answer to this very question.
fn parse_answer(bytes: &[u8], message: &Message) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let same_question = match (answer.queries.first(), message.queries.first()) {
        (Some(one), Some(other)) => {
            one.name() == other.name() && one.query_type() == other.query_type()
        }
        // Some servers leave it out when they refuse.
        (None, _) => answer.response_code != ResponseCode::NoError,
        _ => false,
    };
    (answer.id == message.id
        && answer.message_type == MessageType::Response
        && answer.op_code == OpCode::Query
        && same_question)
        .then_some(answer)
}

/// Sends one message over TCP and reads one.
///
/// # Errors
/// No connection, or one that ends too early.
pub async fn over_tcp(server: SocketAddr, bytes: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(bytes.len()).context("the message is too long for DNS")?;
    let mut stream = TcpStream::connect(server)
        .await
        .with_context(|| format!("connecting to {server}"))?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(bytes);
    stream.write_all(&framed).await.context("sending")?;
    let length = stream.read_u16().await.context("reading the answer")?;
    if length == 0 {
        bail!("the answer is empty");
    }
    let mut answer = vec![0; usize::from(length)];
    stream
        .read_exact(&mut answer)
        .await
        .context("reading the answer")?;
    Ok(answer)
}
