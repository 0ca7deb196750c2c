//! What a policy says about a client: `check_host()` of RFC 7208 section 4.

use super::macros::{Domain, MacroString, Purpose, Values};
use super::question::{Question, Verdict};
use super::record::{Mechanism, Prefixes, Qualifier, Record, is_policy, parse_record};
use crate::appliance::filter::lookup::{Family, Lookup, NoAnswer, is_name};
use crate::appliance::machine::clock::now;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

/// Most terms that ask the DNS (section 4.6.4).
const MOST_LOOKUPS: u32 = 10;
/// Most questions whose answer is that there is nothing, the same section.
const MOST_VOID: u32 = 2;
/// Most names of one MX or PTR answer that are looked at, the same section.
const MOST_NAMES: usize = 10;

/// Why an evaluation ends before a directive matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// A name server failed.
    Temporary,
    /// The policy is wrong.
    Permanent,
}

impl From<NoAnswer> for Ending {
    fn from(_: NoAnswer) -> Self {
        Self::Temporary
    }
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the policy says.
    pub verdict: Verdict,
    /// Where the domain explains a refusal: the name, and the domain it is about.
    explanation: Option<(Domain, String)>,
}

impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Self {
        Self {
            verdict,
            explanation: None,
        }
    }
}

impl From<Ending> for Outcome {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Temporary => Verdict::TempError.into(),
            Ending::Permanent => Verdict::PermError.into(),
        }
    }
}

/// One evaluation.
pub struct Evaluation<'a, L> {
    lookup: &'a L,
    question: &'a Question,
    /// The client; an IPv4 address in the clothes of IPv6 is one of IPv4 (section 5).
    client: IpAddr,
    receiver: &'a str,
    lookups: u32,
    void: u32,
    /// The client's names that point back to it, once somebody asked.
    validated: Option<Vec<String>>,
}

/// A future that may call itself.
type Nested<'f, T> = Pin<Box<dyn Future<Output = T> + 'f>>;

impl<'a, L: Lookup> Evaluation<'a, L> {
    /// Asks this lookup, for the host of this name.
    pub fn new(lookup: &'a L, question: &'a Question, receiver: &'a str) -> Self {
        Self {
            lookup,
            question,
            client: question.client.to_canonical(),
            receiver,
            lookups: 0,
            void: 0,
            validated: None,
        }
    }

    /// What the sender's domain says.
    pub async fn run(&mut self) -> Outcome {
        let domain = self.question.domain();
        // Section 4.3: neither literals nor names without a dot have policies.
        if !is_name(domain) || !domain.trim_end_matches('.').contains('.') {
            return Verdict::None.into();
        }
        match self.check(domain.to_owned()).await {
            Ok(outcome) => outcome,
            Err(ending) => ending.into(),
        }
    }

    /// What the domain has to say about a refusal.
    pub async fn explain(&mut self, outcome: &Outcome) -> Option<String> {
        let (name, domain) = outcome.explanation.as_ref()?;
        let name = self.expand(name, domain).await.ok()?;
        let texts = self.lookup.texts(&name).await.ok()?;
        let [text] = &texts[..] else {
            return None;
        };
        let text = std::str::from_utf8(text).ok()?;
        let text = MacroString::parse(text, Purpose::Explanation)?;
        let validated = self.validated_if(text.wants_validated(), domain).await;
        Some(text.expand(&self.values(domain, &validated)))
    }

