//! `mailctl`: everything that happens after power-on.
//!
//! These run at every boot, in this order, and each may be interrupted and run
//! again:
//!
//! ```text
//! settings start ────────────────► provision ─► Dovecot, Postfix ─► health
//!   settings from credential    │    /var                            boot-complete
//!   or ESP, rendered into /run  └► dkim ensure ─► OpenDKIM
//! ```
//!
//! Where neither credential nor ESP have settings, `cloud` looks for some in the
//! background, beside all this. Certificates come from `acme`, which a timer starts
//! and which no boot waits for; `certificate take` puts them in place. The unit
//! mailimg-X runs the verb X.
//!
//! Three verbs are services that stay: `filter`, which Postfix asks about every
//! message, `sts`, which it asks about every domain it sends to, and `guard`, to
//! which Dovecot reports every login. A fourth is the web server, `web`, a fifth tells how all of
//! this is, `metrics`.
//!
//! State lives under `/var/lib/mailimg` and mail under `/var/vmail`; all
//! configuration is rendered into `/run/mailimg` from the image's own
//! templates, so that it can neither drift nor survive an upgrade. This half
//! of the crate imports `settings` and `error` and nothing of the builder.

mod aliases;
mod boot;
mod certificate;
mod command;
#[cfg(test)]
mod damage;
mod dkim;
mod dns;
mod dovecot;
mod filter;
mod guard;
mod machine;
mod monitoring;
mod network;
mod postfix;
mod probe;
mod services;
mod ssh;
mod sts;
mod takeover;
mod unbound;
mod updates;
pub mod upgrade;
mod users;
mod web;
mod wire;

pub use command::{Arguments, become_first_process, run};
// For who tries it in a kernel.
pub use guard::firewall::script_all;
pub use monitoring::panels;
