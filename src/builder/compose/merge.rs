//! Merging packages into one tree.
//!
//! Debian merged `/usr`: paths that begin with one of the aliased folders are
//! placed below `usr/` (<https://wiki.debian.org/UsrMerge>). Two packages may
//! share a folder; sharing another path is an error unless one of them
//! declares `Replaces` on the other (Debian Policy 7.6.1,
//! <https://www.debian.org/doc/debian-policy/ch-relationships.html>).

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use debversion::Version;
use globset::{Glob, GlobSet, GlobSetBuilder};

use super::origin::{Attributed, Origin};
use crate::builder::deb::Package;
use crate::builder::recipe::Strip;
use crate::builder::tree::{Kind, Node, Tree};

/// Folders that Debian 13 keeps as links into `usr/`.
pub const ALIASED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// Where a package's path lies in a merged `/usr`.
pub fn merged_path(path: &str) -> String {
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    if ALIASED.contains(&first) && !rest.is_empty() {
        format!("usr/{path}")
    } else {
        path.to_owned()
    }
}

/// A set of glob patterns in which `*` stays within one name.
pub fn glob_set(patterns: &[String]) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let mut builder = globset::GlobBuilder::new(pattern);
        let glob: Glob = builder
            .literal_separator(true)
            .build()
            .with_context(|| format!("reading pattern {pattern}"))?;
        set.add(glob);
    }
    Ok(set.build()?)
}

/// Merges the packages' files, less the stripped ones, into a tree that knows whose they are.
pub fn merge_packages(packages: &[&Package], strip: &Strip) -> Result<Attributed> {
    let stripped = glob_set(&strip.paths)?;
    let kept = glob_set(&strip.keep)?;
    let mut tree = Tree::default();
    let mut owners: HashMap<String, &Package> = HashMap::new();
    for package in packages {
        for (path, node) in &package.entries {
            let path = merged_path(path);
            if path.is_empty() || (stripped.is_match(&path) && !kept.is_match(&path)) {
                continue;
            }
            if ALIASED.contains(&path.as_str()) && node.is_directory() {
                continue;
            }
            place(&mut tree, &mut owners, package, path, node)?;
        }
    }
    for name in ALIASED {
        let target = format!("usr/{name}");
        if tree.contains(&target) {
            tree.insert(name, Node::symlink(target))?;
        }
    }
    drop_empty_folders(&mut tree, &stripped);
    check_links(&tree)?;
    Ok(Attributed::new(tree, |path| match owners.get(path) {
        Some(package) => Origin::Package(package.name.clone()),
        None => Origin::Builder,
    }))
}

fn place<'a>(
    tree: &mut Tree,
    owners: &mut HashMap<String, &'a Package>,
    package: &'a Package,
    path: String,
    node: &Node,
) -> Result<()> {
    let mut node = node.clone();
    if let Kind::HardLink(target) = &node.kind {
        node.kind = Kind::HardLink(merged_path(target));
    }
    if let Some(there) = tree.get(&path) {
        let owner = owners.get(&path).copied();
        match (there.is_directory(), node.is_directory()) {
            // The first package's mode stands, as with dpkg; a folder that was
            // only implied takes the mode of the first that ships it.
            (true, true) => {
                if owner.is_none() {
                    tree.insert(&path, node)?;
                    owners.insert(path, package);
                }
                return Ok(());
            }
            (false, false) => match owner {
                Some(other) if replaces(package, other) => {}
                Some(other) if replaces(other, package) => return Ok(()),
                other => bail!(
                    "merging packages: {} and {} both bring /{path} and neither replaces the other",
                    other.map_or("another package", |other| &other.name),
                    package.name
                ),
            },
            _ => bail!(
                "merging packages: /{path} is a folder in one package and a file in {}",
                package.name
            ),
        }
    }
    tree.insert(&path, node)
        .with_context(|| format!("merging package {}", package.name))?;
    owners.insert(path, package);
    Ok(())
}

/// Whether a package's `Replaces` field names that version of another.
fn replaces(package: &Package, other: &Package) -> bool {
    let Some(field) = field(&package.control, "Replaces") else {
        return false;
    };
    field.split(',').any(|relation| {
        let relation = relation.trim();
        let (name, version) = relation.split_once('(').unwrap_or((relation, ""));
        let name = name.trim().split(':').next().unwrap_or("");
        if name != other.name {
            return false;
        }
        let version = version.trim_end_matches(')').trim();
        if version.is_empty() {
            return true;
        }
        let split = version.find(|c: char| !"<>=".contains(c)).unwrap_or(0);
        let (operator, wanted) = version.split_at(split);
        let (Ok(wanted), Ok(found)) = (
            wanted.trim().parse::<Version>(),
            other.version.parse::<Version>(),
        ) else {
            return false;
        };
        match operator {
            "<<" => found < wanted,
            "<=" => found <= wanted,
            "=" => found == wanted,
            ">=" => found >= wanted,
            ">>" => found > wanted,
            _ => false,
        }
    })
}

