//! The part of a build that is a container: tree, then archive.

use std::path::Path;

use anyhow::Result;

use crate::builder::bill::install_bill;
use crate::builder::command::workbench::Workbench;
use crate::builder::compose::{
    Composed, Container, compose_container, finish_container, install_version,
};
use crate::builder::deb::Package;
use crate::builder::lock::Lock;
use crate::builder::recipe::Recipe;
use crate::builder::write::atomic::{Output, Privacy, explain};
use crate::builder::write::oci::{OciImage, write_oci};

/// The container of a composed machine, with version and bill of materials of its own.
///
/// The recipe is that of this one image, its version included.
pub fn make_container(
    recipe: &Recipe,
    composed: &Composed,
    packages: &[Package],
    lock: &Lock,
    workbench: &Workbench,
) -> Result<Container> {
    let mut composed = compose_container(recipe, composed, packages, &workbench.resources)?;
    install_version(&mut composed, recipe)?;
    install_bill(&mut composed, packages, lock)?;
    finish_container(recipe, composed)
}

/// Writes the archive, which waits for its name.
pub fn write_archive(
    recipe: &Recipe,
    container: &Container,
    time: i64,
    path: &Path,
    workbench: &Workbench,
) -> Result<Output> {
    let output = Output::create(path, Privacy::Public)?;
    let image = OciImage {
        container,
        name: &recipe.name,
        version: &recipe.version,
        architecture: &recipe.architecture,
        time,
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = write_oci(&image, folder, output.file()).map_err(|error| explain(error, path))?;
    for (name, size) in &written.layers {
        workbench
            .progress
            .note(&format!("layer of {:.1} MB: {name}", *size as f64 / 1e6));
    }
    workbench
        .progress
        .note(&format!("image {}", written.digest));
    Ok(output)
}
