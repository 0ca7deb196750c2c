//! What the service goes by, rendered from settings.

use crate::appliance::machine::accounts::owner;
use crate::appliance::machine::files::{PUBLIC, ensure_file};
use crate::appliance::machine::place::{self, Place};
use crate::settings::Settings;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What the service goes by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Whether the resolver validates, so that there can be DANE.
    pub dnssec: bool,
    /// The machine's name.
    pub hostname: String,
    /// The first domain, in whose name reports are sent.
    pub domain: String,
    /// Whom the readers of reports may ask.
    pub contact: String,
}

/// Renders it.
///
/// # Errors
/// A file that cannot be written.
pub fn configure(place: &Place, settings: &Settings) -> Result<()> {
    let configuration = Configuration {
        dnssec: settings.network.dnssec,
        hostname: settings.hostname.clone(),
        domain: settings.domains().next().unwrap_or_default().to_owned(),
        contact: settings.admin_email.to_string(),
    };
    let bytes = serde_json::to_vec(&configuration).context("writing JSON")?;
    let path = place.path(place::STS_CONFIGURATION);
    ensure_file(&path, &bytes, PUBLIC, owner(place, "root", "root")?)?;
    Ok(())
}

/// Reads it, as it is at the moment.
///
/// # Errors
/// A file that is missing or damaged.
pub fn load_configuration(place: &Place) -> Result<Configuration> {
    let path = place.path(place::STS_CONFIGURATION);
    let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("reading {}", path.display()))
}
