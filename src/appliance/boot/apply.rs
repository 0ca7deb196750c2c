//! Edited settings come into use on a running machine, without a reboot.

use super::{provision, render};
use crate::appliance::aliases::check::check_aliases;
use crate::appliance::aliases::load_aliases;
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::program;
use crate::appliance::machine::settings::load_stored;
use crate::appliance::services::{SERVICES, Service, Takes};
use crate::appliance::users::load_users;
use crate::appliance::{dkim, dns};
use crate::settings::Settings;
use anyhow::Result;

/// Takes edited settings into use without a reboot, and returns what to say.
///
/// Keys come before the tables that name them, and all of them before the
/// services that read them, so that nothing runs with half of a change.
///
/// Wrong settings change nothing.
pub fn apply_settings(place: &Place) -> Result<String> {
    let resolved = load_stored(place)?;
    let settings = &resolved.settings;
    let first = !place.path(place::PROVISIONED).exists();
    let before = unseen(place);
    dkim::ensure_keys(place, settings)?;
    render::render_all(place)?;
    provision::provision(place)?;
    if place.is_machine() {
        // One after the other: each may ask those before it as soon as it is back.
        for (service, before) in SERVICES.iter().zip(before) {
            take(service, place, settings, before)?;
        }
        // A machine that waited for settings left them out when it booted.
        let daemons = SERVICES
            .iter()
            .filter(|service| first && !service.takes.is_own());
        for unit in daemons.filter_map(|service| service.daemon) {
            program::start_unit(unit)?;
        }
        for unit in SERVICES.iter().flat_map(|service| service.jobs) {
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

/// What a service does not see by itself, as it is configured now.
type Unseen = Option<(u16, u16)>;

fn unseen(place: &Place) -> Vec<Unseen> {
    let each = SERVICES.iter().map(|service| match service.takes {
        Takes::WatchesAllBut(load) => load(place),
        _ => None,
    });
    each.collect()
}

/// Has one service take its changed configuration into use.
fn take(service: &Service, place: &Place, settings: &Settings, before: Unseen) -> Result<()> {
    let is_due = match service.takes {
        Takes::Own(take) => return take(place, settings),
        Takes::Reload => true,
        Takes::Watches => false,
        Takes::WatchesAllBut(load) => load(place) != before,
    };
    match service.daemon.filter(|_| is_due) {
        Some(unit) => program::reload_unit_and_wait(unit),
        None => Ok(()),
    }
}

/// What the settings leave without use or without an owner.
fn left_over(place: &Place, settings: &Settings) -> Result<Vec<String>> {
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
pub fn take_keys_into_use(place: &Place) -> Result<()> {
    render::render_all(place)?;
    if place.is_machine() {
        program::reload_unit(dkim::UNIT)?;
    }
    publish_keys(place)
}

/// Has the records published, where the machine may do that itself.
pub fn publish_keys(place: &Place) -> Result<()> {
    if place.is_machine() {
        program::start_unit(dns::UNIT)?;
    }
    Ok(())
}
