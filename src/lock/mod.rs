//! A lock: every package of an image pinned by version, pool path, size and SHA-256.
//!
//! `recipes/NAME.lock` is TOML that diffs well: sorted by name, one table a
//! package. It also records the signed indexes it came from. The resolver
//! makes it ([`crate::archive`] provides the indexes); a build reads it.

use serde::{Deserialize, Serialize};

/// A resolved recipe.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// SHA-256 over what of the recipe decides the resolution, hexadecimal.
    pub recipe_sha256: String,
    /// The signed indexes this came from, in the recipe's order.
    pub sources: Vec<LockedSource>,
    /// The packages, sorted by name.
    pub packages: Vec<LockedPackage>,
}

/// A signed index that a lock came from.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct LockedSource {
    /// Suite below `dists/`.
    pub suite: String,
    /// Base addresses, tried in order.
    pub mirrors: Vec<String>,
    /// `Date` of the InRelease, seconds since 1970.
    pub date: i64,
    /// SHA-256 of the InRelease, hexadecimal.
    pub inrelease_sha256: String,
}

/// A pinned package.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// Package name.
    pub name: String,
    /// Debian version.
    pub version: String,
    /// Debian architecture, or `all`.
    pub architecture: String,
    /// Suite of the source it came from.
    pub suite: String,
    /// Path below the mirror's base address.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the .deb, hexadecimal.
    pub sha256: String,
}
