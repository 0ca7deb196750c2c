//! `mailctl measure-queue`: how much waits in Postfix's queue, and for how long.
//!
//! Files are only looked at from outside. When a message came in is written in its name
//! (`enable_long_queue_ids`, <https://www.postfix.org/postconf.5.html#enable_long_queue_ids>),
//! since the time of the file is that of its next attempt.

use super::Measure;
use crate::appliance::machine::clock::now;
use crate::appliance::machine::place::{self, Place};
use crate::appliance::monitoring::metrics::exposition::{Samples, number};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// All queues with whole messages (qmgr(8)).
const QUEUES: [&str; 6] = [
    "maildrop", "incoming", "active", "deferred", "hold", "corrupt",
];
/// Digits of names: letters that make words are left out.
const DIGITS: &[u8; 52] = b"0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz";
/// Digits of the seconds, before those of their fraction.
const SECONDS_DIGITS: usize = 6;

/// How it is measured.
pub const QUEUE: Measure = Measure {
    name: "queue",
    longest_age: 300,
};

/// What one of them holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    queue: String,
    messages: u64,
    bytes: u64,
    /// When the oldest came in, seconds since 1970.
    oldest: Option<i64>,
}

/// Measures it.
pub fn measure_queue(place: &Place) -> Result<String> {
    QUEUE.run(place, || Ok(look(place)))
}

/// Adds what was measured, and says whether it is recent.
pub fn show_queue(place: &Place, samples: &mut Samples) -> bool {
    let Some(measured) = QUEUE.recent::<Vec<Held>>(place) else {
        return false;
    };
    for held in measured.found {
        // A name of ours, though it comes from a file.
        let Some(queue) = QUEUES.iter().find(|queue| **queue == held.queue) else {
            continue;
        };
        let age = held.oldest.map_or(0, |oldest| now().saturating_sub(oldest));
        let age = number(u64::try_from(age).unwrap_or_default());
        samples.add("postfix_queue_messages", &[queue], number(held.messages));
        samples.add("postfix_queue_bytes", &[queue], number(held.bytes));
        samples.add("postfix_queue_oldest_seconds", &[queue], age);
    }
    true
}

fn look(place: &Place) -> Vec<Held> {
    let folder = place.path(place::QUEUE);
    let queues = QUEUES.iter();
    queues
        .map(|queue| held_in(queue, &folder.join(queue)))
        .collect()
}

fn held_in(queue: &str, folder: &Path) -> Held {
    let mut held = Held {
        queue: queue.to_owned(),
        ..Held::default()
    };
    // What vanishes meanwhile was delivered.
    let entries = walkdir::WalkDir::new(folder)
        .into_iter()
        .filter_map(Result::ok);
    for entry in entries.filter(|entry| entry.file_type().is_file()) {
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        held.messages += 1;
        held.bytes += metadata.len();
        let named = arrival(&entry.file_name().to_string_lossy());
        let came = named.unwrap_or_else(|| metadata.mtime());
        held.oldest = Some(held.oldest.map_or(came, |oldest| oldest.min(came)));
    }
    held
}

/// When the message of this name came in; nothing for a short name, which has no time in it.
fn arrival(name: &str) -> Option<i64> {
    let seconds = name.as_bytes().get(..SECONDS_DIGITS)?;
    // It has a separator behind the fraction, which short names cannot have.
    if name.as_bytes().get(SECONDS_DIGITS + 4) != Some(&b'z') {
        return None;
    }
    seconds.iter().try_fold(0_i64, |sum, byte| {
        let digit = DIGITS.iter().position(|digit| digit == byte)?;
        sum.checked_mul(52)?.checked_add(i64::try_from(digit).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::{arrival, measure_queue, show_queue};
    use crate::appliance::machine::place::{self, Place};
    use crate::appliance::monitoring::metrics::exposition::Samples;

    /// Names of Postfix 3.10, with the time of their lines in the journal.
    #[test]
    fn names_say_when() {
        assert_eq!(arrival("4jc8bt27b4z1xsg"), Some(1_795_868_666));
        for other in ["", "A1B2C3D4E5", "4jc8bt27b4", "aeiouaeiouz1"] {
            assert_eq!(arrival(other), None, "{other}");
        }
    }

    #[test]
    fn the_queue_is_measured_and_shown() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let queue = place.path(place::QUEUE);
        for (name, bytes) in [
            ("deferred/4/4jc8bt27b4z1xsg", 100),
            ("deferred/5/4jc8bT3Vrnz1xpp", 20),
            ("active/4jc8bT3Vrnz1xpq", 3),
        ] {
            let path = queue.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, vec![0; bytes]).unwrap();
        }
        let mut samples = Samples::default();
        assert!(!show_queue(&place, &mut samples));
        measure_queue(&place).unwrap();
        assert!(show_queue(&place, &mut samples));
        let text = samples.text();
        for line in [
            "postfix_queue_messages{queue=\"deferred\"} 2",
            "postfix_queue_messages{queue=\"active\"} 1",
            "postfix_queue_messages{queue=\"hold\"} 0",
            "postfix_queue_bytes{queue=\"deferred\"} 120",
            "postfix_queue_oldest_seconds{queue=\"hold\"} 0",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}: {text}");
        }
    }
}
