//! `mailctl acme` and `mailctl cert` against Pebble, the CA that Let's Encrypt tests with.
//!
//! All of it runs on loopback, with ports of its own. Pebble is Debian 13's,
//! fetched by `recipes/peers.lock`.

mod clock;
mod issue;
mod name_server;
mod renew;
mod trouble;
mod web;
mod world;

/// The machine's name.
const HOST: &str = "mail.wombat.example";
