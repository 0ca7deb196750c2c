//! The addresses of a From header.
//!
//! RFC 5322 (<https://www.rfc-editor.org/rfc/rfc5322>) section 3.4, read
//! strictly: two readers must not see different authors. Left out on purpose
//! are groups and source routes, which no client writes in From.

/// Most addresses taken; a message has one author, rarely a few.
const MOST_ADDRESSES: usize = 50;

#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// Atoms and dots, or a quoted string without its quotes.
    Word(Vec<u8>),
    /// A domain literal, or brackets in a name.
    Literal(Vec<u8>),
    Special(u8),
}

/// The addresses in lower case, `None` when the header cannot be read in one way only.
pub fn parse_from(value: &[u8]) -> Option<Vec<String>> {
    let tokens = tokenize(value)?;
    let mut addresses = Vec::new();
    for mailbox in tokens.split(|token| *token == Token::Special(b',')) {
        if !mailbox.is_empty() {
            addresses.push(parse_mailbox(mailbox)?);
        }
    }
    (!addresses.is_empty() && addresses.len() <= MOST_ADDRESSES).then_some(addresses)
}

fn parse_mailbox(tokens: &[Token]) -> Option<String> {
    let Some(open) = tokens
        .iter()
        .position(|token| *token == Token::Special(b'<'))
    else {
        return parse_address(tokens);
    };
    let (name, rest) = tokens.split_at(open);
    if name.iter().any(|token| matches!(token, Token::Special(_))) {
        return None;
    }
    match rest {
        [_, address @ .., Token::Special(b'>')] => parse_address(address),
        _ => None,
    }
}

fn parse_address(tokens: &[Token]) -> Option<String> {
    let [
        Token::Word(local),
        Token::Special(b'@'),
        Token::Word(domain) | Token::Literal(domain),
    ] = tokens
    else {
        return None;
    };
    let local = std::str::from_utf8(local).ok()?;
    let domain = std::str::from_utf8(domain).ok()?;
    if local.is_empty() || domain.is_empty() {
        return None;
    }
    Some(format!("{local}@{domain}").to_lowercase())
}

fn tokenize(value: &[u8]) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = value;
    while let Some((first, after)) = rest.split_first() {
        rest = match first {
            b' ' | b'\t' | b'\r' | b'\n' => after,
            b'(' => delimited(after, b'(', b')')?.1,
            b'"' => {
                let (text, after) = delimited(after, b'"', b'"')?;
                tokens.push(Token::Word(text));
                after
            }
            b'[' => {
                let (text, after) = delimited(after, b'[', b']')?;
                let literal = [b"[", &text[..], b"]"].concat();
                tokens.push(Token::Literal(literal));
                after
            }
            b'<' | b'>' | b'@' | b',' => {
                tokens.push(Token::Special(*first));
                after
            }
            first if is_atom(*first) => {
                let end = rest
                    .iter()
                    .position(|byte| !is_atom(*byte))
                    .unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..end].to_vec()));
                &rest[end..]
            }
            // Groups, stray closers, control characters.
            _ => return None,
        };
    }
    Some(tokens)
}

/// `atext`, dots, and what stands in names although it should be encoded.
fn is_atom(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f && !b"()<>[]:;@\\,\"".contains(&byte)
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

#[cfg(test)]
mod tests {
    use super::parse_from;

    #[test]
    fn one_author_or_several() {
        for (value, expected) in [
            ("a@b.example", vec!["a@b.example"]),
            (" Jens <A@B.Example>", vec!["a@b.example"]),
            ("\"x@evil.example\" <a@b.example>", vec!["a@b.example"]),
            ("=?utf-8?q?J=C3=B6?= R. <a@b.example>", vec!["a@b.example"]),
            (
                "Jörg [Team]\r\n\t<a.b@b.example> (c)",
                vec!["a.b@b.example"],
            ),
            ("\"a b\"@b.example", vec!["a b@b.example"]),
            ("a@[192.0.2.1]", vec!["a@[192.0.2.1]"]),
            (
                "<a@b.example>,, c@d.example",
                vec!["a@b.example", "c@d.example"],
            ),
        ] {
            let addresses = parse_from(value.as_bytes());
            assert_eq!(
                addresses.as_deref(),
                Some(&expected.iter().map(ToString::to_string).collect::<Vec<_>>()[..]),
                "{value}"
            );
        }
    }

    #[test]
    fn two_readings_are_none() {
        for value in [
            "",
            " ,",
            "a@evil.example <a@b.example>",
            "<a@b.example> <c@d.example>",
            "<a@b.example> c",
            "a b@c.example",
            "a@b.example x",
            "a@b@c.example",
            "<@relay.example:a@b.example>",
            "Team: a@b.example;",
            "a@b.example (open",
            "\"open <a@b.example>",
            "a@",
            "@b.example",
            "a\0@b.example",
            "<a@b.example",
        ] {
            assert_eq!(parse_from(value.as_bytes()), None, "{value}");
        }
    }
}
