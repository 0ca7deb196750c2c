//! `mailctl settings`: shows and checks them; [`crate::appliance::boot`] takes them into use.

use crate::appliance::boot::apply::apply_settings;
use crate::appliance::boot::start::start;
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::settings::{load_stored, resolve_here};
use crate::settings::{KEYS, describe_settings, load_settings};
use anyhow::{Context, Result};
use clap::Subcommand;
use std::path::{Path, PathBuf};

/// What can be done about settings.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum SettingsVerb {
    /// Check a file, or the settings in use.
    Check {
        /// The file; the settings in use when absent.
        file: Option<PathBuf>,
    },
    /// Show all keys, secrets hidden.
    Show,
    /// Tell what the keys mean.
    Help {
        /// Only this one.
        key: Option<String>,
    },
    /// Take edited settings into use.
    Apply,
    /// What a boot begins with: import-settings, render and console in one.
    #[command(hide = true)]
    Start,
}

/// Does what was asked, and returns what to say.
pub fn run_verb(place: &Place, verb: &SettingsVerb) -> Result<String> {
    match verb {
        SettingsVerb::Check { file } => check_settings(place, file.as_deref()),
        SettingsVerb::Show => show_settings(place),
        SettingsVerb::Help { key } => describe_settings(key.as_deref()),
        SettingsVerb::Apply => apply_settings(place),
        SettingsVerb::Start => start(place),
    }
}

/// Checks a file, or the settings in use, and returns what to say.
fn check_settings(place: &Place, file: Option<&Path>) -> Result<String> {
    let path = file.map_or_else(|| place.path(place::SETTINGS), Path::to_path_buf);
    let written = load_settings(&path)?;
    let resolved =
        resolve_here(place, &written).with_context(|| format!("checking {}", path.display()))?;
    let mut lines: Vec<String> = resolved
        .warnings
        .iter()
        .map(|warning| format!("warning: {warning}"))
        .collect();
    lines.push(format!("{}: good", path.display()));
    Ok(lines.join("\n"))
}

/// Shows every key with its value, secrets hidden.
fn show_settings(place: &Place) -> Result<String> {
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
