//! A lock: every package of an image pinned by version, pool path, size and SHA-256.
//!
//! `recipes/NAME.lock` is TOML that diffs well: sorted by name, one table a
//! package. It also records the signed indexes it came from. The resolver
//! makes it ([`crate::archive`] provides the indexes); a build reads it.

mod changes;
mod difference;
mod explain;
mod fresh;
mod held;
mod made;
mod objects;
mod outdated;
mod resolve;
mod solver;
mod text;
mod universe;

pub use changes::{Change, Pinned, Verb, package_changes};
pub use difference::{difference, source_changes};
pub use fresh::{check_clock, check_fresh, recipe_digest};
pub use held::{Held, HeldPackage, held_text};
pub use objects::objects;
pub use outdated::{Outdated, outdated};

use anyhow::{Context, Result, ensure};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

use crate::archive::index::Index;
use crate::archive::keys::find_keyring;
use crate::archive::openpgp::Certificate;
use crate::archive::suite::{load_indexes, load_suite};
use crate::error::hinted;
use crate::fetch::Fetch;
use crate::progress::Progress;
use crate::recipe::{Archive, Recipe};

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

/// Names of keyrings to their certificates.
type Keyrings<'a> = &'a (dyn Fn(&str) -> Result<Vec<Certificate>> + Sync);

/// Resolves a recipe against its archives.
///
/// `previous` is the lock to replace: no source may be older than it was then.
/// `held` are packages to hold back. `now` is in seconds since 1970.
pub fn make_lock(
    recipe: &Recipe,
    fetch: &dyn Fetch,
    previous: Option<&Lock>,
    held: &[HeldPackage],
    now: i64,
    progress: &Progress,
) -> Result<Lock> {
    let keyrings = |name: &str| find_keyring(name, &recipe.key_files);
    make_lock_with_keys(recipe, fetch, previous, held, now, progress, &keyrings)
}

/// [`make_lock`] with the keyrings given, for archives signed by test keys.
pub(crate) fn make_lock_with_keys(
    recipe: &Recipe,
    fetch: &dyn Fetch,
    previous: Option<&Lock>,
    held: &[HeldPackage],
    now: i64,
    progress: &Progress,
    keyrings: Keyrings<'_>,
) -> Result<Lock> {
    check_sources(recipe)?;
    if let Some(previous) = previous {
        check_clock(recipe, previous, now)?;
    }
    let stage = progress.items("indexes", recipe.sources.len() as u64);
    let loaded = recipe
        .sources
        .par_iter()
        .map(|source| {
            let loaded = load_source(source, recipe, fetch, previous, now, keyrings);
            stage.add(1);
            loaded
        })
        // Collected before the first error is taken, so that the same one is told each time.
        .collect::<Vec<_>>()
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let (sources, indexes): (Vec<LockedSource>, Vec<Vec<Index>>) = loaded.into_iter().unzip();
    let known: usize = indexes.iter().flatten().map(Index::len).sum();
    stage.finish(&format!("{known} packages known"));
    let packages = resolve::resolve(recipe, &indexes, held)
        .with_context(|| format!("resolving the packages of {}", recipe.name))?;
    let mut lock = Lock {
        recipe_sha256: recipe_digest(recipe),
        made: None,
        sources,
        packages,
    };
    lock.made = made::made(&lock, previous, now);
    Ok(lock)
}

fn check_sources(recipe: &Recipe) -> Result<()> {
    ensure!(!recipe.sources.is_empty(), "the recipe names no source");
    for (position, source) in recipe.sources.iter().enumerate() {
        ensure!(
            !source.mirrors.is_empty(),
            "the source {} has no mirror",
            source.suite
        );
        if recipe.sources[..position]
            .iter()
            .any(|other| other.suite == source.suite)
        {
            return Err(hinted(
                format!("the recipe names the suite {} twice", source.suite),
                "a lock tells sources apart by suite: use the code name for one of them",
            ));
        }
    }
    Ok(())
}

fn load_source(
    source: &Archive,
    recipe: &Recipe,
    fetch: &dyn Fetch,
    previous: Option<&Lock>,
    now: i64,
    keyrings: Keyrings<'_>,
) -> Result<(LockedSource, Vec<Index>)> {
    let mut certificates = Vec::new();
    for name in &source.keys {
        certificates.extend(keyrings(name)?);
    }
    let last = previous
        .and_then(|lock| lock.sources.iter().find(|last| last.suite == source.suite))
        .map(|last| last.date);
    let suite = load_suite(source, &certificates, fetch, now, last)?;
    let indexes = load_indexes(source, &suite, &recipe.architecture, fetch)?;
    let locked = LockedSource {
        suite: source.suite.clone(),
        mirrors: source.mirrors.clone(),
        date: suite.release.date,
        inrelease_sha256: suite.inrelease_sha256,
    };
    Ok((locked, indexes))
}

#[cfg(test)]
mod tests;
