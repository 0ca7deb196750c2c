//! From a recipe and the indexes of its sources to the packages of a lock.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use super::held::HeldPackage;
use super::locked::LockedPackage;
use super::solver::solve;
use super::universe::{Id, Universe};
use crate::builder::archive::index::{Field, Index};
use crate::builder::recipe::Recipe;
use crate::error::hinted;

/// Chooses the packages; `indexes` follow the recipe's sources.
pub fn resolve(
    recipe: &Recipe,
    indexes: &[Vec<Index>],
    held: &[HeldPackage],
) -> Result<Vec<LockedPackage>> {
    let own: Result<Vec<Index>> = held
        .iter()
        .map(|package| package.index(&recipe.architecture))
        .collect();
    let own = own?;
    let mut universe = Universe::new(recipe, indexes)?;
    for (package, index) in held.iter().zip(&own) {
        let source = recipe
            .sources
            .iter()
            .position(|source| source.suite == package.locked.suite)
            .with_context(|| {
                let LockedPackage { name, suite, .. } = &package.locked;
                format!("holding back {name}: the recipe has no source {suite} any more")
            })?;
        for entry in index.entries() {
            universe.hold(entry, source)?;
        }
    }
    universe.add_provided()?;
    // Sorted, so that the order of the recipe does not change what is chosen.
    let asked: BTreeSet<&str> = recipe.packages.iter().map(String::as_str).collect();
    let mut wanted = Vec::new();
    for name in asked {
        wanted.push(find(&universe, name)?);
    }
    let essential: Vec<Id> = universe
        .essential()
        .filter(|id| !wanted.contains(id))
        .collect();
    wanted.extend(essential);
    let suites: Vec<&str> = recipe
        .sources
        .iter()
        .map(|source| source.suite.as_str())
        .collect();
    solve(&universe, &wanted, &suites)?
        .into_iter()
        .map(|id| {
            let package = pin(&universe, id, &suites)?;
            let held = held.iter().find(|held| {
                held.locked.name == package.name && held.locked.sha256 == package.sha256
            });
            Ok(LockedPackage {
                held: held.map(|held| held.held.clone()),
                ..package
            })
        })
        .collect()
}

fn find(universe: &Universe<'_>, name: &str) -> Result<Id> {
    if let Some(id) = universe.find(name) {
        return Ok(id);
    }
    if universe.is_dropped(name) {
        return Err(hinted(
            format!("the recipe both asks for '{name}' and drops it"),
            "take it out of 'packages' or out of 'drop'",
        ));
    }
    let providers: Vec<&str> = universe
        .providers(name)
        .map(|id| universe.candidate(id).entry.get(Field::Package))
        .collect();
    if providers.is_empty() {
        return Err(hinted(
            format!("no source has a package named '{name}'"),
            "check the spelling in 'packages', or add the source or component that has it",
        ));
    }
    Err(hinted(
        format!("'{name}' is a virtual package"),
        format!("name one that provides it: {}", providers.join(", ")),
    ))
}

fn pin(universe: &Universe<'_>, id: Id, suites: &[&str]) -> Result<LockedPackage> {
    let candidate = universe.candidate(id);
    let field = |field| candidate.entry.get(field).to_owned();
    let path = candidate.entry.get(Field::Filename);
    Ok(LockedPackage {
        name: field(Field::Package),
        version: field(Field::Version),
        architecture: field(Field::Architecture),
        suite: suites[candidate.source].to_owned(),
        path: path.strip_prefix("./").unwrap_or(path).to_owned(),
        size: field(Field::Size)
            .parse()
            .with_context(|| format!("reading the size of {}", candidate.label()))?,
        sha256: field(Field::Sha256).to_ascii_lowercase(),
        held: None,
    })
}
