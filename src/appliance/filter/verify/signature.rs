//! A `DKIM-Signature`, an `ARC-Message-Signature` or an `ARC-Seal` as its header says it.
//!
//! RFC 6376 section 3.5 and RFC 8617 (<https://www.rfc-editor.org/rfc/rfc8617>) section 4.1.
//! RFC 8301 leaves SHA-1 and short RSA keys out, RFC 8463 adds Ed25519, RFC 8616 domains in
//! other scripts.

use super::canonical::{Canonicalization, push_header};
use super::headers::{Header, Headers};
use super::tags::{Tags, packed, trim};
use crate::appliance::filter::lookup::ascii_domain;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashMap;

/// Most names in `h=`; signers write up to a hundred. Each takes memory for as long as somebody's
/// name server lets us wait for the key.
const MOST_NAMES: usize = 500;

/// How a header was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    RsaSha256,
    Ed25519Sha256,
}

impl Algorithm {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::RsaSha256 => "rsa-sha256",
            Self::Ed25519Sha256 => "ed25519-sha256",
        }
    }
}

/// Why a signature says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It cannot be read.
    Syntax(&'static str),
    /// It can be read, but is nothing that we believe.
    Policy(&'static str),
}

/// What all three have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    pub algorithm: Algorithm,
    /// As the DNS has it, in lower case.
    pub domain: String,
    pub selector: String,
    pub signature: Vec<u8>,
}

/// What those of a message have besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    pub seal: Seal,
    /// Names of the headers that are signed, in lower case.
    pub headers: Vec<String>,
    pub header_kind: Canonicalization,
    pub body_kind: Canonicalization,
    pub body_hash: Vec<u8>,
    /// How much of the body is signed.
    pub length: Option<u64>,
    /// In seconds since 1970.
    pub expires: Option<u64>,
    /// The identity's domain as the DNS has it, when it is not the signature's.
    pub identity: Option<String>,
}

/// Reads what all three have.
pub fn parse_seal(tags: &Tags<'_>) -> Result<Seal, Flaw> {
    let algorithm = tags.get("a").ok_or(Flaw::Syntax("no algorithm"))?;
    let algorithm = match packed(algorithm).to_ascii_lowercase().as_str() {
        "rsa-sha256" => Algorithm::RsaSha256,
        "ed25519-sha256" => Algorithm::Ed25519Sha256,
        "rsa-sha1" => return Err(Flaw::Policy("SHA-1")),
        _ => return Err(Flaw::Syntax("unknown algorithm")),
    };
    let name = |tag: &str| {
        let name = ascii_domain(tags.get(tag)?);
        name.filter(|name| !name.ends_with('.'))
    };
    Ok(Seal {
        algorithm,
        domain: name("d").ok_or(Flaw::Syntax("no domain"))?,
        selector: name("s").ok_or(Flaw::Syntax("no selector"))?,
        signature: base64_of(tags, "b").ok_or(Flaw::Syntax("no signature"))?,
    })
}

fn base64_of(tags: &Tags<'_>, name: &str) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(tags.packed(name)?).ok()?;
    Some(bytes).filter(|bytes| !bytes.is_empty())
}

/// Reads what the signatures of a message have.
pub fn parse_signature(tags: &Tags<'_>) -> Result<Signature, Flaw> {
    let seal = parse_seal(tags)?;
    let (header_kind, body_kind) = match tags.packed("c") {
        None => (Canonicalization::Simple, Canonicalization::Simple),
        Some(text) => kinds(&text).ok_or(Flaw::Syntax("unknown canonicalization"))?,
    };
    let headers = tags.get("h").unwrap_or_default().to_ascii_lowercase();
    if headers.split(':').count() > MOST_NAMES {
        return Err(Flaw::Policy("too many names of headers"));
    }
    let headers: Vec<String> = headers
        .split(':')
        .map(|name| trim(name).to_owned())
        .collect();
    if !headers.iter().any(|name| name == "from") {
        return Err(Flaw::Syntax("From is not signed"));
    }
    let number = |name| match tags.number(name) {
        Some(None) => Err(Flaw::Syntax("a number is none")),
        Some(number) => Ok(number),
        None => Ok(None),
    };
    let methods = tags.packed("q").unwrap_or("dns/txt".to_owned());
    if !methods.split(':').any(|method| method == "dns/txt") {
        return Err(Flaw::Syntax("unknown query method"));
    }
    let signature = Signature {
        headers,
        header_kind,
        body_kind,
        body_hash: base64_of(tags, "bh").ok_or(Flaw::Syntax("no body hash"))?,
        length: number("l")?,
        expires: number("x")?,
        identity: None,
        seal,
    };
    if let (Some(signed), Some(expires)) = (number("t")?, signature.expires)
        && expires <= signed
    {
        return Err(Flaw::Syntax("it expired before it was made"));
    }
    Ok(signature)
}

