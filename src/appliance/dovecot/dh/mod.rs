//! The Diffie-Hellman group that Dovecot loads.
//!
//! No client is given it as things are: the certificates are ECDSA, whose cipher
//! suites of TLS 1.2 agree on keys by elliptic curves only (RFC 8422, section 2,
//! <https://www.rfc-editor.org/rfc/rfc8422#section-2>), and for TLS 1.3 the
//! configuration lists curves.
//!
//! `ffdheN` of RFC 7919 is ready at once. With `generate:BITS` a group of our
//! own is searched for in the background, which takes minutes to hours;
//! `ffdhe4096` serves until it is there, and the old one when BITS changes.
//! Each candidate is as likely as the next, so the search has no progress to
//! lose: one that is cut short by a reboot simply begins again, and takes as
//! long on average as it would have from there on.

mod generate;
mod group;
mod named;

use crate::appliance::machine::files::{PUBLIC, ensure_folder, read_optional, write_file};
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::program::{reload_unit_and_wait, start_unit, stop_unit};
use crate::settings::{DhParameters, Settings};
use anyhow::{Context, Result};
use group::Group;
use std::path::PathBuf;

pub use generate::generate_group;

/// The unit of the search.
const UNIT: &str = "mailimg-dh.service";
/// Size of the named group that serves until one of our own is found.
const MEANWHILE_BITS: u32 = 4096;

/// The file that Dovecot loads. One of our own replaces what serves meanwhile
/// under the same name, so no configuration changes with it.
pub fn group_path(settings: &Settings) -> PathBuf {
    match settings.dh_parameters {
        DhParameters::Named(bits) => PathBuf::from(format!("{}/ffdhe{bits}.pem", place::DH)),
        DhParameters::Generate(_) => own_path(),
    }
}

fn own_path() -> PathBuf {
    PathBuf::from(place::DH).join("own.pem")
}

/// Makes sure that there is a group to load, if need be not the one asked for.
pub fn ensure_group(place: &Place, settings: &Settings) -> Result<()> {
    let path = place.path(group_path(settings));
    let present = read_optional(&path)?;
    if present.is_some_and(|pem| Group::parse(&pem).is_ok()) {
        return Ok(());
    }
    let bits = match settings.dh_parameters {
        DhParameters::Named(bits) => bits,
        DhParameters::Generate(_) => MEANWHILE_BITS,
    };
    let pem = named::named_group_pem(bits).context("no such group")?;
    ensure_folder(&place.path(place::DH), 0o755, None)?;
    write_file(&path, pem.as_bytes(), PUBLIC, None)
}

/// Size of the group that is asked for and not there yet.
pub fn pending_bits(place: &Place, settings: &Settings) -> Option<u32> {
    let DhParameters::Generate(bits) = settings.dh_parameters else {
        return None;
    };
    let found = std::fs::read(place.path(own_path()))
        .ok()
        .and_then(|pem| Group::parse(&pem).ok())
        .is_some_and(|group| group.bits() == u64::from(bits) && !group.is_named());
    (!found).then_some(bits)
}

/// Starts the search for a group that settings ask for, or ends one that they do not.
pub fn take(place: &Place, settings: &Settings) -> Result<()> {
    if pending_bits(place, settings).is_none() {
        return stop_unit(UNIT);
    }
    // It may be after another size; one that begins anew loses nothing.
    reload_unit_and_wait(UNIT)?;
    start_unit(UNIT)
}

#[cfg(test)]
mod tests {
    use super::{ensure_group, own_path, pending_bits};
    use crate::appliance::machine::place::Place;
    use crate::settings::{Settings, parse_settings, resolve_settings};

    fn settings(parameters: &str) -> Settings {
        let text = format!("DOMAIN=a.example\nHOSTNAME=mail.a.example\nDH_PARAMS={parameters}\n");
        let written = parse_settings(text.as_bytes()).unwrap();
        resolve_settings(&written).unwrap().settings
    }

    #[test]
    fn a_named_group_serves_until_the_other_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let asked = settings("generate:4096");
        ensure_group(&place, &asked).unwrap();
        assert_eq!(
            pending_bits(&place, &asked),
            Some(4096),
            "ffdhe4096 is not our own"
        );
        assert_eq!(pending_bits(&place, &settings("ffdhe4096")), None);
        let own = place.path(own_path());
        let named = std::fs::read_to_string(&own).unwrap();
        std::fs::write(&own, &named[..100]).unwrap();
        ensure_group(&place, &asked).unwrap();
        assert_eq!(std::fs::read_to_string(&own).unwrap(), named);
    }
}
