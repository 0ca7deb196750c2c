//! Folders: from a list of paths to the bytes of each folder.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};

use super::names::{ShortName, long_name_entries, same_name, short_name};
use super::{ATTRIBUTE_ARCHIVE, ATTRIBUTE_FOLDER, ATTRIBUTE_LABEL, ENTRY};
use crate::format::content::Content;

/// Something in a folder.
pub(super) struct Child {
    pub(super) path: String,
    pub(super) short: ShortName,
    pub(super) long_name: Vec<[u8; ENTRY]>,
    pub(super) folder: bool,
}

/// Where a file or folder lies.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    pub(super) first: u32,
    pub(super) clusters: u64,
    pub(super) size: u64,
}

/// The folders by path, the root's is empty, with what they hold.
pub(super) fn sort_folders(
    contents: &BTreeMap<&str, &Content>,
) -> Result<BTreeMap<String, Vec<Child>>> {
    let mut folders = BTreeSet::from([""]);
    for path in contents.keys() {
        folders.extend(path.match_indices('/').map(|(end, _)| &path[..end]));
    }
    let mut children: BTreeMap<String, Vec<Child>> = folders
        .iter()
        .map(|path| ((*path).to_owned(), Vec::new()))
        .collect();
    let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut taken: BTreeMap<&str, BTreeSet<ShortName>> = BTreeMap::new();

    let everything = folders.iter().filter(|path| !path.is_empty());
    let everything: BTreeSet<&str> = everything.chain(contents.keys()).copied().collect();
    for path in everything {
        let folder = folders.contains(path);
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let siblings = names.entry(parent).or_default();
        if let Some(other) = siblings.iter().find(|other| same_name(other, name)) {
            bail!("{other} and {name} are the same name on a FAT volume");
        }
        ensure!(
            !(folder && contents.contains_key(path)),
            "{path} is a file and a folder"
        );
        siblings.push(name);
        let taken = taken.entry(parent).or_default();
        let (short, long_needed) = short_name(name, taken);
        taken.insert(short);
        let long_name = if long_needed {
            long_name_entries(name, &short)
        } else {
            Vec::new()
        };
        children.entry(parent.to_owned()).or_default().push(Child {
            path: path.to_owned(),
            short,
            long_name,
            folder,
        });
    }
    Ok(children)
}

/// The entries of a folder, padded by nothing: the rest of its clusters is zero.
pub(super) fn encode_folder(
    path: &str,
    children: &[Child],
    places: &BTreeMap<String, Place>,
    label: &ShortName,
    stamp: &Stamp,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let push = |short: &ShortName, attributes: u8, first: u32, size: u64| {
        let mut entry = [0; ENTRY];
        entry[..11].copy_from_slice(short);
        entry[11] = attributes;
        for (offset, value) in [
            (14, stamp.time),
            (16, stamp.date),
            (18, stamp.date),
            (20, (first >> 16) as u16),
            (22, stamp.time),
            (24, stamp.date),
            (26, first as u16),
        ] {
            entry[offset..offset + 2].copy_from_slice(&value.to_le_bytes());
        }
        entry[28..].copy_from_slice(&(size as u32).to_le_bytes());
        entry
    };
    if path.is_empty() {
        bytes.extend(push(label, ATTRIBUTE_LABEL, 0, 0));
    } else {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        // The root's number is written as 0 here.
        let parent_first = if parent.is_empty() {
            0
        } else {
            places[parent].first
        };
        bytes.extend(push(
            b".          ",
            ATTRIBUTE_FOLDER,
            places[path].first,
            0,
        ));
        bytes.extend(push(b"..         ", ATTRIBUTE_FOLDER, parent_first, 0));
    }
    for child in children {
        for piece in &child.long_name {
            bytes.extend(piece);
        }
        let place = places[&child.path];
        let attributes = if child.folder {
            ATTRIBUTE_FOLDER
        } else {
            ATTRIBUTE_ARCHIVE
        };
        bytes.extend(push(&child.short, attributes, place.first, place.size));
    }
    bytes
}

/// A time as folders keep it, in UTC.
pub(super) struct Stamp {
    date: u16,
    time: u16,
}

impl Stamp {
    /// From seconds since 1970; years that FAT cannot tell become its first.
    pub(super) fn new(timestamp: i64) -> Self {
        let moment = jiff::Timestamp::from_second(timestamp)
            .unwrap_or_default()
            .to_zoned(jiff::tz::TimeZone::UTC);
        let year = i32::from(moment.year()) - 1980;
        if year < 0 {
            // 1980-01-01, the first day there is.
            return Self {
                date: 1 << 5 | 1,
                time: 0,
            };
        }
        let number = |value: i8| u16::from(value.unsigned_abs());
        Self {
            date: (year.min(127) as u16) << 9 | number(moment.month()) << 5 | number(moment.day()),
            time: (number(moment.hour()) << 11)
                | (number(moment.minute()) << 5)
                | (number(moment.second()) / 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Stamp;

    #[test]
    fn times_are_kept_in_utc_to_two_seconds() {
        // 2026-11-22 13:37:43
        let stamp = Stamp::new(1_795_354_663);
        assert_eq!(stamp.date, 46 << 9 | 11 << 5 | 22);
        assert_eq!(stamp.time, 13 << 11 | 37 << 5 | 21);
        assert_eq!(Stamp::new(0).date, 1 << 5 | 1);
    }
}
