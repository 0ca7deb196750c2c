//! Packages that are held back at an earlier version than the one on offer.
//!
//! A new version may not be usable yet, because nobody has reviewed its
//! maintainer scripts. The resolver then takes the earlier one for the only
//! candidate of that name, with what its own control file says; everything else
//! is chosen as always. A lock says of such a package what was on offer, so that
//! it is told at every build.

use anyhow::{Context, Result};

use super::locked::{Held, LockedPackage};
use crate::builder::archive::index::{Index, read_index};

/// A package to hold back.
#[derive(Clone, Debug)]
pub struct HeldPackage {
    /// What an earlier lock says of it.
    pub locked: LockedPackage,
    /// Its control paragraph.
    pub control: String,
    /// What the new lock is to say of it.
    pub held: Held,
}

impl HeldPackage {
    /// The package as an index of its own.
    pub fn index(&self, architecture: &str) -> Result<Index> {
        let LockedPackage {
            name,
            path,
            size,
            sha256,
            ..
        } = &self.locked;
        let control = self.control.trim_end();
        let stanza = format!("{control}\nFilename: {path}\nSize: {size}\nSHA256: {sha256}\n\n");
        read_index(stanza.as_bytes(), stanza.len() as u64, architecture)
            .with_context(|| format!("reading the control file of {name}, which is held back"))
    }
}

/// Why a package is not the newest, in a line for people.
pub fn held_text(package: &LockedPackage) -> Option<String> {
    let held = package.held.as_ref()?;
    Some(format!(
        "held back   {} {}, although {} is on offer",
        package.name, package.version, held.offered
    ))
}
