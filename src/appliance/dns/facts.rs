//! What the records say about this machine, gathered from settings and state.

use super::address::Addresses;
use crate::appliance::certificate;
use crate::appliance::dkim::key::{joined_text, load_record, record_name};
use crate::appliance::dkim::load_selectors;
use crate::appliance::machine::clock::now;
use crate::appliance::machine::files::{read_linked, read_optional};
use crate::appliance::machine::place::{self, Place};
use crate::appliance::sts::published::sts_policy;
use crate::settings::{Settings, StsMode};
use anyhow::{Context, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Host part of Let's Encrypt's directories, staging and production.
const LETS_ENCRYPT_HOST: &str = "api.letsencrypt.org";
/// What Let's Encrypt answers to in CAA records
/// (<https://letsencrypt.org/docs/caa/>).
const LETS_ENCRYPT: &str = "letsencrypt.org";

/// Where TLS-ALPN-01 connects to (RFC 8737 section 3).
const HTTPS_PORT: u16 = 443;

/// How a signing key is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUse {
    /// It signs.
    Active,
    /// It will.
    Next,
    /// It did, and mail that it signed may be under way.
    Retired,
}

/// The record of a signing key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// The mail domain.
    pub domain: String,
    /// Where the record is published.
    pub name: String,
    /// The record's text.
    pub text: String,
    /// How the key is used.
    pub used: KeyUse,
}

/// Who may issue our certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// Its domain.
    pub domain: String,
    /// The only account that may, once there is one.
    pub account: Option<String>,
    /// The ways in which this machine proves that a name is its own (RFC 8555 section 8).
    pub methods: Vec<&'static str>,
}

/// Everything that records are made of.
#[derive(Debug, Clone)]
pub struct Facts {
    /// `HOSTNAME`.
    pub hostname: String,
    /// Mail domains, `DOMAIN` first.
    pub domains: Vec<String>,
    /// The machine's addresses.
    pub addresses: Addresses,
    /// `ADMIN_EMAIL`, local part and domain.
    pub reports_to: (String, String),
    /// Signing keys.
    pub keys: Vec<KeyRecord>,
    /// Identifier of the MTA-STS policy; `None` when there is none.
    pub sts_id: Option<String>,
    /// Digest of the key that the served certificate has; `None` while it is self-signed.
    pub tls_key: Option<String>,
    /// Digest of the key that comes next.
    pub next_tls_key: Option<String>,
    /// Digests of keys that this machine had before.
    pub former_tls_keys: Vec<String>,
    /// Who issues certificates, if their CAA name is known.
    pub issuer: Option<Issuer>,
    /// Whether another host sends our mail.
    pub relayed: bool,
}

/// What the certificate agent publishes about itself.
#[derive(Debug, Default, Deserialize)]
struct AcmePublic {
    #[serde(default)]
    next_key: Option<String>,
    #[serde(default)]
    account: Option<String>,
    #[serde(default)]
    directory: Option<String>,
    /// Every key that ever was in use or the next.
    #[serde(default)]
    keys: Vec<String>,
}

/// Gathers all of it.
pub fn gather_facts(place: &Place, settings: &Settings, addresses: Addresses) -> Result<Facts> {
    let acme = load_acme(place)?;
    let tls_key = served_key(place)?;
    let next_tls_key = acme.next_key.clone().filter(|digest| is_digest(digest));
    let current = [&tls_key, &next_tls_key];
    let is_former = |digest: &&String| !current.into_iter().flatten().any(|key| key == *digest);
    Ok(Facts {
        former_tls_keys: acme.keys.iter().filter(is_former).cloned().collect(),
        hostname: settings.hostname.clone(),
        domains: settings.domains().map(str::to_owned).collect(),
        addresses,
        reports_to: (
            settings.admin_email.local.clone(),
            settings.admin_email.domain.clone(),
        ),
        keys: signing_keys(place, settings)?,
        sts_id: policy_id(settings),
        tls_key,
        next_tls_key,
        issuer: find_issuer(
            &settings.acme.directory_url,
            &acme,
            settings.web.https_port == HTTPS_PORT,
        ),
        relayed: settings.relay.host.is_some(),
    })
}

