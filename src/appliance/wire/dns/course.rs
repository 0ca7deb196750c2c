//! What to send next, until there is an answer: over UDP again when nothing comes, over
//! TCP what does not fit (RFC 7766, <https://www.rfc-editor.org/rfc/rfc7766>), and without
//! EDNS to servers from before it (RFC 6891 section 7).

use super::message::{Packet, Question};
use anyhow::Result;
use hickory_proto::op::{Message, ResponseCode};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// Datagrams to one socket that are no answer and are passed over; a flood of them is not.
pub const MOST_STRAYS: usize = 16;

/// How a server is asked.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How long one answer may take.
    pub one_answer: Duration,
    /// How often a question is sent over UDP, where packets get lost.
    pub tries: u32,
}

impl Patience {
    /// How long all of it takes at most.
    pub const fn whole(self) -> Duration {
        self.one_answer.saturating_mul(self.tries)
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nothing came back in time.
    #[error("it does not answer")]
    Silent,
    /// No way there from this machine.
    #[error("it is out of reach: {0}")]
    Unreachable(String),
    /// Something came back that is no answer.
    #[error("{0}")]
    Garbled(String),
}

impl Failure {
    /// The same of the resolver at an address, as a sentence.
    pub fn of_resolver(&self, at: SocketAddr) -> String {
        match self {
            Self::Silent => format!("the resolver at {at} does not answer"),
            Self::Unreachable(error) => format!("the resolver at {at} is out of reach: {error}"),
            Self::Garbled(error) => format!("the resolver at {at}: {error}"),
        }
    }
}

/// The way the question goes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In a datagram, from a socket of its own.
    Udp,
    /// Over a connection.
    Tcp,
}

/// One question on its way.
///
/// Its user sends the packet the way that it says, reads until the time that it says, and
/// hands in what came: `None` for nothing.
#[derive(Debug)]
pub struct Course<'a> {
    question: &'a Question,
    patience: Patience,
    deadline: Instant,
    packet: Packet,
    with_edns: bool,
    way: Way,
    /// How often the packet is still sent over UDP.
    tries: u32,
}

impl<'a> Course<'a> {
    /// Begins with EDNS, over UDP.
    pub fn begin(
        question: &'a Question,
        patience: Patience,
        deadline: Instant,
    ) -> Result<Self, Failure> {
        Ok(Self {
            question,
            patience,
            deadline,
            packet: packet(question, true)?,
            with_edns: true,
            way: Way::Udp,
            tries: patience.tries,
        })
    }

    /// What is to be sent.
    pub fn packet(&self) -> &Packet {
        &self.packet
    }

    /// How, and until when an answer may come.
    pub fn next(&self) -> (Way, Instant) {
        let until = Instant::now() + self.patience.one_answer;
        (self.way, self.deadline.min(until))
    }

    /// Takes what came over UDP: the answer, an error of the socket, or strays alone.
    pub fn take_datagram(
        &mut self,
        heard: Option<io::Result<Option<Message>>>,
    ) -> Result<Option<Message>, Failure> {
        self.tries = self.tries.saturating_sub(1);
        match heard {
            None if self.tries > 0 => Ok(None),
            None => Err(Failure::Silent),
            // An ICMP message: nobody listens there.
            Some(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
                Err(Failure::Silent)
            }
            Some(Err(error)) => Err(Failure::Unreachable(error.to_string())),
            Some(Ok(None)) => Err(Failure::Garbled("its answers cannot be read".to_owned())),
            Some(Ok(Some(answer))) if answer.truncation => {
                self.way = Way::Tcp;
                Ok(None)
            }
            Some(Ok(Some(answer))) => self.conclude(answer),
        }
    }

    /// Takes what came over TCP.
    pub fn take_stream(
        &mut self,
        heard: Option<Result<Vec<u8>>>,
    ) -> Result<Option<Message>, Failure> {
        let why = match heard {
            None => "its answer does not fit UDP, and it does not answer over TCP".to_owned(),
            Some(Err(error)) => {
                format!("its answer does not fit UDP, and over TCP there is none: {error:#}")
            }
            Some(Ok(bytes)) => match self.packet.read_answer(&bytes) {
                Some(answer) => return self.conclude(answer),
                None => "its answer cannot be read".to_owned(),
            },
        };
        Err(Failure::Garbled(why))
    }

    fn conclude(&mut self, answer: Message) -> Result<Option<Message>, Failure> {
        // Servers that do not know EDNS say so in one of these ways.
        let refused = matches!(
            answer.response_code,
            ResponseCode::FormErr | ResponseCode::NotImp
        );
        if !(refused && self.with_edns) {
            return Ok(Some(answer));
        }
        self.with_edns = false;
        self.packet = packet(self.question, false)?;
        self.way = Way::Udp;
        self.tries = self.patience.tries;
        Ok(None)
    }
}

fn packet(question: &Question, with_edns: bool) -> Result<Packet, Failure> {
    let packet = question.packet(with_edns);
    packet.map_err(|error| Failure::Garbled(format!("{error:#}")))
}

/// Where a socket begins that asks this server: a port that the kernel chooses by chance.
pub fn any_port(server: SocketAddr) -> SocketAddr {
    match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}
