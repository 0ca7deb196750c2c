//! The review of maintainer scripts: each one in an image was read by somebody.
//!
//! A script is known by its SHA-256. One that is new or has changed stops the
//! build; the message holds the lines to add to the table once it was read.

use anyhow::Result;

use crate::deb::Package;
use crate::error::hinted;
use crate::recipe::Recipe;

/// Fails when a package carries a script that the recipe's table does not know.
pub fn check_scripts(recipe: &Recipe, packages: &[Package]) -> Result<()> {
    let mut unknown = Vec::new();
    for package in packages {
        for script in &package.scripts {
            let known = recipe.scripts.iter().any(|reviewed| {
                reviewed.package == package.name
                    && reviewed.kind == script.kind
                    && reviewed.sha256 == script.sha256
            });
            if !known {
                unknown.push(format!(
                    "{} {} {} (sha256 {})",
                    package.name, package.version, script.kind, script.sha256
                ));
            }
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let table = recipe
        .scripts_file
        .as_deref()
        .unwrap_or("the table of scripts");
    Err(hinted(
        format!(
            "checking maintainer scripts: nobody reviewed: {}",
            unknown.join("; ")
        ),
        format!(
            "read each with `mailimg scripts`, declare what it does, then add it to recipes/{table}"
        ),
    ))
}
