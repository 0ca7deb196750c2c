//! Which OpenPGP signatures we accept over an InRelease.
//!
//! Specification: RFC 9580, <https://www.rfc-editor.org/rfc/rfc9580>, sections
//! 7 (cleartext signatures), 5.2 (signatures) and 10 (certificates). The crate
//! `pgp` parses and does the arithmetic; the policy is here: a signature counts
//! when
//! - it is made with SHA-256 or better, not in the future and not expired,
//! - by a primary key or a subkey whose newest self-signature or binding (with
//!   back-signature) permits signing,
//! - and neither key is weak, revoked, nor expired at the time of signing or now.
//!
//! One such signature by an allowed certificate is enough. Left out: the web
//! of trust; certificates are trusted because we embedded them.

use anyhow::{Context, Result, anyhow, bail, ensure};
use pgp::composed::{CleartextSignedMessage, Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType, SubpacketData};
use pgp::types::{KeyDetails, PublicParams, Tag};
use rsa::traits::PublicKeyParts;

use super::date::{CLOCK_TOLERANCE, format_date};
use crate::error::{Hint, hinted};

/// Shortest RSA key that counts, in bits.
const RSA_BITS_MIN: usize = 2048;
/// First line of a cleartext-signed document (RFC 9580, 7.1).
const SIGNED_MESSAGE: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";

/// An OpenPGP certificate (public key) that may sign.
#[derive(Clone, Debug)]
pub struct Certificate {
    key: SignedPublicKey,
}

impl Certificate {
    /// Fingerprint of the primary key, hexadecimal.
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint().to_string()
    }
}

#[cfg(test)]
impl From<SignedPublicKey> for Certificate {
    fn from(key: SignedPublicKey) -> Self {
        Self { key }
    }
}

/// Parses the certificates of a keyring, binary or armored.
pub fn parse_certificates(bytes: &[u8]) -> Result<Vec<Certificate>> {
    let mut certificates = Vec::new();
    let (keys, _) = SignedPublicKey::from_reader_many(bytes)?;
    for key in keys {
        certificates.push(Certificate { key: key? });
    }
    ensure!(!certificates.is_empty(), "it holds no certificate");
    Ok(certificates)
}

/// A document whose signature was good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What was signed, lines ending in `\n`.
    pub text: String,
    /// Fingerprint of the key that signed, hexadecimal.
    pub signer: String,
}

/// Verifies a cleartext-signed document; `now` is in seconds since 1970.
pub fn verify_signed_text(
    bytes: &[u8],
    certificates: &[Certificate],
    now: i64,
) -> Result<Verified> {
    if !bytes.starts_with(SIGNED_MESSAGE) {
        let beginning = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
        let beginning = beginning.lines().next().unwrap_or_default().to_owned();
        return Err(hinted(
            format!(
                "this is no signed document: it begins with '{}'",
                beginning.trim()
            ),
            "a proxy or a captive portal may have answered in the mirror's place; \
             open the address in a browser, or name another mirror in the recipe",
        ));
    }
    // The parser insists on one newline at the end where some mirrors' tools add more.
    let (message, _) = CleartextSignedMessage::from_armor(bytes.trim_ascii_end())
        .map_err(|error| anyhow!("{error}"))
        .context("reading the signed document")
        .hint("it was damaged or cut short on its way: try again, or name another mirror")?;
    let text = message.signed_text();
    let mut reasons = Vec::new();
    for signature in message.signatures() {
        match check_signature(signature, &text, certificates, now) {
            Ok(signer) => {
                return Ok(Verified {
                    text: text.replace("\r\n", "\n"),
                    signer,
                });
            }
            Err(reason) => reasons.push(format!("{reason:#}")),
        }
    }
    if reasons.is_empty() {
        reasons.push("it carries no signature".to_owned());
    }
    Err(hinted(
        format!("no acceptable signature: {}", reasons.join("; ")),
        "the file was damaged or signed by somebody else: try another mirror, \
         and check that 'keys' of this source names the archive's keyring",
    ))
}

