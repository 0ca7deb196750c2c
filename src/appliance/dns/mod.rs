//! `mailctl dns`: which records to publish, whether they are, and publishing them.
//!
//! ```text
//! settings, keys, certificate ─► Facts ─► Expected ─► records   (printed)
//!                                            │
//!                    name servers ─► View ───┼─────► check     (compared)
//!                                            └─────► publish   (sent)
//! ```
//!
//! Answers come from the name servers of each zone themselves, not from a cache.

mod address;
mod amend;
mod authority;
mod check;
mod command;
mod configuration;
mod data;
mod exchange;
mod expected;
mod facts;
mod publish;
mod update;
mod zone;
mod zone_text;

pub use command::{DnsVerb, run_dns};
pub use configuration::ensure_configuration;
