//! `mailctl` as units and people call it, on a folder that stands for the machine: one
//! file or folder for each subject.

mod aliases;
mod callers;
mod cert;
mod cloud;
mod container;
mod dkim;
mod dns;
mod full_disk;
mod guard;
mod import;
mod monitoring;
mod render;
mod settings;
mod state;
mod sts;
mod trust;
mod users;
mod web;

#[path = "../world/mod.rs"]
mod world;
