//! How a trial ends: kept, or the version before is back and says why.

use anyhow::Result;

use super::loaders;
use super::machine::{Machine, boot_id, is_counted, running_root_hash};
use super::owner::tell_owner;
use super::record::{Record, State};
use super::trial::{self, Standing};
use crate::appliance::machine::place::Place;
use crate::format::verity::Hash;

/// What is known of a version that never spoke.
const SILENT: &str = "it did not get as far as taking mail in three tries, and left no word: its \
                      kernel, its initrd or its root does not start on this machine";

/// This boot is good: keeps a version on trial, or says that the old one is back.
pub fn bless(place: &Place) -> Result<String> {
    const NOTHING: &str = "Nothing is on trial.";
    let record = Record::load(place)?;
    let waiting = record.as_ref().is_some_and(Record::is_waiting);
    let unknown = record.is_none() && is_counted(place);
    if !waiting && !unknown && !untold(record.as_ref()) {
        return Ok(match record {
            // The power went before it was done.
            Some(record) if record.state == State::Kept && !record.loaders_done => {
                let machine = Machine::open(place)?;
                [
                    &[NOTHING.to_owned()],
                    &renew_loaders(place, &machine, record)?[..],
                ]
                .concat()
                .join("\n")
            }
            _ => NOTHING.to_owned(),
        });
    }
    let machine = Machine::open(place)?;
    if is_on_trial(place, record.as_ref(), &machine.root_hash) {
        trial::keep_running(place, &machine)?;
        let mut said = vec![format!(
            "{} has proven itself and is kept.",
            machine.version
        )];
        if let Some(mut record) = record {
            record.state = State::Kept;
            record.save(place)?;
            // A mail that cannot be sent is no reason to try all this again.
            if record.by_itself
                && let Err(error) = tell_of_kept(place, &record)
            {
                tell!("{error:#}");
            }
            said.extend(renew_loaders(place, &machine, record)?);
        }
        return Ok(said.join("\n"));
    }
    settle(place, &machine)?;
    tell_of_way_back(place)?;
    let record = Record::load(place)?;
    let said = record.and_then(|record| record.describe(place, &machine.root_hash));
    Ok(said.unwrap_or_else(|| NOTHING.to_owned()))
}

/// Renews the boot loaders, once. What does not fit is told and left.
fn renew_loaders(place: &Place, machine: &Machine, mut record: Record) -> Result<Vec<String>> {
    let said = loaders::renew(place, machine);
    record.loaders_done = true;
    record.save(place)?;
    Ok(said)
}

/// Whether what runs has to prove itself. The record knows best: a version that was set
/// aside and starts again is counted, too. Without a record the boot loader does.
fn is_on_trial(place: &Place, record: Option<&Record>, running: &Hash) -> bool {
    match record {
        Some(record) => record.is_waiting() && record.is_of(running),
        None => is_counted(place),
    }
}

fn untold(record: Option<&Record>) -> bool {
    record.is_some_and(|record| matches!(record.state, State::CameBack { told: false, .. }))
}

/// Finds out whether a trial has ended in another boot, and cleans up after it.
pub fn settle(place: &Place, machine: &Machine) -> Result<()> {
    let Some(mut record) = Record::load(place)?.filter(Record::is_waiting) else {
        return Ok(());
    };
    let this_boot = !record.boot.is_empty() && record.boot == boot_id(place);
    if record.is_of(&machine.root_hash) || this_boot {
        return Ok(());
    }
    let why = match (&record.state, trial::standing(place, machine)?) {
        (State::GaveUp { why }, _) => why.clone(),
        // Somebody chose the old one in the boot menu, or the trial is still to come.
        (_, Standing::Left) => return Ok(()),
        (_, Standing::UsedUp) => SILENT.to_owned(),
        (_, Standing::Absent) => {
            trial::call_off(place, machine)?;
            record.state = State::Interrupted;
            return record.save(place);
        }
    };
    trial::withdraw(place, machine)?;
    record.state = State::CameBack { why, told: false };
    record.save(place)
}

/// The running version does not pass: the one before starts next, and says why. The flag
/// says whether to restart.
pub fn give_up(place: &Place, why: &str) -> Result<bool> {
    let record = Record::load(place)?;
    // Before the disk is looked at: what is not on trial stays, in whatever state that is.
    if !is_on_trial(place, record.as_ref(), &running_root_hash(place)?) {
        return Ok(false);
    }
    let machine = Machine::open(place)?;
    if let Some(mut record) = record {
        record.state = State::GaveUp {
            why: why.to_owned(),
        };
        // A full disk must not keep the machine from going back.
        if let Err(error) = record.save(place) {
            tell!("noting why: {error:#}");
        }
    }
    trial::give_up_running(place, &machine)
}

/// Mail about a version that came back, once.
fn tell_of_way_back(place: &Place) -> Result<()> {
    let Some(mut record) = Record::load(place)? else {
        return Ok(());
    };
    let State::CameBack { why, told: false } = record.state.clone() else {
        return Ok(());
    };
    let Record {
        version, before, ..
    } = &record;
    let what = format!("went back to version {before}");
    let paragraphs = [
        format!(
            "Version {version} was tried on this machine and did not prove itself. Version \
             {before} runs again; mail and settings are as they were."
        ),
        format!("Why: {why}"),
        "On the machine, `mailctl status` shows what runs, and `journalctl -b -1` what \
         happened in the boot before, as far as it was written."
            .to_owned(),
    ];
    tell_owner(place, &what, &paragraphs)?;
    record.state = State::CameBack { why, told: true };
    record.save(place)
}

/// Mail about a version that the machine took by itself.
fn tell_of_kept(place: &Place, record: &Record) -> Result<()> {
    let paragraphs = [format!(
        "Version {} has proven itself on this machine and is kept; version {} was the one \
         before. `mailctl rollback` goes back to it.",
        record.version, record.before
    )];
    tell_owner(
        place,
        &format!("runs version {}", record.version),
        &paragraphs,
    )
}
