//! The image that is installed: checked as `mailimg verify` does it, settings put in on
//! the way to the disk.

use anyhow::{Context, Result};

use super::copy::Stretch;
use crate::builder::command::check_image::check_image;
use crate::builder::command::configure::replace_settings;
use crate::builder::command::settings::Checked;
use crate::builder::write::layered::Layered;
use crate::builder::write::opened::Opened;
use crate::error::{Hint, hinted};
use crate::format::gpt::{
    Partition, TYPE_BIOS_BOOT, TYPE_ESP, TYPE_ROOT, TYPE_ROOT_VERITY, Table, read_gpt,
};
use crate::format::verity::Hash;

/// What the partitions of an image are, in their order.
const TYPES: [[u8; 16]; 4] = [TYPE_ESP, TYPE_BIOS_BOOT, TYPE_ROOT, TYPE_ROOT_VERITY];

/// An image that starts.
pub struct Source<'a> {
    /// Its bytes, with the settings that it gets.
    pub image: Layered<'a, Opened<'a>>,
    /// Its partition table.
    pub table: Table,
    /// The root hash, which the UUIDs of root and hashes spell.
    pub root_hash: Hash,
}

impl<'a> Source<'a> {
    /// Checks every byte that counts of an image.
    pub fn check(opened: &'a Opened<'a>) -> Result<Self> {
        let mut image = Layered::over(opened).context("reading its size")?;
        let table = read_gpt(&image).hint(
            "name a .raw or .qcow2 image that `mailimg build` made; unpack a compressed one",
        )?;
        let types = table.partitions.iter().map(|one| one.type_uuid);
        if !types.eq(TYPES) {
            return Err(hinted(
                "it does not have the four partitions of an image",
                "name an image as `mailimg build` makes it, not the disk of a machine",
            ));
        }
        let whole = check_image(&mut image)
            .hint("the image is damaged: copy or build it again; `mailimg verify` checks one")?;
        Ok(Self {
            image,
            table,
            root_hash: whole.root_hash,
        })
    }

    /// The boot partition.
    pub fn esp(&self) -> &Partition {
        &self.table.partitions[0]
    }

    /// The BIOS boot partition.
    pub fn bios(&self) -> &Partition {
        &self.table.partitions[1]
    }

    /// Root, and its hashes.
    pub fn root(&self) -> [&Partition; 2] {
        [&self.table.partitions[2], &self.table.partitions[3]]
    }

    /// What the image is called: recipe and version.
    pub fn name(&self) -> &str {
        let label = &self.table.partitions[2].label;
        label.strip_suffix("_r").unwrap_or(label)
    }

    /// Puts settings into what is written; the image itself stays as it is.
    pub fn put_settings(&mut self, settings: &Checked) -> Result<()> {
        replace_settings(
            &mut self.image,
            &settings.text,
            settings.authority.as_ref(),
            &|| Ok(()),
        )
    }

    /// A partition of the image at a place of the disk.
    pub fn stretch(partition: &Partition, to: u64) -> Stretch {
        Stretch {
            from: partition.offset(),
            to,
            length: partition.size(),
        }
    }
}
