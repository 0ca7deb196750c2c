//! What the web server needs of the settings, which it may not read itself.
//!
//! settings.env holds secrets and is root's alone; nothing in here is one.

use crate::appliance::machine::files::{PUBLIC, ensure_file};
use crate::appliance::machine::place::{self, Place};
use crate::appliance::sts::published::sts_policy;
use crate::settings::Settings;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Ports that a web server has unless it stands behind another one.
const PUBLIC_PORTS: (u16, u16) = (80, 443);

/// The values of the settings that the web server acts on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// `HOSTNAME`.
    pub hostname: String,
    /// All mail domains, `DOMAIN` first.
    pub domains: Vec<String>,
    /// `HTTP_PORT`.
    pub http_port: u16,
    /// `HTTPS_PORT`.
    pub https_port: u16,
    /// Text of the MTA-STS policy.
    pub sts_policy: String,
}

impl Configuration {
    fn new(settings: &Settings) -> Self {
        Self {
            hostname: settings.hostname.clone(),
            domains: settings.domains().map(str::to_owned).collect(),
            http_port: settings.web.http_port,
            https_port: settings.web.https_port,
            sts_policy: sts_policy(settings).text,
        }
    }

    /// Both ports, HTTP's first.
    pub fn ports(&self) -> (u16, u16) {
        (self.http_port, self.https_port)
    }

    /// Whether another web server stands in front and passes requests on.
    pub fn is_behind_proxy(&self) -> bool {
        self.ports() != PUBLIC_PORTS
    }
}

/// Reads what [`configure`] wrote.
///
/// # Errors
/// Anything else.
pub fn parse_configuration(text: &str) -> Result<Configuration> {
    serde_json::from_str(text).context("reading the web server's configuration")
}

/// The ports that the rendered configuration names, `None` when there is none.
pub fn load_ports(place: &Place) -> Option<(u16, u16)> {
    let text = std::fs::read_to_string(place.path(place::WEB_CONFIGURATION)).ok()?;
    Some(parse_configuration(&text).ok()?.ports())
}

/// Writes the values; a running server takes all but the ports with the next request.
///
/// # Errors
/// A file that cannot be written.
pub fn configure(place: &Place, settings: &Settings) -> Result<()> {
    let mut text = serde_json::to_string(&Configuration::new(settings)).context("writing JSON")?;
    text.push('\n');
    let path = place.path(place::WEB_CONFIGURATION);
    ensure_file(&path, text.as_bytes(), PUBLIC, None).map(|_| ())
}
