//! The disk of a machine that mailimg made, as far as another image on it has to know it.
//!
//! ```text
//! 1 esp │ 2 bios │ 3, 4 slot A │ 5, 6 slot B │ 7 var
//! ```
//!
//! Both partition tables must be whole and agree in all but the slots' names, which an
//! interrupted install leaves different.

use std::ops::Range;

use anyhow::{Result, anyhow};
use thiserror::Error;

use crate::format::gpt::{
    Copies, Partition, RawTable, TYPE_BIOS_BOOT, TYPE_ESP, TYPE_ROOT, TYPE_ROOT_VERITY, TYPE_VAR,
};
use crate::format::storage::Storage;

/// What is where: type, and label if it is always the same.
const PARTITIONS: [([u8; 16], Option<&str>); 7] = [
    (TYPE_ESP, Some("esp")),
    (TYPE_BIOS_BOOT, Some("bios")),
    (TYPE_ROOT, None),
    (TYPE_ROOT_VERITY, None),
    (TYPE_ROOT, None),
    (TYPE_ROOT_VERITY, None),
    (TYPE_VAR, Some("var")),
];
/// Numbers of root and hashes, slot A and slot B.
pub const SLOTS: [[usize; 2]; 2] = [[3, 4], [5, 6]];
/// What an unused slot is called.
pub const EMPTY: &str = "_empty";

/// The partitions of a machine.
#[derive(Clone, Debug)]
pub struct Layout {
    /// All seven, in their order.
    partitions: Vec<Partition>,
}

/// Why a disk is not taken for that of a machine.
#[derive(Debug, Error)]
pub enum LayoutError {
    /// Neither table is whole.
    #[error("reading the disk's partition table, the backup too: {0:#}")]
    NoTable(anyhow::Error),
    /// One is, and knows where everything lies.
    #[error("reading the disk's {which} partition table: {error:#}")]
    OneTable {
        /// The one that is damaged: `primary` or `backup`.
        which: &'static str,
        /// What is wrong with it.
        error: anyhow::Error,
    },
    /// It has other partitions.
    #[error("the disk is not laid out as that of a machine that has run: {0}")]
    Foreign(String),
}

impl Layout {
    /// Reads the tables of a disk; with `force` one damaged table is made from the other.
    pub fn read(disk: &dyn Storage, force: bool) -> Result<(Self, Tables), LayoutError> {
        let Copies { primary, backup } = Copies::read(disk).map_err(LayoutError::NoTable)?;
        let (good, damaged) = match (primary, backup) {
            (Ok(primary), Ok(backup)) => match agree(&primary, &backup) {
                true => (primary, None),
                false => (
                    primary,
                    Some((
                        "backup",
                        anyhow!("it says something else than the primary one"),
                    )),
                ),
            },
            (Ok(primary), Err(error)) => (primary, Some(("backup", error))),
            (Err(error), Ok(backup)) => (backup, Some(("primary", error))),
            (Err(error), Err(_)) => return Err(LayoutError::NoTable(error)),
        };
        let layout = Self::of(&good)?;
        match damaged {
            None => Ok((layout, Tables::default())),
            Some((which, error)) if !force => Err(LayoutError::OneTable { which, error }),
            Some((which, _)) => {
                let tables = Tables {
                    damaged: Some(good.for_other_place()),
                    which,
                };
                Ok((layout, tables))
            }
        }
    }

    /// Takes a table apart, if it is one of ours.
    fn of(table: &RawTable) -> Result<Self, LayoutError> {
        let mut partitions: Vec<Partition> = Vec::new();
        for (index, (kind, label)) in PARTITIONS.iter().enumerate() {
            let number = index + 1;
            let found = table.partition(number).filter(|partition| {
                partition.type_uuid == *kind && label.is_none_or(|label| partition.label == label)
            });
            let Some(partition) = found else {
                return Err(other_layout(number, *label));
            };
            let overlaps = partitions.iter().any(|other| {
                other.first_lba <= partition.last_lba && partition.first_lba <= other.last_lba
            });
            if overlaps {
                return Err(other_layout(number, Some("a partition of its own")));
            }
            partitions.push(partition);
        }
        let more = (PARTITIONS.len() + 1..=table.count()).find(|at| table.partition(*at).is_some());
        let at_ends = table.sector() == 1 || table.other_sector() == 1;
        if more.is_some() || !table.has_room() || !at_ends {
            return Err(other_layout(more.unwrap_or_default(), None));
        }
        Ok(Self { partitions })
    }

