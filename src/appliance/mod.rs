//! `mailctl`: everything that happens after power-on.
//!
//! These run at every boot, in this order, and each may be interrupted and run
//! again:
//!
//! ```text
//! start ─────────────────────────► provision ─► Dovecot, Postfix ─► health
//!   settings from credential    │    /var                            boot-complete
//!   or ESP, rendered into /run  └► dkim ensure ─► OpenDKIM
//! ```
//!
//! Three verbs are services that stay: `filter`, which Postfix asks about every
//! message, `guard`, to which Dovecot reports every login, and `web`.
//!
//! State lives under `/var/lib/mailimg` and mail under `/var/vmail`; all
//! configuration is rendered into `/run/mailimg` from the image's own
//! templates, so that it can neither drift nor survive an upgrade. This half
//! of the crate imports `settings` and `error` and nothing of the builder.

mod accounts;
mod alias_check;
mod alias_command;
mod alias_graph;
mod alias_name;
mod aliases;
mod certificate;
mod cli;
mod console;
mod dh;
mod dkim;
mod dkim_key;
mod dkim_rotate;
mod dns_text;
mod esp;
mod facts;
mod filter;
mod guard;
mod health;
mod import;
mod mailbox;
mod maildir;
mod maps;
mod network;
mod password;
mod place;
mod port_mapping;
mod provision;
mod public_address;
mod queue;
mod render;
mod resolver;
mod run;
mod sessions;
mod settings_command;
mod ssh;
mod state;
mod status;
mod takeover;
mod trust;
mod user_command;
mod user_list;
mod users;
mod web;
mod workspace;

pub use cli::{Arguments, VERSION_MARKER, run};