/// The identity's domain where it is not the signature's; of a subdomain at most.
pub fn parse_identity(tags: &Tags<'_>, domain: &str) -> Result<Option<String>, Flaw> {
    let Some(identity) = tags.packed("i") else {
        return Ok(None);
    };
    let (_, own) = identity
        .rsplit_once('@')
        .ok_or(Flaw::Syntax("no identity"))?;
    let own = ascii_domain(own).unwrap_or_default();
    match own.strip_suffix(domain) {
        Some("") => Ok(None),
        Some(rest) if rest.ends_with('.') => Ok(Some(own)),
        _ => Err(Flaw::Syntax("an identity of another domain")),
    }
}

fn kinds(text: &str) -> Option<(Canonicalization, Canonicalization)> {
    let kind = |text: &str| match text.to_ascii_lowercase().as_str() {
        "simple" => Some(Canonicalization::Simple),
        "relaxed" => Some(Canonicalization::Relaxed),
        _ => None,
    };
    match text.split_once('/') {
        Some((header, body)) => Some((kind(header)?, kind(body)?)),
        None => Some((kind(text)?, Canonicalization::Simple)),
    }
}

impl Signature {
    /// What was signed: the headers it names, from the bottom, and itself. Where it names those
    /// of its own kind, it means others: it was not there when they were signed.
    pub fn signed_text(&self, headers: &Headers, own: &Header) -> Vec<u8> {
        let mut text = Vec::new();
        let mut left = HashMap::new();
        for name in &self.headers {
            let others = || {
                let all = headers.named(name).rev();
                all.filter(|header| !std::ptr::eq(*header, own))
            };
            if let Some(header) = left.entry(name).or_insert_with(others).next() {
                push_header(&mut text, self.header_kind, &header.name, &header.value);
                text.extend_from_slice(b"\r\n");
            }
        }
        push_header(
            &mut text,
            self.header_kind,
            &own.name,
            &without_signature(&own.value),
        );
        text
    }
}

/// The value as it was when the signature was not yet in it.
pub fn without_signature(value: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(value.len());
    for (number, tag) in value.split(|byte| *byte == b';').enumerate() {
        if number > 0 {
            kept.push(b';');
        }
        let name = tag.iter().position(|byte| *byte == b'=');
        match name.and_then(|end| tag.split_at_checked(end + 1)) {
            Some((name, _)) if is_signature(name) => kept.extend_from_slice(name),
            _ => kept.extend_from_slice(tag),
        }
    }
    kept
}

/// Whether this is the tag `b` with its equals sign, and space between.
fn is_signature(name: &[u8]) -> bool {
    let name = name.strip_suffix(b"=").unwrap_or(name);
    name.trim_ascii() == b"b"
}

#[cfg(test)]
mod tests {
    use super::super::canonical::Canonicalization;
    use super::super::tags::Tags;
    use super::{Flaw, Signature, parse_identity, parse_signature, without_signature};

    fn parse(text: &str) -> Result<Signature, Flaw> {
        let tags = Tags::parse(text.as_bytes()).unwrap();
        let mut signature = parse_signature(&tags)?;
        signature.identity = parse_identity(&tags, &signature.seal.domain)?;
        Ok(signature)
    }

