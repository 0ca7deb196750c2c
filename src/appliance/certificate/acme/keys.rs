//! The keys of HOSTNAME: the one in use, and the one that comes next.
//!
//! Others may hold this machine to its keys by TLSA records (RFC 7672,
//! <https://www.rfc-editor.org/rfc/rfc7672>), and remember them for a time. So
//! the next key exists, and its digest is known to who publishes records, long
//! before it is used; and it is used only once nobody can remember records
//! without it. Until then a renewal keeps the key.

use super::configuration::Configuration;
use super::failure::Failure;
use super::names::Tlsa;
use super::record::{SeenTlsa, name_folder};
use crate::appliance::certificate::chain::read_facts;
use crate::appliance::certificate::{chain_path, key_path};
use crate::appliance::machine::files::{
    PUBLIC, SECRET, ensure_file, ensure_folder, read_linked, read_optional, write_file,
};
use crate::appliance::machine::place::{self, Place};
use anyhow::{Context, Result};
use rcgen::{KeyPair, PublicKeyData};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// How many keys are remembered; one lasts for months.
const MOST_KEYS: usize = 64;

/// What others may know; see `place::ACME_PUBLIC`.
#[derive(Serialize)]
struct Published<'a> {
    next_key: Option<&'a str>,
    account: Option<&'a str>,
    directory: &'a str,
    /// Every key that ever was the one in use or the next, the latest last: records that name
    /// these are ours to remove, and no others.
    keys: Vec<String>,
}

/// What was told the last time.
#[derive(Default, Deserialize)]
struct Told {
    #[serde(default)]
    keys: Vec<String>,
}

fn next_path(place: &Place, host: &str) -> PathBuf {
    name_folder(place, host).join("next-key.pem")
}

/// A new ECDSA P-256 key, PEM.
pub fn make_key() -> Result<String> {
    Ok(KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
        .context("making a key")?
        .serialize_pem())
}

/// SHA-256 of a key, as TLSA records name it.
pub fn key_digest(pem: &str) -> Result<String> {
    let key = KeyPair::from_pem(pem).context("reading a key")?;
    Ok(hex::encode(Sha256::digest(key.subject_public_key_info())))
}

/// The key that comes next, made when there is none that is not in use yet.
pub fn ensure_next_key(place: &Place, host: &str) -> Result<String> {
    let path = next_path(place, host);
    let used = used_digest(place)?;
    if let Some(bytes) = read_optional(&path)? {
        let pem = String::from_utf8_lossy(&bytes).into_owned();
        match key_digest(&pem) {
            Ok(digest) if Some(&digest) != used.as_ref() => return Ok(pem),
            Ok(_) => {}
            Err(error) => tell!("warning: {}: {error:#}; a new one is made", path.display()),
        }
    }
    let pem = make_key()?;
    ensure_folder(&name_folder(place, host), 0o755, None)?;
    write_file(&path, pem.as_bytes(), SECRET, None)?;
    Ok(pem)
}

fn used_digest(place: &Place) -> Result<Option<String>> {
    Ok(read_linked(&place.path(chain_path()))?
        .and_then(|pem| read_facts(&pem).ok())
        .map(|facts| facts.key_digest))
}

/// Adds keys to those that are remembered.
fn remember(mut known: Vec<String>, keys: impl IntoIterator<Item = String>) -> Vec<String> {
    for key in keys {
        if !known.contains(&key) {
            known.push(key);
        }
    }
    known.split_off(known.len().saturating_sub(MOST_KEYS))
}

/// Tells others of the next key and the account.
pub fn publish(
    place: &Place,
    configuration: &Configuration,
    next_key: &str,
    account: Option<&str>,
) -> Result<()> {
    let digest = key_digest(next_key)?;
    let path = place.path(place::ACME_PUBLIC);
    // Damage costs the memory of old keys: what names them then stays until a person looks.
    let told: Told = read_optional(&path)?
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let keys = used_digest(place)?.into_iter().chain([digest.clone()]);
    let published = Published {
        keys: remember(told.keys, keys),
        next_key: Some(&digest),
        account,
        directory: &configuration.directory,
    };
    let mut text = serde_json::to_vec(&published).context("writing JSON")?;
    text.push(b'\n');
    ensure_file(&path, &text, PUBLIC, None).map(|_| ())
}

/// The key in use, readable to the group that serves it.
fn load_current(place: &Place) -> Option<String> {
    let pem = std::fs::read_to_string(place.path(key_path())).ok()?;
    key_digest(&pem).ok().map(|_| pem)
}

