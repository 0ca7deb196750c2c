//! The image's file tree as a value in memory.
//!
//! Paths are UTF-8, relative, with `/` between names; the root is the empty
//! string. File contents are held by reference ([`Content`]), so a tree of
//! hundreds of megabytes costs a few. Iteration is sorted, and
//! [`Tree::listing`] prints the tree as text: tests compare that.
//!
//! Left out on purpose: device nodes (systemd makes them at boot) and times
//! (every file of an image carries the image's one time stamp).

pub use crate::format::content::{Content, FileSlice};

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Result, bail};

/// Owner, mode and extended attributes of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits, at most `0o7777`.
    pub mode: u16,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Extended attributes by full name, `security.capability` say.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Metadata {
    /// Metadata owned by root, without extended attributes.
    pub fn root(mode: u16) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
            xattrs: BTreeMap::new(),
        }
    }
}

/// What stands at a path.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link and its target, verbatim.
    Symlink(String),
    /// Another name for the regular file at that path of the same tree.
    HardLink(String),
}

/// A path's metadata and kind.
#[derive(Clone, Debug)]
pub struct Node {
    /// Owner, mode and extended attributes; ignored for a hard link.
    pub metadata: Metadata,
    /// What stands there.
    pub kind: Kind,
}

impl Node {
    /// A directory of root's.
    pub fn directory(mode: u16) -> Self {
        Self {
            metadata: Metadata::root(mode),
            kind: Kind::Directory,
        }
    }

    /// A regular file of root's.
    pub fn file(mode: u16, content: impl Into<Content>) -> Self {
        Self {
            metadata: Metadata::root(mode),
            kind: Kind::File(content.into()),
        }
    }

    /// A symbolic link.
    pub fn symlink(target: impl Into<String>) -> Self {
        Self {
            metadata: Metadata::root(0o777),
            kind: Kind::Symlink(target.into()),
        }
    }

    /// Whether this is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory)
    }
}

/// A file tree, sorted by path.
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Default for Tree {
    fn default() -> Self {
        Self {
            nodes: BTreeMap::from([(String::new(), Node::directory(0o755))]),
        }
    }
}

impl Tree {
    /// The node at a path.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The node at a path, to change it.
    pub fn get_mut(&mut self, path: &str) -> Option<&mut Node> {
        self.nodes.get_mut(path)
    }

    /// Whether something stands at a path.
    pub fn contains(&self, path: &str) -> bool {
        self.nodes.contains_key(path)
    }

    /// Puts a node at a path, replacing what was there and making missing
    /// parents as root's directories of mode 0755.
    ///
    /// Fails when a parent is not a directory or the path is not clean.
    pub fn insert(&mut self, path: &str, node: Node) -> Result<()> {
        check_path(path)?;
        let mut parent = parent_of(path);
        while let Some(at) = parent {
            match self.nodes.get(at) {
                Some(node) if node.is_directory() => break,
                Some(_) => bail!("placing {path}: {at} is not a directory"),
                None => {
                    self.nodes.insert(at.to_owned(), Node::directory(0o755));
                }
            }
            parent = parent_of(at);
        }
        self.nodes.insert(path.to_owned(), node);
        Ok(())
    }

    /// Takes a path, and all below it, out of the tree.
    ///
    /// A file that has other names keeps them: the first becomes the file.
    pub fn remove(&mut self, path: &str) -> Vec<(String, Node)> {
        let below = format!("{path}/");
        let mut gone: Vec<String> = self
            .nodes
            .range(below.clone()..)
            .map(|(at, _)| at)
            .take_while(|at| at.starts_with(&below))
            .cloned()
            .collect();
        gone.push(path.to_owned());
        let mut removed = Vec::with_capacity(gone.len());
        for at in gone {
            if let Some(node) = self.nodes.remove(&at) {
                removed.push((at, node));
            }
        }
        for (at, node) in &removed {
            if matches!(node.kind, Kind::File(_)) {
                self.promote_link(at, node);
            }
        }
        removed.sort_by(|left, right| left.0.cmp(&right.0));
        removed
    }

    /// Makes the first other name of a removed file the file itself.
    fn promote_link(&mut self, removed: &str, file: &Node) {
        let names: Vec<String> = self
            .nodes
            .iter()
            .filter(|(_, node)| matches!(&node.kind, Kind::HardLink(to) if to == removed))
            .map(|(at, _)| at.clone())
            .collect();
        let Some((first, others)) = names.split_first() else {
            return;
        };
        self.nodes.insert(first.clone(), file.clone());
        for other in others {
            if let Some(node) = self.nodes.get_mut(other) {
                node.kind = Kind::HardLink(first.clone());
            }
        }
    }

    /// All paths and nodes, sorted by path, the root first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// The paths directly or indirectly below a directory.
    pub fn below(&self, directory: &str) -> impl Iterator<Item = (&str, &Node)> {
        let prefix = if directory.is_empty() {
            String::new()
        } else {
            format!("{directory}/")
        };
        self.nodes
            .range(prefix.clone()..)
            .take_while(move |(path, _)| path.starts_with(&prefix))
            .filter(|(path, _)| !path.is_empty())
            .map(|(path, node)| (path.as_str(), node))
    }

