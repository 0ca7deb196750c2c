//! A question as it is sent, and what counts as its answer: RFC 1035 section 4
//! (<https://www.rfc-editor.org/rfc/rfc1035#section-4>), with EDNS
//! (RFC 6891, <https://www.rfc-editor.org/rfc/rfc6891>).

use anyhow::{Context, Result, bail};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

/// Longest answer over UDP: what passes every path unfragmented (RFC 9715).
const UDP_SIZE: u16 = 1232;
/// Room for a datagram; some servers send more than they were asked for.
pub const DATAGRAM_ROOM: usize = 4096;

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
    /// Whether a resolver shall say if DNSSEC vouches for the answer.
    pub authentic: bool,
}

impl Question {
    /// One to a resolver.
    pub fn new(name: &str, kind: RecordType) -> Result<Self> {
        Ok(Self {
            name: wire_name(name)?,
            kind,
            recursive: true,
            unchecked: false,
            authentic: false,
        })
    }

    /// The question as it is sent, with an identifier that nobody guesses.
    pub fn packet(&self, with_edns: bool) -> Result<Packet> {
        let mut message = Message::query();
        message.metadata.recursion_desired = self.recursive;
        message.metadata.checking_disabled = self.unchecked;
        // Asks for the AD bit without the signatures (RFC 6840 section 5.7).
        message.metadata.authentic_data = self.authentic;
        message.add_query(Query::query(self.name.clone(), self.kind));
        if with_edns {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_SIZE).set_version(0);
            message.set_edns(edns);
        }
        let bytes = message.to_vec().context("writing the question")?;
        Ok(Packet { message, bytes })
    }
}

/// A question as it is sent.
#[derive(Debug)]
pub struct Packet {
    message: Message,
    bytes: Vec<u8>,
}

impl Packet {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads the answer to this very question, `None` for anything else.
    pub fn read_answer(&self, bytes: &[u8]) -> Option<Message> {
        let answer = Message::from_vec(bytes).ok()?;
        let same_question = if answer.queries.is_empty() {
            // Some servers leave it out when they refuse.
            answer.response_code != ResponseCode::NoError
        } else {
            // Letters count as the same in either case.
            answer.queries == self.message.queries
        };
        (answer.id == self.message.id
            && answer.message_type == MessageType::Response
            && answer.op_code == OpCode::Query
            && same_question)
            .then_some(answer)
    }
}

/// A message as it goes over TCP, with its length in front.
pub fn framed(message: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(message.len()).context("the message is too long for DNS")?;
    Ok([&length.to_be_bytes(), message].concat())
}

/// Lets pass what a resolver found out, be it nothing, and no trouble of its own.
pub fn accept(answer: Message) -> Result<Message> {
    match answer.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(answer),
        code => bail!("the resolver says {code}"),
    }
}

/// The strings of a TXT record, joined as every reader joins them.
pub fn text_of(data: &RData) -> Option<String> {
    match data {
        RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
        _ => None,
    }
}

/// A name for the wire.
pub fn wire_name(name: &str) -> Result<Name> {
    Name::from_ascii(format!("{name}."))
        .map_err(|error| anyhow::anyhow!("{error}"))
        .with_context(|| format!("reading the name '{name}'"))
}

#[cfg(test)]
mod tests {
    use super::{Question, framed};
    use hickory_proto::op::Message;
    use hickory_proto::rr::RecordType;

    #[test]
    fn questions_say_what_is_wanted() {
        let question = Question::new("a.example", RecordType::TXT).unwrap();
        let sent = |question: &Question, with_edns| {
            Message::from_vec(question.packet(with_edns).unwrap().bytes()).unwrap()
        };
        let first = sent(&question, true);
        assert!(first.recursion_desired && !first.checking_disabled && !first.authentic_data);
        assert_eq!(first.edns.unwrap().max_payload(), 1232);
        let other = Question {
            recursive: false,
            unchecked: true,
            authentic: true,
            ..question
        };
        let other = sent(&other, false);
        assert!(!other.recursion_desired && other.checking_disabled && other.authentic_data);
        assert!(other.edns.is_none() && other.queries == first.queries);
        assert!(Question::new("a..example", RecordType::TXT).is_err());
    }

    #[test]
    fn lengths_go_in_front() {
        assert_eq!(framed(b"abc").unwrap(), b"\0\x03abc");
        assert!(framed(&[0; 65536]).is_err());
    }
}
