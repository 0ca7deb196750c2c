//! Reading a volume: folders, files, chains of clusters.
//!
//! A volume is untrusted: chains are bounded, so a loop ends in an error.

use std::fmt;

use anyhow::{Context, Result, anyhow, ensure};

use super::boot_sector;
use super::names::{LongName, ShortName, as_text, same_name};
use super::{
    ATTRIBUTE_FOLDER, ATTRIBUTE_LABEL, ATTRIBUTE_LONG_NAME, CLUSTER_MASK, ENTRY,
    FIRST_END_OF_CHAIN, Geometry,
};
use crate::format::storage::Storage;

/// First byte of a folder's entry that was deleted.
pub(super) const DELETED: u8 = 0xe5;

/// A file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name.
    pub name: String,
    /// Whether it is a folder.
    pub folder: bool,
    /// Size in bytes, 0 of a folder.
    pub size: u32,
    pub(super) first: u32,
    /// Where its short entry lies, in bytes from the volume's start.
    pub(super) position: u64,
}

/// A FAT32 volume.
pub struct Volume<'a> {
    pub(super) storage: &'a mut dyn Storage,
    pub(super) geometry: Geometry,
    pub(super) root: u32,
    pub(super) info_sector: Option<u64>,
    /// The first table, as it lies on the disk.
    pub(super) table: Vec<u8>,
}

impl fmt::Debug for Volume<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Volume")
            .field("geometry", &self.geometry)
            .finish_non_exhaustive()
    }
}

impl<'a> Volume<'a> {
    /// Opens the volume that fills a storage.
    pub fn open(storage: &'a mut dyn Storage) -> Result<Self> {
        let (geometry, root, info_sector) = boot_sector::read(storage)?;
        let mut table = vec![0; ((geometry.clusters + 2) * 4) as usize];
        storage
            .read_at(&mut table, geometry.table_offset(0))
            .context("reading the file allocation table")?;
        Ok(Self {
            storage,
            geometry,
            root,
            info_sector,
            table,
        })
    }

    /// What a folder holds, in the order of the disk; the root's path is empty.
    pub fn list(&self, path: &str) -> Result<Vec<Entry>> {
        if path.is_empty() {
            return self.list_chain(self.root);
        }
        let entry = self.find(path)?;
        ensure!(entry.folder, "{path} is no folder");
        self.list_chain(entry.first)
    }

    /// The file or folder at a path.
    pub fn find(&self, path: &str) -> Result<Entry> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.list(parent)?
            .into_iter()
            .find(|entry| same_name(&entry.name, name))
            .ok_or_else(|| anyhow!("the volume has no {path}"))
    }

    /// The content of the file at a path.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let entry = self.find(path)?;
        ensure!(!entry.folder, "{path} is a folder");
        let chain = self.chain(entry.first)?;
        ensure!(
            chain.len() as u64 >= self.geometry.clusters_for(u64::from(entry.size)),
            "{path} is longer than its clusters"
        );
        let mut bytes = vec![0; entry.size as usize];
        let cluster_size = self.geometry.cluster_size() as usize;
        let mut rest = bytes.as_mut_slice();
        // Clusters that follow one another are read at once.
        for run in chain.chunk_by(|one, next| one + 1 == *next) {
            let length = rest.len().min(run.len() * cluster_size);
            let (piece, after) = rest.split_at_mut(length);
            self.storage
                .read_at(piece, self.geometry.cluster_offset(run[0]))
                .with_context(|| format!("reading {path}"))?;
            rest = after;
        }
        Ok(bytes)
    }

    pub(super) fn list_chain(&self, first: u32) -> Result<Vec<Entry>> {
        let cluster_size = self.geometry.cluster_size();
        let mut bytes = vec![0; cluster_size as usize];
        let mut entries = Vec::new();
        let mut long_name = LongName::default();
        for cluster in self.chain(first)? {
            let offset = self.geometry.cluster_offset(cluster);
            self.storage
                .read_at(&mut bytes, offset)
                .context("reading a folder")?;
            for (index, entry) in bytes.chunks_exact(ENTRY).enumerate() {
                match (entry[0], entry[11]) {
                    (0, _) => return Ok(entries),
                    (DELETED, _) => long_name = LongName::default(),
                    (_, ATTRIBUTE_LONG_NAME) => long_name.push(entry),
                    (b'.', _) => {}
                    (_, attributes) if attributes & ATTRIBUTE_LABEL != 0 => {}
                    _ => entries.push(decode(
                        entry,
                        &mut long_name,
                        offset + (index * ENTRY) as u64,
                    )),
                }
            }
        }
        Ok(entries)
    }

    /// What the table says of a cluster.
    pub(super) fn entry_of(&self, cluster: u32) -> u32 {
        let at = cluster as usize * 4;
        let mut number = [0; 4];
        number.copy_from_slice(&self.table[at..at + 4]);
        u32::from_le_bytes(number)
    }

    /// The clusters of a chain in order; none for the first cluster 0.
    pub(super) fn chain(&self, first: u32) -> Result<Vec<u32>> {
        let mut chain = Vec::new();
        let mut cluster = first;
        while first != 0 && cluster < FIRST_END_OF_CHAIN {
            ensure!(
                self.geometry.holds(cluster) && (chain.len() as u64) < self.geometry.clusters,
                "the FAT volume is damaged: a chain of clusters leads nowhere"
            );
            chain.push(cluster);
            cluster = self.entry_of(cluster) & CLUSTER_MASK;
        }
        Ok(chain)
    }
}

