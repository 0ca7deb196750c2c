//! Configuration of all services, from settings and the image's templates into /run.

use crate::appliance::machine::files::{
    PUBLIC, check_state, ensure_file, ensure_folder, remove_file,
};
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::settings::load_checked;
use crate::appliance::probe::ensure_probe;
use crate::appliance::services::SERVICES;
use crate::appliance::unbound;
use crate::error::render as render_error;
use anyhow::{Context, Result};

/// Renders everything, and says whether there were settings to render.
///
/// Without settings only the resolver is configured, so that the clock can be set. A
/// service that cannot be configured is in no other's way: with a damaged file of
/// accounts, root's ssh is what mends it.
///
/// The error is the first service's; those of the others are told.
pub fn render_all(place: &Place) -> Result<bool> {
    check_state(place)?;
    ensure_folder(&place.path(place::RENDERED), 0o755, None)?;
    let Some(resolved) = load_checked(place, place::SETTINGS)? else {
        unbound::ensure_resolver(place, None)?;
        remove_file(&place.path(place::CONFIGURED))?;
        remove_file(&place.path(place::PROVISIONED))?;
        return Ok(false);
    };
    let mut failed = SERVICES.iter().filter_map(|service| {
        (service.configure)(place, &resolved.settings)
            .with_context(|| format!("configuring {}", service.name))
            .err()
    });
    if let Some(first) = failed.next() {
        failed.for_each(|other| tell!("{}", render_error(&other)));
        return Err(first);
    }
    drop(failed);
    ensure_probe(place)?;
    ensure_file(&place.path(place::CONFIGURED), b"", PUBLIC, None)?;
    Ok(true)
}
