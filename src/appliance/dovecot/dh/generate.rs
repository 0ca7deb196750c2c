//! `mailctl dh generate`: the search for a group of our own.
//!
//! openssl-dhparam(1) (<https://docs.openssl.org/3.5/man1/openssl-dhparam/>)
//! finds the prime; what it found is checked before anybody uses it.

use super::group::Group;
use super::{own_path, pending_bits};
use crate::appliance::dovecot;
use crate::appliance::machine::files::{PUBLIC, ensure_folder, remove_unfinished, write_file};
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::program;
use crate::appliance::machine::settings::load_checked;
use crate::error::hinted;
use anyhow::{Context, Result};

const OPENSSL: &str = "/usr/bin/openssl";

/// Makes the group that settings ask for, if it is not there, and takes it into use.
///
/// After a search that fails the old group serves on.
pub fn generate_group(place: &Place) -> Result<String> {
    let Some(bits) = wanted(place)? else {
        return Ok("There is no group to make.".to_owned());
    };
    if !place.is_machine() {
        return Err(hinted(
            "this is not the machine itself",
            "without --root the group is searched for",
        ));
    }
    let pem = search(bits)?;
    if wanted(place)? != Some(bits) {
        return Ok("The settings ask for another group by now.".to_owned());
    }
    install(place, bits, &pem)?;
    program::reload_unit(dovecot::UNIT)?;
    Ok(format!("A group of {bits} bits is in use."))
}

fn wanted(place: &Place) -> Result<Option<u32>> {
    let resolved = load_checked(place, place::SETTINGS)?;
    Ok(resolved.and_then(|resolved| pending_bits(place, &resolved.settings)))
}

/// Waits as long as it takes: nobody knows how long that is.
fn search(bits: u32) -> Result<String> {
    program::run_program(OPENSSL, &["dhparam", "-2", &bits.to_string()])
        .with_context(|| format!("searching for a prime of {bits} bits"))
}

/// Checks a group, and puts it where the one before was.
fn install(place: &Place, bits: u32, pem: &str) -> Result<()> {
    let checked = Group::parse(pem.as_bytes()).and_then(|group| group.check(bits));
    checked.with_context(|| format!("checking what {OPENSSL} found"))?;
    let path = place.path(own_path());
    ensure_folder(&place.path(place::DH), 0o755, None)?;
    remove_unfinished(&place.path(place::DH));
    write_file(&path, pem.as_bytes(), PUBLIC, None)
}

#[cfg(test)]
mod tests {
    use super::{generate_group, install, own_path, search};
    use crate::appliance::dovecot::dh::group::Group;
    use crate::appliance::machine::files::{SECRET, ensure_folder, write_file};
    use crate::appliance::machine::place::{self, Place};

    /// Small, so that it takes a second; settings ask for 2048 at least.
    const BITS: u32 = 512;

    #[test]
    fn what_openssl_finds_replaces_what_served() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let own = place.path(own_path());
        let first = search(BITS).unwrap();
        install(&place, BITS, &first).unwrap();
        let second = search(BITS).unwrap();
        assert_ne!(first, second);
        install(&place, BITS, &second).unwrap();
        assert_eq!(std::fs::read_to_string(&own).unwrap(), second);
        let group = Group::parse(second.as_bytes()).unwrap();
        assert!(!group.is_named() && group.bits() == u64::from(BITS));
        // A wrong one leaves the one before.
        assert!(install(&place, BITS + 1, &first).is_err());
        assert!(install(&place, BITS, "").is_err());
        assert_eq!(std::fs::read_to_string(&own).unwrap(), second);
    }

    #[test]
    fn nothing_is_made_unasked_or_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let said = generate_group(&place).unwrap();
        assert_eq!(said, "There is no group to make.");
        ensure_folder(&place.path(place::STATE), 0o755, None).unwrap();
        let settings = b"DOMAIN=a.example\nHOSTNAME=mail.a.example\nDH_PARAMS=generate:2048\n";
        write_file(&place.path(place::SETTINGS), settings, SECRET, None).unwrap();
        let error = generate_group(&place).unwrap_err();
        assert_eq!(error.to_string(), "this is not the machine itself");
    }
}
