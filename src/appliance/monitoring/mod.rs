//! Monitoring: figures of the machine, and their store.
//!
//! ```text
//! /proc, control groups, systemd ──┐
//! Postfix, filter, guard ─ journal ┤
//! Dovecot ─ its own counts ────────┼─► metrics (9117) ──► store: VictoriaMetrics (8428)
//! queue, mailboxes, DNS ─ measured ┤
//! certificates, upgrades ──────────┘
//! ```
//!
//! Mail goes on without any of it. `METRICS=false` leaves all of it out.

pub mod configuration;
pub mod measured;
pub mod metrics;
pub mod store;

pub use configuration::configure;

use super::machine::place::Place;
use super::machine::program::{start_unit, stop_unit};
use crate::settings::Settings;
use anyhow::Result;

/// The exporter's unit.
pub const UNIT: &str = "mailimg-metrics.service";
/// What has something measured.
pub const TIMERS: [&str; 3] = [
    "mailimg-measure-queue.timer",
    "mailimg-measure-mail.timer",
    "mailimg-measure-dns.timer",
];

/// Starts or stops the exporter.
pub fn take(_: &Place, settings: &Settings) -> Result<()> {
    run(UNIT, settings)
}

/// Has a unit run when monitoring is wanted, and not otherwise.
fn run(unit: &str, settings: &Settings) -> Result<()> {
    if settings.monitoring.enabled {
        start_unit(unit)
    } else {
        stop_unit(unit)
    }
}
