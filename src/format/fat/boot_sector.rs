//! Boot sector and FSInfo sector: a volume's description of itself.

use anyhow::{Context, Result, ensure};

use super::{FEWEST_CLUSTERS, Geometry, MOST_CLUSTERS, SECTOR};
use crate::error::hinted;
use crate::format::storage::Storage;

/// Sectors before the first table; the usual number, rounded up so that
/// clusters are aligned.
const RESERVED_SECTORS: u64 = 32;
/// Tables of a volume that we write.
const TABLES: u64 = 2;
/// Largest cluster that we write, in sectors: 4 KiB, a page.
const LARGEST_CLUSTER: u64 = 8;
/// Sector of the FSInfo structure.
pub(super) const INFO_SECTOR: u64 = 1;
/// Sector where the copies of boot sector and FSInfo begin.
const BACKUP_SECTOR: u64 = 6;
/// Where the FSInfo structure counts free clusters, in bytes from its start.
pub(super) const INFO_FREE: u64 = 488;
/// Free-cluster count that means "unknown".
pub(super) const UNKNOWN: u32 = u32::MAX;
/// Largest table that is read, in bytes: ours has 1 MiB.
const TABLE_LIMIT: u64 = 64 << 20;

/// Chooses the geometry of a volume of a size in bytes.
pub(super) fn plan(size: u64) -> Result<Geometry> {
    let sectors = size / SECTOR;
    let mut cluster_sectors = LARGEST_CLUSTER;
    while cluster_sectors >= 1 {
        let geometry = fit(sectors, cluster_sectors);
        if let Some(geometry) = geometry.filter(|geometry| geometry.clusters >= FEWEST_CLUSTERS) {
            ensure!(
                geometry.clusters < MOST_CLUSTERS && sectors <= u64::from(u32::MAX),
                "a FAT32 volume of {size} bytes is too large"
            );
            return Ok(geometry);
        }
        cluster_sectors /= 2;
    }
    Err(hinted(
        format!("a FAT32 volume of {size} bytes is too small"),
        "make esp_mib in the recipe larger",
    ))
}

fn fit(sectors: u64, cluster_sectors: u64) -> Option<Geometry> {
    let mut table_sectors = 1;
    loop {
        let before = RESERVED_SECTORS + TABLES * table_sectors;
        let reserved_sectors = RESERVED_SECTORS + before.next_multiple_of(cluster_sectors) - before;
        let clusters =
            sectors.checked_sub(reserved_sectors + TABLES * table_sectors)? / cluster_sectors;
        // Four bytes an entry, two entries before the first cluster's.
        let needed = ((clusters + 2) * 4).div_ceil(SECTOR);
        if needed <= table_sectors {
            return Some(Geometry {
                sectors,
                reserved_sectors,
                table_sectors,
                tables: TABLES,
                cluster_sectors,
                clusters,
            });
        }
        table_sectors = needed;
    }
}

/// What the boot sector says besides the geometry.
pub(super) struct Identity {
    /// Serial number of the volume.
    pub volume_id: u32,
    /// Label, padded with blanks.
    pub label: [u8; 11],
    /// Sectors of the disk before the volume.
    pub hidden_sectors: u32,
}

/// Writes boot sector, FSInfo and their copies.
pub(super) fn write(
    storage: &mut dyn Storage,
    geometry: &Geometry,
    identity: &Identity,
    free: u32,
    last_used: u32,
) -> Result<()> {
    let boot = encode_boot(geometry, identity);
    let info = encode_info(free, last_used);
    for first in [0, BACKUP_SECTOR] {
        for (sector, bytes) in [
            (first, &boot),
            (first + INFO_SECTOR, &info),
            // The third sector of the boot record holds only the signature.
            (first + 2, &signed_sector()),
        ] {
            storage
                .write_at(bytes, sector * SECTOR)
                .context("writing the boot sector")?;
        }
    }
    Ok(())
}

type Sector = [u8; SECTOR as usize];

