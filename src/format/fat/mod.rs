//! FAT32 volumes: written once from a list of files, read and edited in place.
//!
//! Microsoft Extensible Firmware Initiative FAT32 File System Specification
//! 1.03, <https://download.microsoft.com/download/1/6/1/161ba512-40e2-4cc9-843a-923143f3456c/fatgen103.doc>,
//! as UEFI 2.10, 13.3 refers to it. Left out: FAT12 and FAT16, code pages
//! (short names are ASCII), deleting from folders but the root, growing folders.

mod add;
mod boot_sector;
mod check;
mod edit;
mod folder;
mod names;
mod volume;
mod write;

pub use names::same_name;
pub use volume::{Entry, Volume};
pub use write::{VolumeOptions, WrittenVolume, write_fat};

/// Bytes in a sector.
const SECTOR: u64 = 512;
/// Bytes of a folder's entry.
const ENTRY: usize = 32;
/// The fewest clusters that make a volume FAT32.
const FEWEST_CLUSTERS: u64 = 65525;
/// The most clusters that FAT32's 28 bits can number.
const MOST_CLUSTERS: u64 = 0x0fff_fff5;
/// First number of a data cluster.
const FIRST_CLUSTER: u32 = 2;
/// Bits of a table entry that number a cluster; the others are kept.
const CLUSTER_MASK: u32 = 0x0fff_ffff;
/// The end of a chain, as we write it.
const END_OF_CHAIN: u32 = 0x0fff_ffff;
/// Table entry of a cluster that the medium cannot keep.
const BAD_CLUSTER: u32 = 0x0fff_fff7;
/// The least value that ends a chain.
const FIRST_END_OF_CHAIN: u32 = 0x0fff_fff8;

/// Attribute of a folder.
const ATTRIBUTE_FOLDER: u8 = 0x10;
/// Attribute of the volume label.
const ATTRIBUTE_LABEL: u8 = 0x08;
/// Attribute of a file that was not backed up since it changed; usual for files.
const ATTRIBUTE_ARCHIVE: u8 = 0x20;
/// Attributes that mark a piece of a long name.
const ATTRIBUTE_LONG_NAME: u8 = 0x0f;

/// Where things lie in a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Geometry {
    /// Sectors of the volume.
    sectors: u64,
    /// Sectors before the first table.
    reserved_sectors: u64,
    /// Sectors of one table.
    table_sectors: u64,
    /// Number of tables.
    tables: u64,
    /// Sectors of a cluster.
    cluster_sectors: u64,
    /// Number of data clusters.
    clusters: u64,
}

impl Geometry {
    /// Bytes of a cluster.
    fn cluster_size(&self) -> u64 {
        self.cluster_sectors * SECTOR
    }

    /// Where a table begins, in bytes.
    fn table_offset(&self, table: u64) -> u64 {
        (self.reserved_sectors + table * self.table_sectors) * SECTOR
    }

    /// Where a cluster begins, in bytes.
    fn cluster_offset(&self, cluster: u32) -> u64 {
        let data = self.reserved_sectors + self.tables * self.table_sectors;
        (data + u64::from(cluster - FIRST_CLUSTER) * self.cluster_sectors) * SECTOR
    }

    /// Whether a number is one of a data cluster.
    fn holds(&self, cluster: u32) -> bool {
        cluster >= FIRST_CLUSTER && u64::from(cluster - FIRST_CLUSTER) < self.clusters
    }

    /// How many clusters a file of a size takes.
    fn clusters_for(&self, size: u64) -> u64 {
        size.div_ceil(self.cluster_size())
    }
}
