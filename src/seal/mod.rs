//! Sealing: the tree becomes the read-only root image and what boots it.
//!
//! [`erofs`] lays the tree out as a file system image without copying a file,
//! [`verity`] writes it out and seals it with a hash tree, [`initrd`] picks
//! what the first stage of the boot needs. [`elf`] and [`modules`] follow
//! what programs and kernel modules need.

pub mod erofs;
pub mod extents;
pub mod image;
pub mod uki;
pub mod verity;