/// Returns the fingerprint of the key that made a good signature.
fn check_signature(
    signature: &Signature,
    text: &str,
    certificates: &[Certificate],
    now: i64,
) -> Result<String> {
    let issuer = issuer(signature);
    let made = check_use(signature, now).with_context(|| format!("the signature of {issuer}"))?;
    ensure!(
        matches!(
            signature.typ(),
            Some(SignatureType::Text | SignatureType::Binary)
        ),
        "the signature of {issuer} is not one over a document"
    );
    for certificate in certificates {
        let key = &certificate.key;
        // Cheap test first; it decides nothing on its own.
        if issued_by(signature, &key.primary_key) {
            check_strength(&key.primary_key).with_context(|| format!("key {issuer}"))?;
            check_primary(key, made, now).with_context(|| format!("key {issuer}"))?;
            ensure!(
                signature.verify(&key.primary_key, text.as_bytes()).is_ok(),
                "the signature of {issuer} does not match the text"
            );
            return Ok(key.primary_key.fingerprint().to_string());
        }
        for subkey in &key.public_subkeys {
            if issued_by(signature, &subkey.key) {
                // Whoever breaks the primary key makes subkeys of his own.
                check_strength(&key.primary_key)
                    .and_then(|()| check_strength(&subkey.key))
                    .and_then(|()| check_not_revoked(key))
                    .with_context(|| format!("key {issuer}"))?;
                check_validity(key, made, now).with_context(|| format!("key {issuer}"))?;
                check_subkey(key, subkey, made, now).with_context(|| format!("key {issuer}"))?;
                ensure!(
                    signature.verify(&subkey.key, text.as_bytes()).is_ok(),
                    "the signature of {issuer} does not match the text"
                );
                return Ok(subkey.key.fingerprint().to_string());
            }
        }
    }
    bail!("{issuer} is not among the allowed keys")
}

fn issuer(signature: &Signature) -> String {
    if let Some(fingerprint) = signature.issuer_fingerprint().first() {
        return fingerprint.to_string();
    }
    match signature.issuer_key_id().first() {
        Some(identity) => identity.to_string(),
        None => "an unnamed key".to_owned(),
    }
}

fn issued_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    signature
        .issuer_fingerprint()
        .iter()
        .any(|fingerprint| **fingerprint == key.fingerprint())
        || signature
            .issuer_key_id()
            .iter()
            .any(|identity| **identity == key.legacy_key_id())
}

/// Checks what every signature must fulfil; returns when it was made.
fn check_use(signature: &Signature, now: i64) -> Result<i64> {
    ensure!(
        matches!(
            signature.hash_alg(),
            Some(
                HashAlgorithm::Sha256
                    | HashAlgorithm::Sha384
                    | HashAlgorithm::Sha512
                    | HashAlgorithm::Sha3_256
                    | HashAlgorithm::Sha3_512
            )
        ),
        "uses a hash weaker than SHA-256"
    );
    let config = signature.config().context("has an unknown version")?;
    // RFC 9580, 5.2.3.7: what we do not understand and is critical spoils the signature.
    ensure!(
        !config
            .hashed_subpackets()
            .any(|subpacket| subpacket.is_critical
                && matches!(
                    subpacket.data,
                    SubpacketData::Other(..)
                        | SubpacketData::Experimental(..)
                        // There is no notation that we know.
                        | SubpacketData::Notation(..)
                )),
        "has a critical part that we do not know"
    );
    let made = i64::from(signature.created().context("has no date")?.as_secs());
    ensure!(
        made <= now + CLOCK_TOLERANCE,
        "was made in the future ({}); is this machine's clock right?",
        format_date(made)
    );
    if let Some(lifetime) = signature.signature_expiration_time()
        && lifetime.as_secs() > 0
    {
        let end = made + i64::from(lifetime.as_secs());
        ensure!(now < end, "expired on {}", format_date(end));
    }
    Ok(made)
}

