//! `mailctl settings`, and reading the settings in use.

use super::alias_check::check_aliases;
use super::aliases::load_aliases;
use super::place::{self, Place};
use super::users::load_users;
use super::{dh, dkim, network, provision, render, run, web};
use crate::error::{Hint, hinted};
use crate::settings::{KEYS, Resolved, Settings, load_settings, resolve_settings};
use anyhow::Context;
use std::path::Path;

/// Units that read what `render` writes; each is reloaded only if it runs.
const USERS_OF_SETTINGS: [&str; 6] = [
    "unbound.service",
    "opendkim.service",
    "opendmarc.service",
    "dovecot.service",
    "postfix.service",
    SSH,
];
const SSH: &str = "ssh.service";
/// Gets certificates; its timer starts it again when it has ended.
const CERTIFICATES: &str = "mailimg-acme.service";
/// Units that publish our records, if the settings name where.
const PUBLISHERS: [&str; 2] = ["mailimg-dns.timer", "mailimg-dns.service"];
/// Units that see for themselves when their configuration changes.
const WATCHERS: [&str; 5] = [
    "mailimg-filter.service",
    "mailimg-guard.service",
    "mailimg-sts.service",
    "mailimg-certificate.path",
    WEB,
];
/// Sees all but a change of its ports.
const WEB: &str = "mailimg-web.service";
/// Searches for a group; one that begins anew loses nothing.
const DH: &str = "mailimg-dh.service";

/// The settings in use.
///
/// # Errors
/// None stored yet, or stored ones that a person has since broken.
pub fn load_stored(place: &Place) -> anyhow::Result<Resolved> {
    load_checked(place, place::SETTINGS)?.ok_or_else(|| {
        hinted(
            "this machine has no settings yet",
            "mailctl console says how to supply them",
        )
    })
}

/// The settings in use, `None` when there are none.
///
/// # Errors
/// Stored settings that a person has broken.
pub fn load_checked(place: &Place, path: &str) -> anyhow::Result<Option<Resolved>> {
    let path = place.path(path);
    if !path.exists() {
        return Ok(None);
    }
    let written = load_settings(&path)?;
    if written.is_empty() {
        return Ok(None);
    }
    resolve_settings(&written)
        .with_context(|| format!("checking {}", path.display()))
        .hint(format!(
            "edit {}, then run mailctl settings apply",
            place::SETTINGS
        ))
        .map(Some)
}

/// Checks a file, or the settings in use, and returns what to say.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check_settings(place: &Place, file: Option<&Path>) -> anyhow::Result<String> {
    let path = file.map_or_else(|| place.path(place::SETTINGS), Path::to_path_buf);
    let written = load_settings(&path)?;
    let resolved =
        resolve_settings(&written).with_context(|| format!("checking {}", path.display()))?;
    let mut lines: Vec<String> = resolved
        .warnings
        .iter()
        .map(|warning| format!("warning: {warning}"))
        .collect();
    lines.push(format!("{}: good", path.display()));
    Ok(lines.join("\n"))
}

/// Shows every key with its value, secrets hidden.
///
/// # Errors
/// Unreadable settings.
pub fn show_settings(place: &Place) -> anyhow::Result<String> {
    load_stored(place)?;
    let written = load_settings(&place.path(place::SETTINGS))?;
    let lines: Vec<String> = KEYS
        .iter()
        .map(|key| match written.value(key.name) {
            Some(_) if key.secret => format!("{}=(hidden)", key.name),
            Some(value) => format!("{}={}", key.name, value.trim()),
            None if key.default.is_empty() => format!("# {}=", key.name),
            None => format!("# {}={}", key.name, key.default),
        })
        .collect();
    Ok(lines.join("\n"))
}

/// Takes edited settings into use without a reboot, and returns what to say.
///
/// Keys come before the tables that name them, and all of them before the
/// services that read them, so that nothing runs with half of a change.
///
/// # Errors
/// Settings that are wrong: nothing is changed then; a service that cannot be reloaded.
pub fn apply_settings(place: &Place) -> anyhow::Result<String> {
    let resolved = load_stored(place)?;
    let settings = &resolved.settings;
    let first = !place.path(place::PROVISIONED).exists();
    let web_ports = web::load_ports(place);
    dkim::ensure_keys(place, settings)?;
    render::render_all(place)?;
    provision::provision(place)?;
    if place.is_machine() {
        network::reload(settings)?;
        // One after the other: Postfix asks Dovecot who may log in as soon as it is back.
        for unit in USERS_OF_SETTINGS {
            run::reload_unit_and_wait(unit)?;
        }
        if web::load_ports(place) != web_ports {
            run::reload_unit_and_wait(WEB)?;
        }
        // A machine that waited for settings left them out when it booted.
        if first {
            for unit in WATCHERS.iter().chain(&USERS_OF_SETTINGS) {
                run::start_unit(unit)?;
            }
        }
        // It finds out by itself whether another name or another CA is asked for.
        run::start_unit(CERTIFICATES)?;
        if dh::pending_bits(place, settings).is_some() {
            // It may be after another size.
            run::reload_unit_and_wait(DH)?;
            run::start_unit(DH)?;
        } else {
            run::stop_unit(DH)?;
        }
        // The one service that settings switch on and off.
        if settings.ssh_keys.is_empty() {
            run::stop_unit(SSH)?;
        } else {
            run::start_unit(SSH)?;
        }
        for unit in PUBLISHERS {
            run::start_unit(unit)?;
        }
    }
    let mut lines: Vec<String> = resolved
        .warnings
        .iter()
        .map(|warning| format!("warning: {warning}"))
        .collect();
    lines.extend(left_over(place, settings)?);
    lines.push("Settings are in use.".to_owned());
    Ok(lines.join("\n"))
}

/// What the settings leave without use or without an owner.
fn left_over(place: &Place, settings: &Settings) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    let users = load_users(place)?;
    let foreign: Vec<&str> = users
        .accounts
        .keys()
        .map(String::as_str)
        .filter(|user| {
            let domain = user.rsplit_once('@').map_or("", |(_, domain)| domain);
            !settings.domains().any(|served| served == domain)
        })
        .collect();
    if !foreign.is_empty() {
        lines.push(format!(
            "warning: {} accounts lie in domains that are not served and get no mail: {}",
            foreign.len(),
            shortened(&foreign)
        ));
    }
    let aliases = check_aliases(settings, &users, &load_aliases(place)?);
    lines.extend(
        aliases
            .problems
            .iter()
            .map(|problem| format!("warning: {}: {problem}", place::ALIASES)),
    );
    let admin = settings.admin.to_string();
    if !users.contains(&admin) && !aliases.targets.contains_key(&admin) {
        lines.push(format!(
            "warning: mail to postmaster reaches nobody: mailctl user add {admin} mends it"
        ));
    }
    Ok(lines)
}

/// The first few of a list.
fn shortened(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    format!("{}{more}", names[..names.len().min(SHOWN)].join(", "))
}
