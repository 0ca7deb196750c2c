//! What the objects of an organisation are called.
//!
//! A name is a label of RFC 1035, as services need it
//! (<https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sha2::{Digest, Sha256};

/// What every name begins with, and the whole of one without settings.
const PREFIX: &str = "mail";
/// Longer names of sets leave no room for what Kubernetes puts behind them.
const LENGTH_MAX: usize = 52;
/// Digits that tell domains apart which would have the same name.
const DIGEST_DIGITS: usize = 8;

/// The name for a domain, another one for each.
pub(super) fn object_name(domain: Option<&str>) -> String {
    let Some(domain) = domain else {
        return PREFIX.to_owned();
    };
    let domain = domain.to_ascii_lowercase();
    let is_letter = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let words: String = domain
        .chars()
        .map(|letter| if is_letter(letter) { letter } else { '-' })
        .collect();
    let name = format!("{PREFIX}-{words}");
    let is_its_own = domain
        .chars()
        .all(|letter| is_letter(letter) || letter == '.');
    if is_its_own && name.len() <= LENGTH_MAX {
        return name;
    }
    let room = LENGTH_MAX - DIGEST_DIGITS - 1;
    let start = name[..name.len().min(room)].trim_end_matches('-');
    let digest = hex::encode(Sha256::digest(&domain));
    format!("{start}-{}", &digest[..DIGEST_DIGITS])
}

/// Labels that the objects of one organisation share.
pub(super) fn labels(name: &str) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "mailimg"),
        ("app.kubernetes.io/instance", name),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// What an object is called.
pub(super) fn metadata(name: impl Into<String>, labels: BTreeMap<String, String>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.into()),
        labels: Some(labels),
        ..ObjectMeta::default()
    }
}

/// The secret with an organisation's settings.
pub(super) fn secret_name(name: &str) -> String {
    format!("{name}-settings")
}

#[cfg(test)]
mod tests {
    use super::{LENGTH_MAX, object_name};

    #[test]
    fn each_domain_has_a_name_of_its_own() {
        assert_eq!(object_name(None), "mail");
        assert_eq!(object_name(Some("example.org")), "mail-example-org");
        assert_eq!(object_name(Some("Example.org")), "mail-example-org");
        let one = object_name(Some("a-b.example"));
        let other = object_name(Some("a.b-example"));
        assert!(one.starts_with("mail-a-b-example-") && other.starts_with("mail-a-b-example-"));
        assert_ne!(one, other);
        let long = format!("{}.{}", "a".repeat(60), "b".repeat(60));
        let name = object_name(Some(&long));
        assert_eq!(name.len(), LENGTH_MAX);
        assert_ne!(name, object_name(Some(&long.replace('b', "c"))));
    }
}
