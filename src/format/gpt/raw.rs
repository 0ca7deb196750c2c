//! One of a disk's two tables as it lies there, and how it is replaced without a moment
//! in which it is none.
//!
//! A header is one sector, and says where its entries lie. New entries are written
//! elsewhere first, to a spare place before the first partition; the header that names
//! them takes effect as a whole; then they come home, and the header after them. Disks
//! write a sector wholly or not at all.
//!
//! A table from a disk is untrusted: nothing in it sizes an allocation or an offset
//! before it was checked. Left out: tables of more than 128 entries.

use anyhow::{Context, Result, ensure};

use super::decode::{decode_entry, number32, number64, uuid_at};
use super::write::encode_entry;
use super::{ENTRIES, ENTRY_SECTORS, ENTRY_SIZE, HEADER_SIZE, Partition, SECTOR, Table, Uuid};
use crate::format::storage::Storage;

/// Largest entry array that is read, in bytes; ours is 16 KiB.
const ENTRIES_LIMIT: u64 = 1 << 20;
/// Sector of the primary header, and of its entries.
const PRIMARY: u64 = 1;
const PRIMARY_ENTRIES: u64 = 2;
/// Where entries lie while they are replaced: behind those of the primary table.
pub const SPARE: u64 = PRIMARY_ENTRIES + ENTRY_SECTORS;
/// First sector behind them; up to the first partition nobody uses the rest.
pub const FIRST_UNUSED: u64 = SPARE + ENTRY_SECTORS;

/// A table whose checksums are right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTable {
    sector: u64,
    header: [u8; SECTOR as usize],
    entries: Vec<u8>,
}

/// Both tables of a disk, each as far as it is whole.
#[derive(Debug)]
pub struct Copies {
    /// The one at the disk's beginning.
    pub primary: Result<RawTable>,
    /// The one at its end.
    pub backup: Result<RawTable>,
}

impl Copies {
    /// Reads both; where the primary is damaged, the backup is looked for in the last sector.
    pub fn read(storage: &dyn Storage) -> Result<Self> {
        let last = (storage.size().context("reading the disk's size")? / SECTOR).saturating_sub(1);
        let read = |sector: u64| {
            let raw = RawTable::read(storage, sector)?;
            raw.table(storage)?;
            Ok(raw)
        };
        let primary = read(PRIMARY);
        let backup = match &primary {
            Ok(raw) => raw.other_sector(),
            Err(_) => last,
        };
        Ok(Self {
            primary,
            backup: read(backup),
        })
    }
}

impl RawTable {
    /// Reads the table whose header lies in a sector.
    pub fn read(storage: &dyn Storage, sector: u64) -> Result<Self> {
        let sectors = storage.size().context("reading the disk's size")? / SECTOR;
        let mut header = [0; SECTOR as usize];
        ensure!(sector < sectors, "the disk ends before its partition table");
        storage
            .read_at(&mut header, sector * SECTOR)
            .context("reading the partition table")?;
        ensure!(&header[..8] == b"EFI PART", "there is no partition table");
        let length = number32(&header, 12) as usize;
        ensure!(
            (HEADER_SIZE..=SECTOR as usize).contains(&length),
            "the partition table's header claims {length} bytes"
        );
        ensure!(
            header_checksum(&header, length) == number32(&header, 16),
            "the partition table's header has a wrong checksum"
        );
        ensure!(
            number64(&header, 24) == sector,
            "the partition table's header was made for another sector"
        );
        let entries = read_entries(storage, &header)?;
        Ok(Self {
            sector,
            header,
            entries,
        })
    }

    /// The sector of its header.
    pub fn sector(&self) -> u64 {
        self.sector
    }

    /// The sector of the other table's header.
    pub fn other_sector(&self) -> u64 {
        number64(&self.header, 32)
    }

    /// The first sector that partitions may use.
    pub fn first_usable(&self) -> u64 {
        number64(&self.header, 40)
    }

    /// The last one.
    pub fn last_usable(&self) -> u64 {
        number64(&self.header, 48)
    }

    /// The disk's UUID.
    pub fn disk_uuid(&self) -> Uuid {
        uuid_at(&self.header, 56)
    }

    /// How many entries there are, unused ones included.
    pub fn count(&self) -> usize {
        self.entries.len() / self.entry_size()
    }

    /// The partition of a number, the first is 1; nothing when that entry is unused.
    pub fn partition(&self, number: usize) -> Option<Partition> {
        let entry = self
            .entries
            .chunks_exact(self.entry_size())
            .nth(number - 1)?;
        (entry[..16] != [0; 16]).then(|| decode_entry(entry))
    }

    /// What it says as a whole, once every partition is known to lie inside the disk.
    pub fn table(&self, storage: &dyn Storage) -> Result<Table> {
        let sectors = storage.size().context("reading the disk's size")? / SECTOR;
        let mut partitions = Vec::new();
        for partition in (1..=self.count()).filter_map(|number| self.partition(number)) {
            ensure!(
                partition.first_lba <= partition.last_lba
                    && partition.last_lba <= self.last_usable()
                    && partition.last_lba < sectors,
                "partition {:?} does not lie inside the disk",
                partition.label
            );
            partitions.push(partition);
        }
        let last = self.other_sector().max(self.sector());
        let disk_size = last
            .checked_add(1)
            .and_then(|sectors| sectors.checked_mul(SECTOR))
            .context("the partition table was made for an impossible disk")?;
        Ok(Table {
            disk_uuid: self.disk_uuid(),
            disk_size,
            partitions,
        })
    }

