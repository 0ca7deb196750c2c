//! Macros in a policy, RFC 7208 section 7.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::net::IpAddr;

/// Longest name that is asked for; labels on the left are cut off beyond it (section 7.3).
const LONGEST_NAME: usize = 253;
/// What may separate the parts of a value.
const DELIMITERS: &str = ".-+,/_=";

/// What an upper-case letter escapes: all that is not unreserved (RFC 3986, section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Where a text with macros is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A name to ask for.
    Name,
    /// A text for a person, which may hold three macros more.
    Explanation,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Macro {
        letter: char,
        escaped: bool,
        /// How many parts from the right are kept.
        kept: Option<usize>,
        reversed: bool,
        delimiters: String,
    },
}

/// A text with macros, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacroString(Vec<Part>);

/// What the macros stand for.
pub struct Values<'a> {
    /// The client.
    pub client: IpAddr,
    /// What it called itself.
    pub helo: &'a str,
    /// The local part of the sender.
    pub local: &'a str,
    /// The domain of the sender.
    pub sender_domain: &'a str,
    /// The domain whose policy is evaluated.
    pub domain: &'a str,
    /// The client's name as far as it could be validated.
    pub validated: &'a str,
    /// This host.
    pub receiver: &'a str,
    /// Now, in seconds since 1970.
    pub time: i64,
}

impl MacroString {
    /// Reads a text, `None` when it does not follow the grammar.
    pub fn parse(text: &str, purpose: Purpose) -> Option<Self> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text.chars();
        while let Some(next) = rest.next() {
            if next != '%' {
                // A space separates terms, and may stand in what is read by people only.
                let visible = ('!'..='~').contains(&next);
                let space = next == ' ' && purpose == Purpose::Explanation;
                if !visible && !space {
                    return None;
                }
                literal.push(next);
                continue;
            }
            match rest.next()? {
                '%' => literal.push('%'),
                '_' => literal.push(' '),
                '-' => literal.push_str("%20"),
                '{' => {
                    let (inner, after) = rest.as_str().split_once('}')?;
                    if !literal.is_empty() {
                        parts.push(Part::Literal(std::mem::take(&mut literal)));
                    }
                    parts.push(parse_macro(inner, purpose)?);
                    rest = after.chars();
                }
                _ => return None,
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Some(Self(parts))
    }

    /// Whether the client's validated name stands in it, which costs questions.
    pub fn wants_validated(&self) -> bool {
        self.0
            .iter()
            .any(|part| matches!(part, Part::Macro { letter: 'p', .. }))
    }

    /// The text with values in it.
    pub fn expand(&self, values: &Values<'_>) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Macro {
                    letter,
                    escaped,
                    kept,
                    reversed,
                    delimiters,
                } => {
                    let value = value_of(*letter, values);
                    let mut pieces: Vec<&str> =
                        value.split(|each| delimiters.contains(each)).collect();
                    if *reversed {
                        pieces.reverse();
                    }
                    let first = kept.map_or(0, |kept| pieces.len().saturating_sub(kept));
                    let value = pieces[first..].join(".");
                    if *escaped {
                        text.extend(utf8_percent_encode(&value, ESCAPED));
                    } else {
                        text.push_str(&value);
                    }
                }
            }
        }
        text
    }
}

fn parse_macro(inner: &str, purpose: Purpose) -> Option<Part> {
    let mut characters = inner.chars();
    let first = characters.next()?;
    let letter = first.to_ascii_lowercase();
    let known = match purpose {
        Purpose::Name => "slodiphv",
        Purpose::Explanation => "slodiphvcrt",
    };
    if !known.contains(letter) {
        return None;
    }
    let rest = characters.as_str();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = rest.split_at(digits);
    let kept = if number.is_empty() {
        None
    } else {
        // More than any value has is as good as all; zero is forbidden.
        let number: usize = number.parse().unwrap_or(usize::MAX);
        Some(Some(number).filter(|number| *number > 0)?)
    };
    let (reversed, rest) = match rest.strip_prefix(['r', 'R']) {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if !rest.chars().all(|each| DELIMITERS.contains(each)) {
        return None;
    }
    Some(Part::Macro {
        letter,
        escaped: first.is_ascii_uppercase(),
        kept,
        reversed,
        delimiters: if rest.is_empty() { "." } else { rest }.to_owned(),
    })
}

fn value_of(letter: char, values: &Values<'_>) -> String {
    match letter {
        's' => format!("{}@{}", values.local, values.sender_domain),
        'l' => values.local.to_owned(),
        'o' => values.sender_domain.to_owned(),
        'd' => values.domain.to_owned(),
        'i' => dotted(values.client),
        'p' => values.validated.to_owned(),
        'h' => values.helo.to_owned(),
        'c' => values.client.to_string(),
        'r' => values.receiver.to_owned(),
        't' => values.time.to_string(),
        _ if values.client.is_ipv4() => "in-addr".to_owned(),
        _ => "ip6".to_owned(),
    }
}

/// The address with dots between the parts that DNS names of addresses are made of.
fn dotted(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let digits = address
                .octets()
                .map(|octet| format!("{octet:02x}"))
                .concat();
            let digits: Vec<String> = digits.chars().map(String::from).collect();
            digits.join(".")
        }
    }
}

