//! Bans that outlive the process, as JSON.

use super::rules::Ban;
use crate::appliance::machine::files::{SECRET, read_optional, write_file};
use crate::appliance::machine::place::{self, Place};
use anyhow::{Context, Result};

/// Reads the bans of a former process. A damaged file is no reason to guard nothing.
pub fn load_bans(place: &Place) -> Vec<Ban> {
    let path = place.path(place::BANS);
    let load = || -> Result<Vec<Ban>> {
        match read_optional(&path)? {
            Some(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("reading {}", path.display())),
            None => Ok(Vec::new()),
        }
    };
    load().unwrap_or_else(|error| {
        tell!("beginning without bans: {error:#}");
        Vec::new()
    })
}

/// Replaces the file; when that fails, the old one is still there.
pub fn store_bans(place: &Place, bans: &[Ban]) -> Result<()> {
    let mut text = serde_json::to_string(bans).context("writing JSON")?;
    text.push('\n');
    write_file(&place.path(place::BANS), text.as_bytes(), SECRET, None)
}
