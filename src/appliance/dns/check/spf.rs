//! Judging SPF (RFC 7208, <https://www.rfc-editor.org/rfc/rfc7208>) by evaluating it.
//!
//! The record itself is the authoritative answer; what it leads to is asked of
//! the resolver, except for HOSTNAME and the domain's mail servers. These are
//! taken as they should be: another check says when they are not, and this one
//! is about the policy.

use super::super::authority::View;
use super::super::data::Data;
use super::super::expected::{Expected, Purpose, spf_mechanism};
use super::super::facts::Facts;
use super::finding::{Judged, Verdict};
use super::text::texts;
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
use std::time::{Duration, Instant};
use tokio::time::timeout_at;

/// Longest wait for all answers that a record leads to.
const RECORD_LIMIT: Duration = Duration::from_secs(10);

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

/// Whether a text is an SPF record (RFC 7208 section 4.5).
pub fn is_spf(text: &str) -> bool {
    let first = text.split(' ').next().unwrap_or_default();
    first.eq_ignore_ascii_case("v=spf1")
}

/// Evaluates records.
pub struct SpfJudge {
    authenticator: MessageAuthenticator,
    /// When all questions end.
    deadline: tokio::time::Instant,
}

impl SpfJudge {
    /// One that asks this resolver and ends at this time.
    pub fn new(resolver: SocketAddr, deadline: tokio::time::Instant) -> Result<Self> {
        Ok(Self {
            authenticator: authenticator(resolver)?,
            deadline,
        })
    }

    /// Exactly one record, which covers all our addresses and refuses others.
    pub async fn judge(&self, facts: &Facts, expected: &Expected, view: &View) -> Judged {
        let records: Vec<String> = texts(view)
            .into_iter()
            .filter(|text| is_spf(text))
            .collect();
        let wanted = expected
            .data
            .first()
            .map(Data::form_value)
            .unwrap_or_default();
        let advice = format!(
            "publish this text as the TXT record of {}: {wanted}",
            expected.name
        );
        let record = match records.as_slice() {
            [record] => record,
            [] if view.records.is_empty() => {
                return Judged::missing("is not published").advise(advice);
            }
            [] => {
                return Judged::missing("has text records, but none is for SPF (v=spf1)")
                    .advise(advice);
            }
            _ => {
                return Judged::wrong(format!(
                    "there are {} records; with more than one, none counts",
                    records.len()
                ))
                .advise(format!("make one of them: {}", records.join(" | ")));
            }
        };
        let amend = match expected.purpose {
            Purpose::Spf if expected.name != facts.hostname => {
                format!("add {} behind v=spf1", spf_mechanism(facts))
            }
            _ => advice.clone(),
        };
        let mut covered = Vec::new();
        for address in facts.addresses.all() {
            match self.evaluate(facts, &expected.name, record, address).await {
                SpfResult::Pass => covered.push(address.to_string()),
                SpfResult::TempError => {
                    return Judged::unknown(format!(
                        "what the record leads to cannot be looked up: {record}"
                    ));
                }
                SpfResult::PermError | SpfResult::None => {
                    return Judged::wrong(format!("is no valid SPF record: {record}"))
                        .advise(advice);
                }
                SpfResult::Fail | SpfResult::SoftFail | SpfResult::Neutral => {
                    return Judged::wrong(format!(
                        "does not cover our address {address}: {record}"
                    ))
                    .advise(amend)
                    .advise("until then others refuse our mail or take it for junk");
                }
            }
        }
        match ending(record) {
            Some("-all" | "~all") => {}
            Some(other) if other.starts_with("redirect=") => {}
            Some(other) => {
                return Judged::wrong(format!("ends in {other}, which lets anybody send"))
                    .advise("let it end in -all");
            }
            None => {
                return Judged::wrong("has no end, so it says nothing about others")
                    .advise("let it end in -all");
            }
        }
        if covered.is_empty() {
            return Judged {
                verdict: Verdict::CannotTell,
                ..Judged::good("our public address is not known")
            };
        }
        Judged::good(format!("covers {}", covered.join(" and ")))
    }

    async fn evaluate(&self, facts: &Facts, name: &str, record: &str, client: IpAddr) -> SpfResult {
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
        let end = self
            .deadline
            .min(tokio::time::Instant::now() + RECORD_LIMIT);
        match timeout_at(end, self.authenticator.verify_spf(question)).await {
            Ok(output) => output.result(),
            Err(_) => SpfResult::TempError,
        }
    }
}

/// The term that decides about everybody else.
fn ending(record: &str) -> Option<&str> {
    record
        .split(' ')
        .find(|term| {
            term.trim_start_matches(['+', '-', '~', '?'])
                .eq_ignore_ascii_case("all")
        })
        .or_else(|| {
            record
                .split(' ')
                .find(|term| term.to_ascii_lowercase().starts_with("redirect="))
        })
}

#[cfg(test)]
mod tests {
    use super::{ending, is_spf};

    #[test]
    fn records_and_their_ends() {
        assert!(is_spf("v=spf1") && is_spf("V=SPF1 -all"));
        assert!(!is_spf("v=spf10 -all") && !is_spf(" v=spf1"));
        assert_eq!(ending("v=spf1 a -all"), Some("-all"));
        assert_eq!(ending("v=spf1 a all redirect=b"), Some("all"));
        assert_eq!(ending("v=spf1 redirect=b"), Some("redirect=b"));
        assert_eq!(ending("v=spf1 a:all.example"), None);
    }
}
