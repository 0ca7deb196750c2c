//! What an image says of itself: manifest, dpkg status and os-release.
//!
//! Scanners for vulnerabilities read `/var/lib/dpkg/status` and the `ID` of
//! os-release; `ID=debian` therefore stays, and what makes the image ours is
//! said in the fields meant for it
//! (<https://www.freedesktop.org/software/systemd/man/257/os-release.html>).

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Composed, Origin};
use crate::deb::Package;
use crate::lock::Lock;
use crate::recipe::Recipe;
use crate::settings::KEYS;
use crate::tree::{Node, Tree};

/// The manifest inside the image.
pub const MANIFEST_PATH: &str = "usr/share/mailimg/manifest.json";

/// The dpkg status file inside the image; `/var/lib/dpkg/status` leads to it.
const STATUS_PATH: &str = "usr/share/mailimg/dpkg/status";

/// What an image consists of.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Manifest {
    /// Name of the recipe.
    pub name: String,
    /// Version of the image.
    pub version: String,
    /// Debian architecture.
    pub architecture: String,
    /// Time stamp of its files, seconds since 1970.
    pub time: i64,
    /// Kernel version, in a bootable image.
    pub kernel: Option<String>,
    /// dm-verity root hash; known only beside the image, not inside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_hash: Option<String>,
    /// The packages, sorted by name.
    pub packages: Vec<ManifestPackage>,
    /// Keys of `settings.env` that the `mailctl` in the image was made to know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<String>,
    /// Sizes; known only beside the image, not inside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizes: Option<Sizes>,
}

/// Sizes of an image's parts, in bytes.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Sizes {
    /// The root file system.
    pub root: u64,
    /// The kernel.
    pub kernel: u64,
    /// The initrd, compressed.
    pub initrd: u64,
    /// The raw image, holes included.
    pub image: u64,
}

impl Sizes {
    /// Each part with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let Self {
            root,
            kernel,
            initrd,
            image,
        } = *self;
        [
            ("root", root),
            ("kernel", kernel),
            ("initrd", initrd),
            ("image", image),
        ]
        .into_iter()
    }
}

/// A package of a manifest.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct ManifestPackage {
    /// Package name.
    pub name: String,
    /// Debian version.
    pub version: String,
    /// Debian architecture, or `all`.
    pub architecture: String,
    /// Source package, for vulnerability data.
    pub source: String,
    /// SHA-256 of the .deb, hexadecimal.
    pub sha256: String,
    /// The newer version that was on offer and passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_from: Option<String>,
}

/// The manifest of a recipe's packages.
pub fn manifest(
    recipe: &Recipe,
    lock: &Lock,
    packages: &[Package],
    kernel: Option<&str>,
) -> Manifest {
    let mut list: Vec<ManifestPackage> = packages
        .iter()
        .map(|package| ManifestPackage {
            name: package.name.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
            source: super::merge::field(&package.control, "Source")
                .and_then(|source| source.split(' ').next().map(str::to_owned))
                .unwrap_or_else(|| package.name.clone()),
            sha256: lock
                .packages
                .iter()
                .find(|locked| locked.name == package.name)
                .map(|locked| locked.sha256.clone())
                .unwrap_or_default(),
            held_from: lock
                .packages
                .iter()
                .find(|locked| locked.name == package.name)
                .and_then(|locked| Some(locked.held.as_ref()?.offered.clone())),
        })
        .collect();
    list.sort_by(|left, right| left.name.cmp(&right.name));
    Manifest {
        name: recipe.name.clone(),
        version: recipe.version.clone(),
        architecture: recipe.architecture.clone(),
        time: lock.time(),
        kernel: kernel.map(str::to_owned),
        root_hash: None,
        packages: list,
        settings: match recipe.overlay {
            true => KEYS.iter().map(|key| key.name.to_owned()).collect(),
            false => Vec::new(),
        },
        sizes: None,
    }
}

/// Puts the dpkg status into the tree.
pub fn install_status(tree: &mut Tree, installed: &[&Package]) -> Result<()> {
    tree.insert(STATUS_PATH, Node::file(0o644, dpkg_status(installed)))?;
    tree.insert(
        "var/lib/dpkg/status",
        Node::symlink(format!("/{STATUS_PATH}")),
    )
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