fn signed_sector() -> Sector {
    let mut sector = [0; SECTOR as usize];
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

fn encode_boot(geometry: &Geometry, identity: &Identity) -> Sector {
    let mut boot = signed_sector();
    // A jump over the fields to code that is an endless loop: nobody runs it.
    boot[..3].copy_from_slice(&[0xeb, 0x58, 0x90]);
    boot[90..92].copy_from_slice(&[0xeb, 0xfe]);
    boot[3..11].copy_from_slice(b"MAILIMG ");
    boot[11..13].copy_from_slice(&(SECTOR as u16).to_le_bytes());
    boot[13] = geometry.cluster_sectors as u8;
    boot[14..16].copy_from_slice(&(geometry.reserved_sectors as u16).to_le_bytes());
    boot[16] = geometry.tables as u8;
    // A fixed disk, here and at the head of each table.
    boot[21] = 0xf8;
    // Sectors and heads of a disk that no longer exists; tools expect some.
    boot[24..26].copy_from_slice(&63u16.to_le_bytes());
    boot[26..28].copy_from_slice(&255u16.to_le_bytes());
    boot[28..32].copy_from_slice(&identity.hidden_sectors.to_le_bytes());
    boot[32..36].copy_from_slice(&(geometry.sectors as u32).to_le_bytes());
    boot[36..40].copy_from_slice(&(geometry.table_sectors as u32).to_le_bytes());
    boot[44..48].copy_from_slice(&super::FIRST_CLUSTER.to_le_bytes());
    boot[48..50].copy_from_slice(&(INFO_SECTOR as u16).to_le_bytes());
    boot[50..52].copy_from_slice(&(BACKUP_SECTOR as u16).to_le_bytes());
    boot[64] = 0x80;
    boot[66] = 0x29;
    boot[67..71].copy_from_slice(&identity.volume_id.to_le_bytes());
    boot[71..82].copy_from_slice(&identity.label);
    boot[82..90].copy_from_slice(b"FAT32   ");
    boot
}

fn encode_info(free: u32, last_used: u32) -> Sector {
    let mut info = signed_sector();
    info[..4].copy_from_slice(b"RRaA");
    info[484..488].copy_from_slice(b"rrAa");
    info[INFO_FREE as usize..492].copy_from_slice(&free.to_le_bytes());
    info[492..496].copy_from_slice(&last_used.to_le_bytes());
    info
}

/// Reads the geometry of a volume, its root folder's first cluster and the
/// FSInfo's sector, if it has one.
pub(super) fn read(storage: &dyn Storage) -> Result<(Geometry, u32, Option<u64>)> {
    let mut boot = [0; SECTOR as usize];
    storage
        .read_at(&mut boot, 0)
        .context("reading the boot sector")?;
    let number16 = |offset: usize| u64::from(u16::from_le_bytes([boot[offset], boot[offset + 1]]));
    let number32 = |offset: usize| number16(offset) | number16(offset + 2) << 16;

    ensure!(
        boot[510..] == [0x55, 0xaa] && boot[82..87] == *b"FAT32",
        "this is no FAT32 volume"
    );
    ensure!(
        number16(11) == SECTOR,
        "the FAT volume has sectors of {} bytes",
        number16(11)
    );
    let sectors = number32(32);
    let reserved_sectors = number16(14);
    let tables = u64::from(boot[16]);
    let table_sectors = number32(36);
    let cluster_sectors = u64::from(boot[13]);
    let size = storage.size().context("reading the volume's size")?;
    let before = reserved_sectors + tables * table_sectors;
    ensure!(
        cluster_sectors.is_power_of_two()
            && tables > 0
            && reserved_sectors > 0
            && before < sectors
            && sectors <= size / SECTOR
            && table_sectors * SECTOR <= TABLE_LIMIT,
        "the FAT volume's boot sector makes no sense"
    );
    let geometry = Geometry {
        sectors,
        reserved_sectors,
        table_sectors,
        tables,
        cluster_sectors,
        clusters: (sectors - before) / cluster_sectors,
    };
    let root = number32(44) as u32;
    ensure!(
        geometry.clusters < MOST_CLUSTERS
            && (geometry.clusters + 2) * 4 <= table_sectors * SECTOR
            && geometry.holds(root),
        "the FAT volume's boot sector makes no sense"
    );
    let info = Some(number16(48)).filter(|sector| (1..reserved_sectors).contains(sector));
    Ok((geometry, root, info))
}

#[cfg(test)]
mod tests {
    use super::plan;
    use crate::format::fat::SECTOR;

    #[test]
    fn clusters_are_aligned_and_the_tables_cover_them() {
        for mib in [34u64, 64, 100, 256, 300, 1024, 4096] {
            let geometry = plan(mib << 20).unwrap();
            let data = geometry.cluster_offset(2);
            assert_eq!(data % geometry.cluster_size(), 0, "{mib}");
            assert!(data + geometry.clusters * geometry.cluster_size() <= mib << 20);
            assert!((geometry.clusters + 2) * 4 <= geometry.table_sectors * SECTOR);
        }
        let geometry = plan(1 << 30).unwrap();
        assert_eq!(geometry.cluster_size(), 4096);
        assert!(plan(32 << 20).is_err());
    }
}
