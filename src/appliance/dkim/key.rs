//! DKIM keys: RSA with 2048 bits (RFC 8301, <https://www.rfc-editor.org/rfc/rfc8301>).
//!
//! The private key is PKCS #8 PEM, readable by the signer alone; the record to
//! publish is kept beside it in the form of opendkim-genkey.

use crate::appliance::machine::files::{
    Owner, PUBLIC, SECRET, ensure_file, ensure_folder, read_optional, remove_file, write_file,
};
use crate::appliance::machine::place::{self, Place};
use crate::error::Hint;
use anyhow::{Context, Result};
use base64::Engine;
use rsa::RsaPrivateKey;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use rsa::rand_core::OsRng;
use rsa::traits::PublicKeyParts;
use std::path::PathBuf;

/// What verifiers must accept, and what fits one DNS answer.
const KEY_BITS: usize = 2048;

/// The folder of a domain's keys.
pub fn domain_folder(domain: &str) -> PathBuf {
    PathBuf::from(place::DKIM).join(domain)
}

/// The private key of a domain.
pub fn key_path(domain: &str, selector: &str) -> PathBuf {
    domain_folder(domain).join(format!("{selector}.private"))
}

fn record_path(domain: &str, selector: &str) -> PathBuf {
    domain_folder(domain).join(format!("{selector}.txt"))
}

/// Makes a key unless it is there, and its record in any case.
pub fn ensure_key(place: &Place, domain: &str, selector: &str, signer: Owner) -> Result<()> {
    let path = place.path(key_path(domain, selector));
    ensure_folder(&place.path(domain_folder(domain)), 0o755, signer)?;
    let damaged =
        "move the damaged file away and run `mailctl dkim ensure`, then publish the new record";
    let key = match read_optional(&path).hint(damaged)? {
        Some(bytes) => RsaPrivateKey::from_pkcs8_pem(&String::from_utf8_lossy(&bytes))
            .with_context(|| format!("reading {}", path.display()))
            .hint(damaged)?,
        None => {
            let key = RsaPrivateKey::new(&mut OsRng, KEY_BITS)?;
            let pem = key.to_pkcs8_pem(LineEnding::LF)?;
            write_file(&path, pem.as_bytes(), SECRET, signer)?;
            key
        }
    };
    let public = key.to_public_key().to_public_key_der()?;
    let record = zone_record(domain, selector, &record_text(public.as_bytes()));
    ensure_file(
        &place.path(record_path(domain, selector)),
        record.as_bytes(),
        PUBLIC,
        signer,
    )
    .map(|_| ())
}

/// Reads a key of opendkim-genkey, which older releases wrote as PKCS #1, into our form.
pub fn convert_key(pem: &str) -> Result<String> {
    const KEY_BITS_MIN: usize = 1024;
    let key = RsaPrivateKey::from_pkcs8_pem(pem)
        .or_else(|_| RsaPrivateKey::from_pkcs1_pem(pem))
        .context("reading an RSA key")?;
    let bits = key.size() * 8;
    if bits < KEY_BITS_MIN {
        anyhow::bail!("the key has only {bits} bits");
    }
    Ok(key.to_pkcs8_pem(LineEnding::LF)?.to_string())
}

/// What stands in the record, in one piece.
fn record_text(public: &[u8]) -> String {
    format!(
        "v=DKIM1; k=rsa; p={}",
        base64::engine::general_purpose::STANDARD.encode(public)
    )
}

/// The TXT record as a line of a zone, its text cut into strings of at most 255 bytes.
fn zone_record(domain: &str, selector: &str, text: &str) -> String {
    // RFC 1035 section 3.3: one character-string.
    const LONGEST_STRING: usize = 255;
    let strings: Vec<String> = text
        .as_bytes()
        .chunks(LONGEST_STRING)
        .map(|part| format!("\"{}\"", String::from_utf8_lossy(part)))
        .collect();
    format!(
        "{}. 3600 IN TXT ( {} )\n",
        record_name(domain, selector),
        strings.join(" ")
    )
}

/// Where a record is published (RFC 6376 section 3.6.2.1).
pub fn record_name(domain: &str, selector: &str) -> String {
    format!("{selector}._domainkey.{domain}")
}

/// The record of a key as a line of a zone.
pub fn load_record(place: &Place, domain: &str, selector: &str) -> Result<String> {
    let path = place.path(record_path(domain, selector));
    read_optional(&path)?
        .map(|record| String::from_utf8_lossy(&record).trim_end().to_owned())
        .with_context(|| format!("{} is not there", path.display()))
        .hint("`mailctl dkim ensure` makes what is missing")
}

/// Removes the record of a key that got another selector.
pub fn remove_record(place: &Place, domain: &str, selector: &str) -> Result<()> {
    remove_file(&place.path(record_path(domain, selector)))
}

/// The strings of a zone's line, joined as a resolver joins them.
pub fn joined_text(record: &str) -> String {
    record.split('"').skip(1).step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::{convert_key, joined_text, record_text, zone_record};
    use rsa::RsaPrivateKey;
    use rsa::pkcs1::EncodeRsaPrivateKey;
    use rsa::pkcs8::{DecodePrivateKey, LineEnding};
    use rsa::rand_core::OsRng;

    #[test]
    fn long_records_are_cut_into_strings() {
        let text = record_text(&[0; 294]);
        let record = zone_record("a.example", "mailserver", &text);
        assert!(record.starts_with(
            "mailserver._domainkey.a.example. 3600 IN TXT ( \"v=DKIM1; k=rsa; p=AAAA"
        ));
        let strings: Vec<&str> = record.split('"').skip(1).step_by(2).collect();
        assert_eq!(
            strings.iter().map(|text| text.len()).collect::<Vec<_>>(),
            [255, 155]
        );
        assert!(record.ends_with("\" )\n"));
        assert_eq!(joined_text(&record), text);
    }

    #[test]
    fn keys_of_old_releases_are_converted() {
        let key = RsaPrivateKey::new(&mut OsRng, 1024).unwrap();
        let old = key.to_pkcs1_pem(LineEnding::LF).unwrap();
        let new = convert_key(&old).unwrap();
        assert_eq!(RsaPrivateKey::from_pkcs8_pem(&new).unwrap(), key);
        assert_eq!(convert_key(&new).unwrap(), new);
        assert!(convert_key("-----BEGIN PRIVATE KEY-----\n").is_err());
    }
}
