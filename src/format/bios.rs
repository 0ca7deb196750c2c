//! Where GRUB's code lies on a disk that BIOS starts: the MBR's code and the BIOS boot
//! partition.
//!
//! BIOS runs the first 440 bytes of the disk, these load the core image from the sector that
//! they name, and that one reads `grub.cfg` on the boot partition
//! (<https://www.gnu.org/software/grub/manual/grub/html_node/BIOS-installation.html>).
//!
//! The partition has two places for a core image, its halves. An image has one in the first;
//! a newer one is written to the place that is not used, and takes effect with the disk's
//! first sector. Each place has a record in a sector of its own at the partition's end, in
//! plain text: what the code was when it was written, since nothing of it has a checksum.
//! Left out: disks whose sectors are not 512 bytes, which BIOS does not start from.

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::gpt::{Partition, SECTOR};
use super::storage::Storage;

/// Bytes of the MBR that are code; a disk signature and the table follow.
pub const MBR_CODE: usize = 440;
/// Where the boot sector is told in which sector the core image begins.
const CORE_SECTOR: usize = 0x5c;
/// Where it jumps past the drive number that BIOS hands over. Two no-operations
/// instead make it correct the number, which some BIOSes get wrong for hard disks.
const DRIVE_CHECK: usize = 0x66;
const NO_OPERATION: u8 = 0x90;
/// Where the core image is told in which sector the rest of it begins.
const REST_SECTOR: usize = 0x1f4;

/// First line of a record.
const RECORD_TITLE: &str = "mailimg boot code for BIOS";

/// GRUB's two parts, as for any disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grub {
    /// The boot sector.
    pub boot_sector: Vec<u8>,
    /// The core image, whole sectors.
    pub core_image: Vec<u8>,
    /// The version of its package.
    pub version: String,
}

impl Grub {
    /// The MBR's code and the core image, told where on the disk the latter lies.
    pub fn locate(&self, core_sector: u64) -> Result<(Vec<u8>, Vec<u8>)> {
        ensure!(
            self.boot_sector.len() as u64 == SECTOR && self.core_image.len() as u64 > SECTOR,
            "GRUB's boot sector or core image is too short"
        );
        let mut mbr = self.boot_sector[..MBR_CODE].to_vec();
        mbr[CORE_SECTOR..CORE_SECTOR + 8].copy_from_slice(&core_sector.to_le_bytes());
        mbr[DRIVE_CHECK..DRIVE_CHECK + 2].fill(NO_OPERATION);
        let mut core = self.core_image.clone();
        core[REST_SECTOR..REST_SECTOR + 8].copy_from_slice(&(core_sector + 1).to_le_bytes());
        Ok((mbr, core))
    }
}

/// One of the two places for a core image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorePlace {
    /// Its first sector.
    pub core: u64,
    /// The sector of its record.
    pub record: u64,
    /// Bytes that a core image may have there.
    pub room: u64,
}

impl CorePlace {
    /// Both places of a partition. An image, which has nothing in the second one, may use
    /// more than the first.
    pub fn both(bios: &Partition) -> [Self; 2] {
        let half = (bios.last_lba + 1 - bios.first_lba) / 2;
        let records = 2;
        [
            Self {
                core: bios.first_lba,
                record: bios.last_lba,
                room: half * SECTOR,
            },
            Self {
                core: bios.first_lba + half,
                record: bios.last_lba - 1,
                room: half.saturating_sub(records) * SECTOR,
            },
        ]
    }

    /// The number of the place that the MBR's code loads; nothing when it is none of them.
    pub fn used(places: &[Self; 2], mbr: &[u8]) -> Option<usize> {
        let mut number = [0; 8];
        number.copy_from_slice(mbr.get(CORE_SECTOR..CORE_SECTOR + 8)?);
        let sector = u64::from_le_bytes(number);
        places.iter().position(|place| place.core == sector)
    }
}

/// What the code was when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeRecord {
    /// Bytes of the core image.
    pub core_length: usize,
    /// SHA-256 of the MBR's code, the core image and grub.cfg, hexadecimal.
    pub mbr: String,
    /// Of the core image.
    pub core: String,
    /// Of grub.cfg.
    pub configuration: String,
    /// The version of GRUB's package; empty in the first images.
    pub version: String,
}

impl CodeRecord {
    /// The record of that code.
    pub fn of(mbr: &[u8], core: &[u8], configuration: &[u8], version: &str) -> Self {
        let digest = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
        Self {
            core_length: core.len(),
            mbr: digest(mbr),
            core: digest(core),
            configuration: digest(configuration),
            version: version.to_owned(),
        }
    }

    /// Its text.
    pub fn to_text(&self) -> String {
        format!(
            "{RECORD_TITLE}\ncore_bytes={}\nmbr={}\ncore={}\ngrub.cfg={}\nversion={}\n",
            self.core_length, self.mbr, self.core, self.configuration, self.version
        )
    }

    /// Reads the record of a sector; nothing when it holds none.
    pub fn parse(sector: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(sector).ok()?.trim_end_matches('\0');
        let mut lines = text.strip_prefix(RECORD_TITLE)?.trim_start().lines();
        let mut take = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix('=');
        Some(Self {
            core_length: take("core_bytes")?.parse().ok()?,
            mbr: take("mbr")?.to_owned(),
            core: take("core")?.to_owned(),
            configuration: take("grub.cfg")?.to_owned(),
            version: take("version").unwrap_or_default().to_owned(),
        })
    }

    /// Reads it from a disk, and refuses one that cannot be true.
    pub fn read(disk: &dyn Storage, bios: &Partition, place: CorePlace) -> Result<Self> {
        let sector = read(disk, place.record, SECTOR as usize)?;
        let room = (bios.last_lba - place.core) * SECTOR;
        Self::parse(&sector)
            .filter(|record| record.core_length as u64 <= room)
            .context("the record at the end of the BIOS boot partition is damaged")
    }
}

/// Reads bytes from a sector on.
pub fn read(disk: &dyn Storage, sector: u64, length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    disk.read_at(&mut bytes, sector * SECTOR)
        .context("reading what BIOS starts")?;
    Ok(bytes)
}
