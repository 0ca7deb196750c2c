//! Whether a volume can be written to without harm.
//!
//! Two files that share clusters, or a file that no folder names any more, are harmless as
//! long as nobody writes: whoever frees a file's clusters takes them from the other one,
//! and whoever clears away what nothing points to erases what was only not found. So
//! before the first write every cluster is counted, once.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};

use super::volume::Volume;
use super::{BAD_CLUSTER, CLUSTER_MASK, ENTRY, FIRST_CLUSTER, FIRST_END_OF_CHAIN};
use crate::format::{AUTHORITY_LIMIT, SETTINGS_FILE, SETTINGS_LIMIT};

/// Most folders in one another; a boot partition has three.
const DEEPEST: usize = 16;
/// What an interrupted replacement leaves at most, in bytes: the old content, and the new
/// one in two places.
const LEFT_BYTES_MAX: u64 = 3 * (SETTINGS_LIMIT + AUTHORITY_LIMIT) as u64;
/// Name of a folder's entry for itself.
const ITSELF: &[u8; 11] = b".          ";

/// Whose each cluster is.
struct Owners {
    /// The number of an owner for each cluster, 0 for nobody.
    of: Vec<u32>,
    names: Vec<String>,
}

impl Owners {
    fn new(clusters: u64) -> Self {
        Self {
            of: vec![0; clusters as usize + FIRST_CLUSTER as usize],
            names: Vec::new(),
        }
    }

    fn name(&self, cluster: u32) -> Option<&str> {
        let number = *self.of.get(cluster as usize)?;
        self.names
            .get((number as usize).checked_sub(1)?)
            .map(String::as_str)
    }

    /// Counts the clusters of a file or folder, which nobody else may have.
    fn take(&mut self, name: &str, chain: &[u32]) -> Result<()> {
        for cluster in chain {
            if let Some(other) = self.name(*cluster) {
                bail!("{name} and {other} share cluster {cluster}");
            }
        }
        self.names.push(name.to_owned());
        for cluster in chain {
            self.of[*cluster as usize] = self.names.len() as u32;
        }
        Ok(())
    }
}

