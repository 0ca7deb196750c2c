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

pub mod address;
pub mod amend;
pub mod check;
pub mod configuration;
pub mod data;
pub mod expected;
pub mod facts;
pub mod name_servers;
pub mod policy;
pub mod publish;
pub mod update;
pub mod zone;
pub mod zone_text;

pub use configuration::configure;

/// The unit that publishes our records, if the settings name where.
pub const UNIT: &str = "mailimg-dns.service";
