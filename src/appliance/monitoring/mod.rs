//! Monitoring: figures of the machine, their store, the pages, and who may see them.
//!
//! ```text
//! /proc, control groups, systemd ──┐
//! Postfix, filter, guard ─ journal ┤
//! Dovecot ─ its own counts ────────┼─► metrics (9117) ──► store: VictoriaMetrics (8428)
//! queue, mailboxes, DNS ─ measured ┤                           │
//! certificates, upgrades ──────────┘                           ▼
//! browser ─ https ─► mailimg-web ─ Unix socket ─► mailctl monitoring ─┬─► store (PromQL)
//! Grafana ─ https ─►                                login, pages      ├─► mailctl facts, read only
//!                                                                     └─► mailctl queue-change
//! ```
//!
//! Mail goes on without any of it. `METRICS=false` leaves all of it out. The web server knows no
//! password: it hands on whatever lies below the pages' path. The pages' process may read no
//! state of the machine. What it shows comes from the store of figures and from two helpers of
//! root's, which systemd starts for each question.

pub mod api;
pub mod asked;
pub mod configuration;
pub mod facts;
pub mod helpers;
pub mod login;
pub mod measured;
pub mod metrics;
pub mod pages;
pub mod panels;
pub mod query;
pub mod server;
pub mod site;
pub mod store;
pub mod unit;

pub use configuration::configure;
pub use server::{MonitoringOptions, run_monitoring};

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
