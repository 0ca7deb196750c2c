//! Writing a volume once: folders first, then files one after another.
//!
//! The same files make the same bytes. Clusters of zeros are never written,
//! so a volume stays as sparse as the file it lies in.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context, Result, ensure};

use super::boot_sector::{self, Identity};
use super::folder::{Child, Place, Stamp, encode_folder, sort_folders};
use super::names::{ShortName, check_name};
use super::{CLUSTER_MASK, END_OF_CHAIN, ENTRY, FIRST_CLUSTER, Geometry};
use crate::error::hinted;
use crate::format::content::Content;
use crate::format::storage::{Storage, is_zero};
use crate::format::{AUTHORITY_LIMIT, SETTINGS_FILE, SETTINGS_LIMIT};

/// How much of a file is read at once; a multiple of every cluster size.
const COPY_BUFFER: usize = 1 << 20;

/// What a volume is made with besides its files.
#[derive(Clone, Debug)]
pub struct VolumeOptions {
    /// Label, at most 11 characters of capital letters, digits, `-` and `_`.
    pub label: String,
    /// Serial number.
    pub volume_id: u32,
    /// Time of every file and folder, seconds since 1970; years before 1980
    /// become 1980.
    pub timestamp: i64,
    /// Sectors of the disk before the volume.
    pub hidden_sectors: u32,
}

/// What came of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenVolume {
    /// Bytes taken by files and folders.
    pub used: u64,
    /// Bytes that are free.
    pub free: u64,
    /// Stretches, from the volume's start, that [`super::Volume::replace_file`]
    /// writes to when it replaces [`SETTINGS_FILE`] by at most
    /// [`SETTINGS_LIMIT`] bytes, and [`super::Volume::add_file`] to put a file of
    /// [`AUTHORITY_LIMIT`] bytes beside it; empty without such a file.
    pub editable: Vec<Range<u64>>,
}

/// Fills a storage that holds only zeros with a FAT32 volume.
///
/// Paths have no leading `/`; folders are made as needed. [`SETTINGS_FILE`]
/// lies behind all others, so that replacing it moves nothing.
pub fn write_fat(
    storage: &mut dyn Storage,
    options: &VolumeOptions,
    files: &[(String, Content)],
) -> Result<WrittenVolume> {
    let size = storage.size().context("reading the volume's size")?;
    let geometry = boot_sector::plan(size)?;
    let label = encode_label(&options.label)?;
    let contents = sort_files(files)?;
    let folders = sort_folders(&contents)?;

    let (places, end) = place_all(&geometry, &folders, &contents)?;
    let used = end - u64::from(FIRST_CLUSTER);
    let free = geometry.clusters - used;

    let identity = Identity {
        volume_id: options.volume_id,
        label,
        hidden_sectors: options.hidden_sectors,
    };
    boot_sector::write(storage, &geometry, &identity, free as u32, (end - 1) as u32)?;
    write_tables(storage, &geometry, &places, end)?;
    let stamp = Stamp::new(options.timestamp);
    for (path, children) in &folders {
        let bytes = encode_folder(path, children, &places, &label, &stamp);
        storage
            .write_at(&bytes, geometry.cluster_offset(places[path].first))
            .with_context(|| format!("writing the folder {path}"))?;
    }
    for (path, content) in &contents {
        if let Some(offset) = Some(places[*path])
            .filter(|place| place.clusters > 0)
            .map(|place| geometry.cluster_offset(place.first))
        {
            copy(storage, &geometry, content, offset).with_context(|| format!("writing {path}"))?;
        }
    }
    Ok(WrittenVolume {
        used: used * geometry.cluster_size(),
        free: free * geometry.cluster_size(),
        editable: places
            .get(SETTINGS_FILE)
            .map(|place| editable(&geometry, place))
            .unwrap_or_default(),
    })
}

fn encode_label(label: &str) -> Result<ShortName> {
    let good = |byte: &u8| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_');
    ensure!(
        (1..=11).contains(&label.len()) && label.as_bytes().iter().all(good),
        "{label:?} is no label for a FAT volume"
    );
    let mut padded = [b' '; 11];
    padded[..label.len()].copy_from_slice(label.as_bytes());
    Ok(padded)
}

fn sort_files(files: &[(String, Content)]) -> Result<BTreeMap<&str, &Content>> {
    let mut sorted = BTreeMap::new();
    for (path, content) in files {
        path.split('/').try_for_each(check_name)?;
        ensure!(
            content.len() <= u64::from(u32::MAX),
            "{path} is larger than FAT allows, 4 GiB"
        );
        ensure!(
            sorted.insert(path.as_str(), content).is_none(),
            "{path} is listed twice"
        );
    }
    Ok(sorted)
}

