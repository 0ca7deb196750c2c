//! Damage by the thousand: whatever the bytes, no panic, no end of memory or time, and
//! nothing destroyed that was whole.
//!
//! The damage comes from a fixed sequence of numbers, so that a round that fails does so
//! again. `MAILIMG_DAMAGE=TIMES` makes so many times the usual rounds, as `ci/full` does.

mod documents;
mod images;
mod packages;

#[path = "../../../src/appliance/damage/numbers.rs"]
mod numbers;

use numbers::Numbers;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// How long one round may take: the slowest takes a hundredth.
const LONGEST_ROUND: Duration = Duration::from_secs(20);

impl Numbers {
    /// Spoils one place of some bytes; tells where and how.
    fn spoil(&mut self, bytes: &mut [u8]) -> String {
        const EDGES: [u64; 8] = [
            0,
            1,
            0x7fff_ffff,
            0xffff_ffff,
            0x0fff_fff7,
            1 << 32,
            u64::MAX >> 1,
            u64::MAX,
        ];
        let at = self.below(bytes.len());
        let rest = &mut bytes[at..];
        let what = match self.below(6) {
            0 | 1 => {
                rest[0] ^= 1 << self.below(8);
                "a bit"
            }
            2 => {
                rest[0] = [0, 0xff, b'/', 0x1b, b'.', 0xe5][self.below(6)];
                "a byte"
            }
            3 => {
                let number = EDGES[self.below(EDGES.len())].to_le_bytes();
                let length = rest.len().min([2, 4, 8][self.below(3)]);
                rest[..length].copy_from_slice(&number[..length]);
                "a number"
            }
            4 => {
                let length = self.below(64).min(rest.len());
                rest[..length].fill(0);
                "zeros"
            }
            _ => {
                let from = self.below(bytes.len());
                let length = self.below(64).min(bytes.len() - at.max(from));
                bytes.copy_within(from..from + length, at);
                "other bytes of it"
            }
        };
        format!("{what} at {at}")
    }
}

/// Runs rounds of a kind of damage; each tells whether it was taken for sound.
fn rounds(usual: usize, name: &str, mut round: impl FnMut(&mut Numbers, &mut String) -> bool) {
    let times: usize = std::env::var("MAILIMG_DAMAGE").map_or(1, |text| text.parse().unwrap());
    let (mut taken, mut slowest) = (0, Duration::ZERO);
    for number in 0..usual * times {
        let mut numbers = Numbers(number as u64);
        let mut what = String::new();
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| round(&mut numbers, &mut what)));
        let spent = start.elapsed();
        slowest = slowest.max(spent);
        match outcome {
            Ok(sound) => taken += usize::from(sound),
            Err(_) => panic!("{name}, round {number}: {what}"),
        }
        assert!(
            spent < LONGEST_ROUND,
            "{name}, round {number}: {what}: took {spent:?}"
        );
    }
    println!(
        "{name}: {} damaged, {taken} taken for sound, slowest {slowest:?}",
        usual * times
    );
}
