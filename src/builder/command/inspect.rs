//! `mailimg inspect` and `mailimg verify`: what an image says of itself, and whether it is true.
//!
//! What verifying checks is in [`super::check_image`]. Left out so far: reading
//! packages out of the root.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use super::check_image::{check_image, load_kernels};
use crate::builder::write::bios::check_bios;
use crate::builder::write::opened::Opened;
use crate::format::gpt::read_gpt;
use crate::print::say;

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
    let whole = check_image(&mut image)?;
    say(&format!(
        "root hash {}: root, hashes, partition tables and kernel agree\n{}\n",
        hex::encode(whole.root_hash),
        match whole.bios {
            Some(_) => "BIOS: boot code and grub.cfg are whole, and start what UEFI starts",
            None => "BIOS: no boot code, only UEFI starts this disk",
        }
    ))
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("opening {}", path.display()))
}
