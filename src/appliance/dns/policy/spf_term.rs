//! One term of an SPF record (RFC 7208 section 5, <https://www.rfc-editor.org/rfc/rfc7208#section-5>).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a term says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Term {
    /// A sign for the result (`+`, `-`, `~`, `?`) and what has to match.
    Directive(char, Mechanism),
    /// Another record that counts instead.
    Redirect(String),
    /// Where the explanation of a refusal stands.
    Explanation(String),
    /// A modifier that nobody knows.
    Modifier(String),
}

/// What an address is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mechanism {
    /// Everything.
    All,
    /// Whatever another record lets pass.
    Include(String),
    /// Addresses of a name, or of the domain itself, by the lengths of their networks.
    Address(Option<String>, u8, u8),
    /// The same of mail servers.
    Servers(Option<String>, u8, u8),
    /// The name of the address.
    Name(Option<String>),
    /// One network.
    Network(IpAddr, u8),
    /// Whether a name is there.
    Exists(String),
}

/// Whether a name is only known for a message at hand (section 7).
pub fn has_macro(name: &str) -> bool {
    name.contains('%')
}

/// The terms of a record, without its version.
pub fn terms(record: &str) -> impl Iterator<Item = &str> {
    record
        .split_whitespace()
        .filter(|term| !term.eq_ignore_ascii_case("v=spf1"))
}

/// Reads a term; `None` when it makes the whole record invalid.
pub fn parse_term(term: &str) -> Option<Term> {
    let (sign, rest) = match term.chars().next()? {
        sign @ ('+' | '-' | '~' | '?') => (sign, &term[1..]),
        _ => ('+', term),
    };
    let end = rest.find([':', '/', '=']).unwrap_or(rest.len());
    let (name, value) = rest.split_at(end);
    if let Some(value) = value.strip_prefix('=') {
        return (rest == term).then(|| modifier(name, value)).flatten();
    }
    let mechanism = match name.to_ascii_lowercase().as_str() {
        "all" => value.is_empty().then_some(Mechanism::All),
        "include" => domain(value.strip_prefix(':')?).map(Mechanism::Include),
        "exists" => domain(value.strip_prefix(':')?).map(Mechanism::Exists),
        "a" => with_lengths(value).map(|(name, four, six)| Mechanism::Address(name, four, six)),
        "mx" => with_lengths(value).map(|(name, four, six)| Mechanism::Servers(name, four, six)),
        "ptr" if value.is_empty() => Some(Mechanism::Name(None)),
        "ptr" => domain(value.strip_prefix(':')?).map(|name| Mechanism::Name(Some(name))),
        "ip4" => network::<Ipv4Addr>(value.strip_prefix(':')?, 32),
        "ip6" => network::<Ipv6Addr>(value.strip_prefix(':')?, 128),
        _ => None,
    };
    mechanism.map(|mechanism| Term::Directive(sign, mechanism))
}

fn modifier(name: &str, value: &str) -> Option<Term> {
    let letters =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    match name.to_ascii_lowercase().as_str() {
        "redirect" => domain(value).map(Term::Redirect),
        "exp" => domain(value).map(Term::Explanation),
        _ if name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.chars().all(letters) =>
        {
            Some(Term::Modifier(name.to_owned()))
        }
        _ => None,
    }
}

/// A name, in lower case and without the last dot.
fn domain(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let written = name.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    (!name.is_empty() && written && !name.contains(['"', '\\', ',', ';']))
        .then(|| name.to_ascii_lowercase())
}

/// `[:name][/four][//six]`.
fn with_lengths(value: &str) -> Option<(Option<String>, u8, u8)> {
    let slash = match value.rfind('}') {
        // Macros have slashes of their own (section 7.1).
        Some(end) => value[end..].find('/').map(|at| end + at),
        None => value.find('/'),
    };
    let (name, lengths) = value.split_at(slash.unwrap_or(value.len()));
    let name = match name.strip_prefix(':') {
        Some(name) => Some(domain(name)?),
        None if name.is_empty() => None,
        None => return None,
    };
    let (four, six) = match lengths.split_once("//") {
        Some((four, six)) => (four, Some(six)),
        None => (lengths, None),
    };
    let four = match four.strip_prefix('/') {
        Some(four) => length(four, 32)?,
        None => 32,
    };
    let six = match six {
        Some(six) => length(six, 128)?,
        None => 128,
    };
    Some((name, four, six))
}

