//! A lock: every package of an image pinned by version, pool path, size and SHA-256.
//!
//! `recipes/NAME.lock` is TOML that diffs well: sorted by name, one table a
//! package. It also records the signed indexes it came from. The resolver
//! makes it ([`super::archive`] provides the indexes); a build reads it.

mod difference;
mod explain;
mod fresh;
mod held;
mod locked;
mod made;
mod objects;
mod outdated;
mod resolve;
mod solver;
mod text;
mod universe;

pub use crate::format::packages::{Change, ChangeKind, Pinned, package_changes};
pub use difference::{difference, source_changes};
pub use fresh::{check_clock, check_fresh, recipe_digest};
pub use held::{HeldPackage, held_text};
pub use locked::{Held, Lock, LockedPackage, LockedSource};
pub use objects::objects;
pub use outdated::{Outdated, outdated};

use anyhow::{Context, Result, ensure};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::archive::date::format_date;
use super::archive::index::Index;
use super::archive::keys::find_keyring;
use super::archive::openpgp::Certificate;
use super::archive::release::stale_days;
use super::archive::suite::{load_indexes, load_suite};
use super::fetch::Fetch;
use super::progress::Progress;
use super::recipe::{Archive, Recipe};
use crate::error::hinted;

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
    for (source, _, stale) in &loaded {
        if let Some(days) = stale {
            progress.note(&format!(
                "the InRelease of {} is {days} days old, of {}, and does not say until when it \
                 holds: does its mirror stand still?",
                source.suite,
                format_date(source.date)
            ));
        }
    }
    let (sources, indexes): (Vec<LockedSource>, Vec<Vec<Index>>) = loaded
        .into_iter()
        .map(|(source, indexes, _)| (source, indexes))
        .unzip();
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
) -> Result<(LockedSource, Vec<Index>, Option<i64>)> {
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
    Ok((locked, indexes, stale_days(&suite.release, now)))
}

#[cfg(test)]
mod tests;
