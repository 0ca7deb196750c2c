//! What becomes of bytes that somebody spoils on purpose.

use super::numbers::Numbers;
use std::ops::Range;

/// Longest input.
const BYTES_MAX: usize = 128 << 10;
/// Most changes of one input.
const CHANGES_MAX: usize = 6;
/// Bytes that mean something somewhere.
const SPECIAL: &[u8] = b"\0\t\n\r\x1b !\"#%&'()*+,-./:;<=>?@[\\]_`{|}~\x7f\x80\xc3\xff0a";
/// Numbers at the limits of what holds them.
const LIMITS: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 32,
    u64::MAX >> 1,
    u64::MAX - 1,
    u64::MAX,
];

/// One of the seeds, changed in some places; `words` are those of the format.
pub fn changed(numbers: &mut Numbers, seeds: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut bytes = seeds[numbers.below(seeds.len())].clone();
    for _ in 0..=numbers.below(CHANGES_MAX) {
        change(numbers, &mut bytes, seeds, words);
        bytes.truncate(BYTES_MAX);
    }
    bytes
}

fn change(numbers: &mut Numbers, bytes: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[&str]) {
    let at = numbers.below(bytes.len() + 1);
    let range = |numbers: &mut Numbers, length: usize, most: usize| -> Range<usize> {
        let start = numbers.below(length + 1);
        start..length.min(start + 1 + numbers.below(most))
    };
    match numbers.below(12) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << numbers.below(8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = SPECIAL[numbers.below(SPECIAL.len())];
            }
        }
        2 => {
            let special = SPECIAL[numbers.below(SPECIAL.len())];
            let times = 1 + numbers.below(3);
            bytes.splice(at..at, std::iter::repeat_n(special, times));
        }
        3 => {
            let chance: Vec<u8> = (0..1 + numbers.below(8))
                .map(|_| numbers.next() as u8)
                .collect();
            bytes.splice(at..at, chance);
        }
        4 => {
            let gone = range(numbers, bytes.len(), 40);
            bytes.drain(gone);
        }
        5 => bytes.truncate(at),
        6 => {
            let other = &seeds[numbers.below(seeds.len())];
            let piece = range(numbers, other.len(), 80);
            let place = at..bytes.len().min(at + numbers.below(2) * piece.len());
            bytes.splice(place, other[piece].iter().copied());
        }
        7 => {
            let piece = bytes[range(numbers, bytes.len(), 60)].to_vec();
            // Seldom very often, for what takes the square of a length.
            let times = match numbers.below(20) {
                0 => 5000,
                1..4 => 100,
                few => few,
            };
            bytes.splice(at..at, piece.repeat(times));
        }
        8 => {
            let number = LIMITS[numbers.below(LIMITS.len())].to_be_bytes();
            let length = [1, 2, 4, 8][numbers.below(4)].min(bytes.len() - at);
            bytes[at..at + length].copy_from_slice(&number[8 - length..]);
        }
        9 => {
            let sign = ["", "-", "+", "0"][numbers.below(4)];
            let number = format!("{sign}{}", LIMITS[numbers.below(LIMITS.len())]);
            // In the place of another number, if there is one.
            let digits = |byte: &u8| byte.is_ascii_digit();
            let start = bytes[at..].iter().position(digits);
            let start = start.map_or(at, |start| at + start);
            let length = bytes[start..]
                .iter()
                .take_while(|byte| digits(byte))
                .count();
            bytes.splice(start..start + length, number.into_bytes());
        }
        10 if !words.is_empty() => {
            let word = words[numbers.below(words.len())];
            bytes.splice(at..at, word.bytes());
        }
        _ => {
            let moved: Vec<u8> = bytes.drain(range(numbers, bytes.len(), 60)).collect();
            let at = numbers.below(bytes.len() + 1);
            bytes.splice(at..at, moved);
        }
    }
}