fn load_acme(place: &Place) -> Result<AcmePublic> {
    let path = place.path(place::ACME_PUBLIC);
    match read_optional(&path)? {
        Some(bytes) => {
            serde_json::from_slice(&bytes).with_context(|| format!("reading {}", path.display()))
        }
        None => Ok(AcmePublic::default()),
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn signing_keys(place: &Place, settings: &Settings) -> Result<Vec<KeyRecord>> {
    let mut keys = Vec::new();
    for domain in settings.domains() {
        let selectors = load_selectors(place, settings, domain);
        let key = |selector: &str, used| -> Result<KeyRecord> {
            Ok(KeyRecord {
                domain: domain.to_owned(),
                name: record_name(domain, selector),
                text: joined_text(&load_record(place, domain, selector)?),
                used,
            })
        };
        keys.push(key(&selectors.active, KeyUse::Active)?);
        if let Some(next) = &selectors.pending {
            keys.push(key(next, KeyUse::Next)?);
        }
        for retired in &selectors.retired {
            // A person may have removed its files together with the record.
            if retired.until >= now() {
                keys.extend(key(&retired.selector, KeyUse::Retired).ok());
            }
        }
    }
    Ok(keys)
}

/// The digest that TLSA records carry: SHA-256 of the public key (RFC 6698 section 2.1).
fn served_key(place: &Place) -> Result<Option<String>> {
    let path = place.path(certificate::chain_path());
    if certificate::is_self_signed(place) {
        return Ok(None);
    }
    let Some(pem) = read_linked(&path)? else {
        return Ok(None);
    };
    let read = || -> Result<String> {
        let first =
            CertificateDer::from_pem_slice(&pem).map_err(|error| anyhow::anyhow!("{error}"))?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&first)?;
        Ok(hex::encode(Sha256::digest(certificate.public_key().raw)))
    };
    read()
        .with_context(|| format!("reading {}", path.display()))
        .map(Some)
}

fn find_issuer(directory: &str, acme: &AcmePublic, tls_alpn: bool) -> Option<Issuer> {
    let host = directory.strip_prefix("https://")?.split('/').next()?;
    let is_lets_encrypt = host.ends_with(LETS_ENCRYPT_HOST);
    let same_directory = acme.directory.as_deref() == Some(directory);
    is_lets_encrypt.then(|| Issuer {
        domain: LETS_ENCRYPT.to_owned(),
        account: acme
            .account
            .clone()
            .filter(|account| same_directory && is_plain(account)),
        methods: if tls_alpn {
            vec!["http-01", "tls-alpn-01"]
        } else {
            vec!["http-01"]
        },
    })
}

/// Whether an address can stand in a CAA record as it is (RFC 8659 section 4.2).
fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|byte| (0x21..=0x7e).contains(&byte) && byte != b';')
}

/// Changes whenever the policy does (RFC 8461 section 3.1).
pub fn policy_id(settings: &Settings) -> Option<String> {
    // A policy that is withdrawn need not be announced.
    (settings.sts_mode != StsMode::None).then(|| sts_policy(settings).id)
}

#[cfg(test)]
mod tests {
    use super::{AcmePublic, find_issuer};

    #[test]
    fn the_account_counts_for_its_own_directory() {
        let acme = AcmePublic {
            next_key: None,
            account: Some("https://ca.example/acct/1".to_owned()),
            directory: Some("https://acme-v02.api.letsencrypt.org/directory".to_owned()),
            keys: Vec::new(),
        };
        let find = |directory| find_issuer(directory, &acme, true);
        let issuer = find("https://acme-v02.api.letsencrypt.org/directory").unwrap();
        assert_eq!(issuer.domain, "letsencrypt.org");
        assert_eq!(issuer.account.as_deref(), Some("https://ca.example/acct/1"));
        let staging = find("https://acme-staging-v02.api.letsencrypt.org/directory").unwrap();
        assert_eq!(staging.account, None);
        assert_eq!(find("https://ca.example/directory"), None);
        assert_eq!(staging.methods, ["http-01", "tls-alpn-01"]);
        let behind = "https://acme-v02.api.letsencrypt.org/directory";
        let behind = find_issuer(behind, &acme, false).unwrap();
        assert_eq!(behind.methods, ["http-01"]);
    }
}
