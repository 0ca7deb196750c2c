//! `mailctl settings`: shows and checks them; [`crate::appliance::boot::apply`] takes them into use.

use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::settings::load_stored;
use crate::settings::{KEYS, load_settings, resolve_settings};
use anyhow::{Context, Result};
use std::path::Path;

/// Checks a file, or the settings in use, and returns what to say.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check_settings(place: &Place, file: Option<&Path>) -> Result<String> {
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
pub fn show_settings(place: &Place) -> Result<String> {
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
