//! Replacing the whole system: another root in the other slot, on trial until it has
//! proven itself.
//!
//! ```text
//! source ─► root (slot) ─► trial (boot partition) ─► restart ─► conclusion
//!   image    blocks, hashed    three tries              kept, or the old one is back
//! ```
//!
//! [`machine`] is the disk and the slot that runs. [`source`] offers an image, [`root`]
//! writes its root where nothing runs from, [`boot_partition`] lets the firmware try it,
//! and [`conclusion`] says how that went; then [`loaders`] renews the boot loaders. [`record`]
//! is what all of them remember. [`scheduled`] does it without being told, and [`owner`]
//! hears of it.
//!
//! The slot that runs is only read. Until the sector is written that starts the trial, one
//! for each firmware, the old version is what starts. From then on the boot loader counts
//! three tries, and takes the old one when they are used up: no program of ours is needed
//! for the way back.

pub mod boot_partition;
pub mod conclusion;
pub mod loaders;
pub mod machine;
pub mod offer;
pub mod owner;
pub mod record;
pub mod root;
pub mod scheduled;
pub mod source;
pub mod trial;

use anyhow::{Context, Result, ensure};

use crate::appliance::machine::place::Place;
use crate::error::hinted;

use machine::Machine;
use offer::Permissions;
use record::Record;
use root::Tally;
use source::Source;

/// What has to be free on `/var` for a trial: bytes and files. Mail is put off below more
/// than that, and a boot writes less.
const STATE_BYTES: u64 = 64 << 20;
const STATE_FILES: u64 = 1000;

/// What an upgrade did.
#[derive(Debug, PartialEq, Eq)]
pub struct Upgraded {
    /// The version that is to be tried.
    pub version: String,
    /// Where its root came from, in blocks.
    pub tally: Tally,
}

/// Puts another version into the slot that does not run, and on trial.
///
/// May be interrupted at any time and run again; the running slot is never written.
pub fn upgrade(
    place: &Place,
    source: &mut dyn Source,
    permissions: Permissions,
) -> Result<Upgraded> {
    let _lock = record::lock(place)?;
    let machine = Machine::open(place)?;
    conclusion::settle(place, &machine)?;
    refuse_while_waiting(place, &machine)?;
    let offer = source.offer().clone();
    offer::check(&offer, &machine, permissions)?;
    trial::check_room(place, &machine, source.kernel_size())?;
    check_state_room(place)?;
    // While there is still something to go back to.
    let index = source.index()?;

    trial::withdraw(place, &machine)?;
    let tally = root::write(&machine, source, &index)?;
    let kernel = source.kernel()?;
    ensure!(
        crate::format::uki::describe(&kernel)? == offer.described,
        "reading the kernel image: it is not the one that was offered"
    );
    Record::waiting(place, &machine, &offer.described)?.save(place)?;
    if let Err(error) = trial::begin(place, &machine, &offer.described, &kernel) {
        // Nothing waits then; what is half there is removed by the next run, too.
        Record::forget(place)?;
        trial::withdraw(place, &machine)?;
        return Err(error);
    }
    Ok(Upgraded {
        version: offer.described.version,
        tally,
    })
}

/// Puts the version of the other slot on trial, as it was left.
pub fn rollback(place: &Place) -> Result<String> {
    let _lock = record::lock(place)?;
    let machine = Machine::open(place)?;
    conclusion::settle(place, &machine)?;
    refuse_while_waiting(place, &machine)?;
    let described = trial::other_version(place, &machine)?;
    Record::waiting(place, &machine, &described)?.save(place)?;
    if let Err(error) = trial::begin_again(place, &machine, &described) {
        Record::forget(place)?;
        trial::call_off(place, &machine)?;
        return Err(error);
    }
    Ok(described.version)
}

/// A trial on a machine whose `/var` is full fails whatever the version is worth.
fn check_state_room(place: &Place) -> Result<()> {
    let room =
        rustix::fs::statvfs(place.path("/var")).context("asking how much of /var is free")?;
    let free = room.f_bavail * room.f_frsize;
    // A file system that counts no files says 0 of 0.
    let files_left = room.f_files == 0 || room.f_favail >= STATE_FILES;
    if free >= STATE_BYTES && files_left {
        return Ok(());
    }
    Err(hinted(
        format!(
            "/var is nearly full: {} MiB and {} files are free",
            free >> 20,
            room.f_favail
        ),
        "make room first, the new version could not take mail; `mailctl status` shows the disk",
    ))
}

/// One trial at a time.
fn refuse_while_waiting(place: &Place, machine: &Machine) -> Result<()> {
    let Some(record) = Record::load(place)?.filter(Record::is_waiting) else {
        return Ok(());
    };
    if record.is_of(&machine.root_hash) {
        return Err(hinted(
            format!("this version, {}, is on trial itself", record.version),
            "wait until `mailctl status` says that it is kept",
        ));
    }
    Err(hinted(
        format!("version {} waits for a restart to be tried", record.version),
        "`systemctl reboot` tries it, `mailctl upgrade --cancel` forgets it",
    ))
}

/// Forgets a version that waits for a restart.
pub fn cancel(place: &Place) -> Result<String> {
    let _lock = record::lock(place)?;
    let machine = Machine::open(place)?;
    let waiting = Record::load(place)?.filter(Record::is_waiting);
    let Some(record) = waiting.filter(|record| !record.is_of(&machine.root_hash)) else {
        return Err(hinted(
            "no version waits for a restart",
            "`mailctl status` says how the last upgrade went",
        ));
    };
    trial::call_off(place, &machine)?;
    Record::forget(place)?;
    Ok(record.version)
}
