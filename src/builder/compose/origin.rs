//! Who brought each path of an image: a package, the overlay, the units or the builder.
//!
//! A tree that is being composed changes by [`Attributed::step`] alone, which
//! compares it before and after; so no step can forget to say what it made. A
//! path belongs to the step that last gave it its content. Another owner or
//! mode, as declared effects set them, leaves a path with who brought it, and
//! so does the move of `/var` into the factory.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use anyhow::Result;

use crate::builder::tree::{Content, Kind, Node, Tree};

/// What brought a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The Debian package of that name.
    Package(String),
    /// `overlay/`.
    Overlay,
    /// `units/`.
    Units,
    /// The program `mailctl`.
    Mailctl,
    /// The builder itself: accounts, indexes, links of enabled units, records.
    Builder,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Package(name) => name,
            Self::Overlay => "overlay",
            Self::Units => "units",
            Self::Mailctl => "mailctl",
            Self::Builder => "builder",
        })
    }
}

/// The origin of every path of a tree.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    by_path: BTreeMap<String, Origin>,
}

impl Origins {
    /// What brought a path.
    pub fn get(&self, path: &str) -> Option<&Origin> {
        self.by_path.get(path)
    }

    /// Says what brought a path.
    pub fn set(&mut self, path: &str, origin: Origin) {
        self.by_path.insert(path.to_owned(), origin);
    }

    /// All paths, sorted, each once.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Origin)> {
        self.by_path
            .iter()
            .map(|(path, origin)| (path.as_str(), origin))
    }
}

/// A tree that knows the origin of each of its paths.
#[derive(Clone, Debug)]
pub struct Attributed {
    tree: Tree,
    origins: Origins,
}

impl Deref for Attributed {
    type Target = Tree;

    fn deref(&self) -> &Tree {
        &self.tree
    }
}

impl Attributed {
    /// A tree whose paths have the origins that a function tells.
    pub fn new(tree: Tree, origin_of: impl Fn(&str) -> Origin) -> Self {
        let by_path = tree
            .iter()
            .map(|(path, _)| (path.to_owned(), origin_of(path)))
            .collect();
        Self {
            tree,
            origins: Origins { by_path },
        }
    }

    /// Changes the tree; what is new or other afterwards has this origin.
    pub fn step(
        &mut self,
        origin: Origin,
        change: impl FnOnce(&mut Tree) -> Result<()>,
    ) -> Result<()> {
        let before = self.tree.clone();
        change(&mut self.tree)?;
        let mut by_path = BTreeMap::new();
        for (path, node) in self.tree.iter() {
            let old = match before.get(path) {
                Some(old) => Some((path, old)),
                None => moved_from(&before, &self.tree, path),
            };
            let kept = old
                .filter(|(_, old)| same_content(&before, old, &self.tree, node))
                .and_then(|(path, _)| self.origins.get(path));
            let origin = kept.unwrap_or(&origin);
            by_path.insert(path.to_owned(), origin.clone());
        }
        self.origins.by_path = by_path;
        Ok(())
    }

    /// The tree and the origins of its paths.
    pub fn into_parts(self) -> (Tree, Origins) {
        (self.tree, self.origins)
    }
}

/// The path that went away and whose end of a path this is, as `var/x` is of `usr/y/var/x`.
fn moved_from<'a>(before: &'a Tree, after: &Tree, path: &str) -> Option<(&'a str, &'a Node)> {
    let starts = path.match_indices('/').map(|(at, _)| at + 1);
    let mut names = starts.map(|start| &path[start..]);
    let old = names.find(|name| before.contains(name) && !after.contains(name))?;
    before.below("").find(|(at, _)| *at == old)
}

fn same_content(before: &Tree, old: &Node, after: &Tree, new: &Node) -> bool {
    match (&old.kind, &new.kind) {
        (Kind::Directory, Kind::Directory) => true,
        (Kind::Symlink(one), Kind::Symlink(two)) => one == two,
        _ => match (file_content(before, old), file_content(after, new)) {
            (Some(one), Some(two)) => one.is_same(two),
            _ => false,
        },
    }
}

/// The content of a regular file, whichever of its names the node is.
fn file_content<'a>(tree: &'a Tree, node: &'a Node) -> Option<&'a Content> {
    match &node.kind {
        Kind::File(content) => Some(content),
        Kind::HardLink(target) => match &tree.get(target)?.kind {
            Kind::File(content) => Some(content),
            _ => None,
        },
        Kind::Directory | Kind::Symlink(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Attributed, Origin};
    use crate::builder::tree::{Kind, Metadata, Node, Tree};

    fn origins(tree: Attributed) -> String {
        let (_, origins) = tree.into_parts();
        let lines = origins
            .iter()
            .map(|(path, origin)| format!("{path} {origin}\n"));
        lines.collect()
    }

    #[test]
    fn a_path_belongs_to_the_step_that_gave_it_its_content() {
        let mut tree = Tree::default();
        for path in ["usr/a", "usr/b", "usr/c", "var/lib/x"] {
            tree.insert(path, Node::file(0o644, path)).unwrap();
        }
        let link = Node {
            metadata: Metadata::root(0o644),
            kind: Kind::HardLink("usr/c".to_owned()),
        };
        tree.insert("usr/d", link).unwrap();
        let mut tree = Attributed::new(tree, |_| Origin::Package("p".to_owned()));
        tree.step(Origin::Overlay, |tree| {
            tree.insert("usr/a", Node::file(0o644, "other"))?;
            tree.insert("usr/new/e", Node::symlink("a"))
        })
        .unwrap();
        tree.step(Origin::Builder, |tree| {
            // Only the mode, only the name, only the place.
            tree.insert("usr/b", Node::file(0o4755, "usr/b"))?;
            tree.remove("usr/c");
            let moved = tree.remove("var/lib/x").remove(0).1;
            tree.insert("usr/share/factory/var/lib/x", moved)?;
            tree.insert("usr/f", Node::file(0o644, "f"))
        })
        .unwrap();
        assert_eq!(
            origins(tree),
            " p\nusr p\nusr/a overlay\nusr/b p\nusr/d p\nusr/f builder\nusr/new overlay\n\
             usr/new/e overlay\nusr/share builder\nusr/share/factory builder\n\
             usr/share/factory/var builder\nusr/share/factory/var/lib builder\n\
             usr/share/factory/var/lib/x p\nvar p\nvar/lib p\n"
        );
    }
}