    /// How many paths there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether only the root is there.
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 1
    }

    /// Follows symbolic links and hard links to the path they name, inside the tree.
    ///
    /// Returns nothing for a dangling link, one that leaves the tree or a loop.
    pub fn resolve(&self, path: &str) -> Option<String> {
        self.follow(path, &mut |_| {})
    }

    /// Like [`Tree::resolve`], and tells the path of every link on the way.
    pub fn follow(&self, path: &str, passed: &mut impl FnMut(&str)) -> Option<String> {
        /// The kernel's own limit, see path_resolution(7).
        const MAX_LINKS: usize = 40;
        let mut links = 0;
        let mut done: Vec<String> = Vec::new();
        let mut rest: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        while let Some(name) = rest.pop() {
            match name.as_str() {
                "" | "." => continue,
                ".." => {
                    done.pop();
                    continue;
                }
                _ => done.push(name),
            }
            let at = done.join("/");
            match &self.nodes.get(&at)?.kind {
                Kind::Directory | Kind::File(_) => {}
                Kind::HardLink(target) => {
                    passed(&at);
                    done = target.split('/').map(str::to_owned).collect();
                }
                Kind::Symlink(target) => {
                    passed(&at);
                    links += 1;
                    if links > MAX_LINKS {
                        return None;
                    }
                    done.pop();
                    if target.starts_with('/') {
                        done.clear();
                    }
                    rest.extend(target.split('/').rev().map(str::to_owned));
                }
            }
        }
        Some(done.join("/"))
    }

    /// The content of the regular file that a path leads to.
    pub fn content(&self, path: &str) -> Option<&Content> {
        match &self.nodes.get(&self.resolve(path)?)?.kind {
            Kind::File(content) => Some(content),
            _ => None,
        }
    }

    /// The tree as text, a line a path: kind, mode, owner, size or target.
    pub fn listing(&self) -> String {
        let mut text = String::new();
        for (path, node) in self.iter() {
            let Metadata {
                mode,
                uid,
                gid,
                xattrs,
            } = &node.metadata;
            let _ = match &node.kind {
                Kind::Directory => write!(text, "d {mode:04o} {uid}:{gid} /{path}"),
                Kind::File(content) => {
                    write!(text, "f {mode:04o} {uid}:{gid} /{path} {}", content.len())
                }
                Kind::Symlink(target) => write!(text, "l /{path} -> {target}"),
                Kind::HardLink(target) => write!(text, "h /{path} = /{target}"),
            };
            for name in xattrs.keys() {
                let _ = write!(text, " {name}");
            }
            text.push('\n');
        }
        text
    }
}

/// The directory that holds a path; nothing for the root.
pub fn parent_of(path: &str) -> Option<&str> {
    if path.is_empty() {
        return None;
    }
    Some(path.rsplit_once('/').map_or("", |(parent, _)| parent))
}

/// The last name of a path.
pub fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn check_path(path: &str) -> Result<()> {
    /// Linux's limit for one name, limits.h.
    const NAME_MAX: usize = 255;
    for name in path.split('/') {
        if !path.is_empty()
            && (name.is_empty() || name == "." || name == ".." || name.len() > NAME_MAX)
            || name.contains(char::is_control)
        {
            bail!("placing {path}: not a clean relative path");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Kind, Metadata, Node, Tree};

    fn sample() -> Tree {
        let mut tree = Tree::default();
        tree.insert("usr/bin/a", Node::file(0o755, *b"x")).unwrap();
        let link = Node {
            metadata: Metadata::root(0o755),
            kind: Kind::HardLink("usr/bin/a".into()),
        };
        tree.insert("usr/bin/b", link.clone()).unwrap();
        tree.insert("usr/bin/c", link).unwrap();
        tree.insert("bin", Node::symlink("usr/bin")).unwrap();
        tree
    }

    #[test]
    fn listing_is_sorted_text() {
        assert_eq!(
            sample().listing(),
            "d 0755 0:0 /\nl /bin -> usr/bin\nd 0755 0:0 /usr\nd 0755 0:0 /usr/bin\n\
             f 0755 0:0 /usr/bin/a 1\nh /usr/bin/b = /usr/bin/a\nh /usr/bin/c = /usr/bin/a\n"
        );
    }

    #[test]
    fn removing_a_file_keeps_its_other_names() {
        let mut tree = sample();
        tree.remove("usr/bin/a");
        assert_eq!(tree.content("bin/b").unwrap().len(), 1);
        assert_eq!(tree.resolve("bin/c").unwrap(), "usr/bin/b");
    }

    #[test]
    fn paths_out_of_the_tree_are_refused() {
        let mut tree = Tree::default();
        for path in ["../x", "a/../b", "a//b", "./a", "a/", "a\nb", "a\0b"] {
            assert!(tree.insert(path, Node::directory(0o755)).is_err(), "{path}");
        }
        assert!(
            sample()
                .insert("usr/bin/a/x", Node::directory(0o755))
                .is_err()
        );
    }

    #[test]
    fn a_loop_of_links_resolves_to_nothing() {
        let mut tree = Tree::default();
        tree.insert("a", Node::symlink("b")).unwrap();
        tree.insert("b", Node::symlink("/a")).unwrap();
        assert_eq!(tree.resolve("a"), None);
    }
}
