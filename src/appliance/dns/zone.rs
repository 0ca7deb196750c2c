//! Who is responsible for a name: its zone, the zone's name servers, DNSSEC.
//!
//! Asked of the machine's own resolver, with validation off, so that a zone
//! whose signatures are broken is found and reported instead of missing.

use super::data::plain_name;
use crate::appliance::wire::dns::course::Patience;
use crate::appliance::wire::dns::exchange::ask;
use crate::appliance::wire::dns::message::Question;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType};
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::Instant;

/// How every server is asked. Many are, and one of them is waited for only once.
pub const SERVER_PATIENCE: Patience = Patience {
    one_answer: Duration::from_secs(2),
    tries: 2,
};
/// How the resolver is asked: as long as everybody waits for one (resolv.conf(5)), since it asks
/// many others itself, name by name down to the last label of an IPv6 address in reverse.
pub const RESOLVER_PATIENCE: Patience = Patience {
    one_answer: Duration::from_secs(5),
    tries: 2,
};
/// More name servers than any zone has; a stranger's list is not walked further.
const MOST_SERVERS: usize = 16;

/// One name server of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Its addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
}

/// Whether a zone is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Signed {
    /// Its parent has its key.
    Yes,
    /// It is not, as far as anybody can tell from its parent.
    No,
    /// Resolvers that validate refuse its answers.
    Broken,
}

/// A zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Its name.
    pub apex: String,
    /// Its name servers.
    pub servers: Vec<Server>,
    /// Whether it is signed.
    pub signed: Signed,
}

/// The resolver that finds zones.
#[derive(Debug, Clone, Copy)]
pub struct Resolver {
    /// Where it answers.
    pub address: SocketAddr,
    /// When all questions end.
    pub deadline: Instant,
}

impl Resolver {
    /// Asks the resolver; that there is no such name is an answer like others.
    pub async fn ask(
        &self,
        name: &str,
        kind: RecordType,
        unchecked: bool,
    ) -> Result<Message, String> {
        let question = Question::new(name, kind).map_err(|error| format!("{error:#}"))?;
        let question = Question {
            unchecked,
            ..question
        };
        let answer = ask(self.address, &question, RESOLVER_PATIENCE, self.deadline)
            .await
            .map_err(|failure| failure.of_resolver(self.address))?;
        match answer.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => Ok(answer),
            ResponseCode::ServFail => {
                Err(format!("the resolver finds nobody who answers for {name}"))
            }
            code => Err(format!("the resolver refuses to look {name} up: {code}")),
        }
    }

    /// Finds the apex of the zone that a name lies in.
    pub async fn find_apex(&self, name: &str) -> Result<String, String> {
        let mut name = name;
        loop {
            let answer = self.ask(name, RecordType::SOA, true).await?;
            let is_soa = |data: &RData| matches!(data, RData::SOA(_));
            let own = answer
                .answers
                .iter()
                .any(|record| is_soa(&record.data) && plain_name(&record.name) == name);
            if own {
                return Ok(name.to_owned());
            }
            // Behind an alias the authority section speaks of another zone.
            if answer.answers.is_empty()
                && let Some(record) = answer
                    .authorities
                    .iter()
                    .find(|record| is_soa(&record.data))
            {
                let apex = plain_name(&record.name);
                if name.ends_with(&format!(".{apex}")) || apex.is_empty() {
                    return Ok(apex);
                }
            }
            match name.split_once('.') {
                Some((_, parent)) => name = parent,
                None => return Err("nobody is responsible for this name".to_owned()),
            }
        }
    }

    /// Finds a zone's servers.
    pub async fn find_zone(&self, apex: &str) -> Result<Zone, String> {
        let answer = self.ask(apex, RecordType::NS, true).await?;
        let mut names: Vec<String> = answer
            .answers
            .iter()
            .filter_map(|record| match &record.data {
                RData::NS(name) => Some(plain_name(&name.0)),
                _ => None,
            })
            .collect();
        names.sort();
        names.dedup();
        names.truncate(MOST_SERVERS);
        let mut servers = Vec::new();
        for name in names {
            let addresses = self.addresses(&name).await;
            servers.push(Server { name, addresses });
        }
        Ok(Zone {
            signed: self.find_signed(apex).await,
            apex: apex.to_owned(),
            servers,
        })
    }

    /// The addresses of a host, IPv4 first; none when it has none.
    pub async fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        let (four, six) = tokio::join!(
            self.ask(name, RecordType::A, true),
            self.ask(name, RecordType::AAAA, true)
        );
        for answer in [four, six].into_iter().flatten() {
            addresses.extend(
                answer
                    .answers
                    .iter()
                    .filter_map(|record| record.data.ip_addr()),
            );
        }
        addresses
    }

    async fn find_signed(&self, apex: &str) -> Signed {
        let delegated = self.ask(apex, RecordType::DS, true).await;
        let has_key = delegated.is_ok_and(|answer| {
            answer
                .answers
                .iter()
                .any(|record| record.record_type() == RecordType::DS)
        });
        if !has_key {
            return Signed::No;
        }
        // Only a server's failure says so; silence says nothing.
        match self.ask(apex, RecordType::SOA, false).await {
            Err(error) if error.starts_with("the resolver finds nobody") => Signed::Broken,
            _ => Signed::Yes,
        }
    }
}
