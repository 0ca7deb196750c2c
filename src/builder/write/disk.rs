//! The layout of the disk: fixed for ever, because a partition cannot grow
//! between neighbours.
//!
//! ```text
//! 1 MiB │ esp │ bios 1 MiB │ root A │ verity A │ backup table 1 MiB
//! ```
//!
//! Slot B and `var` follow where the backup table was; systemd-repart makes
//! them at first boot, on a disk of any size. Every UUID is an input, derived
//! by the caller from what the image holds.

use std::fmt;
use std::fs::File;

use anyhow::{Context, Result, ensure};

use crate::builder::recipe::PartitionSizes;
use crate::error::hinted;
use crate::format::gpt::{
    ATTRIBUTE_READ_ONLY, LABEL_UNITS, Partition, SECTOR, TYPE_BIOS_BOOT, TYPE_ESP, TYPE_ROOT,
    TYPE_ROOT_VERITY, Table, Uuid, write_gpt,
};

/// Bytes of a MiB, the alignment of every partition.
pub const MIB: u64 = 1 << 20;
/// Size of the BIOS boot partition in MiB; GRUB's core image takes 0.2.
const BIOS_MIB: u64 = 1;
/// Smallest boot partition in MiB: below it a FAT32 volume has too few clusters.
const SMALLEST_ESP_MIB: u64 = 34;
/// Largest partition in MiB that a recipe may ask for; ours, to catch a slip.
const LARGEST_MIB: u64 = 1 << 20;

/// Where everything lies; [`Display`](fmt::Display) shows it as a text table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskPlan {
    /// EFI system partition, FAT32.
    pub esp: Partition,
    /// BIOS boot partition.
    pub bios: Partition,
    /// Root of slot A.
    pub root: Partition,
    /// dm-verity hashes of slot A.
    pub verity: Partition,
    /// UUID of the disk.
    pub disk_uuid: Uuid,
    /// Size of the file, in bytes.
    pub size: u64,
}

/// The UUIDs of a disk, derived by the caller from what the image holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskUuids {
    /// Of the disk itself.
    pub disk: Uuid,
    /// Of the EFI system partition.
    pub esp: Uuid,
    /// Of the BIOS boot partition.
    pub bios: Uuid,
    /// Of the root: the first half of the root hash.
    pub root: Uuid,
    /// Of the verity hashes: the second half of the root hash.
    pub verity: Uuid,
}

/// Lays the partitions of a recipe out.
pub fn plan_disk(
    disk: &PartitionSizes,
    name: &str,
    version: &str,
    uuids: &DiskUuids,
) -> Result<DiskPlan> {
    if disk.esp_mib < SMALLEST_ESP_MIB {
        return Err(hinted(
            format!("a boot partition of {} MiB is too small", disk.esp_mib),
            format!("set esp_mib in the recipe to {SMALLEST_ESP_MIB} or more"),
        ));
    }
    for (key, size) in [
        ("esp_mib", disk.esp_mib),
        ("root_mib", disk.root_mib),
        ("verity_mib", disk.verity_mib),
    ] {
        if !(1..=LARGEST_MIB).contains(&size) {
            return Err(hinted(
                format!("a partition of {size} MiB makes no sense"),
                format!("set {key} in the recipe to 1 or more, at most {LARGEST_MIB}"),
            ));
        }
    }
    let label = |suffix: &str| {
        let label = format!("{name}_{version}_{suffix}");
        if label.encode_utf16().count() > LABEL_UNITS {
            return Err(hinted(
                format!("the partition label {label} is longer than {LABEL_UNITS} characters"),
                "shorten name or version in the recipe",
            ));
        }
        Ok(label)
    };

    let mut next = MIB;
    let mut place = |label: String, type_uuid: Uuid, uuid: Uuid, mib: u64, attributes: u64| {
        let first_lba = next / SECTOR;
        next += mib * MIB;
        Partition {
            label,
            type_uuid,
            uuid,
            first_lba,
            last_lba: next / SECTOR - 1,
            attributes,
        }
    };
    let esp = place("esp".to_owned(), TYPE_ESP, uuids.esp, disk.esp_mib, 0);
    let bios = place("bios".to_owned(), TYPE_BIOS_BOOT, uuids.bios, BIOS_MIB, 0);
    let root = place(
        label("r")?,
        TYPE_ROOT,
        uuids.root,
        disk.root_mib,
        ATTRIBUTE_READ_ONLY,
    );
    let verity = place(
        label("v")?,
        TYPE_ROOT_VERITY,
        uuids.verity,
        disk.verity_mib,
        ATTRIBUTE_READ_ONLY,
    );
    Ok(DiskPlan {
        esp,
        bios,
        root,
        verity,
        disk_uuid: uuids.disk,
        size: next + MIB,
    })
}

