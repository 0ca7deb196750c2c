//! The index files of a kernel's modules, and what a set of modules needs.
//!
//! What depmod(8) writes and libkmod reads: `modules.dep`, `modules.alias`
//! and their kin, as text and as search trees. File formats: modules.dep(5)
//! and the comment at the head of kmod's `libkmod/libkmod-index.c`.
//! Dependencies are taken from what the modules themselves declare
//! (`depends=`), so no symbol has to be resolved.
//!
//! Left out: depmod.d(5) configuration, `updates/` overriding other folders,
//! and modules compressed otherwise than with xz.

mod closure;
mod index;
mod info;
mod output;

pub use closure::module_closure;
pub use info::plain_module;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::tree::{Content, Kind, Node, Tree};
use crate::error::hinted;

use info::Module;

/// The folder of a kernel's modules.
pub fn modules_folder(version: &str) -> String {
    format!("usr/lib/modules/{version}")
}

/// Puts the index files of a kernel's modules into the tree.
pub fn install_module_indexes(tree: &mut Tree, version: &str) -> Result<()> {
    for (path, content) in module_indexes(tree, version)? {
        tree.insert(&path, Node::file(0o644, content))?;
    }
    Ok(())
}

/// Makes the index files of a kernel's modules: paths and contents.
///
/// They depend on nothing but the files in that kernel's folder. Reading a
/// thousand modules costs a second or two: keep the result where it can be.
pub fn module_indexes(tree: &Tree, version: &str) -> Result<Vec<(String, Content)>> {
    let folder = modules_folder(version);
    let modules = read_modules(tree, &folder)?;
    let built_in = read_text(tree, &format!("{folder}/modules.builtin"))?;
    let built_in_info = tree
        .content(&format!("{folder}/modules.builtin.modinfo"))
        .map(Content::read)
        .transpose()
        .with_context(|| format!("reading /{folder}/modules.builtin.modinfo"))?
        .unwrap_or_default();
    let files = output::index_files(&modules, &built_in, &built_in_info)?;
    Ok(files
        .into_iter()
        .map(|(name, bytes)| (format!("{folder}/{name}"), Content::from(bytes)))
        .collect())
}

/// Reads all modules of a folder, in the order that breaks ties between them.
fn read_modules(tree: &Tree, folder: &str) -> Result<Vec<Module>> {
    let files: Vec<(&str, &Content)> = tree
        .below(folder)
        .filter_map(|(path, node)| match &node.kind {
            Kind::File(content) if info::is_module(path) => Some((path, content)),
            _ => None,
        })
        .collect();
    if files.is_empty() {
        return Err(hinted(
            format!("indexing kernel modules: none below /{folder}"),
            "check the kernel package and the strip patterns of the recipe",
        ));
    }
    let order = read_text(tree, &format!("{folder}/modules.order"))?;
    let mut modules: Vec<Module> = files
        .into_par_iter()
        .map(|(path, content)| {
            let relative = &path[folder.len() + 1..];
            Module::read(relative, content).with_context(|| format!("reading /{path}"))
        })
        .collect::<Result<_>>()?;
    sort_modules(&mut modules, &order);
    let mut named = BTreeMap::new();
    for module in &modules {
        if let Some(other) = named.insert(&module.name, &module.path) {
            bail!(
                "indexing kernel modules: {other} and {} have one name",
                module.path
            );
        }
    }
    Ok(modules)
}

/// Sorts by the kernel's own link order; what it does not list comes last.
fn sort_modules(modules: &mut [Module], order: &str) {
    let places: BTreeMap<&str, usize> = order
        .lines()
        .enumerate()
        .map(|(at, line)| (line, at))
        .collect();
    modules.sort_by_cached_key(|module| {
        let plain = info::plain_path(&module.path);
        let place = places.get(plain).copied().unwrap_or(usize::MAX);
        (place, module.path.clone())
    });
}

/// A text file of the tree; empty when there is none.
fn read_text(tree: &Tree, path: &str) -> Result<String> {
    let Some(content) = tree.content(path) else {
        return Ok(String::new());
    };
    let bytes = content.read().with_context(|| format!("reading /{path}"))?;
    String::from_utf8(bytes).with_context(|| format!("reading /{path}"))
}

#[cfg(test)]
mod tests;
