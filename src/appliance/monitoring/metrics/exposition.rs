//! The text that is answered: samples of the table's series.
//!
//! Text-based format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>), which
//! VictoriaMetrics reads. The crate `prometheus-client` counts in memory of its own; here half of
//! the figures is read anew for each answer, the other half is kept beyond restarts, and what is
//! left to do is this page.

use super::families::{FAMILIES, Family, Kind, find};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Samples, in the order in which they came.
#[derive(Debug, Default)]
pub struct Samples(BTreeMap<&'static str, Vec<(String, f64)>>);

impl Samples {
    /// Adds one; its labels in the order of the table.
    pub fn add(&mut self, name: &str, labels: &[&str], value: f64) {
        if let Some(family) = find(name) {
            let labels = written(family, labels);
            self.push(family, in_braces(&labels), value);
        }
    }

    /// Adds what a histogram counted: for each limit how many were not above it, the sum of all,
    /// and their number.
    pub fn add_histogram(&mut self, name: &str, labels: &[&str], buckets: &Buckets<'_>) {
        let Some(family) = find(name).filter(|family| family.kind == Kind::Histogram) else {
            return;
        };
        let own = written(family, labels);
        let comma = if own.is_empty() { "" } else { "," };
        let limits = buckets.limits.iter().map(ToString::to_string);
        let counts = buckets.counts.iter().copied().chain([buckets.number]);
        for (limit, count) in limits.chain(["+Inf".to_owned()]).zip(counts) {
            let labels = format!("_bucket{{{own}{comma}le=\"{limit}\"}}");
            self.push(family, labels, number(count));
        }
        self.push(family, format!("_sum{}", in_braces(&own)), buckets.sum);
        let count = format!("_count{}", in_braces(&own));
        self.push(family, count, number(buckets.number));
    }

    fn push(&mut self, family: &'static Family, rest: String, value: f64) {
        self.0.entry(family.name).or_default().push((rest, value));
    }

    /// How many there are.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// All of it as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for family in FAMILIES {
            let Some(samples) = self.0.get(family.name) else {
                continue;
            };
            let Family {
                name, help, source, ..
            } = family;
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# HELP {name} {help} ({source})");
            let _ = writeln!(text, "# TYPE {name} {}", family.kind.word());
            for (rest, value) in samples {
                let _ = writeln!(text, "{name}{rest} {value}");
            }
        }
        text
    }
}

/// What a histogram counted.
#[derive(Debug)]
pub struct Buckets<'a> {
    /// Upper limits.
    pub limits: &'a [f64],
    /// How many were at most so much, for each limit.
    pub counts: &'a [u64],
    /// How many there were.
    pub number: u64,
    /// What they are together.
    pub sum: f64,
}

/// A count as a sample has it; above 2^53 nobody counts.
pub fn number(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
    let number = count as f64;
    number
}

fn in_braces(labels: &str) -> String {
    match labels {
        "" => String::new(),
        labels => format!("{{{labels}}}"),
    }
}

fn written(family: &Family, labels: &[&str]) -> String {
    debug_assert_eq!(family.labels.len(), labels.len(), "{}", family.name);
    let pairs = family.labels.iter().zip(labels);
    let pairs = pairs.map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
    pairs.collect::<Vec<_>>().join(",")
}

fn escaped(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    value.replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::{Buckets, Samples};

    #[test]
    fn samples_are_written_as_the_format_wants_them() {
        let mut samples = Samples::default();
        samples.add("mailimg_load1", &[], 0.25);
        samples.add("mailimg_filesystem_bytes", &["root", "size"], 1e9);
        samples.add("dovecot_mailbox_bytes", &["a\"\\\nb"], 12.0);
        samples.add("of_nobody", &[], 1.0);
        let buckets = Buckets {
            limits: &[0.1, 1.0],
            counts: &[1, 3],
            number: 4,
            sum: 7.5,
        };
        samples.add_histogram("postfix_delivery_delay_seconds", &["queue"], &buckets);
        samples.add_histogram("dovecot_imap_command_duration_seconds", &[], &buckets);
        assert_eq!(samples.count(), 13);
        insta::assert_snapshot!(samples.text());
    }
}
