//! `--keep-data`: another image on the disk of a machine, whose `/var` stays.
//!
//! Each step ends on the disk before the next begins. Up to step 4 the old image starts,
//! after it the new one; in between neither does, and the same command again ends it.
//!
//! 1. The slot that the old image does not run from gets the new root and its hashes.
//! 2. Both partition tables name it by the root hash.
//! 3. The settings of the old boot partition are noted before the first partition.
//! 4. The boot partition loses its first sector, so that nobody takes it for one, and gets
//!    all others; the BIOS boot partition and the MBR's code follow, the first sector last.
//! 5. The other slot is called empty. The note is cleared.

use anyhow::{Context, Result};

use super::copy::{Stretch, compare, copy, total};
use super::note::Note;
use super::source::Source;
use super::target::Fenced;
use crate::builder::command::check_image::load_kernels;
use crate::builder::command::configure::authority_in;
use crate::builder::command::settings::Checked;
use crate::builder::progress::Progress;
use crate::builder::seal::image::{derive, uuid_from};
use crate::builder::write::disk::MIB;
use crate::error::{Hint, hinted};
use crate::format::bios::MBR_CODE;
use crate::format::fat::Volume;
use crate::format::gpt::{Partition, SECTOR, read_gpt};
use crate::format::layout::{EMPTY, Layout, LayoutError, SLOTS, change_partitions};
use crate::format::storage::{Region, Storage};
use crate::format::{SETTINGS_FILE, SETTINGS_LIMIT};
use crate::settings::{Authority, parse_settings};

/// What was asked for besides.
pub struct Options<'a> {
    /// Settings instead of those of the old boot partition.
    pub settings: Option<&'a Checked>,
    /// Go on where one table or the boot partition is damaged.
    pub force: bool,
}

/// What was done.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    /// The slot that the new image is in, `A` or `B`.
    pub slot: char,
    /// Bytes of `/var`.
    pub var: u64,
    /// Whose settings the new boot partition has.
    pub settings: &'static str,
}

/// Puts an image onto a disk and keeps its `/var`.
pub fn keep_data(
    source: &mut Source<'_>,
    disk: &mut dyn Storage,
    options: &Options<'_>,
    progress: &Progress,
) -> Result<Kept> {
    let (layout, tables) = Layout::read(disk, options.force).map_err(advise)?;
    check_fit(source, &layout)?;
    let (settings, origin) = choose_settings(disk, &layout, options)?;
    if !settings.text.is_empty() {
        source.put_settings(&settings)?;
    }
    let slot = layout.choose_slot(&source.root_hash, &old_kernels(disk));

    // From here on the disk changes.
    let disk = &mut Fenced::new(disk, layout.var());
    if let Some(which) = tables.mend(disk)? {
        progress.note(&format!(
            "the {which} partition table was damaged and is made from the other one"
        ));
    }
    write_slot(source, disk, layout.slot(slot), progress)?;
    name_slot(source, disk, &layout, slot)?;
    Note::KeepData(settings).write(disk)?;
    write_boot(source, disk, progress)?;
    empty_slot(source, disk, &layout, 1 - slot)?;
    Note::clear(disk)?;
    Ok(Kept {
        slot: ['A', 'B'][slot],
        var: layout.var().end - layout.var().start,
        settings: origin,
    })
}

/// What to do about a disk that is not taken.
fn advise(error: LayoutError) -> anyhow::Error {
    let hint = match error {
        LayoutError::OneTable { .. } => {
            "save the disk first; --force then takes the other table, which knows /var"
        }
        LayoutError::NoTable(_) | LayoutError::Foreign(_) => {
            "without --keep-data the disk is installed anew, and all on it is lost"
        }
    };
    hinted(error.to_string(), hint)
}

