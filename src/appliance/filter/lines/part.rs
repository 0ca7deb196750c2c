//! What a part of a message says of itself: type, boundary, encoding (RFC 2045, section 5,
//! <https://www.rfc-editor.org/rfc/rfc2045#section-5>).

/// How a part's content is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As it is: 7bit, 8bit, binary, or not said.
    Plain,
    QuotedPrintable,
    Base64,
    /// A word that nobody knows; such content is left alone.
    Unknown,
}

impl Encoding {
    pub(super) fn parse(value: &[u8]) -> Self {
        let word = String::from_utf8_lossy(value);
        let word = word.split(['(', ';']).next().unwrap_or_default();
        match word.trim().to_ascii_lowercase().as_str() {
            "" | "7bit" | "8bit" | "binary" => Self::Plain,
            "quoted-printable" => Self::QuotedPrintable,
            "base64" => Self::Base64,
            _ => Self::Unknown,
        }
    }
}

/// What a part consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Text, a file, and all that has no parts.
    Leaf,
    /// Parts between lines with this text behind `--`.
    Parts(Vec<u8>),
    /// A whole message.
    Message,
    /// Parts of which one signs the others byte for byte (RFC 1847).
    Signed,
}

impl Content {
    pub(super) fn parse(value: &[u8]) -> Self {
        let text = String::from_utf8_lossy(value);
        let kind = text.split(';').next().unwrap_or_default();
        let kind = kind.trim().to_ascii_lowercase();
        match kind.as_str() {
            "multipart/signed" => Self::Signed,
            "message/rfc822" | "message/global" => Self::Message,
            _ if kind.starts_with("multipart/") => {
                boundary(&text).map_or(Self::Leaf, |boundary| Self::Parts(boundary.into_bytes()))
            }
            _ => Self::Leaf,
        }
    }
}

/// The parameter `boundary`, quoted or not.
fn boundary(text: &str) -> Option<String> {
    let mut rest = text;
    while let Some((_, parameters)) = rest.split_once(';') {
        let (name, value) = parameters.split_once('=')?;
        let value = value.trim_start();
        let (found, after) = if let Some(quoted) = value.strip_prefix('"') {
            unquote(quoted)
        } else {
            let end = value
                .find([';', ' ', '\t', '\r', '\n'])
                .unwrap_or(value.len());
            (value[..end].to_owned(), &value[end..])
        };
        if name.trim().eq_ignore_ascii_case("boundary") {
            return (!found.is_empty()).then_some(found);
        }
        rest = after;
        if !rest.trim_start().starts_with(';') {
            return None;
        }
    }
    None
}

/// A quoted string to its end, and what stands behind it.
fn unquote(text: &str) -> (String, &str) {
    let mut found = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return (found, &text[index + 1..]),
            '\\' => found.extend(characters.next().map(|(_, character)| character)),
            other => found.push(other),
        }
    }
    (found, "")
}

#[cfg(test)]
mod tests {
    use super::{Content, Encoding};

    #[test]
    fn types_and_boundaries() {
        let parts = |text: &str| Content::Parts(text.as_bytes().to_vec());
        for (value, expected) in [
            ("text/plain; charset=utf-8", Content::Leaf),
            ("", Content::Leaf),
            ("Multipart/Mixed; boundary=abc", parts("abc")),
            (
                "multipart/mixed;\r\n\tboundary=\"a b;c\\\"d\"",
                parts("a b;c\"d"),
            ),
            (
                "multipart/related; type=\"text/html\"; BOUNDARY=\"x=y\"",
                parts("x=y"),
            ),
            ("multipart/mixed; boundary=abc; charset=utf-8", parts("abc")),
            ("multipart/mixed; charset=utf-8", Content::Leaf),
            ("multipart/mixed; boundary=\"\"", Content::Leaf),
            ("multipart/signed; boundary=abc", Content::Signed),
            ("message/rfc822", Content::Message),
            ("message/delivery-status", Content::Leaf),
        ] {
            assert_eq!(Content::parse(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn encodings() {
        for (value, expected) in [
            ("", Encoding::Plain),
            (" 8BIT ", Encoding::Plain),
            ("Quoted-Printable", Encoding::QuotedPrintable),
            ("base64 (as usual)", Encoding::Base64),
            ("x-uuencode", Encoding::Unknown),
        ] {
            assert_eq!(Encoding::parse(value.as_bytes()), expected, "{value}");
        }
    }
}
