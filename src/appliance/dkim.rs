//! DKIM keys: RSA with 2048 bits (RFC 8301, <https://www.rfc-editor.org/rfc/rfc8301>), one per domain.
//!
//! The private key is PKCS #8 PEM, readable by the signer alone; the record to
//! publish is kept beside it in the form of opendkim-genkey.

use super::accounts::owner;
use super::place::{self, Place};
use super::state::{PUBLIC, SECRET, ensure_file, ensure_folder, read_optional, write_file};
use crate::error::{Hint, hinted};
use crate::settings::Settings;
use anyhow::Context;
use base64::Engine;
use rsa::RsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use rsa::rand_core::OsRng;
use std::path::PathBuf;

/// What verifiers must accept, and what fits one DNS answer.
const BITS: usize = 2048;

/// The private key of a domain.
pub fn key_path(domain: &str, selector: &str) -> PathBuf {
    PathBuf::from(format!("{}/{domain}/{selector}.private", place::DKIM))
}

fn record_path(domain: &str, selector: &str) -> PathBuf {
    PathBuf::from(format!("{}/{domain}/{selector}.txt", place::DKIM))
}

/// Makes the keys that are missing, `DOMAIN`'s first.
///
/// # Errors
/// Keys that cannot be made, read or written.
pub fn ensure_keys(place: &Place, settings: &Settings) -> anyhow::Result<()> {
    let folder_owner = owner(place, "opendkim", "opendkim")?;
    ensure_folder(&place.path(place::DKIM), 0o755, None)?;
    for domain in settings.domains() {
        ensure_key(place, domain, &settings.dkim_selector, folder_owner)
            .with_context(|| format!("making the DKIM key of {domain}"))?;
    }
    Ok(())
}

fn ensure_key(
    place: &Place,
    domain: &str,
    selector: &str,
    signer: super::state::Owner,
) -> anyhow::Result<()> {
    let path = place.path(key_path(domain, selector));
    let folder = path.parent().context("a key without a folder")?;
    ensure_folder(folder, 0o700, signer)?;
    let key = match read_optional(&path)? {
        Some(bytes) => RsaPrivateKey::from_pkcs8_pem(&String::from_utf8_lossy(&bytes))
            .with_context(|| format!("reading {}", path.display()))
            .hint(
                "move the damaged file away and run mailctl provision, then publish the new record",
            )?,
        None => {
            let key = RsaPrivateKey::new(&mut OsRng, BITS)?;
            let pem = key.to_pkcs8_pem(LineEnding::LF)?;
            write_file(&path, pem.as_bytes(), SECRET, signer)?;
            key
        }
    };
    let public = key.to_public_key().to_public_key_der()?;
    let record = zone_record(domain, selector, public.as_bytes());
    ensure_file(
        &place.path(record_path(domain, selector)),
        record.as_bytes(),
        PUBLIC,
        signer,
    )
    .map(|_| ())
}

/// The TXT record as a line of a zone, its text cut into strings of at most 255 bytes.
fn zone_record(domain: &str, selector: &str, public: &[u8]) -> String {
    // RFC 1035 section 3.3: one character-string.
    const LONGEST_STRING: usize = 255;
    let text = format!(
        "v=DKIM1; k=rsa; p={}",
        base64::engine::general_purpose::STANDARD.encode(public)
    );
    let strings: Vec<String> = text
        .as_bytes()
        .chunks(LONGEST_STRING)
        .map(|part| format!("\"{}\"", String::from_utf8_lossy(part)))
        .collect();
    format!(
        "{selector}._domainkey.{domain}. 3600 IN TXT ( {} )\n",
        strings.join(" ")
    )
}

/// The records to publish, of one domain or of all.
///
/// # Errors
/// A domain that is not served, or keys not made yet.
pub fn show_records(
    place: &Place,
    settings: &Settings,
    only: Option<&str>,
) -> anyhow::Result<String> {
    let mut lines = Vec::new();
    for domain in settings.domains() {
        if only.is_some_and(|only| only != domain) {
            continue;
        }
        let path = place.path(record_path(domain, &settings.dkim_selector));
        let record = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))
            .hint("mailctl provision makes what is missing")?;
        lines.push(record.trim_end().to_owned());
    }
    if lines.is_empty() {
        return Err(hinted(
            format!(
                "'{}' is no domain of this machine",
                only.unwrap_or_default()
            ),
            "mailctl settings show names the domains",
        ));
    }
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::zone_record;

    #[test]
    fn long_records_are_cut_into_strings() {
        let record = zone_record("a.example", "mailserver", &[0; 294]);
        assert!(record.starts_with(
            "mailserver._domainkey.a.example. 3600 IN TXT ( \"v=DKIM1; k=rsa; p=AAAA"
        ));
        let strings: Vec<&str> = record.split('"').skip(1).step_by(2).collect();
        assert_eq!(
            strings.iter().map(|text| text.len()).collect::<Vec<_>>(),
            [255, 155]
        );
        assert!(record.ends_with("\" )\n"));
    }
}
