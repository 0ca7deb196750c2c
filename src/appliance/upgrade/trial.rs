//! A version is put on trial, and taken off.
//!
//! The order of steps is what makes it safe: everything that a start needs is there before
//! the last sector that allows it. On UEFI the name of the kernel image decides, on BIOS
//! `grubenv`; both are kept in step, so that a disk starts the same by either.

use anyhow::{Context, Result};

use super::boot_partition::{BootPartition, Kernel};
use super::machine::Machine;
use crate::appliance::machine::place::Place;
use crate::error::hinted;
use crate::format::boot_entry::{BootEntry, TRIES};
use crate::format::grub::Trial;
use crate::format::uki::Described;
use crate::format::version_order::compare_versions;

/// Refuses a kernel image that would not fit.
pub fn check_room(place: &Place, machine: &Machine, size: u64) -> Result<()> {
    let partition = BootPartition::open(place)?;
    partition.check_room(size, &others(&partition, machine)?)
}

/// Makes sure that nothing starts the slot that is about to be written.
pub fn withdraw(place: &Place, machine: &Machine) -> Result<()> {
    let partition = BootPartition::open(place)?;
    make_running_good(&partition, machine)?;
    partition.set_trial(None)?;
    partition.remove_slot(machine.other())?;
    for kernel in others(&partition, machine)? {
        partition.remove_kernel(&kernel.entry)?;
    }
    partition.remove_unfinished()
}

/// Puts a version whose root lies in the other slot on trial.
pub fn begin(place: &Place, machine: &Machine, described: &Described, kernel: &[u8]) -> Result<()> {
    let partition = BootPartition::open(place)?;
    partition.write_slot(machine.other(), described, kernel)?;
    let entry = BootEntry::on_trial(&described.stem());
    partition.add_kernel(&entry, kernel)?;
    step_aside(&partition, machine, &described.version)?;
    partition.wake_kernel(&entry, kernel)?;
    partition.set_trial(Some(first_try(machine)))
}

/// What is in the other slot, and can start.
pub fn other_version(place: &Place, machine: &Machine) -> Result<Described> {
    let partition = BootPartition::open(place)?;
    let hash = machine.slot_root_hash(machine.other());
    let found = others(&partition, machine)?
        .into_iter()
        .find(|kernel| kernel.described.root_hash == hash);
    found.map(|kernel| kernel.described).ok_or_else(|| {
        hinted(
            "there is no other version on this machine",
            "`mailctl upgrade FILE --allow-downgrade` takes an older image",
        )
    })
}

/// Puts the version in the other slot on trial, which was there before.
pub fn begin_again(place: &Place, machine: &Machine, described: &Described) -> Result<()> {
    let partition = BootPartition::open(place)?;
    let kernel = others(&partition, machine)?
        .into_iter()
        .find(|kernel| kernel.described == *described)
        .context("finding the kernel image of the other version")?;
    partition.rename_kernel(&kernel.entry, &BootEntry::on_trial(&described.stem()))?;
    step_aside(&partition, machine, &described.version)?;
    partition.set_trial(Some(first_try(machine)))
}

/// Takes the other version off trial, before it was tried. It stays to go back to: where a
/// kernel image is, its root is whole.
pub fn call_off(place: &Place, machine: &Machine) -> Result<()> {
    let partition = BootPartition::open(place)?;
    partition.set_trial(None)?;
    make_running_good(&partition, machine)?;
    for kernel in others(&partition, machine)? {
        let aside = BootEntry::set_aside(&kernel.entry.stem);
        partition.rename_kernel(&kernel.entry, &aside)?;
    }
    partition.remove_unfinished()
}

/// The running version has proven itself: it starts from now on.
pub fn keep_running(place: &Place, machine: &Machine) -> Result<()> {
    let partition = BootPartition::open(place)?;
    make_running_good(&partition, machine)?;
    partition.set_trial(None)
}

