//! Checked settings: the values that the machine acts on.

use super::address::MailAddress;
use super::name::{DnsUpdate, StsMode};
use super::problem::Problem;
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
    /// `METRICS`.
    pub metrics: bool,
    /// `GF_SECURITY_ADMIN_USER`.
    pub monitoring_user: String,
    /// `GF_SECURITY_ADMIN_PASSWORD`.
    pub monitoring_password: Option<String>,
    /// `GF_SERVER_ROOT_URL`.
    pub monitoring_url: String,
    /// `HTTP_PORT`.
    pub http_port: u16,
    /// `HTTPS_PORT`.
    pub https_port: u16,
    /// `AUTH_ON_PORT_25`.
    pub auth_on_port_25: bool,
    /// `MESSAGE_SIZE_LIMIT`, in bytes.
    pub message_size: u64,
    /// `MAILBOX_QUOTA`, in bytes.
    pub mailbox_quota: Option<u64>,
    /// `SENDING_LIMIT`: recipients of one account within an hour.
    pub sending_limit: Option<u32>,
    /// `SSH_AUTHORIZED_KEYS`.
    pub ssh_keys: Vec<SshKey>,
    /// `SSH_ALLOW_FROM`.
    pub ssh_allow_from: Vec<NetworkSource>,
    /// `ACME_DIRECTORY_URL`.
    pub acme_directory_url: String,
    /// `ACME_CA_FILE`, a bare file name.
    pub acme_ca_file: Option<String>,
    /// `ACME_EAB_KID` and `ACME_EAB_HMAC`.
    pub acme_external_account: Option<(String, String)>,
    /// `MTA_STS`.
    pub sts_mode: StsMode,
    /// `PUBLIC_IPV4`.
    pub public_ipv4: Option<Ipv4Addr>,
    /// `PUBLIC_IPV6`.
    pub public_ipv6: Option<Ipv6Addr>,
    /// `DNS_UPDATE_*`.
    pub dns_update: Option<DnsUpdate>,
    /// `DH_PARAMS`.
    pub dh_parameters: DhParameters,
    /// `RELAYHOST` in Postfix's notation.
    pub relayhost: Option<String>,
    /// `RELAYHOST_USER` and `RELAYHOST_PASSWORD`.
    pub relayhost_login: Option<(String, String)>,
    /// `DNSSEC`.
    pub dnssec: bool,
    /// `DNS_SERVERS`.
    pub dns_servers: Vec<IpAddr>,
    /// `IPV4_ADDRESS` and `IPV4_GATEWAY`.
    pub ipv4: Option<Interface>,
    /// `IPV6_ADDRESS` and `IPV6_GATEWAY`.
    pub ipv6: Option<Interface>,
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

/// Settings with what is odd about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The values.
    pub settings: Settings,
    /// Findings that stop nothing: unknown keys, choices that may surprise.
    pub warnings: Vec<Problem>,
}
