//! Writing: from sealed parts to the files a user takes away.
//!
//! Every byte is ours: no partitioning tool, no mkfs, no loop device, no root.
//! [`disk`] fixes the layout, [`gpt`] writes its table, [`fat`] its boot
//! partition, [`bios`] what starts on old firmware, [`qcow2`] the same disk for
//! hypervisors. [`atomic`] gives each output its final name only when it is whole.

pub mod atomic;
pub mod bios;
pub mod disk;
pub mod fat;
pub mod gpt;
pub mod image;
pub mod layered;
pub mod opened;
pub mod qcow2;
pub mod storage;

/// Name of the settings file in the boot partition's root folder.
pub const SETTINGS_FILE: &str = "settings.env";

/// Largest settings file that an image takes, in bytes.
///
/// Ours: sixteen times a full table of keys with comments, and twice of it
/// (see [`fat::WrittenVolume::editable`]) fits the space kept free for edits.
pub const SETTINGS_LIMIT: usize = 64 << 10;

/// Largest root certificate that an image takes beside them, in bytes.
pub const AUTHORITY_LIMIT: usize = crate::settings::MAXIMUM_AUTHORITY_BYTES;
