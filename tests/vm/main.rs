//! Tests with machines: the real image in QEMU, in a network of their own.
//!
//! They need root, and the programs that [`world::peers`] names. The image is the
//! file that `MAILIMG_IMAGE` names, as `mailimg build` made it (raw).
//!
//! ```text
//! MAILIMG_IMAGE=out/mail_VERSION.raw cargo test --test vm -- --nocapture
//! ```
//!
//! A test begins with [`world::network::inside`]; [`site::Site`] is the world around
//! the machines, [`disk::Disk`] and [`machine::Machine`] are the machines.
//! [`container::Container`] is the image without a machine, and without emulation;
//! [`engine::Engine`] has the image for container engines.

mod bios;
mod boots_and_delivers;
mod certificate;
mod certificates;
mod clock;
mod cloud;
mod container;
mod containers;
mod dhcp;
mod disk;
mod dkim;
mod dns;
mod engine;
mod hello;
mod hostile;
mod https;
mod imap;
mod install;
mod machine;
mod managesieve;
mod pebble;
mod power_cut;
mod promises;
mod qmp;
mod quadlet;
mod resolver;
mod self_test;
mod served;
mod sink;
mod site;
mod small_guest;
mod smtp;
mod ssh;
mod tls_scan;
mod upgrade;
mod wire;
mod write_log;

#[path = "../world/mod.rs"]
mod world;
