//! `mailimg why PACKAGE`: the shortest chain of dependencies that leads to a package.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::{Context, Result};

use crate::builder::archive::relation::{Alternatives, Relation, parse_relations};
use crate::builder::recipe::Recipe;
use crate::error::hinted;

/// A package of the lock as its control paragraph describes it.
#[derive(Default)]
struct Installed<'a> {
    name: &'a str,
    version: &'a str,
    essential: bool,
    /// Provided names, with versions where given.
    provides: Vec<Relation<'a>>,
    needs: Vec<Alternatives<'a>>,
}

/// How the search came to a package.
enum Origin {
    /// The recipe names it, or it is essential.
    Start,
    /// The package at this position needs it, in these words.
    Needed(usize, String),
}

/// Explains in lines why a package is part of a recipe's lock.
///
/// `controls` are the control paragraphs of all packages in the lock.
pub fn explain(controls: &[&str], recipe: &Recipe, package: &str) -> Result<String> {
    let mut installed = controls
        .iter()
        .map(|control| read_control(control))
        .collect::<Result<Vec<_>>>()?;
    installed.sort_by_key(|package| package.name);
    let Some(goal) = installed.iter().position(|known| known.name == package) else {
        return Err(not_installed(&installed, recipe, package));
    };
    let asked: BTreeSet<&str> = recipe.packages.iter().map(String::as_str).collect();
    let origins = search(&installed, &asked, goal)?;
    let mut lines = Vec::new();
    let mut position = goal;
    loop {
        let here = &installed[position];
        let label = format!("{} {}", here.name, here.version);
        match &origins[position] {
            Some(Origin::Needed(from, relation)) => {
                lines.push(format!(
                    "{} needs {relation}: {label}",
                    installed[*from].name
                ));
                position = *from;
                continue;
            }
            Some(Origin::Start) if asked.contains(here.name) => {
                lines.push(format!("recipe {} asks for {label}", recipe.name));
            }
            Some(Origin::Start) => lines.push(format!("{label} is essential")),
            None => lines.push(format!(
                "nothing needs {label}: the lock is older than the recipe"
            )),
        }
        break;
    }
    lines.reverse();
    Ok(lines.iter().map(|line| format!("{line}\n")).collect())
}

/// Breadth first from what the recipe names, then from what is essential.
fn search(
    installed: &[Installed<'_>],
    asked: &BTreeSet<&str>,
    goal: usize,
) -> Result<Vec<Option<Origin>>> {
    let mut satisfiers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (position, package) in installed.iter().enumerate() {
        satisfiers.entry(package.name).or_default().push(position);
        for provided in &package.provides {
            satisfiers.entry(provided.name).or_default().push(position);
        }
    }
    let mut origins: Vec<Option<Origin>> = installed.iter().map(|_| None).collect();
    let mut queue = VecDeque::new();
    let is_asked = |position: &usize| asked.contains(installed[*position].name);
    // What the recipe names tells a reader more than what is essential anyway.
    let named = (0..installed.len()).filter(is_asked);
    let essential = (0..installed.len())
        .filter(|position| installed[*position].essential && !is_asked(position));
    for start in named.chain(essential) {
        origins[start] = Some(Origin::Start);
        queue.push_back(start);
    }
    while let Some(position) = queue.pop_front() {
        if position == goal {
            break;
        }
        for group in &installed[position].needs {
            for relation in group {
                for target in satisfiers.get(relation.name).into_iter().flatten() {
                    if origins[*target].is_none() && satisfies(&installed[*target], relation)? {
                        origins[*target] = Some(Origin::Needed(position, written(group)));
                        queue.push_back(*target);
                    }
                }
            }
        }
    }
    Ok(origins)
}

fn satisfies(package: &Installed<'_>, relation: &Relation<'_>) -> Result<bool> {
    if package.name == relation.name && relation.admits(package.version)? {
        return Ok(true);
    }
    for provided in &package.provides {
        let version = provided.version.map(|(_, version)| version);
        if provided.name == relation.name && relation.admits_provided(version)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn written(group: &Alternatives<'_>) -> String {
    let parts: Vec<String> = group.iter().map(ToString::to_string).collect();
    parts.join(" | ")
}

fn read_control(control: &str) -> Result<Installed<'_>> {
    let mut package = Installed::default();
    for line in control.lines() {
        let Some((field, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match field {
            "Package" => package.name = value,
            "Version" => package.version = value,
            "Essential" => package.essential = value == "yes",
            "Provides" => {
                package.provides = parse_relations(value)?.into_iter().flatten().collect()
            }
            "Depends" | "Pre-Depends" => package.needs.extend(
                parse_relations(value)
                    .with_context(|| format!("reading {field} of {}", package.name))?,
            ),
            _ => {}
        }
    }
    Ok(package)
}

fn not_installed(installed: &[Installed<'_>], recipe: &Recipe, package: &str) -> anyhow::Error {
    if let Some(drop) = recipe
        .drop
        .iter()
        .find(|drop| drop.packages.iter().any(|name| name == package))
    {
        return hinted(
            format!("the recipe drops {package}: {}", drop.reason),
            "it is not part of the image, although packages may depend on it",
        );
    }
    let providers: Vec<&str> = installed
        .iter()
        .filter(|known| {
            known
                .provides
                .iter()
                .any(|provided| provided.name == package)
        })
        .map(|known| known.name)
        .collect();
    let hint = if providers.is_empty() {
        "the lock in recipes/ lists all packages".to_owned()
    } else {
        format!(
            "it is a virtual package; ask for {}",
            providers.join(" or ")
        )
    };
    hinted(
        format!("{package} is not part of the recipe {}", recipe.name),
        hint,
    )
}

#[cfg(test)]
mod tests {
    use super::explain;

    const CONTROLS: [&str; 6] = [
        "Package: mailer\nVersion: 4\nDepends: other, interface (>= 2)\n",
        "Package: other\nVersion: 5\nDepends: library (>= 1), library (<< 9)\n",
        "Package: library\nVersion: 1.6\nProvides: interface (= 2.1)\nDepends: deep | deeper\n",
        "Package: deeper\nVersion: 6\nDescription: text\n Depends: nothing\n",
        "Package: base\nVersion: 7\nEssential: yes\nPre-Depends: shell\n",
        "Package: shell\nVersion: 8\n",
    ];

    const RECIPE: &str = r#"
        name = "mail"
        version = "1"
        architecture = "amd64"
        packages = ["mailer"]
        sources = []
        drop = [{ packages = ["perl"], reason = "no script runs" }]
    "#;

    fn why(package: &str) -> String {
        match explain(&CONTROLS, &toml::from_str(RECIPE).unwrap(), package) {
            Ok(text) => text,
            Err(error) => crate::error::render(&error),
        }
    }

    #[test]
    fn the_shortest_chain_is_told() {
        assert_eq!(
            why("deeper"),
            "recipe mail asks for mailer 4\n\
             mailer needs interface (>= 2): library 1.6\n\
             library needs deep | deeper: deeper 6\n"
        );
        assert_eq!(why("mailer"), "recipe mail asks for mailer 4\n");
        assert_eq!(
            why("shell"),
            "base 7 is essential\nbase needs shell: shell 8\n"
        );
    }

    #[test]
    fn packages_that_are_not_there_are_explained_too() {
        assert_eq!(
            why("perl"),
            "error: the recipe drops perl: no script runs\n\
             hint: it is not part of the image, although packages may depend on it"
        );
        assert_eq!(
            why("interface"),
            "error: interface is not part of the recipe mail\n\
             hint: it is a virtual package; ask for library"
        );
    }
}