/// Notes what DNS lists of the next key.
pub fn observe(seen: &mut SeenTlsa, tlsa: &Tlsa, digest: &str, now: i64) {
    if seen.digest != digest {
        digest.clone_into(&mut seen.digest);
        seen.since = None;
        seen.ttl = 0;
    }
    match tlsa {
        Tlsa::Unknown => {}
        Tlsa::Absent => seen.since = None,
        Tlsa::Listed { digests, ttl } => {
            // What is left of it in a cache is less than what was published.
            seen.ttl = seen.ttl.max(*ttl);
            seen.since = digests
                .iter()
                .any(|listed| listed == digest)
                .then(|| seen.since.unwrap_or(now).min(now));
        }
    }
}

/// Whether nobody can hold us to the key in use any more.
fn may_change(seen: &SeenTlsa, tlsa: &Tlsa, now: i64) -> bool {
    match tlsa {
        Tlsa::Unknown => false,
        Tlsa::Absent => true,
        // Both are whole seconds: two of them that differ by one may be a moment apart.
        Tlsa::Listed { .. } => seen
            .since
            .is_some_and(|since| now - since > i64::from(seen.ttl)),
    }
}

/// The key for the next certificate of HOSTNAME.
pub fn choose_key(
    place: &Place,
    host: &str,
    seen: &SeenTlsa,
    tlsa: &Tlsa,
    now: i64,
) -> Result<String, Failure> {
    if !may_change(seen, tlsa, now) {
        match load_current(place) {
            Some(current) => return Ok(current),
            None => tell!("warning: the key in use cannot be read; the next one is used"),
        }
    }
    Ok(ensure_next_key(place, host)?)
}

#[cfg(test)]
mod tests {
    use super::{choose_key, ensure_next_key, key_digest, make_key, may_change, observe, remember};
    use crate::appliance::certificate::acme::names::Tlsa;
    use crate::appliance::certificate::acme::record::SeenTlsa;
    use crate::appliance::certificate::ensure_certificate;
    use crate::appliance::machine::place::Place;

    fn listed(digests: &[&str], ttl: u32) -> Tlsa {
        Tlsa::Listed {
            digests: digests.iter().map(|digest| (*digest).to_owned()).collect(),
            ttl,
        }
    }

    #[test]
    fn a_key_is_used_only_when_nobody_remembers_otherwise() {
        let mut seen = SeenTlsa::default();
        let mut at = |tlsa: &Tlsa, now| {
            observe(&mut seen, tlsa, "next", now);
            may_change(&seen, tlsa, now)
        };
        assert!(at(&Tlsa::Absent, 0));
        assert!(!at(&Tlsa::Unknown, 1));
        assert!(!at(&listed(&["current"], 3600), 2));
        let both = listed(&["current", "next"], 3600);
        assert!(!at(&both, 10));
        assert!(!at(&both, 3610), "seen at the end of second 10");
        // From a cache: others may still remember the older set for longer.
        assert!(!at(&listed(&["current", "next"], 1), 3610));
        assert!(at(&both, 3611));
        assert!(!at(&Tlsa::Unknown, 3612));
        assert!(at(&both, 3613));
        assert!(!at(&listed(&["current"], 3600), 3614));
        assert!(!at(&both, 3615));
        // The clock goes back.
        assert!(!at(&both, 100));
        assert!(at(&both, 3701));
    }

    #[test]
    fn keys_are_remembered_once_each_and_not_for_ever() {
        let key = |number: usize| format!("{number:064x}");
        let known = remember(vec![key(1), key(2)], [key(2), key(3)]);
        assert_eq!(known, [key(1), key(2), key(3)]);
        let known = remember(known, (4..70).map(key));
        assert_eq!((known.len(), &known[63]), (64, &key(69)));
    }

    #[test]
    fn the_next_key_stays_until_it_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        ensure_certificate(&place, "a.example").unwrap();
        let next = ensure_next_key(&place, "a.example").unwrap();
        assert_eq!(ensure_next_key(&place, "a.example").unwrap(), next);
        let seen = SeenTlsa::default();
        let choose = |tlsa: &Tlsa| choose_key(&place, "a.example", &seen, tlsa, 0).unwrap();
        assert_eq!(choose(&Tlsa::Absent), next);
        let current = choose(&Tlsa::Unknown);
        assert_ne!(current, next);
        assert_eq!(choose(&listed(&["x"], 60)), current);
        let torn = folder
            .path()
            .join("var/lib/mailimg/acme/names/a.example/next-key.pem");
        std::fs::write(torn, "-----BEGIN").unwrap();
        assert_ne!(ensure_next_key(&place, "a.example").unwrap(), next);
        assert_eq!(key_digest(&make_key().unwrap()).unwrap().len(), 64);
    }
}
