//! Why no set of packages satisfies a recipe, in words.

use std::collections::{BTreeSet, VecDeque};

use super::universe::{Id, Universe};
use crate::builder::archive::index::Field;
use crate::builder::archive::relation::{Relation, parse_relations};
use crate::error::hinted;

/// One thing that took part in a contradiction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Who says it; the recipe when absent.
    pub from: Option<Id>,
    /// Whom it leads to; nobody when nothing fulfils it.
    pub to: Option<Id>,
    /// The relation as written; empty where the recipe names a package.
    pub text: String,
    /// Whether it excludes the other instead of needing it.
    pub excludes: bool,
}

/// Writes the facts as an error, from the recipe towards the contradiction.
pub fn explain(universe: &Universe<'_>, suites: &[&str], facts: &[Fact]) -> anyhow::Error {
    let mut lines = Vec::new();
    let mut seen: BTreeSet<Option<Id>> = BTreeSet::new();
    let mut queue = VecDeque::from([None]);
    while let Some(from) = queue.pop_front() {
        if !seen.insert(from) {
            continue;
        }
        for fact in facts.iter().filter(|fact| fact.from == from) {
            let line = sentence(universe, suites, fact);
            if !lines.contains(&line) {
                lines.push(line);
            }
            queue.extend(fact.to.map(Some));
        }
    }
    hinted(
        format!("no set of packages fulfils it:\n  {}", lines.join("\n  ")),
        "change 'packages' in the recipe, add the source that has what is missing, \
         or name a package under 'drop' to do without it",
    )
}

fn sentence(universe: &Universe<'_>, suites: &[&str], fact: &Fact) -> String {
    let label = |id: Id| universe.candidate(id).label();
    match (fact.from, fact.to) {
        (None, Some(to)) => {
            let entry = &universe.candidate(to).entry;
            if entry.get(Field::Essential) == "yes" {
                format!("{} is essential", label(to))
            } else {
                format!("the recipe asks for {}", label(to))
            }
        }
        (None, None) => format!("the recipe asks for {}", fact.text),
        (Some(from), Some(to)) if fact.excludes => {
            format!(
                "{} cannot be beside {} (it excludes {})",
                label(from),
                label(to),
                fact.text
            )
        }
        (Some(from), Some(to)) => {
            if parse_relations(&fact.text).is_ok_and(|groups| {
                groups.len() == 1
                    && groups[0].len() == 1
                    && groups[0][0].name == universe.candidate(to).entry.get(Field::Package)
            }) {
                format!("{} needs {}", label(from), fact.text)
            } else {
                format!(
                    "{} needs {}, for instance {}",
                    label(from),
                    fact.text,
                    label(to)
                )
            }
        }
        (Some(from), None) => {
            let reasons: Vec<String> = parse_relations(&fact.text)
                .unwrap_or_default()
                .iter()
                .flatten()
                .map(|relation| absence(universe, suites, relation))
                .collect();
            format!(
                "{} needs {}, but {}",
                label(from),
                fact.text,
                reasons.join(" and ")
            )
        }
    }
}

/// Why nothing satisfies a relation.
fn absence(universe: &Universe<'_>, suites: &[&str], relation: &Relation<'_>) -> String {
    if let Some(id) = universe.find(relation.name) {
        let candidate = universe.candidate(id);
        return match relation.qualifier {
            Some(qualifier) if relation.version.is_none() => {
                format!("{} does not serve ':{qualifier}'", candidate.label())
            }
            _ => format!(
                "the newest {} is {} ({})",
                relation.name,
                candidate.entry.get(Field::Version),
                suites[candidate.source]
            ),
        };
    }
    let providers: Vec<String> = universe
        .providers(relation.name)
        .map(|id| universe.candidate(id).label())
        .collect();
    if providers.is_empty() {
        format!("no source has {}", relation.name)
    } else {
        format!(
            "{} is only provided by {}, not in this version",
            relation.name,
            providers.join(", ")
        )
    }
}
