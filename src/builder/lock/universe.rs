//! What could be installed: the highest version of every name, and who provides what.
//!
//! As apt does with equal priorities, only the highest version over all
//! sources is a candidate, so that a security update is never silently
//! passed over; between equal versions the recipe's first source wins.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use anyhow::{Context, Result};

use crate::builder::archive::index::{Field, Index, IndexEntry};
use crate::builder::archive::relation::{Relation, parse_relations};
use crate::builder::archive::version::compare_versions;
use crate::builder::recipe::Recipe;

/// A package that could be installed, by its position in the universe.
pub type Id = u32;

/// A package and the source it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// What the index says.
    pub entry: IndexEntry<'a>,
    /// Position of its source in the recipe.
    pub source: usize,
}

impl Candidate<'_> {
    /// Name and version, for messages.
    pub fn label(&self) -> String {
        format!(
            "{} {}",
            self.entry.get(Field::Package),
            self.entry.get(Field::Version)
        )
    }
}

#[derive(Clone, Copy, Debug)]
struct Provided<'a> {
    by: Id,
    version: Option<&'a str>,
}

/// Everything that could be installed.
pub struct Universe<'a> {
    candidates: Vec<Candidate<'a>>,
    by_name: HashMap<&'a str, Id>,
    provided: HashMap<&'a str, Vec<Provided<'a>>>,
    /// Packages that the recipe drops.
    dropped: BTreeSet<&'a str>,
    /// Virtual packages that a dropped package provides.
    provided_by_dropped: BTreeSet<&'a str>,
    architecture: &'a str,
}

impl<'a> Universe<'a> {
    /// Gathers the candidates; `indexes` follow the recipe's sources. Who
    /// provides what is known after [`Self::add_provided`].
    pub fn new(recipe: &'a Recipe, indexes: &'a [Vec<Index>]) -> Result<Self> {
        let mut universe = Self {
            candidates: Vec::new(),
            by_name: HashMap::new(),
            provided: HashMap::new(),
            dropped: recipe
                .drop
                .iter()
                .flat_map(|drop| &drop.packages)
                .map(String::as_str)
                .collect(),
            provided_by_dropped: BTreeSet::new(),
            architecture: &recipe.architecture,
        };
        for (source, indexes) in indexes.iter().enumerate() {
            for entry in indexes.iter().flat_map(Index::entries) {
                universe.add(Candidate { entry, source })?;
            }
        }
        Ok(universe)
    }

    /// Makes a package the only candidate of its name.
    pub fn hold(&mut self, entry: IndexEntry<'a>, source: usize) -> Result<()> {
        let held = Candidate { entry, source };
        match self.by_name.get(entry.get(Field::Package)) {
            Some(id) => self.candidates[*id as usize] = held,
            // A name that is no longer on offer, such as an earlier kernel's.
            None => self.add(held)?,
        }
        Ok(())
    }

    fn add(&mut self, candidate: Candidate<'a>) -> Result<()> {
        let name = candidate.entry.get(Field::Package);
        if let Some(id) = self.by_name.get(name) {
            let known = &mut self.candidates[*id as usize];
            let order = compare_versions(
                candidate.entry.get(Field::Version),
                known.entry.get(Field::Version),
            )
            .with_context(|| format!("reading package {name}"))?;
            if order == Ordering::Greater {
                *known = candidate;
            }
            return Ok(());
        }
        let id = Id::try_from(self.candidates.len()).context("there are too many packages")?;
        self.by_name.insert(name, id);
        self.candidates.push(candidate);
        Ok(())
    }

    /// Notes who provides what, once all candidates are there.
    pub fn add_provided(&mut self) -> Result<()> {
        for (id, candidate) in (0..).zip(&self.candidates) {
            let field = candidate.entry.get(Field::Provides);
            if field.is_empty() {
                continue;
            }
            let name = candidate.entry.get(Field::Package);
            let groups =
                parse_relations(field).with_context(|| format!("reading Provides of {name}"))?;
            for relation in groups.iter().flatten() {
                if self.dropped.contains(name) {
                    self.provided_by_dropped.insert(relation.name);
                    continue;
                }
                self.provided
                    .entry(relation.name)
                    .or_default()
                    .push(Provided {
                        by: id,
                        version: relation.version.map(|(_, version)| version),
                    });
            }
        }
        let candidates = &self.candidates;
        for providers in self.provided.values_mut() {
            providers.sort_by_key(|provider| {
                let entry = &candidates[provider.by as usize].entry;
                (
                    entry.get(Field::Essential) != "yes",
                    priority_rank(entry.get(Field::Priority)),
                    entry.get(Field::Package),
                )
            });
        }
        Ok(())
    }

    /// The candidate at a position.
    pub fn candidate(&self, id: Id) -> &Candidate<'a> {
        &self.candidates[id as usize]
    }

    /// Number of candidates, dropped ones among them.
    pub fn len(&self) -> usize {
        self.candidates.len()
    }

    /// The candidate of a name, unless the recipe drops it.
    pub fn find(&self, name: &str) -> Option<Id> {
        if self.dropped.contains(name) {
            return None;
        }
        self.by_name.get(name).copied()
    }

    /// Whether a dependency on this name counts as fulfilled because the
    /// recipe drops the package or one that provides it.
    pub fn is_dropped(&self, name: &str) -> bool {
        self.dropped.contains(name) || self.provided_by_dropped.contains(name)
    }

    /// The packages that a system cannot do without, dropped ones excluded.
    pub fn essential(&self) -> impl Iterator<Item = Id> {
        (0..)
            .zip(&self.candidates)
            .filter(|(_, candidate)| {
                candidate.entry.get(Field::Essential) == "yes"
                    && !self.dropped.contains(candidate.entry.get(Field::Package))
            })
            .map(|(id, _)| id)
    }

    /// The packages that provide a name, the preferred one first.
    pub fn providers(&self, name: &str) -> impl Iterator<Item = Id> {
        self.provided
            .get(name)
            .into_iter()
            .flatten()
            .map(|provider| provider.by)
    }

    /// The packages that satisfy a dependency: the real one, then providers.
    pub fn satisfiers(&self, relation: &Relation<'_>) -> Result<Vec<Id>> {
        self.matching(relation, true)
    }

    /// The packages that a Conflicts or Breaks excludes.
    pub fn excluded(&self, relation: &Relation<'_>) -> Result<Vec<Id>> {
        self.matching(relation, false)
    }

    fn matching(&self, relation: &Relation<'_>, needs_permission: bool) -> Result<Vec<Id>> {
        let mut found = Vec::new();
        // Other architectures are never installed here.
        let any = match relation.qualifier {
            None => false,
            Some("any") => needs_permission,
            Some(architecture) if architecture == self.architecture => false,
            Some(_) => return Ok(found),
        };
        let permitted =
            |id: Id| !any || self.candidate(id).entry.get(Field::MultiArch) == "allowed";
        if let Some(id) = self.find(relation.name)
            && permitted(id)
            && relation.admits(self.candidate(id).entry.get(Field::Version))?
        {
            found.push(id);
        }
        for provider in self.provided.get(relation.name).into_iter().flatten() {
            if permitted(provider.by)
                && relation.admits_provided(provider.version)?
                && !found.contains(&provider.by)
            {
                found.push(provider.by);
            }
        }
        Ok(found)
    }
}

/// Order of Debian's priorities (Policy 2.5); apt prefers the more important provider.
fn priority_rank(priority: &str) -> u8 {
    match priority {
        "required" => 0,
        "important" => 1,
        "standard" => 2,
        "extra" => 4,
        _ => 3,
    }
}
