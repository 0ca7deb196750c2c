//! What the agent needs of the settings.
//!
//! The secret of an external account (RFC 8555, section 7.3.4,
//! <https://www.rfc-editor.org/rfc/rfc8555#section-7.3.4>) is among these
//! values, so only the agent's group reads them.

use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::rendered::Rendered;
use crate::appliance::wire::dns::RESOLVER;
use crate::appliance::wire::smtp::Door;
use crate::error::hinted;
use crate::settings::{Settings, StsMode};
use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// Where the values lie.
const CONFIGURATION: Rendered<Configuration> =
    Rendered::for_group(place::ACME_CONFIGURATION, "mailimg-acme");
/// Where web servers are asked for TLS-ALPN-01, RFC 8737 section 3.
const HTTPS_PORT: u16 = 443;
/// How long a run waits for a network that comes up.
const NETWORK_WAIT_SECONDS: u64 = 60;

/// Identifier and secret that a CA gave out for making an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalAccount {
    /// `ACME_EAB_KID`.
    pub kid: String,
    /// `ACME_EAB_HMAC`, base64url.
    pub hmac: String,
}

impl ExternalAccount {
    /// The secret itself; CAs print it with and without padding, in either alphabet.
    pub fn secret(&self) -> Option<Vec<u8>> {
        let text = self.hmac.trim_end_matches('=');
        let text = text.replace('+', "-").replace('/', "_");
        URL_SAFE_NO_PAD.decode(text).ok()
    }
}

/// The values of the settings that the agent acts on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// `HOSTNAME`.
    pub hostname: String,
    /// Names that get a certificate once they lead here.
    pub optional_names: Vec<String>,
    /// `ACME_DIRECTORY_URL`.
    pub directory: String,
    /// `ACME_EAB_KID` and `ACME_EAB_HMAC`.
    pub external_account: Option<ExternalAccount>,
    /// `ADMIN_EMAIL`.
    pub contact: String,
    /// Whom alerts come from: an address of this machine.
    pub sender: String,
    /// `HTTP_PORT`, where challenges are answered.
    pub http_port: u16,
    /// Whether port 443 leads to this machine's own web server.
    pub tls_alpn: bool,
    /// `PUBLIC_IPV4` and `PUBLIC_IPV6`.
    pub public_addresses: Vec<IpAddr>,
    /// Unbound, the machine's only resolver.
    #[serde(default = "name_server")]
    pub name_server: SocketAddr,
    /// Where alerts are handed in.
    #[serde(default)]
    pub mail: Door,
    /// Seconds that a run waits for a network that comes up.
    #[serde(default = "patience")]
    pub patience: u64,
}

fn name_server() -> SocketAddr {
    RESOLVER
}

fn patience() -> u64 {
    NETWORK_WAIT_SECONDS
}

impl Configuration {
    /// What the settings ask for.
    pub fn of(settings: &Settings) -> Self {
        let addresses = [
            settings.network.public_ipv4.map(IpAddr::V4),
            settings.network.public_ipv6.map(IpAddr::V6),
        ];
        Self {
            hostname: settings.hostname.clone(),
            optional_names: optional_names(settings),
            directory: settings.acme.directory_url.clone(),
            external_account: settings
                .acme
                .external_account
                .clone()
                .map(|(kid, hmac)| ExternalAccount { kid, hmac }),
            contact: settings.admin_email.to_string(),
            sender: settings.admin.to_string(),
            http_port: settings.web.http_port,
            tls_alpn: settings.web.https_port == HTTPS_PORT,
            public_addresses: addresses.into_iter().flatten().collect(),
            name_server: name_server(),
            mail: Door::default(),
            patience: patience(),
        }
    }

    /// All names, HOSTNAME first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.hostname.as_str())
            .chain(self.optional_names.iter().map(String::as_str))
    }
}

/// Names of the web server for each domain, in the order of the domains.
fn optional_names(settings: &Settings) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for domain in settings.domains() {
        let policy = (settings.sts_mode != StsMode::None).then_some("mta-sts");
        for label in policy.into_iter().chain(["autoconfig", "autodiscover"]) {
            let name = format!("{label}.{}", domain.to_ascii_lowercase());
            if name != settings.hostname && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// Writes the values; the next run of the agent takes them.
pub fn configure(place: &Place, settings: &Settings) -> Result<()> {
    CONFIGURATION.write(place, &Configuration::of(settings))
}

/// Reads the values, `None` before there are settings.
pub fn load_configuration(place: &Place) -> Result<Option<Configuration>> {
    CONFIGURATION.load_optional(place)
}

/// What the agent acts on.
pub fn load_configured(place: &Place) -> Result<Configuration> {
    load_configuration(place)?.ok_or_else(|| {
        hinted(
            "this machine has no settings yet",
            "mailctl console says how to supply them",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{Configuration, ExternalAccount};
    use crate::settings::{parse_settings, resolve_settings};

    #[test]
    fn names_of_every_domain_after_the_host() {
        let text =
            b"DOMAIN=a.example\nHOSTNAME=autoconfig.a.example\nADDITIONAL_DOMAINS=b.example\n\
                     MTA_STS=none\nHTTPS_PORT=8443\n";
        let written = parse_settings(text).unwrap();
        let settings = resolve_settings(&written).unwrap().settings;
        let configuration = Configuration::of(&settings);
        let names: Vec<&str> = configuration.names().collect();
        assert_eq!(
            names,
            [
                "autoconfig.a.example",
                "autodiscover.a.example",
                "autoconfig.b.example",
                "autodiscover.b.example"
            ]
        );
        assert!(!configuration.tls_alpn);
        let text = serde_json::to_string(&configuration).unwrap();
        let read: Configuration = serde_json::from_str(&text).unwrap();
        assert_eq!(read, configuration);
    }

    #[test]
    fn secrets_in_either_alphabet() {
        let secret = |hmac: &str| {
            let hmac = hmac.to_owned();
            let kid = String::new();
            ExternalAccount { kid, hmac }.secret()
        };
        assert_eq!(secret("-_8"), Some(vec![0xfb, 0xff]));
        assert_eq!(secret("+/8="), Some(vec![0xfb, 0xff]));
        assert_eq!(secret("%"), None);
    }
}
