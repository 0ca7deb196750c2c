//! Edited settings come into use on a running machine, without a reboot.

use super::{provision, render};
use crate::appliance::aliases::check::check_aliases;
use crate::appliance::aliases::load_aliases;
use crate::appliance::dovecot::dh;
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::program;
use crate::appliance::machine::settings::load_stored;
use crate::appliance::users::load_users;
use crate::appliance::{dkim, network, web};
use crate::settings::Settings;

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
            program::reload_unit_and_wait(unit)?;
        }
        if web::load_ports(place) != web_ports {
            program::reload_unit_and_wait(WEB)?;
        }
        // A machine that waited for settings left them out when it booted.
        if first {
            for unit in WATCHERS.iter().chain(&USERS_OF_SETTINGS) {
                program::start_unit(unit)?;
            }
        }
        // It finds out by itself whether another name or another CA is asked for.
        program::start_unit(CERTIFICATES)?;
        if dh::pending_bits(place, settings).is_some() {
            // It may be after another size.
            program::reload_unit_and_wait(DH)?;
            program::start_unit(DH)?;
        } else {
            program::stop_unit(DH)?;
        }
        // The one service that settings switch on and off.
        if settings.ssh_keys.is_empty() {
            program::stop_unit(SSH)?;
        } else {
            program::start_unit(SSH)?;
        }
        for unit in PUBLISHERS {
            program::start_unit(unit)?;
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

/// Renders the signer's tables after a change of keys and has it read them.
///
/// # Errors
/// Tables that cannot be written; a signer that cannot be reloaded.
pub fn take_keys_into_use(place: &Place) -> anyhow::Result<()> {
    render::render_all(place)?;
    if place.is_machine() {
        program::reload_unit("opendkim.service")?;
    }
    publish_keys(place)
}

/// Has the records published, where the machine may do that itself.
///
/// # Errors
/// The unit for it cannot be started.
pub fn publish_keys(place: &Place) -> anyhow::Result<()> {
    if place.is_machine() {
        program::start_unit("mailimg-dns.service")?;
    }
    Ok(())
}
