//! `mailctl upgrade --scheduled`: a machine takes updates from UPDATE_SOURCE by itself.
//!
//! Within its window it fetches what is new and restarts; what is not ready when the window
//! closes is tried in the next one. Never while a version is on trial, and never again what
//! did not prove itself here. The owner hears of what was taken when it has proven itself,
//! and of what goes wrong once.

use std::time::Duration;

use anyhow::Result;

use super::machine::Machine;
use super::offer::Permissions;
use super::owner::tell_owner;
use super::record::{self, Record, State};
use super::source::Source;
use super::source::folder::Folder;
use super::{conclusion, upgrade};
use crate::appliance::machine::clock::{may_be_set, now};
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::program::run_program;
use crate::appliance::machine::settings::load_checked;
use crate::appliance::updates::{Attempt, Due, is_due};
use crate::error::render;
use crate::settings::Updates;

/// What came of a look.
enum Came {
    /// Nothing is to be done in this window.
    Nothing(String),
    /// Another look in this window will tell.
    Later(String),
    /// The machine restarts to try a version.
    Restart(String),
}

/// Takes what is new if it is time, and returns what to say.
pub fn run_scheduled(place: &Place, patience: Duration) -> Result<String> {
    let Some(resolved) = load_checked(place, place::SETTINGS)? else {
        return Ok("There are no settings yet.".to_owned());
    };
    let settings = &resolved.settings;
    if may_be_set(place) {
        return Ok("The clock is not set yet.".to_owned());
    }
    let window = match is_due(&settings.updates, &settings.hostname, now()) {
        Due::No(why) => return Ok(why.to_owned()),
        Due::Since(window) => window,
    };
    let before = Attempt::load(place)?;
    if before.window == window && before.is_done {
        return Ok("Nothing is left to do in this window.".to_owned());
    }
    let mut attempt = Attempt {
        window,
        at: now(),
        ..before
    };
    match look(place, &settings.updates, window, patience) {
        Ok(Came::Nothing(said)) => {
            attempt.said.clone_from(&said);
            (attempt.is_done, attempt.told) = (true, None);
            attempt.save(place)?;
            Ok(said)
        }
        Ok(Came::Later(said)) => {
            attempt.said.clone_from(&said);
            attempt.is_done = false;
            attempt.save(place)?;
            Ok(said)
        }
        Ok(Came::Restart(said)) => {
            attempt.said.clone_from(&said);
            (attempt.is_done, attempt.told) = (true, None);
            attempt.save(place)?;
            if place.is_machine() {
                run_program("/usr/bin/systemctl", &["--no-block", "reboot"])?;
            }
            Ok(said)
        }
        Err(error) => {
            let text = render(&error);
            attempt.said = format!("{error:#}");
            attempt.is_done = false;
            attempt.save(place)?;
            if attempt.told.as_ref() != Some(&attempt.said) {
                tell_failure(place, &text)?;
                attempt.told = Some(attempt.said.clone());
                attempt.save(place)?;
            }
            Err(error)
        }
    }
}

/// Looks for what is new, and puts it on trial.
fn look(place: &Place, updates: &Updates, window: i64, patience: Duration) -> Result<Came> {
    // Somebody upgrades by hand, which is no failure to tell the owner of.
    if record::try_lock(place)?.is_none() {
        return Ok(Came::Later("an upgrade is under way".to_owned()));
    }
    let machine = Machine::open(place)?;
    conclusion::settle(place, &machine)?;
    let record = Record::load(place)?;
    if let Some(record) = record.as_ref().filter(|record| record.is_waiting()) {
        if record.is_of(&machine.root_hash) {
            return Ok(Came::Nothing(format!("{} is on trial", record.version)));
        }
        return Ok(Came::Restart(format!("{} is tried now", record.version)));
    }
    let Some(source) = &updates.source else {
        return Ok(Came::Nothing("UPDATE_SOURCE is not set".to_owned()));
    };
    let mut folder = Folder::open(place, source, patience)?;
    let described = folder.offer().described.clone();
    if described.root_hash == machine.root_hash {
        let said = format!("{} is what runs, nothing is newer", machine.version);
        return Ok(Came::Nothing(said));
    }
    let came_back = record.is_some_and(|record| {
        record.is_of(&described.root_hash) && matches!(record.state, State::CameBack { .. })
    });
    if came_back {
        return Ok(Came::Nothing(format!(
            "{} did not prove itself here and is not tried again by itself",
            described.version
        )));
    }
    let done = upgrade(place, &mut folder, Permissions::default())?;
    if let Some(mut record) = Record::load(place)? {
        record.by_itself = true;
        record.save(place)?;
    }
    if now() < window + updates.window {
        return Ok(Came::Restart(format!("{} is tried now", done.version)));
    }
    Ok(Came::Nothing(format!(
        "{} is ready and waits for the next window, this one is over",
        done.version
    )))
}

fn tell_failure(place: &Place, text: &str) -> Result<()> {
    let what = "takes no updates";
    let paragraphs = [
        "This machine looked for a newer version of its system, as UPDATE_SCHEDULE says, and \
         could not take it. What runs is untouched, and it looks again in time."
            .to_owned(),
        text.to_owned(),
        "On the machine, `mailctl upgrade --check` does the same at once. You hear of this again \
         when the reason is another."
            .to_owned(),
    ];
    tell_owner(place, what, &paragraphs)
}
