//! The modules that a set of modules needs.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};

use crate::builder::tree::Tree;
use crate::error::hinted;

use super::info::{module_name, underscored};
use super::output::alias_key;
use super::{modules_folder, read_text};

/// What the text files of a kernel's folder say.
struct Known {
    /// Module names to the paths, below the folder, of it and what it needs.
    paths: BTreeMap<String, Vec<String>>,
    /// Aliases without wildcards to module names.
    aliases: BTreeMap<String, Vec<String>>,
    /// Module names to names that they ask for when there.
    soft: BTreeMap<String, Vec<String>>,
    built_in: BTreeSet<String>,
}

/// The paths of modules and of all that they need, sorted.
///
/// Names may be aliases without wildcards. Soft dependencies come along when
/// they exist; what is built into the kernel needs nothing. Reads the files
/// that [`super::install_module_indexes`] makes. An unknown name is an error.
pub fn module_closure(tree: &Tree, version: &str, names: &[String]) -> Result<Vec<String>> {
    let folder = modules_folder(version);
    let known = Known::read(tree, &folder)?;
    let mut found = BTreeSet::new();
    let mut done = BTreeSet::new();
    let mut open: Vec<String> = Vec::new();
    for name in names {
        let modules = known.modules_called(name);
        if modules.is_empty() && !known.built_in.contains(&underscored(name)) {
            return Err(hinted(
                format!("collecting kernel modules: kernel {version} has no module {name}"),
                "correct the recipe's list of modules for the initrd",
            ));
        }
        open.extend(modules);
    }
    while let Some(module) = open.pop() {
        if !done.insert(module.clone()) {
            continue;
        }
        for path in known.paths.get(&module).into_iter().flatten() {
            found.insert(format!("{folder}/{path}"));
            open.push(module_name(path));
        }
        for name in known.soft.get(&module).into_iter().flatten() {
            open.extend(known.modules_called(name));
        }
    }
    Ok(found.into_iter().collect())
}

impl Known {
    fn read(tree: &Tree, folder: &str) -> Result<Self> {
        let read = |name: &str| read_text(tree, &format!("{folder}/{name}"));
        let dep = read("modules.dep")?;
        if dep.is_empty() {
            bail!("collecting kernel modules: no /{folder}/modules.dep");
        }
        let mut known = Self {
            paths: BTreeMap::new(),
            aliases: BTreeMap::new(),
            soft: BTreeMap::new(),
            built_in: read("modules.builtin")?.lines().map(module_name).collect(),
        };
        for line in dep.lines() {
            if let Some((path, needs)) = line.split_once(':') {
                let mut paths = vec![path.to_owned()];
                paths.extend(needs.split_whitespace().map(str::to_owned));
                known.paths.insert(module_name(path), paths);
            }
        }
        for line in read("modules.alias")?.lines() {
            if let ["alias", alias, module] = words(line)[..]
                && !alias.contains(['*', '?', '['])
                && let Some(key) = alias_key(alias)
            {
                let modules = known.aliases.entry(key).or_default();
                modules.push(module.to_owned());
            }
        }
        for line in read("modules.softdep")?.lines() {
            if let ["softdep", module, wanted @ ..] = &words(line)[..] {
                let wanted = wanted.iter().filter(|word| !word.ends_with(':'));
                let soft = known.soft.entry((*module).to_owned()).or_default();
                soft.extend(wanted.map(|word| (*word).to_owned()));
            }
        }
        Ok(known)
    }

    /// The modules of that name or alias; none for what is built in or unknown.
    fn modules_called(&self, name: &str) -> Vec<String> {
        let name = underscored(name);
        if self.paths.contains_key(&name) {
            return vec![name];
        }
        self.aliases.get(&name).cloned().unwrap_or_default()
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}
