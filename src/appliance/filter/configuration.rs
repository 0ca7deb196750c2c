//! What the filter needs of the settings.

use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::rendered::Rendered;
use crate::settings::Settings;
use anyhow::Result;
use serde::{Deserialize, Serialize};

/// Where the values lie.
pub const CONFIGURATION: Rendered<Configuration> = Rendered::public(place::FILTER_CONFIGURATION);

/// The values of the settings that the filter acts on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// `HOSTNAME`.
    pub hostname: String,
    /// `SENDING_LIMIT`.
    pub sending_limit: Option<u32>,
    /// `TRUSTED_SEALERS`.
    pub trusted_sealers: Vec<String>,
    /// `DOMAIN` and `ADDITIONAL_DOMAINS`.
    pub domains: Vec<String>,
}

/// Writes the values; a running filter takes them with the next session.
pub fn configure(place: &Place, settings: &Settings) -> Result<()> {
    let configuration = Configuration {
        hostname: settings.hostname.clone(),
        sending_limit: settings.sending_limit,
        trusted_sealers: settings.trusted_sealers.clone(),
        domains: settings.domains().map(str::to_owned).collect(),
    };
    CONFIGURATION.write(place, &configuration)
}
