//! The text of a policy and what it says, RFC 7208 section 12.
//!
//! A record is read as a whole before anything of it counts: one term that is
//! wrong makes all of it wrong (section 4.6).

use super::macros::{Domain, Purpose, is_macro_string};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Longest record in bytes. They should fit into 512 (section 3.4), and those that do not have up
/// to some thousand. Read, each byte takes ten while the records that it includes are asked for.
const LONGEST_RECORD: usize = 8 << 10;
/// Longest pair of prefix lengths, `/32//128`.
const LONGEST_PREFIXES: usize = 8;

/// What a directive that matches means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qualifier {
    Pass,
    Fail,
    SoftFail,
    Neutral,
}

/// How much of an address must be equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefixes {
    pub v4: u8,
    pub v6: u8,
}

/// What a client is held against. A missing domain is the one whose record this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mechanism {
    All,
    Include(Domain),
    Address(Option<Domain>, Prefixes),
    Exchange(Option<Domain>, Prefixes),
    Pointer(Option<Domain>),
    Ip4(Ipv4Addr, u8),
    Ip6(Ipv6Addr, u8),
    Exists(Domain),
}

/// A policy.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub directives: Vec<(Qualifier, Mechanism)>,
    pub redirect: Option<Domain>,
    pub explanation: Option<Domain>,
}

/// The record does not follow the grammar.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// Whether a TXT record is a policy of this kind (section 4.5).
pub fn is_policy(text: &[u8]) -> bool {
    let Some((version, rest)) = text.split_at_checked(6) else {
        return false;
    };
    version.eq_ignore_ascii_case(b"v=spf1") && rest.first().is_none_or(|byte| *byte == b' ')
}

/// Reads a text for which [`is_policy`] holds.
pub fn parse_record(text: &[u8]) -> Result<Record, Malformed> {
    if text.len() > LONGEST_RECORD {
        return Err(Malformed);
    }
    let text = std::str::from_utf8(text).map_err(|_| Malformed)?;
    if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(Malformed);
    }
    let mut record = Record::default();
    for term in text.split(' ').skip(1).filter(|term| !term.is_empty()) {
        let end = term
            .find(|byte: char| !(byte.is_ascii_alphanumeric() || "-_.".contains(byte)))
            .unwrap_or(term.len());
        let (name, rest) = term.split_at(end);
        if let Some(value) = rest.strip_prefix('=') {
            modifier(&mut record, name, value)?;
        } else {
            record.directives.push(directive(term)?);
        }
    }
    Ok(record)
}

fn modifier(record: &mut Record, name: &str, value: &str) -> Result<(), Malformed> {
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return Err(Malformed);
    }
    let known = match name.to_ascii_lowercase().as_str() {
        "redirect" => &mut record.redirect,
        "exp" => &mut record.explanation,
        _ => {
            let sound = is_macro_string(value, Purpose::Name);
            return sound.then_some(()).ok_or(Malformed);
        }
    };
    let domain = Domain::parse(value).ok_or(Malformed)?;
    match known.replace(domain) {
        Some(_) => Err(Malformed),
        None => Ok(()),
    }
}

fn directive(term: &str) -> Result<(Qualifier, Mechanism), Malformed> {
    let qualifier = match term.as_bytes().first() {
        Some(b'-') => Qualifier::Fail,
        Some(b'~') => Qualifier::SoftFail,
        Some(b'?') => Qualifier::Neutral,
        _ => Qualifier::Pass,
    };
    let term = term.strip_prefix(['+', '-', '~', '?']).unwrap_or(term);
    let end = term.find([':', '/']).unwrap_or(term.len());
    let (name, rest) = term.split_at(end);
    let argument = rest.strip_prefix(':');
    let whole = || Domain::parse(argument?);
    let mechanism = match name.to_ascii_lowercase().as_str() {
        "all" if rest.is_empty() => Mechanism::All,
        "include" => Mechanism::Include(whole().ok_or(Malformed)?),
        "exists" => Mechanism::Exists(whole().ok_or(Malformed)?),
        "ptr" if rest.is_empty() => Mechanism::Pointer(None),
        "ptr" => Mechanism::Pointer(Some(whole().ok_or(Malformed)?)),
        "a" => {
            let (domain, prefixes) = domain_and_prefixes(rest)?;
            Mechanism::Address(domain, prefixes)
        }
        "mx" => {
            let (domain, prefixes) = domain_and_prefixes(rest)?;
            Mechanism::Exchange(domain, prefixes)
        }
        "ip4" => {
            let (network, length) = network(argument.ok_or(Malformed)?, 32)?;
            Mechanism::Ip4(network.parse().map_err(|_| Malformed)?, length)
        }
        "ip6" => {
            let (network, length) = network(argument.ok_or(Malformed)?, 128)?;
            Mechanism::Ip6(network.parse().map_err(|_| Malformed)?, length)
        }
        _ => return Err(Malformed),
    };
    Ok((qualifier, mechanism))
}

fn network(text: &str, most: u8) -> Result<(&str, u8), Malformed> {
    match text.split_once('/') {
        Some((network, length)) => Ok((network, prefix_length(length, most).ok_or(Malformed)?)),
        None => Ok((text, most)),
    }
}

