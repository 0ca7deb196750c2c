//! What a domain asks for: its DMARC record.
//!
//! RFC 7489 (<https://www.rfc-editor.org/rfc/rfc7489>) section 6.3, and what RFC 9989 adds:
//! `np` for subdomains that do not exist and `t` for a policy that is tried out. A tag that
//! cannot be read is passed over, the record is not: its owner made a mistake elsewhere.

use super::organisation::Organisations;
use crate::appliance::filter::lookup::{Family, Lookup, NoAnswer};

/// What is to become of mail that fails, mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    None,
    Quarantine,
    Reject,
}

impl Wish {
    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "none" => Some(Self::None),
            "quarantine" => Some(Self::Quarantine),
            "reject" => Some(Self::Reject),
            _ => None,
        }
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }

    fn milder(self) -> Self {
        match self {
            Self::Reject => Self::Quarantine,
            Self::Quarantine | Self::None => Self::None,
        }
    }
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    domain: Wish,
    subdomains: Wish,
    missing: Wish,
    /// Whether a signer must be the very domain.
    pub strict_dkim: bool,
    /// The same for the sender.
    pub strict_spf: bool,
    percent: u8,
    tried_out: bool,
}

impl Record {
    /// Reads a TXT record; `None` for one that is no policy.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(text);
        let mut tags: Vec<(&str, &str)> = Vec::new();
        for (number, tag) in text.split(';').enumerate() {
            let read = tag
                .split_once('=')
                .map(|(name, value)| (name.trim(), value.trim()));
            // Only with its version in front it is a record of DMARC.
            if number == 0 && read != Some(("v", "DMARC1")) {
                return None;
            }
            tags.extend(read);
        }
        let get = |name: &str| {
            let mut tags = tags.iter();
            let found = tags.find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map(|(_, value)| *value)
        };
        // `None` for a missing tag, and within it for one that cannot be read.
        let wish = |name: &str| get(name).map(Wish::parse);
        let (domain, subdomains) = match (wish("p"), wish("sp")) {
            (Some(Some(domain)), None) => (domain, domain),
            (Some(Some(domain)), Some(Some(subdomains))) => (domain, subdomains),
            // Section 6.6.3: who wants reports wants to be told of the mistake.
            _ if get("rua").is_some_and(|address| address.contains(':')) => {
                (Wish::None, Wish::None)
            }
            _ => return None,
        };
        let strict = |name| get(name).is_some_and(|mode| mode.eq_ignore_ascii_case("s"));
        let percent = get("pct").and_then(|percent| percent.parse().ok());
        Some(Self {
            domain,
            subdomains,
            missing: wish("np").flatten().unwrap_or(subdomains),
            strict_dkim: strict("adkim"),
            strict_spf: strict("aspf"),
            percent: percent.filter(|percent| *percent <= 100).unwrap_or(100),
            tried_out: get("t").is_some_and(|tried| tried.eq_ignore_ascii_case("y")),
        })
    }
}

/// A policy that was found for a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The record it stands in.
    pub record: Record,
    /// What it asks for.
    pub wish: Wish,
}

impl Policy {
    /// What is done to a message that fails, given its lot, a number below 100.
    pub fn disposition(&self, lot: u8) -> Wish {
        let spared = self.record.tried_out || lot >= self.record.percent;
        if spared {
            self.wish.milder()
        } else {
            self.wish
        }
    }
}

/// Looks for a domain's policy: its own, or that of its organisation.
pub async fn find_policy(
    lookup: &impl Lookup,
    organisations: &Organisations,
    domain: &str,
) -> Result<Option<Policy>, NoAnswer> {
    if let Some(record) = record_at(lookup, domain).await? {
        let wish = record.domain;
        return Ok(Some(Policy { record, wish }));
    }
    let organisation = organisations.organisation(domain);
    if organisation == domain {
        return Ok(None);
    }
    let Some(record) = record_at(lookup, organisation).await? else {
        return Ok(None);
    };
    let wish = if record.missing == record.subdomains {
        record.subdomains
    } else {
        match exists(lookup, domain).await {
            Ok(true) => record.subdomains,
            Ok(false) => record.missing,
            Err(NoAnswer) => record.missing.max(record.subdomains),
        }
    };
    Ok(Some(Policy { record, wish }))
}

async fn record_at(lookup: &impl Lookup, domain: &str) -> Result<Option<Record>, NoAnswer> {
    let texts = lookup.texts(&format!("_dmarc.{domain}")).await?;
    let mut records = texts.iter().filter_map(|text| Record::parse(text));
    match (records.next(), records.next()) {
        (Some(record), None) => Ok(Some(record)),
        // Several are none, section 6.6.3.
        _ => Ok(None),
    }
}

/// Whether a domain could take mail: section 3.2.5 of RFC 9989.
async fn exists(lookup: &impl Lookup, domain: &str) -> Result<bool, NoAnswer> {
    Ok(!lookup.addresses(domain, Family::V4).await?.is_empty()
        || !lookup.addresses(domain, Family::V6).await?.is_empty()
        || !lookup.exchanges(domain).await?.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{Policy, Record, Wish};

    #[test]
    fn records() {
        use Wish::{None as Nothing, Quarantine, Reject};
        for (text, expected) in [
            ("v=DMARC1; p=reject", Some([Reject, Reject, Reject])),
            (
                "v=DMARC1;p=REJECT;sp=none;",
                Some([Reject, Nothing, Nothing]),
            ),
            (
                "v=DMARC1; p=none; sp=quarantine; np=reject",
                Some([Nothing, Quarantine, Reject]),
            ),
            (
                " v = DMARC1 ; p = reject ; nonsense; x=y",
                Some([Reject; 3]),
            ),
            ("v=DMARC1; p=reject; np=what", Some([Reject; 3])),
            (
                "v=DMARC1; p=what; rua=mailto:a@b.example",
                Some([Nothing; 3]),
            ),
            ("v=DMARC1; rua=mailto:a@b.example", Some([Nothing; 3])),
            ("v=DMARC1; p=reject; sp=what", None),
            ("v=DMARC1; p=what", None),
            ("v=DMARC1", None),
            ("v=DMARC12; p=reject", None),
            ("v=dmarc1; p=reject", None),
            ("p=reject; v=DMARC1", None),
            ("v=spf1 -all", None),
            ("", None),
        ] {
            let record = Record::parse(text.as_bytes());
            let found = record.map(|record| [record.domain, record.subdomains, record.missing]);
            assert_eq!(found, expected, "{text}");
        }
        let record = Record::parse(b"v=DMARC1; p=none; adkim=s; aspf=r").unwrap();
        assert!(record.strict_dkim && !record.strict_spf);
    }

    #[test]
    fn shares() {
        use Wish::{None as Nothing, Quarantine, Reject};
        for (text, lot, expected) in [
            ("p=reject", 99, Reject),
            ("p=reject; pct=0", 0, Quarantine),
            ("p=reject; pct=30", 29, Reject),
            ("p=reject; pct=30", 30, Quarantine),
            ("p=quarantine; pct=30", 30, Nothing),
            ("p=quarantine; pct=300", 99, Quarantine),
            ("p=quarantine; pct=x", 99, Quarantine),
            ("p=reject; t=y", 0, Quarantine),
            ("p=quarantine; t=y", 0, Nothing),
            ("p=none; t=y; pct=0", 0, Nothing),
        ] {
            let record = Record::parse(format!("v=DMARC1; {text}").as_bytes()).unwrap();
            let wish = record.domain;
            assert_eq!(Policy { record, wish }.disposition(lot), expected, "{text}");
        }
    }
}
