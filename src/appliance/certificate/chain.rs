//! Reading certificate chains: what they say, and whether they hold together.
//!
//! X.509 as RFC 5280 profiles it, <https://www.rfc-editor.org/rfc/rfc5280>.
//! Whether clients trust the end of a chain is their business and left out.

use crate::appliance::machine::clock::{CLOCK_SKEW, describe_span};
use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// Most certificates of a chain.
const CHAIN_LENGTH_MAX: usize = 10;

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Serial number, hexadecimal.
    pub serial: String,
    /// Who issued it.
    pub issuer: String,
    /// Whether it is its own issuer.
    pub self_signed: bool,
    /// Seconds since 1970.
    pub not_before: i64,
    /// Seconds since 1970.
    pub not_after: i64,
    /// The names it is for.
    pub names: Vec<String>,
    /// SHA-256 of its key, hexadecimal, as in TLSA records "3 1 1".
    pub key_digest: String,
}

/// A certificate whose time it is not, by this machine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untimely {
    /// Its time has not come.
    #[error("it is valid from {} on, {} ahead of this machine's clock", time(*.from), describe_span(*.ahead))]
    Early {
        /// When it begins, in seconds since 1970.
        from: i64,
        /// In how many seconds that is.
        ahead: i64,
    },
    /// Its time is over.
    #[error("it is out of date: valid until {}", time(*.until))]
    Late {
        /// When it ended, in seconds since 1970.
        until: i64,
    },
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or_default()
}

impl CertificateFacts {
    /// Whether it is valid now, or in a moment: a CA's clock may be ahead of ours.
    pub fn check_time(&self, now: i64) -> Result<(), Untimely> {
        if now < self.not_before - CLOCK_SKEW {
            return Err(Untimely::Early {
                from: self.not_before,
                ahead: self.not_before - now,
            });
        }
        if now > self.not_after {
            return Err(Untimely::Late {
                until: self.not_after,
            });
        }
        Ok(())
    }

    /// Whether it is for this name.
    pub fn is_for(&self, name: &str) -> bool {
        self.names
            .iter()
            .any(|ours| ours.eq_ignore_ascii_case(name))
    }
}

/// The certificates of a PEM file, at least one.
pub fn parse_chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("reading the chain")?;
    ensure!(!chain.is_empty(), "the chain is empty");
    ensure!(chain.len() <= CHAIN_LENGTH_MAX, "the chain is endless");
    Ok(chain)
}

/// What the first certificate of a chain says.
pub fn read_facts(pem: &[u8]) -> Result<CertificateFacts> {
    let chain = parse_chain(pem)?;
    let leaf = parse(&chain[0])?;
    let names = leaf
        .subject_alternative_name()
        .context("reading its names")?
        .map_or_else(Vec::new, |names| names.value.general_names.clone());
    Ok(CertificateFacts {
        serial: hex::encode(leaf.raw_serial()),
        issuer: describe_issuer(&leaf),
        self_signed: leaf.issuer() == leaf.subject(),
        not_before: leaf.validity().not_before.timestamp(),
        not_after: leaf.validity().not_after.timestamp(),
        names: names
            .iter()
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            })
            .collect(),
        key_digest: hex::encode(Sha256::digest(leaf.public_key().raw)),
    })
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>> {
    x509_parser::parse_x509_certificate(der)
        .map(|(_, certificate)| certificate)
        .context("reading a certificate")
}

/// Organisation and common name, as far as there are any.
fn describe_issuer(certificate: &X509Certificate<'_>) -> String {
    let issuer = certificate.issuer();
    let parts = [
        issuer.iter_organization().next(),
        issuer.iter_common_name().next(),
    ];
    let texts: Vec<&str> = parts
        .into_iter()
        .flatten()
        .filter_map(|part| part.as_str().ok())
        .collect();
    // It is shown on terminals, and it came from elsewhere.
    texts
        .join(", ")
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect()
}

