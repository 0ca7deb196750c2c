//! Reading and editing: a qcow2 image as [`Storage`].
//!
//! Clusters that are not allocated read as zeros; writing to one appends it.
//! What is pointed to is written before what points to it, so an interrupted
//! write leaks a cluster at worst, which `qemu-img check` would tell.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};

use super::alone::check_alone;
use super::{COMPRESSED, COPIED, HEADER_SIZE, MAGIC, OFFSET_MASK, READS_ZERO, REFCOUNT_ORDER};
use crate::error::hinted;
use crate::format::storage::{Storage, check_bounds, is_zero};

/// Largest L1 table that is read, in bytes, QEMU's own limit.
const L1_LIMIT: u64 = 32 << 20;
/// Where the header keeps features that a program may ignore by clearing them.
const AUTOCLEAR_AT: u64 = 88;

/// A qcow2 image.
#[derive(Debug)]
pub struct Qcow2<'a> {
    file: &'a File,
    size: u64,
    cluster_bits: u32,
    l1_at: u64,
    l1: Vec<u64>,
    counts_table_at: u64,
    counts_table_entries: u64,
    autoclear: bool,
}

impl<'a> Qcow2<'a> {
    /// Opens an image; features that we do not know are refused.
    pub fn open(file: &'a File) -> Result<Self> {
        let mut header = [0; HEADER_SIZE];
        file.read_exact_at(&mut header, 0)
            .context("reading the qcow2 header")?;
        let number32 = |offset: usize| read32(&header, offset);
        let number64 = |offset: usize| read64(&header, offset);
        ensure!(header[..4] == MAGIC, "this is no qcow2 image");
        check_alone(file)?;
        let features = if number32(4) >= 3 { number64(72) } else { 0 };
        let order = if number32(4) >= 3 {
            number32(96)
        } else {
            REFCOUNT_ORDER
        };
        let cluster_bits = number32(20);
        if !(2..=3).contains(&number32(4))
            || features != 0
            || order != REFCOUNT_ORDER
            || number32(32) != 0
            || number32(60) != 0
            || !(9..=21).contains(&cluster_bits)
        {
            return Err(hinted(
                "the qcow2 image uses features that mailimg does not know, or was not closed cleanly",
                "check it with `qemu-img check`, or rewrite it with `qemu-img convert -O qcow2`",
            ));
        }
        let size = number64(24);
        let l1_entries = u64::from(number32(36));
        let clusters = size.div_ceil(1 << cluster_bits);
        ensure!(
            l1_entries * 8 <= L1_LIMIT && l1_entries >= clusters.div_ceil(1 << (cluster_bits - 3)),
            "the qcow2 image is damaged: its L1 table has a wrong size"
        );
        let l1_at = number64(40);
        let mut table = vec![0; (l1_entries * 8) as usize];
        file.read_exact_at(&mut table, l1_at)
            .context("reading the qcow2 image's L1 table")?;
        Ok(Self {
            file,
            size,
            cluster_bits,
            l1_at,
            l1: table
                .chunks_exact(8)
                .map(|entry| read64(entry, 0))
                .collect(),
            counts_table_at: number64(48),
            counts_table_entries: u64::from(number32(56)) << (cluster_bits - 3),
            autoclear: number32(4) >= 3 && number64(AUTOCLEAR_AT as usize) != 0,
        })
    }

    fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// The numbers of the L1 and L2 entries of a position.
    fn split(&self, position: u64) -> (usize, u64) {
        let l2_bits = self.cluster_bits - 3;
        let cluster = position >> self.cluster_bits;
        (
            (cluster >> l2_bits) as usize,
            cluster & ((1 << l2_bits) - 1),
        )
    }

    /// The table entry of a position's cluster, 0 when there is none.
    fn entry(&self, position: u64) -> io::Result<u64> {
        let (l1_index, l2_index) = self.split(position);
        let table = self.l1[l1_index] & OFFSET_MASK;
        if table == 0 {
            return Ok(0);
        }
        let entry = self.number_at(table + l2_index * 8)?;
        if entry & COMPRESSED != 0 {
            return Err(unsupported("a cluster of the qcow2 image is compressed"));
        }
        Ok(entry)
    }

    fn number_at(&self, offset: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(u64::from_be_bytes(bytes))
    }

