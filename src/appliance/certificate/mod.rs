//! The certificate that serves until a certificate authority's arrives.
//!
//! Self-signed ECDSA P-256 for HOSTNAME (RFC 5280,
//! <https://www.rfc-editor.org/rfc/rfc5280>). Obtaining a real one is the agent's
//! part ([`acme`]), putting it in place that of [`pair`].

pub mod acme;
pub mod chain;
pub mod pair;
pub mod trust;

use super::machine::accounts::owner;
use super::machine::clock::now;
use super::machine::files::{
    Owner, PUBLIC, ensure_folder, read_linked, read_optional, remove_file, write_file,
};
use super::machine::place::{self, Place};
use crate::settings::Settings;
use anyhow::{Context, Result, bail};
use chain::{CertificateFacts, check_key, parse_chain, read_facts};
use pair::{BOTH, CHAIN, KEY, install_pair, link_pair};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// Writes which roots are trusted, and what the agent needs of the settings.
pub fn configure(place: &Place, settings: &Settings) -> Result<()> {
    trust::ensure_trust(place, settings)?;
    acme::configure(place, settings)
}

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
pub fn key_owner(place: &Place) -> Result<Owner> {
    owner(place, "root", "mailimg-tls")
}

/// Names HOSTNAME and the digest of both files while they are self-signed.
fn marker_path() -> PathBuf {
    PathBuf::from(place::TLS).join("self-signed")
}

/// Makes a self-signed certificate unless a fitting or a real one is there.
pub fn ensure_certificate(place: &Place, hostname: &str) -> Result<()> {
    ensure_folder(&place.path(place::TLS), 0o755, None)?;
    let chain = read_linked(&place.path(chain_path()))?;
    let key = read_linked(&place.path(key_path()))?;
    let marker = read_optional(&place.path(marker_path()))?;
    if let (Some(chain), Some(key)) = (&chain, &key) {
        // A run cut short between two files leaves a pair that the digest disowns.
        if marker.is_none_or(|marker| marker == mark(hostname, chain, key)) {
            return link_pair(&place.path(place::TLS), key_owner(place)?);
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

fn self_signed(hostname: &str) -> Result<(String, String)> {
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
pub fn take_certificate(
    place: &Place,
    hostname: &str,
    chain: &str,
    key: &str,
    dry_run: bool,
) -> Result<Taken> {
    if !is_self_signed(place) && place.path(chain_path()).exists() {
        return Ok(Taken::Kept);
    }
    check_pair(hostname, chain, key)?.check_time(now())?;
    if !dry_run {
        replace_certificate(place, chain, key)?;
    }
    Ok(Taken::New)
}

/// Puts a checked pair in place of whatever HOSTNAME has.
pub fn replace_certificate(place: &Place, chain: &str, key: &str) -> Result<()> {
    install_pair(
        &place.path(place::TLS),
        chain.as_bytes(),
        key.as_bytes(),
        key_owner(place)?,
    )?;
    // The marker goes last: with it, a pair that was never finished is made anew.
    remove_file(&place.path(marker_path()))
}

/// Whether a chain is for this host and belongs to the key; what it says of itself.
pub fn check_pair(hostname: &str, chain: &str, key: &str) -> Result<CertificateFacts> {
    let certificates = parse_chain(chain.as_bytes())?;
    let facts = read_facts(chain.as_bytes())?;
    if !facts.is_for(hostname) {
        bail!("it is not for {hostname}");
    }
    check_key(&certificates, key.as_bytes())?;
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::{chain_path, ensure_certificate, key_path};
    use crate::appliance::certificate::chain::read_facts;
    use crate::appliance::machine::place::Place;

    #[test]
    fn made_once_and_again_for_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let chain = || std::fs::read_to_string(place.path(chain_path())).unwrap();
        ensure_certificate(&place, "mail.a.example").unwrap();
        let first = chain();
        let end = read_facts(first.as_bytes()).unwrap().not_after;
        let end = jiff::Timestamp::from_second(end).unwrap();
        assert_eq!(end.to_string(), "2045-01-01T00:00:00Z");
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
        assert!(read_facts(b"").is_err());
        let cut = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----";
        assert!(read_facts(cut).is_err());
    }
}