fn length(text: &str, most: u8) -> Option<u8> {
    text.parse().ok().filter(|length| *length <= most)
}

fn network<A: std::str::FromStr + Into<IpAddr>>(value: &str, most: u8) -> Option<Mechanism> {
    let (address, bits) = match value.split_once('/') {
        Some((address, bits)) => (address, length(bits, most)?),
        None => (value, most),
    };
    let address: A = address.parse().ok()?;
    Some(Mechanism::Network(address.into(), bits))
}

/// Whether an address lies in a network.
pub fn is_within(address: IpAddr, network: IpAddr, four: u8, six: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let shift = 32 - u32::from(four.min(32));
            let cut = |address: Ipv4Addr| u32::from(address).checked_shr(shift).unwrap_or(0);
            cut(address) == cut(network)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let shift = 128 - u32::from(six.min(128));
            let cut = |address: Ipv6Addr| u128::from(address).checked_shr(shift).unwrap_or(0);
            cut(address) == cut(network)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Mechanism, Term, is_within, parse_term};

    #[test]
    fn terms_by_the_grammar() {
        let directive = |sign, mechanism| Some(Term::Directive(sign, mechanism));
        assert_eq!(parse_term("-ALL"), directive('-', Mechanism::All));
        assert_eq!(
            parse_term("?include:A.example."),
            directive('?', Mechanism::Include("a.example".into()))
        );
        assert_eq!(
            parse_term("a:b.example/24//64"),
            directive('+', Mechanism::Address(Some("b.example".into()), 24, 64))
        );
        assert_eq!(
            parse_term("mx//64"),
            directive('+', Mechanism::Servers(None, 32, 64))
        );
        assert_eq!(
            parse_term("a:%{d1r/}.b.example/24"),
            directive(
                '+',
                Mechanism::Address(Some("%{d1r/}.b.example".into()), 24, 128)
            )
        );
        assert_eq!(
            parse_term("ip6:2001:db8::/32"),
            directive('+', Mechanism::Network("2001:db8::".parse().unwrap(), 32))
        );
        assert_eq!(
            parse_term("Redirect=b.example"),
            Some(Term::Redirect("b.example".into()))
        );
        assert_eq!(parse_term("ra=abuse"), Some(Term::Modifier("ra".into())));
        for bad in [
            "",
            "-",
            "al",
            "all:x",
            "include",
            "include:",
            "inlcude:b.example",
            "ip4:192.0.2.300",
            "ip4:192.0.2.1/33",
            "ip4:2001:db8::1",
            "ip4:mail.example",
            "a:",
            "a/33",
            "mx//129",
            "redirect=",
            "-redirect=b.example",
            "mail.example",
            "-all\"",
            "include:b.example,",
            "include:\"b.example\"",
            "1a=b",
            "192.0.2.1",
        ] {
            assert_eq!(parse_term(bad), None, "{bad}");
        }
    }

    #[test]
    fn networks() {
        let within = |one: &str, other: &str, four, six| {
            is_within(one.parse().unwrap(), other.parse().unwrap(), four, six)
        };
        assert!(within("192.0.2.1", "192.0.2.255", 24, 128));
        assert!(!within("192.0.2.1", "192.0.2.2", 32, 0));
        assert!(within("192.0.2.1", "198.51.100.1", 0, 128));
        assert!(within("2001:db8::1", "2001:db8::2", 32, 64));
        assert!(within("2001:db8::1", "::", 32, 0));
        assert!(!within("2001:db8::1", "192.0.2.1", 0, 0));
    }
}
