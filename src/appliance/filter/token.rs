//! Header values as tokens: words, quoted strings, what stands between them.
//!
//! RFC 5322 (<https://www.rfc-editor.org/rfc/rfc5322>) section 3.2. Comments are
//! no tokens; their texts come beside.

/// Most authors taken; a message has one, rarely a few.
pub const MOST_AUTHORS: usize = 50;

/// Why a header cannot be read in one way only, as advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Nobody wrote it.
    #[error("it holds no address")]
    Empty,
    /// A name with characters that mean something.
    #[error("put the name in quotes")]
    Name,
    /// Words beside an address.
    #[error("put the address in angle brackets, behind the name")]
    Brackets,
    /// Something else where an address should be.
    #[error("write the address itself, without a route, comments or encoding")]
    Address,
    /// A text without an end.
    #[error("a quotation mark or a bracket is not closed")]
    Open,
    /// A byte that no text holds.
    #[error("it holds a control character")]
    Control,
    /// A name in an encoding that may hide anything.
    #[error("encode the name in UTF-8")]
    Charset,
    /// More than anybody reads.
    #[error("it holds more than {} addresses", MOST_AUTHORS)]
    Many,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Atoms and dots.
    Word,
    /// A quoted string without its quotes.
    Quoted,
    /// A domain literal, or brackets in a name.
    Literal,
    /// A character that means something by itself.
    Special(u8),
}

/// What stands before a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// Another token, at once.
    None,
    /// White space, or the beginning.
    Space,
    /// A comment, perhaps with white space.
    Comment,
}

/// One token of a header.
#[derive(Debug)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// What stands before it.
    pub gap: Gap,
    /// Its text, escapes undone.
    pub text: Vec<u8>,
}

impl Token {
    /// Whether it is that character.
    pub fn is(&self, special: u8) -> bool {
        self.kind == Kind::Special(special)
    }
}

/// The tokens, and the texts beside them in which nothing foreign may stand.
pub fn tokenize(value: &[u8]) -> Result<(Vec<Token>, Vec<Vec<u8>>), Unreadable> {
    if value.iter().any(|byte| is_control(*byte)) {
        return Err(Unreadable::Control);
    }
    let mut tokens = Vec::new();
    let mut asides = Vec::new();
    let mut gap = Gap::Space;
    let mut rest = value;
    while let Some((first, after)) = rest.split_first() {
        let (kind, text) = match first {
            b' ' | b'\t' | b'\r' | b'\n' => {
                gap = if gap == Gap::Comment { gap } else { Gap::Space };
                rest = after;
                continue;
            }
            b'(' => {
                let text;
                (text, rest) = delimited(after, b'(', b')').ok_or(Unreadable::Open)?;
                asides.push(text);
                gap = Gap::Comment;
                continue;
            }
            b'"' => {
                let text;
                (text, rest) = delimited(after, b'"', b'"').ok_or(Unreadable::Open)?;
                if text.contains(&b'<') {
                    asides.push(text.clone());
                }
                (Kind::Quoted, text)
            }
            b'[' => {
                let text;
                (text, rest) = delimited(after, b'[', b']').ok_or(Unreadable::Open)?;
                asides.push(text.clone());
                (Kind::Literal, [b"[", &text[..], b"]"].concat())
            }
            b'<' | b'>' | b'@' | b',' | b';' | b':' => {
                rest = after;
                (Kind::Special(*first), Vec::new())
            }
            first if is_atom(*first) => {
                let end = rest.iter().position(|byte| !is_atom(*byte));
                let text;
                (text, rest) = rest.split_at(end.unwrap_or(rest.len()));
                (Kind::Word, text.to_vec())
            }
            b'\\' => return Err(Unreadable::Name),
            // Closing what was never opened.
            _ => return Err(Unreadable::Open),
        };
        tokens.push(Token { kind, gap, text });
        gap = Gap::None;
    }
    Ok((tokens, asides))
}

/// What reads as an address in a text of any kind.
pub fn addresses_in(text: &[u8]) -> impl Iterator<Item = String> {
    let places = text.iter().enumerate().filter(|(_, byte)| **byte == b'@');
    places.filter_map(move |(at, _)| {
        let is_domain =
            |byte: &u8| is_atom(*byte) && (!byte.is_ascii_punctuation() || b".-_".contains(byte));
        let start = text[..at].iter().rposition(|byte| !is_atom(*byte));
        let end = text[at + 1..].iter().position(|byte| !is_domain(byte));
        let local = &text[start.map_or(0, |start| start + 1)..at];
        let domain = &text[at + 1..end.map_or(text.len(), |end| at + 1 + end)];
        // Quotes and full stops around it.
        let local = String::from_utf8_lossy(local);
        let local = match (local.trim_start_matches(['\'', '`']), start) {
            // A quoted local part.
            ("", Some(before)) if text[before] == b'"' => "\"",
            (local, _) => local,
        };
        let domain = String::from_utf8_lossy(domain);
        let domain = domain.trim_end_matches(['.', '-', '_']);
        let is_address = !local.is_empty() && domain.contains('.');
        is_address.then(|| format!("{local}@{domain}").to_ascii_lowercase())
    })
}

/// `atext`, dots, and what stands in names although it should be encoded.
pub fn is_atom(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f && !b"()<>[]:;@\\,\"".contains(&byte)
}

/// Neither text nor white space, folded or not.
fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && !b"\t\r\n".contains(&byte)
}

/// The text up to the closing character, which may nest and be escaped.
fn delimited(text: &[u8], open: u8, close: u8) -> Option<(Vec<u8>, &[u8])> {
    let mut inner = Vec::new();
    let mut depth = 1;
    let mut bytes = text.iter();
    loop {
        let byte = *bytes.next()?;
        if byte == close {
            depth -= 1;
            if depth == 0 {
                return Some((inner, bytes.as_slice()));
            }
        } else if byte == open {
            depth += 1;
        } else if byte == b'\\' {
            inner.push(*bytes.next()?);
            continue;
        }
        if !b"\r\n".contains(&byte) {
            inner.push(byte);
        }
    }
}
