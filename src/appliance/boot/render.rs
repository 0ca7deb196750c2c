//! Configuration of all services, from settings and the image's templates into /run.

use crate::appliance::machine::files::{
    PUBLIC, check_state, ensure_file, ensure_folder, remove_file,
};
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::settings::load_checked;
use crate::appliance::probe::ensure_probe;
use crate::appliance::services::SERVICES;
use crate::appliance::unbound;
use anyhow::{Context, Result};

/// Renders everything, and says whether there were settings to render.
///
/// Without settings only the resolver is configured, so that the clock can be set.
///
/// # Errors
/// Wrong settings, wrong templates, files that cannot be written.
pub fn render_all(place: &Place) -> Result<bool> {
    check_state(place)?;
    ensure_folder(&place.path(place::RENDERED), 0o755, None)?;
    let Some(resolved) = load_checked(place, place::SETTINGS)? else {
        unbound::ensure_resolver(place, None)?;
        remove_file(&place.path(place::CONFIGURED))?;
        remove_file(&place.path(place::PROVISIONED))?;
        return Ok(false);
    };
    ensure_probe(place)?;
    for service in &SERVICES {
        (service.configure)(place, &resolved.settings)
            .with_context(|| format!("configuring {}", service.name))?;
    }
    ensure_file(&place.path(place::CONFIGURED), b"", PUBLIC, None)?;
    Ok(true)
}