    /// The boot partition.
    pub fn esp(&self) -> &Partition {
        &self.partitions[0]
    }

    /// The BIOS boot partition.
    pub fn bios(&self) -> &Partition {
        &self.partitions[1]
    }

    /// Root and hashes of a slot.
    pub fn slot(&self, slot: usize) -> [&Partition; 2] {
        SLOTS[slot].map(|number| &self.partitions[number - 1])
    }

    /// Where `/var` lies, in bytes.
    pub fn var(&self) -> Range<u64> {
        let var = &self.partitions[6];
        var.offset()..var.offset() + var.size()
    }

    /// The slot for a root: the one that has it already, an empty one, one that no kernel
    /// of the boot partition names, and at last the one whose kernel comes first by name.
    pub fn choose_slot(&self, root_hash: &[u8], kernels: &[Vec<u8>]) -> usize {
        let rank = |slot: &usize| {
            let [root, hashes] = self.slot(*slot);
            let own = [root.uuid, hashes.uuid].concat();
            if own == root_hash {
                0
            } else if root.label == EMPTY && hashes.label == EMPTY {
                1
            } else {
                let named = kernels.iter().position(|hash| *hash == own);
                named.map_or(2, |at| 3 + at)
            }
        };
        [1, 0].into_iter().min_by_key(rank).unwrap_or_default()
    }
}

/// The disk's two tables, and what is wrong with one of them.
#[derive(Debug, Default)]
pub struct Tables {
    damaged: Option<RawTable>,
    which: &'static str,
}

impl Tables {
    /// Makes the damaged table from the other one, and says which it was.
    pub fn mend(self, disk: &mut dyn Storage) -> Result<Option<&'static str>> {
        let Some(table) = self.damaged else {
            return Ok(None);
        };
        table.restore(disk)?;
        Ok(Some(self.which))
    }
}

/// Changes partitions in both tables, one after the other.
pub fn change_partitions(disk: &mut dyn Storage, changes: &[(usize, Partition)]) -> Result<()> {
    let primary = RawTable::read(disk, 1)?;
    let backup = RawTable::read(disk, primary.other_sector())?;
    // The backup's entries may lie where the primary's are about to be written.
    backup.bring_home(disk)?;
    let mut changed = primary.clone();
    for (number, partition) in changes {
        changed.set_partition(*number, partition);
    }
    primary.replace_by(&changed, disk)?;
    let backup = RawTable::read(disk, primary.other_sector())?;
    let mut changed_backup = backup.clone();
    changed_backup.take_entries(&changed);
    backup.replace_by(&changed_backup, disk)
}

/// Whether two tables say the same of all but the slots' names.
fn agree(primary: &RawTable, backup: &RawTable) -> bool {
    let of = |table: &RawTable| -> Vec<Option<Partition>> {
        let numbers = 1..=table.count();
        let without_name = |number: usize| {
            let mut partition = table.partition(number)?;
            if SLOTS.as_flattened().contains(&number) {
                partition.label.clear();
                partition.uuid = [0; 16];
                partition.attributes = 0;
            }
            Some(partition)
        };
        numbers.map(without_name).collect()
    };
    primary.disk_uuid() == backup.disk_uuid()
        && backup.has_room()
        && backup.other_sector() == primary.sector()
        && of(primary) == of(backup)
}

fn other_layout(number: usize, wanted: Option<&str>) -> LayoutError {
    let what = match (number, wanted) {
        (0, _) => "its partition table is none that mailimg made".to_owned(),
        (7, _) => "partition 7 is not var".to_owned(),
        (number, Some(label)) => format!("partition {number} is not {label}"),
        (number, None) if number <= PARTITIONS.len() => {
            format!("partition {number} is none of a slot")
        }
        (number, None) => format!("there is a partition {number}"),
    };
    LayoutError::Foreign(what)
}
