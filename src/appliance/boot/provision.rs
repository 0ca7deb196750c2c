//! `mailctl provision`: makes what only the machine itself can make.
//!
//! Every step looks for its result first, so that a run cut short is simply
//! run again. Nothing here needs the network or the clock. Signing keys are not
//! made here: they take seconds, and only the signer waits for them
//! (`mailctl dkim ensure`).

use super::console;
use crate::appliance::aliases::load_aliases;
use crate::appliance::aliases::name::written_aliases;
use crate::appliance::dovecot::dh;
use crate::appliance::machine::accounts::owner;
use crate::appliance::machine::files::{
    PUBLIC, SECRET, ensure_file, ensure_folder, ensure_version, read_optional, write_file,
};
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::settings::load_checked;
use crate::appliance::postfix::maps::ensure_maps;
use crate::appliance::users::password::{generate_password, hash_password};
use crate::appliance::users::{Account, LockedUsers};
use crate::appliance::{certificate, ssh};
use crate::settings::Settings;
use anyhow::{Context, Result};

/// Makes what is missing, and says whether there were settings to do it for.
///
/// After an error the machine must not go on to serve mail.
pub fn provision(place: &Place) -> Result<bool> {
    ensure_version(place)?;
    let Some(resolved) = load_checked(place, place::SETTINGS)? else {
        console::refresh_console(place)?;
        return Ok(false);
    };
    let settings = resolved.settings;
    ensure_folders(place)?;
    dh::ensure_group(place, &settings).context("making the Diffie-Hellman group")?;
    certificate::ensure_certificate(place, &settings.hostname)?;
    ssh::ensure_host_key(place, &settings)?;
    ensure_accounts(place, &settings).context("making the first account")?;
    ensure_file(&place.path(place::PROVISIONED), b"", PUBLIC, None)?;
    console::refresh_console(place)?;
    Ok(true)
}

fn ensure_folders(place: &Place) -> Result<()> {
    let folders = [
        (place::STATE.to_owned(), 0o755, "root", "root"),
        (place::MAIL.to_owned(), 0o700, "vmail", "vmail"),
        (place::RENDERED.to_owned(), 0o755, "root", "root"),
    ];
    for (path, mode, user, group) in folders {
        ensure_folder(&place.path(path), mode, owner(place, user, group)?)?;
    }
    Ok(())
}

/// Makes the passwd-file, and the account of each admin once: one deleted on purpose stays so.
fn ensure_accounts(place: &Place, settings: &Settings) -> Result<()> {
    let admin = settings.admin.to_string();
    let created = read_optional(&place.path(place::ADMIN_CREATED))?
        .is_some_and(|name| String::from_utf8_lossy(&name).trim() == admin);
    let mut locked = LockedUsers::open(place)?;
    let alias =
        load_aliases(place).is_ok_and(|text| written_aliases(settings, &text).contains(&admin));
    let missing = !created && !alias && !locked.users.contains(&admin);
    if missing {
        let password = match &settings.admin_password {
            Some(password) => password.clone(),
            None => {
                let password = generate_password();
                // Before the account: a password that nobody can read would lock the owner out.
                let line = format!("{password}\n");
                write_file(
                    &place.path(place::ADMIN_PASSWORD),
                    line.as_bytes(),
                    SECRET,
                    None,
                )?;
                password
            }
        };
        locked
            .users
            .accounts
            .insert(admin.clone(), Account::new(hash_password(&password)?));
    }
    if missing || !place.path(place::USERS).exists() {
        locked.store()?;
    }
    if !created {
        let line = format!("{admin}\n");
        write_file(
            &place.path(place::ADMIN_CREATED),
            line.as_bytes(),
            PUBLIC,
            None,
        )?;
    }
    if place.path(place::CONFIGURED).exists() {
        // In the journal: a mistake in the file stops no boot, and must not go unseen.
        for problem in ensure_maps(place, settings, &locked.users)?.problems {
            tell!("warning: {}: {problem}", place::ALIASES);
        }
    }
    Ok(())
}
