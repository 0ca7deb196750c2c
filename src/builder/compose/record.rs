//! What an image says of itself: dpkg status, os-release, and the version in all of them.
//!
//! Scanners for vulnerabilities read `/var/lib/dpkg/status` and the `ID` of
//! os-release; `ID=debian` therefore stays, and what makes the image ours is
//! said in the fields meant for it
//! (<https://www.freedesktop.org/software/systemd/man/257/os-release.html>).

use std::fmt::Write as _;

use anyhow::{Context, Result};

use super::composed::Composed;
use super::manifest::MANIFEST_PATH;
use super::origin::Origin;
use crate::builder::deb::Package;
use crate::builder::recipe::Recipe;
use crate::builder::tree::{Node, Tree};

/// The dpkg status file inside the image; `/var/lib/dpkg/status` leads to it.
const STATUS_PATH: &str = "usr/share/mailimg/dpkg/status";
/// The public keys inside the image, which `mailctl upgrade` reads.
const UPDATE_KEYS_PATH: &str = "usr/share/mailimg/update-keys";

/// Puts the dpkg status into the tree.
pub fn install_status(tree: &mut Tree, installed: &[&Package]) -> Result<()> {
    tree.insert(STATUS_PATH, Node::file(0o644, dpkg_status(installed)))?;
    tree.insert(
        "var/lib/dpkg/status",
        Node::symlink(format!("/{STATUS_PATH}")),
    )
}

/// Puts the keys into the tree that may sign what comes after this image.
pub fn install_update_keys(tree: &mut Tree, recipe: &Recipe) -> Result<()> {
    if recipe.update.keys.is_empty() {
        return Ok(());
    }
    let lines = recipe.update.keys.iter().map(|key| format!("{key}\n"));
    let text = format!(
        "# Who may sign updates of this machine; [update] of the recipe.\n{}",
        lines.collect::<String>()
    );
    tree.insert(UPDATE_KEYS_PATH, Node::file(0o644, text))
}

/// Writes the image's version, that of the recipe given, where the image says
/// it: manifest and os-release.
///
/// The last step, because the version tells what the image consists of.
pub fn install_version(composed: &mut Composed, recipe: &Recipe) -> Result<()> {
    composed.manifest.version.clone_from(&recipe.version);
    // Recipes without it have Debian's files and no more.
    if recipe.scripts_file.is_none() {
        return Ok(());
    }
    let tree = &mut composed.tree;
    let text = serde_json::to_string_pretty(&composed.manifest)? + "\n";
    tree.insert(MANIFEST_PATH, Node::file(0o644, text))?;
    let release = tree
        .content("usr/lib/os-release")
        .context("finding os-release")?
        .read()?;
    let release = os_release(&String::from_utf8_lossy(&release), recipe);
    tree.insert("usr/lib/os-release", Node::file(0o644, release))?;
    for path in [MANIFEST_PATH, "usr/lib/os-release"] {
        composed.origins.set(path, Origin::Builder);
    }
    Ok(())
}

fn dpkg_status(installed: &[&Package]) -> String {
    let mut packages = installed.to_vec();
    packages.sort_by(|left, right| left.name.cmp(&right.name));
    let mut text = String::new();
    for package in packages {
        let control = package.control.trim_end();
        let (first, rest) = control.split_once('\n').unwrap_or((control, ""));
        let _ = write!(text, "{first}\nStatus: install ok installed\n{rest}\n\n");
    }
    text
}

fn os_release(debian: &str, recipe: &Recipe) -> String {
    let mut text = String::new();
    for line in debian.lines() {
        if line.starts_with("PRETTY_NAME=") {
            let pretty = debian_name(debian);
            let _ = writeln!(
                text,
                "PRETTY_NAME=\"mailimg {} ({pretty})\"",
                recipe.version
            );
        } else {
            let _ = writeln!(text, "{line}");
        }
    }
    let _ = writeln!(text, "VARIANT=\"mailimg\"\nVARIANT_ID=mailimg");
    let _ = writeln!(
        text,
        "IMAGE_ID={}\nIMAGE_VERSION={}",
        recipe.name, recipe.version
    );
    text
}

fn debian_name(debian: &str) -> String {
    debian
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or_else(
            || "Debian".to_owned(),
            |name| name.trim_matches('"').to_owned(),
        )
}
