//! settings.env on the EFI system partition, which is mounted only while it is read,
//! and the root certificate beside it.
//!
//! The initrd knows which disk the root came from and leaves a link to that
//! disk's ESP; nothing is searched here. The unit that calls this has a mount
//! namespace of its own, so no other process sees the partition.

use crate::appliance::machine::files::{ensure_folder, remove_file, sync_folder};
use crate::appliance::machine::place::{self, Place};
use crate::settings::{MAXIMUM_AUTHORITY_BYTES, MAXIMUM_BYTES};
use anyhow::{Context, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// The file's name on the partition; FAT ignores case.
const NAME: &str = "settings.env";

/// An ESP that can be read, unmounted when dropped.
pub struct Esp {
    folder: PathBuf,
    mounted: bool,
}

impl Drop for Esp {
    fn drop(&mut self) {
        if self.mounted {
            let _ = unmount(&self.folder, UnmountFlags::empty());
        }
    }
}

/// Opens the ESP, `None` when the initrd left no link to one.
pub fn open_esp(place: &Place, writable: bool) -> Result<Option<Esp>> {
    let device = place.path(place::ESP_LINK);
    let Ok(metadata) = fs::metadata(&device) else {
        return Ok(None);
    };
    if metadata.is_dir() {
        return Ok(Some(Esp {
            folder: device,
            mounted: false,
        }));
    }
    let folder = place.path(place::ESP_MOUNT);
    ensure_folder(&folder, 0o700, None)?;
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    if !writable {
        flags |= MountFlags::RDONLY;
    }
    mount(&device, &folder, "vfat", flags, c"umask=0077")
        .with_context(|| format!("mounting the EFI system partition {}", device.display()))?;
    Ok(Some(Esp {
        folder,
        mounted: true,
    }))
}

impl Esp {
    /// Where it is mounted.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The settings file, `None` when there is none.
    pub fn read_settings(&self) -> Result<Option<Vec<u8>>> {
        self.read(NAME, MAXIMUM_BYTES)
    }

    /// The root certificate that settings name, `None` when there is no such file.
    pub fn read_authority(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.read(name, MAXIMUM_AUTHORITY_BYTES)
    }

    /// A file, no more than one byte above its limit of it.
    fn read(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>> {
        let path = self.folder.join(name);
        let mut bytes = Vec::new();
        let limit = limit as u64 + 1;
        match File::open(&path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("reading {name} on the EFI system partition"))
            }
            Ok(_) => Ok(Some(bytes)),
        }
    }

    /// Replaces the settings file and wipes the clusters that held the old one.
    pub fn replace_settings(&self, bytes: &[u8]) -> Result<()> {
        replace(&self.folder, bytes).context("writing settings.env on the EFI system partition")
    }
}

fn replace(folder: &Path, bytes: &[u8]) -> Result<()> {
    let path = folder.join(NAME);
    let fresh = folder.join("settings.new");
    let mut old = fs::OpenOptions::new().read(true).write(true).open(&path)?;
    // Left by a run that was cut short. Nobody else writes there, and the partition is too
    // small for names that come but once.
    remove_file(&fresh)?;
    let mut file = File::create_new(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, &path)?;
    sync_folder(folder)?;
    // Renaming frees the old clusters and leaves what they held; the open file
    // still reaches them. First the new text, then this: a power cut in between
    // leaves a whole file either way.
    let length = usize::try_from(old.metadata()?.len()).unwrap_or(0);
    old.rewind()?;
    old.write_all(&vec![b'#'; length])?;
    old.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::open_esp;
    use crate::appliance::machine::place::Place;

    #[test]
    fn no_link_no_partition() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        assert!(open_esp(&place, false).unwrap().is_none());
    }

    #[test]
    fn the_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let esp = place.path("/run/mailimg-initrd/esp");
        std::fs::create_dir_all(&esp).unwrap();
        let opened = open_esp(&place, false).unwrap().unwrap();
        assert_eq!(opened.read_settings().unwrap(), None);
        std::fs::write(esp.join("settings.env"), "long secret").unwrap();
        opened.replace_settings(b"new").unwrap();
        assert_eq!(opened.read_settings().unwrap().unwrap(), b"new");
        assert_eq!(std::fs::read_dir(&esp).unwrap().count(), 1);
    }
}
