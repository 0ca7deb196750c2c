//! Certificates that came: those that wait to be taken into use, and those whose time has not come.
//!
//! The second sort is kept, since each one costs the CA an order: it is good as soon as
//! the clock is.

use super::configuration::Configuration;
use super::order::Issued;
use crate::appliance::certificate::chain::{CertificateFacts, check_links, parse_chain};
use crate::appliance::certificate::pair::{CHAIN, KEY};
use crate::appliance::certificate::{chain_path, check_pair, names_folder};
use crate::appliance::machine::clock::now;
use crate::appliance::machine::files::{
    PUBLIC, SECRET, ensure_folder, read_linked, read_optional, remove_folder, rename, sync_folder,
    write_file,
};
use crate::appliance::machine::place::{self, Place};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Where pairs wait to be taken.
pub fn ready_folder(place: &Place) -> PathBuf {
    place.path(place::ACME).join("ready")
}

/// Where pairs wait for their time.
fn kept_folder(place: &Place) -> PathBuf {
    place.path(place::ACME).join("kept")
}

/// Whether a certificate is what was ordered; what it says of itself.
pub fn check_issued(name: &str, issued: &Issued) -> Result<CertificateFacts> {
    let chain = parse_chain(issued.chain.as_bytes())?;
    let facts = check_pair(name, &issued.chain, &issued.key)?;
    check_links(&chain, name, now())?;
    Ok(facts)
}

/// Leaves a pair where `cert take` finds it, whole or not at all.
pub fn leave_ready(place: &Place, name: &str, issued: &Issued) -> Result<()> {
    leave(place, &ready_folder(place), name, issued)?;
    // Older, or the same.
    remove_folder(&kept_folder(place).join(name))
}

/// Keeps a pair until its time comes, whole or not at all.
pub fn keep(place: &Place, name: &str, issued: &Issued) -> Result<()> {
    leave(place, &kept_folder(place), name, issued)
}

/// Moves a pair that waits to be taken to those whose time has not come.
pub fn put_by(place: &Place, name: &str) -> Result<()> {
    let target = kept_folder(place).join(name);
    remove_folder(&target)?;
    rename(&ready_folder(place).join(name), &target)?;
    sync_folder(&kept_folder(place))
}

/// The pair that is kept for a name; one that cannot be read is none.
pub fn find_kept(place: &Place, name: &str) -> Option<(Issued, CertificateFacts)> {
    let folder = kept_folder(place).join(name);
    let issued = Issued {
        chain: String::from_utf8(read_optional(&folder.join(CHAIN)).ok()??).ok()?,
        key: String::from_utf8(read_optional(&folder.join(KEY)).ok()??).ok()?,
    };
    let facts = check_issued(name, &issued).ok()?;
    Some((issued, facts))
}

fn leave(place: &Place, folder: &Path, name: &str, issued: &Issued) -> Result<()> {
    let aside = place.path(place::ACME).join("unready");
    remove_folder(&aside)?;
    ensure_folder(&aside, 0o700, None)?;
    write_file(&aside.join(KEY), issued.key.as_bytes(), SECRET, None)?;
    write_file(&aside.join(CHAIN), issued.chain.as_bytes(), PUBLIC, None)?;
    // Others may look at the chain: `cert status` does.
    ensure_folder(&aside, 0o755, None)?;
    ensure_folder(folder, 0o755, None)?;
    let target = folder.join(name);
    // Never taken, and now never needed.
    remove_folder(&target)?;
    rename(&aside, &target)?;
    sync_folder(folder)
}

/// The certificate of a name, taken or about to be.
pub fn find_chain(place: &Place, configuration: &Configuration, name: &str) -> Option<Vec<u8>> {
    let waiting = ready_folder(place).join(name).join(CHAIN);
    let installed = if name == configuration.hostname {
        place.path(chain_path())
    } else {
        place.path(names_folder(name)).join(CHAIN)
    };
    // Of these two one belongs to the agent, the other is a link of ours.
    let waits = read_optional(&waiting).ok().flatten();
    waits.or_else(|| read_linked(&installed).ok().flatten())
}
