//! OpenDKIM's configuration and its tables: which key signs for whom.

use super::key::key_path;
use super::load_selectors;
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::template::ensure_rendered;
use crate::settings::Settings;
use anyhow::Result;
use serde::Serialize;

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
