//! Writing the disk: root and verity first, then what carries their root hash.
//!
//! The kernel command line names the root hash, and the two halves of the
//! hash are the partitions' UUIDs, so that systemd finds both by it
//! (<https://www.freedesktop.org/software/systemd/man/257/systemd-veritysetup-generator.html>).

use std::fs::File;
use std::ops::Range;

use anyhow::{Context, Result, bail};

use super::bios::write_bios;
use super::disk::{DiskPlan, DiskUuids, MIB, plan_disk};
use crate::builder::recipe::Recipe;
use crate::builder::seal::image::{Sealed, derive, uuid_from};
use crate::builder::tree::Content;
use crate::format::SETTINGS_FILE;
use crate::format::boot_entry::{BootEntry, KERNELS, LOADERS};
use crate::format::fat::{Volume, VolumeOptions, write_fat};
use crate::format::grub::{
    CONFIGURATION, CONFIGURATION_FILE, GOOD_FILE, SLOT_FILES, Slot, TRIAL_FILE, good_file,
    trial_file,
};
use crate::format::storage::Region;
use crate::format::uki::make_uki;
use crate::format::verity::{hash_size, write_verity};
use crate::settings::{Authority, settings_template};

/// systemd-boot's configuration, <https://www.freedesktop.org/software/systemd/man/257/loader.conf.html>.
/// Holding a key still shows the menu; the editor would let anyone at the
/// console start a shell.
const LOADER_CONF: &str = "timeout 0\neditor no\nauto-firmware no\n";

/// A written disk.
#[derive(Debug)]
pub struct Disk {
    /// dm-verity root hash.
    pub root_hash: [u8; 32],
    /// Stretches of the file that `mailimg configure` writes to.
    pub editable: Vec<Range<u64>>,
}

/// Writes the whole disk image into an empty file.
pub fn write_disk(
    recipe: &Recipe,
    sealed: &Sealed,
    settings: Option<&[u8]>,
    authority: Option<&Authority>,
    file: &File,
) -> Result<Disk> {
    let image = recipe
        .image
        .as_ref()
        .context("writing: the recipe has no [image]")?;
    let (root_size, hashes_size) = (sealed.root.size(), hash_size(sealed.root.size()));
    for (part, size, room) in [
        ("root", root_size, image.disk.root_mib * MIB),
        ("tree of hashes", hashes_size, image.disk.verity_mib * MIB),
    ] {
        if size > room {
            bail!(
                "writing the {part}: {} MiB do not fit into its partition of {} MiB",
                size.div_ceil(MIB),
                room / MIB
            );
        }
    }
    let plan = |root_hash: &[u8; 32]| {
        plan_disk(
            &image.disk,
            &recipe.name,
            &recipe.version,
            &disk_uuids(root_hash),
        )
    };
    // Where things lie does not depend on the root hash, only their UUIDs do.
    let places = plan(&[0; 32])?;
    file.set_len(places.size)
        .context("writing the disk image")?;
    let root_hash = write_verity(
        &sealed.root,
        file,
        places.root.offset(),
        file,
        places.verity.offset(),
        sealed.salt,
        uuid_from(&derive(&hex::encode(sealed.salt))),
    )
    .context("writing the root")?;
    let plan = plan(&root_hash)?;
    let editable = write_boot_partition(recipe, sealed, settings, file, &plan, &root_hash)
        .context("writing the boot partition")?;
    if let Some(authority) = authority {
        // As `mailimg configure` does it, so that both make the same bytes.
        let mut disk = file;
        let mut region = Region::new(&mut disk, plan.esp.offset(), plan.esp.size())?;
        Volume::open(&mut region)?
            .add_file(&authority.name, &authority.bytes)
            .with_context(|| format!("writing {} to the boot partition", authority.name))?;
    }
    if let Some(grub) = &sealed.grub {
        write_bios(&mut &*file, grub, &plan.bios)?;
    }
    plan.write_tables(file)
        .context("writing the partition table")?;
    Ok(Disk {
        root_hash,
        editable,
    })
}

/// The UUIDs of a disk: those of root and verity are the halves of the root
/// hash, verbatim, the others are derived from it.
fn disk_uuids(root_hash: &[u8; 32]) -> DiskUuids {
    let derived = |what: &str| uuid_from(&derive(&format!("{what} {}", hex::encode(root_hash))));
    let half = |at: usize| {
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&root_hash[at..at + 16]);
        uuid
    };
    DiskUuids {
        disk: derived("disk"),
        esp: derived("esp"),
        bios: derived("bios"),
        root: half(0),
        verity: half(16),
    }
}

/// Fills the boot partition; returns where `mailimg configure` writes to.
fn write_boot_partition(
    recipe: &Recipe,
    sealed: &Sealed,
    settings: Option<&[u8]>,
    file: &File,
    plan: &DiskPlan,
    root_hash: &[u8; 32],
) -> Result<Vec<Range<u64>>> {
    let image = recipe.image.as_ref().context("the recipe has no [image]")?;
    let command_line = format!("{} roothash={}", image.command_line, hex::encode(root_hash));
    let kernel = make_uki(
        &sealed.stub,
        &[
            (".osrel", &sealed.os_release),
            (".cmdline", command_line.as_bytes()),
            (".uname", sealed.kernel_version.as_bytes()),
            (".linux", &sealed.kernel),
            (".initrd", &sealed.initrd),
        ],
    )
    .context("making the unified kernel image")?;
    let loader = Content::from(sealed.loader.clone());
    let stem = format!("{}_{}", recipe.name, recipe.version);
    let name = format!("{KERNELS}/{}", BootEntry::good(&stem));
    let settings = match settings {
        Some(bytes) => Content::from(bytes.to_vec()),
        None => Content::from(settings_template()),
    };
    let mut files = vec![
        (LOADERS[0].to_owned(), loader.clone()),
        (LOADERS[1].to_owned(), loader),
        ("loader/loader.conf".to_owned(), Content::from(LOADER_CONF)),
        (SETTINGS_FILE.to_owned(), settings),
    ];
    if sealed.grub.is_some() {
        let title = format!("{} {}", recipe.name, recipe.version);
        let slot = Slot::of_image(&stem, &kernel)?.to_text("a", &title)?;
        files.extend([
            (CONFIGURATION_FILE.to_owned(), Content::from(CONFIGURATION)),
            (SLOT_FILES[0].to_owned(), Content::from(slot.into_bytes())),
            (GOOD_FILE.to_owned(), Content::from(good_file('a'))),
            (TRIAL_FILE.to_owned(), Content::from(trial_file(None))),
        ]);
    }
    files.push((name, Content::from(kernel)));
    let volume_id = derive(&format!("volume {}", hex::encode(root_hash)));
    let options = VolumeOptions {
        label: "ESP".to_owned(),
        volume_id: u32::from_le_bytes([volume_id[0], volume_id[1], volume_id[2], volume_id[3]]),
        timestamp: sealed.time,
        hidden_sectors: u32::try_from(plan.esp.first_lba)?,
    };
    let mut disk = file;
    let mut region = Region::new(&mut disk, plan.esp.offset(), plan.esp.size())?;
    let written = write_fat(&mut region, &options, &files)?;
    let shift = |range: &Range<u64>| range.start + plan.esp.offset()..range.end + plan.esp.offset();
    Ok(written.editable.iter().map(shift).collect())
}
