//! `mailctl sts`, asked as Postfix asks, about domains of every kind.

#[path = "../machine/mod.rs"]
mod machine;
#[path = "../outside/mod.rs"]
mod outside;

mod policy;
mod report;
mod world;
