//! `mailctl dkim`: keys that sign outgoing mail, and the records that go with them.

use super::dkim_rotate;
use crate::appliance::dkim::{ensure_keys, show_records};
use crate::appliance::machine::place::{Place, SETTINGS};
use crate::appliance::machine::settings::{load_checked, load_stored};
use anyhow::Result;
use clap::Subcommand;

/// What can be done about signing keys.
#[derive(Debug, Subcommand)]
pub enum DkimVerb {
    /// Print the TXT records to publish.
    Show {
        /// Only this domain's.
        domain: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make the next key of a domain, or sign with it once its record is published.
    Rotate {
        /// Only this domain's; all when absent.
        domain: Option<String>,
        /// Sign with the next key from now on.
        #[arg(long)]
        activate: bool,
        /// Do not ask DNS whether the record is published.
        #[arg(long, requires = "activate")]
        force: bool,
    },
    /// Make the keys that are missing.
    Ensure,
}

/// Does what was asked, and returns what to say.
pub fn run_verb(place: &Place, verb: &DkimVerb) -> Result<String> {
    match verb {
        DkimVerb::Show { domain, json } => {
            let settings = load_stored(place)?.settings;
            show_records(place, &settings, domain.as_deref(), *json)
        }
        DkimVerb::Rotate {
            domain,
            activate: true,
            force,
        } => dkim_rotate::activate(place, domain.as_deref(), *force),
        DkimVerb::Rotate { domain, .. } => dkim_rotate::prepare(place, domain.as_deref()),
        DkimVerb::Ensure => ensure(place),
    }
}

/// A boot may come before there are settings.
fn ensure(place: &Place) -> Result<String> {
    let Some(resolved) = load_checked(place, SETTINGS)? else {
        return Ok("No settings yet: no domain needs a key.".to_owned());
    };
    ensure_keys(place, &resolved.settings)?;
    Ok("Every domain has its signing key.".to_owned())
}
