//! Wrong passwords, by address: after too many the answer is no, without a look.
//!
//! The guard bans for longer and at the packet filter; this holds where there is none, as in
//! a container without the right to it.

use crate::appliance::guard::rules::ClientNetwork;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Wrong passwords count this long.
const WINDOW: Duration = Duration::from_secs(3600);
/// So many are too many.
const MOST: usize = 10;
/// Most addresses remembered; beyond them the oldest go.
const MOST_ADDRESSES: usize = 10_000;

/// When which address was wrong.
#[derive(Debug, Default)]
pub struct Failures(HashMap<ClientNetwork, Vec<Instant>>);

impl Failures {
    /// Whether this address was wrong too often.
    pub fn are_too_many(&self, address: ClientNetwork, now: Instant) -> bool {
        let times = self.0.get(&address);
        times.is_some_and(|times| times.iter().filter(|time| counts(**time, now)).count() >= MOST)
    }

    /// Notes a wrong password.
    pub fn note(&mut self, address: ClientNetwork, now: Instant) {
        if self.0.len() >= MOST_ADDRESSES && !self.0.contains_key(&address) {
            self.0
                .retain(|_, times| times.iter().any(|time| counts(*time, now)));
            let oldest = self.0.iter().min_by_key(|(_, times)| times.last().copied());
            if self.0.len() >= MOST_ADDRESSES
                && let Some(oldest) = oldest.map(|(address, _)| *address)
            {
                self.0.remove(&oldest);
            }
        }
        let times = self.0.entry(address).or_default();
        times.retain(|time| counts(*time, now));
        times.push(now);
    }

    /// Forgets them, since the right one came.
    pub fn forgive(&mut self, address: ClientNetwork) {
        self.0.remove(&address);
    }
}

fn counts(time: Instant, now: Instant) -> bool {
    now.duration_since(time) < WINDOW
}

#[cfg(test)]
mod tests {
    use super::{ClientNetwork, Failures, MOST, MOST_ADDRESSES, WINDOW};
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Instant;

    #[test]
    fn ten_in_an_hour_are_too_many() {
        let mut failures = Failures::default();
        let (now, address) = (Instant::now(), IpAddr::from([192, 0, 2, 1]).into());
        for _ in 0..MOST {
            assert!(!failures.are_too_many(address, now));
            failures.note(address, now);
        }
        assert!(failures.are_too_many(address, now));
        assert!(!failures.are_too_many(address, now + WINDOW));
        failures.forgive(address);
        assert!(!failures.are_too_many(address, now));
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_room() {
        let mut failures = Failures::default();
        let now = Instant::now();
        for number in 0..MOST_ADDRESSES as u32 + 10 {
            let address = IpAddr::from(Ipv4Addr::from_bits(number));
            failures.note(ClientNetwork::from(address), now);
        }
        assert_eq!(failures.0.len(), MOST_ADDRESSES);
    }
}
