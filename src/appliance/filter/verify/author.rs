//! Whose domains a From header shows, for DMARC.
//!
//! Read as mail programs read it, and not as RFC 5322 has it: what counts is whom a person
//! sees. `MAILER-DAEMON` and `<>` show nobody, `Doe, John <john@a.example>` shows one domain, a
//! group or a list may show several. Whatever cannot be read in one way is nothing.

use crate::appliance::filter::lookup::ascii_domain;

/// Most domains; each is judged, and a message rarely has two.
const MOST_DOMAINS: usize = 5;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// Bytes without space between them.
    Word(Vec<u8>),
    /// A quoted string or a literal, whatever is in it.
    Opaque,
    Special(u8),
}

/// The domains in lower case, none twice; `None` when nobody can say which.
pub fn author_domains(value: &[u8]) -> Option<Vec<String>> {
    let mut domains: Vec<String> = Vec::new();
    for mailbox in mailboxes(&tokenize(value)?) {
        for domain in mailbox_domains(&mailbox)? {
            if domains.contains(&domain) {
                continue;
            }
            // Before they are compared with each other: brackets without end fit into a header.
            if domains.len() == MOST_DOMAINS {
                return None;
            }
            domains.push(domain);
        }
    }
    Some(domains)
}

/// Splits a list at what separates, outside of angle brackets; the names of groups are left out.
fn mailboxes(tokens: &[Token]) -> Vec<Vec<Token>> {
    let mut all = vec![Vec::new()];
    let mut inside = false;
    for token in tokens {
        match token {
            Token::Special(b',' | b';') if !inside => all.push(Vec::new()),
            Token::Special(b':') if !inside => all.last_mut().into_iter().for_each(Vec::clear),
            _ => {
                inside = match token {
                    Token::Special(b'<') => true,
                    Token::Special(b'>') => false,
                    _ => inside,
                };
                all.last_mut()
                    .into_iter()
                    .for_each(|mailbox| mailbox.push(token.clone()));
            }
        }
    }
    all
}

/// The domain of each address in it: those in brackets, or the whole.
fn mailbox_domains(tokens: &[Token]) -> Option<Vec<String>> {
    let mut domains = Vec::new();
    let mut rest = tokens;
    let mut brackets = false;
    while let Some(open) = rest.iter().position(|token| is(token, b'<')) {
        brackets = true;
        let (before, inner) = rest.split_at(open);
        let close = inner.iter().position(|token| is(token, b'>'))?;
        if before.iter().any(|token| is(token, b'>')) {
            return None;
        }
        let (address, after) = inner.split_at(close);
        domains.extend(address_domain(route_cut(address.get(1..)?))?);
        rest = after.get(1..)?;
    }
    if rest.iter().any(|token| is(token, b'>')) {
        return None;
    }
    if !brackets {
        domains.extend(address_domain(rest)?);
    }
    Some(domains)
}

fn is(token: &Token, special: u8) -> bool {
    *token == Token::Special(special)
}

/// Without the route of old, `@relay.example:`.
fn route_cut(address: &[Token]) -> &[Token] {
    if !address.first().is_some_and(|first| is(first, b'@')) {
        return address;
    }
    let colon = address.iter().position(|token| is(token, b':'));
    colon.map_or(address, |colon| &address[colon + 1..])
}

/// The outer option is whether it can be read, the inner one whether there is a domain.
fn address_domain(address: &[Token]) -> Option<Option<String>> {
    if address
        .iter()
        .any(|token| matches!(token, Token::Special(b'<' | b'>' | b':' | b',' | b';')))
    {
        return None;
    }
    let Some(at) = address.iter().position(|token| is(token, b'@')) else {
        return Some(None);
    };
    let mut text = Vec::new();
    match &address[at + 1..] {
        // A literal has no policy.
        [Token::Opaque] => return Some(None),
        [Token::Word(first), rest @ ..] => {
            text.extend_from_slice(first);
            for token in rest {
                let Token::Word(word) = token else {
                    return None;
                };
                // Dots may have space around them, other words follow the address.
                if !text.ends_with(b".") && !word.starts_with(b".") {
                    return None;
                }
                text.extend_from_slice(word);
            }
        }
        _ => return None,
    }
    let domain = ascii_domain(std::str::from_utf8(&text).ok()?)?;
    Some(Some(domain.trim_end_matches('.').to_owned()))
}