    /// Where the cluster of a position lies, made if there is none.
    fn ensure_cluster(&mut self, position: u64) -> io::Result<u64> {
        let (l1_index, l2_index) = self.split(position);
        let entry = self.entry(position)?;
        if entry & OFFSET_MASK != 0 && entry & READS_ZERO == 0 {
            check_unshared(entry)?;
            return Ok(entry & OFFSET_MASK);
        }
        let mut table = self.l1[l1_index];
        if table & OFFSET_MASK == 0 {
            table = self.append_cluster()? | COPIED;
            self.file
                .write_all_at(&table.to_be_bytes(), self.l1_at + l1_index as u64 * 8)?;
            self.l1[l1_index] = table;
        }
        check_unshared(table)?;
        let cluster = if entry & OFFSET_MASK != 0 {
            // Kept for it, but reading as zeros: it must hold them first.
            check_unshared(entry)?;
            self.zero_cluster(entry & OFFSET_MASK)?;
            entry & OFFSET_MASK
        } else {
            self.append_cluster()?
        };
        self.file.write_all_at(
            &(cluster | COPIED).to_be_bytes(),
            (table & OFFSET_MASK) + l2_index * 8,
        )?;
        Ok(cluster)
    }

    /// Adds a cluster of zeros, counted once, at the file's end.
    fn append_cluster(&self) -> io::Result<u64> {
        let cluster = self.end()?;
        self.zero_cluster(cluster)?;
        self.count(cluster)?;
        Ok(cluster)
    }

    fn end(&self) -> io::Result<u64> {
        Ok(self
            .file
            .metadata()?
            .len()
            .next_multiple_of(self.cluster_size()))
    }

    fn zero_cluster(&self, offset: u64) -> io::Result<()> {
        self.file
            .write_all_at(&vec![0; self.cluster_size() as usize], offset)
    }

    /// Sets the reference count of a cluster to one.
    fn count(&self, cluster: u64) -> io::Result<()> {
        // Two bytes each.
        let counts = self.cluster_size() / 2;
        let number = cluster >> self.cluster_bits;
        let (block_index, index) = (number / counts, number % counts);
        if block_index >= self.counts_table_entries {
            return Err(unsupported("the qcow2 image's refcount table is full"));
        }
        let entry_at = self.counts_table_at + block_index * 8;
        let mut block = self.number_at(entry_at)? & OFFSET_MASK;
        if block == 0 {
            block = self.end()?;
            self.zero_cluster(block)?;
            self.file.write_all_at(&block.to_be_bytes(), entry_at)?;
            self.count(block)?;
        }
        self.file
            .write_all_at(&1u16.to_be_bytes(), block + index * 2)
    }
}

impl Storage for Qcow2<'_> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        check_bounds(offset, buffer.len(), self.size)?;
        let mut position = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let inside = position & (self.cluster_size() - 1);
            let length = (self.cluster_size() - inside).min(rest.len() as u64) as usize;
            let (piece, after) = rest.split_at_mut(length);
            let entry = self.entry(position)?;
            if entry & OFFSET_MASK == 0 || entry & READS_ZERO != 0 {
                piece.fill(0);
            } else {
                self.file
                    .read_exact_at(piece, (entry & OFFSET_MASK) + inside)?;
            }
            position += length as u64;
            rest = after;
        }
        Ok(())
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        check_bounds(offset, bytes.len(), self.size)?;
        if self.autoclear {
            self.file.write_all_at(&[0; 8], AUTOCLEAR_AT)?;
            self.autoclear = false;
        }
        let mut position = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let inside = position & (self.cluster_size() - 1);
            let length = (self.cluster_size() - inside).min(rest.len() as u64) as usize;
            let (piece, after) = rest.split_at(length);
            let entry = self.entry(position)?;
            let zero = entry & OFFSET_MASK == 0 || entry & READS_ZERO != 0;
            // Zeros over zeros need no cluster.
            if !(zero && is_zero(piece)) {
                let cluster = self.ensure_cluster(position)?;
                self.file.write_all_at(piece, cluster + inside)?;
            }
            position += length as u64;
            rest = after;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn check_unshared(entry: u64) -> io::Result<()> {
    if entry & COPIED == 0 {
        return Err(unsupported(
            "a cluster of the qcow2 image is shared with a snapshot",
        ));
    }
    Ok(())
}

fn unsupported(text: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("{text}: rewrite it with `qemu-img convert -O qcow2`"),
    )
}

fn read32(bytes: &[u8], offset: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_be_bytes(number)
}

