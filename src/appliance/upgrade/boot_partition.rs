//! What starts, on the boot partition: kernel images for UEFI, slots' files for BIOS.
//!
//! FAT has no journal. A file that must not be seen half is written under another name and
//! renamed. A kernel image lacks its first sector until it has its name: without the
//! signature in it the boot loader takes it for nothing, and one sector is written wholly
//! or not at all. The two small files that GRUB decides by are one sector each, written
//! where they lie.
//!
//! No kernel image is renamed that has to be left: FAT changes the two names one by one, in
//! any order, and a power cut between them leaves none. It is copied, and then removed.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::machine::Machine;
use crate::appliance::machine::esp::{Esp, open_esp};
use crate::appliance::machine::files::remove_file;
use crate::appliance::machine::place::Place;
use crate::error::{Hint, hinted};
use crate::format::boot_entry::{BootEntry, KERNELS};
use crate::format::grub::{
    CONFIGURATION_FILE, GOOD_FILE, SLOT_FILES, Slot, TRIAL_FILE, Trial, good_file, parse_good,
    parse_trial, trial_file,
};
use crate::format::uki::{Described, describe};

/// Bytes of a sector, which a disk writes wholly or not at all.
const SECTOR: usize = 512;
/// Bytes that small files and folders take besides.
const SLACK: u64 = 1 << 20;
/// Ends the names of files that are not finished.
const UNFINISHED: &str = "new";

/// A kernel image that is there.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its name.
    pub entry: BootEntry,
    /// What it says of itself.
    pub described: Described,
}

/// The boot partition, mounted until this is dropped.
pub struct BootPartition {
    _esp: Esp,
    folder: PathBuf,
}

impl BootPartition {
    /// Mounts it.
    pub fn open(place: &Place) -> Result<Self> {
        let esp = open_esp(place, true)?.ok_or_else(|| {
            hinted(
                "finding the boot partition: the initrd left no link to it",
                "`mailimg install --keep-data` from a rescue system makes a new one",
            )
        })?;
        Ok(Self {
            folder: esp.folder().to_owned(),
            _esp: esp,
        })
    }

    /// Every kernel image that can start; what is no image of ours is left out.
    pub fn kernels(&self) -> Result<Vec<Kernel>> {
        let mut kernels = Vec::new();
        for name in self.kernel_files()? {
            let Some(entry) = BootEntry::parse(&name) else {
                continue;
            };
            if let Ok(described) = describe(&self.read_kernel(&name)?) {
                kernels.push(Kernel { entry, described });
            }
        }
        Ok(kernels)
    }

    /// The bytes of all kernel images.
    pub fn kernel_bytes(&self) -> Result<Vec<Vec<u8>>> {
        let names = self.kernel_files()?;
        names.iter().map(|name| self.read_kernel(name)).collect()
    }

    fn read_kernel(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.folder.join(KERNELS).join(name);
        fs::read(path).with_context(|| format!("reading {KERNELS}/{name}"))
    }

