//! The file tree of the initrd: what the boot needs before the root is there.
//!
//! It is cut out of the root's tree: files by pattern with what they need to
//! run, modules with what they depend on, index files for just those modules,
//! and files of our own laid over. Modules are stored unpacked: the archive
//! around them is compressed better than each alone, and unpacking once is
//! faster than unpacking every one in the kernel.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::builder::recipe::Initrd;
use crate::builder::tree::{Content, Kind, Node, Tree, parent_of};
use crate::builder::{elf, kmod};
use crate::error::hinted;

/// Folders that systemd mounts on or writes to.
const FOLDERS: [(&str, u16); 6] = [
    ("dev", 0o755),
    ("proc", 0o555),
    ("run", 0o755),
    ("sys", 0o555),
    ("sysroot", 0o755),
    ("tmp", 0o1777),
];
/// Links of a merged /usr, for paths that programs have built in.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];
/// What the kernel starts.
const INIT: &str = "usr/lib/systemd/systemd";
/// Files of the modules' folder that are kept as they are.
const KEPT_INDEXES: [&str; 3] = [
    "modules.builtin",
    "modules.builtin.modinfo",
    "modules.order",
];

/// Makes the initrd's tree.
///
/// Patterns are matched against paths of `root` without leading `/`, `*` not
/// crossing a `/`; a pattern that matches nothing is an error. What programs
/// of `own` need comes out of `root` too; links of `own` are not followed.
pub fn make_initrd_tree(
    root: &Tree,
    spec: &Initrd,
    kernel_version: &str,
    own: &Tree,
) -> Result<Tree> {
    let mut tree = Tree::default();
    for (path, mode) in FOLDERS {
        tree.insert(path, Node::directory(mode))?;
    }
    let mut chosen = choose(root, &spec.files)?;
    let mut both = root.clone();
    for (path, node) in own.iter().filter(|(path, _)| !path.is_empty()) {
        both.insert(path, node.clone())?;
        if matches!(node.kind, Kind::File(_)) {
            chosen.push(path.to_owned());
        }
    }
    let needed = elf::closure(&both, &chosen, &[]).context("collecting the initrd's programs")?;
    for path in MERGED.into_iter().filter(|path| root.contains(path)) {
        copy(root, &mut tree, path)?;
    }
    for path in needed.iter().filter(|path| !own.contains(path)) {
        copy(root, &mut tree, path)?;
    }
    add_modules(root, &mut tree, spec, kernel_version)?;
    tree.insert("init", Node::symlink(INIT))?;
    for (path, node) in own.iter().filter(|(path, _)| !path.is_empty()) {
        tree.insert(path, node.clone())
            .with_context(|| format!("laying our /{path} over the initrd"))?;
    }
    Ok(tree)
}

/// The paths that the patterns match.
fn choose(root: &Tree, patterns: &[String]) -> Result<Vec<String>> {
    let mut builder = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern)
            .literal_separator(true)
            .build()
            .with_context(|| format!("reading the initrd's file pattern {pattern}"))?;
        builder.add(glob);
    }
    let set: GlobSet = builder
        .build()
        .context("reading the initrd's file patterns")?;
    let mut used = BTreeSet::new();
    let mut chosen = Vec::new();
    for (path, _) in root.iter().filter(|(path, _)| !path.is_empty()) {
        let matches = set.matches(path);
        if !matches.is_empty() {
            used.extend(matches);
            chosen.push(path.to_owned());
        }
    }
    let unused: Vec<&str> = (0..patterns.len())
        .filter(|number| !used.contains(number))
        .map(|number| patterns[number].as_str())
        .collect();
    if !unused.is_empty() {
        return Err(hinted(
            format!(
                "collecting the initrd's files: nothing matches {}",
                unused.join(", ")
            ),
            "correct the patterns of the recipe's [image.initrd], or add the package that brings the files",
        ));
    }
    Ok(chosen)
}

