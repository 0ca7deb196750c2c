//! The archive keys that Debian publishes, embedded, and keyrings beside a recipe.
//!
//! The files are verbatim copies of those in `/usr/share/keyrings` of Debian
//! 13's package `debian-archive-keyring`, version 2025.1
//! (SHA-256 of the .deb 9ea7778e443144ca490668737a8ab22dd3e748bb99e805e22ec055abeb3c7fac).
//! To refresh them: fetch the newer package from a mirror, compare its digest
//! with the one in a verified index, unpack it (`dpkg-deb -x`) and copy
//! `debian-archive-{bookworm,trixie}-{automatic,security-automatic,stable}.pgp`
//! over the ones here. A new release adds its three files and two rows below.
//!
//! A revocation inside one of these files counts whoever made it: we chose the
//! file, so nobody can plant one, and Debian's designated revokers are honoured
//! without carrying their certificates.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::openpgp::{Certificate, parse_certificates};
use crate::error::{Hint, hinted};

/// Keyrings by the name a recipe uses.
///
/// `automatic` signs every update of an archive, `stable` only point releases.
const KEYRINGS: [(&str, &[&[u8]]); 4] = [
    (
        "debian-bookworm",
        &[
            include_bytes!("debian-archive-bookworm-automatic.pgp"),
            include_bytes!("debian-archive-bookworm-stable.pgp"),
        ],
    ),
    (
        "debian-bookworm-security",
        &[include_bytes!(
            "debian-archive-bookworm-security-automatic.pgp"
        )],
    ),
    (
        "debian-trixie",
        &[
            include_bytes!("debian-archive-trixie-automatic.pgp"),
            include_bytes!("debian-archive-trixie-stable.pgp"),
        ],
    ),
    (
        "debian-trixie-security",
        &[include_bytes!(
            "debian-archive-trixie-security-automatic.pgp"
        )],
    ),
];

/// Names that a recipe may write into `keys`.
pub fn names() -> impl Iterator<Item = &'static str> {
    KEYRINGS.iter().map(|(name, _)| *name)
}

/// The certificates of an embedded keyring; an unknown name is an error.
pub fn load_keyring(name: &str) -> Result<Vec<Certificate>> {
    let Some((_, files)) = KEYRINGS.iter().find(|(known, _)| *known == name) else {
        return Err(hinted(
            format!("there is no keyring named '{name}'"),
            format!(
                "keys = [...] knows {}, and files beside the recipe whose names end in .pgp or .asc",
                names().collect::<Vec<_>>().join(", ")
            ),
        ));
    };
    let mut certificates = Vec::new();
    for file in *files {
        certificates.extend(
            parse_certificates(file)
                .with_context(|| format!("reading the embedded keyring {name}"))?,
        );
    }
    Ok(certificates)
}

/// The certificates of a keyring by the name that a recipe has for it: one of
/// its `files`, binary or armored, or an embedded one.
pub fn find_keyring(name: &str, files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<Certificate>> {
    match files.get(name) {
        Some(bytes) => parse_certificates(bytes)
            .with_context(|| format!("reading the keyring {name}"))
            .hint("it must hold OpenPGP public keys, as `gpg --export` writes them"),
        None => load_keyring(name),
    }
}

#[cfg(test)]
mod tests {
    use super::{load_keyring, names};

    #[test]
    fn every_keyring_holds_the_keys_its_release_announced() {
        let mut lines = Vec::new();
        for name in names() {
            for certificate in load_keyring(name).unwrap() {
                lines.push(format!("{name} {}", certificate.fingerprint()));
            }
        }
        // https://ftp-master.debian.org/keys.html
        assert_eq!(
            lines.join("\n"),
            "debian-bookworm b8b80b5b623eab6ad8775c45b7c5d7d6350947f8\n\
             debian-bookworm 4d64fec119c2029067d6e791f8d2585b8783d481\n\
             debian-bookworm-security 05ab90340c0c5e797f44a8c8254cf3b5aec0a8f0\n\
             debian-trixie 04b54c3cdca79751b16bc6b5225629df75b188bd\n\
             debian-trixie 41587f7db8c774bccf131416762f67a0b2c39de4\n\
             debian-trixie-security 5e04a1e3223a19a20706e20f9904613d4cce68c6"
        );
    }

    #[test]
    fn an_unknown_keyring_is_answered_with_the_known_names() {
        let error = load_keyring("debian-sid").unwrap_err();
        assert!(crate::error::render(&error).contains("hint: keys = [...] knows debian-bookworm,"));
    }
}
