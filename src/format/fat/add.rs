//! Files of the root folder that come and go: what lies beside the settings.
//!
//! Taking a file out leaves every byte as it was before it came, if nothing
//! came after it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, anyhow, ensure};

use super::names::{ShortName, check_name, long_name_entries, short_name};
use super::volume::{DELETED, Volume};
use super::{ATTRIBUTE_ARCHIVE, ATTRIBUTE_LONG_NAME, ENTRY};
use crate::error::Hint;

/// The times in an entry, which lie side by side.
const TIMES: [std::ops::Range<usize>; 2] = [13..20, 22..26];

/// An entry as it lies on the disk, and where, in bytes from the volume's start.
type Slot = (u64, [u8; ENTRY]);

impl Volume<'_> {
    /// Puts a file into the root folder, which must not have it yet.
    ///
    /// Its times are those of the volume, so that the same files make the same bytes.
    pub fn add_file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        check_name(name)?;
        self.check(name)?;
        ensure!(
            !self.has(name)?,
            "the boot partition has a file or folder {name} already"
        );
        let slots = self.root_slots()?;
        let taken: BTreeSet<ShortName> = slots
            .iter()
            .filter(|(_, entry)| entry[0] != 0 && entry[11] != ATTRIBUTE_LONG_NAME)
            .map(|(_, entry)| std::array::from_fn(|at| entry[at]))
            .collect();
        let (short, long_needed) = short_name(name, &taken);
        let mut entries = if long_needed {
            long_name_entries(name, &short)
        } else {
            Vec::new()
        };
        let mut last = [0; ENTRY];
        last[..11].copy_from_slice(&short);
        last[11] = ATTRIBUTE_ARCHIVE;
        if let Some((_, label)) = slots.first() {
            for range in TIMES {
                last[range.clone()].copy_from_slice(&label[range]);
            }
        }
        entries.push(last);

        let end = slots.iter().position(|(_, entry)| entry[0] == 0);
        let end = end.unwrap_or(slots.len());
        let room = slots
            .get(end..end + entries.len())
            .ok_or_else(|| anyhow!("the boot partition's first folder is full"))
            .hint("remove files that you put there")?;
        // The short entry last: before it the others are no file.
        for ((position, _), entry) in room.iter().zip(&entries) {
            self.storage
                .write_at(entry, *position)
                .context("writing a folder")?;
        }
        self.replace_file(name, bytes)
    }

    /// Takes a file out of the root folder and zeroes what it held.
    pub fn remove_file(&mut self, name: &str) -> Result<()> {
        let entry = self.find(name)?;
        ensure!(!entry.folder, "{name} is a folder");
        self.replace_file(name, b"")?;
        let slots = self.root_slots()?;
        let at = slots
            .iter()
            .position(|(position, _)| *position == entry.position)
            .context("finding the file's entry")?;
        let first = slots[..at]
            .iter()
            .rposition(|(_, entry)| entry[0] == DELETED || entry[11] != ATTRIBUTE_LONG_NAME)
            .map_or(0, |before| before + 1);
        let is_last = slots.get(at + 1).is_none_or(|(_, next)| next[0] == 0);
        // The short entry first: without it the others are no file.
        for (position, entry) in slots[first..=at].iter().rev() {
            let mut gone = *entry;
            if is_last {
                gone = [0; ENTRY];
            } else {
                gone[0] = DELETED;
            }
            self.storage
                .write_at(&gone, *position)
                .context("writing a folder")?;
        }
        self.storage.sync().context("flushing the boot partition")
    }

    /// Whether the root folder has a file or folder of this name.
    pub fn has(&self, name: &str) -> Result<bool> {
        Ok(self
            .list("")?
            .iter()
            .any(|entry| super::names::same_name(&entry.name, name)))
    }

    /// Every entry of the root folder, used or not.
    fn root_slots(&self) -> Result<Vec<Slot>> {
        let mut slots = Vec::new();
        for cluster in self.chain(self.root)? {
            let offset = self.geometry.cluster_offset(cluster);
            let mut bytes = vec![0; self.geometry.cluster_size() as usize];
            self.storage
                .read_at(&mut bytes, offset)
                .context("reading a folder")?;
            for (index, entry) in bytes.chunks_exact(ENTRY).enumerate() {
                let position = offset + (index * ENTRY) as u64;
                slots.push((position, std::array::from_fn(|at| entry[at])));
            }
        }
        Ok(slots)
    }
}

#[cfg(test)]
mod tests {
    use super::Volume;
    use crate::format::fat::volume::tests::{check_with_fsck, sample, write};

    #[test]
    fn a_file_comes_and_goes_without_a_trace() {
        let (file, _) = write(&sample());
        let image = || std::fs::read(file.path()).unwrap();
        let pristine = image();
        let change = |work: &dyn Fn(&mut Volume<'_>)| {
            let mut storage = file.as_file();
            work(&mut Volume::open(&mut storage).unwrap());
            check_with_fsck(file.as_file(), file.path());
        };
        for name in ["ca.pem", "PRIVATE.PEM", "a long name of a root.pem"] {
            for length in [0, 700, 30_000] {
                change(&|volume| volume.add_file(name, &vec![b'c'; length]).unwrap());
                change(&|volume| {
                    assert_eq!(volume.read(name).unwrap().len(), length);
                    assert_eq!(volume.read("settings.env").unwrap(), b"# nothing yet\n");
                    assert!(volume.add_file(&name.to_uppercase(), b"").is_err());
                    volume.remove_file(name).unwrap();
                });
                assert!(image() == pristine, "{name} {length}");
            }
        }
        change(&|volume| {
            assert!(volume.remove_file("EFI").is_err());
            assert!(volume.remove_file("none").is_err());
            // One that is not the last leaves a gap and nothing else.
            volume.add_file("one.pem", b"1").unwrap();
            volume.add_file("two.pem", b"2").unwrap();
            volume.remove_file("one.pem").unwrap();
            assert_eq!(volume.read("two.pem").unwrap(), b"2");
            let error = volume.add_file(&"x".repeat(200), b"").unwrap_err();
            assert!(error.to_string().contains("full"), "{error}");
        });
    }
}
