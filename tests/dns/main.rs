//! `mailctl dns` against a real Knot, in a network of its own.
//!
//! Needs root for the network namespace, as the tests with machines do, and
//! shares their network and their peers; no machine is booted.

mod advice;
mod faults;
mod knot;
mod publish;
mod servers;
mod site;
mod unbound;

#[path = "../world/mod.rs"]
mod world;
