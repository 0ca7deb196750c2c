//! Reading a table back, every checksum and bound checked, see [`RawTable`].

use anyhow::{Context, Result, ensure};

use super::Table;
use super::raw::RawTable;
use crate::format::storage::Storage;

/// Reads the primary table.
///
/// The backup is not looked at, so a disk that was enlarged reads as before;
/// [`check_backup`] compares it.
pub fn read_gpt(storage: &dyn Storage) -> Result<Table> {
    RawTable::read(storage, 1)?.table(storage)
}

/// Checks that the backup at the end of the disk says what the primary says.
pub fn check_backup(storage: &dyn Storage) -> Result<()> {
    let primary = RawTable::read(storage, 1)?;
    let read = || RawTable::read(storage, primary.other_sector())?.table(storage);
    let backup = read().context("reading the backup partition table")?;
    ensure!(
        primary.table(storage)? == backup,
        "the backup partition table differs from the primary one"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{check_backup, read_gpt};
    use crate::format::gpt::{ATTRIBUTE_READ_ONLY, Partition, TYPE_ESP, TYPE_ROOT, write_gpt};

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
