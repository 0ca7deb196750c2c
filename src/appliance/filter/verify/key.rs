//! The public keys that domains publish: RFC 6376 section 3.6.1.
//!
//! What is wrong with a key is found before anything is verified with it: a message must not be
//! told to be altered when its key is no key.

use super::signature::{Algorithm, Seal};
use super::tags::{Tags, packed};
use crate::appliance::filter::lookup::Lookup;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, UnparsedPublicKey};
use std::ops::RangeInclusive;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::RSAPublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Lengths of RSA keys in bits: RFC 8301 section 3.2 has the least, `ring` verifies up to the most.
const RSA_BITS: RangeInclusive<usize> = 1024..=8192;
/// Bytes of a key of Ed25519.
const ED25519_BYTES: usize = 32;
const UNREADABLE: NoKey = NoKey::None("a key that cannot be read");

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
    /// There is one that proves nothing.
    Weak(&'static str),
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
            Err(why) => problem = why,
        }
    }
    Err(problem)
}

/// Reads a record.
pub fn parse_key(text: &[u8]) -> Result<Key, NoKey> {
    let tags = Tags::parse(text).ok_or(UNREADABLE)?;
    match (tags.get("v"), tags.first()) {
        (None | Some("DKIM1"), Some(("v", _))) | (None, _) => {}
        _ => return Err(NoKey::None("a key of another version")),
    }
    let lists = |name: &str, wanted: &[&str]| {
        tags.get(name).is_none_or(|list| {
            let mut items = list.split(':').map(packed);
            items.any(|item| wanted.iter().any(|one| item.eq_ignore_ascii_case(one)))
        })
    };
    if !lists("h", &["sha256"]) {
        return Err(NoKey::None("a key for other hashes"));
    }
    if !lists("s", &["*", "email"]) {
        return Err(NoKey::None("a key that is not for mail"));
    }
    let bytes = tags.packed("p").ok_or(UNREADABLE)?;
    let bytes = STANDARD.decode(bytes).map_err(|_| UNREADABLE)?;
    if bytes.is_empty() {
        return Err(NoKey::None("a key that was revoked"));
    }
    let (algorithm, bytes) = match tags.get("k").unwrap_or("rsa") {
        "rsa" => (Algorithm::RsaSha256, rsa_key(bytes)?),
        "ed25519" if bytes.len() == ED25519_BYTES => (Algorithm::Ed25519Sha256, bytes),
        "ed25519" => return Err(UNREADABLE),
        _ => return Err(NoKey::None("a key of an unknown kind")),
    };
    Ok(Key {
        algorithm,
        bytes,
        strict: tags.get("t").is_some() && lists("t", &["s"]),
    })
}

/// PKCS #1 within what X.509 puts around it; RFC 6376 names the one and shows the other.
fn rsa_key(bytes: Vec<u8>) -> Result<Vec<u8>, NoKey> {
    let bytes = match SubjectPublicKeyInfo::from_der(&bytes) {
        Ok((_, info)) => info.subject_public_key.data.to_vec(),
        Err(_) => bytes,
    };
    let (_, key) = RSAPublicKey::from_der(&bytes).map_err(|_| UNREADABLE)?;
    let zeros = key.modulus.iter().take_while(|byte| **byte == 0).count();
    let bits = match &key.modulus[zeros..] {
        [] => 0,
        modulus @ [first, ..] => modulus.len() * 8 - first.leading_zeros() as usize,
    };
    if bits < *RSA_BITS.start() {
        return Err(NoKey::Weak("a key of less than 1024 bits"));
    }
    if bits > *RSA_BITS.end() {
        return Err(NoKey::None("a key of more than 8192 bits"));
    }
    Ok(bytes)
}

impl Key {
    /// Whether the signature was made with its other half.
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
    use super::{NoKey, parse_key};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    /// A key of PKCS #1 whose modulus has so many bits, all of them set.
    fn rsa(bits: usize) -> String {
        let mut modulus = vec![0xff; bits.div_ceil(8)];
        modulus[0] >>= (8 - bits % 8) % 8;
        if bits.is_multiple_of(8) {
            modulus.insert(0, 0);
        }
        let integer = |bytes: &[u8]| {
            let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
            [&[2, 0x82], &length[..], bytes].concat()
        };
        let content = [integer(&modulus), vec![2, 3, 1, 0, 1]].concat();
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        STANDARD.encode([&[0x30, 0x82], &length[..], &content].concat())
    }

    #[test]
    fn records() {
        let ed25519 = STANDARD.encode([7; 32]);
        let text = format!("v=DKIM1; k=ed25519; t=y : s; h=sha1:sha256; s=email; p={ed25519}");
        assert!(parse_key(text.as_bytes()).unwrap().strict);
        let key = rsa(2048);
        let spaced = format!("{} {}\t{}", &key[..9], &key[9..20], &key[20..]);
        for text in [
            format!("p={key}; t=y"),
            format!("k=rsa; n=notes; p={spaced}"),
        ] {
            assert!(!parse_key(text.as_bytes()).unwrap().strict);
        }
        for (text, problem) in [
            ("p=", "a key that was revoked"),
            ("v=DKIM1; p=", "a key that was revoked"),
            ("v=DKIM2; p=YWJj", "a key of another version"),
            ("p=YWJj; v=DKIM1", "a key of another version"),
            ("v=DKIM1", "a key that cannot be read"),
            ("v=DKIM1; p=?", "a key that cannot be read"),
            ("v=DKIM1; p=YWJj", "a key that cannot be read"),
            ("v=DKIM1; k=ed25519; p=YWJj", "a key that cannot be read"),
            ("v=DKIM1; k=dsa; p=YWJj", "a key of an unknown kind"),
            ("v=DKIM1; h=sha1; p=YWJj", "a key for other hashes"),
            ("v=DKIM1; s=tlsrpt; p=YWJj", "a key that is not for mail"),
            ("something else", "a key that cannot be read"),
        ] {
            let found = parse_key(text.as_bytes());
            assert_eq!(found, Err(NoKey::None(problem)), "{text}");
        }
    }

    #[test]
    fn lengths() {
        for (bits, expected) in [
            (16, Some(NoKey::Weak("a key of less than 1024 bits"))),
            (1023, Some(NoKey::Weak("a key of less than 1024 bits"))),
            (1024, None),
            (8192, None),
            (8193, Some(NoKey::None("a key of more than 8192 bits"))),
            (16384, Some(NoKey::None("a key of more than 8192 bits"))),
        ] {
            let found = parse_key(format!("p={}", rsa(bits)).as_bytes());
            assert_eq!(found.err(), expected, "{bits}");
        }
    }
}
