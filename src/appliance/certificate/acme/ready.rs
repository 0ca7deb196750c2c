//! Certificates that came and wait to be taken into use.

use super::configuration::Configuration;
use super::order::Issued;
use crate::appliance::certificate::chain::{check_links, parse_chain};
use crate::appliance::certificate::{chain_path, check_pair, names_folder};
use crate::appliance::machine::clock::now;
use crate::appliance::machine::files::{PUBLIC, SECRET, ensure_folder, sync_folder, write_file};
use crate::appliance::machine::place::{self, Place};
use anyhow::{Context, Result};
use std::path::PathBuf;

/// Where pairs wait to be taken.
pub fn ready_folder(place: &Place) -> PathBuf {
    place.path(place::ACME).join("ready")
}

/// Whether a certificate is what was ordered.
pub fn check_issued(name: &str, issued: &Issued) -> Result<()> {
    let chain = parse_chain(issued.chain.as_bytes())?;
    check_pair(name, &issued.chain, &issued.key)?;
    check_links(&chain, name, now())
}

/// Leaves a pair where `cert take` finds it, whole or not at all.
pub fn leave_ready(place: &Place, name: &str, issued: &Issued) -> Result<()> {
    let aside = place.path(place::ACME).join("unready");
    if aside.exists() {
        std::fs::remove_dir_all(&aside).with_context(|| format!("removing {}", aside.display()))?;
    }
    ensure_folder(&aside, 0o700, None)?;
    write_file(
        &aside.join("privkey.pem"),
        issued.key.as_bytes(),
        SECRET,
        None,
    )?;
    write_file(
        &aside.join("fullchain.pem"),
        issued.chain.as_bytes(),
        PUBLIC,
        None,
    )?;
    // Others may look at the chain: `cert status` does.
    ensure_folder(&aside, 0o755, None)?;
    let ready = ready_folder(place);
    ensure_folder(&ready, 0o755, None)?;
    let target = ready.join(name);
    if target.exists() {
        // Never taken, and now never needed.
        std::fs::remove_dir_all(&target)
            .with_context(|| format!("removing {}", target.display()))?;
    }
    std::fs::rename(&aside, &target)
        .with_context(|| format!("moving a certificate to {}", target.display()))?;
    sync_folder(&ready)
}

/// The certificate of a name, taken or about to be.
pub fn find_chain(place: &Place, configuration: &Configuration, name: &str) -> Option<Vec<u8>> {
    let waiting = ready_folder(place).join(name).join("fullchain.pem");
    let installed = if name == configuration.hostname {
        place.path(chain_path())
    } else {
        place.path(names_folder(name)).join("fullchain.pem")
    };
    [waiting, installed]
        .into_iter()
        .find_map(|path| std::fs::read(path).ok())
}
