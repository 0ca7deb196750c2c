//! Checked settings: the values that the machine acts on.

use super::address::MailAddress;
use super::monitoring::Monitoring;
use super::name::{DnsUpdate, StsMode};
use super::problem::Problem;
use super::schedule::Schedule;
use super::value::{DhParameters, Interface, NetworkSource, SshKey};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Checked settings, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `DOMAIN`.
    pub domain: String,
    /// `HOSTNAME`.
    pub hostname: String,
    /// `ADDITIONAL_DOMAINS`, without `DOMAIN`, in the order written.
    pub additional_domains: Vec<String>,
    /// `ADMIN_USER` at `DOMAIN`.
    pub admin: MailAddress,
    /// `ADMIN_USER_INITIAL_PASSWORD`.
    pub admin_password: Option<String>,
    /// `ADMIN_EMAIL`.
    pub admin_email: MailAddress,
    /// `DKIM_KEY_SELECTOR`.
    pub dkim_selector: String,
    /// `AUTH_ON_PORT_25`.
    pub auth_on_port_25: bool,
    /// `MESSAGE_SIZE_LIMIT`, in bytes.
    pub message_size: u64,
    /// `MAILBOX_QUOTA`, in bytes.
    pub mailbox_quota: Option<u64>,
    /// `SENDING_LIMIT`: recipients of one account within an hour.
    pub sending_limit: Option<u32>,
    /// `TRUSTED_SEALERS`, in lower case.
    pub trusted_sealers: Vec<String>,
    /// `MTA_STS`.
    pub sts_mode: StsMode,
    /// `DNS_UPDATE_*`.
    pub dns_update: Option<DnsUpdate>,
    /// `DH_PARAMS`.
    pub dh_parameters: DhParameters,
    /// Certificates.
    pub acme: Acme,
    /// The server that takes all outgoing mail, if there is one.
    pub relay: Relay,
    /// The monitoring pages.
    pub monitoring: Monitoring,
    /// The web server.
    pub web: Web,
    /// Who may log in as root.
    pub ssh: Ssh,
    /// Addresses and names.
    pub network: Network,
    /// Other versions of the system.
    pub updates: Updates,
}

impl Settings {
    /// All mail domains, `DOMAIN` first.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.domain.as_str())
            .chain(self.additional_domains.iter().map(String::as_str))
    }

    /// Whether the machine's name is a mail domain as well.
    pub fn hostname_is_domain(&self) -> bool {
        self.domains().any(|domain| domain == self.hostname)
    }
}

/// Certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// `ACME_DIRECTORY_URL`.
    pub directory_url: String,
    /// `ACME_CA_FILE`, a bare file name.
    pub ca_file: Option<String>,
    /// `ACME_EAB_KID` and `ACME_EAB_HMAC`.
    pub external_account: Option<(String, String)>,
}

/// The server that takes all outgoing mail, if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// `RELAYHOST` in Postfix's notation.
    pub host: Option<String>,
    /// `RELAYHOST_USER` and `RELAYHOST_PASSWORD`.
    pub login: Option<(String, String)>,
}

/// The web server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    /// `HTTP_PORT`.
    pub http_port: u16,
    /// `HTTPS_PORT`.
    pub https_port: u16,
}

/// Who may log in as root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssh {
    /// `SSH_AUTHORIZED_KEYS`.
    pub keys: Vec<SshKey>,
    /// `SSH_ALLOW_FROM`.
    pub allow_from: Vec<NetworkSource>,
}

/// Addresses and names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// `IPV4_ADDRESS` and `IPV4_GATEWAY`.
    pub ipv4: Option<Interface>,
    /// `IPV6_ADDRESS` and `IPV6_GATEWAY`.
    pub ipv6: Option<Interface>,
    /// `PUBLIC_IPV4`.
    pub public_ipv4: Option<Ipv4Addr>,
    /// `PUBLIC_IPV6`.
    pub public_ipv6: Option<Ipv6Addr>,
    /// `DNS_SERVERS`.
    pub dns_servers: Vec<IpAddr>,
    /// `DNSSEC`.
    pub dnssec: bool,
}

/// Other versions of the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updates {
    /// `UPDATE_SOURCE`.
    pub source: Option<String>,
    /// `UPDATE_SCHEDULE`.
    pub schedule: Option<Schedule>,
    /// `UPDATE_WINDOW`, in seconds.
    pub window: i64,
}

/// Settings with what is odd about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The values.
    pub settings: Settings,
    /// Findings that stop nothing: unknown keys, choices that may surprise.
    pub warnings: Vec<Problem>,
}
