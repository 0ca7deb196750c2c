//! What composing comes to, which is sealed next.

use super::manifest::Manifest;
use super::origin::Origins;
use crate::builder::tree::Tree;

/// Where `mailctl` lies in the image.
pub const MAILCTL_PATH: &str = "usr/bin/mailctl";

/// A composed image: the root tree, and what only boot partition and initrd need.
#[derive(Clone, Debug)]
pub struct Composed {
    /// The root file system.
    pub tree: Tree,
    /// What brought each path of it.
    pub origins: Origins,
    /// Files of the recipe's build-only packages.
    pub build_only: Tree,
    /// Kernel version, when the recipe makes a bootable image.
    pub kernel_version: Option<String>,
    /// What the image consists of.
    pub manifest: Manifest,
}
