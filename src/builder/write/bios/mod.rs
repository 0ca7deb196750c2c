//! Boot code for legacy BIOS on the disk of an image: the MBR's code, and the first place of
//! the BIOS boot partition. What lies where is said in [`crate::format::bios`].

mod check;

use anyhow::{Context, Result, ensure};

use crate::format::bios::{CodeRecord, CorePlace, Grub};
use crate::format::gpt::{Partition, SECTOR};
use crate::format::grub::CONFIGURATION;
use crate::format::storage::Storage;
pub use check::{BiosBoot, check_bios};

/// Writes the code to a disk with such a BIOS boot partition, which must be empty.
pub fn write_bios(disk: &mut dyn Storage, grub: &Grub, bios: &Partition) -> Result<()> {
    let [place, _] = CorePlace::both(bios);
    let (mbr, core) = grub.locate(place.core)?;
    ensure!(
        core.len() as u64 <= bios.size() - SECTOR,
        "GRUB's core image of {} bytes does not fit into the BIOS boot partition",
        core.len()
    );
    let record = CodeRecord::of(&mbr, &core, CONFIGURATION.as_bytes(), &grub.version);
    for (bytes, sector) in [
        (&mbr[..], 0),
        (&core[..], place.core),
        (record.to_text().as_bytes(), place.record),
    ] {
        disk.write_at(bytes, sector * SECTOR)
            .context("writing the boot code for BIOS")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::write_bios;
    use crate::format::bios::{CodeRecord, Grub, MBR_CODE};
    use crate::format::gpt::{Partition, TYPE_BIOS_BOOT};
    use crate::format::storage::Storage;

    pub(super) fn grub() -> Grub {
        Grub {
            boot_sector: vec![0xb0; 512],
            core_image: vec![0xc0; 2048],
            version: "2.12-9".to_owned(),
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
        let record = CodeRecord::parse(&sector).unwrap();
        assert_eq!(record.core_length, 2048);
        assert!(record.to_text().len() <= 512);
        assert_eq!(CodeRecord::parse(&[0; 512]), None);
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
