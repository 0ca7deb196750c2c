//! `mailctl resolver`: Unbound follows the lease and the clock.

use super::{UNIT, ensure_resolver};
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::program::reload_unit;
use crate::appliance::machine::settings::load_checked;
use anyhow::Result;

/// Renders the configuration, takes it into use if it changed, and returns what to say.
pub fn refresh_resolver(place: &Place) -> Result<String> {
    // Settings that a person broke must not take name resolution away.
    let settings = load_checked(place, place::SETTINGS).ok().flatten();
    let changed = ensure_resolver(place, settings.as_ref().map(|resolved| &resolved.settings))?;
    if changed && place.is_machine() {
        reload_unit(UNIT)?;
    }
    Ok(if changed {
        "The resolver has a new configuration."
    } else {
        "The resolver is up to date."
    }
    .to_owned())
}