    fn kernel_files(&self) -> Result<Vec<String>> {
        let folder = self.folder.join(KERNELS);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("reading {KERNELS}"))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.with_context(|| format!("reading {KERNELS}"))?;
            names.extend(name.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    /// Refuses a kernel image for which there would be no room in the place of others, and for
    /// a copy of it at the end of its trial.
    pub fn check_room(&self, size: u64, others: &[Kernel]) -> Result<()> {
        let mut free = self.free()?;
        for kernel in others {
            let path = self.folder.join(KERNELS).join(kernel.entry.to_string());
            free += fs::metadata(path).map_or(0, |metadata| metadata.len());
        }
        if free >= 2 * size + SLACK {
            return Ok(());
        }
        Err(hinted(
            format!(
                "the boot partition has room for {} MiB, the new kernel takes {} MiB, twice when \
                 its trial ends",
                free >> 20,
                size.div_ceil(1 << 20)
            ),
            "remove files that you put there; the running version is untouched",
        ))
    }

    /// Puts a kernel image there, whole but not to be started yet, under the name it gets.
    pub fn add_kernel(&self, entry: &BootEntry, bytes: &[u8]) -> Result<()> {
        let mut asleep = bytes.to_vec();
        asleep[..SECTOR].fill(0);
        self.replace(&format!("{KERNELS}/{entry}"), &asleep)
    }

    /// Lets the boot loader see a kernel image.
    pub fn wake_kernel(&self, entry: &BootEntry, bytes: &[u8]) -> Result<()> {
        self.write_sector(&format!("{KERNELS}/{entry}"), &bytes[..SECTOR])
    }

    /// Takes a kernel image away: first out of the boot loader's sight.
    pub fn remove_kernel(&self, entry: &BootEntry) -> Result<()> {
        let name = format!("{KERNELS}/{entry}");
        self.write_sector(&name, &[0; SECTOR])?;
        fs::remove_file(self.folder.join(&name)).with_context(|| format!("removing {name}"))?;
        self.sync()
    }

    /// Removes what interrupted runs left.
    pub fn remove_unfinished(&self) -> Result<()> {
        for name in self.kernel_files()? {
            let path = self.folder.join(KERNELS).join(&name);
            let asleep = || -> std::io::Result<bool> {
                let mut first = [0; 2];
                File::open(&path)?.read_exact_at(&mut first, 0)?;
                Ok(first == [0; 2])
            };
            let unfinished = name.ends_with(UNFINISHED) || asleep().unwrap_or(true);
            if unfinished && path.is_file() {
                fs::remove_file(&path).with_context(|| format!("removing {KERNELS}/{name}"))?;
            }
        }
        self.sync()
    }

    /// Gives a kernel image another name, so that it always has one of both.
    pub fn rename_kernel(&self, from: &BootEntry, to: &BootEntry) -> Result<()> {
        if from == to {
            return Ok(());
        }
        let bytes = self.read_kernel(&from.to_string())?;
        let there = self.folder.join(KERNELS).join(to.to_string());
        // An interrupted run may have come as far as that.
        if !fs::read(there).is_ok_and(|there| there == bytes) {
            if self.free()? < bytes.len() as u64 + SLACK {
                // Somebody filled the partition meanwhile. It must not stop a trial's end.
                return self.rename_without_room(from, to);
            }
            self.add_kernel(to, &bytes)?;
            self.wake_kernel(to, &bytes)?;
        }
        self.remove_kernel(from)
    }

    fn rename_without_room(&self, from: &BootEntry, to: &BootEntry) -> Result<()> {
        let path = |entry: &BootEntry| self.folder.join(KERNELS).join(entry.to_string());
        fs::rename(path(from), path(to))
            .with_context(|| format!("renaming {KERNELS}/{from} to {to}"))?;
        self.sync()
    }

    fn free(&self) -> Result<u64> {
        let room = rustix::fs::statvfs(&self.folder).context("asking for room")?;
        Ok(room.f_bavail * room.f_frsize)
    }

    /// Whether BIOS starts this disk, too.
    pub fn has_grub(&self) -> bool {
        self.folder.join(CONFIGURATION_FILE).exists()
    }

    /// Writes what GRUB starts a slot by.
    pub fn write_slot(&self, slot: usize, described: &Described, kernel: &[u8]) -> Result<()> {
        if !self.has_grub() {
            return Ok(());
        }
        let id = Machine::letter(slot).to_string();
        let title = format!("{} {}", described.image, described.version);
        let text = Slot::of_image(&described.stem(), kernel)?.to_text(&id, &title)?;
        self.replace(SLOT_FILES[slot], text.as_bytes())
    }

    /// Removes what GRUB starts a slot by.
    pub fn remove_slot(&self, slot: usize) -> Result<()> {
        remove_file(&self.folder.join(SLOT_FILES[slot]))
    }

    /// The slot that GRUB takes for good.
    pub fn good_slot(&self) -> Option<char> {
        parse_good(&fs::read(self.folder.join(GOOD_FILE)).ok()?)
    }

    /// Says which slot is good.
    pub fn set_good_slot(&self, slot: usize) -> Result<()> {
        let letter = Machine::letter(slot);
        if !self.has_grub() || self.good_slot() == Some(letter) {
            return Ok(());
        }
        self.write_small(GOOD_FILE, &good_file(letter))
    }

    /// What GRUB counts tries of.
    pub fn trial(&self) -> Option<Trial> {
        parse_trial(&fs::read(self.folder.join(TRIAL_FILE)).ok()?)
    }

    /// Says what GRUB counts tries of.
    pub fn set_trial(&self, trial: Option<Trial>) -> Result<()> {
        if !self.has_grub() || self.trial() == trial {
            return Ok(());
        }
        self.write_small(TRIAL_FILE, &trial_file(trial))
    }

    /// A file of one sector, where it lies; a missing or longer one is made anew.
    fn write_small(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let length = fs::metadata(self.folder.join(name)).map(|metadata| metadata.len());
        if length.is_ok_and(|length| length == bytes.len() as u64) {
            return self.write_sector(name, bytes);
        }
        self.replace(name, bytes)
    }

    fn write_sector(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let work = || -> std::io::Result<()> {
            let file = OpenOptions::new()
                .write(true)
                .open(self.folder.join(name))?;
            file.write_all_at(bytes, 0)?;
            file.sync_all()
        };
        work().with_context(|| format!("writing {name} on the boot partition"))?;
        self.sync()
    }

    /// Writes a file aside and gives it its name.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.folder.join(name);
        let aside = path.with_extension(UNFINISHED);
        // Left by a run that was cut short. Nobody else writes there, and the partition is too
        // small for names that come but once.
        remove_file(&aside)?;
        let work = || -> std::io::Result<()> {
            let mut file = File::create_new(&aside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&aside, &path)
        };
        if let Err(error) = work() {
            let _ = fs::remove_file(&aside);
            let full = error.kind() == ErrorKind::StorageFull;
            let failed: Result<()> =
                Err(error).with_context(|| format!("writing {name} on the boot partition"));
            return if full {
                failed.hint("remove files that you put there; the running version is untouched")
            } else {
                failed
            };
        }
        self.sync()
    }

    /// Everything so far survives a power cut.
    fn sync(&self) -> Result<()> {
        let folder = File::open(&self.folder).context("opening the boot partition")?;
        rustix::fs::syncfs(&folder).context("flushing the boot partition")
    }
}
