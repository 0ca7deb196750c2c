//! Boot code for legacy BIOS on a disk: the MBR's code and the BIOS boot partition.
//!
//! BIOS runs the first 440 bytes of the disk, these load the core image, and that one
//! reads `grub.cfg` on the boot partition
//! (<https://www.gnu.org/software/grub/manual/grub/html_node/BIOS-installation.html>).
//! The last sector of the partition is ours: a record in plain text of what the code
//! was when it was written, since nothing of it has a checksum. Left out: disks whose
//! sectors are not 512 bytes, which BIOS does not start from.

mod check;

use crate::format::grub::CONFIGURATION;
pub use check::{BiosBoot, check_bios};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::builder::seal::grub::Grub;
use crate::format::gpt::{Partition, SECTOR};
use crate::format::storage::Storage;

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

/// First line of the record.
const RECORD_TITLE: &str = "mailimg boot code for BIOS";

/// What the code was when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    /// Bytes of the core image.
    core_length: usize,
    /// SHA-256 of the MBR's code, the core image and grub.cfg, hexadecimal.
    mbr: String,
    core: String,
    configuration: String,
}

impl Record {
    fn of(mbr: &[u8], core: &[u8], configuration: &[u8]) -> Self {
        let digest = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
        Self {
            core_length: core.len(),
            mbr: digest(mbr),
            core: digest(core),
            configuration: digest(configuration),
        }
    }

    fn to_text(&self) -> String {
        format!(
            "{RECORD_TITLE}\ncore_bytes={}\nmbr={}\ncore={}\ngrub.cfg={}\n",
            self.core_length, self.mbr, self.core, self.configuration
        )
    }

    /// Reads the record of a sector; nothing when it holds none.
    fn parse(sector: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(sector).ok()?.trim_end_matches('\0');
        let mut lines = text.strip_prefix(RECORD_TITLE)?.trim_start().lines();
        let mut take = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix('=');
        Some(Self {
            core_length: take("core_bytes")?.parse().ok()?,
            mbr: take("mbr")?.to_owned(),
            core: take("core")?.to_owned(),
            configuration: take("grub.cfg")?.to_owned(),
        })
    }
}

/// Writes the code to a disk with such a BIOS boot partition, which must be empty.
pub fn write_bios(disk: &mut dyn Storage, grub: &Grub, bios: &Partition) -> Result<()> {
    let (mbr, core) = locate(grub, bios.first_lba)?;
    let record = bios.size() - SECTOR;
    ensure!(
        core.len() as u64 <= record,
        "GRUB's core image of {} bytes does not fit into the BIOS boot partition",
        core.len()
    );
    let text = Record::of(&mbr, &core, CONFIGURATION.as_bytes()).to_text();
    for (bytes, offset) in [
        (&mbr[..], 0),
        (&core[..], bios.offset()),
        (text.as_bytes(), bios.offset() + record),
    ] {
        disk.write_at(bytes, offset)
            .context("writing the boot code for BIOS")?;
    }
    Ok(())
}

/// The MBR's code and the core image, told where on the disk the latter lies.
fn locate(grub: &Grub, core_sector: u64) -> Result<(Vec<u8>, Vec<u8>)> {
    ensure!(
        grub.boot_sector.len() as u64 == SECTOR && grub.core_image.len() as u64 > SECTOR,
        "GRUB's boot sector or core image is too short"
    );
    let mut mbr = grub.boot_sector[..MBR_CODE].to_vec();
    mbr[CORE_SECTOR..CORE_SECTOR + 8].copy_from_slice(&core_sector.to_le_bytes());
    mbr[DRIVE_CHECK..DRIVE_CHECK + 2].fill(NO_OPERATION);
    let mut core = grub.core_image.clone();
    core[REST_SECTOR..REST_SECTOR + 8].copy_from_slice(&(core_sector + 1).to_le_bytes());
    Ok((mbr, core))
}

#[cfg(test)]
mod tests {
    use super::{MBR_CODE, Record, write_bios};
    use crate::builder::seal::grub::Grub;
    use crate::format::gpt::{Partition, TYPE_BIOS_BOOT};
    use crate::format::storage::Storage;

    pub(super) fn grub() -> Grub {
        Grub {
            boot_sector: vec![0xb0; 512],
            core_image: vec![0xc0; 2048],
        }
    }

    pub(super) fn partition() -> Partition {
        Partition {
            label: "bios".to_owned(),
            type_uuid: TYPE_BIOS_BOOT,
            uuid: [1; 16],
            first_lba: 0x1234,
            last_lba: 0x1234 + 15,
            attributes: 0,
        }
    }

    #[test]
    fn the_three_places_are_told_and_nothing_else_changes() {
        let mut disk = vec![0; 4 << 20];
        write_bios(&mut disk, &grub(), &partition()).unwrap();
        let mut mbr = vec![0xb0; MBR_CODE];
        mbr[0x5c..0x64].copy_from_slice(&0x1234_u64.to_le_bytes());
        mbr[0x66..0x68].copy_from_slice(&[0x90, 0x90]);
        assert_eq!(disk[..MBR_CODE], mbr);
        // Signature and table belong to others.
        assert_eq!(disk[MBR_CODE..512], [0; 512 - MBR_CODE]);
        let mut core = vec![0xc0; 2048];
        core[0x1f4..0x1fc].copy_from_slice(&0x1235_u64.to_le_bytes());
        let start = 0x1234 * 512;
        assert_eq!(disk[start..start + 2048], core);
        let end = start + 16 * 512;
        assert!(disk[start + 2048..end - 512].iter().all(|byte| *byte == 0));
        assert!(disk[end..].iter().all(|byte| *byte == 0));

        let mut sector = [0; 512];
        disk.read_at(&mut sector, end as u64 - 512).unwrap();
        let record = Record::parse(&sector).unwrap();
        assert_eq!(record.core_length, 2048);
        assert!(record.to_text().len() <= 512);
        assert_eq!(Record::parse(&[0; 512]), None);
    }

    #[test]
    fn a_core_image_without_room_is_refused() {
        let mut large = grub();
        large.core_image = vec![0xc0; 16 * 512];
        let error = write_bios(&mut vec![0; 4 << 20], &large, &partition()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "GRUB's core image of 8192 bytes does not fit into the BIOS boot partition"
        );
    }
}
