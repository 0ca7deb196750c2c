//! What DNS says of our names, asked of the machine's own resolver.
//!
//! Queries by RFC 1035 (<https://www.rfc-editor.org/rfc/rfc1035>), over UDP
//! and, when the answer does not fit, over TCP. Unbound validates; an answer
//! that it calls bogus does not reach us. The names are few and asked one
//! after the other.

use super::failure::{Failure, Kind};
use anyhow::{Context, Result, bail, ensure};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// Longest wait for one answer; Unbound gives up on a lame zone by itself.
const ANSWER_LIMIT: Duration = Duration::from_secs(8);
/// How often a lost datagram is sent again.
const TRIES: usize = 2;
/// Largest datagram, as DNS flag day 2020 has it.
const DATAGRAM: u16 = 1232;

/// Where a name leads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Whether there is such a name.
    pub exists: bool,
    /// Its addresses, through aliases.
    pub addresses: Vec<IpAddr>,
}

/// TLSA records of a service, as far as they name keys (RFC 6698, "3 1 1").
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tlsa {
    /// Nobody answers for the name.
    Unknown,
    /// There are none.
    Absent,
    /// Digests in hexadecimal, and for how many seconds others may remember them.
    Listed {
        /// The digests.
        digests: Vec<String>,
        /// The time to live.
        ttl: u32,
    },
}

/// Addresses of a name.
///
/// # Errors
/// A resolver that does not answer, or cannot.
pub fn resolve(server: SocketAddr, name: &str) -> Result<Resolved, Failure> {
    let mut resolved = Resolved::default();
    for kind in [RecordType::A, RecordType::AAAA] {
        let answer = ask(server, name, kind).map_err(|error| {
            Failure::new(
                Kind::NameServers,
                format!("asking DNS for {name}: {error:#}"),
                format!(
                    "the name servers of {name} do not answer, or their signatures are wrong: \
                     mailctl dns check says more"
                ),
            )
        })?;
        resolved.exists |= answer.metadata.response_code != ResponseCode::NXDomain;
        resolved.addresses.extend(
            answer
                .answers
                .iter()
                .filter_map(|record| match &record.data {
                    RData::A(address) => Some(IpAddr::V4(address.0)),
                    RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                    _ => None,
                }),
        );
    }
    Ok(resolved)
}

/// TLSA records of a mail server.
pub fn find_tlsa(server: SocketAddr, host: &str) -> Tlsa {
    let Ok(answer) = ask(server, &format!("_25._tcp.{host}"), RecordType::TLSA) else {
        return Tlsa::Unknown;
    };
    let mut digests = Vec::new();
    let mut ttl = None;
    for record in &answer.answers {
        let RData::TLSA(tlsa) = &record.data else {
            continue;
        };
        ttl = ttl.max(Some(record.ttl));
        let parameters = (
            u8::from(tlsa.cert_usage),
            u8::from(tlsa.selector),
            u8::from(tlsa.matching),
        );
        if parameters == (3, 1, 1) {
            digests.push(hex::encode(&tlsa.cert_data));
        }
    }
    ttl.map_or(Tlsa::Absent, |ttl| Tlsa::Listed { digests, ttl })
}

fn ask(server: SocketAddr, name: &str, kind: RecordType) -> Result<Message> {
    let mut name = Name::from_ascii(name).context("no name")?;
    name.set_fqdn(true);
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let query = Query::query(name, kind);
    message.add_query(query.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(DATAGRAM);
    message.set_edns(edns);
    let bytes = message.to_vec()?;
    let mut answer = ask_by_datagram(server, &bytes)?;
    if answer.metadata.truncation {
        answer = ask_by_stream(server, &bytes).context("asking over TCP")?;
    }
    ensure!(
        answer.queries.first() == Some(&query),
        "the answer is to another question"
    );
    match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(answer),
        code => bail!("{code}"),
    }
}

fn ask_by_datagram(server: SocketAddr, query: &[u8]) -> Result<Message> {
    let any: SocketAddr = if server.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(ANSWER_LIMIT))?;
    // From then on only this server's datagrams arrive.
    socket.connect(server)?;
    let mut buffer = [0; DATAGRAM as usize];
    for _ in 0..TRIES {
        socket.send(query)?;
        while let Ok(length) = socket.recv(&mut buffer) {
            if length > 2 && buffer[..2] == query[..2] {
                return Message::from_vec(&buffer[..length]).context("reading the answer");
            }
        }
    }
    bail!("the resolver at {server} does not answer")
}

fn ask_by_stream(server: SocketAddr, query: &[u8]) -> Result<Message> {
    let mut stream = TcpStream::connect_timeout(&server, ANSWER_LIMIT)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    let length = u16::try_from(query.len()).context("a question too long")?;
    stream.write_all(&[&length.to_be_bytes(), query].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    let answer = Message::from_vec(&answer).context("reading the answer")?;
    ensure!(
        answer.metadata.id.to_be_bytes() == query[..2],
        "the answer is to another question"
    );
    Ok(answer)
}
