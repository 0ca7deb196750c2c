//! sshd's host key and the keys that may log in.

use super::machine::files::{ensure_folder, remove_file, sync_folder};
use super::machine::place::{self, Place};
use super::machine::program::run_program;
use crate::settings::Settings;
use anyhow::Context;

/// Makes the host key when ssh is wanted and none is there.
///
/// # Errors
/// ssh-keygen's failure.
pub fn ensure_host_key(place: &Place, settings: &Settings) -> anyhow::Result<()> {
    let folder = place.path(place::SSH_HOST_KEYS);
    let key = folder.join("ssh_host_ed25519_key");
    if settings.ssh_keys.is_empty() || key.exists() || !place.is_machine() {
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