/// Copies a node with the folders above it.
fn copy(root: &Tree, tree: &mut Tree, path: &str) -> Result<()> {
    let mut missing = Vec::new();
    let mut at = parent_of(path);
    while let Some(parent) = at.filter(|parent| !tree.contains(parent)) {
        missing.push(parent);
        at = parent_of(parent);
    }
    for path in missing.into_iter().rev().chain([path]) {
        let Some(node) = root.get(path) else {
            bail!("collecting the initrd's files: no /{path} in the tree");
        };
        tree.insert(path, node.clone())?;
    }
    Ok(())
}

fn add_modules(root: &Tree, tree: &mut Tree, spec: &Initrd, version: &str) -> Result<()> {
    if spec.modules.is_empty() {
        return Ok(());
    }
    let paths = kmod::module_closure(root, version, &spec.modules)?;
    let unpacked: Vec<(String, Node)> = paths
        .into_par_iter()
        .map(|path| {
            let Some(Node {
                metadata,
                kind: Kind::File(content),
            }) = root.get(&path)
            else {
                bail!("collecting the initrd's modules: no file /{path}");
            };
            let bytes =
                kmod::plain_module(&path, content).with_context(|| format!("reading /{path}"))?;
            let node = Node {
                metadata: metadata.clone(),
                kind: Kind::File(Content::from(bytes)),
            };
            let plain = path.strip_suffix(".xz").unwrap_or(&path).to_owned();
            Ok((plain, node))
        })
        .collect::<Result<_>>()?;
    for (path, node) in unpacked {
        tree.insert(&path, node)?;
    }
    let folder = kmod::modules_folder(version);
    for name in KEPT_INDEXES {
        let path = format!("{folder}/{name}");
        if root.contains(&path) {
            copy(root, tree, &path)?;
        }
    }
    kmod::install_module_indexes(tree, version)
}

#[cfg(test)]
mod tests {
    use super::make_initrd_tree;
    use crate::builder::recipe::Initrd;
    use crate::builder::tree::{Node, Tree};

    fn root() -> Tree {
        let mut tree = Tree::default();
        for (path, target) in [("bin", "usr/bin"), ("lib", "usr/lib")] {
            tree.insert(path, Node::symlink(target)).unwrap();
        }
        tree.insert("usr/bin/sh", Node::symlink("dash")).unwrap();
        tree.insert("usr/bin/dash", Node::file(0o755, *b"shell"))
            .unwrap();
        tree.insert("usr/bin/other", Node::file(0o755, *b"other"))
            .unwrap();
        tree.insert("usr/lib/run", Node::file(0o755, *b"#!/bin/sh\n"))
            .unwrap();
        tree
    }

    fn spec(files: &[&str]) -> Initrd {
        Initrd {
            files: files.iter().map(|file| (*file).to_owned()).collect(),
            modules: Vec::new(),
        }
    }

    #[test]
    fn patterns_bring_what_they_need() {
        let mut own = Tree::default();
        own.insert("etc/initrd-release", Node::file(0o644, *b"ID=x\n"))
            .unwrap();
        let tree = make_initrd_tree(&root(), &spec(&["usr/lib/r*"]), "6.12", &own).unwrap();
        assert_eq!(
            tree.listing(),
            "d 0755 0:0 /\nl /bin -> usr/bin\nd 0755 0:0 /dev\nd 0755 0:0 /etc\n\
             f 0644 0:0 /etc/initrd-release 5\nl /init -> usr/lib/systemd/systemd\n\
             l /lib -> usr/lib\nd 0555 0:0 /proc\nd 0755 0:0 /run\nd 0555 0:0 /sys\n\
             d 0755 0:0 /sysroot\nd 1777 0:0 /tmp\nd 0755 0:0 /usr\nd 0755 0:0 /usr/bin\n\
             f 0755 0:0 /usr/bin/dash 5\nl /usr/bin/sh -> dash\nd 0755 0:0 /usr/lib\n\
             f 0755 0:0 /usr/lib/run 10\n"
        );
    }

    #[test]
    fn a_pattern_without_a_match_is_named() {
        let error = make_initrd_tree(
            &root(),
            &spec(&["usr/bin/*", "usr/sbin/x"]),
            "6.12",
            &Tree::default(),
        );
        assert_eq!(
            error.unwrap_err().to_string(),
            "collecting the initrd's files: nothing matches usr/sbin/x"
        );
    }
}
