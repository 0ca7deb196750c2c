//! The settings in use, as they are kept on the machine.

use super::place::{self, Place};
use crate::error::{Hint, hinted};
use crate::settings::{Problem, Resolved, Written, load_settings, resolve_settings};
use anyhow::{Context, Result};

/// The settings in use; that there are none is an error.
pub fn load_stored(place: &Place) -> Result<Resolved> {
    load_checked(place, place::SETTINGS)?.ok_or_else(|| {
        hinted(
            "this machine has no settings yet",
            "mailctl console says how to supply them",
        )
    })
}

/// The settings in use, `None` when there are none.
pub fn load_checked(place: &Place, path: &str) -> Result<Option<Resolved>> {
    let path = place.path(path);
    if !path.exists() {
        return Ok(None);
    }
    let written = load_settings(&path)?;
    if written.is_empty() {
        return Ok(None);
    }
    resolve_here(place, &written)
        .with_context(|| format!("checking {}", path.display()))
        .hint(format!(
            "edit {}, then run mailctl settings apply",
            place::SETTINGS
        ))
        .map(Some)
}

/// Settings with the warnings that hold on this machine.
pub fn resolve_here(place: &Place, written: &Written) -> Result<Resolved> {
    let mut resolved = resolve_settings(written)?;
    if place.is_container() {
        // Whoever may use the engine is inside already.
        let key = |warning: &Problem| warning.key.as_deref() == Some("SSH_AUTHORIZED_KEYS");
        resolved.warnings.retain(|warning| !key(warning));
    }
    Ok(resolved)
}
