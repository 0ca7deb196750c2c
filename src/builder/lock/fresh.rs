//! Whether a lock still belongs to its recipe.

use anyhow::Result;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

use super::locked::Lock;
use crate::builder::archive::date::{CLOCK_TOLERANCE, format_date};
use crate::builder::recipe::Recipe;
use crate::error::hinted;

/// SHA-256 over what of a recipe decides its resolution, hexadecimal.
///
/// Sources, architecture, packages and dropped packages count; the recipe's
/// name, reasons, and the order of packages do not.
pub fn recipe_digest(recipe: &Recipe) -> String {
    hex::encode(Sha256::digest(resolution_inputs(recipe)))
}

fn resolution_inputs(recipe: &Recipe) -> String {
    let mut lines = vec![format!("architecture {}", recipe.architecture)];
    for source in &recipe.sources {
        lines.push(format!("source {}", source.suite));
        for (kind, values) in [
            ("mirror", &source.mirrors),
            ("component", &source.components),
            ("keyring", &source.keys),
        ] {
            lines.extend(values.iter().map(|value| format!("{kind} {value}")));
        }
    }
    let packages: BTreeSet<&String> = recipe.packages.iter().collect();
    lines.extend(packages.iter().map(|name| format!("package {name}")));
    let dropped: BTreeSet<&String> = recipe.drop.iter().flat_map(|drop| &drop.packages).collect();
    lines.extend(dropped.iter().map(|name| format!("drop {name}")));
    lines.join("\n")
}

/// Refuses to replace a lock by a clock that stands before its indexes: every
/// signature would seem to be of the future.
pub fn check_clock(recipe: &Recipe, lock: &Lock, now: i64) -> Result<()> {
    if now + CLOCK_TOLERANCE >= lock.time() {
        return Ok(());
    }
    Err(hinted(
        format!(
            "resolving {}: this machine's clock says {}, but the lock came from an index of {}",
            recipe.name,
            format_date(now),
            format_date(lock.time())
        ),
        "set the clock; a build with `--locked` does not need it",
    ))
}

/// Refuses a lock that was made from another state of the recipe.
pub fn check_fresh(recipe: &Recipe, lock: &Lock) -> Result<()> {
    if lock.recipe_sha256 == recipe_digest(recipe) {
        return Ok(());
    }
    Err(hinted(
        format!(
            "the lock of {} is older than the recipe: sources, packages or drops have changed since",
            recipe.name
        ),
        format!("`mailimg lock {}` resolves it again", recipe.name),
    ))
}
