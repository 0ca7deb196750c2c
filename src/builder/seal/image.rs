//! Sealing: a composed tree becomes a root image plan, a kernel and an initrd.
//!
//! Nothing large is copied here: the root is a plan ([`Extents`]) that is
//! hashed while it is written.

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::cpio::{compress_initrd, write_cpio};
use super::erofs::plan_erofs;
use super::grub::make_grub;
use super::initrd::make_initrd_tree;
use crate::builder::compose::{Composed, Manifest, Origin, Resources, enable_units};
use crate::builder::fetch::Cache;
use crate::builder::recipe::Recipe;
use crate::builder::tree::{Node, Tree};
use crate::format::bios::Grub;
use crate::format::extents::Extents;
use crate::format::loader::{GRUB_FILES, LOADER_FILE};

/// Where Debian's systemd-boot-efi keeps loader and stub.
const LOADER: &str = "usr/lib/systemd/boot/efi/systemd-bootx64.efi";
/// The package of GRUB's parts.
const GRUB_PACKAGE: &str = "grub-pc-bin";
const STUB: &str = "usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// All that is written to a disk, before it is.
#[derive(Debug)]
pub struct Sealed {
    /// The root file system.
    pub root: Extents,
    /// dm-verity salt, the same for the same recipe name.
    pub salt: [u8; 32],
    /// The kernel.
    pub kernel: Vec<u8>,
    /// Its version.
    pub kernel_version: String,
    /// The initrd, compressed.
    pub initrd: Vec<u8>,
    /// os-release, for the boot menu.
    pub os_release: Vec<u8>,
    /// systemd-boot.
    pub loader: Vec<u8>,
    /// systemd-stub.
    pub stub: Vec<u8>,
    /// What BIOS starts, if the recipe has it.
    pub grub: Option<Grub>,
    /// What the image consists of.
    pub manifest: Manifest,
    /// Time stamp of every file, seconds since 1970.
    pub time: i64,
}

/// Seals a composed image.
pub fn seal(
    recipe: &Recipe,
    composed: Composed,
    loaders: Loaders,
    resources: &Resources,
    cache: &Cache,
    time: i64,
) -> Result<Sealed> {
    let image = recipe
        .image
        .as_ref()
        .context("sealing: the recipe has no [image]")?;
    let Composed {
        mut tree,
        build_only,
        kernel_version,
        manifest,
        ..
    } = composed;
    let kernel_version = kernel_version.context("sealing: the tree has no kernel")?;
    let stub = read(&build_only, STUB)?;
    let os_release = read(&tree, "usr/lib/os-release")?;

    let mut own = resources.initrd_tree()?;
    enable_units(&mut own).context("enabling the initrd's units")?;
    own.insert("etc/initrd-release", Node::file(0o644, os_release.clone()))?;
    let initrd_tree = make_initrd_tree(&tree, &image.initrd, &kernel_version, &own)
        .context("making the initrd")?;
    let initrd = cached_initrd(&initrd_tree, cache)?;

    // The kernel lies on the boot partition, for every boot loader to read.
    let kernel_path = format!("boot/vmlinuz-{kernel_version}");
    let kernel = read(&tree, &kernel_path)?;
    for path in [kernel_path, format!("boot/System.map-{kernel_version}")] {
        tree.remove(&path);
    }
    // The same for every version: an upgrade finds the blocks that it has by their hashes.
    let salt = derive(&format!("verity salt {}", recipe.name));
    let root_uuid = uuid_from(&derive(&format!("root {} {}", recipe.name, recipe.version)));
    let root = plan_erofs(&tree, u64::try_from(time)?, root_uuid)
        .context("laying out the root file system")?;
    Ok(Sealed {
        root,
        salt,
        kernel,
        kernel_version,
        initrd,
        os_release,
        loader: loaders.systemd_boot,
        stub,
        grub: loaders.grub,
        manifest,
        time,
    })
}

/// The version of a package; nothing when another one has its files.
fn version_of(manifest: &Manifest, name: &str) -> String {
    let mut packages = manifest.packages.iter();
    let found = packages.find(|package| package.name == name);
    found
        .map(|package| package.version.clone())
        .unwrap_or_default()
}

/// What starts the kernel.
#[derive(Debug)]
pub struct Loaders {
    /// systemd-boot.
    pub systemd_boot: Vec<u8>,
    /// What BIOS starts, if the recipe has it.
    pub grub: Option<Grub>,
}

/// Puts the boot loaders into the root, from where an upgrade renews those of the disk.
pub fn install_loaders(composed: &mut Composed) -> Result<Loaders> {
    let version = version_of(&composed.manifest, GRUB_PACKAGE);
    let loaders = Loaders {
        systemd_boot: read(&composed.build_only, LOADER)?,
        grub: make_grub(&composed.build_only, &version)?,
    };
    let mut insert = |path: &str, bytes: &[u8]| {
        let path = path.trim_start_matches('/');
        let node = Node::file(0o644, bytes.to_vec());
        composed.origins.set(path, Origin::Builder);
        composed
            .tree
            .insert(path, node)
            .with_context(|| format!("putting /{path} into the root"))
    };
    insert(LOADER_FILE, &loaders.systemd_boot)?;
    if let Some(grub) = &loaders.grub {
        let version = format!("{}\n", grub.version);
        let contents = [&grub.boot_sector, &grub.core_image, version.as_bytes()];
        for (path, bytes) in GRUB_FILES.into_iter().zip(contents) {
            insert(path, bytes)?;
        }
    }
    Ok(loaders)
}

fn read(tree: &Tree, path: &str) -> Result<Vec<u8>> {
    let content = tree
        .content(path)
        .with_context(|| format!("finding /{path}"))?;
    content.read().with_context(|| format!("reading /{path}"))
}

/// Compressing is the one slow step that rarely changes, so its result is
/// kept, behind its own digest.
fn cached_initrd(tree: &Tree, cache: &Cache) -> Result<Vec<u8>> {
    const DIGEST: usize = 32;
    let archives = write_cpio(tree).context("making the initrd")?;
    let digest = Sha256::digest(archives.concat());
    let path = cache.derived_path(&hex::encode(digest), "initrd.v2")?;
    if let Ok(kept) = std::fs::read(&path)
        && let Some((digest, bytes)) = kept.split_at_checked(DIGEST)
        && digest == Sha256::digest(bytes).as_slice()
    {
        return Ok(bytes.to_vec());
    }
    let bytes = compress_initrd(&archives).context("compressing the initrd")?;
    let kept = [Sha256::digest(&bytes).as_slice(), &bytes].concat();
    cache.store(&path, &kept)?;
    Ok(bytes)
}

/// Bytes that look random and are the same for the same text.
pub fn derive(text: &str) -> [u8; 32] {
    Sha256::digest(format!("mailimg {text}")).into()
}

/// A version 8 UUID (RFC 9562, 5.8: custom) of the first bytes.
pub fn uuid_from(bytes: &[u8]) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&bytes[..16]);
    uuid[6] = (uuid[6] & 0x0f) | 0x80;
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
    uuid
}
