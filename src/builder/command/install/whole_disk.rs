//! The whole disk: whatever was on it is gone, and the first boot makes the rest.
//!
//! What would be found of an older system is overwritten: both ends of the disk, where
//! partition tables and marks of RAID and ZFS lie, and both ends of each old and coming
//! partition. The rest of the disk is left to lie. The partition tables come last, so an
//! interrupted install starts nothing, and the same command again ends it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use super::copy::{Stretch, compare, copy, total};
use super::note::Note;
use super::source::Source;
use crate::builder::progress::Progress;
use crate::builder::write::disk::MIB;
use crate::error::hinted;
use crate::format::bios::MBR_CODE;
use crate::format::gpt::{
    Copies, RawTable, SECTOR, TYPE_VAR, Table, check_backup, read_gpt, write_gpt,
};
use crate::format::storage::{Storage, is_zero};

/// Smallest `/var` that the first boot makes: SizeMinBytes of units/repart.d/70-var.conf.
const SMALLEST_VAR: u64 = 2 << 30;
/// As much of each end of disk and partition as holds the marks of what lay there:
/// ZFS has the largest, four times 256 KiB.
const MARKS: u64 = MIB;
/// Partitions of an MBR, and where its table begins.
const MBR_ENTRIES: usize = 4;
const MBR_TABLE: usize = 446;

/// How large a disk must be for an image, in bytes.
pub fn smallest_disk(image: &Table) -> u64 {
    let end = end_of(image);
    let slot: u64 = image.partitions[2..].iter().map(|one| one.size()).sum();
    end + slot + SMALLEST_VAR + MIB
}

/// Where the last partition of an image ends.
fn end_of(image: &Table) -> u64 {
    let ends = image.partitions.iter().map(|one| one.offset() + one.size());
    ends.max().unwrap_or_default()
}

/// Refuses a disk that is too small, or that holds something.
pub fn check_disk(source: &Source<'_>, disk: &dyn Storage, force: bool) -> Result<()> {
    let size = disk.size().context("reading the disk's size")?;
    let needed = smallest_disk(&source.table);
    if size < needed {
        return Err(hinted(
            format!(
                "the disk has {} MiB, the image and /var need {} MiB",
                size / MIB,
                needed.div_ceil(MIB)
            ),
            "take a larger disk; `truncate -s` enlarges a file that stands for one",
        ));
    }
    if force || matches!(Note::read(disk), Some(Note::WholeDisk)) || is_blank(disk, size)? {
        return Ok(());
    }
    let copies = Copies::read(disk)?;
    let table = copies.primary.or(copies.backup);
    let table = table.and_then(|raw| raw.table(disk));
    let (what, hint) = match &table {
        Ok(table) if table.find(&TYPE_VAR).is_some() => (
            "it is the disk of a machine with mail in /var".to_owned(),
            "--keep-data keeps the mail and replaces the system; --force overwrites all of it",
        ),
        Ok(table) => {
            let labels = table.partitions.iter().map(|one| one.label.as_str());
            let labels: Vec<&str> = labels.collect();
            (
                format!("it has {} partitions: {}", labels.len(), labels.join(", ")),
                "--force overwrites it, and all on it is lost",
            )
        }
        Err(_) => (
            "something is written at its beginning or end".to_owned(),
            "--force overwrites it, and all on it is lost",
        ),
    };
    Err(hinted(format!("the disk is not empty: {what}"), hint))
}

/// Whether there is nothing at both ends of a disk.
fn is_blank(disk: &dyn Storage, size: u64) -> Result<bool> {
    let mut bytes = vec![0; MARKS as usize];
    for offset in [0, size - MARKS] {
        disk.read_at(&mut bytes, offset)
            .context("reading what is on the disk")?;
        if !is_zero(&bytes) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Puts an image onto a disk that [`check_disk`] let pass.
pub fn write_whole_disk(
    source: &Source<'_>,
    disk: &mut dyn Storage,
    progress: &Progress,
) -> Result<()> {
    let size = disk.size().context("reading the disk's size")?;
    for (start, length) in marks(&source.table, disk, size) {
        disk.zero_at(start, length)
            .context("clearing what was on the disk")?;
    }
    disk.sync().context("clearing what was on the disk")?;
    Note::WholeDisk.write(disk)?;

    let end = end_of(&source.table);
    let start = source.esp().offset();
    let stretches = [
        Stretch::same(start, end - start),
        Stretch::same(0, MBR_CODE as u64),
    ];
    let stage = progress.bytes("disk", 2 * total(&stretches));
    let written = copy(&source.image, &stretches, disk, &stage).context("writing the image")?;
    disk.sync().context("writing the image")?;
    compare(disk, &written, &stage)?;
    stage.finish("written and read back");

    let table = &source.table;
    write_gpt(disk, &table.disk_uuid, &table.partitions, size)?;
    disk.sync().context("writing the partition table")?;
    check_backup(disk).context("reading back the partition table")?;
    if read_gpt(disk)?.partitions != table.partitions {
        bail!("reading back the partition table: it is not what was written");
    }
    Note::clear(disk)
}

/// Stretches to overwrite, in order and apart: start and length.
fn marks(image: &Table, disk: &dyn Storage, size: u64) -> Vec<(u64, u64)> {
    let end = end_of(image);
    let mut places = vec![0, size, end];
    // The coming slot B, and /var behind it.
    for partition in &image.partitions[2..] {
        places.push(places[places.len() - 1] + partition.size());
    }
    places.extend(old_borders(disk));
    let mut stretches: BTreeMap<u64, u64> = BTreeMap::new();
    for place in places {
        let start = (place.saturating_sub(MARKS) / SECTOR * SECTOR).min(size);
        let stop = place.saturating_add(MARKS).min(size);
        // The image overwrites what lies before its end.
        for (from, to) in [(start, stop.min(MIB)), (start.max(end), stop)] {
            if from < to {
                let known = stretches.entry(from).or_insert(to);
                *known = to.max(*known);
            }
        }
    }
    stretches
        .into_iter()
        .map(|(from, to)| (from, to - from))
        .collect()
}

/// Where old partitions begin and end, in bytes, as far as a table of them can be read.
fn old_borders(disk: &dyn Storage) -> Vec<u64> {
    let mut borders = Vec::new();
    if let Ok(Copies { primary, backup }) = Copies::read(disk) {
        let tables = [primary, backup].into_iter().flatten();
        for raw in tables.collect::<Vec<RawTable>>() {
            for partition in (1..=raw.count()).filter_map(|number| raw.partition(number)) {
                borders.push(partition.offset());
                borders.push(partition.offset() + partition.size());
            }
        }
    }
    let mut sector = [0; SECTOR as usize];
    if disk.read_at(&mut sector, 0).is_ok() && sector[510..] == [0x55, 0xaa] {
        let entries = sector[MBR_TABLE..].chunks_exact(16).take(MBR_ENTRIES);
        for entry in entries {
            let number = |at: usize| {
                let bytes = entry[at..at + 4].try_into();
                u64::from(bytes.map_or(0, u32::from_le_bytes))
            };
            let (start, length) = (number(8), number(12));
            borders.push(start * SECTOR);
            borders.push((start + length) * SECTOR);
        }
    }
    borders
}
