//! The search tree that libkmod reads: names to values, compressed by prefix.
//!
//! Numbers are big-endian. Three words, magic, version and the place of the
//! root node, then nodes, children before their parents. A node is its
//! prefix ended by NUL, the range of its children's letters with a place for
//! each, and its values with their priority; the top bits of a node's place
//! say which of the three are there. See kmod's `libkmod/libkmod-index.c`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

const MAGIC: u32 = 0xB007_F457;
/// Major 2, minor 1.
const VERSION: u32 = 0x0002_0001;
const HAS_PREFIX: u32 = 0x8000_0000;
const HAS_VALUES: u32 = 0x4000_0000;
const HAS_CHILDREN: u32 = 0x2000_0000;
/// What is left of a word for the place.
const PLACE_MAX: usize = 0x0FFF_FFFF;

/// A key's bytes and its values with their priority.
type Entry<'a> = (&'a [u8], &'a [(u32, String)]);

/// Keys and what they stand for.
#[derive(Default)]
pub(super) struct Index {
    /// Values with their priority, the lowest number first.
    keys: BTreeMap<String, Vec<(u32, String)>>,
}

impl Index {
    /// Adds a value; among equal priorities the last one added comes first.
    pub fn insert(&mut self, key: &str, value: &str, priority: u32) {
        let values = self.keys.entry(key.to_owned()).or_default();
        let at = values.partition_point(|(other, _)| *other < priority);
        values.insert(at, (priority, value.to_owned()));
    }

    /// The file.
    pub fn encode(&self) -> Result<Vec<u8>> {
        for key in self.keys.keys() {
            if !key.is_ascii() || key.contains('\0') {
                bail!("indexing {key:?}: only ASCII can be indexed");
            }
        }
        let entries: Vec<Entry> = self
            .keys
            .iter()
            .map(|(key, values)| (key.as_bytes(), values.as_slice()))
            .collect();
        let mut file = Vec::new();
        file.extend(MAGIC.to_be_bytes());
        file.extend(VERSION.to_be_bytes());
        file.extend([0; 4]);
        // The root has no letter of its own, so its prefix may be shared by all.
        let root = put_node(&mut file, &entries, 0)?;
        file[8..12].copy_from_slice(&root.to_be_bytes());
        Ok(file)
    }
}

/// Writes the node of sorted entries that agree in their first `depth` letters.
fn put_node(file: &mut Vec<u8>, entries: &[Entry], depth: usize) -> Result<u32> {
    let shared = shared_length(entries, depth);
    let (values, below) = match entries.split_first() {
        Some(((key, values), below)) if key.len() == shared => (*values, below),
        _ => (&[][..], entries),
    };
    let mut children = Vec::new();
    for group in below.chunk_by(|left, right| left.0[shared] == right.0[shared]) {
        children.push((group[0].0[shared], put_node(file, group, shared + 1)?));
    }
    let mut place = u32::try_from(file.len())
        .ok()
        .filter(|place| *place as usize <= PLACE_MAX)
        .context("indexing over 256 MiB of names")?;
    if shared > depth {
        file.extend(&entries[0].0[depth..shared]);
        file.push(0);
        place |= HAS_PREFIX;
    }
    if let (Some((first, _)), Some((last, _))) = (children.first(), children.last()) {
        file.extend([*first, *last]);
        for letter in *first..=*last {
            let child = children.iter().find(|(own, _)| *own == letter);
            file.extend(child.map_or(0, |(_, place)| *place).to_be_bytes());
        }
        place |= HAS_CHILDREN;
    }
    if !values.is_empty() {
        file.extend((values.len() as u32).to_be_bytes());
        for (priority, value) in values {
            file.extend(priority.to_be_bytes());
            file.extend(value.as_bytes());
            file.push(0);
        }
        place |= HAS_VALUES;
    }
    Ok(place)
}

/// How many first letters all of the sorted entries share.
fn shared_length(entries: &[Entry], depth: usize) -> usize {
    let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else {
        return depth;
    };
    // depmod never merges the root with its only child.
    if depth == 0 {
        return 0;
    }
    depth
        + first[depth..]
            .iter()
            .zip(&last[depth..])
            .take_while(|(one, other)| one == other)
            .count()
}

#[cfg(test)]
mod tests {
    use super::Index;

    #[test]
    fn a_small_index_byte_by_byte() {
        let mut index = Index::default();
        index.insert("one", "v", 1);
        index.insert("once", "w", 2);
        let file = index.encode().unwrap();
        assert_eq!(&file[..8], b"\xB0\x07\xF4\x57\x00\x02\x00\x01");
        // "ce" below "on", its letter c kept by the parent.
        assert_eq!(&file[12..24], b"e\0\0\0\0\x01\0\0\0\x02w\0");
        // "e" below "on": nothing left but the value.
        assert_eq!(&file[24..34], b"\0\0\0\x01\0\0\0\x01v\0");
        // Node "n" under "o": children c to e, the middle one absent.
        let node = &file[34..];
        assert_eq!(&node[..4], b"n\0ce");
        assert_eq!(&node[4..16], b"\xC0\0\0\x0C\0\0\0\0\x40\0\0\x18");
        // The root: children o to o.
        assert_eq!(&node[16..18], b"oo");
        assert_eq!(&node[18..22], b"\xA0\0\0\x22");
        assert_eq!(&file[8..12], b"\x20\0\0\x32");
    }

    #[test]
    fn letters_outside_ascii_are_refused() {
        let mut index = Index::default();
        index.insert("ä", "v", 1);
        assert!(index.encode().is_err());
    }
}
