//! Sealing: the tree becomes the read-only root image and what boots it.
//!
//! [`erofs`] lays the tree out as a file system image without copying a file,
//! [`verity`] writes it out and seals it with a hash tree. [`initrd`] picks
//! what the first stage of the boot needs, following programs with [`elf`]
//! and kernel modules with [`modules`]; [`cpio`] packs it.

pub mod cpio;
pub mod elf;
pub mod erofs;
pub mod extents;
pub mod image;
pub mod initrd;
pub mod modules;
pub mod uki;
pub mod verity;

#[cfg(test)]
mod tests;
