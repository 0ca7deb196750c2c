//! Certificates, DNS and the web side of one machine, from power-on on.
//!
//! The authority is Pebble, the name server Knot, and the machine publishes its
//! own records there. Rows run one after the other on the same machine, whatever
//! became of those before, and the failures are told together at the end.
//! `MAILIMG_CERTIFICATES` names words; only rows that say one of them run.

mod authority;
mod boot;
mod outgoing;
mod records;
mod renewal;
mod web;
mod world;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail, ensure};

use super::boots_and_delivers::IMAGE;
use crate::world::network::inside;
use world::World;

/// Chooses rows by comma-separated words.
const CHOICE: &str = "MAILIMG_CERTIFICATES";

/// One thing that must be so.
pub struct Row {
    /// It, in words.
    pub says: &'static str,
    /// Tries it; an error says what was seen instead.
    pub check: fn(&mut World) -> Result<()>,
}

/// All rows in their order: those that need a quiet machine first, those that
/// turn its clock or its authority last.
const AREAS: [(&str, &[Row]); 9] = [
    ("boot", boot::ROWS),
    ("records", records::ROWS),
    ("names and a second boot", boot::LATER_ROWS),
    ("web", web::ROWS),
    ("outgoing", outgoing::ROWS),
    ("renewal", renewal::ROWS),
    ("renewal, a day later", renewal::LATER_ROWS),
    ("outgoing, a day later", outgoing::LATER_ROWS),
    ("authority", authority::ROWS),
];

#[test]
fn certificates() -> Result<()> {
    let Some(image) = std::env::var_os(IMAGE).map(PathBuf::from) else {
        println!("skipped: {IMAGE} names no image");
        return Ok(());
    };
    inside("certificates::certificates", || run(&image))
}

fn run(image: &Path) -> Result<()> {
    let started = Instant::now();
    let mut world = World::make(image)?;
    let choice = std::env::var(CHOICE).unwrap_or_default();
    let chosen = |area: &str, row: &Row| {
        choice.is_empty()
            || choice
                .split(',')
                .any(|word| area.contains(word) || row.says.contains(word))
    };
    let mut failures = Vec::new();
    let mut count = 0;
    for (area, rows) in AREAS {
        let rows: Vec<&Row> = rows.iter().filter(|row| chosen(area, row)).collect();
        if !rows.is_empty() {
            println!("\n  {area}");
        }
        for row in rows {
            count += 1;
            let begun = Instant::now();
            let result = (row.check)(&mut world);
            let time = begun.elapsed();
            match result {
                Ok(()) => println!("ok     {:6.1} s  {}", time.as_secs_f64(), row.says),
                Err(error) => {
                    println!(
                        "FAILED {:6.1} s  {}\n       {error:#}",
                        time.as_secs_f64(),
                        row.says
                    );
                    println!("{}", world.recent_log(time));
                    failures.push(format!("{area}: {}: {error:#}", row.says));
                }
            }
            world.check_running()?;
        }
    }
    println!(
        "\n{count} rows, {} broken, {:.0} s",
        failures.len(),
        started.elapsed().as_secs_f64()
    );
    ensure!(count > 0, "no row says {choice:?}");
    if failures.is_empty() {
        return world.end();
    }
    bail!("broken rows:\n{}", failures.join("\n"))
}