/// Gives everything its clusters; returns the first number that is free.
fn place_all(
    geometry: &Geometry,
    folders: &BTreeMap<String, Vec<Child>>,
    contents: &BTreeMap<&str, &Content>,
) -> Result<(BTreeMap<String, Place>, u64)> {
    let mut places = BTreeMap::new();
    let mut next = u64::from(FIRST_CLUSTER);
    let mut place = |path: &str, size: u64, clusters: u64| {
        let first = if clusters == 0 { 0 } else { next as u32 };
        next += clusters;
        places.insert(
            path.to_owned(),
            Place {
                first,
                clusters,
                size,
            },
        );
    };
    for (path, children) in folders {
        // The label in the root, two entries for itself and its parent elsewhere.
        let own = if path.is_empty() { 1 } else { 2 };
        let entries: usize = children.iter().map(|child| child.long_name.len() + 1).sum();
        let size = ((own + entries) * ENTRY) as u64;
        place(path, 0, geometry.clusters_for(size));
    }
    let (settings, others): (Vec<_>, Vec<_>) = contents
        .iter()
        .partition(|(path, _)| **path == SETTINGS_FILE);
    for (path, content) in others.into_iter().chain(settings) {
        place(path, content.len(), geometry.clusters_for(content.len()));
    }
    if next - u64::from(FIRST_CLUSTER) > geometry.clusters {
        let mib = |clusters: u64| (clusters * geometry.cluster_size()).div_ceil(1 << 20);
        return Err(hinted(
            format!(
                "the files of the boot partition take {} MiB and it has {}",
                mib(next - u64::from(FIRST_CLUSTER)),
                mib(geometry.clusters)
            ),
            "make esp_mib in the recipe larger, or the initrd smaller",
        ));
    }
    Ok((places, next))
}

fn write_tables(
    storage: &mut dyn Storage,
    geometry: &Geometry,
    places: &BTreeMap<String, Place>,
    end: u64,
) -> Result<()> {
    let mut table = vec![0u32; end as usize];
    // The media byte of the boot sector, and "was unmounted, had no errors".
    table[0] = CLUSTER_MASK & !0xff | 0xf8;
    table[1] = END_OF_CHAIN;
    for place in places.values().filter(|place| place.clusters > 0) {
        let first = place.first as usize;
        let last = first + place.clusters as usize - 1;
        for (cluster, entry) in table[first..last].iter_mut().enumerate() {
            *entry = (first + cluster + 1) as u32;
        }
        table[last] = END_OF_CHAIN;
    }
    let bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    for copy in 0..geometry.tables {
        storage
            .write_at(&bytes, geometry.table_offset(copy))
            .context("writing the file allocation table")?;
    }
    Ok(())
}

/// Copies a content to where it lies, leaving clusters of zeros out.
fn copy(
    storage: &mut dyn Storage,
    geometry: &Geometry,
    content: &Content,
    start: u64,
) -> Result<()> {
    let cluster_size = geometry.cluster_size() as usize;
    let mut buffer = Vec::new();
    let mut offset = 0;
    while offset < content.len() {
        let length = (content.len() - offset).min(COPY_BUFFER as u64) as usize;
        let chunk = match content {
            Content::Bytes(bytes) => &bytes[offset as usize..][..length],
            Content::Slice(_) => {
                buffer.resize(length, 0);
                content.read_exact_at(&mut buffer, offset)?;
                &buffer[..]
            }
        };
        let mut position = 0;
        for run in chunk
            .chunks(cluster_size)
            .collect::<Vec<_>>()
            .chunk_by(|one, other| is_zero(one) == is_zero(other))
        {
            let length = run.iter().map(|cluster| cluster.len()).sum::<usize>();
            if !is_zero(run[0]) {
                storage.write_at(
                    &chunk[position..position + length],
                    start + offset + position as u64,
                )?;
            }
            position += length;
        }
        offset += length as u64;
    }
    Ok(())
}

/// Room for the old and the new content of the settings and for what lies
/// beside them, and the entries of those clusters in each table.
fn editable(geometry: &Geometry, place: &Place) -> Vec<Range<u64>> {
    if place.first == 0 {
        return Vec::new();
    }
    let first = u64::from(place.first);
    let clusters = (2 * geometry.clusters_for(SETTINGS_LIMIT as u64)
        + 2 * geometry.clusters_for(AUTHORITY_LIMIT as u64))
    .min(geometry.clusters + u64::from(FIRST_CLUSTER) - first);
    let data = geometry.cluster_offset(place.first);
    let mut ranges: Vec<Range<u64>> = (0..geometry.tables)
        .map(|copy| geometry.table_offset(copy))
        .map(|table| table + first * 4..table + (first + clusters) * 4)
        .collect();
    ranges.push(data..data + clusters * geometry.cluster_size());
    ranges
}

#[cfg(test)]
mod tests {
    use super::{VolumeOptions, write_fat};
    use crate::error::render;
    use crate::format::content::Content;

    fn refused(paths: &[&str]) -> String {
        let files: Vec<(String, Content)> = paths
            .iter()
            .map(|path| ((*path).to_owned(), Content::from("x")))
            .collect();
        let options = VolumeOptions {
            label: "ESP".to_owned(),
            volume_id: 1,
            timestamp: 0,
            hidden_sectors: 2048,
        };
        let file = tempfile::tempfile().unwrap();
        file.set_len(34 << 20).unwrap();
        let mut storage = &file;
        render(&write_fat(&mut storage, &options, &files).unwrap_err())
    }

    #[test]
    fn names_that_fat_cannot_keep_apart_are_refused() {
        assert_eq!(
            refused(&["EFI/a", "efi/b"]),
            "error: EFI and efi are the same name on a FAT volume"
        );
        assert_eq!(refused(&["a", "a"]), "error: a is listed twice");
        assert_eq!(refused(&["a", "a/b"]), "error: a is a file and a folder");
        assert!(refused(&["/a"]).contains("is no name for a file"));
    }
}
