//! Signatures that count and signatures that do not.

use pgp::composed::{KeyType, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;

use super::{Certificate, parse_certificates, verify_signed_text};
use crate::builder::archive::fixture::NOW;
use crate::builder::archive::fixture::keys::{
    Grant, KEYS_MADE, Signing, bind, certificate, certify, make_key, make_key_of, revoke,
    revoke_subkey, sign, sign_by_all,
};
use crate::error::render;

const TEXT: &str = "Origin: Test\n- dashes are escaped\n\nlast line\n";
const DAY: i64 = 86400;

fn outcome(document: &[u8], certificates: &[Certificate], now: i64) -> String {
    match verify_signed_text(document, certificates, now) {
        Ok(verified) => format!("signed by {}", verified.signer),
        Err(error) => render(&error)
            .lines()
            .next()
            .unwrap_or_default()
            .replace("error: no acceptable signature: ", ""),
    }
}

/// Signs with the primary key.
fn by_primary(key: &SignedSecretKey, signing: &Signing) -> String {
    let document = sign(TEXT, &key.primary_key, signing);
    outcome(&document, &[certificate(key)], NOW)
}

/// Signs with the subkey.
fn by_subkey(key: &SignedSecretKey, signing: &Signing) -> String {
    let document = sign(TEXT, &key.secret_subkeys[0].key, signing);
    outcome(&document, &[certificate(key)], NOW)
}

#[test]
fn the_text_comes_out_as_it_went_in() {
    let key = make_key(1);
    let document = sign(TEXT, &key.primary_key, &Signing::default());
    let verified = verify_signed_text(&document, &[certificate(&key)], NOW).unwrap();
    assert_eq!(verified.text.trim_end(), TEXT.trim_end());
    assert_eq!(verified.signer, certificate(&key).fingerprint());
}

#[test]
fn a_signing_subkey_counts() {
    assert!(by_subkey(&make_key(1), &Signing::default()).starts_with("signed by "));
}

#[test]
fn one_good_signature_among_several_is_enough() {
    let (old, new, foreign) = (make_key(1), make_key(2), make_key(3));
    let document = sign_by_all(TEXT, &[&old, &new], &Signing::default());
    for trusted in [&old, &new] {
        let expected = format!("signed by {}", certificate(trusted).fingerprint());
        assert_eq!(outcome(&document, &[certificate(trusted)], NOW), expected);
    }
    assert_eq!(
        outcome(&document, &[certificate(&foreign)], NOW),
        format!(
            "{} is not among the allowed keys; {} is not among the allowed keys",
            certificate(&old).fingerprint(),
            certificate(&new).fingerprint()
        )
    );
}

#[test]
fn every_changed_byte_of_the_text_is_noticed() {
    let key = make_key(1);
    let document = sign(TEXT, &key.primary_key, &Signing::default());
    let start = document
        .windows(6)
        .position(|part| part == b"Origin")
        .unwrap();
    let end = document
        .windows(9)
        .position(|part| part == b"last line")
        .unwrap();
    for position in start..end + 9 {
        let mut changed = document.clone();
        changed[position] ^= 1;
        let outcome = outcome(&changed, &[certificate(&key)], NOW);
        assert!(!outcome.starts_with("signed"), "byte {position}: {outcome}");
    }
}

#[test]
fn text_outside_the_signed_part_is_refused() {
    let key = make_key(1);
    let document = sign(TEXT, &key.primary_key, &Signing::default());
    let before = [b"Suite: other\n".as_slice(), &document].concat();
    let after = [&document, b"Suite: other\n".as_slice()].concat();
    for spoiled in [before, after] {
        assert!(verify_signed_text(&spoiled, &[certificate(&key)], NOW).is_err());
    }
    let newline = [&document, b"\n\n".as_slice()].concat();
    assert!(verify_signed_text(&newline, &[certificate(&key)], NOW).is_ok());
}

#[test]
fn a_truncated_document_is_refused() {
    let key = make_key(1);
    let document = sign(TEXT, &key.primary_key, &Signing::default());
    for length in [0, 10, 60, 120, document.len() - 60] {
        assert!(verify_signed_text(&document[..length], &[certificate(&key)], NOW).is_err());
    }
}

#[test]
fn weak_hashes_and_wrong_times_are_refused() {
    let key = make_key(1);
    let primary = certificate(&key).fingerprint();
    let weak = Signing {
        claimed: Some(HashAlgorithm::Sha1),
        ..Signing::default()
    };
    let future = Signing {
        made: NOW + DAY,
        ..Signing::default()
    };
    let expired = Signing {
        made: NOW - 2 * DAY,
        lifetime: Some(86400),
        ..Signing::default()
    };
    let before_the_key = Signing {
        made: KEYS_MADE - DAY,
        ..Signing::default()
    };
    for (signing, expected) in [
        (
            weak,
            format!("the signature of {primary}: uses a hash weaker than SHA-256"),
        ),
        (
            future,
            format!(
                "the signature of {primary}: was made in the future (2026-11-23 12:00:00 UTC); \
                 is this machine's clock right?"
            ),
        ),
        (
            expired,
            format!("the signature of {primary}: expired on 2026-11-21 12:00:00 UTC"),
        ),
        (
            before_the_key,
            format!("key {primary}: is younger than the signature (2024-02-26 12:00:00 UTC)"),
        ),
    ] {
        assert_eq!(by_primary(&key, &signing), expected);
    }
}

#[test]
fn primary_keys_without_permission_are_refused() {
    let lifetime = u32::try_from(NOW - DAY - KEYS_MADE).unwrap();
    for (grant, expected) in [
        (
            Grant {
                sign: false,
                ..Grant::default()
            },
            "may not sign documents",
        ),
        (
            Grant {
                key_lifetime: Some(lifetime),
                ..Grant::default()
            },
            "expired on 2026-11-21 12:00:00 UTC",
        ),
    ] {
        let mut key = make_key(1);
        key.details.users[0].signatures = vec![certify(&key, &grant)];
        let outcome = by_primary(&key, &Signing::default());
        assert!(outcome.ends_with(expected), "{outcome}");
    }
    let mut foreign = make_key(1);
    foreign.details.users[0].signatures = make_key(2).details.users[0].signatures.clone();
    assert!(by_primary(&foreign, &Signing::default()).ends_with("has no valid self-signature"));
}

#[test]
fn the_newest_self_signature_decides() {
    let mut key = make_key(1);
    let renewed = Grant {
        signing: Signing {
            made: KEYS_MADE + DAY,
            ..Signing::default()
        },
        key_lifetime: None,
        ..Grant::default()
    };
    let short = Grant {
        key_lifetime: Some(86400),
        ..Grant::default()
    };
    key.details.users[0].signatures = vec![certify(&key, &renewed), certify(&key, &short)];
    assert!(by_primary(&key, &Signing::default()).starts_with("signed by "));
}

#[test]
fn subkeys_without_permission_are_refused() {
    let lifetime = u32::try_from(NOW - DAY - KEYS_MADE).unwrap();
    for (grant, expected) in [
        (
            Grant {
                sign: false,
                ..Grant::default()
            },
            "may not sign documents",
        ),
        (
            Grant {
                back: false,
                ..Grant::default()
            },
            "did not agree to its primary key",
        ),
        (
            Grant {
                key_lifetime: Some(lifetime),
                ..Grant::default()
            },
            "expired on 2026-11-21 12:00:00 UTC",
        ),
    ] {
        let mut key = make_key(1);
        key.secret_subkeys[0].signatures = vec![bind(&key, &grant)];
        let outcome = by_subkey(&key, &Signing::default());
        assert!(outcome.ends_with(expected), "{outcome}");
    }
    // A binding made by another primary key binds nothing.
    let mut key = make_key(1);
    key.secret_subkeys[0].signatures = make_key(2).secret_subkeys[0].signatures.clone();
    let outcome = by_subkey(&key, &Signing::default());
    assert!(
        outcome.ends_with("is not bound to its primary key"),
        "{outcome}"
    );
}

#[test]
fn a_subkey_falls_with_its_primary_key() {
    let mut expired = make_key(1);
    let grant = Grant {
        key_lifetime: Some(86400),
        ..Grant::default()
    };
    expired.details.users[0].signatures = vec![certify(&expired, &grant)];
    let outcome = by_subkey(&expired, &Signing::default());
    assert!(outcome.contains("expired on"), "{outcome}");
    let mut revoked = make_key(1);
    revoked.details.revocation_signatures = vec![revoke(&revoked)];
    for outcome in [
        by_subkey(&revoked, &Signing::default()),
        by_primary(&revoked, &Signing::default()),
    ] {
        assert!(outcome.ends_with("has been revoked"), "{outcome}");
    }
}

#[test]
fn a_revoked_subkey_is_refused_and_its_primary_key_still_counts() {
    let mut key = make_key(1);
    let revocation = revoke_subkey(&key);
    key.secret_subkeys[0].signatures.push(revocation);
    let outcome = by_subkey(&key, &Signing::default());
    assert!(outcome.ends_with("has been revoked"), "{outcome}");
    assert!(by_primary(&key, &Signing::default()).starts_with("signed by "));
}

/// Made by GnuPG, whose signatures are good; all of them counted.
#[test]
fn keys_that_can_be_broken_do_not_count() {
    const SHORT: &str = "is an RSA key of 1024 bits, fewer than 2048";
    for (key, document, reason) in [
        (
            &include_bytes!("weak/rsa1024.asc")[..],
            &include_bytes!("weak/rsa1024.signed")[..],
            SHORT,
        ),
        (
            include_bytes!("weak/subkey.asc"),
            include_bytes!("weak/subkey.signed"),
            SHORT,
        ),
        (
            include_bytes!("weak/dsa2048.asc"),
            include_bytes!("weak/dsa2048.signed"),
            "is of a kind that is weak or not known",
        ),
    ] {
        let certificates = parse_certificates(key).unwrap();
        let told = outcome(document, &certificates, NOW);
        assert!(told.ends_with(reason), "{told}");
    }
    let long = make_key_of(1, KeyType::Rsa(2048), KeyType::Ed25519Legacy);
    assert!(by_primary(&long, &Signing::default()).starts_with("signed by "));
}

/// Of a signature over the text, of one that says what a key is for, and of a binding.
#[test]
fn a_critical_notation_spoils_a_signature() {
    let signing = Signing {
        notation: Some("only-for@example.org"),
        ..Signing::default()
    };
    let grant = Grant {
        signing: Signing {
            made: KEYS_MADE,
            ..signing.clone()
        },
        ..Grant::default()
    };
    let key = make_key(1);
    let spoiled = "has a critical part that we do not know";
    assert!(by_primary(&key, &signing).ends_with(spoiled));
    let mut restricted = key.clone();
    restricted.details.users[0].signatures = vec![certify(&key, &grant)];
    assert!(!by_primary(&restricted, &Signing::default()).starts_with("signed by "));
    let mut restricted = key.clone();
    restricted.secret_subkeys[0].signatures = vec![bind(&key, &grant)];
    assert!(!by_subkey(&restricted, &Signing::default()).starts_with("signed by "));
}