/// Refuses keys that can be broken: what apt refuses as well,
/// <https://wiki.debian.org/Teams/Apt/Sha1Removal> and RFC 9580, 12.4.
fn check_strength(key: &impl KeyDetails) -> Result<()> {
    match key.public_params() {
        PublicParams::RSA(parameters) => {
            let bits = parameters.key.n().bits();
            ensure!(
                bits >= RSA_BITS_MIN,
                "is an RSA key of {bits} bits, fewer than {RSA_BITS_MIN}"
            );
            Ok(())
        }
        PublicParams::DSA(_) | PublicParams::Elgamal(_) | PublicParams::Unknown { .. } => {
            bail!("is of a kind that is weak or not known")
        }
        _ => Ok(()),
    }
}

fn check_not_revoked(key: &SignedPublicKey) -> Result<()> {
    ensure!(
        key.details.revocation_signatures.is_empty(),
        "has been revoked"
    );
    Ok(())
}

fn check_lifetime(created: i64, binding: &Signature, made: i64, now: i64) -> Result<()> {
    ensure!(
        created <= made,
        "is younger than the signature ({})",
        format_date(created)
    );
    if let Some(lifetime) = binding.key_expiration_time()
        && lifetime.as_secs() > 0
    {
        let end = created + i64::from(lifetime.as_secs());
        ensure!(made < end && now < end, "expired on {}", format_date(end));
    }
    Ok(())
}

/// The newest self-signature that says what the key is for.
fn newest_self_signature(key: &SignedPublicKey, now: i64) -> Result<&Signature> {
    let primary = &key.primary_key;
    let direct = key
        .details
        .direct_signatures
        .iter()
        .filter(|signature| signature.verify_key(primary).is_ok());
    let users = key.details.users.iter().filter(|user| {
        !user
            .signatures
            .iter()
            .any(|signature| signature.typ() == Some(SignatureType::CertRevocation))
    });
    let certifications = users.flat_map(|user| {
        user.signatures.iter().filter(|signature| {
            issued_by(signature, primary)
                && signature
                    .verify_certification(primary, Tag::UserId, &user.id)
                    .is_ok()
        })
    });
    direct
        .chain(certifications)
        // Debian's direct signatures only name revokers.
        .filter(|signature| states_flags(signature) && check_use(signature, now).is_ok())
        .max_by_key(|signature| signature.created())
        .context("has no valid self-signature")
}

fn states_flags(signature: &Signature) -> bool {
    signature.config().is_some_and(|config| {
        config
            .hashed_subpackets()
            .any(|subpacket| matches!(subpacket.data, SubpacketData::KeyFlags(_)))
    })
}

fn check_validity(key: &SignedPublicKey, made: i64, now: i64) -> Result<&Signature> {
    let own = newest_self_signature(key, now)?;
    let created = i64::from(key.primary_key.created_at().as_secs());
    check_lifetime(created, own, made, now)?;
    Ok(own)
}

fn check_primary(key: &SignedPublicKey, made: i64, now: i64) -> Result<()> {
    check_not_revoked(key)?;
    let own = check_validity(key, made, now)?;
    ensure!(own.key_flags().sign(), "may not sign documents");
    Ok(())
}

fn check_subkey(
    key: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    made: i64,
    now: i64,
) -> Result<()> {
    let primary = &key.primary_key;
    ensure!(
        !subkey
            .signatures
            .iter()
            .any(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation)),
        "has been revoked"
    );
    let binding = subkey
        .signatures
        .iter()
        .filter(|signature| {
            signature.typ() == Some(SignatureType::SubkeyBinding)
                && check_use(signature, now).is_ok()
                && signature
                    .verify_subkey_binding(primary, &subkey.key)
                    .is_ok()
        })
        .max_by_key(|signature| signature.created())
        .context("is not bound to its primary key")?;
    ensure!(
        states_flags(binding) && binding.key_flags().sign(),
        "may not sign documents"
    );
    let back = binding
        .embedded_signature()
        .context("did not agree to its primary key")?;
    check_use(back, now)?;
    ensure!(
        back.verify_primary_key_binding(&subkey.key, primary)
            .is_ok(),
        "did not agree to its primary key"
    );
    let created = i64::from(subkey.key.created_at().as_secs());
    check_lifetime(created, binding, made, now)
}

#[cfg(test)]
mod tests;