impl Volume<'_> {
    /// Refuses a volume in which replacing that file could harm another one; nothing is
    /// written. What an interrupted replacement left is no damage.
    pub fn check(&self, replaced: &str) -> Result<()> {
        self.lost(replaced).map(drop)
    }

    /// The paths of all files, of a volume in which each has clusters of its own.
    pub fn files(&self) -> Result<Vec<String>> {
        let (owners, folders) = self.owners().context("the FAT volume is damaged")?;
        let folders: BTreeSet<String> = folders.into_iter().map(|(path, _)| path).collect();
        let mut files = owners.names;
        files.retain(|name| !folders.contains(name));
        // The first folder has no path, but a name.
        files.remove(0);
        Ok(files)
    }

    /// Clusters that an interrupted replacement left, on a volume that is whole otherwise.
    pub(super) fn lost(&self, replaced: &str) -> Result<Vec<u32>> {
        let examine = || -> Result<Vec<u32>> {
            let (owners, folders) = self.owners()?;
            let lost = self.find_lost(&owners)?;
            self.check_entries(&folders, &lost)?;
            self.check_tables(&owners, &[replaced, SETTINGS_FILE])?;
            Ok(lost)
        };
        examine().context("the FAT volume is damaged")
    }

    /// Every file and folder with its clusters, and the folders by path and first cluster.
    fn owners(&self) -> Result<(Owners, Vec<(String, u32)>)> {
        let mut owners = Owners::new(self.geometry.clusters);
        owners.take("the first folder", &self.chain(self.root)?)?;
        let mut folders = vec![(String::new(), self.root)];
        let mut next = 0;
        while let Some((folder, first)) = folders.get(next).cloned() {
            next += 1;
            for entry in self.list_chain(first)? {
                let path = match folder.as_str() {
                    "" => entry.name.clone(),
                    folder => format!("{folder}/{}", entry.name),
                };
                let chain = self
                    .chain(entry.first)
                    .with_context(|| format!("reading {path:?}"))?;
                owners.take(&path, &chain)?;
                if entry.folder {
                    self.check_folder(&path, entry.first)?;
                    folders.push((path, entry.first));
                    continue;
                }
                let needed = self.geometry.clusters_for(u64::from(entry.size));
                ensure!(
                    chain.len() as u64 == needed,
                    "{path} has {} clusters, and needs {needed} for its {} bytes",
                    chain.len(),
                    entry.size
                );
            }
        }
        Ok((owners, folders))
    }

    /// A folder that was overwritten looks like an empty one, but for its entry for itself.
    fn check_folder(&self, path: &str, first: u32) -> Result<()> {
        ensure!(
            path.split('/').count() <= DEEPEST,
            "more than {DEEPEST} folders are in one another"
        );
        ensure!(first != 0, "the folder {path} has no clusters");
        let mut entry = [0; ENTRY];
        self.storage
            .read_at(&mut entry, self.geometry.cluster_offset(first))
            .context("reading a folder")?;
        ensure!(
            entry[..ITSELF.len()] == *ITSELF && pointer(&entry) == first,
            "the folder {path} does not begin with an entry for itself"
        );
        Ok(())
    }

    /// Clusters that are in use and nobody's.
    fn find_lost(&self, owners: &Owners) -> Result<Vec<u32>> {
        let end = FIRST_CLUSTER + self.geometry.clusters as u32;
        let value = |cluster: u32| self.entry_of(cluster) & CLUSTER_MASK;
        let lost: Vec<u32> = (FIRST_CLUSTER..end)
            .filter(|cluster| ![0, BAD_CLUSTER].contains(&value(*cluster)))
            .filter(|cluster| owners.name(*cluster).is_none())
            .collect();
        ensure!(
            lost.len() as u64 * self.geometry.cluster_size() <= LEFT_BYTES_MAX,
            "{} clusters in use belong to no file",
            lost.len()
        );
        for cluster in &lost {
            let next = value(*cluster);
            ensure!(
                next >= FIRST_END_OF_CHAIN || self.geometry.holds(next),
                "cluster {cluster}, which belongs to no file, leads nowhere"
            );
            if let Some(name) = owners.name(next) {
                bail!("cluster {cluster}, which belongs to no file, leads into {name}");
            }
        }
        Ok(lost)
    }

    /// Refuses lost clusters that an entry still names: one that was marked deleted, lies
    /// behind a folder's end, or is no file for another reason. We never leave such.
    fn check_entries(&self, folders: &[(String, u32)], lost: &[u32]) -> Result<()> {
        if lost.is_empty() {
            return Ok(());
        }
        let mut bytes = vec![0; self.geometry.cluster_size() as usize];
        for (path, first) in folders {
            for cluster in self.chain(*first)? {
                self.storage
                    .read_at(&mut bytes, self.geometry.cluster_offset(cluster))
                    .context("reading a folder")?;
                for entry in bytes.chunks_exact(ENTRY) {
                    // The pieces of a long name have no number there, but characters.
                    let piece = entry[26..28] == [0, 0];
                    ensure!(
                        piece || lost.binary_search(&pointer(entry)).is_err(),
                        "an entry of the folder /{path} that is no file has clusters in use"
                    );
                }
            }
        }
        Ok(())
    }

    /// Refuses tables that differ, but where a replacement of those files may have stopped.
    fn check_tables(&self, owners: &Owners, replaced: &[&str]) -> Result<()> {
        let mut differing: u64 = 0;
        for copy in 1..self.geometry.tables {
            let mut other = vec![0; self.table.len()];
            self.storage
                .read_at(&mut other, self.geometry.table_offset(copy))
                .context("reading the file allocation table")?;
            let pairs = self.table.chunks_exact(4).zip(other.chunks_exact(4));
            for (cluster, (one, other)) in pairs.enumerate().skip(FIRST_CLUSTER as usize) {
                if one == other {
                    continue;
                }
                differing += 1;
                let owner = owners.name(cluster as u32);
                if let Some(owner) = owner.filter(|owner| !replaced.contains(owner)) {
                    bail!("its allocation tables differ in a cluster of {owner}");
                }
            }
        }
        ensure!(
            differing * self.geometry.cluster_size() <= LEFT_BYTES_MAX,
            "its allocation tables differ in {differing} clusters"
        );
        Ok(())
    }
}

