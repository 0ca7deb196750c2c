//! Signed documents: whatever was changed, what is believed is what was signed.

use mailimg::builder::archive::openpgp::{parse_certificates, verify_signed_text};
use mailimg::builder::archive::release::parse_release;

use super::rounds;
use crate::world::bench::Bench;
use crate::world::bench::keys::{ARCHIVE, now, public_key};

#[test]
fn of_an_inrelease_nothing_is_believed_but_what_was_signed() {
    let bench = Bench::new();
    let sound = std::fs::read(bench.archive.inrelease()).unwrap();
    let certificates = parse_certificates(&public_key(ARCHIVE)).unwrap();
    let signed = verify_signed_text(&sound, &certificates, now())
        .unwrap()
        .text;
    rounds(400, "InRelease", |numbers, what| {
        let mut bytes = sound.clone();
        for _ in 0..=numbers.below(3) {
            *what = numbers.spoil(&mut bytes);
        }
        if numbers.below(10) == 0 {
            bytes.truncate(numbers.below(bytes.len()));
        }
        // Unsigned as well, as it would be read.
        let _ = parse_release(&String::from_utf8_lossy(&bytes));
        match verify_signed_text(&bytes, &certificates, now()) {
            Ok(verified) => {
                assert_eq!(verified.text, signed);
                true
            }
            Err(_) => false,
        }
    });
}

#[test]
fn a_damaged_keyring_is_an_error_or_a_keyring() {
    let sound = public_key(ARCHIVE);
    rounds(300, "keyring", |numbers, what| {
        let mut bytes = sound.clone();
        *what = numbers.spoil(&mut bytes);
        parse_certificates(&bytes).is_ok()
    });
}
