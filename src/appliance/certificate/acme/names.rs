//! What DNS says of our names, asked of the machine's own resolver.
//!
//! Unbound validates; an answer that it calls bogus does not reach us. The names are
//! few and asked one after the other.

use super::failure::{Failure, Kind};
use crate::appliance::wire::dns::blocking;
use crate::appliance::wire::dns::course::Patience;
use crate::appliance::wire::dns::message::{Question, accept};
use anyhow::Result;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Unbound gives up on a lame zone by itself.
const PATIENCE: Patience = Patience {
    one_answer: Duration::from_secs(8),
    tries: 2,
};

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
        let records = answer.answers.iter();
        let addresses = records.filter_map(|record| record.data.ip_addr());
        resolved.addresses.extend(addresses);
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
    let question = Question::new(name, kind)?;
    let answer = blocking::ask(server, &question, PATIENCE);
    accept(answer.map_err(|failure| anyhow::anyhow!(failure.of_resolver(server)))?)
}
