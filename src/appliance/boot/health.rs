//! `mailctl health`: whether this boot may be called good.
//!
//! Asks the services as a client would, over loopback, until all answer or the
//! time is up. Nothing outside the machine is asked: neither DNS nor a
//! certificate authority can fail a boot. A machine without settings is
//! healthy, since waiting is all it has to do.

use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::settings::load_checked;
use crate::appliance::probe::Probe;
use crate::appliance::services::SERVICES;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

/// Pause between two tries of a probe.
const PROBE_PAUSE: Duration = Duration::from_millis(500);

/// How long to wait, and what to print.
#[derive(Debug, clap::Args)]
pub struct HealthOptions {
    /// How long to wait, in seconds.
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    timeout: u64,
    /// Print JSON: every probe with its outcome.
    #[arg(long)]
    json: bool,
    /// Fail while there are no settings.
    #[arg(long)]
    settings_needed: bool,
}

/// How one probe ended.
#[derive(Debug, Serialize)]
struct ProbeOutcome {
    name: &'static str,
    ok: bool,
    /// What was wrong at the last try.
    why: Option<String>,
    /// How long it took until it passed, or was given up.
    milliseconds: u128,
}

/// How all of them ended.
#[derive(Debug, Serialize)]
struct Health {
    healthy: bool,
    waiting_for_settings: bool,
    probes: Vec<ProbeOutcome>,
}

impl Health {
    fn failed(&self) -> Vec<String> {
        let why = |outcome: &ProbeOutcome| {
            let why = outcome.why.as_ref()?;
            Some(format!("{}: {why}", outcome.name))
        };
        self.probes.iter().filter_map(why).collect()
    }
}

/// Waits until mail is accepted and handed out, at most as long as asked; the flag says
/// whether all is well.
pub fn run_health(place: &Place, options: &HealthOptions) -> Result<(String, bool)> {
    let deadline = Duration::from_secs(options.timeout);
    let mut health = wait_for_health(place, deadline)?;
    health.healthy &= !(options.settings_needed && health.waiting_for_settings);
    if options.json {
        let text = serde_json::to_string_pretty(&health).context("writing JSON")?;
        return Ok((text, health.healthy));
    }
    if health.waiting_for_settings {
        let text = match health.healthy {
            true => "Healthy: waiting for settings.",
            false => "Waiting for settings; mailctl console says how to supply them.",
        };
        return Ok((text.to_owned(), health.healthy));
    }
    if health.healthy {
        return Ok(("Healthy: mail is accepted.".to_owned(), true));
    }
    let failed = health.failed().join("; ");
    bail!("waited {} s: {failed}", deadline.as_secs())
}

/// What does not work when asked for so long, each in a line.
pub fn failing(place: &Place, deadline: Duration) -> Vec<String> {
    match wait_for_health(place, deadline) {
        Ok(health) => health.failed(),
        Err(error) => vec![format!("{error:#}")],
    }
}

fn wait_for_health(place: &Place, deadline: Duration) -> Result<Health> {
    let outcomes = match load_checked(place, place::SETTINGS)? {
        None => Vec::new(),
        Some(resolved) => run_probes(place, &resolved.settings.domain, deadline),
    };
    Ok(Health {
        healthy: outcomes.iter().all(|outcome| outcome.ok),
        waiting_for_settings: outcomes.is_empty(),
        probes: outcomes,
    })
}

/// Tries all at once, each until it has passed once or the time is up.
fn run_probes(place: &Place, domain: &str, deadline: Duration) -> Vec<ProbeOutcome> {
    let of_services = SERVICES.iter().flat_map(|service| service.probes);
    let probes: Vec<&Probe> = of_services.chain(&[Probe::Storage]).collect();
    let began = Instant::now();
    let run = |probe: &Probe| loop {
        let result = probe.run(place, domain);
        let ok = result.is_ok();
        if ok || began.elapsed() + PROBE_PAUSE > deadline {
            return ProbeOutcome {
                name: probe.name(),
                ok,
                why: result.err().map(|error| format!("{error:#}")),
                milliseconds: began.elapsed().as_millis(),
            };
        }
        sleep(PROBE_PAUSE);
    };
    scope(|threads| {
        let running: Vec<_> = probes
            .into_iter()
            .map(|probe| (probe.name(), threads.spawn(move || run(probe))))
            .collect();
        running
            .into_iter()
            .map(|(name, thread)| {
                thread.join().unwrap_or_else(|_| ProbeOutcome {
                    name,
                    ok: false,
                    why: Some("the probe itself broke".to_owned()),
                    milliseconds: began.elapsed().as_millis(),
                })
            })
            .collect()
    })
}
