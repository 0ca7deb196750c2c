//! Names in a folder: a short one of 8.3 characters, and the pieces of a long one.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use super::{ATTRIBUTE_LONG_NAME, ENTRY};

/// Longest long name, in UTF-16 units.
const LONG_NAME_UNITS_MAX: usize = 255;
/// Units of a long name that one entry holds.
const PIECE: usize = 13;
/// Where those units lie in an entry, in bytes.
const PIECE_OFFSETS: [usize; PIECE] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
/// Flag of the piece that comes first on disk and last in the name.
const LAST_PIECE: u8 = 0x40;

/// A short name: eight characters and three, padded with blanks.
pub(super) type ShortName = [u8; 11];

/// Refuses what no folder can hold.
pub(super) fn check_name(name: &str) -> Result<()> {
    let bad = |character: char| character < ' ' || "\"*/:<>?\\|\x7f".contains(character);
    ensure!(
        !name.is_empty()
            && !name.contains(bad)
            && !name.ends_with(['.', ' '])
            && name.encode_utf16().count() <= LONG_NAME_UNITS_MAX,
        "{name:?} is no name for a file on a FAT volume"
    );
    Ok(())
}

/// Whether two names are the same file.
pub fn same_name(one: &str, other: &str) -> bool {
    one == other || one.to_uppercase() == other.to_uppercase()
}

/// Makes a short name that the folder does not have yet, and whether the long
/// name must be written too.
pub(super) fn short_name(name: &str, taken: &BTreeSet<ShortName>) -> (ShortName, bool) {
    let (stem, extension) = match name.rfind('.') {
        Some(0) | None => (name, ""),
        Some(dot) => (&name[..dot], &name[dot + 1..]),
    };
    let (stem, stem_lossy) = short_characters(stem);
    let (extension, extension_lossy) = short_characters(extension);
    let fits = stem.len() <= 8 && extension.len() <= 3 && !stem_lossy && !extension_lossy;
    let build = |stem: &[u8], tail: &str| {
        let mut short = [b' '; 11];
        let kept = stem.len().min(8 - tail.len());
        short[..kept].copy_from_slice(&stem[..kept]);
        short[kept..kept + tail.len()].copy_from_slice(tail.as_bytes());
        let kept = extension.len().min(3);
        short[8..8 + kept].copy_from_slice(&extension[..kept]);
        short
    };
    let plain = build(&stem, "");
    if fits && !taken.contains(&plain) {
        return (plain, as_text(&plain) != name);
    }
    for number in 1u32.. {
        let short = build(&stem, &format!("~{number}"));
        if !taken.contains(&short) {
            return (short, true);
        }
    }
    unreachable!("a folder holds fewer entries than there are numbers")
}

/// The characters of a short name's part, and whether any was lost.
fn short_characters(part: &str) -> (Vec<u8>, bool) {
    let mut lossy = false;
    let mut characters = Vec::new();
    for character in part.chars() {
        match character {
            'A'..='Z' | 'a'..='z' | '0'..='9' => {
                characters.push(character.to_ascii_uppercase() as u8);
            }
            '!' | '#' | '$' | '%' | '&' | '\'' | '(' | ')' | '-' | '@' | '^' | '_' | '`' | '{'
            | '}' | '~' => characters.push(character as u8),
            '.' | ' ' => lossy = true,
            _ => {
                lossy = true;
                characters.push(b'_');
            }
        }
    }
    lossy |= characters.is_empty() && !part.is_empty();
    (characters, lossy)
}

/// A short name as people write it.
pub(super) fn as_text(short: &ShortName) -> String {
    let part = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes)
            .trim_end_matches(' ')
            .to_owned()
    };
    let (stem, extension) = (part(&short[..8]), part(&short[8..]));
    if extension.is_empty() {
        stem
    } else {
        format!("{stem}.{extension}")
    }
}

