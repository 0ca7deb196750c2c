//! Writing: one pass over the raw image, everything appended in order.
//!
//! ```text
//! header │ refcount table │ L1 table │ data and L2 tables as they come │ refcounts
//! ```

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::{CLUSTER_BITS, COPIED, HEADER_SIZE, MAGIC, REFCOUNT_ORDER};
use crate::format::storage::is_zero;

/// Bytes of a cluster.
pub(super) const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Entries of a table that fills a cluster.
pub(super) const TABLE_ENTRIES: u64 = CLUSTER / 8;
/// Reference counts in a cluster.
const COUNTS: u64 = (CLUSTER * 8) >> REFCOUNT_ORDER;

/// Writes a raw image as qcow2 into an empty file.
///
/// Clusters of zeros are left out, except where they touch one of the
/// `allocated` stretches: those can be edited later without growing the file.
/// The size of the raw image is a multiple of 512 bytes.
pub fn write_qcow2(raw: &File, qcow2: &File, allocated: &[Range<u64>]) -> Result<()> {
    let size = raw
        .metadata()
        .context("reading the raw image's size")?
        .len();
    ensure!(
        size.is_multiple_of(512),
        "the raw image does not end with a whole sector"
    );
    let guest_clusters = size.div_ceil(CLUSTER);
    let l2_tables = guest_clusters.div_ceil(TABLE_ENTRIES);
    // One cluster of each is enough for 512 GiB.
    ensure!(
        l2_tables <= TABLE_ENTRIES / 8,
        "the raw image of {size} bytes is too large for a qcow2 image of ours"
    );
    let (counts_table_at, l1_at) = (CLUSTER, 2 * CLUSTER);
    let mut end = 3 * CLUSTER;
    let mut take = || {
        end += CLUSTER;
        end - CLUSTER
    };

    let mut l1 = vec![0; l2_tables as usize];
    let mut l2 = vec![0; TABLE_ENTRIES as usize];
    let mut buffer = vec![0; CLUSTER as usize];
    let mut data = Data::new(raw, size);
    for table in 0..l2_tables {
        l2.fill(0);
        let first = table * TABLE_ENTRIES;
        let last = (first + TABLE_ENTRIES).min(guest_clusters);
        for cluster in first..last {
            let range = cluster * CLUSTER..((cluster + 1) * CLUSTER).min(size);
            let forced = allocated
                .iter()
                .any(|stretch| stretch.start < range.end && range.start < stretch.end);
            if !forced && !data.any_in(&range)? {
                continue;
            }
            let length = (range.end - range.start) as usize;
            raw.read_exact_at(&mut buffer[..length], range.start)
                .context("reading the raw image")?;
            buffer[length..].fill(0);
            if !forced && is_zero(&buffer) {
                continue;
            }
            let offset = take();
            write(qcow2, &buffer, offset)?;
            l2[(cluster - first) as usize] = offset | COPIED;
        }
        if l2.iter().any(|entry| *entry != 0) {
            let offset = take();
            write(qcow2, &encode(&l2), offset)?;
            l1[table as usize] = offset | COPIED;
        }
    }
    write(qcow2, &encode(&l1), l1_at)?;

    // The clusters of counts count themselves.
    let used = end / CLUSTER;
    let mut blocks = used.div_ceil(COUNTS);
    while (used + blocks).div_ceil(COUNTS) > blocks {
        blocks += 1;
    }
    let first_block = end;
    let counts_table: Vec<u64> = (0..blocks)
        .map(|block| first_block + block * CLUSTER)
        .collect();
    let mut counts = Vec::with_capacity((blocks * CLUSTER) as usize);
    for _ in 0..used + blocks {
        counts.extend(1u16.to_be_bytes());
    }
    counts.resize((blocks * CLUSTER) as usize, 0);
    write(qcow2, &counts, first_block)?;
    write(qcow2, &encode(&counts_table), counts_table_at)?;
    let header = Header {
        size,
        l1_entries: l1.len() as u32,
        l1_at,
        counts_table_at,
    };
    write(qcow2, &header.encode(), 0)
}

pub(super) fn write(file: &File, bytes: &[u8], offset: u64) -> Result<()> {
    file.write_all_at(bytes, offset)
        .context("writing the qcow2 image")
}

pub(super) fn encode(entries: &[u64]) -> Vec<u8> {
    entries
        .iter()
        .flat_map(|entry| entry.to_be_bytes())
        .collect()
}

/// What the header of an image says.
pub(super) struct Header {
    /// Size of the disk, in bytes.
    pub size: u64,
    pub l1_entries: u32,
    pub l1_at: u64,
    pub counts_table_at: u64,
}

impl Header {
    /// The fields; the eight zeros after them end the list of extensions.
    pub fn encode(&self) -> Vec<u8> {
        let mut header = Vec::with_capacity(HEADER_SIZE + 8);
        header.extend(MAGIC);
        header.extend(3u32.to_be_bytes());
        // No backing file.
        header.extend([0; 12]);
        header.extend(CLUSTER_BITS.to_be_bytes());
        header.extend(self.size.to_be_bytes());
        // No encryption.
        header.extend([0; 4]);
        header.extend(self.l1_entries.to_be_bytes());
        header.extend(self.l1_at.to_be_bytes());
        header.extend(self.counts_table_at.to_be_bytes());
        // One cluster of refcount table, no snapshots, no features.
        header.extend(1u32.to_be_bytes());
        header.extend([0; 12]);
        header.extend([0; 24]);
        header.extend(REFCOUNT_ORDER.to_be_bytes());
        header.extend((HEADER_SIZE as u32).to_be_bytes());
        header.resize(HEADER_SIZE + 8, 0);
        header
    }
}

/// Where a sparse file has data, asked for in rising order.
struct Data<'a> {
    file: &'a File,
    size: u64,
    /// The stretch of data found last.
    known: Range<u64>,
}

impl<'a> Data<'a> {
    fn new(file: &'a File, size: u64) -> Self {
        Self {
            file,
            size,
            known: 0..0,
        }
    }

    /// Whether any byte of a range is not in a hole.
    fn any_in(&mut self, range: &Range<u64>) -> io::Result<bool> {
        if self.known.end <= range.start {
            self.known = match seek(self.file, SeekFrom::Data(range.start)) {
                Ok(start) => start..seek(self.file, SeekFrom::Hole(start))?,
                // Nothing but a hole up to the end.
                Err(Errno::NXIO) => self.size..u64::MAX,
                // A file system that knows no holes.
                Err(Errno::INVAL) => 0..self.size,
                Err(error) => return Err(error.into()),
            };
        }
        Ok(self.known.start < range.end)
    }
}
