//! Names of folders on disk: which of them Dovecot opens, and what others become.
//!
//! Maildir++ joins the parts of a name by dots, and each part is IMAP's modified
//! UTF-7 (<https://www.rfc-editor.org/rfc/rfc3501#section-5.1.3>). Dovecot lists
//! a name that is neither and refuses to open it; a name that no strict reader
//! would write, as `&AEE-` for `A`, it cannot find again.

use base64::Engine;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

const BASE64: GeneralPurpose = GeneralPurpose::new(&IMAP_MUTF7, NO_PAD);
/// Longest name of a file, its first dot left out.
const LONGEST: usize = 254;
/// What a name without anything becomes.
const NAMELESS: &str = "Imported";
/// The inbox is the Maildir itself, however it is written.
const INBOX: &str = "INBOX";

/// A folder's name on disk, without its first dot.
#[derive(Debug, PartialEq, Eq)]
pub enum FolderName {
    /// It can be opened.
    Good,
    /// What can be opened in its place.
    Mended(String),
    /// Nothing fits a file's name.
    TooLong,
}

/// Says whether a folder can be opened under its name, or under which other one.
pub fn check_name(name: &[u8]) -> FolderName {
    let parts = || name.split(|byte| *byte == b'.');
    let is_good = parts().all(|part| {
        let text = std::str::from_utf8(part).ok().and_then(decode);
        !part.is_empty() && text.is_some_and(|text| encode(&text).as_bytes() == part)
    });
    if is_good && !name.starts_with(b"~") && !name.eq_ignore_ascii_case(INBOX.as_bytes()) {
        return FolderName::Good;
    }
    let mended: Vec<String> = parts()
        .filter(|part| !part.is_empty())
        .map(mended_part)
        .collect();
    let mut mended = mended.join(".");
    if mended.is_empty() {
        NAMELESS.clone_into(&mut mended);
    }
    if mended.starts_with('~') {
        mended.insert(0, '_');
    }
    if mended.eq_ignore_ascii_case(INBOX) {
        mended.push('_');
    }
    if mended.len() > LONGEST {
        return FolderName::TooLong;
    }
    FolderName::Mended(mended)
}

/// A name as people read it.
pub fn readable_name(name: &str) -> String {
    let parts = name
        .split('.')
        .map(|part| decode(part).unwrap_or_else(|| part.to_owned()));
    parts.collect::<Vec<_>>().join("/")
}

/// Taken as the text that it looks like.
fn mended_part(part: &[u8]) -> String {
    let text = match std::str::from_utf8(part) {
        Ok(text) => decode(text).unwrap_or_else(|| text.to_owned()),
        // An old system's Latin-1, whose bytes are the code points.
        Err(_) => part.iter().map(|byte| char::from(*byte)).collect(),
    };
    let text: String = text
        .chars()
        .map(|character| {
            if character.is_control() || "./".contains(character) {
                '_'
            } else {
                character
            }
        })
        .collect();
    encode(&text)
}

/// `None` where a shift does not end or holds no UTF-16, and for what is not ASCII.
fn decode(part: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = part;
    while let Some(first) = rest.chars().next() {
        if !(' '..='~').contains(&first) {
            return None;
        }
        let Some(after) = rest.strip_prefix('&') else {
            text.push(first);
            rest = &rest[1..];
            continue;
        };
        let (shifted, after) = after.split_once('-')?;
        if shifted.is_empty() {
            text.push('&');
        } else {
            let bytes = BASE64.decode(shifted).ok()?;
            let (units, []) = bytes.as_chunks::<2>() else {
                return None;
            };
            let units: Vec<u16> = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
            text.push_str(&String::from_utf16(&units).ok()?);
        }
        rest = after;
    }
    Some(text)
}

fn encode(text: &str) -> String {
    let mut name = String::new();
    let mut shifted: Vec<u8> = Vec::new();
    let end_shift = |shifted: &mut Vec<u8>, name: &mut String| {
        if !shifted.is_empty() {
            name.push_str(&format!("&{}-", BASE64.encode(&*shifted)));
            shifted.clear();
        }
    };
    for character in text.chars() {
        if (' '..='~').contains(&character) {
            end_shift(&mut shifted, &mut name);
            name.push(character);
            if character == '&' {
                name.push('-');
            }
        } else {
            let mut units = [0; 2];
            let units = character.encode_utf16(&mut units).iter();
            shifted.extend(units.flat_map(|unit| unit.to_be_bytes()));
        }
    }
    end_shift(&mut shifted, &mut name);
    name
}

#[cfg(test)]
mod tests {
    use super::{FolderName, check_name, readable_name};

    #[test]
    fn names_that_open_stay() {
        for name in [
            "Sent",
            "Sent Messages",
            "Archive.2024.Spring",
            "INBOX.Sub",
            "Entw&APw-rfe",
            "R&-D",
            "&ZeVnLIqe-",
            "&2D3eAA-",
            "a~b",
            "cur",
        ] {
            assert_eq!(check_name(name.as_bytes()), FolderName::Good, "{name}");
        }
        assert_eq!(readable_name("Work.Entw&APw-rfe.R&-D"), "Work/Entwürfe/R&D");
    }

    #[test]
    fn others_become_what_they_look_like() {
        for (name, mended) in [
            // Dots without a name between them.
            (&b".Sent"[..], "Sent"),
            (b"Sent.", "Sent"),
            (b"Work..2024", "Work.2024"),
            (b"", "Imported"),
            (b"..", "Imported"),
            // The inbox itself, and a home.
            (b"INBOX", "INBOX_"),
            (b"Inbox", "Inbox_"),
            (b"~jens", "_~jens"),
            // Not modified UTF-7.
            ("Entwürfe".as_bytes(), "Entw&APw-rfe"),
            (b"Entw\xfcrfe", "Entw&APw-rfe"),
            (b"R&D", "R&-D"),
            (b"R&D-Team", "R&-D-Team"),
            (b"a\tb", "a_b"),
            // Modified UTF-7 that nobody writes: ASCII, two shifts, odd bits, half a pair.
            (b"&AEE-", "A"),
            (b"&AC8-", "_"),
            (b"&APw-&APw-", "&APwA,A-"),
            (b"&APx-", "&-APx-"),
            (b"&2D0-", "&-2D0-"),
        ] {
            assert_eq!(
                check_name(name),
                FolderName::Mended(mended.to_owned()),
                "{}",
                name.escape_ascii()
            );
            assert_eq!(check_name(mended.as_bytes()), FolderName::Good, "{mended}");
        }
        let long = "ü".repeat(120);
        assert_eq!(check_name(long.as_bytes()), FolderName::TooLong);
    }
}
