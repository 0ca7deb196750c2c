//! `Authentication-Results` that others wrote: in whose name, and what they say.
//!
//! RFC 8601 (<https://www.rfc-editor.org/rfc/rfc8601>) section 2.2. A header begins with the
//! identity of the server that wrote it, an authserv-id, and section 5 wants a border server
//! to remove what strangers wrote in its name. Readers differ in how much disorder they
//! bear, so that a header is ours when any of them could see our name in it: with spaces and
//! comments between its parts, quoted as a whole or in part, with backslashes, with
//! or without a semicolon behind it.
//!
//! `ARC-Authentication-Results` are not removed, whatever they say: a chain of seals covers
//! them, and without one of them it breaks for whoever comes after us. Nobody
//! here reads them but the filter, and only from sealers that it was told to trust.

/// Name of the header.
pub const RESULTS: &str = "Authentication-Results";
/// Most statements read of one header.
const MOST_STATEMENTS: usize = 100;

/// A byte outside of comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Byte {
    value: u8,
    /// Whether it stands in a quoted string, where nothing separates.
    quoted: bool,
}

impl Byte {
    fn bare(value: u8) -> Self {
        Self {
            value,
            quoted: false,
        }
    }

    fn is(self, value: u8) -> bool {
        !self.quoted && self.value == value
    }
}

/// The text without comments, quotes and backslashes; `None` when one of them does not end.
fn flatten(text: &[u8]) -> Option<Vec<Byte>> {
    let mut flat = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'(' => {
                let mut depth = 1;
                while depth > 0 {
                    match bytes.next()? {
                        b'(' => depth += 1,
                        b')' => depth -= 1,
                        b'\\' => {
                            bytes.next()?;
                        }
                        _ => {}
                    }
                }
                flat.push(Byte::bare(b' '));
            }
            b'"' => loop {
                let value = match bytes.next()? {
                    b'"' => break,
                    b'\\' => bytes.next()?,
                    b'\r' | b'\n' => continue,
                    other => other,
                };
                flat.push(Byte {
                    value,
                    quoted: true,
                });
            },
            b'\\' => flat.push(Byte::bare(bytes.next()?)),
            _ if byte.is_ascii_control() => flat.push(Byte::bare(b' ')),
            _ => flat.push(Byte::bare(byte)),
        }
    }
    Some(flat)
}

/// Whether the header speaks in the name of this host, in lower case.
pub fn names_host(value: &[u8], host: &str) -> bool {
    let Some(flat) = flatten(value) else {
        // Some reader sees more in it than we do.
        return squeeze(value)
            .windows(host.len().max(1))
            .any(|part| part == host.as_bytes());
    };
    let mut segments = flat.split(|byte| byte.is(b';'));
    let mut words = |segment: &[Byte]| -> Vec<Vec<u8>> {
        let words = segment.split(|byte| byte.value == b' ');
        let words = words.filter(|word| !word.is_empty());
        words
            .map(|word| {
                word.iter()
                    .map(|byte| byte.value.to_ascii_lowercase())
                    .collect()
            })
            .collect()
    };
    let Some(words) = segments
        .by_ref()
        .map(&mut words)
        .find(|words| !words.is_empty())
    else {
        return false;
    };
    let mut joined = Vec::new();
    for word in &words {
        joined.extend_from_slice(word);
        if begins_with(&joined, host) {
            return true;
        }
        // Nobody's identity is an encoded word, and one in another script may be ours in disguise.
        let encoded = word.starts_with(b"=?");
        if encoded || (!word.is_ascii() && host.contains("xn--")) {
            return true;
        }
    }
    false
}

/// Whether a text is the host's name, or goes on with what no name goes on with.
fn begins_with(text: &[u8], host: &str) -> bool {
    let Some(rest) = text.strip_prefix(host.as_bytes()) else {
        return false;
    };
    let rest = rest.strip_prefix(b".").unwrap_or(rest);
    let goes_on =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte) || !byte.is_ascii();
    !rest.first().is_some_and(goes_on)
}

