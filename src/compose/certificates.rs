//! The bundle of certificate authorities, as update-ca-certificates makes it.
//!
//! `/etc/ssl/certs` gets the joined bundle, a link per certificate and a link
//! by OpenSSL's subject hash
//! (<https://docs.openssl.org/3.5/man1/openssl-rehash/>): the first four bytes,
//! little-endian, of the SHA-1 of the subject's canonical encoding, which is
//! its RDNs with every text value as a lower-case UTF8String with blanks
//! folded, and without the outer header.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use sha1::{Digest, Sha1};
use x509_parser::der_parser::ber::BerObjectContent;
use x509_parser::der_parser::der::{Tag, parse_der};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::tree::{Kind, Node, Tree, name_of};

const AUTHORITIES: &str = "usr/share/ca-certificates";
const CERTIFICATES: &str = "etc/ssl/certs";

/// Makes the bundle and its links, when the tree has authorities.
pub fn install_certificates(tree: &mut Tree) -> Result<()> {
    let mut bundle = Vec::new();
    let mut links = Vec::new();
    let mut by_hash: BTreeMap<u32, u32> = BTreeMap::new();
    for (path, node) in tree.below(AUTHORITIES) {
        let (Kind::File(content), Some(stem)) = (&node.kind, name_of(path).strip_suffix(".crt"))
        else {
            continue;
        };
        let text = content.read()?;
        let hash = subject_hash(&text).with_context(|| format!("reading /{path}"))?;
        let number = by_hash.entry(hash).or_default();
        let name = format!("{stem}.pem").replace([' ', '(', ')'], "_");
        links.push((name.clone(), format!("/{path}")));
        links.push((format!("{hash:08x}.{number}"), name));
        *number += 1;
        bundle.extend_from_slice(&text);
        if !bundle.ends_with(b"\n") {
            bundle.push(b'\n');
        }
    }
    if links.is_empty() {
        return Ok(());
    }
    for (name, target) in links {
        tree.insert(&format!("{CERTIFICATES}/{name}"), Node::symlink(target))?;
    }
    tree.insert(&format!("{CERTIFICATES}/ca-certificates.crt"), Node::file(0o644, bundle))
}

fn subject_hash(pem: &[u8]) -> Result<u32> {
    let (_, pem) = parse_x509_pem(pem).context("reading PEM")?;
    let (_, certificate) = X509Certificate::from_der(&pem.contents).context("reading X.509")?;
    let canonical = canonical_name(certificate.subject().as_raw())?;
    let digest = Sha1::digest(&canonical);
    Ok(u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]))
}

/// OpenSSL's canonical encoding of a Name.
fn canonical_name(name: &[u8]) -> Result<Vec<u8>> {
    let (_, name) = parse_der(name).context("reading the subject")?;
    let mut canonical = Vec::new();
    for rdn in name.as_sequence()? {
        let mut set = Vec::new();
        for attribute in rdn.as_set()? {
            let parts = attribute.as_sequence()?;
            let [kind, value] = &parts[..] else { anyhow::bail!("reading the subject: odd attribute") };
            let mut encoded = encode(0x06, kind.as_slice()?);
            encoded.extend(match text_of(&value.content, value.header.tag()) {
                Some(text) => encode(0x0c, fold(&text).as_bytes()),
                None => encode(value.header.tag().0 as u8, value.as_slice()?),
            });
            set.push(encode(0x30, &encoded));
        }
        canonical.extend(encode(0x31, &set.concat()));
    }
    Ok(canonical)
}

fn text_of(content: &BerObjectContent, tag: Tag) -> Option<String> {
    match (content, tag) {
        (BerObjectContent::T61String(text), _) => Some((*text).to_owned()),
        (BerObjectContent::BmpString(bytes), _) => Some(utf16_text(bytes)),
        (BerObjectContent::UniversalString(bytes), _) => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
        (
            BerObjectContent::UTF8String(text)
            | BerObjectContent::PrintableString(text)
            | BerObjectContent::IA5String(text)
            | BerObjectContent::VisibleString(text),
            _,
        ) => Some((*text).to_owned()),
        _ => None,
    }
}

fn utf16_text(bytes: &[u8]) -> String {
    let units: Vec<u16> =
        bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    String::from_utf16_lossy(&units)
}

/// Blanks at the ends go, runs of them become one, ASCII letters lower-case.
fn fold(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c'))
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").to_ascii_lowercase()
}

fn encode(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match content.len() {
        length @ 0..0x80 => bytes.push(length as u8),
        length @ 0x80..0x100 => bytes.extend([0x81, length as u8]),
        length => bytes.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    bytes.extend_from_slice(content);
    bytes
}
