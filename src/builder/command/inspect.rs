//! `mailimg inspect` and `mailimg verify`: what an image says of itself, and whether it is true.
//!
//! The root hash on the kernel's command line is the one that counts at boot;
//! verifying derives it anew from the root's bytes and compares it with the
//! tree of hashes, the command line and the partitions' UUIDs. Left out so
//! far: reading packages out of the root, and qcow2 images.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::builder::seal::uki::find_section;
use crate::builder::seal::verity;
use crate::builder::write::bios::check_bios;
use crate::builder::write::fat::Volume;
use crate::builder::write::gpt::{
    TYPE_ESP, TYPE_ROOT, TYPE_ROOT_VERITY, Table, check_backup, read_gpt, uuid_text,
};
use crate::builder::write::storage::Region;
use crate::error::hinted;
use crate::print::say;

/// Folder of the unified kernel images on the boot partition.
const KERNELS: &str = "EFI/Linux";

/// Arguments of `mailimg inspect`.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// The raw image
    image: PathBuf,
}

/// Arguments of `mailimg verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// The raw image
    image: PathBuf,
}

/// A kernel found on the boot partition.
struct Kernel {
    name: String,
    version: String,
    command_line: String,
}

impl Kernel {
    fn root_hash(&self) -> Result<&str> {
        let words = self.command_line.split_whitespace();
        let hash = words
            .filter_map(|word| word.strip_prefix("roothash="))
            .next_back();
        hash.with_context(|| format!("reading {}: no roothash= on its command line", self.name))
    }
}

/// Prints partitions, kernels, root hash and what BIOS starts.
pub fn run_inspect(args: &InspectArgs) -> Result<()> {
    let (file, table) = open(&args.image)?;
    let mut text = table.to_string();
    for kernel in load_kernels(&file, &table)? {
        let _ = writeln!(text, "\nkernel {} ({})", kernel.version, kernel.name);
        let _ = writeln!(text, "command line {}", kernel.command_line.trim());
        let _ = writeln!(text, "root hash {}", kernel.root_hash()?);
    }
    match check_bios(&mut &file, &table) {
        Ok(None) => text.push_str("\nBIOS: no boot code, only UEFI starts this disk\n"),
        Ok(Some(bios)) => {
            let _ = writeln!(
                text,
                "\nBIOS: GRUB's core image has {} bytes",
                bios.core_length
            );
            for (file, image) in bios.slots {
                let _ = writeln!(text, "BIOS: {file} starts {image}");
            }
        }
        // What else the image says may help to see why.
        Err(error) => {
            let _ = writeln!(text, "\nBIOS: {error:#}");
        }
    }
    say(&text)
}

/// Checks both partition tables, every byte of the root, and what BIOS starts.
pub fn run_verify(args: &VerifyArgs) -> Result<()> {
    let (file, table) = open(&args.image)?;
    let storage = &file;
    check_backup(&storage).context("checking the backup partition table")?;
    let find = |kind, name: &str| {
        table
            .find(kind)
            .with_context(|| format!("finding the {name} partition"))
    };
    let root = find(&TYPE_ROOT, "root")?;
    let hashes = find(&TYPE_ROOT_VERITY, "verity")?;
    let derived = verity::verify(&file, root.offset(), &file, hashes.offset())
        .context("checking the root against its tree of hashes")?;
    let derived = hex::encode(derived);
    let uuids = [root.uuid, hashes.uuid]
        .map(|uuid| uuid_text(&uuid).replace('-', ""))
        .concat();
    if uuids != derived {
        bail!("checking the root: the partitions' UUIDs do not spell its root hash {derived}");
    }
    let kernels = load_kernels(&file, &table)?;
    if !kernels
        .iter()
        .any(|kernel| kernel.root_hash().is_ok_and(|hash| hash == derived))
    {
        bail!("checking the root: no kernel of the image names its root hash {derived}");
    }
    let bios = check_bios(&mut &file, &table)?;
    say(&format!(
        "root hash {derived}: root, hashes, partition tables and kernel agree\n{}\n",
        match bios {
            Some(_) => "BIOS: boot code and grub.cfg are whole, and start what UEFI starts",
            None => "BIOS: no boot code, only UEFI starts this disk",
        }
    ))
}

fn open(path: &Path) -> Result<(File, Table)> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let table = {
        let storage = &file;
        read_gpt(&storage).with_context(|| format!("reading {}", path.display()))?
    };
    Ok((file, table))
}

fn load_kernels(file: &File, table: &Table) -> Result<Vec<Kernel>> {
    let esp = table.find(&TYPE_ESP).ok_or_else(|| {
        hinted(
            "finding the boot partition: there is none",
            "is this an image of mailimg?",
        )
    })?;
    let mut disk = file;
    let mut region = Region::new(&mut disk, esp.offset(), esp.size())?;
    let volume = Volume::open(&mut region).context("reading the boot partition")?;
    let mut kernels = Vec::new();
    for entry in volume.list(KERNELS)? {
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
