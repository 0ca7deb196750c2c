//! What the machine guarantees, one sentence a row, each tried from outside.
//!
//! One machine is made and provisioned; then every row runs, whatever became of
//! the others, and the failures are told together at the end. Rows share the
//! machine, not the accounts or client addresses that would disturb others.
//! `MAILIMG_PROMISES` names words; only rows that say one of them run. `MAILIMG_JOURNAL` names a
//! file for what Postfix said meanwhile, of which the corpus of its lines is made.
//!
//! The table runs on the image's own systemd without emulation ([`Container`]); on a
//! machine run the rows that need drives, a clock, limits of memory or the image's kernel.
//! `promises::all_on_a_machine`, one of those that take long, tries every row there.
//!
//! [`Container`]: super::container::Container

mod accounts;
mod bad_input;
mod bans;
mod boot;
mod figures;
mod guessing;
mod limits;
mod mailboxes;
mod monitoring;
mod outward;
mod ports;
mod recipients;
mod relay;
mod services;
mod sessions;
mod sieve;
mod signing;
mod smuggling;
mod submission;
pub mod world;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail, ensure};

use super::boots_and_delivers::IMAGE;
use super::engine;
use crate::world::network::inside;
use world::{Kind, World};

/// Chooses rows by comma-separated words.
const CHOICE: &str = "MAILIMG_PROMISES";
/// Takes Postfix's part of the journal.
const JOURNAL: &str = "MAILIMG_JOURNAL";

/// One guarantee.
pub struct Promise {
    /// What is promised, in words.
    pub says: &'static str,
    /// Tries it; an error says what was seen instead.
    pub check: fn(&World) -> Result<()>,
}

/// Rows that belong together.
type Area = (&'static str, &'static [Promise]);

/// All rows but those for machines, those that hurt the machine last.
const AREAS: [Area; 18] = [
    ("boot", boot::PROMISES),
    ("ports and TLS", ports::PROMISES),
    ("relay", relay::PROMISES),
    ("recipients and aliases", recipients::PROMISES),
    ("limits", limits::PROMISES),
    ("one message stays one message", smuggling::PROMISES),
    ("signing and verifying", signing::PROMISES),
    ("submission", submission::PROMISES),
    ("delivery to others", outward::PROMISES),
    ("sieve", sieve::PROMISES),
    ("mailboxes", mailboxes::PROMISES),
    ("sessions", sessions::PROMISES),
    ("accounts", accounts::PROMISES),
    ("bad input and bad days", bad_input::PROMISES),
    ("monitoring", monitoring::PROMISES),
    ("brute force", bans::PROMISES),
    ("figures", figures::PROMISES),
    ("services", services::PROMISES),
];

/// What needs an emulated machine, and that nothing failed on it.
const ON_A_MACHINE: [Area; 4] = [
    ("boot", boot::ON_A_MACHINE),
    ("sessions", sessions::ON_A_MACHINE),
    ("services", services::ON_A_MACHINE),
    ("boot", boot::PROMISES),
];

#[test]
fn promises() -> Result<()> {
    try_all("promises", Kind::Container, &AREAS)
}

#[test]
fn on_a_machine() -> Result<()> {
    try_all("on_a_machine", Kind::Machine, &ON_A_MACHINE)
}

#[test]
#[ignore = "takes a quarter of an hour; ci/full"]
fn all_on_a_machine() -> Result<()> {
    let areas = [&ON_A_MACHINE[..], &AREAS].concat();
    try_all("all_on_a_machine", Kind::Machine, &areas)
}

/// What users have who run the image under podman.
#[test]
#[ignore = "the same rows as without podman; ci/full"]
fn in_podman() -> Result<()> {
    try_all("in_podman", Kind::Engine(engine::Kind::Podman), &AREAS)
}

/// And under docker.
#[test]
#[ignore = "the same rows as without docker; ci/full"]
fn in_docker() -> Result<()> {
    try_all("in_docker", Kind::Engine(engine::Kind::Docker), &AREAS)
}

fn try_all(test: &str, kind: Kind, areas: &[Area]) -> Result<()> {
    let Some(image) = std::env::var_os(IMAGE).map(PathBuf::from) else {
        println!("skipped: {IMAGE} names no image");
        return Ok(());
    };
    inside(&format!("promises::{test}"), || run(&image, kind, areas))
}

fn run(image: &Path, kind: Kind, areas: &[Area]) -> Result<()> {
    let started = Instant::now();
    let mut world = World::make(image, kind)?;
    println!("a machine to try: {:.1} s", started.elapsed().as_secs_f64());
    let choice = std::env::var(CHOICE).unwrap_or_default();
    let chosen = |area: &str, promise: &Promise| {
        choice.is_empty()
            || choice
                .split(',')
                .any(|word| area.contains(word) || promise.says.contains(word))
    };
    let mut failures = Vec::new();
    let mut count = 0;
    for &(area, promises) in areas {
        let rows: Vec<&Promise> = promises
            .iter()
            .filter(|promise| chosen(area, promise))
            .collect();
        if !rows.is_empty() {
            println!("\n  {area}");
        }
        for promise in rows {
            count += 1;
            let row = Instant::now();
            let result = (promise.check)(&world);
            let time = row.elapsed().as_secs_f64();
            match result {
                Ok(()) => println!("ok     {time:6.1} s  {}", promise.says),
                Err(error) => {
                    println!("FAILED {time:6.1} s  {}\n       {error:#}", promise.says);
                    println!("{}", world.recent_log(row.elapsed()));
                    failures.push(format!("{}: {}: {error:#}", area, promise.says));
                }
            }
            world.check_running()?;
        }
    }
    println!(
        "\n{count} promises, {} broken, {:.0} s",
        failures.len(),
        started.elapsed().as_secs_f64()
    );
    ensure!(count > 0, "no promise says {choice:?}");
    if let Some(path) = std::env::var_os(JOURNAL) {
        std::fs::write(path, world.run("journalctl -o json -u postfix")?)?;
    }
    if failures.is_empty() {
        return world.end();
    }
    bail!("broken promises:\n{}", failures.join("\n"))
}
