//! `mailimg diff` and the bill of materials, as a user runs them.

mod bill;
mod diff;

#[path = "../support/mod.rs"]
mod support;
