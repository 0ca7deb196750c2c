//! Whether a finished image, or a disk that it was installed on, is whole and starts.
//!
//! The root hash on the kernel's command line is the one that counts at boot. It is
//! derived anew from the root's bytes and compared with the tree of hashes, the command
//! line and the partitions' UUIDs.

use anyhow::{Context, Result, bail};

use super::boot_partition::check_boot_partition;
use crate::builder::write::bios::{BiosBoot, check_bios};
use crate::error::hinted;
use crate::format::boot_entry::KERNELS;
use crate::format::extents::ReadAt;
use crate::format::fat::Volume;
use crate::format::gpt::{
    Partition, TYPE_ESP, TYPE_ROOT, TYPE_ROOT_VERITY, Table, Uuid, check_backup, read_gpt,
};
use crate::format::storage::{Region, Storage};
use crate::format::uki::find_section;
use crate::format::verity::{self, Hash};

/// What starts.
#[derive(Debug)]
pub struct Whole {
    /// The root hash, which the partitions' UUIDs spell.
    pub root_hash: Hash,
    /// What BIOS starts, if it does.
    pub bios: Option<BiosBoot>,
}

/// A kernel found on the boot partition.
#[derive(Debug)]
pub struct Kernel {
    /// Its file.
    pub name: String,
    /// Version of the kernel.
    pub version: String,
    /// Its command line.
    pub command_line: String,
}

impl Kernel {
    /// The root hash that it starts with, in hexadecimal.
    pub fn root_hash(&self) -> Result<&str> {
        let words = self.command_line.split_whitespace();
        let hash = words
            .filter_map(|word| word.strip_prefix("roothash="))
            .next_back();
        hash.with_context(|| format!("reading {}: no roothash= on its command line", self.name))
    }
}

/// Checks both partition tables, every byte of the root, and what BIOS starts.
pub fn check_image<D: Storage + ReadAt>(disk: &mut D) -> Result<Whole> {
    check_backup(disk).context("checking the backup partition table")?;
    check_start(disk)
}

/// The same, whatever the backup table says.
pub fn check_start<D: Storage + ReadAt>(disk: &mut D) -> Result<Whole> {
    let table = read_gpt(disk)?;
    table.check_apart()?;
    let kernels = load_kernels(disk, &table)?;
    let (root, hashes) = find_slot(&table, &kernels)?;
    let sizes = [root.size(), hashes.size()];
    let root_hash = verity::verify(disk, root.offset(), disk, hashes.offset(), sizes)
        .context("checking the root against its tree of hashes")?;
    let text = hex::encode(root_hash);
    if [root.uuid, hashes.uuid].concat() != root_hash {
        bail!("checking the root: the partitions' UUIDs do not spell its root hash {text}");
    }
    if !kernels
        .iter()
        .any(|kernel| kernel.root_hash().is_ok_and(|hash| hash == text))
    {
        bail!("checking the root: no kernel of the image names its root hash {text}");
    }
    for kernel in &kernels {
        let hash = kernel.root_hash()?;
        if slot_of(&table, hash).is_none() {
            bail!(
                "checking {}: it starts with the root hash {hash}, which no partitions have",
                kernel.name
            );
        }
    }
    let bios = check_bios(disk, &table)?;
    check_boot_partition(disk, &table)?;
    Ok(Whole { root_hash, bios })
}

/// Root and hashes whose UUIDs spell a root hash.
fn slot_of<'a>(table: &'a Table, hash: &str) -> Option<(&'a Partition, &'a Partition)> {
    let with_uuid = |kind: &Uuid, uuid: Option<&str>| {
        let wanted = hex::decode(uuid?).ok()?;
        let mut partitions = table.partitions.iter();
        partitions.find(|one| one.type_uuid == *kind && one.uuid[..] == wanted)
    };
    let root = with_uuid(&TYPE_ROOT, hash.get(..32))?;
    Some((root, with_uuid(&TYPE_ROOT_VERITY, hash.get(32..))?))
}

/// Root and hashes that a kernel names; the first ones when none does.
fn find_slot<'a>(table: &'a Table, kernels: &[Kernel]) -> Result<(&'a Partition, &'a Partition)> {
    for hash in kernels.iter().filter_map(|kernel| kernel.root_hash().ok()) {
        if let Some(slot) = slot_of(table, hash) {
            return Ok(slot);
        }
    }
    let find = |kind, name: &str| {
        table
            .find(kind)
            .with_context(|| format!("finding the {name} partition"))
    };
    Ok((
        find(&TYPE_ROOT, "root")?,
        find(&TYPE_ROOT_VERITY, "verity")?,
    ))
}

/// The kernels on the boot partition.
pub fn load_kernels(disk: &mut dyn Storage, table: &Table) -> Result<Vec<Kernel>> {
    let esp = table.find(&TYPE_ESP).ok_or_else(|| {
        hinted(
            "finding the boot partition: there is none",
            "is this an image of mailimg?",
        )
    })?;
    let mut region = Region::new(disk, esp.offset(), esp.size())?;
    let volume = Volume::open(&mut region).context("reading the boot partition")?;
    let mut kernels = Vec::new();
    for entry in volume.list(KERNELS)? {
        if entry.folder {
            continue;
        }
        let name = format!("{KERNELS}/{}", entry.name);
        let bytes = volume.read(&name)?;
        let text = |section: &str| -> Result<String> {
            let range = find_section(&bytes, section).with_context(|| format!("reading {name}"))?;
            let data = &bytes[range.start as usize..range.end as usize];
            Ok(String::from_utf8_lossy(data)
                .trim_end_matches('\0')
                .to_owned())
        };
        kernels.push(Kernel {
            version: text(".uname")?,
            command_line: text(".cmdline")?,
            name: name.clone(),
        });
    }
    Ok(kernels)
}
