//! What publishing needs of the settings, which its own user may not read.
//!
//! settings.env holds every secret and is root's alone. So this is a settings
//! file with the keys that records are made of and one secret, that of the key
//! that changes zones. What else it needs lies open: DKIM records, the
//! certificate, and what the certificate agent says about itself.

use crate::appliance::machine::accounts::owner;
use crate::appliance::machine::files::{ensure_file, remove_file};
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::settings::load_checked;
use crate::error::hinted;
use crate::settings::{Interface, Settings, StsMode};
use anyhow::Result;
use base64::Engine;

/// Root writes, the group of the publisher reads.
const CONFIGURATION_MODE: u32 = 0o640;

/// Writes the file, or removes it when nothing is to be published.
pub fn configure(place: &Place, settings: &Settings) -> Result<()> {
    let path = place.path(place::DNS_CONFIGURATION);
    match environment(settings) {
        None => remove_file(&path),
        Some(text) => ensure_file(
            &path,
            text.as_bytes(),
            CONFIGURATION_MODE,
            owner(place, "root", "mailimg-dns")?,
        )
        .map(|_| ()),
    }
}

/// Reads it.
pub fn load_configuration(place: &Place) -> Result<Settings> {
    let resolved = load_checked(place, place::DNS_CONFIGURATION)?.ok_or_else(|| {
        hinted(
            "the settings name no server that takes updates",
            "set DNS_UPDATE_SERVER, DNS_UPDATE_KEY and DNS_UPDATE_SECRET, then run mailctl settings apply",
        )
    })?;
    Ok(resolved.settings)
}

fn environment(settings: &Settings) -> Option<String> {
    let update = settings.dns_update.as_ref()?;
    let server = if update.host.contains(':') {
        format!("[{}]:{}", update.host, update.port)
    } else {
        format!("{}:{}", update.host, update.port)
    };
    let secret = base64::engine::general_purpose::STANDARD.encode(&update.secret);
    let lines = [
        ("DNS_UPDATE_SERVER", server),
        ("DNS_UPDATE_KEY", update.key.clone()),
        ("DNS_UPDATE_ALGORITHM", update.algorithm.clone()),
        ("DNS_UPDATE_SECRET", secret),
    ];
    Some(public_environment(settings) + &written(&lines))
}

/// What records are made of, without any secret, as lines of a settings file.
pub fn public_environment(settings: &Settings) -> String {
    let optional = |value: Option<String>| value.unwrap_or_default();
    let interface = |interface: &Option<Interface>| {
        let interface = interface.as_ref();
        optional(interface.map(|one| format!("{}/{}", one.address, one.prefix)))
    };
    let network = &settings.network;
    let sts = match settings.sts_mode {
        StsMode::Enforce => "enforce",
        StsMode::Testing => "testing",
        StsMode::None => "none",
    };
    written(&[
        ("DOMAIN", settings.domain.clone()),
        ("HOSTNAME", settings.hostname.clone()),
        ("ADDITIONAL_DOMAINS", settings.additional_domains.join(",")),
        ("ADMIN_EMAIL", settings.admin_email.to_string()),
        ("DKIM_KEY_SELECTOR", settings.dkim_selector.clone()),
        ("MTA_STS", sts.to_owned()),
        ("ACME_DIRECTORY_URL", settings.acme.directory_url.clone()),
        ("HTTPS_PORT", settings.web.https_port.to_string()),
        ("RELAYHOST", optional(settings.relay.host.clone())),
        (
            "PUBLIC_IPV4",
            optional(network.public_ipv4.map(|address| address.to_string())),
        ),
        (
            "PUBLIC_IPV6",
            optional(network.public_ipv6.map(|address| address.to_string())),
        ),
        ("IPV4_ADDRESS", interface(&network.ipv4)),
        ("IPV6_ADDRESS", interface(&network.ipv6)),
    ])
}

fn written(lines: &[(&str, String)]) -> String {
    let set = lines.iter().filter(|(_, value)| !value.is_empty());
    set.map(|(key, value)| format!("{key}={value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::environment;
    use crate::appliance::dns::facts::policy_id;
    use crate::settings::{Settings, parse_settings, resolve_settings};

    fn settings(text: &str) -> Settings {
        let written = parse_settings(text.as_bytes()).unwrap();
        resolve_settings(&written).unwrap().settings
    }

    #[test]
    fn records_are_the_same_as_from_all_settings_and_other_secrets_stay_behind() {
        let all = settings(
            "DOMAIN=a.example\nHOSTNAME=mail.${DOMAIN}\nADDITIONAL_DOMAINS=b.example,c.example\n\
             ADMIN_EMAIL=x@b.example\nADMIN_USER_INITIAL_PASSWORD=geheim\nMTA_STS=testing\n\
             HTTPS_PORT=8443\nRELAYHOST=[relay.example]:587\nRELAYHOST_USER=u\nRELAYHOST_PASSWORD=geheim\n\
             PUBLIC_IPV4=192.0.2.1\nIPV6_ADDRESS=2001:db8::1/64\nIPV6_GATEWAY=fe80::1\n\
             DNS_UPDATE_SERVER=[2001:db8::53]:5353\nDNS_UPDATE_KEY=k\nDNS_UPDATE_SECRET=AAEC\n",
        );
        let text = environment(&all).unwrap();
        assert!(!text.contains("geheim"));
        let some = settings(&text);
        assert_eq!(some.dns_update, all.dns_update);
        assert_eq!(
            (
                some.domain,
                some.hostname,
                some.additional_domains,
                some.admin_email
            ),
            (
                all.domain.clone(),
                all.hostname.clone(),
                all.additional_domains.clone(),
                all.admin_email.clone()
            )
        );
        assert_eq!(
            (
                some.network.public_ipv4,
                some.relay.host,
                some.acme.directory_url,
                some.web.https_port
            ),
            (
                all.network.public_ipv4,
                all.relay.host.clone(),
                all.acme.directory_url.clone(),
                8443
            )
        );
        assert_eq!(policy_id(&settings(&text)), policy_id(&all));
    }

    #[test]
    fn without_a_server_there_is_nothing() {
        assert_eq!(
            environment(&settings("DOMAIN=a.example\nHOSTNAME=mail.a.example\n")),
            None
        );
    }
}