fn read64(bytes: &[u8], offset: usize) -> u64 {
    u64::from(read32(bytes, offset)) << 32 | u64::from(read32(bytes, offset + 4))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::Qcow2;
    use crate::builder::write::qcow2::write_qcow2;
    use crate::error::render;
    use crate::format::storage::Storage;

    const MIB: u64 = 1 << 20;

    struct Pair {
        folder: tempfile::TempDir,
        raw: File,
        qcow2: File,
    }

    impl Pair {
        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }
    }

    /// A raw image over two L2 tables, with data, holes and written zeros.
    fn pair() -> Pair {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(folder.path().join(name))
                .unwrap()
        };
        let (raw, qcow2) = (open("raw"), open("qcow2"));
        raw.set_len(700 * MIB + 512).unwrap();
        raw.write_all_at(b"first", 0).unwrap();
        raw.write_all_at(&vec![3; 200_000], 5 * MIB - 7).unwrap();
        raw.write_all_at(&vec![0; 1 << 20], 100 * MIB).unwrap();
        raw.write_all_at(b"last", 700 * MIB + 508).unwrap();
        let kept = 50 * MIB + 1..50 * MIB + 65536;
        write_qcow2(&raw, &qcow2, std::slice::from_ref(&kept)).unwrap();
        Pair { folder, raw, qcow2 }
    }

    /// QEMU's own tool is the second opinion where it is installed.
    fn check_with_qemu(arguments: &[&str], paths: &[&Path]) {
        if let Ok(output) = Command::new("qemu-img")
            .args(arguments)
            .args(paths)
            .output()
        {
            assert!(
                output.status.success(),
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }

    #[test]
    fn it_reads_as_the_raw_image_and_stays_small() {
        let pair = pair();
        let image = Qcow2::open(&pair.qcow2).unwrap();
        assert_eq!(image.size().unwrap(), 700 * MIB + 512);
        let mut read = vec![1; 300_000];
        let mut expected = vec![2; 300_000];
        for offset in [0, 5 * MIB - 100, 99 * MIB, 700 * MIB + 512 - 300_000] {
            image.read_at(&mut read, offset).unwrap();
            pair.raw.read_exact_at(&mut expected, offset).unwrap();
            assert!(read == expected, "{offset}");
        }
        assert!(image.read_at(&mut read, 700 * MIB).is_err());
        // Three clusters of tables, 1 + 5 + 1 + 1 of data, two L2, one of counts.
        assert_eq!(pair.qcow2.metadata().unwrap().len(), 14 << 16);
        check_with_qemu(&["check", "-q"], &[&pair.path("qcow2")]);
        check_with_qemu(
            &["compare", "-q", "-f", "raw", "-F", "qcow2"],
            &[&pair.path("raw"), &pair.path("qcow2")],
        );
    }

    #[test]
    fn edits_show_and_allocated_stretches_never_grow_the_file() {
        let pair = pair();
        let before = fs::read(pair.path("qcow2")).unwrap();
        let mut image = Qcow2::open(&pair.qcow2).unwrap();
        image.write_at(b"inside", 50 * MIB + 1).unwrap();
        assert_eq!(pair.qcow2.metadata().unwrap().len(), before.len() as u64);
        image.zero_at(50 * MIB, 65536).unwrap();
        image.zero_at(300 * MIB, MIB).unwrap();
        assert!(fs::read(pair.path("qcow2")).unwrap() == before);

        // Over the border of two clusters that do not exist yet.
        image.write_at(b"outside", 300 * MIB - 3).unwrap();
        let mut read = [0; 9];
        image.read_at(&mut read, 300 * MIB - 4).unwrap();
        assert_eq!(read, *b"\0outside\0");
        pair.raw.write_all_at(b"outside", 300 * MIB - 3).unwrap();
        check_with_qemu(&["check", "-q"], &[&pair.path("qcow2")]);
        check_with_qemu(
            &["compare", "-q", "-f", "raw", "-F", "qcow2"],
            &[&pair.path("raw"), &pair.path("qcow2")],
        );
    }

    #[test]
    fn an_image_made_by_qemu_grows_its_tables() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made");
        for cluster_size in ["512", "65536"] {
            let options = format!("cluster_size={cluster_size}");
            let made = Command::new("qemu-img")
                .args(["create", "-q", "-f", "qcow2", "-o", &options])
                .arg(&path)
                .arg("16M")
                .status();
            if made.is_err() {
                return;
            }
            let file = File::options().read(true).write(true).open(&path).unwrap();
            let mut image = Qcow2::open(&file).unwrap();
            let bytes: Vec<u8> = (0..1_000_000u32).map(|number| number as u8 | 1).collect();
            image.write_at(&bytes, 123_456).unwrap();
            let mut read = vec![0; bytes.len()];
            image.read_at(&mut read, 123_456).unwrap();
            assert!(read == bytes);
            check_with_qemu(&["check", "-q"], &[&path]);
        }
    }

    #[test]
    fn overlays_and_unknown_features_are_refused() {
        let pair = pair();
        let refuse = |offset: u64| {
            pair.qcow2.write_all_at(&[1], offset).unwrap();
            let text = render(&Qcow2::open(&pair.qcow2).unwrap_err());
            pair.qcow2.write_all_at(&[0], offset).unwrap();
            text
        };
        assert!(refuse(15).starts_with(
            "error: the qcow2 image is an overlay on another one\nhint: name the image below it"
        ));
        // Encrypted, with snapshots, dirty.
        for offset in [35, 63, 79] {
            assert!(refuse(offset).contains("hint: check it with `qemu-img check`"));
        }
        Qcow2::open(&pair.qcow2).unwrap();
        assert!(render(&Qcow2::open(&pair.raw).unwrap_err()).contains("no qcow2 image"));
    }
}