    /// Changes what is said of a number.
    pub fn set_partition(&mut self, number: usize, partition: &Partition) {
        let size = self.entry_size();
        let entry = &mut self.entries[(number - 1) * size..number * size];
        entry[56..ENTRY_SIZE].fill(0);
        encode_entry(entry, partition);
    }

    /// Takes over what another table says, for the place of this one.
    pub fn take_entries(&mut self, other: &Self) {
        self.entries.clone_from(&other.entries);
        // Number and size of entries.
        self.header[80..88].copy_from_slice(&other.header[80..88]);
    }

    /// Whether it can be replaced step by step: there is room for spare entries.
    pub fn has_room(&self) -> bool {
        let home = self.home();
        let before = FIRST_UNUSED <= self.first_usable();
        let at_home = self.sector == PRIMARY
            || (home > self.last_usable() && home.saturating_add(ENTRY_SECTORS) <= self.sector);
        before && at_home && self.entries.len() == ENTRIES * ENTRY_SIZE
    }

    /// Puts a table onto the disk in the place of `self`, which lies there.
    ///
    /// After each sector that is written, the disk holds one of both.
    pub fn replace_by(&self, new: &Self, storage: &mut dyn Storage) -> Result<()> {
        ensure!(
            self.has_room(),
            "the partition table is none that mailimg made"
        );
        self.bring_home(storage)?;
        if self.entries != new.entries {
            new.write_with_entries_at(SPARE, storage)?;
            new.write_with_entries_at(self.home(), storage)?;
        }
        Ok(())
    }

    /// Ends what an earlier run left half-way: the spare place is free afterwards, which
    /// both tables use.
    pub fn bring_home(&self, storage: &mut dyn Storage) -> Result<()> {
        if self.entries_sector() != self.home() {
            self.write_with_entries_at(self.home(), storage)?;
        }
        Ok(())
    }

    /// Writes all of it to where it belongs, whatever lies there.
    pub fn restore(&self, storage: &mut dyn Storage) -> Result<()> {
        self.write_with_entries_at(self.home(), storage)
    }

    /// The table for the other place of the disk.
    pub fn for_other_place(&self) -> Self {
        let mut other = self.clone();
        other.sector = self.other_sector();
        other.header[24..32].copy_from_slice(&other.sector.to_le_bytes());
        other.header[32..40].copy_from_slice(&self.sector.to_le_bytes());
        other
    }

    fn write_with_entries_at(&self, sector: u64, storage: &mut dyn Storage) -> Result<()> {
        let mut header = self.header;
        header[72..80].copy_from_slice(&sector.to_le_bytes());
        header[88..92].copy_from_slice(&crc32fast::hash(&self.entries).to_le_bytes());
        let length = number32(&header, 12) as usize;
        let checksum = header_checksum(&header, length);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        for (bytes, sector) in [(&self.entries[..], sector), (&header[..], self.sector)] {
            storage
                .write_at(bytes, sector * SECTOR)
                .and_then(|()| storage.sync())
                .context("writing the partition table")?;
        }
        Ok(())
    }

    /// Where its entries lie when nothing is being replaced.
    fn home(&self) -> u64 {
        match (self.sector, self.entries_sector()) {
            (PRIMARY, _) => PRIMARY_ENTRIES,
            (sector, at) if at <= self.last_usable() => sector.saturating_sub(ENTRY_SECTORS),
            (_, at) => at,
        }
    }

    fn entries_sector(&self) -> u64 {
        number64(&self.header, 72)
    }

    fn entry_size(&self) -> usize {
        number32(&self.header, 84) as usize
    }
}

fn header_checksum(header: &[u8; SECTOR as usize], length: usize) -> u32 {
    let mut zeroed = *header;
    zeroed[16..20].fill(0);
    crc32fast::hash(&zeroed[..length])
}

fn read_entries(storage: &dyn Storage, header: &[u8]) -> Result<Vec<u8>> {
    let count = u64::from(number32(header, 80));
    let size = u64::from(number32(header, 84));
    // UEFI: 128 times a power of two.
    ensure!(
        size >= ENTRY_SIZE as u64 && size.is_power_of_two() && count * size <= ENTRIES_LIMIT,
        "the partition table claims {count} entries of {size} bytes"
    );
    let offset = number64(header, 72)
        .checked_mul(SECTOR)
        .context("the partition table's entries lie past the end of the disk")?;
    let mut entries = vec![0; (count * size) as usize];
    storage
        .read_at(&mut entries, offset)
        .context("reading the partition table's entries")?;
    ensure!(
        crc32fast::hash(&entries) == number32(header, 88),
        "the partition table's entries have a wrong checksum"
    );
    Ok(entries)
}
