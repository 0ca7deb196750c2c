//! The machine's own id, which a container keeps in its volume as a machine does on its disk.
//!
//! Engines give each container another id (machine-id(5)), so the next image would look for
//! its journal elsewhere.

use anyhow::Result;
use rand::RngExt as _;

use crate::appliance::machine::files::{PUBLIC, ensure_folder, read_optional, write_file};
use crate::appliance::machine::place::{self, Place};

/// Where the initrd of a machine keeps it, too.
const FILE: &str = "/var/lib/mailimg/machine-id";
/// Hexadecimal digits of an id.
const LENGTH: usize = 32;

/// The id, made at the first start; a damaged one is made again.
pub fn ensure_machine_id(place: &Place) -> Result<String> {
    let path = place.path(FILE);
    if let Some(bytes) = read_optional(&path)? {
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim();
        if is_id(text) {
            return Ok(text.to_owned());
        }
    }
    ensure_folder(&place.path(place::STATE), 0o755, None)?;
    // As of a random UUID, which some programs check: sd-id128(3).
    let mut bytes: [u8; LENGTH / 2] = rand::rng().random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let id = hex::encode(bytes);
    write_file(&path, format!("{id}\n").as_bytes(), PUBLIC, None)?;
    Ok(id)
}

fn is_id(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == LENGTH && text.bytes().all(digit) && text.bytes().any(|byte| byte != b'0')
}

#[cfg(test)]
mod tests {
    use super::{FILE, ensure_machine_id, is_id};
    use crate::appliance::machine::place::Place;

    #[test]
    fn an_id_is_made_once_and_again_when_it_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let first = ensure_machine_id(&place).unwrap();
        assert!(is_id(&first), "{first}");
        assert_eq!(ensure_machine_id(&place).unwrap(), first);
        for damaged in ["", "0123", &"0".repeat(32), &"G".repeat(32)] {
            std::fs::write(place.path(FILE), damaged).unwrap();
            let made = ensure_machine_id(&place).unwrap();
            assert!(is_id(&made) && made != first, "{damaged:?}");
        }
    }
}