fn tokenize(value: &[u8]) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut word: Vec<u8> = Vec::new();
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        let token = match byte {
            b'(' => {
                skip(&mut bytes, b'(', b')')?;
                None
            }
            b'"' => {
                skip(&mut bytes, b'"', b'"')?;
                Some(Token::Opaque)
            }
            b'[' => {
                skip(&mut bytes, b'[', b']')?;
                Some(Token::Opaque)
            }
            b'<' | b'>' | b'@' | b',' | b';' | b':' => Some(Token::Special(byte)),
            b' ' | b'\t' | b'\r' | b'\n' => None,
            b'\\' => {
                word.extend(bytes.next());
                continue;
            }
            _ if byte.is_ascii_control() => return None,
            _ => {
                word.push(byte);
                continue;
            }
        };
        if !word.is_empty() {
            tokens.push(Token::Word(std::mem::take(&mut word)));
        }
        tokens.extend(token);
    }
    if !word.is_empty() {
        tokens.push(Token::Word(word));
    }
    Some(tokens)
}

/// Up to what closes; `None` when nothing does.
fn skip(bytes: &mut impl Iterator<Item = u8>, open: u8, close: u8) -> Option<()> {
    let mut depth = 1;
    while depth > 0 {
        let byte = bytes.next()?;
        if byte == close {
            depth -= 1;
        } else if byte == open {
            depth += 1;
        } else if byte == b'\\' {
            bytes.next()?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::author_domains;
    use proptest::prelude::{any, prop};

    #[test]
    fn domains() {
        for (value, expected) in [
            ("a@b.example", &["b.example"][..]),
            (" Jens <A@B.Example.>", &["b.example"]),
            ("Doe, John <john@b.example>", &["b.example"]),
            ("a@evil.example <a@b.example>", &["b.example"]),
            ("\"a@evil.example\" <a@b.example>", &["b.example"]),
            ("(a@evil.example) a@b.example", &["b.example"]),
            ("=?utf-8?q?J=C3=B6?= <a@b.example>", &["b.example"]),
            (
                "J\u{f6} <a@b\u{fc}cher.example>",
                &["xn--bcher-kva.example"],
            ),
            ("\"a b\"@b.example", &["b.example"]),
            ("a b@b.example", &["b.example"]),
            ("a@b . example", &["b.example"]),
            ("<@relay.example:a@b.example>", &["b.example"]),
            (
                "Team: a@b.example, <c@d.example>;",
                &["b.example", "d.example"],
            ),
            ("a@b.example, c@B.example", &["b.example"]),
            ("<a@b.example> <c@d.example>", &["b.example", "d.example"]),
            ("MAILER-DAEMON", &[]),
            ("MAILER-DAEMON <>", &[]),
            ("<>", &[]),
            ("", &[]),
            ("undisclosed-recipients:;", &[]),
            ("a@[192.0.2.1]", &[]),
            ("Doe, John", &[]),
        ] {
            let found = author_domains(value.as_bytes());
            assert_eq!(found.as_deref().unwrap(), expected, "{value}");
        }
    }

    #[test]
    fn nobody_knows() {
        for value in [
            "\"open <a@b.example>",
            "a@b.example (open",
            "<a@b.example",
            "a@b.example>",
            "a@b.example x",
            "a@b@c.example",
            "<a@b@c.example>",
            "<<a@b.example>>",
            "a@",
            "a@b..example",
            "a@b_!.example",
            "a\u{1}@b.example",
            "a@b.example, a@c.example, a@d.example, a@e.example, a@f.example, a@g.example",
        ] {
            assert_eq!(author_domains(value.as_bytes()), None, "{value}");
        }
    }

    /// What is said in a header as long as the mail server takes it.
    #[test]
    fn endless_lists_are_nobodys() {
        let unique = |number: u32| format!("<a@{number}.example>");
        let brackets: String = (0..20_000).map(unique).collect();
        let commas = brackets.replace('>', ">,");
        for value in [brackets, commas, "<a@b.example>".repeat(20_000) + "<a@"] {
            assert_eq!(author_domains(value.as_bytes()), None);
        }
        let same = "<a@b.example>".repeat(20_000);
        assert_eq!(author_domains(same.as_bytes()).unwrap(), ["b.example"]);
    }

    proptest::proptest! {
        #[test]
        fn any_text(value in prop::collection::vec(any::<u8>(), 0..100), text in "[<>@,:;()\"\\\\ a.\\[\\]]{0,40}") {
            for value in [&value[..], text.as_bytes()] {
                for domain in author_domains(value).unwrap_or_default() {
                    proptest::prop_assert!(!domain.is_empty());
                }
            }
        }
    }
}