/// Whether a key belongs to the first certificate of a chain.
pub fn check_key(chain: &[CertificateDer<'static>], key_pem: &[u8]) -> Result<()> {
    let key = PrivateKeyDer::from_pem_slice(key_pem)
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("reading its key")?;
    let key = ring::default_provider()
        .key_provider
        .load_private_key(key)
        .context("reading its key")?;
    rustls::sign::CertifiedKey::new(chain.to_vec(), key)
        .keys_match()
        .context("comparing it with its key")
}

/// Whether each certificate was signed by the next, for this name, while the first is valid.
///
/// Whether that is now is [`CertificateFacts::check_time`]'s to say.
pub fn check_links(chain: &[CertificateDer<'static>], name: &str, now: i64) -> Result<()> {
    for pair in chain.windows(2) {
        let (below, above) = (parse(&pair[0])?, parse(&pair[1])?);
        if below.issuer() != above.subject() {
            bail!("'{}' is not signed by the next one", below.subject());
        }
    }
    // Nobody can say of a single certificate who signed it.
    let [leaf, middle @ .., last] = chain else {
        return Ok(());
    };
    let parsed = parse(leaf)?;
    let begin = parsed.validity().not_before.timestamp();
    let end = parsed.validity().not_after.timestamp();
    let now = now.min(end).max(begin);
    let mut roots = RootCertStore::empty();
    roots.add(last.clone()).context("reading the last of it")?;
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(
        u64::try_from(now).context("the clock is before 1970")?,
    ));
    let name = ServerName::try_from(name.to_owned()).context("no name")?;
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
        .build()?
        .verify_server_cert(leaf, middle, &name, &[], now)
        .map(|_| ())
        .context("checking its signatures")
}

#[cfg(test)]
mod tests {
    use super::{check_key, check_links, parse_chain, read_facts};
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    struct Authority {
        parameters: CertificateParams,
        key: KeyPair,
    }

    impl Authority {
        fn new(name: &str) -> Self {
            let mut parameters = CertificateParams::new([]).unwrap();
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            parameters.distinguished_name.push(DnType::CommonName, name);
            let key = KeyPair::generate().unwrap();
            Self { parameters, key }
        }

        fn pem(&self) -> String {
            self.parameters.self_signed(&self.key).unwrap().pem()
        }

        fn issue(&self, name: &str, key: &KeyPair) -> String {
            let mut parameters = CertificateParams::new([name.to_owned()]).unwrap();
            parameters.not_before = rcgen::date_time_ymd(2025, 1, 1);
            parameters.not_after = rcgen::date_time_ymd(2025, 4, 1);
            let issuer = Issuer::from_params(&self.parameters, &self.key);
            parameters.signed_by(key, &issuer).unwrap().pem()
        }
    }

    /// 2025-02-01.
    const NOW: i64 = 1_738_368_000;

    #[test]
    fn chains_must_hold_together() {
        let (ours, other) = (Authority::new("ours"), Authority::new("other"));
        // The same name, and still another authority.
        let namesake = Authority::new("ours");
        let key = KeyPair::generate().unwrap();
        let leaf = ours.issue("a.example", &key);
        let check =
            |pem: &str, now| check_links(&parse_chain(pem.as_bytes()).unwrap(), "a.example", now);
        check(&format!("{leaf}{}", ours.pem()), NOW).unwrap();
        for (above, wrong) in [
            (&other, "not signed by the next"),
            (&namesake, "signatures"),
        ] {
            let error = check(&format!("{leaf}{}", above.pem()), NOW).unwrap_err();
            assert!(format!("{error:#}").contains(wrong), "{error:#}");
        }
        // Whether its time has come is asked apart, or a clock would make good chains bad.
        for off in [-20 * 365, 20 * 365] {
            check(&format!("{leaf}{}", ours.pem()), NOW + off * 86_400).unwrap();
        }
        let foreign = ours.issue("b.example", &key);
        assert!(check(&format!("{foreign}{}", ours.pem()), NOW).is_err());
        check(&leaf, NOW).unwrap();

        let chain = parse_chain(leaf.as_bytes()).unwrap();
        check_key(&chain, key.serialize_pem().as_bytes()).unwrap();
        let stranger = KeyPair::generate().unwrap().serialize_pem();
        assert!(check_key(&chain, stranger.as_bytes()).is_err());
        assert!(check_key(&chain, b"").is_err());
    }

    #[test]
    fn a_clock_that_is_some_minutes_off_changes_nothing() {
        let authority = Authority::new("ours");
        let key = KeyPair::generate().unwrap();
        let facts = read_facts(authority.issue("a.example", &key).as_bytes()).unwrap();
        let (begin, end) = (facts.not_before, facts.not_after);
        for now in [begin - 300, begin - 3, begin, NOW, end] {
            assert_eq!(facts.check_time(now), Ok(()), "{now}");
        }
        let early = facts.check_time(begin - 13 * 3600).unwrap_err();
        assert_eq!(
            early.to_string(),
            "it is valid from 2025-01-01T00:00:00Z on, 13 hours ahead of this machine's clock"
        );
        let late = facts.check_time(end + 1).unwrap_err();
        assert_eq!(
            late.to_string(),
            "it is out of date: valid until 2025-04-01T00:00:00Z"
        );
    }

    #[test]
    fn facts_of_the_first() {
        let authority = Authority::new("An Authority");
        let key = KeyPair::generate().unwrap();
        let facts = read_facts(authority.issue("A.example", &key).as_bytes()).unwrap();
        assert!(facts.is_for("a.example") && !facts.is_for("b.example"));
        assert_eq!(facts.issuer, "An Authority");
        assert_eq!(facts.not_after, 1_743_465_600);
        assert!(!facts.self_signed);
        assert!(read_facts(authority.pem().as_bytes()).unwrap().self_signed);
        assert!(read_facts(b"").is_err());
        assert!(
            read_facts(b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n").is_err()
        );
    }
}
