//! Writing a table: protective MBR, primary and backup header and entries.

use anyhow::{Context, Result, ensure};

use super::{
    ENTRIES, ENTRY_SECTORS, ENTRY_SIZE, HEADER_SIZE, LABEL_UNITS, Partition, SECTOR, Uuid,
    swap_uuid,
};
use crate::format::storage::Storage;

/// First sector that partitions may use: 1 MiB, as sfdisk and systemd-repart
/// set it, so that nothing is ever squeezed in before the first partition.
pub const FIRST_USABLE: u64 = 2048;

/// Writes the table to a disk of `total_size` bytes.
///
/// The first 440 bytes of the disk, where boot code may lie, are left alone.
pub fn write_gpt(
    storage: &mut dyn Storage,
    disk_uuid: &Uuid,
    partitions: &[Partition],
    total_size: u64,
) -> Result<()> {
    let sectors = total_size / SECTOR;
    ensure!(
        total_size.is_multiple_of(SECTOR) && sectors > FIRST_USABLE + ENTRY_SECTORS + 1,
        "a disk of {total_size} bytes cannot hold a partition table"
    );
    let last = sectors - 1;
    let last_usable = last - ENTRY_SECTORS - 1;
    check_partitions(partitions, last_usable)?;

    let mut entries = vec![0; ENTRIES * ENTRY_SIZE];
    for (entry, partition) in entries.chunks_exact_mut(ENTRY_SIZE).zip(partitions) {
        encode_entry(entry, partition);
    }
    let header = |own: u64, other: u64, entries_at: u64| {
        encode_header(disk_uuid, own, other, entries_at, last_usable, &entries)
    };
    let backup_entries = last - ENTRY_SECTORS;

    let mut write = |bytes: &[u8], sector: u64| {
        storage
            .write_at(bytes, sector * SECTOR)
            .context("writing the partition table")
    };
    write(&entries, backup_entries)?;
    write(&header(last, 1, backup_entries), last)?;
    write(&entries, 2)?;
    write(&header(1, last, 2), 1)?;
    storage
        .write_at(&protective_mbr(sectors), MBR_AFTER_CODE)
        .context("writing the protective MBR")
}

fn check_partitions(partitions: &[Partition], last_usable: u64) -> Result<()> {
    ensure!(
        partitions.len() <= ENTRIES,
        "{} partitions are more than a table holds",
        partitions.len()
    );
    for (index, partition) in partitions.iter().enumerate() {
        let label = &partition.label;
        ensure!(
            label.encode_utf16().count() <= LABEL_UNITS,
            "the partition label {label} is longer than {LABEL_UNITS} characters"
        );
        ensure!(
            FIRST_USABLE <= partition.first_lba
                && partition.first_lba <= partition.last_lba
                && partition.last_lba <= last_usable,
            "partition {label} does not lie inside the disk"
        );
        for other in &partitions[..index] {
            ensure!(
                other.last_lba < partition.first_lba || partition.last_lba < other.first_lba,
                "partitions {} and {label} overlap",
                other.label
            );
            ensure!(
                other.uuid != partition.uuid,
                "partitions {} and {label} have the same UUID",
                other.label
            );
        }
    }
    Ok(())
}

pub(super) fn encode_entry(entry: &mut [u8], partition: &Partition) {
    entry[..16].copy_from_slice(&swap_uuid(&partition.type_uuid));
    entry[16..32].copy_from_slice(&swap_uuid(&partition.uuid));
    entry[32..40].copy_from_slice(&partition.first_lba.to_le_bytes());
    entry[40..48].copy_from_slice(&partition.last_lba.to_le_bytes());
    entry[48..56].copy_from_slice(&partition.attributes.to_le_bytes());
    for (place, unit) in entry[56..]
        .chunks_exact_mut(2)
        .zip(partition.label.encode_utf16())
    {
        place.copy_from_slice(&unit.to_le_bytes());
    }
}

fn encode_header(
    disk_uuid: &Uuid,
    own: u64,
    other: u64,
    entries_at: u64,
    last_usable: u64,
    entries: &[u8],
) -> [u8; SECTOR as usize] {
    let mut header = [0; SECTOR as usize];
    header[..8].copy_from_slice(b"EFI PART");
    // Revision 1.0, the only one there is.
    header[8..12].copy_from_slice(&0x0001_0000_u32.to_le_bytes());
    header[12..16].copy_from_slice(&(HEADER_SIZE as u32).to_le_bytes());
    header[24..32].copy_from_slice(&own.to_le_bytes());
    header[32..40].copy_from_slice(&other.to_le_bytes());
    header[40..48].copy_from_slice(&FIRST_USABLE.to_le_bytes());
    header[48..56].copy_from_slice(&last_usable.to_le_bytes());
    header[56..72].copy_from_slice(&swap_uuid(disk_uuid));
    header[72..80].copy_from_slice(&entries_at.to_le_bytes());
    header[80..84].copy_from_slice(&(ENTRIES as u32).to_le_bytes());
    header[84..88].copy_from_slice(&(ENTRY_SIZE as u32).to_le_bytes());
    header[88..92].copy_from_slice(&crc32fast::hash(entries).to_le_bytes());
    let checksum = crc32fast::hash(&header[..HEADER_SIZE]);
    header[16..20].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// Where the part of the MBR begins that is not boot code.
const MBR_AFTER_CODE: u64 = 440;

/// The MBR from [`MBR_AFTER_CODE`]: one partition of type 0xEE over the whole
/// disk, so that old tools take it for used.
fn protective_mbr(sectors: u64) -> [u8; 72] {
    let mut mbr = [0; 72];
    let entry = &mut mbr[6..22];
    entry[1..4].copy_from_slice(&[0, 2, 0]);
    entry[4] = 0xee;
    entry[5..8].copy_from_slice(&[0xff; 3]);
    entry[8..12].copy_from_slice(&1u32.to_le_bytes());
    let length = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    entry[12..].copy_from_slice(&length.to_le_bytes());
    mbr[70..].copy_from_slice(&[0x55, 0xaa]);
    mbr
}
