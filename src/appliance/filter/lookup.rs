//! What the judges of a message ask the DNS, and how an answer differs from no answer.
//!
//! A name without records is an answer. A server that fails is none: nothing may
//! follow from it but to try again (RFC 7208 section 2.6.6, RFC 9989 section 5).

use crate::appliance::wire::authenticator::authenticator;
use anyhow::Result;
use mail_auth::MessageAuthenticator;
use mail_auth::hickory_resolver::net::{DnsError, NetError};
use mail_auth::hickory_resolver::proto::rr::{Name, RData, RecordType};
use std::net::{IpAddr, SocketAddr};

/// Longest name, RFC 1035 section 2.3.4, as text without the last dot.
const LONGEST_NAME: usize = 253;
/// Longest label, the same.
const LONGEST_LABEL: usize = 63;

/// Longest name in another script that is encoded: four bytes are one character at most, and an
/// encoded one is longer.
const LONGEST_UNICODE: usize = 4 * LONGEST_NAME;

/// There was no answer, or none that says anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoAnswer;

/// Addresses of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

impl Family {
    /// That of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }
}

/// Somebody who answers. Nothing found is an empty list.
#[allow(async_fn_in_trait, reason = "everything here runs on one thread")]
pub trait Lookup {
    /// TXT records, the strings of each put together.
    async fn texts(&self, name: &str) -> Result<Vec<Vec<u8>>, NoAnswer>;
    /// Addresses.
    async fn addresses(&self, name: &str, family: Family) -> Result<Vec<IpAddr>, NoAnswer>;
    /// Names of the hosts that take mail.
    async fn exchanges(&self, name: &str) -> Result<Vec<String>, NoAnswer>;
    /// Names that an address has by its own account.
    async fn names(&self, address: IpAddr) -> Result<Vec<String>, NoAnswer>;
}

/// Whether the DNS could hold this name.
pub fn is_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    (1..=LONGEST_NAME).contains(&name.len())
        && name
            .split('.')
            .all(|label| (1..=LONGEST_LABEL).contains(&label.len()))
}

/// Whether this is a host's or a mail domain's name as it is safe to write into a header: letters,
/// digits, dots, hyphens, and the underscores of a few.
pub fn is_domain(name: &str) -> bool {
    is_name(name)
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

/// The name as the DNS has it: in lower case, labels in other scripts encoded (RFC 8616). `None`
/// for one that is no domain's.
pub fn ascii_domain(name: &str) -> Option<String> {
    let name = if name.len() > LONGEST_UNICODE {
        return None;
    } else if name.is_ascii() {
        name.to_ascii_lowercase()
    } else {
        idna::domain_to_ascii(name).ok()?
    };
    Some(name).filter(|name| is_domain(name))
}

/// A validating name server.
pub struct Resolver(MessageAuthenticator);

impl Resolver {
    /// Asks this server.
    pub fn new(server: SocketAddr) -> Result<Self> {
        authenticator(server).map(Self)
    }

    async fn ask<T>(
        &self,
        name: Name,
        kind: RecordType,
        take: impl FnMut(&RData) -> Option<T>,
    ) -> Result<Vec<T>, NoAnswer> {
        match self.0.resolver().lookup(name, kind).await {
            Ok(found) => {
                let records = found.answers().iter().map(|record| &record.data);
                Ok(records.filter_map(take).collect())
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(_))) => Ok(Vec::new()),
            Err(_) => Err(NoAnswer),
        }
    }
}

/// The name as it is asked for; `None` for one that cannot be there.
fn wire_name(name: &str) -> Option<Name> {
    if !is_name(name) {
        return None;
    }
    let labels = name.strip_suffix('.').unwrap_or(name).split('.');
    Name::from_labels(labels.map(str::as_bytes)).ok()
}

impl Lookup for Resolver {
    async fn texts(&self, name: &str) -> Result<Vec<Vec<u8>>, NoAnswer> {
        let Some(name) = wire_name(name) else {
            return Ok(Vec::new());
        };
        self.ask(name, RecordType::TXT, |data| match data {
            RData::TXT(text) => Some(text.txt_data.concat()),
            _ => None,
        })
        .await
    }

    async fn addresses(&self, name: &str, family: Family) -> Result<Vec<IpAddr>, NoAnswer> {
        let Some(name) = wire_name(name) else {
            return Ok(Vec::new());
        };
        let kind = match family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        };
        self.ask(name, kind, |data| match data {
            RData::A(address) => Some(address.0.into()),
            RData::AAAA(address) => Some(address.0.into()),
            _ => None,
        })
        .await
    }

    async fn exchanges(&self, name: &str) -> Result<Vec<String>, NoAnswer> {
        let Some(name) = wire_name(name) else {
            return Ok(Vec::new());
        };
        self.ask(name, RecordType::MX, |data| match data {
            RData::MX(record) => Some(text_of(&record.exchange)),
            _ => None,
        })
        .await
    }

    async fn names(&self, address: IpAddr) -> Result<Vec<String>, NoAnswer> {
        self.ask(Name::from(address), RecordType::PTR, |data| match data {
            RData::PTR(name) => Some(text_of(name)),
            _ => None,
        })
        .await
    }
}

fn text_of(name: &Name) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Lookup, NoAnswer, Resolver, ascii_domain, is_domain, is_name};
    use crate::appliance::filter::name_server;

    #[test]
    fn names() {
        for (name, expected) in [
            ("a.example", true),
            ("a.example.", true),
            ("_dmarc.a.example", true),
            ("", false),
            (".", false),
            ("a..example", false),
            (".a.example", false),
        ] {
            assert_eq!(is_name(name), expected, "{name}");
        }
        assert!(is_name(&format!("{}.example", "a".repeat(63))));
        assert!(!is_name(&format!("{}.example", "a".repeat(64))));
        assert!(is_name(&"a.".repeat(127)));
        assert!(!is_name(&"a.".repeat(128)));
        assert!(!is_domain("a.example; spf=pass"));
        assert!(!is_domain("a b.example"));
        for (name, expected) in [
            ("A.example.", Some("a.example.")),
            ("B\u{fc}cher.example", Some("xn--bcher-kva.example")),
            ("\u{fc}a b.example", None),
            ("\u{ad}", None),
            ("", None),
        ] {
            assert_eq!(ascii_domain(name).as_deref(), expected, "{name}");
        }
        assert_eq!(ascii_domain(&"\u{e4}".repeat(100_000)), None);
    }

    #[tokio::test]
    async fn answers_of_a_name_server() {
        let server = name_server::start(&[("a.example", "some text")]).await;
        let resolver = Resolver::new(server).unwrap();
        let texts = async |name| resolver.texts(name).await;
        assert_eq!(texts("A.example").await, Ok(vec![b"some text".to_vec()]));
        for nothing in ["gone.example", "", "a..example"] {
            assert_eq!(texts(nothing).await, Ok(Vec::new()), "{nothing}");
        }
        assert_eq!(texts("fails.example").await, Err(NoAnswer));
        assert_eq!(resolver.exchanges("a.example").await, Ok(Vec::new()));
        assert_eq!(resolver.exchanges("fails.example").await, Err(NoAnswer));
    }
}
