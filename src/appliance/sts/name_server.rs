//! Questions to the machine's own resolver, with its word on whether DNSSEC vouches
//! for the answer (the AD bit, RFC 6840, section 5.7).
//!
//! That word is worth something because the resolver is Unbound on loopback.

use crate::appliance::wire::dns::course::Patience;
use crate::appliance::wire::dns::exchange;
use crate::appliance::wire::dns::message::{Question, accept, text_of};
use anyhow::{Context, Result, bail};
use hickory_proto::op::Message;
use hickory_proto::rr::{RData, RecordType};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::Instant;

/// Unbound goes on looking when it is asked once more.
const PATIENCE: Patience = Patience {
    one_answer: Duration::from_secs(4),
    tries: 2,
};

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
    pub async fn ask(self, name: &str, kind: RecordType) -> Result<Known> {
        self.ask_patiently(name, kind)
            .await
            .with_context(|| format!("asking for {kind} of {name}"))
    }

    async fn ask_patiently(self, name: &str, kind: RecordType) -> Result<Known> {
        let question = Question {
            authentic: true,
            ..Question::new(name, kind)?
        };
        let deadline = Instant::now() + PATIENCE.whole();
        let answer = exchange::ask(self.0, &question, PATIENCE, deadline).await;
        let answer = answer.map_err(|failure| anyhow::anyhow!(failure.of_resolver(self.0)))?;
        Ok(known(accept(answer)?, kind))
    }

    /// The TXT records of a name, each joined to one text.
    pub async fn texts(self, name: &str) -> Result<Vec<String>> {
        let known = self.ask(name, RecordType::TXT).await?;
        Ok(known.records.iter().filter_map(text_of).collect())
    }

    /// The addresses of a host, those of IPv4 first.
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

fn known(answer: Message, kind: RecordType) -> Known {
    Known {
        secure: answer.authentic_data,
        // Aliases on the way there have another kind.
        records: answer
            .answers
            .into_iter()
            .filter(|record| record.record_type() == kind)
            .map(|record| record.data)
            .collect(),
    }
}
