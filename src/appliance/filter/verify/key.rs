//! The public keys that domains publish: RFC 6376 section 3.6.1.

use super::signature::{Algorithm, Seal};
use super::tags::{Tags, packed};
use crate::appliance::filter::lookup::Lookup;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, UnparsedPublicKey};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

/// A key.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    algorithm: Algorithm,
    bytes: Vec<u8>,
    /// Whether it signs for no domain but its own.
    pub strict: bool,
}

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoKey {
    /// A name server failed.
    NoAnswer,
    /// There is none, or none that may be used.
    None(&'static str),
}

/// Asks for the key that a signature names.
pub async fn find_key(lookup: &impl Lookup, seal: &Seal) -> Result<Key, NoKey> {
    let name = format!("{}._domainkey.{}", seal.selector, seal.domain);
    let texts = lookup.texts(&name).await.map_err(|_| NoKey::NoAnswer)?;
    let mut problem = NoKey::None("no key");
    for text in &texts {
        match parse_key(text) {
            Ok(key) if key.algorithm == seal.algorithm => return Ok(key),
            Ok(_) => problem = NoKey::None("a key of another kind"),
            Err(why) => problem = NoKey::None(why),
        }
    }
    Err(problem)
}

/// Reads a record.
pub fn parse_key(text: &[u8]) -> Result<Key, &'static str> {
    let tags = Tags::parse(text).ok_or("a key that cannot be read")?;
    match (tags.get("v"), tags.first()) {
        (None | Some("DKIM1"), Some(("v", _))) | (None, _) => {}
        _ => return Err("a key of another version"),
    }
    let lists = |name: &str, wanted: &[&str]| {
        tags.get(name).is_none_or(|list| {
            let mut items = list.split(':').map(packed);
            items.any(|item| wanted.iter().any(|one| item.eq_ignore_ascii_case(one)))
        })
    };
    if !lists("h", &["sha256"]) {
        return Err("a key for other hashes");
    }
    if !lists("s", &["*", "email"]) {
        return Err("a key that is not for mail");
    }
    let bytes = tags.packed("p").ok_or("a key that cannot be read")?;
    let bytes = STANDARD
        .decode(bytes)
        .map_err(|_| "a key that cannot be read")?;
    if bytes.is_empty() {
        return Err("a key that was revoked");
    }
    let (algorithm, bytes) = match tags.get("k").unwrap_or("rsa") {
        "rsa" => (Algorithm::RsaSha256, rsa_key(&bytes)),
        "ed25519" => (Algorithm::Ed25519Sha256, bytes),
        _ => return Err("a key of an unknown kind"),
    };
    Ok(Key {
        algorithm,
        bytes,
        strict: tags.get("t").is_some() && lists("t", &["s"]),
    })
}

/// PKCS #1 within what X.509 puts around it; RFC 6376 names the one and shows the other.
fn rsa_key(bytes: &[u8]) -> Vec<u8> {
    match SubjectPublicKeyInfo::from_der(bytes) {
        Ok((_, info)) => info.subject_public_key.data.to_vec(),
        Err(_) => bytes.to_vec(),
    }
}

impl Key {
    /// Whether the signature was made with its other half. RSA keys of less than 1024 bits do
    /// not count (RFC 8301 section 3.2).
    pub fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        match self.algorithm {
            Algorithm::RsaSha256 => {
                let kind = &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY;
                let key = UnparsedPublicKey::new(kind, &self.bytes);
                key.verify(text, signature).is_ok()
            }
            Algorithm::Ed25519Sha256 => {
                let key = UnparsedPublicKey::new(&ED25519, &self.bytes);
                let hash = digest(&SHA256, text);
                key.verify(hash.as_ref(), signature).is_ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse_key;

    #[test]
    fn records() {
        let strict = parse_key(b"v=DKIM1; k=ed25519; t=y : s; h=sha1:sha256; s=email; p=YWJj");
        assert!(strict.unwrap().strict);
        assert!(!parse_key(b"p=YWJj; t=y").unwrap().strict);
        assert!(parse_key(b"k=rsa; n=notes; p=Y W J j").is_ok());
        for (text, problem) in [
            ("p=", "a key that was revoked"),
            ("v=DKIM1; p=", "a key that was revoked"),
            ("v=DKIM2; p=YWJj", "a key of another version"),
            ("p=YWJj; v=DKIM1", "a key of another version"),
            ("v=DKIM1", "a key that cannot be read"),
            ("v=DKIM1; p=?", "a key that cannot be read"),
            ("v=DKIM1; k=dsa; p=YWJj", "a key of an unknown kind"),
            ("v=DKIM1; h=sha1; p=YWJj", "a key for other hashes"),
            ("v=DKIM1; s=tlsrpt; p=YWJj", "a key that is not for mail"),
            ("something else", "a key that cannot be read"),
        ] {
            assert_eq!(parse_key(text.as_bytes()), Err(problem), "{text}");
        }
    }
}
