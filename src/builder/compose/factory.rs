//! `/var` of the packages becomes a factory and tmpfiles.d lines.
//!
//! The root is read-only and `/var` is another partition, empty at first: what
//! packages ship there is kept below `/usr/share/factory` and put in place at
//! boot when it is missing, see
//! <https://www.freedesktop.org/software/systemd/man/257/tmpfiles.d.html>.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::Result;

use crate::builder::tree::{Kind, Metadata, Node, Tree};

/// Where the shipped content of `/var` is kept.
pub const FACTORY: &str = "usr/share/factory";

/// The file with the lines; a path that another file declares is not repeated.
const TMPFILES: &str = "usr/lib/tmpfiles.d/zz-factory-var.conf";

/// Moves all below `var` into the factory and declares it.
pub fn move_var(tree: &mut Tree) -> Result<()> {
    let mut lines = String::from(
        "# Content of packages under /var that they do not declare themselves, made by mailimg.\n",
    );
    let declared = declared_paths(tree)?;
    for (path, node) in tree.remove("var") {
        if path == "var" {
            continue;
        }
        let Metadata { mode, uid, gid, .. } = node.metadata;
        let quoted = escape(&path);
        let _ = match &node.kind {
            _ if declared.contains(&format!("/{quoted}")) => Ok(()),
            Kind::Directory => writeln!(lines, "d /{quoted} {mode:04o} {uid} {gid} -"),
            Kind::Symlink(target) => {
                writeln!(lines, "L /{quoted} - - - - {}", escape(target))
            }
            Kind::File(_) | Kind::HardLink(_) => {
                writeln!(lines, "C /{quoted} {mode:04o} {uid} {gid} -")
            }
        };
        let node = match node.kind {
            Kind::HardLink(target) => Node {
                kind: Kind::HardLink(match target.strip_prefix("var/") {
                    Some(_) => format!("{FACTORY}/{target}"),
                    None => target,
                }),
                ..node
            },
            _ => node,
        };
        if !node.is_directory() {
            tree.insert(&format!("{FACTORY}/{path}"), node)?;
        }
    }
    tree.insert("var", Node::directory(0o755))?;
    tree.insert(TMPFILES, Node::file(0o644, lines))?;
    Ok(())
}

/// The paths that tmpfiles.d files of packages and of ours declare.
fn declared_paths(tree: &Tree) -> Result<BTreeSet<String>> {
    let mut paths = BTreeSet::new();
    for (_, node) in tree.below("usr/lib/tmpfiles.d") {
        if let Kind::File(content) = &node.kind {
            let text = String::from_utf8_lossy(&content.read()?).into_owned();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            paths.extend(
                lines
                    .filter_map(|line| line.split_whitespace().nth(1))
                    .map(str::to_owned),
            );
        }
    }
    Ok(paths)
}

/// tmpfiles.d expands `%` and splits at blanks.
fn escape(text: &str) -> String {
    text.replace('%', "%%").replace(' ', "\\x20")
}

#[cfg(test)]
mod tests {
    use super::{TMPFILES, move_var};
    use crate::builder::tree::{Node, Tree};

    #[test]
    fn var_is_empty_and_its_content_declared() {
        let mut tree = Tree::default();
        tree.insert("var/lib/x/seed", Node::file(0o640, "s"))
            .unwrap();
        tree.insert("var/run", Node::symlink("/run")).unwrap();
        tree.insert(
            "usr/lib/tmpfiles.d/x.conf",
            Node::file(0o644, "d /var/lib - - - -\n"),
        )
        .unwrap();
        move_var(&mut tree).unwrap();
        assert_eq!(tree.below("var").count(), 0);
        assert!(tree.contains("usr/share/factory/var/lib/x/seed"));
        let text = String::from_utf8(tree.content(TMPFILES).unwrap().read().unwrap()).unwrap();
        assert!(text.ends_with(
            "themselves, made by mailimg.\nd /var/lib/x 0755 0 0 -\nC /var/lib/x/seed 0640 0 0 -\n\
             L /var/run - - - - /run\n"
        ));
    }
}
