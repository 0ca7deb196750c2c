//! What the web server needs of the settings; nothing in here is a secret.

use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::rendered::Rendered;
use crate::appliance::sts::published::sts_policy;
use crate::settings::Settings;
use anyhow::Result;
use serde::{Deserialize, Serialize};

/// Where the values lie.
pub const CONFIGURATION: Rendered<Configuration> = Rendered::public(place::WEB_CONFIGURATION);
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
    /// Path of the pages of monitoring, if there is any.
    pub monitoring_path: Option<String>,
}

impl Configuration {
    fn new(settings: &Settings) -> Self {
        Self {
            hostname: settings.hostname.clone(),
            domains: settings.domains().map(str::to_owned).collect(),
            http_port: settings.web.http_port,
            https_port: settings.web.https_port,
            sts_policy: sts_policy(settings).text,
            monitoring_path: settings
                .monitoring
                .enabled
                .then(|| settings.monitoring.path().to_owned()),
        }
    }

    /// Both ports, HTTP's first.
    pub fn ports(&self) -> (u16, u16) {
        (self.http_port, self.https_port)
    }

    /// Whether a path is the pages' of monitoring, or one below it.
    pub fn is_monitoring(&self, path: &str) -> bool {
        let own = self.monitoring_path.as_deref();
        let rest = own.and_then(|own| path.strip_prefix(own));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether another web server stands in front and passes requests on.
    pub fn is_behind_proxy(&self) -> bool {
        self.ports() != PUBLIC_PORTS
    }
}

/// The ports that the rendered configuration names, `None` when there is none.
pub fn load_ports(place: &Place) -> Option<(u16, u16)> {
    Some(CONFIGURATION.load_optional(place).ok()??.ports())
}

/// Writes the values; a running server takes all but the ports with the next request.
pub fn configure(place: &Place, settings: &Settings) -> Result<()> {
    CONFIGURATION.write(place, &Configuration::new(settings))
}
