//! The disk that this machine runs from, and the slot.

use std::fs::{File, OpenOptions};

use anyhow::{Context, Result};

use crate::appliance::machine::place::{self, Place};
use crate::error::{Hint, hinted};
use crate::format::grub::TRIAL_WORD;
use crate::format::layout::Layout;
use crate::format::verity::Hash;

/// Exists in a boot by UEFI whose kernel image counts tries, see
/// <https://systemd.io/BOOT_LOADER_INTERFACE/>.
const COUNTED: &str =
    "/sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// Exists when the firmware is UEFI.
const UEFI: &str = "/sys/firmware/efi";

/// The machine as far as an upgrade has to know it.
#[derive(Debug)]
pub struct Machine {
    /// The whole disk, open for writing.
    pub disk: File,
    /// Its partitions.
    pub layout: Layout,
    /// The slot that runs: 0 or 1.
    pub running: usize,
    /// What runs, by the hash of its root.
    pub root_hash: Hash,
    /// Recipe and version of what runs, of os-release(5).
    pub image: String,
    /// The version.
    pub version: String,
    /// Whether the firmware is UEFI.
    pub uefi: bool,
}

impl Machine {
    /// Opens the disk of the machine.
    pub fn open(place: &Place) -> Result<Self> {
        let path = place.path(place::DISK_LINK);
        if !path.exists() {
            return Err(hinted(
                "finding the disk that this machine runs from: the initrd left no link to it",
                "this is not a machine that mailimg made, or it was started by an older image: \
                 restart it",
            ));
        }
        let disk = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("opening the disk {}", path.display()))
            .hint("run this as root")?;
        let (layout, _) = Layout::read(&&disk, false)
            .map_err(anyhow::Error::new)
            .hint(
                "nothing was changed; a backup and `mailimg install --keep-data` mend the disk",
            )?;
        let root_hash = running_root_hash(place)?;
        let running = [0, 1]
            .into_iter()
            .find(|slot| slot_root_hash(&layout, *slot) == root_hash)
            .context("finding the slot that runs: no partition has its root hash")?;
        let release =
            std::fs::read_to_string(place.path("/etc/os-release")).context("reading os-release")?;
        let field = |key: &str| {
            let mut lines = release.lines();
            let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            let value = value.map(|value| value.trim_matches('"').to_owned());
            value.with_context(|| format!("reading os-release: there is no {key}"))
        };
        Ok(Self {
            disk,
            running,
            root_hash,
            image: field("IMAGE_ID")?,
            version: field("IMAGE_VERSION")?,
            uefi: place.path(UEFI).exists(),
            layout,
        })
    }

    /// The slot that does not run.
    pub fn other(&self) -> usize {
        1 - self.running
    }

    /// What a slot is called in GRUB's files.
    pub fn letter(slot: usize) -> char {
        ['a', 'b'][slot]
    }

    /// The hash of the root in a slot, as its partitions spell it.
    pub fn slot_root_hash(&self, slot: usize) -> Hash {
        slot_root_hash(&self.layout, slot)
    }
}

fn slot_root_hash(layout: &Layout, slot: usize) -> Hash {
    let [root, hashes] = layout.slot(slot);
    let mut hash = [0; 32];
    hash[..16].copy_from_slice(&root.uuid);
    hash[16..].copy_from_slice(&hashes.uuid);
    hash
}

fn command_line(place: &Place) -> Result<String> {
    std::fs::read_to_string(place.path(place::COMMAND_LINE))
        .context("reading the kernel's command line")
}

/// The hash of the root that runs.
pub fn running_root_hash(place: &Place) -> Result<Hash> {
    let line = command_line(place)?;
    let words = line.split_whitespace();
    let text = words
        .filter_map(|word| word.strip_prefix("roothash="))
        .next_back()
        .context("reading the kernel's command line: there is no roothash=")?;
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).context("reading the kernel's command line")?;
    Ok(hash)
}

/// Whether the boot loader counts this boot as a try.
pub fn is_counted(place: &Place) -> bool {
    let word = |line: String| line.split_whitespace().any(|word| word == TRIAL_WORD);
    place.path(COUNTED).exists() || command_line(place).is_ok_and(word)
}

/// What is different in each boot; nothing where the initrd did not tell.
pub fn boot_id(place: &Place) -> String {
    let text = std::fs::read_to_string(place.path(place::BOOT_ID)).unwrap_or_default();
    text.trim().to_owned()
}
