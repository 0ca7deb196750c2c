//! That the image does what the blocks of scripts would have done.
//!
//! What is checked for which command says the recipe's table of blocks, see
//! [`Check`]. Commands that only run on upgrades are not checked: an image is
//! never upgraded in place.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::block::Command;
use crate::builder::compose::merge::{glob_set, merged_path};
use crate::builder::compose::presets::names_unit;
use crate::builder::deb::Package;
use crate::builder::recipe::{Check, Recipe};
use crate::builder::tree::{Kind, Tree};
use crate::error::hinted;

const UNITS: &str = "usr/lib/systemd/system";
const USER_UNITS: &str = "usr/lib/systemd/user";
/// What starts a manager for a user's own units.
const USER_MANAGER: &str = "user@.service";

/// Fails at the first command whose effect the image does not show.
pub fn check_effects(
    tree: &Tree,
    recipe: &Recipe,
    packages: &[Package],
    effects: &[(&Package, Command)],
) -> Result<()> {
    let shipped: BTreeSet<String> = packages
        .iter()
        .flat_map(|package| &package.entries)
        .map(|(path, _)| merged_path(path))
        .collect();
    let image = Image {
        tree,
        recipe,
        shipped,
    };
    let mut wrong = Vec::new();
    for (package, command) in effects.iter().filter(|(_, command)| !command.on_upgrade) {
        if let Err(error) = image.check(package, command) {
            wrong.push(format!(
                "{} would `{}`, but {error:#}",
                package.name,
                command.text()
            ));
        }
    }
    wrong.sort();
    wrong.dedup();
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(hinted(
            format!(
                "checking what maintainer scripts would do: {}",
                wrong.join("; ")
            ),
            "name each unit in units/preset or units/masked, each link in the recipe's effects, or leave the file out with [strip]",
        )),
    }
}

struct Image<'a> {
    tree: &'a Tree,
    recipe: &'a Recipe,
    shipped: BTreeSet<String>,
}

impl Image<'_> {
    fn check(&self, package: &Package, command: &Command) -> Result<()> {
        let parameters = &command.parameters;
        match command.kind.check {
            Check::Nothing => Ok(()),
            Check::Unit => parameters.iter().try_for_each(|unit| self.check_unit(unit)),
            Check::UserUnit => parameters.iter().try_for_each(|unit| {
                self.check_shipped(&format!("{USER_UNITS}/{unit}"))?;
                let left_out = !self.tree.contains(&format!("{USER_UNITS}/{unit}"));
                if !left_out && !self.is_masked(USER_MANAGER) {
                    bail!("users have a manager here, and nothing decides whether it runs {unit}");
                }
                Ok(())
            }),
            Check::Sysusers => self.check_all_shipped("usr/lib/sysusers.d", parameters),
            Check::Tmpfiles => self.check_all_shipped("usr/lib/tmpfiles.d", parameters),
            // Link, name and file come three by three; the priority is a number.
            Check::Alternative => parameters
                .iter()
                .filter(|parameter| parameter.parse::<u32>().is_err())
                .collect::<Vec<_>>()
                .chunks(3)
                .try_for_each(|link| self.check_link(link[0], link[link.len() - 1])),
            Check::NotShipped => match parameters.first() {
                Some(path) if ships(package, path) => bail!("ships {path} itself"),
                _ => Ok(()),
            },
        }
    }

    fn check_unit(&self, unit: &str) -> Result<()> {
        let path = format!("{UNITS}/{unit}");
        self.check_shipped(&path)?;
        if !self.tree.contains(&path) || self.is_masked(unit) || names_unit(self.tree, unit)? {
            return Ok(());
        }
        bail!("no preset names {unit} and it is not masked")
    }

    fn is_masked(&self, unit: &str) -> bool {
        let node = self.tree.get(&format!("etc/systemd/system/{unit}"));
        node.is_some_and(|node| matches!(&node.kind, Kind::Symlink(to) if to == "/dev/null"))
    }

    fn check_shipped(&self, path: &str) -> Result<()> {
        match self.shipped.contains(path) {
            true => Ok(()),
            false => bail!("no package has /{path}"),
        }
    }

    fn check_all_shipped(&self, folder: &str, names: &[String]) -> Result<()> {
        let mut paths = names.iter().map(|name| format!("{folder}/{name}"));
        paths.try_for_each(|path| self.check_shipped(&path))
    }

    fn check_link(&self, link: &str, file: &str) -> Result<()> {
        let (link, file) = (
            merged_path(&link[1..]),
            merged_path(file.trim_start_matches('/')),
        );
        if self
            .tree
            .get(&link)
            .is_some_and(|node| !node.is_directory())
        {
            return Ok(());
        }
        let stripped = glob_set(&self.recipe.strip.paths)?;
        if stripped.is_match(&link) || !self.tree.contains(&file) {
            return Ok(());
        }
        bail!("/{link} is not there")
    }
}

fn ships(package: &Package, path: &str) -> bool {
    let path = merged_path(path.trim_start_matches('/'));
    package
        .entries
        .iter()
        .any(|(entry, _)| merged_path(entry) == path)
}
