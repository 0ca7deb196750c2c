//! What the filter needs of the settings, which it may not read itself.
//!
//! settings.env holds secrets and is root's alone; the filter runs as a user
//! of its own. So these two values are rendered for it.

use crate::appliance::machine::files::{PUBLIC, ensure_file};
use crate::appliance::machine::place::{self, Place};
use crate::settings::Settings;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The values of the settings that the filter acts on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// `HOSTNAME`.
    pub hostname: String,
    /// `SENDING_LIMIT`.
    pub sending_limit: Option<u32>,
}

/// Where the values lie.
pub fn configuration_path(place: &Place) -> PathBuf {
    place.path(place::RENDERED).join("filter.json")
}

/// Reads what [`configure`] wrote.
///
/// # Errors
/// Anything else.
pub fn parse_configuration(text: &str) -> Result<Configuration> {
    serde_json::from_str(text).context("reading the filter's configuration")
}

/// Writes the values; a running filter takes them with the next session.
///
/// # Errors
/// A file that cannot be written.
pub fn configure(place: &Place, settings: &Settings) -> Result<()> {
    let configuration = Configuration {
        hostname: settings.hostname.clone(),
        sending_limit: settings.sending_limit,
    };
    let mut text = serde_json::to_string(&configuration).context("writing JSON")?;
    text.push('\n');
    ensure_file(&configuration_path(place), text.as_bytes(), PUBLIC, None).map(|_| ())
}
