//! Questions to the machine's own resolver, with its word on whether DNSSEC vouches
//! for the answer (the AD bit, RFC 6840, section 5.7).
//!
//! That word is worth something because the resolver is Unbound on loopback.

use anyhow::{Context, Result, bail, ensure};
use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Wait for an answer before asking once more; Unbound goes on looking meanwhile.
const RETRY_AFTER: Duration = Duration::from_secs(4);
/// How often it is asked.
const ATTEMPTS: usize = 2;
/// Size of answers over UDP that no network breaks up.
const DATAGRAM: u16 = 1232;

/// A resolver that validates.
#[derive(Debug, Clone, Copy)]
pub struct NameServer(pub SocketAddr);

/// What is known of a name.
#[derive(Debug, Default)]
pub struct Known {
    /// Records of the kind that was asked for; none is an answer too.
    pub records: Vec<RData>,
    /// Whether DNSSEC vouches for it.
    pub secure: bool,
}

impl NameServer {
    /// All records of a name and kind, none when there are none.
    ///
    /// # Errors
    /// A name that cannot be asked for, or no answer.
    pub async fn ask(self, name: &str, kind: RecordType) -> Result<Known> {
        self.ask_patiently(name, kind)
            .await
            .with_context(|| format!("asking for {kind} of {name}"))
    }

    async fn ask_patiently(self, name: &str, kind: RecordType) -> Result<Known> {
        let mut name = Name::from_ascii(name)?;
        name.set_fqdn(true);
        let mut question = Message::query();
        question.metadata.recursion_desired = true;
        // Asks for the AD bit without the signatures (RFC 6840, section 5.7).
        question.metadata.authentic_data = true;
        question.add_query(Query::query(name, kind));
        let mut edns = Edns::new();
        edns.set_max_payload(DATAGRAM);
        question.set_edns(edns);
        let bytes = question.to_vec()?;
        for _ in 0..ATTEMPTS {
            let Ok(answer) = timeout(RETRY_AFTER, self.exchange(&question, &bytes)).await else {
                continue;
            };
            return known(answer?, kind);
        }
        bail!(
            "no answer within {} s",
            RETRY_AFTER.as_secs() * ATTEMPTS as u64
        );
    }

    async fn exchange(self, question: &Message, bytes: &[u8]) -> Result<Message> {
        let any: SocketAddr = match self.0.ip() {
            IpAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            IpAddr::V6(_) => ([0; 16], 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(self.0).await?;
        socket.send(bytes).await?;
        let mut buffer = vec![0; usize::from(DATAGRAM)];
        loop {
            let length = socket.recv(&mut buffer).await?;
            let Ok(answer) = Message::from_vec(&buffer[..length]) else {
                continue;
            };
            if !belongs(&answer, question) {
                continue;
            }
            if answer.metadata.truncation {
                return self.exchange_stream(question, bytes).await;
            }
            return Ok(answer);
        }
    }

    async fn exchange_stream(self, question: &Message, bytes: &[u8]) -> Result<Message> {
        let mut stream = TcpStream::connect(self.0).await?;
        let mut framed = u16::try_from(bytes.len())?.to_be_bytes().to_vec();
        framed.extend(bytes);
        stream.write_all(&framed).await?;
        let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut buffer).await?;
        let answer = Message::from_vec(&buffer)?;
        ensure!(
            belongs(&answer, question),
            "the answer is to another question"
        );
        Ok(answer)
    }

    /// The TXT records of a name, each joined to one text.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn texts(self, name: &str) -> Result<Vec<String>> {
        let known = self.ask(name, RecordType::TXT).await?;
        let texts = known.records.iter().filter_map(|record| match record {
            RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
            _ => None,
        });
        Ok(texts.collect())
    }

    /// The addresses of a host, those of IPv4 first.
    ///
    /// # Errors
    /// No answer, or no address.
    pub async fn addresses(self, host: &str) -> Result<Vec<IpAddr>> {
        let (four, six) = tokio::join!(
            self.ask(host, RecordType::A),
            self.ask(host, RecordType::AAAA)
        );
        // One family is enough.
        let found: Vec<IpAddr> = [&four, &six]
            .into_iter()
            .flatten()
            .flat_map(|known| &known.records)
            .filter_map(RData::ip_addr)
            .collect();
        if found.is_empty() {
            four?;
            six?;
            bail!("{host} has no address");
        }
        Ok(found)
    }
}

fn belongs(answer: &Message, question: &Message) -> bool {
    answer.metadata.id == question.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.queries == question.queries
}

fn known(answer: Message, kind: RecordType) -> Result<Known> {
    match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        code => bail!("the resolver says {code}"),
    }
    Ok(Known {
        secure: answer.metadata.authentic_data,
        // Aliases on the way there have another kind.
        records: answer
            .answers
            .into_iter()
            .filter(|record| record.record_type() == kind)
            .map(|record| record.data)
            .collect(),
    })
}
