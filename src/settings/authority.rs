//! The root certificate of a private authority: the file that `ACME_CA_FILE` names.
//!
//! It travels beside settings.env and is read where that file is read: by the
//! builder, which puts both onto an image, and by the machine, which keeps them.
//! The text is PEM (RFC 7468, <https://www.rfc-editor.org/rfc/rfc7468>).

use super::expand::expand_key;
use super::name::parse_file_name;
use super::written::Written;
use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, SectionKind};
use std::io::BufReader;

/// The key that names the file.
pub const AUTHORITY_KEY: &str = "ACME_CA_FILE";

/// Largest such file, in bytes: twenty certificates, and with settings of usual
/// length it still fits what a hypervisor can hand over.
pub const MAXIMUM_AUTHORITY_BYTES: usize = 32 * 1024;

/// A root certificate on its way, under the name that the settings give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// File name beside settings.env.
    pub name: String,
    /// The file as it was found.
    pub bytes: Vec<u8>,
}

/// The file that settings name, `None` when they name none that could be one.
#[must_use]
pub fn named_authority(written: &Written) -> Option<String> {
    written.value(AUTHORITY_KEY)?;
    let value = expand_key(written, AUTHORITY_KEY).ok()?;
    parse_file_name(value.trim()).ok()
}

/// Checks such a file and returns its certificates, as PEM and nothing else. A private key
/// in it is refused.
pub fn parse_authority(bytes: &[u8]) -> Result<String> {
    if bytes.len() > MAXIMUM_AUTHORITY_BYTES {
        bail!(
            "it has {} bytes; expected at most {MAXIMUM_AUTHORITY_BYTES}",
            bytes.len()
        );
    }
    let mut reader = BufReader::new(bytes);
    let mut roots = RootCertStore::empty();
    let mut text = String::new();
    while let Some((kind, der)) = pem::from_buf(&mut reader)
        .ok()
        .context("it is damaged; expected certificates in PEM")?
    {
        match kind {
            SectionKind::Certificate => {
                roots
                    .add(der.clone().into())
                    .with_context(|| format!("reading certificate {}", roots.len() + 1))?;
                text.push_str(&write_certificate(&der));
            }
            SectionKind::RsaPrivateKey | SectionKind::PrivateKey | SectionKind::EcPrivateKey => {
                bail!("it holds a private key; expected certificates alone");
            }
            _ => {}
        }
    }
    if roots.is_empty() {
        bail!("it holds no certificate; expected one in PEM, -----BEGIN CERTIFICATE-----");
    }
    Ok(text)
}

fn write_certificate(der: &[u8]) -> String {
    const LINE: usize = 64;
    let encoded = STANDARD.encode(der);
    let lines: Vec<&str> = (0..encoded.len())
        .step_by(LINE)
        .map(|start| &encoded[start..encoded.len().min(start + LINE)])
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::{MAXIMUM_AUTHORITY_BYTES, named_authority, parse_authority};
    use crate::settings::parse_settings;

    fn authority() -> (String, String) {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap();
        (certificate.pem().replace("\r\n", "\n"), key.serialize_pem())
    }

    #[test]
    fn certificates_are_kept_and_what_stands_around_them_is_not() {
        let (one, _) = authority();
        let (other, _) = authority();
        let file = format!("# ours\r\n{}\nnext\n{other}", one.replace('\n', "\r\n"));
        assert_eq!(
            parse_authority(file.as_bytes()).unwrap(),
            format!("{one}{other}")
        );
    }

    #[test]
    fn what_is_no_root_certificate_is_refused() {
        let (certificate, key) = authority();
        let wrong = |bytes: &[u8]| format!("{:#}", parse_authority(bytes).unwrap_err());
        assert!(wrong(b"").starts_with("it holds no certificate"));
        assert!(wrong(b"\xff\x00\n-----BEGIN").starts_with("it holds no certificate"));
        assert!(wrong(&certificate.as_bytes()[..200]).starts_with("it is damaged"));
        assert!(
            wrong(format!("{certificate}{key}").as_bytes()).starts_with("it holds a private key")
        );
        let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(wrong(empty.as_bytes()).starts_with("reading certificate 1: "));
        let large = vec![b'\n'; MAXIMUM_AUTHORITY_BYTES + 1];
        assert!(wrong(&large).starts_with("it has 32769 bytes"));
    }

    #[test]
    fn the_name_is_found_whatever_else_is_wrong() {
        let named = |text: &str| named_authority(&parse_settings(text.as_bytes()).unwrap());
        assert_eq!(
            named("DOMAIN=a.example\nACME_CA_FILE=${DOMAIN}.pem\nMETRICS=maybe\n").as_deref(),
            Some("a.example.pem")
        );
        for none in ["", "=", "=../x", "=Settings.ENV", "=a:b", "=${"] {
            let text = if none.is_empty() {
                String::new()
            } else {
                format!("ACME_CA_FILE{none}\n")
            };
            assert_eq!(named(&text), None, "{none}");
        }
    }
}
