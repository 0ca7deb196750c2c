//! GUID partition tables: the values, and the table written to a disk.
//!
//! UEFI Specification 2.10, chapter 5,
//! <https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html>;
//! type UUIDs from the Discoverable Partitions Specification,
//! <https://uapi-group.org/specifications/specs/discoverable_partitions_specification/>.
//! Left out: sectors of 4096 bytes, more than 128 partitions.

mod decode;
mod raw;
mod read;
mod write;

pub use raw::{Copies, FIRST_UNUSED, RawTable, SPARE};
pub use read::{check_backup, read_gpt};
pub use write::{FIRST_USABLE, write_gpt};

use std::fmt;

use anyhow::{Result, ensure};

/// Bytes in a sector.
pub const SECTOR: u64 = 512;
/// Entries of a table that we write, and the least the specification allows.
const ENTRIES: usize = 128;
/// Bytes of an entry.
const ENTRY_SIZE: usize = 128;
/// Sectors of the entry array.
const ENTRY_SECTORS: u64 = (ENTRIES * ENTRY_SIZE) as u64 / SECTOR;
/// Bytes of a header that count for its checksum.
const HEADER_SIZE: usize = 92;
/// Longest label, in UTF-16 units.
pub const LABEL_UNITS: usize = 36;

/// A UUID, bytes in the order they are written as text.
pub type Uuid = [u8; 16];

/// EFI system partition.
pub const TYPE_ESP: Uuid = uuid("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
/// Where GRUB puts its core on a disk with a GUID partition table.
pub const TYPE_BIOS_BOOT: Uuid = uuid("21686148-6449-6e6f-744e-656564454649");
/// Root file system for x86-64.
pub const TYPE_ROOT: Uuid = uuid("4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
/// dm-verity hashes of a root file system for x86-64.
pub const TYPE_ROOT_VERITY: Uuid = uuid("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5");
/// What lives on `/var`.
pub const TYPE_VAR: Uuid = uuid("4d21b016-b534-45c2-a9fb-5c16e091fd2d");

/// Attribute flag of the Discoverable Partitions Specification: mount read-only.
pub const ATTRIBUTE_READ_ONLY: u64 = 1 << 60;

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Label, at most 36 UTF-16 units.
    pub label: String,
    /// What kind of partition it is.
    pub type_uuid: Uuid,
    /// Its own UUID.
    pub uuid: Uuid,
    /// First sector.
    pub first_lba: u64,
    /// Last sector, inclusive.
    pub last_lba: u64,
    /// Attribute flags.
    pub attributes: u64,
}

impl Partition {
    /// Where it begins, in bytes from the start of the disk.
    pub fn offset(&self) -> u64 {
        self.first_lba * SECTOR
    }

    /// How long it is, in bytes.
    pub fn size(&self) -> u64 {
        (self.last_lba - self.first_lba + 1) * SECTOR
    }
}

/// A partition table; [`Display`](fmt::Display) shows it as a text table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// UUID of the disk.
    pub disk_uuid: Uuid,
    /// Size of the disk that the table was made for, in bytes.
    pub disk_size: u64,
    /// The partitions, in the order of their numbers, without unused entries.
    pub partitions: Vec<Partition>,
}

impl Table {
    /// The first partition of a type.
    pub fn find(&self, type_uuid: &Uuid) -> Option<&Partition> {
        self.partitions
            .iter()
            .find(|partition| partition.type_uuid == *type_uuid)
    }
}

impl Table {
    /// Refuses partitions that share sectors, where writing to one changes another.
    pub fn check_apart(&self) -> Result<()> {
        let mut sorted: Vec<&Partition> = self.partitions.iter().collect();
        sorted.sort_by_key(|partition| partition.first_lba);
        for pair in sorted.windows(2) {
            ensure!(
                pair[0].last_lba < pair[1].first_lba,
                "partitions {:?} and {:?} overlap",
                pair[0].label,
                pair[1].label
            );
        }
        ensure!(
            sorted
                .first()
                .is_none_or(|first| first.first_lba >= FIRST_USABLE),
            "a partition lies over the partition table"
        );
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .partitions
            .iter()
            .map(|partition| partition.label.chars().count())
            .fold("label".len(), usize::max);
        writeln!(
            formatter,
            "disk {}, {}",
            uuid_text(&self.disk_uuid),
            size_text(self.disk_size)
        )?;
        writeln!(
            formatter,
            "{:<2} {:<width$}  {:<11} {:>10} {:>10}  {:<36}  flags",
            "#", "label", "type", "start", "size", "uuid"
        )?;
        for (index, partition) in self.partitions.iter().enumerate() {
            writeln!(
                formatter,
                "{:<2} {:<width$}  {:<11} {:>10} {:>10}  {}  {}",
                index + 1,
                partition.label,
                type_name(&partition.type_uuid),
                size_text(partition.offset()),
                size_text(partition.size()),
                uuid_text(&partition.uuid),
                flags_text(partition.attributes),
            )?;
        }
        Ok(())
    }
}

/// The usual form of a UUID, lowercase with hyphens.
pub fn uuid_text(uuid: &Uuid) -> String {
    let digits = hex::encode(uuid);
    [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    ]
    .join("-")
}

fn type_name(uuid: &Uuid) -> &'static str {
    match *uuid {
        TYPE_ESP => "esp",
        TYPE_BIOS_BOOT => "bios-boot",
        TYPE_ROOT => "root",
        TYPE_ROOT_VERITY => "root-verity",
        TYPE_VAR => "var",
        _ => "other",
    }
}

fn size_text(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) {
        format!("{} MiB", bytes >> 20)
    } else {
        format!("{bytes} B")
    }
}

fn flags_text(attributes: u64) -> String {
    match attributes {
        0 => "-".to_owned(),
        ATTRIBUTE_READ_ONLY => "read-only".to_owned(),
        other => format!("{other:#x}"),
    }
}

/// Reads the text of a constant; a wrong one fails to compile.
const fn uuid(text: &str) -> Uuid {
    let text = text.as_bytes();
    assert!(text.len() == 36, "a UUID has 36 characters");
    let mut bytes = [0; 16];
    let (mut from, mut to) = (0, 0);
    while to < 16 {
        if text[from] == b'-' {
            from += 1;
        }
        bytes[to] = digit(text[from]) << 4 | digit(text[from + 1]);
        from += 2;
        to += 1;
    }
    bytes
}

const fn digit(character: u8) -> u8 {
    match character {
        b'0'..=b'9' => character - b'0',
        b'a'..=b'f' => character - b'a' + 10,
        _ => panic!("a UUID constant is written in lowercase hexadecimal"),
    }
}

/// Turns a UUID into the order of a disk, or back: its first three fields are
/// little-endian there.
fn swap_uuid(uuid: &Uuid) -> Uuid {
    let mut swapped = *uuid;
    swapped[..4].reverse();
    swapped[4..6].reverse();
    swapped[6..8].reverse();
    swapped
}

#[cfg(test)]
mod tests {
    use super::{TYPE_ESP, swap_uuid, uuid_text};

    #[test]
    fn a_uuid_keeps_its_text_and_swaps_on_disk() {
        assert_eq!(uuid_text(&TYPE_ESP), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
        // As UEFI 2.10, appendix A, lays the EFI system partition's type out.
        assert_eq!(
            hex::encode(swap_uuid(&TYPE_ESP)),
            "28732ac11ff8d211ba4b00a0c93ec93b"
        );
    }
}