    fn check(&mut self, domain: String) -> Nested<'_, Result<Outcome, Ending>> {
        Box::pin(async move {
            let Some(record) = self.record(&domain).await? else {
                return Ok(Verdict::None.into());
            };
            for (qualifier, mechanism) in &record.directives {
                if !self.matches(mechanism, &domain).await? {
                    continue;
                }
                return Ok(match qualifier {
                    Qualifier::Pass => Verdict::Pass.into(),
                    Qualifier::SoftFail => Verdict::SoftFail.into(),
                    Qualifier::Neutral => Verdict::Neutral.into(),
                    Qualifier::Fail => Outcome {
                        verdict: Verdict::Fail,
                        explanation: record.explanation.map(|name| (name, domain)),
                    },
                });
            }
            let Some(redirect) = record.redirect else {
                return Ok(Verdict::Neutral.into());
            };
            self.count()?;
            let target = self.expand(&redirect, &domain).await?;
            if !is_name(&target) {
                return Err(Ending::Permanent);
            }
            match self.check(target).await? {
                Outcome {
                    verdict: Verdict::None,
                    ..
                } => Err(Ending::Permanent),
                outcome => Ok(outcome),
            }
        })
    }

    async fn record(&self, domain: &str) -> Result<Option<Record>, Ending> {
        let texts = self.lookup.texts(domain).await?;
        let policies: Vec<&Vec<u8>> = texts.iter().filter(|text| is_policy(text)).collect();
        match policies[..] {
            [] => Ok(None),
            [policy] => match parse_record(policy) {
                Ok(record) => Ok(Some(record)),
                Err(_) => Err(Ending::Permanent),
            },
            // Section 4.5.
            _ => Err(Ending::Permanent),
        }
    }

    async fn matches(&mut self, mechanism: &Mechanism, domain: &str) -> Result<bool, Ending> {
        let client = self.client;
        match mechanism {
            Mechanism::All => return Ok(true),
            Mechanism::Ip4(network, length) => {
                return Ok(within(client, (*network).into(), *length));
            }
            Mechanism::Ip6(network, length) => {
                return Ok(within(client, (*network).into(), *length));
            }
            _ => self.count()?,
        }
        match mechanism {
            Mechanism::Include(name) => {
                let target = self.expand(name, domain).await?;
                match self.check(target).await?.verdict {
                    Verdict::Pass => Ok(true),
                    Verdict::Fail | Verdict::SoftFail | Verdict::Neutral => Ok(false),
                    Verdict::TempError => Err(Ending::Temporary),
                    Verdict::PermError | Verdict::None => Err(Ending::Permanent),
                }
            }
            Mechanism::Address(name, prefixes) => {
                let target = self.target(name.as_ref(), domain).await?;
                self.is_address_of(&target, *prefixes).await
            }
            Mechanism::Exchange(name, prefixes) => {
                let target = self.target(name.as_ref(), domain).await?;
                let hosts = self.lookup.exchanges(&target).await?;
                self.note_void(hosts.is_empty())?;
                if hosts.len() > MOST_NAMES {
                    return Err(Ending::Permanent);
                }
                for host in hosts {
                    if self.is_address_of(&host, *prefixes).await? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Mechanism::Pointer(name) => {
                let target = self.target(name.as_ref(), domain).await?;
                let names = self.validated_names().await;
                Ok(names.iter().any(|name| is_within(name, &target)))
            }
            Mechanism::Exists(name) => {
                let target = self.expand(name, domain).await?;
                // A records whatever the client's family is (section 5.7).
                let found = self.lookup.addresses(&target, Family::V4).await?;
                self.note_void(found.is_empty())?;
                Ok(!found.is_empty())
            }
            Mechanism::All | Mechanism::Ip4(..) | Mechanism::Ip6(..) => Ok(false),
        }
    }

    async fn is_address_of(&mut self, name: &str, prefixes: Prefixes) -> Result<bool, Ending> {
        let client = self.client;
        let found = self.lookup.addresses(name, Family::of(client)).await?;
        self.note_void(found.is_empty())?;
        let length = match client {
            IpAddr::V4(_) => prefixes.v4,
            IpAddr::V6(_) => prefixes.v6,
        };
        Ok(found.iter().any(|address| within(client, *address, length)))
    }

    /// Section 5.5: names whose own addresses hold the client's. Trouble here is no match.
    async fn validated_names(&mut self) -> Vec<String> {
        if let Some(names) = &self.validated {
            return names.clone();
        }
        let client = self.client;
        let mut validated = Vec::new();
        let names = self.lookup.names(client).await.unwrap_or_default();
        for name in names.into_iter().take(MOST_NAMES) {
            let found = self.lookup.addresses(&name, Family::of(client)).await;
            if found.is_ok_and(|found| found.contains(&client)) {
                validated.push(name);
            }
        }
        self.validated = Some(validated.clone());
        validated
    }

    /// The value of the macro `p` (section 7.3).
    async fn validated_if(&mut self, wanted: bool, domain: &str) -> String {
        const UNKNOWN: &str = "unknown";
        if !wanted {
            return UNKNOWN.to_owned();
        }
        let names = self.validated_names().await;
        let equal = names.iter().find(|name| name.eq_ignore_ascii_case(domain));
        let within = || names.iter().find(|name| is_within(name, domain));
        let chosen = equal.or_else(within).or(names.first());
        chosen.map_or(UNKNOWN, String::as_str).to_owned()
    }

    async fn target(&mut self, name: Option<&Domain>, domain: &str) -> Result<String, Ending> {
        match name {
            Some(name) => self.expand(name, domain).await,
            None => Ok(domain.to_owned()),
        }
    }

    async fn expand(&mut self, name: &Domain, domain: &str) -> Result<String, Ending> {
        let validated = self.validated_if(name.0.wants_validated(), domain).await;
        Ok(name.expand(&self.values(domain, &validated)))
    }

    fn values<'v>(&'v self, domain: &'v str, validated: &'v str) -> Values<'v> {
        Values {
            client: self.client,
            helo: &self.question.helo,
            local: self.question.local_part(),
            sender_domain: self.question.domain(),
            domain,
            validated,
            receiver: self.receiver,
            time: now(),
        }
    }

    fn count(&mut self) -> Result<(), Ending> {
        self.lookups += 1;
        if self.lookups > MOST_LOOKUPS {
            return Err(Ending::Permanent);
        }
        Ok(())
    }

    fn note_void(&mut self, empty: bool) -> Result<(), Ending> {
        self.void += u32::from(empty);
        if self.void > MOST_VOID {
            return Err(Ending::Permanent);
        }
        Ok(())
    }
}

fn is_within(name: &str, domain: &str) -> bool {
    let (name, domain) = (name.to_ascii_lowercase(), domain.to_ascii_lowercase());
    name.strip_suffix(domain.trim_end_matches('.'))
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn within(client: IpAddr, network: IpAddr, length: u8) -> bool {
    match (client, network) {
        (IpAddr::V4(client), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            client.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(client), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            client.to_bits() & mask == network.to_bits() & mask
        }
        _ => false,
    }
}