impl DiskPlan {
    /// The partition table.
    pub fn table(&self) -> Table {
        Table {
            disk_uuid: self.disk_uuid,
            disk_size: self.size,
            partitions: vec![
                self.esp.clone(),
                self.bios.clone(),
                self.root.clone(),
                self.verity.clone(),
            ],
        }
    }

    /// Sets the file's size and writes the partition tables.
    pub fn write_tables(&self, file: &File) -> Result<()> {
        let length = file.metadata().context("reading the disk's size")?.len();
        ensure!(
            length <= self.size,
            "the file is longer than the disk that is written to it"
        );
        file.set_len(self.size).context("setting the disk's size")?;
        let mut storage = file;
        write_gpt(
            &mut storage,
            &self.disk_uuid,
            &self.table().partitions,
            self.size,
        )
    }
}

impl fmt::Display for DiskPlan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.table().fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::{DiskPlan, DiskUuids, plan_disk};
    use crate::builder::recipe::PartitionSizes;
    use crate::error::render;
    use crate::format::gpt::{check_backup, read_gpt};

    fn plan(esp_mib: u64, version: &str) -> anyhow::Result<DiskPlan> {
        let disk = PartitionSizes {
            esp_mib,
            root_mib: 1024,
            verity_mib: 16,
        };
        let uuids = DiskUuids {
            disk: [0xd0; 16],
            esp: [0xe0; 16],
            bios: [0xb0; 16],
            root: [0xa1; 16],
            verity: [0xa2; 16],
        };
        plan_disk(&disk, "mail", version, &uuids)
    }

    #[test]
    fn the_layout_is_fixed() {
        let plan = plan(1024, "2026.11.0").unwrap();
        assert_eq!(
            plan.to_string(),
            "\
disk d0d0d0d0-d0d0-d0d0-d0d0-d0d0d0d0d0d0, 2067 MiB
#  label             type             start       size  uuid                                  flags
1  esp               esp              1 MiB   1024 MiB  e0e0e0e0-e0e0-e0e0-e0e0-e0e0e0e0e0e0  -
2  bios              bios-boot     1025 MiB      1 MiB  b0b0b0b0-b0b0-b0b0-b0b0-b0b0b0b0b0b0  -
3  mail_2026.11.0_r  root          1026 MiB   1024 MiB  a1a1a1a1-a1a1-a1a1-a1a1-a1a1a1a1a1a1  read-only
4  mail_2026.11.0_v  root-verity   2050 MiB     16 MiB  a2a2a2a2-a2a2-a2a2-a2a2-a2a2a2a2a2a2  read-only
"
        );
        let file = tempfile::tempfile().unwrap();
        plan.write_tables(&file).unwrap();
        let storage = &file;
        assert_eq!(read_gpt(&storage).unwrap(), plan.table());
        check_backup(&storage).unwrap();
    }

    #[test]
    fn a_recipe_that_does_not_fit_says_what_to_change() {
        assert_eq!(
            render(&plan(32, "1").unwrap_err()),
            "error: a boot partition of 32 MiB is too small\n\
             hint: set esp_mib in the recipe to 34 or more"
        );
        assert_eq!(
            render(&plan(64, &"1".repeat(30)).unwrap_err()),
            "error: the partition label mail_111111111111111111111111111111_r \
             is longer than 36 characters\n\
             hint: shorten name or version in the recipe"
        );
    }
}
