//! Sealing: the tree becomes the read-only root image and what boots it.
//!
//! [`erofs`] lays the tree out as a file system image without copying a file,
//! [`verity`](crate::format::verity) writes it out and seals it with a hash tree. [`initrd`] picks
//! what the first stage of the boot needs, following programs with [`crate::builder::elf`]
//! and kernel modules with [`kmod`](crate::builder::kmod); [`cpio`] packs it.
//! [`uki`](crate::format::uki) is what UEFI starts, [`grub`] what BIOS does.

pub mod cpio;
pub mod erofs;
pub mod grub;
pub mod image;
pub mod initrd;

#[cfg(test)]
mod tests;
