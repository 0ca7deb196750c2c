//! `mailimg inspect` and `mailimg verify`: what an image says of itself, and whether it is true.
//!
//! What verifying checks is in [`super::check_image`]. Left out so far: reading
//! packages out of the root.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use super::boot_partition::{compare_boot_files, read_boot_files};
use super::check_image::{check_image, load_kernels};
use crate::builder::compose::Manifest;
use crate::builder::write::bios::check_bios;
use crate::builder::write::opened::Opened;
use crate::error::{Hint, hinted};
use crate::format::gpt::read_gpt;
use crate::print::say;

/// What helps with an image that is not true.
const NOT_AS_BUILT: &str =
    "it is damaged or was changed: copy or build it again, and do not start this one";

/// Arguments of `mailimg inspect`.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// The image, raw or qcow2
    image: PathBuf,
}

/// Arguments of `mailimg verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// The image, raw or qcow2
    image: PathBuf,
    /// Compare the boot partition with this manifest [default: the one beside the image]
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
}

/// Prints partitions, kernels, root hash and what BIOS starts.
pub fn run_inspect(args: &InspectArgs) -> Result<()> {
    let file = open(&args.image)?;
    let mut image = Opened::new(&file)?;
    let table = read_gpt(&image).with_context(|| format!("reading {}", args.image.display()))?;
    let mut text = table.to_string();
    for kernel in load_kernels(&mut image, &table)? {
        let _ = writeln!(text, "\nkernel {} ({})", kernel.version, kernel.name);
        let _ = writeln!(text, "command line {}", kernel.command_line.trim());
        let _ = writeln!(text, "root hash {}", kernel.root_hash()?);
    }
    match check_bios(&mut image, &table) {
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
    let file = open(&args.image)?;
    let mut image = Opened::new(&file)?;
    read_gpt(&image).with_context(|| format!("reading {}", args.image.display()))?;
    let whole = check_image(&mut image).hint_where_none(NOT_AS_BUILT)?;
    let root_hash = hex::encode(whole.root_hash);
    say(&format!(
        "root hash {root_hash}: root, hashes, partition tables and kernel agree\n{}\n{}\n",
        compare_with_manifest(args, &mut image, &root_hash)?,
        match whole.bios {
            Some(_) => "BIOS: boot code and grub.cfg are whole, and start what UEFI starts",
            None => "BIOS: no boot code, only UEFI starts this disk",
        }
    ))
}

/// Compares the boot partition with the image's manifest, and says so, or that there is none.
fn compare_with_manifest(
    args: &VerifyArgs,
    image: &mut Opened<'_>,
    root_hash: &str,
) -> Result<String> {
    let beside = args.image.with_extension("manifest.json");
    let path = args.manifest.as_deref().unwrap_or(&beside);
    if args.manifest.is_none() && !path.exists() {
        return Ok(format!(
            "boot partition: nothing else could start; the bytes of kernel and boot loader are \
             not compared for want of {} (`--manifest FILE` names it)",
            path.display()
        ));
    }
    let reading = || format!("reading {}", path.display());
    let read = || -> Result<Manifest> { Ok(serde_json::from_slice(&std::fs::read(path)?)?) };
    let manifest = read()
        .with_context(reading)
        .hint("name the manifest that `mailimg build` wrote beside the image")?;
    let comparing = || format!("comparing the boot partition with {}", path.display());
    if manifest.root_hash.as_deref() != Some(root_hash) || manifest.boot.is_empty() {
        return Err(hinted(
            format!("{}: it is not that of this image", comparing()),
            "name the manifest that `mailimg build` wrote with this image with `--manifest`, or \
             move the other one away",
        ));
    }
    let table = read_gpt(image)?;
    let found = read_boot_files(image, &table).with_context(comparing)?;
    compare_boot_files(&found, &manifest.boot)
        .with_context(comparing)
        .hint(NOT_AS_BUILT)?;
    Ok(format!(
        "boot partition: {} files are those of {}; settings are not compared",
        found.len(),
        path.display()
    ))
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("opening {}", path.display()))
}
