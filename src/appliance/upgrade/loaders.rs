//! The boot loaders of the running version come onto the disk, once it has proven itself:
//! one that does not work is never taken in with a version that was not tried.
//!
//! None is replaced by an older one, and each step is such that the machine starts whenever
//! the power goes. systemd-boot is a file on the boot partition, whose new content is
//! written to free clusters before its folder names them with one sector. That order is
//! ours, so the partition must not be mounted. GRUB's new core image goes to the place that
//! is not used ([`crate::format::bios`]), is read back, and takes effect with the disk's
//! first sector. Left out: `grub.cfg` and `loader.conf`, which stay those of the
//! installation.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result, ensure};
use rustix::fs::OFlags;

use super::machine::Machine;
use crate::appliance::machine::place::{self, Place};
use crate::format::bios::{CodeRecord, CorePlace, Grub, MBR_CODE, read};
use crate::format::boot_entry::LOADERS;
use crate::format::fat::Volume;
use crate::format::gpt::{Partition, SECTOR};
use crate::format::loader::{GRUB_FILES, LOADER_FILE, loader_version};
use crate::format::storage::{Storage, is_zero};
use crate::format::version_order::compare_versions;

/// What became of a boot loader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// It is not there, or as it should be, or newer.
    AsItWas,
    /// It is this version now.
    To(String),
}

/// Renews both; what became of each, in lines, for people.
pub fn renew(place: &Place, machine: &Machine) -> Vec<String> {
    let said = [
        ("systemd-boot", renew_on_boot_partition(place)),
        ("GRUB", renew_on_disk(place, machine)),
    ];
    let lines = said.into_iter().filter_map(|(name, result)| match result {
        Ok(Renewed::AsItWas) => None,
        Ok(Renewed::To(version)) => Some(format!("The boot loader {name} is {version} now.")),
        Err(error) => Some(format!("The boot loader {name} stays as it is: {error:#}.")),
    });
    lines.collect()
}

fn renew_on_boot_partition(place: &Place) -> Result<Renewed> {
    let device = place.path(place::ESP_LINK);
    // A folder stands for the partition where a machine is made up.
    if !device.exists() || device.is_dir() {
        return Ok(Renewed::AsItWas);
    }
    let new =
        fs::read(place.path(LOADER_FILE)).with_context(|| format!("reading {LOADER_FILE}"))?;
    // Refused while it is mounted.
    let exclusive = i32::try_from(OFlags::EXCL.bits())?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(exclusive)
        .open(&device)
        .context("opening the boot partition")?;
    renew_systemd_boot(&mut &file, &new)
}

/// Renews systemd-boot on a boot partition, wherever it lies there.
pub fn renew_systemd_boot(partition: &mut dyn Storage, new: &[u8]) -> Result<Renewed> {
    let version = loader_version(new).context("reading the version of the new one")?;
    let mut renewed = Renewed::AsItWas;
    // Where firmware looks for it comes last: what started until now starts once more.
    for path in LOADERS.iter().rev() {
        let mut volume = Volume::open(partition).context("reading the boot partition")?;
        let present = volume.read(path)?;
        let newer = loader_version(&present)
            .is_some_and(|present| compare_versions(&present, &version).is_gt());
        if present == new || newer {
            continue;
        }
        volume.replace_file(path, new)?;
        let volume = Volume::open(partition).context("reading the boot partition")?;
        ensure!(volume.read(path)? == new, "{path} is not as it was written");
        renewed = Renewed::To(version.clone());
    }
    Ok(renewed)
}

fn renew_on_disk(place: &Place, machine: &Machine) -> Result<Renewed> {
    let [boot_sector, core_image, version] = GRUB_FILES.map(|file| place.path(file));
    if !version.exists() {
        return Ok(Renewed::AsItWas);
    }
    let new = Grub {
        boot_sector: fs::read(boot_sector).context("reading the new one")?,
        core_image: fs::read(core_image).context("reading the new one")?,
        version: fs::read_to_string(version)
            .context("reading the new one's version")?
            .trim()
            .to_owned(),
    };
    renew_grub(&mut &machine.disk, machine.layout.bios(), &new)
}

/// Renews GRUB on a disk with that BIOS boot partition.
pub fn renew_grub(disk: &mut dyn Storage, bios: &Partition, new: &Grub) -> Result<Renewed> {
    let first = read(disk, 0, SECTOR as usize)?;
    if is_zero(&first[..MBR_CODE]) {
        return Ok(Renewed::AsItWas);
    }
    let places = CorePlace::both(bios);
    let used = CorePlace::used(&places, &first)
        .context("what BIOS starts is not where mailimg puts it")?;
    let present = CodeRecord::read(disk, bios, places[used])?;
    let (mbr, core) = new.locate(places[used].core)?;
    let same = first[..MBR_CODE] == mbr && read(disk, places[used].core, core.len())? == core;
    let newer = compare_versions(&present.version, &new.version).is_gt();
    if newer || same && present.version == new.version {
        return Ok(Renewed::AsItWas);
    }

    let place = places[1 - used];
    // What runs may be longer than its half.
    let overlaps = used == 0 && present.core_length as u64 > places[0].room;
    ensure!(
        !overlaps && new.core_image.len() as u64 <= place.room,
        "the BIOS boot partition has no room for a second one"
    );
    let (mbr, core) = new.locate(place.core)?;
    let record = CodeRecord {
        configuration: present.configuration,
        ..CodeRecord::of(&mbr, &core, &[], &new.version)
    };
    let mut sector = record.to_text().into_bytes();
    sector.resize(SECTOR as usize, 0);
    put(disk, place.core, &core)?;
    put(disk, place.record, &sector)?;
    // The table stays, which lies in the same sector.
    let switched = [&mbr[..], &first[MBR_CODE..]].concat();
    put(disk, 0, &switched)?;
    Ok(Renewed::To(new.version.clone()))
}

/// Writes to a sector, and reads back what came of it.
fn put(disk: &mut dyn Storage, sector: u64, bytes: &[u8]) -> Result<()> {
    disk.write_at(bytes, sector * SECTOR)
        .and_then(|()| disk.sync())
        .context("writing what BIOS starts")?;
    ensure!(
        read(disk, sector, bytes.len())? == bytes,
        "what BIOS starts is not as it was written"
    );
    Ok(())
}
