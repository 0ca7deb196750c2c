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
use x509_parser::der_parser::der::Tag;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

use crate::builder::tree::{Kind, Node, Tree, name_of};

const AUTHORITIES: &str = "usr/share/ca-certificates";
const CERTIFICATES: &str = "etc/ssl/certs";

/// The bit of an ASN.1 tag for sequences and sets.
const CONSTRUCTED: u8 = 0x20;

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
        // As update-ca-certificates(8) spells names.
        let stem = stem.replace([' ', ','], "_").replace(['(', ')'], "=");
        let name = format!("{stem}.pem");
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
    tree.insert(
        &format!("{CERTIFICATES}/ca-certificates.crt"),
        Node::file(0o644, bundle),
    )
}

fn subject_hash(pem: &[u8]) -> Result<u32> {
    let (_, pem) = parse_x509_pem(pem).context("reading PEM")?;
    let (_, certificate) = X509Certificate::from_der(&pem.contents).context("reading X.509")?;
    let digest = Sha1::digest(canonical_name(certificate.subject()));
    Ok(u32::from_le_bytes([
        digest[0], digest[1], digest[2], digest[3],
    ]))
}

/// OpenSSL's canonical encoding of a Name.
fn canonical_name(name: &X509Name) -> Vec<u8> {
    let mut canonical = Vec::new();
    for rdn in name.iter_rdn() {
        let mut set = Vec::new();
        for attribute in rdn.iter() {
            let value = attribute.attr_value();
            let mut encoded = encode(Tag::Oid.0 as u8, attribute.attr_type().as_bytes());
            encoded.extend(match text_of(value.data, value.tag()) {
                Some(text) => encode(Tag::Utf8String.0 as u8, fold(&text).as_bytes()),
                None => encode(value.tag().0 as u8, value.data),
            });
            set.push(encode(CONSTRUCTED | Tag::Sequence.0 as u8, &encoded));
        }
        // Of a set's members, DER puts the smallest encoding first.
        set.sort();
        canonical.extend(encode(CONSTRUCTED | Tag::Set.0 as u8, &set.concat()));
    }
    canonical
}

fn text_of(bytes: &[u8], tag: Tag) -> Option<String> {
    match tag {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::VisibleString => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
        // Latin-1, as OpenSSL takes it: every byte is the character of that number.
        Tag::T61String => Some(bytes.iter().copied().map(char::from).collect()),
        Tag::BmpString => {
            let pairs = bytes
                .chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            Some(String::from_utf16_lossy(&pairs.collect::<Vec<u16>>()))
        }
        _ => None,
    }
}

/// Blanks at the ends go, runs of them become one, ASCII letters lower-case.
fn fold(text: &str) -> String {
    let words: Vec<&str> = text
        .split([' ', '\t', '\n', '\r', '\x0b', '\x0c'])
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

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};

    use super::{install_certificates, subject_hash};
    use crate::builder::tree::{Node, Tree};

    /// A certificate of `C=DE, O=organization, OU=plain OU, CN=Test CA`.
    fn certificate(organization: DnValue) -> String {
        let mut subject = DistinguishedName::new();
        let country = DnValue::PrintableString("DE".try_into().unwrap());
        subject.push(DnType::CountryName, country);
        subject.push(DnType::OrganizationName, organization);
        subject.push(DnType::OrganizationalUnitName, "plain OU");
        subject.push(DnType::CommonName, "Test CA");
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = subject;
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn the_hash_is_that_of_openssl_for_any_encoding_and_spacing() {
        // openssl x509 -noout -subject_hash, for UTF8String, T61String and BMPString.
        const HASH: u32 = 0x99e1_5611;
        let bmp = DnValue::BmpString("some ÜMLAUT org".try_into().unwrap());
        for organization in ["  Some   ÜMLAUT\t Org ".into(), bmp] {
            let pem = certificate(organization);
            assert_eq!(subject_hash(pem.as_bytes()).unwrap(), HASH);
        }
        // Only ASCII letters are folded.
        let pem = certificate("some ümlaut org".into());
        assert_ne!(subject_hash(pem.as_bytes()).unwrap(), HASH);
    }

    #[test]
    fn authorities_get_a_bundle_a_name_and_a_numbered_hash() {
        let one = certificate("some ÜMLAUT org".into());
        let two = certificate("some ÜMLAUT org".into());
        let mut tree = Tree::default();
        let folder = "usr/share/ca-certificates/mozilla";
        for (name, pem) in [("A (1), b.crt", one.trim_end()), ("c.crt", &two)] {
            let node = Node::file(0o644, pem.to_owned());
            tree.insert(&format!("{folder}/{name}"), node).unwrap();
        }
        install_certificates(&mut tree).unwrap();
        let bundle = tree.content("etc/ssl/certs/ca-certificates.crt").unwrap();
        let text = String::from_utf8(bundle.read().unwrap()).unwrap();
        assert_eq!(text, format!("{}\n{two}", one.trim_end()));
        let listing = tree.listing();
        let links: Vec<&str> = listing
            .lines()
            .filter(|line| line.starts_with("l "))
            .collect();
        assert_eq!(
            links,
            [
                "l /etc/ssl/certs/99e15611.0 -> A_=1=__b.pem",
                "l /etc/ssl/certs/99e15611.1 -> c.pem",
                "l /etc/ssl/certs/A_=1=__b.pem -> /usr/share/ca-certificates/mozilla/A (1), b.crt",
                "l /etc/ssl/certs/c.pem -> /usr/share/ca-certificates/mozilla/c.crt",
            ]
        );
    }
}
