//! How many connections there may be, in all and from one address.
//!
//! When all places are taken, whoever holds most of them loses the oldest of
//! his, so that no crowd of slow clients keeps others out.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use tokio::task::AbortHandle;

/// Connections at once; each costs a few tens of kilobytes.
const CONNECTIONS_MAX: usize = 512;
/// Connections at once from one IPv4 address or one IPv6 /64.
const CONNECTIONS_FROM_ONE_MAX: usize = 32;
/// What one customer of a provider has of IPv6 (RFC 6177).
const PREFIX_BITS: u32 = 64;

struct Held {
    from: IpAddr,
    task: AbortHandle,
}

/// Every open connection, oldest first.
#[derive(Default)]
pub struct Connections {
    held: BTreeMap<u64, Held>,
    next: u64,
}

impl Connections {
    /// Whether another one from there fits; a trusted proxy speaks for many clients.
    pub fn has_room_for(&self, address: IpAddr, is_proxy: bool) -> bool {
        let from = counted_as(address);
        is_proxy
            || self.held.values().filter(|held| held.from == from).count()
                < CONNECTIONS_FROM_ONE_MAX
    }

    /// The number that the next one gets.
    pub fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Notes a connection, and ends another one when there are too many.
    pub fn add(&mut self, number: u64, address: IpAddr, task: AbortHandle) {
        let from = counted_as(address);
        self.held.insert(number, Held { from, task });
        if self.held.len() > CONNECTIONS_MAX
            && let Some(victim) = self.victim()
            && let Some(held) = self.held.remove(&victim)
        {
            held.task.abort();
        }
    }

    /// Forgets a connection that ended.
    pub fn remove(&mut self, number: u64) {
        self.held.remove(&number);
    }

    /// The oldest connection of the address with the most.
    fn victim(&self) -> Option<u64> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for held in self.held.values() {
            *counts.entry(held.from).or_default() += 1;
        }
        let most = counts.values().max()?;
        self.held
            .iter()
            .find(|(_, held)| counts.get(&held.from) == Some(most))
            .map(|(number, _)| *number)
    }
}

fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let prefix = u128::MAX << (u128::BITS - PREFIX_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & prefix))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CONNECTIONS_FROM_ONE_MAX, CONNECTIONS_MAX, Connections};
    use std::net::{IpAddr, Ipv4Addr};

    #[tokio::test(flavor = "current_thread")]
    async fn one_address_has_its_share_and_crowds_make_room() {
        let mut connections = Connections::default();
        let add = |connections: &mut Connections, address: IpAddr| {
            let number = connections.next_number();
            let task = tokio::spawn(std::future::pending::<()>());
            connections.add(number, address, task.abort_handle());
            (number, task)
        };
        let first: IpAddr = "2001:db8::1".parse().unwrap();
        for _ in 0..CONNECTIONS_FROM_ONE_MAX {
            assert!(connections.has_room_for(first, false));
            add(&mut connections, first);
        }
        let near: IpAddr = "2001:db8::ffff".parse().unwrap();
        assert!(!connections.has_room_for(near, false));
        assert!(connections.has_room_for(near, true));
        assert!(connections.has_room_for("2001:db8:0:1::1".parse().unwrap(), false));
        let crowd = (0..).map(|number| IpAddr::V4(Ipv4Addr::from_bits(number / 31)));
        for address in crowd.take(CONNECTIONS_MAX - CONNECTIONS_FROM_ONE_MAX) {
            add(&mut connections, address);
        }
        let (good, _task) = add(&mut connections, "198.51.100.1".parse().unwrap());
        assert_eq!(connections.held.len(), CONNECTIONS_MAX);
        assert!(
            connections.has_room_for(near, false),
            "the largest group gave way"
        );
        connections.remove(good);
        assert_eq!(connections.held.len(), CONNECTIONS_MAX - 1);
    }
}
