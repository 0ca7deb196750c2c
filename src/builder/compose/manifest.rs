//! The manifest of an image: what it consists of, as JSON inside it and beside it.

use serde::{Deserialize, Serialize};

use super::merge::field;
use crate::builder::deb::Package;
use crate::builder::lock::Lock;
use crate::builder::recipe::Recipe;
use crate::format::update::BootFile;
use crate::settings::KEYS;

/// The manifest inside the image.
pub const MANIFEST_PATH: &str = "usr/share/mailimg/manifest.json";

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
    /// Files of the boot partition but settings, sorted by path; known only beside the
    /// image, not inside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub boot: Vec<BootFile>,
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
            source: field(&package.control, "Source")
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
        boot: Vec::new(),
    }
}
