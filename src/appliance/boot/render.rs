//! Configuration of all services, from settings and the image's templates into /run.

use super::health;
use crate::appliance::certificate::{acme, trust};
use crate::appliance::dkim::key;
use crate::appliance::dovecot::dh;
use crate::appliance::machine::accounts::{find_account, owner};
use crate::appliance::machine::files::{
    PUBLIC, SECRET, check_state, ensure_file, ensure_folder, remove_file,
};
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::settings::load_checked;
use crate::appliance::machine::template::render_template;
use crate::appliance::postfix::maps;
use crate::appliance::users::LockedUsers;
use crate::appliance::{certificate, dkim, dns, filter, guard, network, sts, unbound, web};
use crate::settings::Settings;
use anyhow::Context;
use serde::Serialize;
use std::collections::BTreeMap;

/// Rendered files, by their path below both the templates and /run/mailimg.
const FILES: [&str; 11] = [
    "postfix/main.cf",
    "postfix/master.cf",
    "dovecot/dovecot.conf",
    "dovecot/junk.sieve",
    "opendkim/opendkim.conf",
    "opendkim/KeyTable",
    "opendkim/SigningTable",
    "opendkim/TrustedHosts",
    "opendmarc/opendmarc.conf",
    "opendmarc/IgnoreHosts",
    "ssh/sshd_config",
];

/// What mail leaves of the disk to everything else, in bytes.
const DISK_RESERVE: u64 = 128 << 20;
/// Simultaneous deliveries to one mailbox; Dovecot defers what is above its own limit.
const DELIVERIES_PER_USER: u32 = 5;

#[derive(Serialize)]
struct SigningKey {
    domain: String,
    selector: String,
    path: String,
}

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
    certificate: String,
    private_key: String,
    key_and_chain: String,
    dh_file: String,
    trust: &'a str,
    users: &'a str,
    mail: &'a str,
    vmail_user: u32,
    rendered: &'a str,
    sieve: &'a str,
    probe: &'a str,
    filter_socket: &'a str,
    sts_socket: &'a str,
    sts_map: &'a str,
    tlsrpt_socket: &'a str,
    guard_port: u16,
    message_bytes: u64,
    disk_reserve: u64,
    mailbox_quota: Option<u64>,
    deliveries_per_user: u32,
    signing_keys: Vec<SigningKey>,
    ssh_host_key: String,
    ssh_allow_from: &'a [crate::settings::NetworkSource],
}

/// The key that signs for each domain, `DOMAIN`'s first.
fn signing_keys(place: &Place, settings: &Settings) -> Vec<SigningKey> {
    settings
        .domains()
        .map(|domain| {
            let selector = dkim::load_selectors(place, settings, domain).active;
            SigningKey {
                domain: domain.to_owned(),
                path: key::key_path(domain, &selector).display().to_string(),
                selector,
            }
        })
        .collect()
}

fn values<'a>(place: &Place, settings: &'a Settings) -> anyhow::Result<Values<'a>> {
    Ok(Values {
        hostname: &settings.hostname,
        domains: settings.domains().collect(),
        hostname_is_domain: settings.domains().any(|name| name == settings.hostname),
        auth_on_port_25: settings.auth_on_port_25,
        dnssec: settings.dnssec,
        relayhost: settings.relayhost.as_deref().unwrap_or_default(),
        relayhost_login: settings.relayhost_login.is_some(),
        relayhost_wrapped: settings
            .relayhost
            .as_deref()
            .is_some_and(|host| host.ends_with(":465")),
        certificate: certificate::chain_path().display().to_string(),
        private_key: certificate::key_path().display().to_string(),
        key_and_chain: certificate::key_and_chain_path().display().to_string(),
        dh_file: dh::group_path(settings).display().to_string(),
        trust: place::TRUST,
        users: place::USERS,
        mail: place::MAIL,
        vmail_user: find_account(place, "vmail")?.user,
        rendered: place::RENDERED,
        sieve: place::SIEVE,
        probe: place::PROBE,
        filter_socket: place::FILTER_SOCKET,
        sts_socket: place::STS_SOCKET,
        sts_map: sts::MAP,
        tlsrpt_socket: place::TLSRPT_SOCKET,
        guard_port: place::GUARD_PORT,
        message_bytes: settings.message_size,
        disk_reserve: DISK_RESERVE,
        mailbox_quota: settings.mailbox_quota,
        deliveries_per_user: DELIVERIES_PER_USER,
        signing_keys: signing_keys(place, settings),
        ssh_host_key: format!("{}/ssh_host_ed25519_key", place::SSH_HOST_KEYS),
        ssh_allow_from: &settings.ssh_allow_from,
    })
}

/// Renders everything, and says whether there were settings to render.
///
/// Without settings only the resolver is configured, so that the clock can be set.
///
/// # Errors
/// Wrong settings, wrong templates, files that cannot be written.
pub fn render_all(place: &Place) -> anyhow::Result<bool> {
    check_state(place)?;
    ensure_folder(&place.path(place::RENDERED), 0o755, None)?;
    let resolved = load_checked(place, place::SETTINGS)?;
    let settings = resolved.map(|resolved| resolved.settings);
    unbound::ensure_resolver(place, settings.as_ref())?;
    let Some(settings) = settings else {
        remove_file(&place.path(place::CONFIGURED))?;
        remove_file(&place.path(place::PROVISIONED))?;
        return Ok(false);
    };
    network::set_host_name(place, &settings.hostname)?;
    network::ensure_network(place, &settings)?;
    for (name, text) in render_texts(place, &settings)? {
        let path = place.path(place::RENDERED).join(&name);
        ensure_folder(
            path.parent().context("a file without a folder")?,
            0o755,
            None,
        )?;
        let mode = if name.ends_with("sasl_passwd") {
            SECRET
        } else {
            PUBLIC
        };
        ensure_file(&path, text.as_bytes(), mode, owner(place, "root", "root")?)?;
    }
    if settings.ssh_keys.is_empty() {
        remove_file(&place.path(place::RENDERED).join("ssh/authorized_keys"))?;
    }
    if settings.relayhost_login.is_none() {
        remove_file(&place.path(place::RENDERED).join("postfix/sasl_passwd"))?;
    }
    trust::ensure_trust(place, &settings)?;
    filter::ensure_configuration(place, &settings)?;
    web::ensure_configuration(place, &settings)?;
    sts::ensure_configuration(place, &settings)?;
    acme::ensure_configuration(place, &settings)?;
    dns::ensure_configuration(place, &settings)?;
    guard::ensure_key(place)?;
    health::ensure_probe(place)?;
    let locked = LockedUsers::open(place)?;
    maps::ensure_maps(place, &settings, &locked.users)?;
    ensure_file(&place.path(place::CONFIGURED), b"", PUBLIC, None)?;
    Ok(true)
}

/// Every file below /run/mailimg that depends on settings alone.
fn render_texts(place: &Place, settings: &Settings) -> anyhow::Result<BTreeMap<String, String>> {
    let values = values(place, settings)?;
    let mut texts = BTreeMap::new();
    for name in FILES {
        texts.insert(name.to_owned(), render_template(place, name, &values)?);
    }
    if !settings.ssh_keys.is_empty() {
        let keys = settings.ssh_keys.iter().map(|key| format!("{}\n", key.0));
        texts.insert("ssh/authorized_keys".to_owned(), keys.collect());
    }
    if let (Some(host), Some((user, password))) = (&settings.relayhost, &settings.relayhost_login) {
        texts.insert(
            "postfix/sasl_passwd".to_owned(),
            format!("{host} {user}:{password}\n"),
        );
    }
    Ok(texts)
}
