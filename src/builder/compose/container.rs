//! From a composed machine to a container: the same tree without what starts a machine.
//!
//! `[container]` of the recipe names the packages and paths that a container has no use
//! for, and `units/masked-in-container` the units that own a host. The kernel, and what
//! feeds boot partition and initrd, go whatever it says. Nothing else differs, so a
//! container's `/var` and a machine's are the same.
//!
//! The paths lie in layers by what brought them, so that what changes often is small.

use anyhow::{Context, Result};

use super::composed::{Composed, MAILCTL_PATH};
use super::manifest::Manifest;
use super::merge::glob_set;
use super::origin::{Attributed, Origin, Origins};
use super::record::install_status;
use super::resources::{Resources, mask_units_of_containers};
use crate::builder::deb::Package;
use crate::builder::elf;
use crate::builder::recipe::{ContainerParts, Recipe};
use crate::builder::tree::{Kind, Node, Tree};
use crate::error::hinted;

/// Where a container engine looks for the first process.
const FIRST_PROCESS: &str = "usr/sbin/init";

/// A group of paths that change together, in the order in which they lie on each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Debian's packages.
    System,
    /// Those of them that the recipe sets apart.
    Services,
    /// `mailctl`.
    Program,
    /// Overlay, units and what the builder makes.
    Configuration,
}

impl Layer {
    /// All, from the lowest.
    const ALL: [Self; 4] = [
        Self::System,
        Self::Services,
        Self::Program,
        Self::Configuration,
    ];

    /// What is in it.
    pub fn describe(self) -> &'static str {
        match self {
            Self::System => "Debian's packages",
            Self::Services => "packages of services",
            Self::Program => "mailctl",
            Self::Configuration => "overlay, units and records",
        }
    }
}

/// The tree of a container.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its root.
    pub tree: Tree,
    /// What brought each path of it.
    pub origins: Origins,
    /// What it consists of.
    pub manifest: Manifest,
    /// Ports that it listens on, `25/tcp`.
    pub ports: Vec<String>,
    /// The command that tells whether it is well.
    pub health_check: Option<Vec<String>>,
    /// Packages with a layer of their own.
    services: Vec<String>,
}

impl Container {
    /// The layers that have something in them, from the lowest.
    pub fn layers(&self) -> Vec<Layer> {
        let has_paths = |layer: &Layer| {
            let mut paths = self.tree.iter();
            paths.any(|(path, _)| self.layer(path) == *layer)
        };
        Layer::ALL.into_iter().filter(has_paths).collect()
    }

    /// The layer of a path; of several names of one file all have the same.
    pub fn layer(&self, path: &str) -> Layer {
        let path = match self.tree.get(path).map(|node| &node.kind) {
            Some(Kind::HardLink(target)) => target,
            _ => path,
        };
        match self.origins.get(path) {
            Some(Origin::Package(name)) if self.services.contains(name) => Layer::Services,
            Some(Origin::Package(_)) => Layer::System,
            Some(Origin::Mailctl) => Layer::Program,
            Some(Origin::Overlay | Origin::Units | Origin::Builder) | None => Layer::Configuration,
        }
    }
}

/// Takes out of a machine's tree what a container has no use for.
pub fn compose_container(
    recipe: &Recipe,
    composed: &Composed,
    packages: &[Package],
    resources: &Resources,
) -> Result<Composed> {
    let parts = parts(recipe)?;
    let left_out = glob_set(&parts.without)?;
    let stripped = glob_set(&parts.strip)?;
    for pattern in &parts.without {
        let one = glob_set(std::slice::from_ref(pattern))?;
        if !packages.iter().any(|package| one.is_match(&package.name)) {
            return Err(hinted(
                format!("leaving out {pattern} in the container: the lock has no such package"),
                "take it out of `without` in the recipe's [container], or correct its name",
            ));
        }
    }
    let is_boot = is_boot_package(recipe)?;
    let is_gone = |name: &str| left_out.is_match(name) || is_boot(name);

    let mut tree = composed.tree.clone();
    let gone: Vec<&str> = composed
        .origins
        .iter()
        .filter(|(path, origin)| match origin {
            _ if stripped.is_match(path) => true,
            Origin::Package(name) => is_gone(name),
            _ => false,
        })
        .map(|(path, _)| path)
        .collect();
    // From below, so that a folder of several packages stays as long as one has something in it.
    for path in gone.into_iter().rev() {
        let is_folder = tree.get(path).is_some_and(Node::is_directory);
        if !is_folder || tree.below(path).next().is_none() {
            tree.remove(path);
        }
    }
    let origin = |path: &str| composed.origins.get(path).cloned();
    let mut tree = Attributed::new(tree, |path| origin(path).unwrap_or(Origin::Builder));
    let installed: Vec<&Package> = packages
        .iter()
        .filter(|package| !is_gone(&package.name))
        .collect();
    tree.step(Origin::Units, |tree| {
        mask_units_of_containers(tree, resources)
    })?;
    tree.step(Origin::Builder, |tree| {
        if recipe.scripts_file.is_some() {
            install_status(tree, &installed)?;
        }
        if tree.contains(MAILCTL_PATH) {
            // Before systemd somebody has to look whether it can run at all.
            tree.remove(FIRST_PROCESS);
            tree.insert(FIRST_PROCESS, Node::symlink("../bin/mailctl"))?;
        }
        Ok(())
    })?;
    elf::check_tree(&tree).context("checking that the container has every library")?;
    let (tree, origins) = tree.into_parts();
    let mut manifest = composed.manifest.clone();
    manifest.kernel = None;
    manifest.packages.retain(|package| !is_gone(&package.name));
    Ok(Composed {
        tree,
        origins,
        build_only: Tree::default(),
        kernel_version: None,
        manifest,
    })
}

/// A composed container with everything that its image says of it.
pub fn finish_container(recipe: &Recipe, composed: Composed) -> Result<Container> {
    let parts = parts(recipe)?;
    let services = glob_set(&parts.services)?;
    let names = composed
        .manifest
        .packages
        .iter()
        .map(|package| &package.name);
    Ok(Container {
        services: names
            .filter(|name| services.is_match(name))
            .cloned()
            .collect(),
        tree: composed.tree,
        origins: composed.origins,
        manifest: composed.manifest,
        ports: parts.ports.clone(),
        health_check: (!parts.health_check.is_empty()).then(|| parts.health_check.clone()),
    })
}

fn parts(recipe: &Recipe) -> Result<&ContainerParts> {
    recipe.container.as_ref().ok_or_else(|| {
        hinted(
            format!(
                "making a container of {}: the recipe has no [container]",
                recipe.name
            ),
            "build another recipe, `mailimg build mail --format oci`, or add a [container] table \
             to this one",
        )
    })
}

/// Whether a package is the kernel, or feeds only boot partition and initrd.
fn is_boot_package(recipe: &Recipe) -> Result<impl Fn(&str) -> bool> {
    let image = recipe.image.as_ref();
    let kernel = image.map(|image| image.kernel_package.clone());
    let kernel = glob_set(kernel.as_slice())?;
    let build_only = image.map_or_else(Vec::new, |image| image.build_only.clone());
    Ok(move |name: &str| kernel.is_match(name) || build_only.iter().any(|one| one == name))
}
