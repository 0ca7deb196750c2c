//! Figures that take longer than an answer may, or another user's rights, measured beside.
//!
//! ```text
//! mailimg-measure-queue  every minute      as postfix          the folders of the queue
//! mailimg-measure-mail   every 10 minutes  as vmail            the mailboxes
//! mailimg-measure-dns    every hour        with the internet   the records
//!        └─► /run/mailimg-measure-X/figures.json ─► mailimg-metrics
//! ```
//!
//! So the exporter, which reads what strangers wrote, has neither the mail nor the queue nor the
//! internet. Who measures takes a hundredth of the time at most: what takes long is done less
//! often.

pub mod dns;
pub mod mail;
pub mod queue;

use crate::appliance::machine::clock::now;
use crate::appliance::machine::files::{ensure_folder, read_optional, write_file};
use crate::appliance::machine::place::Place;
use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// The exporter's group reads.
const MODE: u32 = 0o640;
/// So many times as long as it took is the pause before it is done again.
const REST: f64 = 100.0;

/// What was measured, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured<T> {
    /// Seconds since 1970.
    pub at: i64,
    /// How long it took.
    pub seconds: f64,
    /// What was found.
    pub found: T,
}

/// Something that is measured.
pub struct Measure {
    /// Behind `mailimg-measure-` its unit.
    pub name: &'static str,
    /// So old may figures be that are shown, in seconds.
    pub longest_age: i64,
}

impl Measure {
    fn path(&self) -> String {
        format!("/run/mailimg-measure-{}/figures.json", self.name)
    }

    /// Measures, unless that takes so long that it is too early.
    pub fn run<T: Serialize>(
        &self,
        place: &Place,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<String> {
        let path = place.path(self.path());
        let before: Option<Measured<serde::de::IgnoredAny>> = self.load(place);
        if let Some(before) = before {
            let age = now().saturating_sub(before.at);
            #[expect(clippy::cast_precision_loss, reason = "a span of time")]
            let is_early = age >= 0 && (age as f64) < before.seconds * REST;
            if is_early {
                return Ok(String::new());
            }
        }
        let began = Instant::now();
        let found = work()?;
        let measured = Measured {
            at: now(),
            seconds: began.elapsed().as_secs_f64(),
            found,
        };
        let mut text = serde_json::to_string(&measured).context("writing JSON")?;
        text.push('\n');
        if let Some(folder) = path.parent() {
            ensure_folder(folder, 0o750, None)?;
        }
        write_file(&path, text.as_bytes(), MODE, None)?;
        Ok(String::new())
    }

    fn load<T: DeserializeOwned>(&self, place: &Place) -> Option<Measured<T>> {
        let bytes = read_optional(&place.path(self.path())).ok()??;
        serde_json::from_slice(&bytes).ok()
    }

    /// What was measured last, unless that is too long ago.
    pub fn recent<T: DeserializeOwned>(&self, place: &Place) -> Option<Measured<T>> {
        let measured = self.load(place)?;
        let allowed = self.longest_age + rest_of(measured.seconds);
        (now().saturating_sub(measured.at) <= allowed).then_some(measured)
    }
}

fn rest_of(seconds: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a span of time")]
    let rest = (seconds * REST).clamp(0.0, 1e9) as i64;
    rest
}

#[cfg(test)]
mod tests {
    use super::{Measure, Measured};
    use crate::appliance::machine::clock::now;
    use crate::appliance::machine::place::Place;

    const MEASURE: Measure = Measure {
        name: "queue",
        longest_age: 100,
    };

    #[test]
    fn figures_are_shown_while_they_are_new_and_measured_when_there_is_time() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let recent = || MEASURE.recent::<u32>(&place).map(|measured| measured.found);
        assert_eq!(recent(), None);
        MEASURE.run(&place, || Ok(7_u32)).unwrap();
        assert_eq!(recent(), Some(7));
        let path = place.path(MEASURE.path());
        let write = |age: i64, seconds: f64| {
            let measured = Measured {
                at: now() - age,
                seconds,
                found: 8,
            };
            std::fs::write(&path, serde_json::to_string(&measured).unwrap()).unwrap();
        };
        write(200, 0.1);
        assert_eq!(recent(), None);
        // It took three seconds and has five minutes of rest.
        write(200, 3.0);
        assert_eq!(recent(), Some(8));
        MEASURE.run(&place, || Ok(9_u32)).unwrap();
        assert_eq!(recent(), Some(8));
        write(301, 3.0);
        MEASURE.run(&place, || Ok(9_u32)).unwrap();
        assert_eq!(recent(), Some(9));
        // The clock was put back, or somebody wrote rubbish.
        write(-5000, 3.0);
        MEASURE.run(&place, || Ok(10_u32)).unwrap();
        assert_eq!(recent(), Some(10));
        std::fs::write(&path, "{").unwrap();
        assert_eq!(recent(), None);
    }
}
