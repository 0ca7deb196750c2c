//! What a lock holds.

use serde::{Deserialize, Serialize};

use crate::format::packages::Pinned;

/// A resolved recipe.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// SHA-256 over what of the recipe decides the resolution, hexadecimal.
    pub recipe_sha256: String,
    /// When it was made, seconds since 1970, and later than any lock it
    /// replaced; absent in locks of older programs.
    #[serde(default)]
    pub made: Option<i64>,
    /// The signed indexes this came from, in the recipe's order.
    #[serde(default)]
    pub sources: Vec<LockedSource>,
    /// The packages, sorted by name.
    #[serde(default)]
    pub packages: Vec<LockedPackage>,
}

impl Lock {
    /// The packages as [`crate::format::packages`] compares them.
    pub fn pinned(&self) -> Vec<Pinned> {
        let packages = self.packages.iter();
        packages
            .map(|package| Pinned {
                name: package.name.clone(),
                version: package.version.clone(),
                sha256: package.sha256.clone(),
            })
            .collect()
    }

    /// The time stamp of images made from this lock: the newest of its indexes,
    /// in seconds since 1970.
    pub fn time(&self) -> i64 {
        self.sources
            .iter()
            .map(|source| source.date)
            .max()
            .unwrap_or_default()
    }

    /// When it was made, seconds since 1970: the part of an image's version
    /// that rises.
    pub fn made(&self) -> i64 {
        self.made.unwrap_or_else(|| self.time())
    }
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
    /// That a newer version is on offer, and passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
}

/// That a package is held back, as its lock has it.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The version on offer when the lock was made.
    pub offered: String,
    /// `Date` of the index that once listed the package, seconds since 1970.
    pub listed: i64,
}
