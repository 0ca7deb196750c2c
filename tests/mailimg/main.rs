//! `mailimg` as a user runs it: one file or folder for each subject.

mod bad_input;
mod bill;
mod bios;
mod boot_partition;
mod current;
mod damage;
mod diff;
mod hosts;
mod image;
mod install;
mod oci;
mod registry;
mod reproducible;
mod upgrade;

#[path = "../world/mod.rs"]
mod world;