/// Whether the grammar of macros is kept, in a text that nobody needs.
pub fn is_macro_string(text: &str, purpose: Purpose) -> bool {
    MacroString::parse(text, purpose).is_some()
}

/// A name with macros: `domain-spec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain(pub MacroString);

impl Domain {
    /// Reads one, which ends in a macro or in a label that no address has.
    pub fn parse(text: &str) -> Option<Self> {
        let read = MacroString::parse(text, Purpose::Name)?;
        match read.0.last()? {
            Part::Macro { .. } => Some(Self(read)),
            Part::Literal(literal) => {
                let name = literal.strip_suffix('.').unwrap_or(literal);
                let (_, top) = name.rsplit_once('.')?;
                is_top_label(top).then_some(Self(read))
            }
        }
    }

    /// The name to ask for.
    pub fn expand(&self, values: &Values<'_>) -> String {
        let name = self.0.expand(values);
        let mut name = name.strip_suffix('.').unwrap_or(&name);
        while name.len() > LONGEST_NAME {
            match name.split_once('.') {
                Some((_, rest)) => name = rest,
                None => break,
            }
        }
        name.to_owned()
    }
}

fn is_top_label(label: &str) -> bool {
    !label.is_empty()
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
        && !label.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::{Domain, MacroString, Purpose, Values};

    fn values(client: &str) -> Values<'_> {
        Values {
            client: client.parse().unwrap(),
            helo: "h.example",
            local: "strong-bad",
            sender_domain: "email.example.com",
            domain: "email.example.com",
            validated: "unknown",
            receiver: "mx.example",
            time: 7,
        }
    }

    /// The examples of RFC 7208 section 7.4.
    #[test]
    fn examples() {
        for (text, expected) in [
            ("%{s}", "strong-bad@email.example.com"),
            ("%{o}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d3}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l-}", "strong.bad"),
            ("%{lr-}", "bad.strong"),
            ("%{l1r-}", "strong"),
            (
                "%{ir}.%{v}._spf.%{d2}",
                "3.2.0.192.in-addr._spf.example.com",
            ),
            ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
            ("%{d99999999999999999999}", "email.example.com"),
            ("%{S}%%%_%-", "strong-bad%40email.example.com% %20"),
        ] {
            let read = MacroString::parse(text, Purpose::Name).unwrap();
            assert_eq!(read.expand(&values("192.0.2.3")), expected, "{text}");
        }
        let read = MacroString::parse("%{ir}.%{v}._spf.%{d2}", Purpose::Name).unwrap();
        assert_eq!(
            read.expand(&values("2001:db8::cb01")),
            "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"
        );
    }

    #[test]
    fn names_are_cut_on_the_left() {
        let long = format!("{}%{{d}}", "abcdefghi.".repeat(30));
        let name = Domain::parse(&long).unwrap().expand(&values("192.0.2.3"));
        assert!(
            name.len() <= 253 && name.starts_with("abcdefghi."),
            "{name}"
        );
        assert!(name.ends_with(".email.example.com"), "{name}");
    }

    #[test]
    fn wrong_texts() {
        for text in [
            "%", "%a", "%{", "%{}", "%{x}", "%{d0}", "%{d2x}", "%{dr2}", "%{c}", "a b",
        ] {
            assert_eq!(MacroString::parse(text, Purpose::Name), None, "{text}");
        }
        for text in [
            "", "example", "a.", "a.12", "a.-b", "a.b-", "a.b_c", "a..", "%%",
        ] {
            assert_eq!(Domain::parse(text), None, "{text}");
        }
        assert!(Domain::parse("a.example.").is_some());
        assert!(Domain::parse("a.xn--zckzah").is_some());
    }
}
