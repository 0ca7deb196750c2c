//! `mailctl dns` against a real Knot, in a network of its own.
//!
//! Needs root for the network namespace, as the tests with machines do, and
//! shares their network and their peers; no machine is booted.

#[path = "../machine/mod.rs"]
mod machine;
#[path = "../vm/network.rs"]
#[allow(dead_code)]
mod network;
#[path = "../vm/peers.rs"]
#[allow(dead_code)]
mod peers;
#[path = "../vm/process.rs"]
#[allow(dead_code)]
mod process;
#[path = "../vm/query.rs"]
#[allow(dead_code)]
mod query;
#[path = "../vm/store.rs"]
mod store;
#[path = "../vm/wait.rs"]
mod wait;

mod faults;
mod knot;
mod publish;
mod servers;
mod unbound;
mod world;