fn decode(entry: &[u8], long_name: &mut LongName, position: u64) -> Entry {
    let number16 = |offset: usize| u16::from_le_bytes([entry[offset], entry[offset + 1]]);
    let mut short: ShortName = [0; 11];
    short.copy_from_slice(&entry[..11]);
    let folder = entry[11] & ATTRIBUTE_FOLDER != 0;
    Entry {
        name: long_name.take(&short).unwrap_or_else(|| as_text(&short)),
        folder,
        size: u32::from(number16(28)) | u32::from(number16(30)) << 16,
        first: u32::from(number16(26)) | (u32::from(number16(20)) << 16 & CLUSTER_MASK),
        position,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs::File;
    use std::process::Command;

    use proptest::prelude::{ProptestConfig, any, prop, prop_assert_eq, proptest};

    use super::Volume;
    use crate::format::content::Content;
    use crate::format::fat::{VolumeOptions, WrittenVolume, write_fat};

    const SIZE: u64 = 34 << 20;

    pub(in crate::format::fat) fn write(
        files: &[(String, Content)],
    ) -> (tempfile::NamedTempFile, WrittenVolume) {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(SIZE).unwrap();
        let options = VolumeOptions {
            label: "ESP".to_owned(),
            volume_id: 0x1234_abcd,
            timestamp: 1_795_354_663,
            hidden_sectors: 2048,
        };
        let written = write_fat(&mut file.as_file(), &options, files).unwrap();
        (file, written)
    }

    pub(in crate::format::fat) fn sample() -> Vec<(String, Content)> {
        let mut sparse = vec![0u8; 300_000];
        sparse[150_000] = 7;
        let mut files = vec![
            ("settings.env".to_owned(), Content::from("# nothing yet\n")),
            ("EFI/BOOT/BOOTX64.EFI".to_owned(), Content::from(sparse)),
            (
                "EFI/Linux/mail_1.0.0.efi".to_owned(),
                Content::from(vec![1u8; 5000]),
            ),
            (
                "loader/loader.conf".to_owned(),
                Content::from("editor no\n"),
            ),
            ("empty".to_owned(), Content::from("")),
        ];
        for number in 0..40 {
            files.push((
                format!("many/a rather long name {number}.txt"),
                Content::from("x"),
            ));
        }
        files
    }

    /// dosfstools is the second opinion where it is installed.
    pub(in crate::format::fat) fn check_with_fsck(file: &File, path: &std::path::Path) {
        file.sync_all().unwrap();
        let Ok(output) = Command::new("fsck.vfat")
            .arg("-n")
            .arg("-v")
            .arg(path)
            .output()
        else {
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}");
        for bad in ["wrong", "differ", "dirty", "orphan", "reclaim"] {
            assert!(!text.to_lowercase().contains(bad), "{text}");
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let files = sample();
        let (file, written) = write(&files);
        let mut storage = file.as_file();
        let volume = Volume::open(&mut storage).unwrap();
        for (path, content) in &files {
            assert_eq!(
                volume.read(path).unwrap(),
                content.read().unwrap(),
                "{path}"
            );
        }
        let names = |path: &str| -> Vec<String> {
            let entries = volume.list(path).unwrap();
            entries.into_iter().map(|entry| entry.name).collect()
        };
        assert_eq!(
            names(""),
            ["EFI", "empty", "loader", "many", "settings.env"]
        );
        assert_eq!(names("EFI"), ["BOOT", "Linux"]);
        assert_eq!(names("many").len(), 40);
        assert!(volume.read("EFI/BOOT/none").is_err());
        assert!(volume.list("empty").is_err());
        assert!(written.used > 300_000 && written.free > 30 << 20);
        check_with_fsck(file.as_file(), file.path());
    }

    #[test]
    fn a_damaged_volume_is_refused() {
        let (file, _) = write(&sample());
        let mut bytes = std::fs::read(file.path()).unwrap();
        let volume = Volume::open(&mut bytes).unwrap();
        let first = volume.find("EFI/BOOT/BOOTX64.EFI").unwrap().first as usize;
        let at = volume.geometry.table_offset(0) as usize + first * 4;
        // A chain that bites its own tail.
        bytes[at..at + 4].copy_from_slice(&(first as u32).to_le_bytes());
        let volume = Volume::open(&mut bytes).unwrap();
        assert!(
            volume
                .read("EFI/BOOT/BOOTX64.EFI")
                .unwrap_err()
                .to_string()
                .contains("damaged")
        );
        for offset in [11, 13, 16, 35, 39, 47, 82, 510] {
            let mut bytes = bytes.clone();
            bytes[offset] = 0xfd;
            assert!(Volume::open(&mut bytes).is_err(), "{offset}");
        }
        assert!(Volume::open(&mut vec![0; 100]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 24,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]
        #[test]
        fn any_files_come_back(
            files in prop::collection::btree_map(
                "([a-z]{1,3}/){0,2}[a-z0-9 ]{0,20}\\.[A-Za-zäöü]{1,5}",
                prop::collection::vec(any::<u8>(), 0..3000),
                0..12,
            )
        ) {
            // One name for a file and a folder, or for two files, is another test.
            let mut seen = std::collections::BTreeSet::new();
            let files: Vec<(String, Content)> = files
                .into_iter()
                .filter(|(path, _)| seen.insert(path.to_uppercase()))
                .map(|(path, bytes)| (path, Content::from(bytes)))
                .collect();
            let (file, _) = write(&files);
            let mut storage = file.as_file();
            let volume = Volume::open(&mut storage).unwrap();
            for (path, content) in &files {
                prop_assert_eq!(volume.read(path).unwrap(), content.read().unwrap());
            }
            check_with_fsck(file.as_file(), file.path());
        }
    }
}
