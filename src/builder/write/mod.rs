//! Writing: from sealed parts to the files a user takes away.
//!
//! Every byte is ours: no partitioning tool, no mkfs, no loop device, no root.
//! [`disk`] fixes the layout, [`image`] fills it, with [`bios`] for what starts on old
//! firmware; [`qcow2`] is the same disk for hypervisors; [`oci`] is the tree without
//! what starts a machine, for container engines. [`ignition`] has what a host needs that
//! runs the image as a container, [`kube`] what a cluster needs; [`yaml`] writes such files.
//! [`atomic`] gives each output its final name only when it is whole.

pub mod atomic;
pub mod bios;
pub mod disk;
pub mod ignition;
pub mod image;
pub mod kube;
pub mod layered;
pub mod oci;
pub mod opened;
pub mod qcow2;
pub mod yaml;
