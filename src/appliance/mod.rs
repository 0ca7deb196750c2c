//! `mailctl`: everything that happens after power-on.
//!
//! Three verbs run at every boot, in this order, and each may be interrupted
//! and run again:
//!
//! ```text
//! import-settings ─► render ─► provision ─► (services) ─► health
//!   ESP, credential   /run       /var                      boot-complete
//! ```
//!
//! State lives under `/var/lib/mailimg` and mail under `/var/vmail`; all
//! configuration is rendered into `/run/mailimg` from the image's own
//! templates, so that it can neither drift nor survive an upgrade. This half
//! of the crate imports `settings` and `error` and nothing of the builder.

mod accounts;
mod certificate;
mod cli;
mod console;
mod dh;
mod dkim;
mod esp;
mod health;
mod import;
mod maps;
mod network;
mod password;
mod place;
mod provision;
mod render;
mod resolver;
mod run;
mod settings_command;
mod ssh;
mod state;
mod status;
mod user_command;
mod users;

pub use cli::{Arguments, VERSION_MARKER, run};
