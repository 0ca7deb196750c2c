//! sshd's host key and the keys that may log in.

use super::machine::files::{PUBLIC, ensure_folder, remove_file, sync_folder};
use super::machine::place::{self, Place};
use super::machine::program::{reload_unit_and_wait, run_program, start_unit, stop_unit};
use super::machine::template::{ensure_below_run, ensure_rendered};
use crate::settings::{NetworkSource, Settings};
use anyhow::{Context, Result};
use serde::Serialize;

/// Its unit.
pub const UNIT: &str = "ssh.service";
/// Who may log in, as root.
const AUTHORIZED_KEYS: &str = "ssh/authorized_keys";

#[derive(Serialize)]
struct Values<'a> {
    rendered: &'a str,
    ssh_host_key: String,
    ssh_allow_from: &'a [NetworkSource],
}

/// Writes its configuration and the keys that may log in.
pub fn configure(place: &Place, settings: &Settings) -> Result<()> {
    let values = Values {
        rendered: place::RENDERED,
        ssh_host_key: format!("{}/ssh_host_ed25519_key", place::SSH_HOST_KEYS),
        ssh_allow_from: &settings.ssh.allow_from,
    };
    ensure_rendered(place, "ssh/sshd_config", &values)?;
    if settings.ssh.keys.is_empty() {
        return remove_file(&place.path(place::RENDERED).join(AUTHORIZED_KEYS));
    }
    let keys = settings.ssh.keys.iter().map(|key| format!("{}\n", key.0));
    ensure_below_run(place, AUTHORIZED_KEYS, &keys.collect::<String>(), PUBLIC)
}

/// Switches it on or off: the one service that settings decide about.
pub fn take(_: &Place, settings: &Settings) -> Result<()> {
    if settings.ssh.keys.is_empty() {
        return stop_unit(UNIT);
    }
    reload_unit_and_wait(UNIT)?;
    start_unit(UNIT)
}

/// Makes the host key when ssh is wanted and none is there.
pub fn ensure_host_key(place: &Place, settings: &Settings) -> Result<()> {
    let folder = place.path(place::SSH_HOST_KEYS);
    let key = folder.join("ssh_host_ed25519_key");
    if settings.ssh.keys.is_empty() || key.exists() || !place.is_machine() {
        return Ok(());
    }
    ensure_folder(&folder, 0o700, None)?;
    let fresh = folder.join("new");
    let fresh_public = folder.join("new.pub");
    remove_file(&fresh)?;
    remove_file(&fresh_public)?;
    let fresh_text = fresh.display().to_string();
    run_program(
        "/usr/bin/ssh-keygen",
        &[
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            &settings.hostname,
            "-f",
            &fresh_text,
        ],
    )?;
    std::fs::File::open(&fresh)?.sync_all()?;
    // The private key last: it alone says that both are there.
    std::fs::rename(&fresh_public, folder.join("ssh_host_ed25519_key.pub"))
        .and_then(|()| std::fs::rename(&fresh, &key))
        .context("putting the ssh host key into place")?;
    sync_folder(&folder)
}
