//! Evaluates an SPF record as receivers do.

use super::super::super::facts::Facts;
use crate::appliance::wire::authenticator::authenticator;
use anyhow::Result;
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::spf::Spf;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{MX, MessageAuthenticator, Parameters, ResolverCache, SpfResult, Txt};
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;
use tokio::time::timeout_at;

/// Answers that are known beforehand.
struct Known<V>(HashMap<Box<str>, V>);

impl<V: Clone> Known<V> {
    fn one(name: &str, value: Option<V>) -> Self {
        let key = format!("{name}.").into_boxed_str();
        Self(value.map(|value| (key, value)).into_iter().collect())
    }
}

impl<V: Clone> ResolverCache<Box<str>, V> for Known<V> {
    fn get<Q>(&self, name: &Q) -> Option<V>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.get(name).cloned()
    }

    fn remove<Q>(&self, _: &Q) -> Option<V>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: V, _: Instant) {}
}

/// Evaluates records with the answers of one resolver.
pub struct Evaluator(MessageAuthenticator);

impl Evaluator {
    /// One that asks this resolver.
    pub fn new(resolver: SocketAddr) -> Result<Self> {
        authenticator(resolver).map(Self)
    }

    /// What a record says about an address, HOSTNAME and mail servers as they should be.
    pub async fn evaluate(
        &self,
        facts: &Facts,
        name: &str,
        record: &str,
        client: IpAddr,
        end: tokio::time::Instant,
    ) -> SpfResult {
        let Ok(policy) = Spf::parse(record.as_bytes()) else {
            return SpfResult::PermError;
        };
        let host = &facts.hostname;
        let text = Known::one(name, Some(Txt::Spf(Arc::new(policy))));
        let servers: Arc<[MX]> = Arc::new([MX {
            exchanges: Box::new([format!("{host}.").into_boxed_str()]),
            preference: 10,
        }]);
        let servers = Known::one(name, Some(servers));
        let four: Vec<Ipv4Addr> = facts.addresses.ipv4.into_iter().collect();
        let six: Vec<Ipv6Addr> = facts.addresses.ipv6.into_iter().collect();
        let four = Known::one(host, Some(Arc::<[Ipv4Addr]>::from(four)));
        let six = Known::one(host, Some(Arc::<[Ipv6Addr]>::from(six)));
        let sender = format!("postmaster@{name}");
        let question = SpfParameters::verify_mail_from(client, host, host, &sender);
        let question = Parameters::new(question)
            .with_txt_cache(&text)
            .with_mx_cache(&servers)
            .with_ipv4_cache(&four)
            .with_ipv6_cache(&six);
        match timeout_at(end, self.0.verify_spf(question)).await {
            Ok(output) => output.result(),
            Err(_) => SpfResult::TempError,
        }
    }
}
