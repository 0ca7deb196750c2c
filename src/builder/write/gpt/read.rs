//! Reading a table back, every checksum and bound checked.
//!
//! A table from a disk is untrusted: nothing in it sizes an allocation or an
//! offset before it was checked.

use anyhow::{Context, Result, anyhow, ensure};

use super::raw::RawTable;
use super::{Partition, SECTOR, Table, Uuid, swap_uuid};
use crate::builder::write::storage::Storage;

/// Reads the primary table.
///
/// The backup is not looked at, so a disk that was enlarged reads as before;
/// [`check_backup`] compares it.
pub fn read_gpt(storage: &dyn Storage) -> Result<Table> {
    decode(&RawTable::read(storage, 1)?, storage)
}

/// Checks that the backup at the end of the disk says what the primary says.
pub fn check_backup(storage: &dyn Storage) -> Result<()> {
    let primary = RawTable::read(storage, 1)?;
    let read = || decode(&RawTable::read(storage, primary.other_sector())?, storage);
    let backup = read().context("reading the backup partition table")?;
    ensure!(
        decode(&primary, storage)? == backup,
        "the backup partition table differs from the primary one"
    );
    Ok(())
}

/// What a table says, once every partition is known to lie inside the disk.
pub(super) fn decode(raw: &RawTable, storage: &dyn Storage) -> Result<Table> {
    let sectors = storage.size().context("reading the disk's size")? / SECTOR;
    let mut partitions = Vec::new();
    for partition in (1..=raw.count()).filter_map(|number| raw.partition(number)) {
        ensure!(
            partition.first_lba <= partition.last_lba
                && partition.last_lba <= raw.last_usable()
                && partition.last_lba < sectors,
            "partition {:?} does not lie inside the disk",
            partition.label
        );
        partitions.push(partition);
    }
    let last = raw.other_sector().max(raw.sector());
    let disk_size = last
        .checked_add(1)
        .and_then(|sectors| sectors.checked_mul(SECTOR))
        .ok_or_else(|| anyhow!("the partition table was made for an impossible disk"))?;
    Ok(Table {
        disk_uuid: raw.disk_uuid(),
        disk_size,
        partitions,
    })
}

pub(super) fn decode_entry(entry: &[u8]) -> Partition {
    let units: Vec<u16> = entry[56..128]
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .take_while(|unit| *unit != 0)
        .collect();
    Partition {
        label: String::from_utf16_lossy(&units),
        type_uuid: uuid_at(entry, 0),
        uuid: uuid_at(entry, 16),
        first_lba: number64(entry, 32),
        last_lba: number64(entry, 40),
        attributes: number64(entry, 48),
    }
}

pub(super) fn uuid_at(bytes: &[u8], offset: usize) -> Uuid {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&bytes[offset..offset + 16]);
    swap_uuid(&uuid)
}

pub(super) fn number32(bytes: &[u8], offset: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(number)
}

pub(super) fn number64(bytes: &[u8], offset: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::{check_backup, read_gpt};
    use crate::builder::write::gpt::{
        ATTRIBUTE_READ_ONLY, Partition, TYPE_ESP, TYPE_ROOT, write_gpt,
    };

    const SIZE: u64 = 4 << 20;

    fn partitions() -> Vec<Partition> {
        vec![
            Partition {
                label: "esp".to_owned(),
                type_uuid: TYPE_ESP,
                uuid: [0x11; 16],
                first_lba: 2048,
                last_lba: 4095,
                attributes: 0,
            },
            Partition {
                label: "röot".to_owned(),
                type_uuid: TYPE_ROOT,
                uuid: [0x22; 16],
                first_lba: 4096,
                last_lba: 6143,
                attributes: ATTRIBUTE_READ_ONLY,
            },
        ]
    }

    fn disk() -> Vec<u8> {
        let mut disk = vec![0; SIZE as usize];
        write_gpt(&mut disk, &[0xdd; 16], &partitions(), SIZE).unwrap();
        disk
    }

    #[test]
    fn a_written_table_reads_back() {
        let disk = disk();
        let table = read_gpt(&disk).unwrap();
        assert_eq!(table.partitions, partitions());
        assert_eq!(table.disk_size, SIZE);
        check_backup(&disk).unwrap();
        assert_eq!(
            table.to_string(),
            "\
disk dddddddd-dddd-dddd-dddd-dddddddddddd, 4 MiB
#  label  type             start       size  uuid                                  flags
1  esp    esp              1 MiB      1 MiB  11111111-1111-1111-1111-111111111111  -
2  röot   root             2 MiB      1 MiB  22222222-2222-2222-2222-222222222222  read-only
"
        );
    }

    #[test]
    fn a_damaged_table_is_refused() {
        for (offset, text) in [
            (512, "there is no partition table"),
            (512 + 60, "header has a wrong checksum"),
            (1024 + 32, "entries have a wrong checksum"),
        ] {
            let mut disk = disk();
            disk[offset] ^= 1;
            let error = read_gpt(&disk).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        let mut disk = disk();
        let last = disk.len() - 512 + 60;
        disk[last] ^= 1;
        read_gpt(&disk).unwrap();
        assert!(check_backup(&disk).is_err());
        assert!(read_gpt(&vec![0; 700]).is_err());
    }

    #[test]
    fn boot_code_survives_and_bad_layouts_are_refused() {
        let mut disk = vec![0; SIZE as usize];
        disk[..440].fill(0x90);
        write_gpt(&mut disk, &[0xdd; 16], &partitions(), SIZE).unwrap();
        assert!(disk[..440].iter().all(|byte| *byte == 0x90));
        assert_eq!(disk[510..512], [0x55, 0xaa]);

        let refuse = |change: fn(&mut Partition)| {
            let mut partitions = partitions();
            change(&mut partitions[1]);
            write_gpt(&mut vec![0; SIZE as usize], &[1; 16], &partitions, SIZE)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refuse(|partition| partition.first_lba = 4095),
            "partitions esp and röot overlap"
        );
        assert_eq!(
            refuse(|partition| partition.last_lba = 8191),
            "partition röot does not lie inside the disk"
        );
        assert_eq!(
            refuse(|partition| partition.uuid = [0x11; 16]),
            "partitions esp and röot have the same UUID"
        );
        assert!(refuse(|partition| partition.label = "x".repeat(37)).contains("longer than 36"));
    }
}