    const REST: &str = "d=A.example; s=Sel; b=YQ==; bh=Y Q = =";

    #[test]
    fn signatures() {
        let text = format!(
            "v=1; a=rsa-sha256; c=relaxed; h=From : To:\r\n from; {REST}; l=9; t=1; x=2; \
             i=joe@news.a.example"
        );
        let signature = parse(&text).unwrap();
        assert_eq!(signature.seal.domain, "a.example");
        assert_eq!(signature.seal.selector, "sel");
        assert_eq!(signature.headers, ["from", "to", "from"]);
        assert_eq!(signature.header_kind, Canonicalization::Relaxed);
        assert_eq!(signature.body_kind, Canonicalization::Simple);
        assert_eq!(signature.body_hash, b"a");
        assert_eq!(signature.length, Some(9));
        assert_eq!(signature.identity.as_deref(), Some("news.a.example"));
    }

    /// RFC 8616 section 5: the same domain, whichever way its names are written.
    #[test]
    fn other_scripts() {
        for identity in [
            "",
            "i=@b\u{fc}cher.example;",
            "i=j\u{fc}@xn--bcher-kva.example;",
        ] {
            for domain in ["B\u{fc}cher.example", "XN--bcher-kva.example"] {
                let text = format!(
                    "a=rsa-sha256; h=from; s=s\u{e9}; b=YQ==; bh=YQ==; {identity} d={domain}"
                );
                let signature = parse(&text).unwrap();
                assert_eq!(signature.seal.domain, "xn--bcher-kva.example");
                assert_eq!(signature.seal.selector, "xn--s-bga");
                assert_eq!(signature.identity, None);
            }
        }
    }

    #[test]
    fn flaws() {
        for (text, flaw) in [
            ("h=from", "no algorithm"),
            ("a=rsa-md5; h=from", "unknown algorithm"),
            ("a=rsa-sha256; h=to:subject", "From is not signed"),
            ("a=rsa-sha256; h=fr om:to", "From is not signed"),
            ("a=rsa-sha256; h=from; c=nofws", "unknown canonicalization"),
            ("a=rsa-sha256; h=from; x=soon", "a number is none"),
            ("a=rsa-sha256; h=from; q=http", "unknown query method"),
            (
                "a=rsa-sha256; h=from; i=@example",
                "an identity of another domain",
            ),
            (
                "a=rsa-sha256; h=from; i=@ba.example",
                "an identity of another domain",
            ),
            (
                "a=rsa-sha256; h=from; t=5; x=5",
                "it expired before it was made",
            ),
        ] {
            let text = format!("{text}; {REST}");
            assert_eq!(parse(&text), Err(Flaw::Syntax(flaw)), "{text}");
        }
        let text = format!("a=rsa-sha1; h=from; {REST}");
        assert_eq!(parse(&text), Err(Flaw::Policy("SHA-1")));
        let text = format!("a=rsa-sha256; h=from{}; {REST}", ":x".repeat(50_000));
        let flaw = Flaw::Policy("too many names of headers");
        assert_eq!(parse(&text), Err(flaw));
        for text in [
            "d=a b.example; s=s; b=YQ==",
            "d=a. example; s=s; b=YQ==",
            "d=a.example.; s=s; b=YQ==",
            "d=a.example; s=s s; b=YQ==",
            "d=a.example; b=YQ==",
            "d=a.example; s=s",
            "d=a.example; s=s; b=?",
        ] {
            let text = format!("a=rsa-sha256; h=from; bh=YQ==; {text}");
            assert!(parse(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn without_its_signature() {
        for (value, expected) in [
            ("b=abc;h=From", "b=;h=From"),
            (" bh=B64b=;h=From;b=abc", " bh=B64b=;h=From;b="),
            ("h=From; b = abc\r\n def\r\n ; v=1", "h=From; b =; v=1"),
            ("v=1;\r\n\tb=a=\r\n", "v=1;\r\n\tb="),
        ] {
            let found = without_signature(value.as_bytes());
            assert_eq!(String::from_utf8(found).unwrap(), expected);
        }
    }
}
