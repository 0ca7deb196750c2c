//! What the service goes by, rendered from settings.

use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::rendered::Rendered;
use crate::settings::Settings;
use anyhow::Result;
use serde::{Deserialize, Serialize};

/// Where the values lie.
pub const CONFIGURATION: Rendered<Configuration> = Rendered::public(place::STS_CONFIGURATION);

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
pub fn configure(place: &Place, settings: &Settings) -> Result<()> {
    let configuration = Configuration {
        dnssec: settings.network.dnssec,
        hostname: settings.hostname.clone(),
        domain: settings.domains().next().unwrap_or_default().to_owned(),
        contact: settings.admin_email.to_string(),
    };
    CONFIGURATION.write(place, &configuration)
}
