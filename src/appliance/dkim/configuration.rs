//! OpenDKIM's configuration and its tables: which key signs for whom.

use super::key::key_path;
use super::load_selectors;
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::template::ensure_rendered;
use crate::settings::Settings;
use anyhow::Result;
use serde::Serialize;

/// Tells OpenDKIM not to sign: it looks here for an address before it looks at From
/// (`SenderHeaders`, opendkim.conf(5)).
pub const UNSIGNED: &str = "X-Mailimg-Unsigned";
/// Such an address, which nobody has a key for (RFC 2606 section 2).
pub const NOBODY: &str = "<forwarded@mail.invalid>";

#[derive(Serialize)]
struct SigningKey {
    domain: String,
    selector: String,
    path: String,
}

#[derive(Serialize)]
struct Values<'a> {
    hostname: &'a str,
    hostname_is_domain: bool,
    rendered: &'a str,
    unsigned_header: &'a str,
    filters_daemon: &'a str,
    own_daemon: &'a str,
    signing_keys: Vec<SigningKey>,
}

/// The key that signs for each domain, `DOMAIN`'s first.
fn signing_keys(place: &Place, settings: &Settings) -> Vec<SigningKey> {
    settings
        .domains()
        .map(|domain| {
            let selector = load_selectors(place, settings, domain).active;
            SigningKey {
                domain: domain.to_owned(),
                path: key_path(domain, &selector).display().to_string(),
                selector,
            }
        })
        .collect()
}

/// Writes its configuration.
pub fn configure(place: &Place, settings: &Settings) -> Result<()> {
    let values = Values {
        hostname: &settings.hostname,
        hostname_is_domain: settings.hostname_is_domain(),
        rendered: place::RENDERED,
        unsigned_header: UNSIGNED,
        filters_daemon: place::FILTERS_DAEMON,
        own_daemon: place::OWN_DAEMON,
        signing_keys: signing_keys(place, settings),
    };
    for name in [
        "opendkim/opendkim.conf",
        "opendkim/KeyTable",
        "opendkim/SigningTable",
        "opendkim/TrustedHosts",
    ] {
        ensure_rendered(place, name, &values)?;
    }
    Ok(())
}
