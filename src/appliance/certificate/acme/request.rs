//! What a person asks of the agent: `mailctl cert renew` leaves it here.

use crate::appliance::machine::files::{
    PUBLIC, ensure_folder, read_optional, remove_file, write_file,
};
use crate::appliance::machine::place::{self, Place};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A wish for one name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewalRequest {
    /// Renew though nothing is due.
    pub force: bool,
}

fn request_path(place: &Place, name: &str) -> PathBuf {
    place.path(place::ACME).join("requests").join(name)
}

/// Leaves a wish.
pub fn leave_request(place: &Place, name: &str, request: RenewalRequest) -> Result<()> {
    let path = request_path(place, name);
    let folder = path.parent().context("a path without a folder")?;
    if !folder.exists() {
        // Only before the agent's first run, which makes it its own.
        ensure_folder(folder, 0o755, None)?;
        let owner =
            crate::appliance::machine::accounts::owner(place, "mailimg-acme", "mailimg-acme")?;
        ensure_folder(folder, 0o755, owner)?;
    }
    write_file(&path, &serde_json::to_vec(&request)?, PUBLIC, None)
}

/// Whether a wish is still there.
pub fn is_left(place: &Place, name: &str) -> bool {
    request_path(place, name).exists()
}

/// Takes a wish away, so that it is heard once.
pub fn take_request(place: &Place, name: &str) -> Result<Option<RenewalRequest>> {
    let path = request_path(place, name);
    let Some(bytes) = read_optional(&path)? else {
        return Ok(None);
    };
    remove_file(&path)?;
    // Whatever it says, somebody wanted something.
    Ok(Some(serde_json::from_slice(&bytes).unwrap_or_default()))
}
