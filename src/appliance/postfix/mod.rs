//! Postfix: its configuration, its lookup tables and its queue.

pub mod maps;
pub mod queue;

use super::machine::files::{SECRET, remove_file};
use super::machine::place::{self, Place};
use super::machine::template::{ensure_below_run, ensure_rendered};
use super::users::LockedUsers;
use super::{certificate, sts};
use crate::settings::Settings;
use anyhow::Result;
use serde::Serialize;

/// Its unit.
pub const UNIT: &str = "postfix.service";
/// What mail leaves of the disk to everything else, in bytes.
const DISK_RESERVE: u64 = 128 << 20;
/// Simultaneous deliveries to one mailbox; Dovecot defers what is above its own limit.
pub const DELIVERIES_PER_USER: u32 = 5;
/// Login and password of the relay host.
const RELAY_LOGIN: &str = "postfix/sasl_passwd";

#[derive(Serialize)]
struct Values<'a> {
    hostname: &'a str,
    domains: Vec<&'a str>,
    hostname_is_domain: bool,
    auth_on_port_25: bool,
    dnssec: bool,
    relayhost: &'a str,
    relayhost_login: bool,
    relayhost_wrapped: bool,
    key_and_chain: String,
    trust: &'a str,
    rendered: &'a str,
    filter_socket: &'a str,
    sts_socket: &'a str,
    sts_map: &'a str,
    tlsrpt_socket: &'a str,
    message_bytes: u64,
    disk_reserve: u64,
    deliveries_per_user: u32,
    filters_port: u16,
    filters_daemon: &'a str,
    own_daemon: &'a str,
}

/// Writes its configuration and its tables.
pub fn configure(place: &Place, settings: &Settings) -> Result<()> {
    let relayhost = settings.relay.host.as_deref();
    let values = Values {
        hostname: &settings.hostname,
        domains: settings.domains().collect(),
        hostname_is_domain: settings.hostname_is_domain(),
        auth_on_port_25: settings.auth_on_port_25,
        dnssec: settings.network.dnssec,
        relayhost: relayhost.unwrap_or_default(),
        relayhost_login: settings.relay.login.is_some(),
        relayhost_wrapped: relayhost.is_some_and(|host| host.ends_with(":465")),
        key_and_chain: certificate::key_and_chain_path().display().to_string(),
        trust: place::TRUST,
        rendered: place::RENDERED,
        filter_socket: place::FILTER_SOCKET,
        sts_socket: place::STS_SOCKET,
        sts_map: sts::MAP,
        tlsrpt_socket: place::TLSRPT_SOCKET,
        message_bytes: settings.message_size,
        disk_reserve: DISK_RESERVE,
        deliveries_per_user: DELIVERIES_PER_USER,
        filters_port: place::FILTERS_MAIL_PORT,
        filters_daemon: place::FILTERS_DAEMON,
        own_daemon: place::OWN_DAEMON,
    };
    for name in ["postfix/main.cf", "postfix/master.cf"] {
        ensure_rendered(place, name, &values)?;
    }
    match (relayhost, &settings.relay.login) {
        (Some(host), Some((user, password))) => {
            let line = format!("{host} {user}:{password}\n");
            ensure_below_run(place, RELAY_LOGIN, &line, SECRET)?;
        }
        _ => remove_file(&place.path(place::RENDERED).join(RELAY_LOGIN))?,
    }
    let locked = LockedUsers::open(place)?;
    maps::ensure_maps(place, settings, &locked.users).map(|_| ())
}
