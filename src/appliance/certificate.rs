//! The certificate that serves until a certificate authority's arrives.
//!
//! Self-signed ECDSA P-256 for HOSTNAME (RFC 5280,
//! <https://www.rfc-editor.org/rfc/rfc5280>), and reading the end of any
//! certificate's validity. Obtaining a real one is the agent's part (`acme`),
//! putting it in place that of `certificate_pair`.

use super::accounts::owner;
use super::certificate_chain::{check_key, parse_chain, read_facts};
use super::certificate_pair::{BOTH, CHAIN, KEY, KEY_MODE, install_pair, link_pair};
use super::place::{self, Place};
use super::state::{
    Owner, PUBLIC, ensure_file, ensure_folder, read_optional, remove_file, write_file,
};
use anyhow::{Context, bail};
use base64::Engine;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// Certificate chain of HOSTNAME, PEM.
pub fn chain_path() -> PathBuf {
    PathBuf::from(place::TLS).join(CHAIN)
}

/// Its private key, PEM.
pub fn key_path() -> PathBuf {
    PathBuf::from(place::TLS).join(KEY)
}

/// Key and chain in one file, PEM.
pub fn key_and_chain_path() -> PathBuf {
    PathBuf::from(place::TLS).join(BOTH)
}

/// The pair of an optional name.
pub fn names_folder(name: &str) -> PathBuf {
    PathBuf::from(place::TLS_NAMES).join(name)
}

/// Whose the keys are: whoever serves TLS is a member of the group.
///
/// # Errors
/// An image without the group.
pub fn key_owner(place: &Place) -> anyhow::Result<Owner> {
    owner(place, "root", "mailimg-tls")
}

/// Names HOSTNAME and the digest of both files while they are self-signed.
fn marker_path() -> PathBuf {
    PathBuf::from(place::TLS).join("self-signed")
}

/// Makes a self-signed certificate unless a fitting or a real one is there.
///
/// # Errors
/// Files that cannot be read or written.
pub fn ensure_certificate(place: &Place, hostname: &str) -> anyhow::Result<()> {
    ensure_folder(&place.path(place::TLS), 0o755, None)?;
    let chain = read_optional(&place.path(chain_path()))?;
    let key = read_optional(&place.path(key_path()))?;
    let marker = read_optional(&place.path(marker_path()))?;
    if let (Some(chain), Some(key)) = (&chain, &key) {
        // A run cut short between two files leaves a pair that the digest disowns.
        if marker.is_none_or(|marker| marker == mark(hostname, chain, key)) {
            let owner = key_owner(place)?;
            // Owner, mode and files of older releases are corrected.
            ensure_file(&place.path(key_path()), key, KEY_MODE, owner)?;
            return link_pair(&place.path(place::TLS), owner);
        }
    }
    let (chain, key) = self_signed(hostname).context("making a self-signed certificate")?;
    let (chain, key) = (chain.as_bytes(), key.as_bytes());
    write_file(
        &place.path(marker_path()),
        &mark(hostname, chain, key),
        PUBLIC,
        None,
    )?;
    install_pair(&place.path(place::TLS), chain, key, key_owner(place)?)
}

fn mark(hostname: &str, chain: &[u8], key: &[u8]) -> Vec<u8> {
    let digest = Sha256::new()
        .chain_update(chain)
        .chain_update(key)
        .finalize();
    format!("{hostname} {}\n", hex::encode(digest)).into_bytes()
}

