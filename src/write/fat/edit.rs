//! Replacing a file of a volume in place, safe against interruption.

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
        self.count_free(before.len(), count)?;
        self.storage.sync().context("flushing the boot partition")
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
        let cluster_size = self.geometry.cluster_size() as usize;
        for (cluster, piece) in clusters.iter().zip(bytes.chunks(cluster_size)) {
            let mut padded = piece.to_vec();
            padded.resize(cluster_size, 0);
            self.storage
                .write_at(&padded, self.geometry.cluster_offset(*cluster))
                .context("writing the new content")?;
        }
        for pair in clusters.windows(2) {
            self.set_entry(pair[0], pair[1])?;
        }
        if let Some(last) = clusters.last() {
            self.set_entry(*last, END_OF_CHAIN)?;
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
    fn count_free(&mut self, before: usize, after: usize) -> Result<()> {
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
        let free = u32::from_le_bytes(number);
        if info[..4] != *b"RRaA" || free == UNKNOWN {
            return Ok(());
        }
        let free = free.wrapping_add(before as u32).wrapping_sub(after as u32);
        self.storage
            .write_at(&free.to_le_bytes(), sector * SECTOR + INFO_FREE)
            .context("writing the FSInfo sector")
    }
}

#[cfg(test)]
mod tests {
    use super::Volume;
    use crate::write::SETTINGS_FILE;
    use crate::write::fat::volume::tests::{check_with_fsck, sample, write};

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