/// Whether each part of the image fits where it goes.
fn check_fit(source: &Source<'_>, layout: &Layout) -> Result<()> {
    for (part, image, disk) in [
        ("boot partition", source.esp(), layout.esp()),
        ("BIOS boot partition", source.bios(), layout.bios()),
    ] {
        if image.first_lba != disk.first_lba || image.size() > disk.size() {
            return Err(hinted(
                format!("the {part} of the image lies elsewhere or is larger than the disk's"),
                "the recipe needs the esp_mib that the disk was installed with, or back up and \
                 install without --keep-data",
            ));
        }
    }
    let parts = ["root", "tree of hashes"]
        .into_iter()
        .zip(["root_mib", "verity_mib"]);
    for slot in 0..SLOTS.len() {
        let pairs = source.root().into_iter().zip(layout.slot(slot));
        for ((image, disk), (part, key)) in pairs.zip(parts.clone()) {
            if image.size() > disk.size() {
                let room = disk.size() / MIB;
                return Err(hinted(
                    format!(
                        "the image's {part} takes {} MiB, a slot of the disk has {room} MiB",
                        image.size().div_ceil(MIB)
                    ),
                    format!(
                        "set {key} in the recipe to {room} at most, or back up and install without \
                         --keep-data"
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// The settings that go in, and whose they are; without text those of the image stay.
fn choose_settings(
    disk: &mut dyn Storage,
    layout: &Layout,
    options: &Options<'_>,
) -> Result<(Checked, &'static str)> {
    const NONE: Checked = Checked {
        text: Vec::new(),
        authority: None,
    };
    if let Some(given) = options.settings {
        let given = Checked {
            text: given.text.clone(),
            authority: given.authority.clone(),
        };
        return Ok((given, "the settings that were given"));
    }
    let found = match (read_settings(disk, layout.esp()), Note::read(disk)) {
        (Ok(found), _) => found,
        (Err(_), Some(Note::KeepData(noted))) => Some(noted),
        (Err(_), _) if options.force => None,
        (Err(error), _) => {
            return Err(error)
                .context("reading the settings on the disk's boot partition")
                .hint("`--settings FILE` gives others; --force does without, the machine has its own copy in /var");
        }
    };
    // A template without a value is worth no more than the image's.
    let sets = |text: &[u8]| parse_settings(text).map_or(true, |written| !written.is_empty());
    match found {
        Some(found) if sets(&found.text) => Ok((found, "the disk's settings")),
        _ => Ok((NONE, "the image's settings")),
    }
}

/// What the old boot partition holds; nothing when there is no such file.
fn read_settings(disk: &mut dyn Storage, esp: &Partition) -> Result<Option<Checked>> {
    let mut region = Region::new(disk, esp.offset(), esp.size())?;
    let volume = Volume::open(&mut region)?;
    if !volume.has(SETTINGS_FILE)? {
        return Ok(None);
    }
    let text = volume.read(SETTINGS_FILE)?;
    if text.len() > SETTINGS_LIMIT {
        return Err(hinted(
            format!("{SETTINGS_FILE} is longer than {SETTINGS_LIMIT} bytes"),
            "remove what is no setting from it",
        ));
    }
    let authority = match authority_in(&volume)? {
        Some(name) => Some(Authority {
            bytes: volume.read(&name)?,
            name,
        }),
        None => None,
    };
    Ok(Some(Checked { text, authority }))
}

/// The root hashes that kernels of the old boot partition name, by the kernels' names.
fn old_kernels(disk: &mut dyn Storage) -> Vec<Vec<u8>> {
    // A boot partition that cannot be read starts nothing.
    let mut kernels = read_gpt(disk)
        .and_then(|table| load_kernels(disk, &table))
        .unwrap_or_default();
    kernels.sort_by(|one, other| one.name.cmp(&other.name));
    let hashes = kernels.iter().filter_map(|kernel| kernel.root_hash().ok());
    hashes.filter_map(|hash| hex::decode(hash).ok()).collect()
}

/// Step 1.
fn write_slot(
    source: &Source<'_>,
    disk: &mut dyn Storage,
    slot: [&Partition; 2],
    progress: &Progress,
) -> Result<()> {
    let pairs = source.root().into_iter().zip(slot);
    let stretches: Vec<Stretch> = pairs
        .clone()
        .map(|(image, place)| Source::stretch(image, place.offset()))
        .collect();
    let rest: Vec<(u64, u64)> = pairs
        .map(|(image, place)| (place.offset() + image.size(), place.size() - image.size()))
        .collect();
    write_and_compare("root", source, disk, &stretches, &rest, progress)
}

/// Writes stretches and zeros, and reads the former back.
fn write_and_compare(
    name: &str,
    source: &Source<'_>,
    disk: &mut dyn Storage,
    stretches: &[Stretch],
    zeros: &[(u64, u64)],
    progress: &Progress,
) -> Result<()> {
    let stage = progress.bytes(name, 2 * total(stretches));
    let written = copy(&source.image, stretches, disk, &stage)
        .with_context(|| format!("writing the {name}"))?;
    for (offset, length) in zeros {
        disk.zero_at(*offset, *length)
            .with_context(|| format!("writing the {name}"))?;
    }
    disk.sync().with_context(|| format!("writing the {name}"))?;
    compare(disk, &written, &stage)?;
    stage.finish("written and read back");
    Ok(())
}

/// Step 2.
fn name_slot(
    source: &Source<'_>,
    disk: &mut dyn Storage,
    layout: &Layout,
    slot: usize,
) -> Result<()> {
    let pairs = source.root().into_iter().zip(layout.slot(slot));
    let named = pairs.map(|(image, place)| Partition {
        label: image.label.clone(),
        uuid: image.uuid,
        attributes: image.attributes,
        ..place.clone()
    });
    let changes: Vec<_> = SLOTS[slot].into_iter().zip(named).collect();
    change_partitions(disk, &changes)
}

/// Step 4.
fn write_boot(source: &Source<'_>, disk: &mut dyn Storage, progress: &Progress) -> Result<()> {
    let (esp, bios) = (source.esp(), source.bios());
    disk.zero_at(esp.offset(), SECTOR)
        .and_then(|()| disk.sync())
        .context("writing the boot partition")?;
    let stretches = [
        Stretch::same(esp.offset() + SECTOR, esp.size() - SECTOR),
        Stretch::same(bios.offset(), bios.size()),
        Stretch::same(0, MBR_CODE as u64),
    ];
    write_and_compare("boot partition", source, disk, &stretches, &[], progress)?;
    let first = [Stretch::same(esp.offset(), SECTOR)];
    let stage = Progress::hidden().bytes("first sector", 0);
    let written = copy(&source.image, &first, disk, &stage)?;
    disk.sync().context("writing the boot partition")?;
    compare(disk, &written, &stage)
}

/// Step 5.
fn empty_slot(
    source: &Source<'_>,
    disk: &mut dyn Storage,
    layout: &Layout,
    slot: usize,
) -> Result<()> {
    let emptied = SLOTS[slot].into_iter().zip(layout.slot(slot));
    let changes: Vec<_> = emptied
        .filter(|(_, partition)| partition.label != EMPTY)
        .map(|(number, partition)| {
            let name = format!("slot {number} before {}", hex::encode(source.root_hash));
            let emptied = Partition {
                label: EMPTY.to_owned(),
                uuid: uuid_from(&derive(&name)),
                attributes: 0,
                ..partition.clone()
            };
            (number, emptied)
        })
        .collect();
    change_partitions(disk, &changes)
}
