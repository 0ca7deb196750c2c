//! `mailctl acme` and `mailctl cert` against Pebble, the CA that Let's Encrypt tests with.
//!
//! All of it runs on loopback, with ports of its own. Pebble is Debian 13's,
//! fetched by `recipes/peers.lock`.

#[path = "../machine/mod.rs"]
mod machine;
mod name_server;
#[path = "../vm/peers.rs"]
#[allow(dead_code, reason = "the machines' tests use the rest")]
mod peers;
#[path = "../vm/process.rs"]
#[allow(dead_code, reason = "the machines' tests use the rest")]
mod process;
#[path = "../vm/store.rs"]
mod store;
mod web;
mod world;

mod issue;
mod renew;
mod trouble;

/// The machine's name.
const HOST: &str = "mail.wombat.example";