fn self_signed(hostname: &str) -> anyhow::Result<(String, String)> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut parameters = CertificateParams::new(vec![hostname.to_owned()])?;
    parameters
        .distinguished_name
        .push(DnType::CommonName, hostname);
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Fixed dates: it is made before anybody has set the clock.
    parameters.not_before = rcgen::date_time_ymd(2025, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2045, 1, 1);
    Ok((parameters.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// Whether the certificate in use is the self-signed one.
pub fn is_self_signed(place: &Place) -> bool {
    place.path(marker_path()).exists()
}

/// What became of a certificate from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It serves from now on.
    New,
    /// A real one is here already.
    Kept,
}

/// Replaces the self-signed certificate by a real one, unless only asked whether it would do.
///
/// # Errors
/// One for another name, out of date, or without its key; files that cannot be written.
pub fn take_certificate(
    place: &Place,
    hostname: &str,
    chain: &str,
    key: &str,
    dry_run: bool,
) -> anyhow::Result<Taken> {
    if !is_self_signed(place) && place.path(chain_path()).exists() {
        return Ok(Taken::Kept);
    }
    check_pair(hostname, chain, key)?;
    if !dry_run {
        replace_certificate(place, chain, key)?;
    }
    Ok(Taken::New)
}

/// Puts a checked pair in place of whatever HOSTNAME has.
///
/// # Errors
/// Files that cannot be written.
pub fn replace_certificate(place: &Place, chain: &str, key: &str) -> anyhow::Result<()> {
    install_pair(
        &place.path(place::TLS),
        chain.as_bytes(),
        key.as_bytes(),
        key_owner(place)?,
    )?;
    // The marker goes last: with it, a pair that was never finished is made anew.
    remove_file(&place.path(marker_path()))
}

/// Whether a chain is for this host, in date, and belongs to the key.
///
/// # Errors
/// What does not fit.
pub fn check_pair(hostname: &str, chain: &str, key: &str) -> anyhow::Result<()> {
    let certificates = parse_chain(chain.as_bytes())?;
    let facts = read_facts(chain.as_bytes())?;
    let now = jiff::Timestamp::now().as_second();
    if now < facts.not_before {
        bail!("it is not valid yet, or the clock is behind");
    }
    if now > facts.not_after {
        bail!("it is out of date: valid until {}", valid_until(chain)?);
    }
    if !facts.is_for(hostname) {
        bail!("it is not for {hostname}");
    }
    check_key(&certificates, key.as_bytes())
}

/// Until when the first certificate of a PEM file is valid, as `YYYY-MM-DDTHH:MM:SSZ`.
///
/// # Errors
/// Text that holds no certificate.
pub fn valid_until(pem: &str) -> anyhow::Result<String> {
    let body: String = pem
        .lines()
        .skip_while(|line| *line != "-----BEGIN CERTIFICATE-----")
        .skip(1)
        .take_while(|line| !line.starts_with('-'))
        .collect();
    let der = base64::engine::general_purpose::STANDARD
        .decode(body)
        .context("reading a certificate")?;
    let (certificate, _) = element(&der)?;
    let (mut rest, _) = element(certificate)?;
    // version (tagged 0, optional), serial, algorithm, issuer, then validity.
    if rest.first() == Some(&0xa0) {
        rest = element(rest)?.1;
    }
    for _ in 0..3 {
        rest = element(rest)?.1;
    }
    let (validity, _) = element(rest)?;
    let not_after = element(validity)?.1;
    let digits = std::str::from_utf8(element(not_after)?.0)?;
    // UTCTime has two digits of the year, RFC 5280 section 4.1.2.5.1 says which century.
    let full = match digits.len() {
        13 if digits < "5" => format!("20{digits}"),
        13 => format!("19{digits}"),
        _ => digits.to_owned(),
    };
    if full.len() != 15 || !full.is_ascii() {
        bail!("'{digits}' is no time of a certificate");
    }
    Ok(format!(
        "{}-{}-{}T{}:{}:{}Z",
        &full[0..4],
        &full[4..6],
        &full[6..8],
        &full[8..10],
        &full[10..12],
        &full[12..14]
    ))
}

/// Content of the first DER element, and what follows it.
fn element(der: &[u8]) -> anyhow::Result<(&[u8], &[u8])> {
    let first = *der.get(1).context("a certificate cut short")?;
    let (length, start) = if first < 0x80 {
        (usize::from(first), 2)
    } else {
        let digits = usize::from(first & 0x7f);
        if digits > 4 {
            bail!("a certificate with an impossible length");
        }
        let bytes = der.get(2..2 + digits).context("a certificate cut short")?;
        let length = bytes
            .iter()
            .fold(0usize, |sum, byte| (sum << 8) | usize::from(*byte));
        (length, 2 + digits)
    };
    let content = der
        .get(start..start + length)
        .context("a certificate cut short")?;
    Ok((content, &der[start + length..]))
}

#[cfg(test)]
mod tests {
    use super::{chain_path, ensure_certificate, key_path, valid_until};
    use crate::appliance::place::Place;

    #[test]
    fn made_once_and_again_for_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let chain = || std::fs::read_to_string(place.path(chain_path())).unwrap();
        ensure_certificate(&place, "mail.a.example").unwrap();
        let first = chain();
        assert_eq!(valid_until(&first).unwrap(), "2045-01-01T00:00:00Z");
        ensure_certificate(&place, "mail.a.example").unwrap();
        assert_eq!(chain(), first);
        ensure_certificate(&place, "mail.b.example").unwrap();
        assert_ne!(chain(), first);
        let second = chain();
        std::fs::write(place.path(key_path()), "torn").unwrap();
        ensure_certificate(&place, "mail.b.example").unwrap();
        assert_ne!(chain(), second);
    }

    #[test]
    fn no_certificate_is_an_error() {
        assert!(valid_until("").is_err());
        assert!(
            valid_until("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----").is_err()
        );
    }
}
