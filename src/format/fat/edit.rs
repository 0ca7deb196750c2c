//! Replacing a file of a volume in place, safe against interruption.
//!
//! Whatever was interrupted, the next replacement clears away; a volume that is damaged
//! otherwise is left as it is.

use anyhow::{Context, Result, bail, ensure};

use super::boot_sector::{INFO_FREE, UNKNOWN};
use super::volume::{Entry, Volume};
use super::{CLUSTER_MASK, END_OF_CHAIN, ENTRY, FIRST_CLUSTER, SECTOR};

impl Volume<'_> {
    /// Replaces the content of a file in the root folder.
    ///
    /// The new content ends in the lowest clusters that are free once the old
    /// one is gone, so the same content gives the same bytes whatever was
    /// there in between; what it leaves is zeroed. Whenever it is interrupted,
    /// the file holds either content whole.
    pub fn replace_file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut entry = self.find(name)?;
        ensure!(!entry.folder, "{name} is a folder");
        let size = u32::try_from(bytes.len()).context("the new content is larger than 4 GiB")?;
        let count = self.geometry.clusters_for(u64::from(size)) as usize;

        let lost = self.lost(name)?;
        self.clear_leftovers(&lost)?;
        let before = self.chain(entry.first)?;
        let target = self.first_fit(count, |cluster, free| free || before.contains(&cluster))?;
        let mut held = before.clone();
        if held.iter().any(|cluster| target.contains(cluster)) {
            // Elsewhere first: the old content is in the way and still needed.
            let aside =
                self.first_fit(count, |cluster, free| free && !target.contains(&cluster))?;
            self.store(&aside, bytes)?;
            self.point(&mut entry, &aside, size)?;
            self.release(&held)?;
            held = aside;
        }
        self.store(&target, bytes)?;
        self.point(&mut entry, &target, size)?;
        self.release(&held)?;
        self.count_free()?;
        self.storage.sync().context("flushing the boot partition")
    }

    /// Makes the tables equal and frees clusters that nothing points to.
    fn clear_leftovers(&mut self, lost: &[u32]) -> Result<()> {
        for copy in 1..self.geometry.tables {
            let offset = self.geometry.table_offset(copy);
            let mut other = vec![0; self.table.len()];
            self.storage
                .read_at(&mut other, offset)
                .context("reading the file allocation table")?;
            if other != self.table {
                self.storage
                    .write_at(&self.table, offset)
                    .context("writing the file allocation table")?;
            }
        }
        self.release(lost)
    }

    /// The lowest clusters that may be used, told the number and whether the
    /// table has it free.
    fn first_fit(&self, count: usize, usable: impl Fn(u32, bool) -> bool) -> Result<Vec<u32>> {
        let end = FIRST_CLUSTER + self.geometry.clusters as u32;
        let clusters: Vec<u32> = (FIRST_CLUSTER..end)
            .filter(|cluster| usable(*cluster, self.entry_of(*cluster) & CLUSTER_MASK == 0))
            .take(count)
            .collect();
        if clusters.len() < count {
            bail!("the boot partition is full");
        }
        Ok(clusters)
    }

    /// Writes a content to free clusters and chains them.
    fn store(&mut self, clusters: &[u32], bytes: &[u8]) -> Result<()> {
        // The table first: a cluster that it calls free stays zero.
        for pair in clusters.windows(2) {
            self.set_entry(pair[0], pair[1])?;
        }
        if let Some(last) = clusters.last() {
            self.set_entry(*last, END_OF_CHAIN)?;
        }
        let cluster_size = self.geometry.cluster_size() as usize;
        for (cluster, piece) in clusters.iter().zip(bytes.chunks(cluster_size)) {
            let mut padded = piece.to_vec();
            padded.resize(cluster_size, 0);
            self.storage
                .write_at(&padded, self.geometry.cluster_offset(*cluster))
                .context("writing the new content")?;
        }
        self.storage.sync().context("flushing the new content")
    }

    /// Points a folder's entry to a content: one write inside one sector.
    fn point(&mut self, entry: &mut Entry, clusters: &[u32], size: u32) -> Result<()> {
        entry.first = clusters.first().copied().unwrap_or(0);
        entry.size = size;
        let mut bytes = [0; ENTRY];
        self.storage
            .read_at(&mut bytes, entry.position)
            .context("reading a folder")?;
        bytes[20..22].copy_from_slice(&((entry.first >> 16) as u16).to_le_bytes());
        bytes[26..28].copy_from_slice(&(entry.first as u16).to_le_bytes());
        bytes[28..].copy_from_slice(&size.to_le_bytes());
        self.storage
            .write_at(&bytes, entry.position)
            .and_then(|()| self.storage.sync())
            .context("writing a folder")
    }

    /// Zeroes clusters that nothing points to any more and frees them.
    fn release(&mut self, clusters: &[u32]) -> Result<()> {
        for cluster in clusters {
            self.storage
                .zero_at(
                    self.geometry.cluster_offset(*cluster),
                    self.geometry.cluster_size(),
                )
                .context("overwriting the old content")?;
            self.set_entry(*cluster, 0)?;
        }
        Ok(())
    }

    fn set_entry(&mut self, cluster: u32, value: u32) -> Result<()> {
        let value = self.entry_of(cluster) & !CLUSTER_MASK | value;
        let at = cluster as usize * 4;
        self.table[at..at + 4].copy_from_slice(&value.to_le_bytes());
        for copy in 0..self.geometry.tables {
            self.storage
                .write_at(
                    &value.to_le_bytes(),
                    self.geometry.table_offset(copy) + at as u64,
                )
                .context("writing the file allocation table")?;
        }
        Ok(())
    }

    /// Corrects the count of free clusters.
    fn count_free(&mut self) -> Result<()> {
        let Some(sector) = self.info_sector else {
            return Ok(());
        };
        let mut info = [0; SECTOR as usize];
        self.storage
            .read_at(&mut info, sector * SECTOR)
            .context("reading the FSInfo sector")?;
        let at = INFO_FREE as usize;
        let mut number = [0; 4];
        number.copy_from_slice(&info[at..at + 4]);
        if info[..4] != *b"RRaA" || u32::from_le_bytes(number) == UNKNOWN {
            return Ok(());
        }
        let end = FIRST_CLUSTER + self.geometry.clusters as u32;
        let free = (FIRST_CLUSTER..end)
            .filter(|cluster| self.entry_of(*cluster) & CLUSTER_MASK == 0)
            .count() as u32;
        self.storage
            .write_at(&free.to_le_bytes(), sector * SECTOR + INFO_FREE)
            .context("writing the FSInfo sector")
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::Volume;
    use crate::format::SETTINGS_FILE;
    use crate::format::content::Content;
    use crate::format::fat::volume::tests::{check_with_fsck, sample, write};
    use crate::format::storage::Storage;

    /// A disk that fails after a number of writes, as if the power went.
    struct Failing {
        bytes: Vec<u8>,
        writes_left: usize,
    }

    impl Storage for Failing {
        fn size(&self) -> io::Result<u64> {
            self.bytes.size()
        }

        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            self.bytes.read_at(buffer, offset)
        }

        fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
            self.writes_left = self
                .writes_left
                .checked_sub(1)
                .ok_or(io::ErrorKind::BrokenPipe)?;
            self.bytes.write_at(bytes, offset)
        }

        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_interrupted_replacement_leaves_either_content_whole() {
        let (old, new) = (vec![b'o'; 1500], vec![b'n'; 1000]);
        let (file, _) = write(&[(SETTINGS_FILE.to_owned(), Content::from(old.clone()))]);
        let replace = |disk: &mut Failing, bytes: &[u8]| {
            let mut volume = Volume::open(disk).unwrap();
            let result = volume.replace_file(SETTINGS_FILE, bytes);
            (result.is_ok(), volume.read(SETTINGS_FILE).unwrap())
        };
        let pristine = std::fs::read(file.path()).unwrap();
        let mut disk = Failing {
            bytes: pristine.clone(),
            writes_left: 0,
        };
        let mut seen = [0, 0];
        for writes in 0.. {
            disk.writes_left = writes;
            let (done, content) = replace(&mut disk, &new);
            assert!(content == old || content == new, "after {writes} writes");
            seen[usize::from(content == new)] += 1;
            // Nothing that the attempt left outlives the next replacement.
            disk.writes_left = usize::MAX;
            assert!(replace(&mut disk, &old).0);
            assert!(disk.bytes == pristine, "after {writes} writes");
            if done {
                assert!(content == new);
                break;
            }
        }
        assert!(seen[0] > 5 && seen[1] > 5, "{seen:?}");
    }

    #[test]
    fn replacing_and_putting_back_restores_every_byte() {
        let (file, written) = write(&sample());
        let image = || std::fs::read(file.path()).unwrap();
        let replace = |bytes: &[u8]| {
            let mut storage = file.as_file();
            let mut volume = Volume::open(&mut storage).unwrap();
            volume.replace_file(SETTINGS_FILE, bytes).unwrap();
            assert_eq!(volume.read(SETTINGS_FILE).unwrap(), bytes);
        };
        let pristine = image();
        let mut last = Vec::new();
        for length in [10, 4000, 64 << 10, 0, 513, 512, 60_000] {
            replace(&vec![b's'; length]);
            check_with_fsck(file.as_file(), file.path());
            last = image();
        }
        replace(b"# nothing yet\n");
        assert!(image() == pristine);
        check_with_fsck(file.as_file(), file.path());

        // The same settings make the same bytes, whatever came before.
        replace(&vec![b's'; 60_000]);
        let again = image();
        assert!(again == last);
        // Only what was announced, the folder and FSInfo ever change.
        let changed: Vec<usize> = (0..again.len())
            .filter(|at| again[*at] != pristine[*at])
            .filter(|at| {
                !written
                    .editable
                    .iter()
                    .any(|range| range.contains(&(*at as u64)))
            })
            .collect();
        assert!(changed.len() < 10, "{changed:?}");
        assert!(
            Volume::open(&mut file.as_file())
                .unwrap()
                .replace_file("EFI", b"")
                .is_err()
        );
    }
}
