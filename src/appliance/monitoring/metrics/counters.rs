//! Counts that go on after a restart.
//!
//! Names and labels are words of this program, never of a line that was read: strangers make no
//! series.

use super::exposition::{Buckets, Samples, number};
use super::families::{FAMILIES, Family, Kind, find};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where counts are from, as the table says it.
const JOURNAL: &str = "journal";
/// Stands between a name and its labels.
const BETWEEN: char = '\t';

/// Limits of the buckets of delays, in seconds: what is quick, what a greylist takes, and the
/// days of the queue.
const DELAY_LIMITS: [f64; 11] = [
    0.05, 0.2, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 43_200.0, 172_800.0,
];

/// A histogram of times.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Delays {
    counts: [u64; DELAY_LIMITS.len()],
    number: u64,
    sum: f64,
}

/// All counts, by name and labels.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    counts: BTreeMap<String, u64>,
    delays: BTreeMap<String, Delays>,
}

fn key(name: &str, labels: &[&'static str]) -> String {
    let mut key = name.to_owned();
    for label in labels {
        key.push(BETWEEN);
        key.push_str(label);
    }
    key
}

impl Counters {
    /// Counts one.
    pub fn count(&mut self, name: &'static str, labels: &[&'static str]) {
        self.add(name, labels, 1);
    }

    /// Counts several.
    pub fn add(&mut self, name: &'static str, labels: &[&'static str], number: u64) {
        debug_assert!(find(name).is_some(), "{name} has no row");
        let count = self.counts.entry(key(name, labels)).or_default();
        *count = count.saturating_add(number);
    }

    /// Counts a time.
    pub fn note_delay(&mut self, name: &'static str, labels: &[&'static str], seconds: f64) {
        let delays = self.delays.entry(key(name, labels)).or_default();
        for (limit, count) in DELAY_LIMITS.iter().zip(&mut delays.counts) {
            *count += u64::from(seconds <= *limit);
        }
        delays.number += 1;
        delays.sum += seconds;
    }

    /// What one has counted.
    #[cfg(test)]
    pub fn get(&self, name: &str, labels: &[&'static str]) -> u64 {
        let count = self.counts.get(&key(name, labels));
        count.copied().unwrap_or_default()
    }

    /// Adds all of them; what an earlier version counted and this one does not know is left out.
    pub fn show(&self, samples: &mut Samples) {
        // What did not happen yet is 0, so that the first time is seen as a rise.
        let is_plain = |family: &&Family| {
            family.kind == Kind::Counter && family.labels.is_empty() && family.source == JOURNAL
        };
        for family in FAMILIES.iter().filter(is_plain) {
            if !self.counts.contains_key(family.name) {
                samples.add(family.name, &[], 0.0);
            }
        }
        for (key, count) in &self.counts {
            with_labels(key, |name, labels| {
                samples.add(name, labels, number(*count));
            });
        }
        for (key, delays) in &self.delays {
            let buckets = Buckets {
                limits: &DELAY_LIMITS,
                counts: &delays.counts,
                number: delays.number,
                sum: delays.sum,
            };
            with_labels(key, |name, labels| {
                samples.add_histogram(name, labels, &buckets);
            });
        }
    }
}

fn with_labels(key: &str, use_them: impl FnOnce(&str, &[&str])) {
    let mut words = key.split(BETWEEN);
    let name = words.next().unwrap_or_default();
    let labels: Vec<&str> = words.collect();
    if find(name).is_some_and(|family| family.labels.len() == labels.len()) {
        use_them(name, &labels);
    }
}

#[cfg(test)]
mod tests {
    use super::Counters;
    use crate::appliance::monitoring::metrics::exposition::Samples;

    #[test]
    fn counts_outlive_the_process_and_a_change_of_the_table() {
        let mut counters = Counters::default();
        counters.count("postfix_lines_total", &[]);
        counters.add("postfix_sasl_logins_total", &["submission"], 2);
        let delay = "postfix_delivery_delay_seconds";
        counters.note_delay(delay, &["queue"], 0.1);
        counters.note_delay(delay, &["queue"], 100.0);
        counters.counts.insert("gone_total\tx".to_owned(), 7);
        counters
            .counts
            .insert("postfix_lines_total\tx".to_owned(), 7);
        let text = serde_json::to_string(&counters).unwrap();
        let counters: Counters = serde_json::from_str(&text).unwrap();
        let mut samples = Samples::default();
        counters.show(&mut samples);
        // Two counts, a histogram, and three of which nothing was counted yet.
        assert_eq!(samples.count(), 2 + 14 + 3);
        let text = samples.text();
        for line in [
            "postfix_lines_total 1",
            "postfix_sasl_logins_total{service=\"submission\"} 2",
            "postfix_delivery_delay_seconds_bucket{stage=\"queue\",le=\"0.05\"} 0",
            "postfix_delivery_delay_seconds_bucket{stage=\"queue\",le=\"0.2\"} 1",
            "postfix_delivery_delay_seconds_bucket{stage=\"queue\",le=\"+Inf\"} 2",
            "postfix_delivery_delay_seconds_sum{stage=\"queue\"} 100.1",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}: {text}");
        }
    }
}
