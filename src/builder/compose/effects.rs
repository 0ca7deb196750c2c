//! Declared effects: owners, modes, links and folders of the recipe.

use anyhow::{Context, Result, bail};

use super::accounts::{gid_of, uid_of};
use crate::builder::recipe::{Attributes, Recipe};
use crate::builder::tree::{Kind, Metadata, Node, Tree};

/// Applies the recipe's effects; one that no longer fits the tree is an error.
pub fn apply_effects(tree: &mut Tree, recipe: &Recipe) -> Result<()> {
    for effect in &recipe.effects.directories {
        let metadata = metadata(recipe, effect)?;
        match tree.get_mut(&effect.path) {
            Some(node) if node.is_directory() => node.metadata = metadata,
            Some(_) => bail!("making folder /{}: something else is there", effect.path),
            None => tree.insert(
                &effect.path,
                Node {
                    metadata,
                    kind: Kind::Directory,
                },
            )?,
        }
    }
    for effect in &recipe.effects.attributes {
        let metadata = metadata(recipe, effect)?;
        let path = match tree.get(&effect.path).map(|node| &node.kind) {
            Some(Kind::HardLink(target)) => target.clone(),
            Some(_) => effect.path.clone(),
            None => bail!(
                "setting the owner and mode of /{}: it is not there",
                effect.path
            ),
        };
        if let Some(node) = tree.get_mut(&path) {
            // A capability stays: it comes with the package's own archive.
            node.metadata = Metadata {
                xattrs: node.metadata.xattrs.clone(),
                ..metadata
            };
        }
    }
    for effect in &recipe.effects.links {
        if tree.get(&effect.path).is_some_and(Node::is_directory) {
            bail!("linking /{}: a folder is there", effect.path);
        }
        tree.remove(&effect.path);
        tree.insert(&effect.path, Node::symlink(effect.target.clone()))?;
    }
    Ok(())
}

fn metadata(recipe: &Recipe, effect: &Attributes) -> Result<Metadata> {
    let describe = || format!("setting the owner and mode of /{}", effect.path);
    let mode = u16::from_str_radix(&effect.mode, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .with_context(|| format!("{}: mode {} is not octal", describe(), effect.mode))?;
    Ok(Metadata {
        uid: uid_of(&recipe.accounts, &effect.owner).with_context(describe)?,
        gid: gid_of(&recipe.accounts, &effect.group).with_context(describe)?,
        ..Metadata::root(mode)
    })
}
