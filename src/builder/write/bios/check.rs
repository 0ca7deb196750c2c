//! Whether what BIOS starts is whole, and starts what UEFI starts.
//!
//! Code is compared with its record, grub.cfg too; a slot with the unified kernel image
//! that it names, since that one says where kernel, initrd and command line are.

use anyhow::{Context, Result, ensure};

use crate::error::Hint;
use crate::format::bios::{CodeRecord, CorePlace, MBR_CODE, read};
use crate::format::boot_entry::{BootEntry, KERNELS};
use crate::format::fat::Volume;
use crate::format::gpt::{Partition, SECTOR, TYPE_BIOS_BOOT, TYPE_ESP, Table};
use crate::format::grub::{CONFIGURATION_FILE, SLOT_FILES, Slot};
use crate::format::storage::{Region, Storage, is_zero};

/// What BIOS starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BiosBoot {
    /// Bytes of GRUB's core image.
    pub core_length: usize,
    /// The slots that there are, each with the unified kernel image that it starts.
    pub slots: Vec<(&'static str, String)>,
}

/// Checks all that BIOS reads; nothing for a disk that only UEFI starts.
pub fn check_bios(disk: &mut dyn Storage, table: &Table) -> Result<Option<BiosBoot>> {
    check_code(disk, table)
        .context("checking what BIOS starts")
        .hint("build the image again; machines with UEFI do not read this")
}

fn check_code(disk: &mut dyn Storage, table: &Table) -> Result<Option<BiosBoot>> {
    let Some(bios) = table.find(&TYPE_BIOS_BOOT) else {
        return Ok(None);
    };
    let mbr = read(disk, 0, MBR_CODE)?;
    let places = CorePlace::both(bios);
    // Without GRUB the MBR names no place, and nothing is in the first one.
    let place = places[CorePlace::used(&places, &mbr).unwrap_or_default()];
    let first = read(disk, place.core, SECTOR as usize)?;
    let sector = read(disk, place.record, SECTOR as usize)?;
    if [&mbr, &first, &sector].iter().all(|bytes| is_zero(bytes)) {
        return Ok(None);
    }
    let record = CodeRecord::read(disk, bios, place)?;
    let core = read(disk, place.core, record.core_length)?;
    check_files(disk, table, &record, &mbr, &core).map(Some)
}

fn check_files(
    disk: &mut dyn Storage,
    table: &Table,
    record: &CodeRecord,
    mbr: &[u8],
    core: &[u8],
) -> Result<BiosBoot> {
    let esp: &Partition = table
        .find(&TYPE_ESP)
        .context("finding the boot partition")?;
    let mut region = Region::new(disk, esp.offset(), esp.size())?;
    let volume = Volume::open(&mut region).context("reading the boot partition")?;
    let configuration = volume.read(CONFIGURATION_FILE)?;
    let found = CodeRecord::of(mbr, core, &configuration, &record.version);
    for (what, one, other) in [
        ("the MBR's boot code is", &found.mbr, &record.mbr),
        ("GRUB's core image is", &found.core, &record.core),
        (
            "grub/grub.cfg is",
            &found.configuration,
            &record.configuration,
        ),
    ] {
        ensure!(one == other, "{what} not as it was written");
    }
    let mut slots = Vec::new();
    let names: Vec<String> = volume
        .list("grub")?
        .into_iter()
        .map(|entry| format!("grub/{}", entry.name))
        .collect();
    for file in SLOT_FILES {
        if names.iter().any(|name| name.eq_ignore_ascii_case(file)) {
            let image = check_slot(&volume, file).with_context(|| format!("checking {file}"))?;
            slots.push((file, image));
        }
    }
    ensure!(!slots.is_empty(), "no slot's file is there, as grub/a.cfg");
    Ok(BiosBoot {
        core_length: record.core_length,
        slots,
    })
}

/// Compares a slot with the unified kernel image that it names, and returns its name.
fn check_slot(volume: &Volume<'_>, file: &str) -> Result<String> {
    let text = volume.read(file)?;
    let slot = Slot::parse(&String::from_utf8_lossy(&text))?;
    let names = BootEntry::all_names(&slot.stem);
    let found = volume.list(KERNELS)?.into_iter().find(|entry| {
        let same = |name: &String| name.eq_ignore_ascii_case(&entry.name);
        names.iter().any(same)
    });
    let found = found.with_context(|| format!("it names {}, which is not there", names[0]))?;
    let name = format!("{KERNELS}/{}", found.name);
    let image = volume
        .read(&name)
        .with_context(|| format!("reading {name}, which it names"))?;
    let expected = Slot::of_image(&slot.stem, &image).with_context(|| format!("reading {name}"))?;
    for (what, same) in [
        ("kernel lies", slot.kernel == expected.kernel),
        ("initrd lies", slot.initrd == expected.initrd),
    ] {
        ensure!(same, "the {what} elsewhere in {}", name);
    }
    ensure!(
        slot.command_line == expected.command_line,
        "its command line is not that of {}",
        name
    );
    Ok(name)
}
