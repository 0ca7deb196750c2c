//! Certificates that came and wait to be taken into use.

use super::order::Issued;
use super::{now, ready_folder};
use crate::appliance::certificate::check_pair;
use crate::appliance::certificate_chain::{check_links, parse_chain};
use crate::appliance::place::{self, Place};
use crate::appliance::state::{PUBLIC, SECRET, ensure_folder, sync_folder, write_file};
use anyhow::Context;

/// Whether a certificate is what was ordered.
///
/// # Errors
/// What does not fit.
pub fn check_issued(name: &str, issued: &Issued) -> anyhow::Result<()> {
    let chain = parse_chain(issued.chain.as_bytes())?;
    check_pair(name, &issued.chain, &issued.key)?;
    check_links(&chain, name, now())
}

/// Leaves a pair where `cert take` finds it, whole or not at all.
///
/// # Errors
/// Files that cannot be written.
pub fn leave_ready(place: &Place, name: &str, issued: &Issued) -> anyhow::Result<()> {
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
