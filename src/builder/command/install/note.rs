//! A note in the unused sectors before the first partition, for as long as an install runs.
//!
//! It tells the next run that what it finds is half of an install, and holds the settings
//! of the old boot partition while that one is overwritten. It holds secrets as the
//! settings do, so the end of an install overwrites it.

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::builder::command::settings::Checked;
use crate::format::gpt::{FIRST_UNUSED, FIRST_USABLE, SECTOR, SPARE};
use crate::format::storage::Storage;
use crate::format::{AUTHORITY_LIMIT, SETTINGS_LIMIT};
use crate::settings::Authority;

/// Where it lies, in bytes.
const PLACE: u64 = FIRST_UNUSED * SECTOR;
/// How much room there is.
const ROOM: u64 = FIRST_USABLE * SECTOR - PLACE;
/// First bytes.
const MAGIC: &[u8; 16] = b"mailimg install\n";
/// Longest name of a root certificate's file that is taken, in bytes.
const NAME_LIMIT: usize = 1024;
/// Places of the head's fields.
const AT_KIND: usize = 16;
const AT_LENGTHS: usize = 20;
const AT_DIGEST: usize = 32;
const HEAD: usize = 64;

/// What an unfinished install left to be known.
#[derive(Debug)]
pub enum Note {
    /// The whole disk was being written: nothing on it counts.
    WholeDisk,
    /// `/var` was being kept, and these were the settings.
    KeepData(Checked),
}

impl Note {
    /// Reads the note of a disk; nothing when there is none or when it is damaged.
    pub fn read(disk: &dyn Storage) -> Option<Self> {
        let mut sector = [0; SECTOR as usize];
        disk.read_at(&mut sector, PLACE).ok()?;
        let head: &[u8; HEAD] = sector.first_chunk()?;
        if head[..16] != MAGIC[..] {
            return None;
        }
        let length = |index: usize| {
            let at = AT_LENGTHS + index * 4;
            let number = head[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
            number as usize
        };
        let (text, name, certificate) = (length(0), length(1), length(2));
        if text > SETTINGS_LIMIT || name > NAME_LIMIT || certificate > AUTHORITY_LIMIT {
            return None;
        }
        let mut content = vec![0; text + name + certificate];
        disk.read_at(&mut content, PLACE + SECTOR).ok()?;
        if digest(head, &content)[..] != head[AT_DIGEST..] {
            return None;
        }
        if head[AT_KIND] == 0 {
            return Some(Self::WholeDisk);
        }
        let (text, rest) = content.split_at(text);
        let (name, bytes) = rest.split_at(name);
        let authority = match name {
            [] => None,
            name => Some(Authority {
                name: String::from_utf8(name.to_vec()).ok()?,
                bytes: bytes.to_vec(),
            }),
        };
        Some(Self::KeepData(Checked {
            text: text.to_vec(),
            authority,
        }))
    }

    /// Writes it, the head last.
    pub fn write(&self, disk: &mut dyn Storage) -> Result<()> {
        let (kind, settings) = match self {
            Self::WholeDisk => (0, None),
            Self::KeepData(settings) => (1, Some(settings)),
        };
        let text = settings.map_or(&[][..], |settings| &settings.text);
        let authority = settings.and_then(|settings| settings.authority.as_ref());
        let (name, bytes) = authority.map_or((&[][..], &[][..]), |authority| {
            (authority.name.as_bytes(), &authority.bytes)
        });
        let content = [text, name, bytes].concat();
        ensure!(
            text.len() <= SETTINGS_LIMIT
                && name.len() <= NAME_LIMIT
                && bytes.len() <= AUTHORITY_LIMIT
                && content.len() as u64 + SECTOR <= ROOM,
            "the settings of the boot partition are too long"
        );
        let mut head = [0; HEAD];
        head[..16].copy_from_slice(MAGIC);
        head[AT_KIND] = kind;
        for (index, part) in [text, name, bytes].into_iter().enumerate() {
            let at = AT_LENGTHS + index * 4;
            head[at..at + 4].copy_from_slice(&(part.len() as u32).to_le_bytes());
        }
        let digest = digest(&head, &content);
        head[AT_DIGEST..].copy_from_slice(&digest);
        disk.write_at(&content, PLACE + SECTOR)
            .and_then(|()| disk.sync())
            .and_then(|()| disk.write_at(&head, PLACE))
            .and_then(|()| disk.sync())
            .context("writing a note before the first partition")
    }

    /// Overwrites the note, and what replacing the partition table left before it.
    pub fn clear(disk: &mut dyn Storage) -> Result<()> {
        disk.zero_at(SPARE * SECTOR, (FIRST_USABLE - SPARE) * SECTOR)
            .and_then(|()| disk.sync())
            .context("clearing the note before the first partition")
    }
}

/// Of the fields before it, and of what follows.
fn digest(head: &[u8; HEAD], content: &[u8]) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(&head[..AT_DIGEST]);
    digest.update(content);
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::{Note, PLACE, ROOM};
    use crate::builder::command::settings::Checked;
    use crate::format::{AUTHORITY_LIMIT, SETTINGS_LIMIT};
    use crate::settings::Authority;

    fn settings(text: usize, certificate: Option<usize>) -> Note {
        Note::KeepData(Checked {
            text: vec![b's'; text],
            authority: certificate.map(|length| Authority {
                name: "root.pem".to_owned(),
                bytes: vec![b'c'; length],
            }),
        })
    }

    #[test]
    fn it_comes_back_whole_or_not_at_all() {
        let mut disk = vec![7; (PLACE + ROOM + 512) as usize];
        for note in [
            Note::WholeDisk,
            settings(0, None),
            settings(SETTINGS_LIMIT, Some(AUTHORITY_LIMIT)),
            settings(10, Some(3)),
        ] {
            note.write(&mut disk).unwrap();
            let read = Note::read(&disk).unwrap();
            assert_eq!(format!("{read:?}"), format!("{note:?}"));
        }
        for place in [0, 16, 20, 40, 512, 530] {
            let mut damaged = disk.clone();
            damaged[PLACE as usize + place] ^= 0x80;
            assert!(Note::read(&damaged).is_none(), "{place}");
        }
        Note::clear(&mut disk).unwrap();
        assert!(Note::read(&disk).is_none());
        let place = PLACE as usize;
        assert!(
            disk[place..place + ROOM as usize]
                .iter()
                .all(|byte| *byte == 0)
        );
        assert!(disk[place + ROOM as usize..].iter().all(|byte| *byte == 7));
        assert!(settings(SETTINGS_LIMIT + 1, None).write(&mut disk).is_err());
        assert!(Note::read(&vec![0; 100]).is_none());
    }
}
