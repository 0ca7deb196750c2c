//! The other end of the health gate: a boot that is not good goes back, if it is a try.
//!
//! boot-complete.target starts this when it fails or takes too long. A version that has
//! proven itself stays as it is, for a person to read what went wrong.

use super::health::failing;
use crate::appliance::machine::place::Place;
use crate::appliance::machine::program::run_program;
use crate::appliance::probe::full_disk;
use crate::appliance::upgrade::conclusion::give_up;
use anyhow::Result;
use std::time::Duration;

/// How long services are asked what is wrong; they had minutes before.
const LAST_QUESTION: Duration = Duration::from_secs(10);

/// Goes back to the version before, if the present one is on trial.
pub fn fall_back(place: &Place) -> Result<String> {
    // Whatever runs could not write: another version would fail at the same.
    if let Ok(Some(shortage)) = full_disk(place) {
        return Ok(format!(
            "/var is full ({shortage}), which is no fault of this version: it stays. Make room, \
             then restart the machine."
        ));
    }
    let why = describe(place);
    match give_up(place, &why) {
        Ok(false) => Ok(format!(
            "This version is not on trial, or the only one, and stays. {why}"
        )),
        Ok(true) => {
            restart(place)?;
            Ok(format!("The version before starts again. {why}"))
        }
        // It is on trial, and the boot loader counts tries whatever we can write.
        Err(error) => {
            restart(place)?;
            Err(error)
        }
    }
}

/// What does not work, in a line.
fn describe(place: &Place) -> String {
    let mut said = failing(place, LAST_QUESTION);
    let failed = ["list-units", "--failed", "--plain", "--no-legend"];
    if place.is_machine()
        && let Ok(text) = run_program("/usr/bin/systemctl", &failed)
    {
        let units = text
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        // The gate itself is what all this is about.
        let units = units.filter(|unit| *unit != "mailimg-health.service");
        said.extend(units.map(|unit| format!("{unit} failed")));
    }
    if said.is_empty() {
        said.push("it did not finish starting in time".to_owned());
    }
    said.join("; ")
}

fn restart(place: &Place) -> Result<()> {
    if place.is_machine() {
        run_program("/usr/bin/systemctl", &["--no-block", "reboot"])?;
    }
    Ok(())
}
