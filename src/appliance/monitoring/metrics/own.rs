//! Lines of our own services: bans, and what the filter found of a message.

use super::counters::Counters;
use super::exposition::{Samples, number};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Most bans remembered, as many as the guard itself remembers.
const MOST_BANS: usize = 10_000;
/// What is found, of SPF (RFC 7208), DKIM (RFC 6376) and DMARC (RFC 7489) together.
const RESULTS: [&str; 8] = [
    "pass",
    "fail",
    "softfail",
    "neutral",
    "none",
    "temperror",
    "permerror",
    "policy",
];
const CHECKS: [&str; 3] = ["spf", "dkim", "dmarc"];

/// Until when who is kept out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bans(BTreeMap<String, u64>);

impl Bans {
    /// Adds how many there are.
    pub fn show(&mut self, now: u64, samples: &mut Samples) {
        self.0.retain(|_, until| *until > now);
        for family in ["ipv4", "ipv6"] {
            let count = self
                .0
                .keys()
                .filter(|address| family_of(address) == family)
                .count();
            let count = number(u64::try_from(count).unwrap_or_default());
            samples.add("mailimg_bans", &[family], count);
        }
    }
}

fn family_of(address: &str) -> &'static str {
    if address.contains(':') {
        "ipv6"
    } else {
        "ipv4"
    }
}

/// Counts `ban address=… seconds=…` and `lift address=…` of the guard.
pub fn read_guard(message: &str, second: u64, bans: &mut Bans, counters: &mut Counters) {
    let word = |name: &str| {
        let mut words = message.split(' ');
        words.find_map(|word| word.strip_prefix(name))
    };
    let address = word("address=").filter(|address| {
        let bare = address.strip_suffix("/64").unwrap_or(address);
        bare.parse::<IpAddr>().is_ok()
    });
    let Some(address) = address else {
        return;
    };
    if message.starts_with("lift ") {
        bans.0.remove(address);
    } else if message.starts_with("ban ") {
        counters.count("mailimg_bans_total", &[family_of(address)]);
        let seconds = word("seconds=").and_then(|word| word.parse::<u64>().ok());
        bans.0.retain(|_, until| *until > second);
        if bans.0.len() < MOST_BANS {
            let until = second.saturating_add(seconds.unwrap_or_default());
            bans.0.insert(address.to_owned(), until);
        }
    }
}

/// Counts `judged spf=… dkim=… dmarc=…` of the filter.
pub fn read_filter(message: &str, counters: &mut Counters) {
    let Some(words) = message.strip_prefix("judged ") else {
        return;
    };
    for word in words.split(' ') {
        let Some((check, result)) = word.split_once('=') else {
            continue;
        };
        let check = CHECKS.iter().find(|known| **known == check);
        let result = RESULTS.iter().find(|known| **known == result);
        if let (Some(check), Some(result)) = (check, result) {
            counters.count("mailimg_verdicts_total", &[check, result]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bans, read_filter, read_guard};
    use crate::appliance::monitoring::metrics::counters::Counters;
    use crate::appliance::monitoring::metrics::exposition::Samples;

    #[test]
    fn bans_begin_and_end() {
        let (mut bans, mut counters) = (Bans::default(), Counters::default());
        for line in [
            "ban address=192.0.2.1 seconds=100 failures=6 account=\"address=192.0.2.7\"",
            "ban address=192.0.2.2 seconds=300 failures=6 account=\"\"",
            "ban address=2001:db8::/64 seconds=300 failures=6 account=\"\"",
            "ban address=nobody seconds=300",
            "beginning without bans",
        ] {
            read_guard(line, 1000, &mut bans, &mut counters);
        }
        let mut running = |now| {
            let mut samples = Samples::default();
            bans.show(now, &mut samples);
            samples.text()
        };
        let begun = running(1000);
        assert!(begun.contains("{family=\"ipv4\"} 2\n"), "{begun}");
        assert!(begun.contains("{family=\"ipv6\"} 1\n"), "{begun}");
        assert!(running(1100).contains("{family=\"ipv4\"} 1\n"));
        read_guard("lift address=192.0.2.2", 1101, &mut bans, &mut counters);
        assert!(bans.0.len() == 1);
        assert_eq!(counters.get("mailimg_bans_total", &["ipv4"]), 2);
    }

    #[test]
    fn verdicts_are_words_of_the_standards() {
        let mut counters = Counters::default();
        for line in [
            "judged spf=pass dkim=none dmarc=fail",
            "judged spf=pass dkim=new arc=pass x",
            "spf=pass",
        ] {
            read_filter(line, &mut counters);
        }
        let count = |labels: [&'static str; 2]| counters.get("mailimg_verdicts_total", &labels);
        assert_eq!(count(["spf", "pass"]), 2);
        assert_eq!(count(["dkim", "none"]), 1);
        assert_eq!(count(["dmarc", "fail"]), 1);
    }
}