fn prefix_length(text: &str, most: u8) -> Option<u8> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = text.len() > 1 && text.starts_with('0');
    let length = text.parse().ok().filter(|length| *length <= most)?;
    (plain && !leading_zero).then_some(length)
}

/// `[":" domain-spec] [dual-cidr-length]`. A domain may hold slashes, too, so that the
/// lengths are looked for from the first slash on that stands in no macro.
fn domain_and_prefixes(rest: &str) -> Result<(Option<Domain>, Prefixes), Malformed> {
    let Some(argument) = rest.strip_prefix(':') else {
        return Ok((None, prefixes(rest).ok_or(Malformed)?));
    };
    let mut in_macro = false;
    for (position, byte) in argument.bytes().enumerate() {
        match byte {
            b'{' => in_macro = true,
            b'}' => in_macro = false,
            b'/' if !in_macro && argument.len() - position <= LONGEST_PREFIXES => {
                let (domain, lengths) = argument.split_at(position);
                if let Some(prefixes) = prefixes(lengths) {
                    return Ok((Some(Domain::parse(domain).ok_or(Malformed)?), prefixes));
                }
            }
            _ => {}
        }
    }
    let prefixes = Prefixes { v4: 32, v6: 128 };
    Ok((Some(Domain::parse(argument).ok_or(Malformed)?), prefixes))
}

fn prefixes(text: &str) -> Option<Prefixes> {
    let (v4, v6) = match text.split_once("//") {
        Some((v4, v6)) => (v4, Some(v6)),
        None => (text, None),
    };
    let v4 = match v4.strip_prefix('/') {
        Some(length) => prefix_length(length, 32)?,
        None if v4.is_empty() => 32,
        None => return None,
    };
    let v6 = match v6 {
        Some(length) => prefix_length(length, 128)?,
        None => 128,
    };
    Some(Prefixes { v4, v6 })
}

#[cfg(test)]
mod tests {
    use super::{Malformed, Mechanism, Prefixes, Qualifier, is_policy, parse_record};

    #[test]
    fn versions() {
        for (text, expected) in [
            ("v=spf1", true),
            ("V=SPF1 -all", true),
            ("v=spf10 -all", false),
            ("v=spf1\t-all", false),
            ("v=spf", false),
            (" v=spf1", false),
        ] {
            assert_eq!(is_policy(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn directives() {
        let record = parse_record(b"v=spf1  ip4:192.0.2.0/24 ?ip6:2001:db8::/32 ~A/24//64 -all ");
        let expected = [
            (
                Qualifier::Pass,
                Mechanism::Ip4("192.0.2.0".parse().unwrap(), 24),
            ),
            (
                Qualifier::Neutral,
                Mechanism::Ip6("2001:db8::".parse().unwrap(), 32),
            ),
            (
                Qualifier::SoftFail,
                Mechanism::Address(None, Prefixes { v4: 24, v6: 64 }),
            ),
            (Qualifier::Fail, Mechanism::All),
        ];
        assert_eq!(record.unwrap().directives, expected);
    }

    /// What fits into the DNS and into nobody's policy.
    #[test]
    fn long_records() {
        let record = |terms: String| parse_record(format!("v=spf1 {terms}").as_bytes());
        assert_eq!(record("a ".repeat(3000)).unwrap().directives.len(), 3000);
        assert_eq!(record("a ".repeat(5000)), Err(Malformed));
        // Each slash may begin the lengths.
        assert_eq!(record(format!("a:{}", "/1".repeat(4000))), Err(Malformed));
        let lengths = record("a:a.example/32//128".to_owned()).unwrap();
        let [(_, Mechanism::Address(Some(_), prefixes))] = &lengths.directives[..] else {
            panic!("{lengths:?}");
        };
        assert_eq!(*prefixes, Prefixes { v4: 32, v6: 128 });
    }

    #[test]
    fn wrong_records() {
        for text in [
            "v=spf1 bogus",
            "v=spf1 all:a.example",
            "v=spf1 all/8",
            "v=spf1 include",
            "v=spf1 include:",
            "v=spf1 ip4:192.0.2",
            "v=spf1 ip4:192.0.2.1/33",
            "v=spf1 ip4:192.0.2.1/032",
            "v=spf1 ip4:192.0.2.1/+8",
            "v=spf1 ip4:192.0.2.1/",
            "v=spf1 ip6:2001:db8::/129",
            "v=spf1 a/33",
            "v=spf1 a//129",
            "v=spf1 a:example.1",
            "v=spf1 a:",
            "v=spf1 mx:a.example/",
            "v=spf1 exists:%{x}.example",
            "v=spf1 exists:%(i).example",
            "v=spf1 redirect=a.example redirect=b.example",
            "v=spf1 redirect=",
            "v=spf1 exp=",
            "v=spf1 other=%{",
            "v=spf1 =x",
            "v=spf1\t-all",
            "v=spf1 -all\n",
            "v=spf1 -all \u{e4}",
        ] {
            assert_eq!(parse_record(text.as_bytes()), Err(Malformed), "{text}");
        }
    }
}
