//! Composing: packages, our overlay and our units become one tree.
//!
//! What maintainer scripts would have done is applied as declared effects;
//! nothing of a package is ever run. The steps are in [`compose`], in order,
//! and each can fail the build by name rather than be skipped.

mod accounts;
mod certificates;
mod composed;
mod container;
mod effects;
mod factory;
mod image_version;
mod manifest;
mod merge;
mod origin;
mod presets;
mod privileged;
mod record;
mod resources;
mod review;

pub use composed::{Composed, MAILCTL_PATH};
pub use container::{Container, Layer, compose_container, finish_container};
pub use factory::FACTORY;
pub use image_version::{check_room, image_version};
pub use manifest::{MANIFEST_PATH, Manifest, ManifestPackage, Sizes};
pub use merge::field;
pub use origin::{Attributed, Origin, Origins};
pub use presets::{enable_units, enabled_units};
pub use record::install_version;
pub use resources::Resources;
pub use review::{Review, Unreviewed, UnreviewedScripts, read_scripts, review_scripts};

use anyhow::{Context, Result};

use super::deb::Package;
use super::lock::Lock;
use super::recipe::Recipe;
use super::tree::{Node, Tree};
use super::{elf, kmod};

/// What an image is composed of besides its packages.
#[derive(Debug)]
pub struct Ingredients<'a> {
    /// Overlay and units.
    pub resources: &'a Resources,
    /// The `mailctl` program, already checked for a path of its own; absent
    /// for recipes without an overlay.
    pub mailctl: Option<Vec<u8>>,
    /// The lock that the packages came from.
    pub lock: &'a Lock,
}

/// Composes the root tree of a recipe from unpacked packages.
///
/// It does not say its version yet: [`image_version()`] tells it from the
/// content, and [`install_version`] writes it down.
pub fn compose(
    recipe: &Recipe,
    packages: &[Package],
    ingredients: &Ingredients,
) -> Result<Composed> {
    let review = match recipe.scripts_file {
        Some(_) => review::check_scripts(recipe, packages)?,
        None => Review::default(),
    };
    let build_only_names = recipe
        .image
        .as_ref()
        .map_or(&[][..], |image| &image.build_only);
    let (aside, installed): (Vec<&Package>, Vec<&Package>) = packages
        .iter()
        .partition(|package| build_only_names.contains(&package.name));
    let (build_only, _) = merge::merge_packages(&aside, &recipe.strip)?.into_parts();
    let mut tree = merge::merge_packages(&installed, &recipe.strip)?;

    let kernel_version = match &recipe.image {
        Some(image) => {
            let version = kernel_version(&tree, &image.kernel_package)?;
            tree.step(Origin::Builder, |tree| {
                kmod::install_module_indexes(tree, &version)
            })
            .with_context(|| format!("indexing the modules of kernel {version}"))?;
            Some(version)
        }
        None => None,
    };
    let manifest = manifest::manifest(
        recipe,
        ingredients.lock,
        packages,
        kernel_version.as_deref(),
    );
    if recipe.scripts_file.is_some() {
        tree.step(Origin::Builder, |tree| {
            certificates::install_certificates(tree)?;
            accounts::install_accounts(tree, &recipe.accounts)?;
            record::install_status(tree, &installed)
        })?;
    }
    if recipe.overlay {
        let resources = ingredients.resources;
        tree.step(Origin::Overlay, |tree| {
            resources::install_overlay(tree, resources)
        })?;
        tree.step(Origin::Units, |tree| {
            resources::install_units(tree, resources)
        })?;
    }
    tree.step(Origin::Builder, |tree| {
        record::install_update_keys(tree, recipe)?;
        effects::apply_effects(tree, recipe)
    })?;
    if let Some(mailctl) = &ingredients.mailctl {
        elf::check_runs_in(mailctl, &tree).context("checking mailctl against the image")?;
        tree.step(Origin::Mailctl, |tree| {
            tree.insert(MAILCTL_PATH, Node::file(0o755, mailctl.clone()))
        })?;
    }
    if recipe.image.is_some() {
        tree.step(Origin::Builder, presets::enable_units)?;
        review::check_effects(&tree, recipe, packages, &review.effects)?;
        tree.step(Origin::Builder, factory::move_var)?;
        accounts::check_accounts(&tree, &recipe.accounts)?;
        elf::check_tree(&tree)
            .context("checking that every library is found without ld.so.cache")?;
    }
    let (tree, origins) = tree.into_parts();
    if recipe.image.is_some() {
        privileged::check_privileged(&tree, &origins, recipe)?;
    }
    Ok(Composed {
        tree,
        origins,
        build_only,
        kernel_version,
        manifest,
    })
}

/// The version of the one kernel in the tree, by its folder of modules.
fn kernel_version(tree: &Tree, package: &str) -> Result<String> {
    const MODULES: &str = "usr/lib/modules";
    let mut versions = tree
        .below(MODULES)
        .filter_map(|(path, _)| path[MODULES.len() + 1..].split('/').next())
        .collect::<Vec<_>>();
    versions.dedup();
    match versions[..] {
        [version] => Ok(version.to_owned()),
        [] => anyhow::bail!("finding the kernel: no package {package} brought modules"),
        _ => anyhow::bail!(
            "finding the kernel: more than one version: {}",
            versions.join(", ")
        ),
    }
}
