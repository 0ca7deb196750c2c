//! What test programs share: what `mailimg` and `mailctl` run on, and whom they talk to.
//!
//! `mailimg` runs on a [`bench`], `mailctl` on a [`machine`], which may have the [`outside`]
//! around it. The other modules are for tests with real peers.

#![allow(dead_code, reason = "each program uses a part of it")]

pub mod bench;
pub mod folder_server;
pub mod golden;
pub mod machine;
pub mod network;
pub mod outside;
pub mod peers;
pub mod port;
pub mod process;
pub mod query;
pub mod registry;
pub mod store;
pub mod wait;
