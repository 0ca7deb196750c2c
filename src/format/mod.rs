//! What lies on a disk: formats that the builder writes and a machine reads and replaces.
//!
//! [`gpt`] and [`layout`] say where things lie, [`fat`] is the boot partition, [`uki`] and
//! [`grub`] what starts there, by the names of [`boot_entry`] and the order of
//! [`version_order`]. [`bios`] and [`loader`] are the programs that start it. [`image`] is
//! what of it another machine needs, and [`delta`] how both speak of that; [`update`] is what
//! is said of one that lies in a folder, signed as [`minisign`] does it, its bytes in
//! [`pack`]s, or in a registry as [`oci`] says. [`packages`] is what became of packages. [`verity`] is how a root is sealed.
//! [`storage`] is bytes by position,
//! [`content`] and [`extents`] are bytes by reference.

pub mod bios;
pub mod boot_entry;
pub mod content;
pub mod delta;
pub mod extents;
pub mod fat;
pub mod gpt;
pub mod grub;
pub mod image;
pub mod layout;
pub mod loader;
pub mod minisign;
pub mod oci;
pub mod pack;
pub mod packages;
pub mod storage;
pub mod uki;
pub mod update;
pub mod verity;
pub mod version_order;

/// Name of the settings file in the boot partition's root folder.
pub const SETTINGS_FILE: &str = "settings.env";

/// Largest settings file that an image takes, in bytes.
///
/// Ours: sixteen times a full table of keys with comments, and twice of it
/// (see [`fat::WrittenVolume::editable`]) fits the space kept free for edits.
pub const SETTINGS_LIMIT: usize = 64 << 10;

/// Largest root certificate that an image takes beside them, in bytes.
pub const AUTHORITY_LIMIT: usize = crate::settings::MAXIMUM_AUTHORITY_BYTES;