/// A field of a control paragraph, folded lines joined.
pub fn field<'a>(control: &'a str, name: &str) -> Option<std::borrow::Cow<'a, str>> {
    let mut found: Option<String> = None;
    for line in control.lines() {
        if let Some(text) = &mut found {
            if line.starts_with([' ', '\t']) {
                text.push(' ');
                text.push_str(line.trim());
                continue;
            }
            break;
        }
        if let Some((key, value)) = line.split_once(':')
            && key.eq_ignore_ascii_case(name)
        {
            found = Some(value.trim().to_owned());
        }
    }
    found.map(Into::into)
}

/// Folders whose whole content was stripped go too, when a pattern matches them.
fn drop_empty_folders(tree: &mut Tree, stripped: &GlobSet) {
    let folders: Vec<String> = tree
        .iter()
        .filter(|(_, node)| node.is_directory())
        .map(|(path, _)| path.to_owned())
        .collect();
    for folder in folders.iter().rev() {
        let inside = format!("{folder}/x");
        if stripped.is_match(&inside) && tree.below(folder).next().is_none() {
            tree.remove(folder);
        }
    }
}

/// A hard link whose file was stripped would dangle.
fn check_links(tree: &Tree) -> Result<()> {
    for (path, node) in tree.iter() {
        if let Kind::HardLink(target) = &node.kind
            && !matches!(
                tree.get(target),
                Some(Node {
                    kind: Kind::File(_),
                    ..
                })
            )
        {
            bail!("merging packages: /{path} is another name of /{target}, which was left out");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{field, merge_packages, merged_path};
    use crate::builder::deb::Package;
    use crate::builder::recipe::Strip;
    use crate::builder::tree::Node;

    fn package(name: &str, control: &str, paths: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            version: "1.0-1".to_owned(),
            architecture: "all".to_owned(),
            control: control.to_owned(),
            conffiles: Vec::new(),
            scripts: Vec::new(),
            entries: paths
                .iter()
                .map(|path| ((*path).to_owned(), Node::file(0o644, name)))
                .collect(),
        }
    }

    #[test]
    fn aliased_folders_are_merged() {
        assert_eq!(merged_path("lib/x"), "usr/lib/x");
        assert_eq!(merged_path("library/x"), "library/x");
        let one = package("one", "", &["sbin/init"]);
        let tree = merge_packages(&[&one], &Strip::default()).unwrap();
        assert!(tree.content("sbin/init").is_some());
        assert!(tree.get("usr/sbin/init").is_some());
    }

    #[test]
    fn one_path_in_two_packages_is_an_error_unless_replaced() {
        let one = package("one", "", &["usr/a"]);
        let two = package("two", "", &["usr/a"]);
        let error = merge_packages(&[&one, &two], &Strip::default())
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "merging packages: one and two both bring /usr/a and neither replaces the other"
        );
        let newer = package(
            "two",
            "Package: two\nReplaces: x,\n one (<< 1.0-2)\n",
            &["usr/a"],
        );
        for order in [[&one, &newer], [&newer, &one]] {
            let tree = merge_packages(&order, &Strip::default()).unwrap();
            assert_eq!(tree.content("usr/a").unwrap().read().unwrap(), b"two");
        }
        let older = package("two", "Replaces: one (<< 0.9)\n", &["usr/a"]);
        assert!(merge_packages(&[&one, &older], &Strip::default()).is_err());
    }

    #[test]
    fn stripped_files_leave_no_empty_folder() {
        let one = package(
            "one",
            "",
            &[
                "usr/share/man/man1/a",
                "usr/share/doc/a/copyright",
                "usr/share/doc/a/NEWS",
            ],
        );
        let strip = Strip {
            paths: vec!["usr/share/man/**".to_owned(), "usr/share/doc/**".to_owned()],
            keep: vec!["usr/share/doc/*/copyright".to_owned()],
        };
        let tree = merge_packages(&[&one], &strip).unwrap();
        assert!(!tree.contains("usr/share/man/man1"));
        assert!(tree.contains("usr/share/doc/a/copyright"));
        assert!(!tree.contains("usr/share/doc/a/NEWS"));
    }

    #[test]
    fn folded_fields_are_joined() {
        assert_eq!(field("A: 1\nB: 2,\n 3\nC: 4\n", "b").unwrap(), "2, 3");
    }
}
