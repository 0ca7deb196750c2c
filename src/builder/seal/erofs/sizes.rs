//! Sizes that the whole format is made of.

/// Block size in bytes: the page size of the machines we build for.
pub const BLOCK: u64 = 4096;
/// The unit of inode numbers within the metadata area, in bytes.
pub const SLOT: u64 = 32;
/// Longest target of a symbolic link, limits.h's PATH_MAX less the NUL.
pub const TARGET_MAX: usize = 4095;