/// The running version gives up: the other one starts from now on, if there is one, which
/// is what the flag says.
pub fn give_up_running(place: &Place, machine: &Machine) -> Result<bool> {
    let partition = BootPartition::open(place)?;
    let other = machine.slot_root_hash(machine.other());
    let kernels = partition.kernels()?;
    let is_other = |kernel: &&Kernel| kernel.described.root_hash == other;
    let Some(good) = kernels.iter().find(is_other) else {
        return Ok(false);
    };
    let stem = &good.entry.stem;
    partition.rename_kernel(&good.entry, &BootEntry::good(stem))?;
    partition.set_trial(None)?;
    partition.set_good_slot(machine.other())?;
    for kernel in of_root(kernels, &machine.root_hash) {
        partition.remove_kernel(&kernel.entry)?;
    }
    Ok(true)
}

/// How a trial of the other slot stands, when the running version is the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may still be tried.
    Left,
    /// Its tries are used up.
    UsedUp,
    /// It was never begun, or is gone.
    Absent,
}

/// Looks at what the firmware that this machine uses would do next.
pub fn standing(place: &Place, machine: &Machine) -> Result<Standing> {
    let partition = BootPartition::open(place)?;
    if !machine.uefi {
        let other = Machine::letter(machine.other());
        return Ok(match partition.trial() {
            Some(trial) if trial.slot == other => of_tries(trial.tries),
            _ => Standing::Absent,
        });
    }
    let hash = machine.slot_root_hash(machine.other());
    let kernels = of_root(partition.kernels()?, &hash);
    let entry = kernels.into_iter().map(|kernel| kernel.entry).next();
    Ok(match entry {
        Some(BootEntry {
            tries: Some(tries),
            tried,
            ..
        }) if tries + tried > 0 => match of_tries(tries) {
            Standing::Left if stands_in_front(&partition, machine)? => Standing::Absent,
            standing => standing,
        },
        _ => Standing::Absent,
    })
}

/// Whether UEFI starts the running version whatever waits: it is the newer one of two, and
/// was interrupted before it stepped aside.
fn stands_in_front(partition: &BootPartition, machine: &Machine) -> Result<bool> {
    let kernels = partition.kernels()?;
    let other = machine.slot_root_hash(machine.other());
    let newer = |kernel: &&Kernel| {
        kernel.described.root_hash == other
            && compare_versions(&kernel.described.version, &machine.version).is_gt()
    };
    let good = |kernel: &&Kernel| {
        kernel.described.root_hash == machine.root_hash && kernel.entry.tries.is_none()
    };
    Ok(kernels.iter().any(|kernel| good(&kernel)) && !kernels.iter().any(|kernel| newer(&kernel)))
}

fn of_tries(left: u32) -> Standing {
    match left {
        0 => Standing::UsedUp,
        _ => Standing::Left,
    }
}

fn first_try(machine: &Machine) -> Trial {
    Trial {
        slot: Machine::letter(machine.other()),
        tries: TRIES,
    }
}

/// The running version starts when nothing is on trial.
fn make_running_good(partition: &BootPartition, machine: &Machine) -> Result<()> {
    partition.set_good_slot(machine.running)?;
    for kernel in of_root(partition.kernels()?, &machine.root_hash) {
        let good = BootEntry::good(&kernel.entry.stem);
        partition.rename_kernel(&kernel.entry, &good)?;
    }
    Ok(())
}

/// UEFI starts the newest version that has tries left. For an older one on trial the
/// running one has to look as if it had none: it still starts when the trial's are used up,
/// being the newer one of two without.
fn step_aside(partition: &BootPartition, machine: &Machine, version: &str) -> Result<()> {
    if compare_versions(version, &machine.version).is_gt() {
        return Ok(());
    }
    for kernel in of_root(partition.kernels()?, &machine.root_hash) {
        let aside = BootEntry::set_aside(&kernel.entry.stem);
        partition.rename_kernel(&kernel.entry, &aside)?;
    }
    Ok(())
}

/// Kernel images that are not the running one's.
fn others(partition: &BootPartition, machine: &Machine) -> Result<Vec<Kernel>> {
    let mut kernels = partition.kernels()?;
    kernels.retain(|kernel| kernel.described.root_hash != machine.root_hash);
    Ok(kernels)
}

fn of_root(mut kernels: Vec<Kernel>, root_hash: &[u8; 32]) -> Vec<Kernel> {
    kernels.retain(|kernel| kernel.described.root_hash == *root_hash);
    kernels
}