/// The text in lower case without all that some reader may pass over.
fn squeeze(text: &[u8]) -> Vec<u8> {
    text.iter()
        .filter(|byte| byte.is_ascii_graphic() && !b"()\"\\".contains(byte))
        .map(u8::to_ascii_lowercase)
        .collect()
}

/// One method and what it found.
#[derive(Debug, PartialEq, Eq)]
pub struct Statement {
    /// As in `dkim`, in lower case.
    pub method: String,
    /// As in `pass`, in lower case.
    pub result: String,
    /// As in `header.d` and its value, in lower case.
    pub properties: Vec<(String, String)>,
}

impl Statement {
    /// The value of a property.
    pub fn property(&self, name: &str) -> Option<&str> {
        let found = self.properties.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// The instance at the beginning of `ARC-Authentication-Results`, RFC 8617 section 4.1.1, as text.
pub fn instance(value: &[u8]) -> Option<String> {
    let flat = flatten(value)?;
    let first = flat.split(|byte| byte.is(b';')).next()?;
    let first: Vec<u8> = first.iter().map(|byte| byte.value).collect();
    let (name, number) = std::str::from_utf8(&first).ok()?.split_once('=')?;
    (name.trim() == "i").then(|| number.trim().to_owned())
}

/// What a header says after its first semicolon; what cannot be read is left out.
pub fn statements(value: &[u8]) -> Vec<Statement> {
    let flat = flatten(value).unwrap_or_default();
    let segments = flat.split(|byte| byte.is(b';')).skip(1);
    segments
        .take(MOST_STATEMENTS)
        .filter_map(statement)
        .collect()
}

fn statement(segment: &[Byte]) -> Option<Statement> {
    let mut assignments = Vec::new();
    for (number, part) in segment.split(|byte| byte.is(b'=')).enumerate() {
        let word = |bytes: &[Byte]| -> Option<String> {
            let bytes = bytes.iter().map(|byte| byte.value.to_ascii_lowercase());
            String::from_utf8(bytes.collect()).ok()
        };
        // Between two equals signs stand a value and the next name.
        let part = part.trim_ascii_bytes();
        if number == 0 {
            assignments.push((word(part)?, String::new()));
            continue;
        }
        let end = part.iter().position(|byte| byte.is(b' '));
        let (value, next) = part.split_at(end.unwrap_or(part.len()));
        assignments.last_mut()?.1 = word(value)?;
        assignments.push((word(next.trim_ascii_bytes())?, String::new()));
    }
    // What follows the last value is no name.
    assignments.pop();
    let mut assignments = assignments.into_iter();
    let (method, result) = assignments.next()?;
    let method = method.split('/').next()?.trim().to_owned();
    let properties = assignments.map(|(name, value)| (name.replace(' ', ""), value));
    Some(Statement {
        method,
        result,
        properties: properties.collect(),
    })
}

/// Trims as `trim_ascii` does.
trait Trim {
    fn trim_ascii_bytes(&self) -> &Self;
}

impl Trim for [Byte] {
    fn trim_ascii_bytes(&self) -> &Self {
        let blank = |byte: &Byte| byte.is(b' ');
        let start = self.iter().position(|byte| !blank(byte));
        let end = self.iter().rposition(|byte| !blank(byte));
        match (start, end) {
            (Some(start), Some(end)) => &self[start..=end],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Statement, instance, names_host, statements};
    use proptest::prelude::{any, prop};

    const HOST: &str = "mail.example.org";
    /// What readers may pass over.
    const FILLERS: [&str; 8] = ["", " ", "\t", "\r\n ", "(a)", "((b)\\))", "\\", "\"\""];

    #[test]
    fn ours_in_any_spelling() {
        for value in [
            "mail.example.org; dkim=pass",
            " MAIL.Example.ORG 1; dkim=pass",
            "mail.example.org",
            "mail.example.org.; none",
            "mail.example.org . 1; none",
            "mail.example.org/1; none",
            "mail . example . org; spf=pass smtp.mailfrom=victim.com",
            "mail.(comment)example(nested (one)).org; spf=pass",
            "mail\\.example.org; spf=pass",
            "\\mail.example.or\\g; spf=pass",
            "\"mail.example.org\"; spf=pass",
            "\"mail\".example.\"org\"; spf=pass",
            "\"mail\\.example.org\"; spf=pass",
            "\"mail.exa\r\n mple.org\"; spf=pass",
            "mail.\r\n\texample.org; spf=pass",
            "mail.example.org\\; spf=pass",
            "(c) mail.example.org (d) 1 (e); spf=pass",
            ";mail.example.org; spf=pass",
            ";; mail.example.org; spf=pass",
            "=?us-ascii?q?mail.example.org?=; spf=pass",
            "\r\n\t(c(o\\)m)) \"mail\\.example.org\" (x) 1 ; spf=pass",
            // Unreadable, but it names us.
            "(open mail.example.org; spf=pass",
            "(open mail . example . org; spf=pass",
            "\"mail.example.org; spf=pass",
            "mail.example.org spf=pass",
            "mail.example.org, spf=pass",
            "mail.example.org\\",
        ] {
            assert!(names_host(value.as_bytes(), HOST), "{value}");
        }
    }

    #[test]
    fn others() {
        for value in [
            "mx.example.net; spf=pass smtp.mailfrom=mail.example.org",
            "xmail.example.org; none",
            "mail.example.org.evil.example; none",
            "mail.example.organic; none",
            "mail.example.org-x; none",
            "mx.example.net (mail.example.org); none",
            "mx.example.net 1; mail.example.org",
            "",
            ";;",
            "(never ends",
        ] {
            assert!(!names_host(value.as_bytes(), HOST), "{value}");
        }
    }

    #[test]
    fn instances() {
        for (value, expected) in [
            ("i=1; a.example; none", Some("1")),
            (" (a;b=c) i (d)\r\n\t= (e) 23 (f) ; a.example", Some("23")),
            ("i=1", Some("1")),
            ("I=1; a.example", None),
            ("a.example; i=1", None),
            ("(i=1; a.example", None),
            ("\u{e4}", None),
            ("", None),
        ] {
            assert_eq!(instance(value.as_bytes()).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn what_is_said() {
        let found = statements(
            b" i=1; lists.example (x); dmarc=pass (p=reject; dis=none) header.from=A.example;\r\n\t\
              spf = pass reason=\"a; b = c\" smtp . mailfrom = b.example; none; dkim/1=fail",
        );
        let texts = |method: &str, result: &str, properties: &[(&str, &str)]| Statement {
            method: method.to_owned(),
            result: result.to_owned(),
            properties: properties
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let expected = [
            texts("dmarc", "pass", &[("header.from", "a.example")]),
            texts(
                "spf",
                "pass",
                &[("reason", "a; b = c"), ("smtp.mailfrom", "b.example")],
            ),
            texts("dkim", "fail", &[]),
        ];
        assert_eq!(found, expected);
    }

    proptest::proptest! {
        /// Whatever stands between its letters that no name is made of, the name is ours.
        #[test]
        fn hidden(fillers in prop::collection::vec(0..FILLERS.len(), HOST.len())) {
            let letters = fillers.iter().zip(HOST.chars());
            let mut value: String = letters
                .map(|(filler, letter)| format!("{}{letter}", FILLERS[*filler]))
                .collect();
            value.push_str("; spf=pass");
            proptest::prop_assert!(names_host(value.as_bytes(), HOST), "{value:?}");
        }

        #[test]
        fn any_text(value in prop::collection::vec(any::<u8>(), 0..200), text in "[=;.()\"\\\\ a\t]{0,60}") {
            for value in [&value[..], text.as_bytes()] {
                names_host(value, HOST);
                statements(value);
                instance(value);
            }
        }
    }
}
