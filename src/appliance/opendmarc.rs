//! OpenDMARC: its configuration.

use super::machine::place::{self, Place};
use super::machine::template::ensure_rendered;
use crate::settings::Settings;
use anyhow::Result;
use serde::Serialize;

/// Its unit.
pub const UNIT: &str = "opendmarc.service";

#[derive(Serialize)]
struct Values<'a> {
    hostname: &'a str,
    rendered: &'a str,
}

/// Writes its configuration.
pub fn configure(place: &Place, settings: &Settings) -> Result<()> {
    let values = Values {
        hostname: &settings.hostname,
        rendered: place::RENDERED,
    };
    for name in ["opendmarc/opendmarc.conf", "opendmarc/IgnoreHosts"] {
        ensure_rendered(place, name, &values)?;
    }
    Ok(())
}
