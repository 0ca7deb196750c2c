//! Files that give rights to whoever starts them: each is named in the recipe, with a reason.
//!
//! A setuid bit or a capability says as much as a maintainer script, and comes as quietly:
//! an upgraded package may bring one more. So they are reviewed likewise, under
//! `[[effects.attributes]]`: with the mode that has the bit, or with one that takes it away.
//! See execve(2) and capabilities(7). Left out: folders, where setgid gives no rights.

use std::fmt::Write as _;

use anyhow::Result;

use super::origin::Origins;
use crate::builder::recipe::Recipe;
use crate::builder::tree::{Kind, Node, Tree};
use crate::error::hinted;

/// Mode bits of setuid and setgid.
const SET_ID: u16 = 0o6000;
/// The attribute that holds a file's capabilities.
const CAPABILITY: &str = "security.capability";

/// Refuses files with rights of their own that the recipe does not name.
pub fn check_privileged(tree: &Tree, origins: &Origins, recipe: &Recipe) -> Result<()> {
    let named =
        |path: &str, mode: u16| {
            recipe.effects.attributes.iter().any(|effect| {
                effect.path == path && u16::from_str_radix(&effect.mode, 8) == Ok(mode)
            })
        };
    let (mut found, mut entries) = (Vec::new(), String::new());
    for (path, node) in tree.iter() {
        let Some(rights) = rights(node) else {
            continue;
        };
        let mode = node.metadata.mode;
        if named(path, mode) {
            continue;
        }
        let origin = origins.get(path).map(ToString::to_string);
        found.push(format!(
            "/{path} of {} is {rights}",
            origin.as_deref().unwrap_or("nobody")
        ));
        let _ = write!(entries, " path = {path:?}, mode = \"{mode:04o}\";");
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(hinted(
        format!(
            "checking what gives rights to whoever starts it: {}",
            found.join("; ")
        ),
        format!(
            "name it in the recipe under [[effects.attributes]] with owner, group and the reason, \
             or with a mode that takes the bit away:{}",
            entries.trim_end_matches(';')
        ),
    ))
}

/// What a file gives to whoever starts it.
fn rights(node: &Node) -> Option<String> {
    if !matches!(node.kind, Kind::File(_)) {
        return None;
    }
    let (mode, has) = (
        node.metadata.mode,
        node.metadata.xattrs.contains_key(CAPABILITY),
    );
    match (mode & SET_ID != 0, has) {
        (true, true) => Some(format!("of mode {mode:04o} and has capabilities")),
        (true, false) => Some(format!("of mode {mode:04o}")),
        (false, true) => Some("one with capabilities".to_owned()),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{CAPABILITY, rights};
    use crate::builder::tree::Node;

    #[test]
    fn what_gives_rights_is_told_from_the_rest() {
        let file = |mode| Node::file(mode, *b"x");
        for mode in [0o755, 0o1777, 0o644] {
            assert_eq!(rights(&file(mode)), None);
        }
        for (mode, said) in [(0o4755, "of mode 4755"), (0o2555, "of mode 2555")] {
            assert_eq!(rights(&file(mode)).as_deref(), Some(said));
        }
        let mut able = file(0o755);
        able.metadata.xattrs.insert(CAPABILITY.into(), vec![1]);
        assert_eq!(rights(&able).as_deref(), Some("one with capabilities"));
        let mut folder = Node::directory(0o2755);
        assert_eq!(rights(&folder), None);
        folder.metadata.mode = 0o755;
        assert_eq!(rights(&folder), None);
    }
}
