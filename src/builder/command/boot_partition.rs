//! What lies on the boot partition of an image: that all of it is expected, and that it is
//! what the build wrote.
//!
//! Firmware and boot loader start what they find by name there, before anything is
//! checked, so one file more is one system more. The manifest beside an image has the
//! digest of each file but those that `mailimg configure` changes.
//!
//! What systemd-boot reads: <https://www.freedesktop.org/software/systemd/man/257/systemd-boot.html>.

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::configure::authority_in;
use crate::error::hinted;
use crate::format::SETTINGS_FILE;
use crate::format::boot_entry::LOADERS;
use crate::format::fat::{Volume, same_name};
use crate::format::gpt::{TYPE_ESP, Table};
use crate::format::storage::{Region, Storage};
use crate::format::update::BootFile;

/// What the boot loader reads besides; it makes the seed itself.
const LOADER_FILES: [&str; 2] = ["loader/loader.conf", "loader/random-seed"];
/// Folder of the unified kernel images, and how their names end.
const KERNELS: [&str; 2] = ["EFI/Linux/", ".efi"];
/// Folders that firmware and boot loader start from.
const STARTED_FROM: [&str; 2] = ["EFI/", "loader/"];

/// Opens the boot partition of a disk and does something with it.
fn with_volume<T>(
    disk: &mut dyn Storage,
    table: &Table,
    examine: impl FnOnce(&Volume<'_>) -> Result<T>,
) -> Result<T> {
    let esp = table.find(&TYPE_ESP).ok_or_else(|| {
        hinted(
            "finding the boot partition: there is none",
            "is this an image of mailimg?",
        )
    })?;
    let mut region = Region::new(disk, esp.offset(), esp.size())?;
    let volume = Volume::open(&mut region).context("reading the boot partition")?;
    examine(&volume)
}

/// Every file but those that come and go with settings, with its digest, sorted by path.
pub fn read_boot_files(disk: &mut dyn Storage, table: &Table) -> Result<Vec<BootFile>> {
    with_volume(disk, table, |volume| {
        let authority = authority_in(volume)?;
        let comes_and_goes = |path: &str| {
            same_name(path, SETTINGS_FILE)
                || authority.as_ref().is_some_and(|name| same_name(path, name))
        };
        let mut files = Vec::new();
        for path in volume.files().context("reading the boot partition")? {
            if comes_and_goes(&path) {
                continue;
            }
            let bytes = volume.read(&path)?;
            files.push(BootFile {
                path,
                size: bytes.len() as u64,
                sha256: hex::encode(Sha256::digest(&bytes)),
            });
        }
        files.sort_by(|one: &BootFile, other| one.path.cmp(&other.path));
        Ok(files)
    })
}

/// Refuses a boot partition that is damaged, or from which something else could start.
pub fn check_boot_partition(disk: &mut dyn Storage, table: &Table) -> Result<()> {
    with_volume(disk, table, |volume| {
        let authority = authority_in(volume)?;
        volume.check(authority.as_deref().unwrap_or(SETTINGS_FILE))?;
        let files = volume.files()?;
        let has = |name: &str| files.iter().any(|path| same_name(path, name));
        for path in &files {
            let known = LOADERS
                .iter()
                .chain(&LOADER_FILES)
                .any(|name| same_name(path, name));
            ensure!(
                known || is_kernel(path) || !STARTED_FROM.iter().any(|at| begins_with(path, at)),
                "{path} is not of an image, and could be started"
            );
        }
        for name in LOADERS.into_iter().chain([LOADER_FILES[0]]) {
            ensure!(has(name), "{name} is missing");
        }
        let [first, second] = LOADERS.map(|name| volume.read(name));
        ensure!(
            first? == second?,
            "{} and {} are not the same boot loader",
            LOADERS[0],
            LOADERS[1]
        );
        Ok(())
    })
    .context("checking the boot partition")
}

/// Compares the files of a boot partition with those that a manifest names.
pub fn compare_boot_files(found: &[BootFile], written: &[BootFile]) -> Result<()> {
    for file in written {
        let Some(other) = found.iter().find(|other| other.path == file.path) else {
            bail!("{} is missing", file.path);
        };
        ensure!(other == file, "{} is not as it was written", file.path);
    }
    for file in found {
        ensure!(
            written.iter().any(|other| other.path == file.path),
            "{} was not written by the build",
            file.path
        );
    }
    Ok(())
}

fn begins_with(path: &str, folder: &str) -> bool {
    path.get(..folder.len())
        .is_some_and(|beginning| same_name(beginning, folder))
}

fn is_kernel(path: &str) -> bool {
    let [folder, ending] = KERNELS;
    let Some(name) = path.get(folder.len()..) else {
        return false;
    };
    let end = name.len().saturating_sub(ending.len());
    begins_with(path, folder)
        && !name.contains('/')
        && name
            .get(end..)
            .is_some_and(|found| same_name(found, ending))
}
