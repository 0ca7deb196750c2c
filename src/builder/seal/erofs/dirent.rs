//! The blocks of an EROFS directory: sorted entries, then their names.
//!
//! Layout: `struct erofs_dirent` of the kernel's `fs/erofs/erofs_fs.h`. Every
//! block stands for itself; the first entry's name offset tells how many
//! entries it has, and the last name ends at a NUL or the block's end.

use anyhow::{Context, Result, ensure};

use super::sizes::BLOCK;

/// Length of an entry without its name.
const ENTRY: usize = 12;

/// The kernel's FT_ numbers.
#[derive(Clone, Copy)]
pub(super) enum FileType {
    Regular = 1,
    Directory = 2,
    Symlink = 7,
}

/// A name of a directory and what it stands for.
pub(super) struct Entry<'a> {
    pub name: &'a [u8],
    pub nid: u64,
    pub file_type: FileType,
}

/// The size of a directory whose names have these lengths, in their order.
pub(super) fn size(lengths: impl Iterator<Item = usize>) -> u64 {
    let mut whole = 0;
    let mut used = 0;
    for length in lengths {
        if used + ENTRY + length > BLOCK as usize {
            whole += BLOCK;
            used = 0;
        }
        used += ENTRY + length;
    }
    whole + used as u64
}

/// The directory's data; entries come sorted by name.
pub(super) fn encode<'a>(entries: impl Iterator<Item = Entry<'a>>) -> Vec<u8> {
    let mut data = Vec::new();
    let mut block: Vec<Entry> = Vec::new();
    let mut used = 0;
    for entry in entries {
        let length = ENTRY + entry.name.len();
        if used + length > BLOCK as usize {
            encode_block(&block, &mut data);
            data.resize(data.len().next_multiple_of(BLOCK as usize), 0);
            block.clear();
            used = 0;
        }
        used += length;
        block.push(entry);
    }
    encode_block(&block, &mut data);
    data
}

fn encode_block(block: &[Entry], data: &mut Vec<u8>) {
    let mut name_offset = block.len() * ENTRY;
    for entry in block {
        data.extend(entry.nid.to_le_bytes());
        data.extend((name_offset as u16).to_le_bytes());
        data.extend([entry.file_type as u8, 0]);
        name_offset += entry.name.len();
    }
    for entry in block {
        data.extend(entry.name);
    }
}

/// The names of one block and the numbers of their inodes.
pub(super) fn decode(block: &[u8]) -> Result<Vec<(&[u8], u64)>> {
    const OUTSIDE: &str = "a name lies outside its folder";
    let offset_at = |entry: usize| -> Result<usize> {
        let at = entry * ENTRY + 8;
        let bytes = block.get(at..at + 2).context(OUTSIDE)?;
        Ok(usize::from(u16::from_le_bytes([bytes[0], bytes[1]])))
    };
    let count = offset_at(0)? / ENTRY;
    ensure!(count > 0, OUTSIDE);
    let mut names = Vec::with_capacity(count);
    for entry in 0..count {
        let from = offset_at(entry)?;
        let to = match entry + 1 == count {
            true => block.len(),
            false => offset_at(entry + 1)?,
        };
        let mut name = block.get(from..to).context(OUTSIDE)?;
        if entry + 1 == count {
            name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        }
        let mut nid = [0; 8];
        nid.copy_from_slice(
            block
                .get(entry * ENTRY..entry * ENTRY + 8)
                .context(OUTSIDE)?,
        );
        names.push((name, u64::from_le_bytes(nid)));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::{Entry, FileType, encode, size};

    #[test]
    fn blocks_hold_whole_entries() {
        let names: Vec<String> = (0..100).map(|number| format!("{number:0100}")).collect();
        let data = encode(names.iter().map(|name| Entry {
            name: name.as_bytes(),
            nid: 7,
            file_type: FileType::Regular,
        }));
        assert_eq!(data.len() as u64, size(names.iter().map(String::len)));
        // 36 entries of 112 bytes fit a block; the third block has the other 28.
        assert_eq!(data.len(), 2 * 4096 + 28 * 112);
        assert_eq!(&data[8..10], (36u16 * 12).to_le_bytes());
        assert_eq!(
            &data[4096 + 36 * 12..4096 + 36 * 12 + 100],
            names[36].as_bytes()
        );
    }
}
