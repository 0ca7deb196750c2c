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
//! Where neither credential nor ESP have settings, `import-cloud` looks for some in
//! the background, beside all this. Certificates come from `acme`, which a timer
//! starts and which no boot waits for; `cert take` puts them in place.
//!
//! Three verbs are services that stay: `filter`, which Postfix asks about every
//! message, `sts`, which it asks about every domain it sends to, and `guard`, to
//! which Dovecot reports every login. A fourth is the web server, `web`.
//!
//! State lives under `/var/lib/mailimg` and mail under `/var/vmail`; all
//! configuration is rendered into `/run/mailimg` from the image's own
//! templates, so that it can neither drift nor survive an upgrade. This half
//! of the crate imports `settings` and `error` and nothing of the builder.

mod accounts;
mod acme;
mod alias_check;
mod alias_command;
mod alias_graph;
mod alias_name;
mod aliases;
mod certificate;
mod certificate_chain;
mod certificate_command;
mod certificate_pair;
mod certificate_status;
mod cli;
mod cloud;
mod console;
mod dh;
mod dkim;
mod dkim_key;
mod dkim_rotate;
mod dns;
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
mod sts;
mod takeover;
mod trust;
mod user_command;
mod user_list;
mod users;
mod web;
mod workspace;

pub use cli::{Arguments, VERSION_MARKER, run};