/// The entries of a long name, in the order of the disk.
pub(super) fn long_name_entries(name: &str, short: &ShortName) -> Vec<[u8; ENTRY]> {
    let mut units: Vec<u16> = name.encode_utf16().collect();
    let pieces = units.len().div_ceil(PIECE);
    // A name that does not fill its last piece ends with 0, then 0xffff.
    if units.len() < pieces * PIECE {
        units.push(0);
        units.resize(pieces * PIECE, 0xffff);
    }
    let mut entries: Vec<[u8; ENTRY]> = Vec::with_capacity(pieces);
    for (index, piece) in units.chunks_exact(PIECE).enumerate() {
        let mut entry = [0; ENTRY];
        entry[0] = index as u8 + 1;
        entry[11] = ATTRIBUTE_LONG_NAME;
        entry[13] = checksum(short);
        for (unit, offset) in piece.iter().zip(PIECE_OFFSETS) {
            entry[offset..offset + 2].copy_from_slice(&unit.to_le_bytes());
        }
        entries.push(entry);
    }
    if let Some(last) = entries.last_mut() {
        last[0] |= LAST_PIECE;
    }
    entries.reverse();
    entries
}

/// Puts the pieces of long names together while a folder is read.
#[derive(Default)]
pub(super) struct LongName {
    units: Vec<u16>,
    /// Number of the next piece, 0 when the name is complete.
    next: u8,
    checksum: u8,
}

impl LongName {
    /// Takes the next piece.
    pub(super) fn push(&mut self, entry: &[u8]) {
        let number = entry[0] & !LAST_PIECE;
        if entry[0] & LAST_PIECE != 0 {
            self.units.clear();
            self.next = number;
            self.checksum = entry[13];
        }
        if number == 0 || number != self.next || self.checksum != entry[13] {
            *self = Self::default();
            return;
        }
        self.next -= 1;
        let piece =
            PIECE_OFFSETS.map(|offset| u16::from_le_bytes([entry[offset], entry[offset + 1]]));
        self.units.splice(0..0, piece);
    }

    /// The name that belongs to a short one, if all its pieces were there.
    pub(super) fn take(&mut self, short: &ShortName) -> Option<String> {
        let name = std::mem::take(self);
        if name.next != 0 || name.units.is_empty() || name.checksum != checksum(short) {
            return None;
        }
        let end = name.units.iter().position(|unit| *unit == 0);
        let units = &name.units[..end.unwrap_or(name.units.len())];
        Some(String::from_utf16_lossy(units))
    }
}

fn checksum(short: &ShortName) -> u8 {
    short
        .iter()
        .fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{LongName, as_text, check_name, long_name_entries, short_name};

    #[test]
    fn short_names_are_unique_and_plain_ones_stay_plain() {
        let mut taken = BTreeSet::new();
        let mut short = |name: &str| {
            let (short, long_needed) = short_name(name, &taken);
            assert!(taken.insert(short));
            format!("{}{}", as_text(&short), if long_needed { " +" } else { "" })
        };
        assert_eq!(short("BOOTX64.EFI"), "BOOTX64.EFI");
        assert_eq!(short("settings.env"), "SETTINGS.ENV +");
        assert_eq!(short("mail_1.0.0.efi"), "MAIL_1~1.EFI +");
        assert_eq!(short("mail_1.0.1.efi"), "MAIL_1~2.EFI +");
        assert_eq!(short("EFI"), "EFI");
        assert_eq!(short(".hidden"), "HIDDEN~1 +");
        assert_eq!(short("schlüssel"), "SCHL_S~1 +");
        assert_eq!(short("a+b=c.text"), "A_B_C~1.TEX +");
    }

    #[test]
    fn long_names_come_back_whole() {
        for name in ["settings.env", "exactly13char", "ü", &"x".repeat(255)] {
            check_name(name).unwrap();
            let (short, _) = short_name(name, &BTreeSet::new());
            let mut long = LongName::default();
            let mut entries = long_name_entries(name, &short);
            for entry in &entries {
                long.push(entry);
            }
            assert_eq!(long.take(&short).as_deref(), Some(name));

            // A piece that is missing makes the name unusable, not wrong.
            entries.remove(0);
            for entry in &entries {
                long.push(entry);
            }
            assert_eq!(long.take(&short), None);
        }
        for name in ["", "a/b", "a:b", "dot.", "blank ", "a\nb", &"x".repeat(256)] {
            check_name(name).unwrap_err();
        }
    }
}