/// The first cluster that an entry names.
fn pointer(entry: &[u8]) -> u32 {
    let number = |at: usize| u32::from(u16::from_le_bytes([entry[at], entry[at + 1]]));
    (number(26) | number(20) << 16) & CLUSTER_MASK
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Volume;
    use crate::format::SETTINGS_FILE;
    use crate::format::fat::volume::tests::{sample, write};
    use crate::format::fat::{ENTRY, Geometry};

    const KERNEL: &str = "EFI/Linux/mail_1.0.0.efi";
    const LOADER: &str = "loader/loader.conf";

    /// A volume whose bytes are damaged by hand.
    struct Damaged(Vec<u8>);

    impl Damaged {
        fn new() -> Self {
            Self(std::fs::read(write(&sample()).0.path()).unwrap())
        }

        fn geometry(&mut self) -> Geometry {
            Volume::open(&mut self.0).unwrap().geometry
        }

        fn first(&mut self, path: &str) -> u32 {
            Volume::open(&mut self.0).unwrap().find(path).unwrap().first
        }

        fn last(&mut self, path: &str) -> u32 {
            let first = self.first(path);
            let volume = Volume::open(&mut self.0).unwrap();
            *volume.chain(first).unwrap().last().unwrap()
        }

        /// The entry of a file or folder.
        fn entry(&mut self, path: &str) -> &mut [u8] {
            let volume = Volume::open(&mut self.0).unwrap();
            let at = volume.find(path).unwrap().position as usize;
            &mut self.0[at..at + ENTRY]
        }

        fn point(&mut self, path: &str, first: u32) {
            let entry = self.entry(path);
            entry[26..28].copy_from_slice(&(first as u16).to_le_bytes());
            entry[20..22].copy_from_slice(&((first >> 16) as u16).to_le_bytes());
        }

        /// Sets what some of the tables say of a cluster.
        fn table(&mut self, tables: &[u64], cluster: u32, value: u32) {
            let geometry = self.geometry();
            for table in tables {
                let at = geometry.table_offset(*table) as usize + cluster as usize * 4;
                self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
        }
    }

    /// What replacing the settings is told; no byte may have changed.
    fn refused(damage: impl Fn(&mut Damaged)) -> String {
        let mut damaged = Damaged::new();
        damage(&mut damaged);
        let before = damaged.0.clone();
        type Change = fn(&mut Volume<'_>) -> anyhow::Result<()>;
        let changes: [Change; 3] = [
            |volume| volume.replace_file(SETTINGS_FILE, b"DOMAIN=a.example\n"),
            |volume| volume.add_file("root.pem", b"certificate"),
            |volume| volume.remove_file("empty"),
        ];
        let mut told = Vec::new();
        for change in changes {
            let mut volume = Volume::open(&mut damaged.0).unwrap();
            told.push(format!("{:#}", change(&mut volume).unwrap_err()));
            assert!(damaged.0 == before, "it wrote before it refused: {told:?}");
        }
        assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:?}");
        told.remove(0)
    }

    #[test]
    fn files_that_share_clusters_are_refused() {
        let text = refused(|volume| {
            let loader = volume.first(LOADER);
            volume.point(SETTINGS_FILE, loader);
        });
        assert!(
            text.starts_with(
                "the FAT volume is damaged: loader/loader.conf and settings.env share cluster "
            ),
            "{text}"
        );
        // Further on, and with a folder.
        let text = refused(|volume| {
            let (last, kernel) = (volume.last("EFI/BOOT/BOOTX64.EFI"), volume.last(KERNEL));
            volume.table(&[0, 1], last - 1, kernel);
        });
        assert!(text.contains(" share cluster "), "{text}");
        // The settings lead into the kernel, as long as it is.
        refused(|volume| {
            let kernel = volume.first(KERNEL);
            volume.point(SETTINGS_FILE, kernel);
            volume.entry(SETTINGS_FILE)[28..32].copy_from_slice(&5000u32.to_le_bytes());
        });
        let text = refused(|volume| {
            let many = volume.first("many");
            volume.point("loader", many);
        });
        assert!(text.contains(": many and loader share cluster "), "{text}");
    }

    #[test]
    fn chains_that_do_not_fit_their_files_are_refused() {
        let needs = |text: String| assert!(text.contains(" clusters, and needs "), "{text}");
        needs(refused(|volume| {
            // It runs on into a cluster that is nobody's.
            let (last, free) = (volume.last(KERNEL), volume.last("many") + 1000);
            volume.table(&[0, 1], last, free);
            volume.table(&[0, 1], free, 0x0fff_ffff);
        }));
        needs(refused(|volume| {
            let first = volume.first(KERNEL);
            volume.table(&[0, 1], first, 0x0fff_ffff);
        }));
        needs(refused(|volume| volume.entry(KERNEL)[29] = 0xff));
        needs(refused(|volume| volume.point(LOADER, 0)));
        let text = refused(|volume| {
            let last = volume.last(KERNEL);
            volume.table(&[0, 1], last, 0);
        });
        assert!(
            text.contains("reading \"EFI/Linux/mail_1.0.0.efi\": "),
            "{text}"
        );
    }

    #[test]
    fn files_that_were_only_not_found_are_never_erased() {
        for (path, change) in [
            (LOADER, (0, 0xe5)),
            (SETTINGS_FILE, (0, 0xe5)),
            (KERNEL, (0, 0xe5)),
            // The end of the folder, a label, a piece of a name, hidden by its name.
            (LOADER, (0, 0)),
            (LOADER, (11, 0x28)),
            (LOADER, (11, 0x0f)),
            (LOADER, (0, b'.')),
        ] {
            let (at, value) = change;
            let mut damaged = Damaged::new();
            damaged.entry(path)[at] = value;
            let before = damaged.0.clone();
            let mut volume = Volume::open(&mut damaged.0).unwrap();
            let error = volume.add_file("root.pem", b"certificate").unwrap_err();
            assert!(
                format!("{error:#}").contains("no file"),
                "{path} {change:?}: {error:#}"
            );
            assert!(damaged.0 == before, "{path} {change:?}");
        }
        let text = refused(|volume| {
            let at = volume.first("loader");
            let at = volume.geometry().cluster_offset(at) as usize;
            volume.0[at..at + 512].fill(0);
        });
        assert!(
            text.contains("loader does not begin with an entry for itself"),
            "{text}"
        );
        let text = refused(|volume| volume.entry("EFI")[0] = 0xe5);
        assert!(text.contains("clusters in use belong to no file"), "{text}");
    }

    #[test]
    fn tables_that_differ_elsewhere_are_refused() {
        for table in [0, 1] {
            let text = refused(|volume| {
                // The same number of clusters, but another one.
                let (first, spare) = (volume.first(KERNEL), volume.last("many") + 1000);
                let volume_after = Volume::open(&mut volume.0).unwrap().entry_of(first);
                let after = Volume::open(&mut volume.0).unwrap().entry_of(volume_after);
                volume.table(&[table], first, spare);
                volume.table(&[table], spare, after);
            });
            assert!(text.contains("damaged: "), "{text}");
        }
        // Where a replacement of the settings may have stopped, it goes on.
        let mut damaged = Damaged::new();
        let last = damaged.last(SETTINGS_FILE);
        damaged.table(&[1], last, 0);
        let mut volume = Volume::open(&mut damaged.0).unwrap();
        volume.replace_file(SETTINGS_FILE, b"A=b\n").unwrap();
    }

    /// Counting the chain anew for each of thousands of entries took 21 seconds.
    #[test]
    fn thousands_of_entries_of_one_chain_take_no_time() {
        let mut files = sample();
        for number in 0..9000 {
            let name = format!("many/f{number}.txt");
            files.push((name, crate::format::content::Content::from("")));
        }
        let (file, _) = write(&files);
        let mut damaged = Damaged(std::fs::read(file.path()).unwrap());
        let first = damaged.first("EFI/BOOT/BOOTX64.EFI");
        let positions: Vec<u64> = Volume::open(&mut damaged.0)
            .unwrap()
            .list("many")
            .unwrap()
            .iter()
            .map(|entry| entry.position)
            .collect();
        for at in positions {
            let at = at as usize + 26;
            damaged.0[at..at + 2].copy_from_slice(&(first as u16).to_le_bytes());
        }
        let start = Instant::now();
        let mut volume = Volume::open(&mut damaged.0).unwrap();
        assert!(volume.replace_file(SETTINGS_FILE, b"A=b\n").is_err());
        assert!(start.elapsed() < Duration::from_secs(2));
    }
}
