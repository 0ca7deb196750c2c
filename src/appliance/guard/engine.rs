//! In a container: addresses behind which its engine hides every client.
//!
//! A proxy of the engine (docker's userland proxy, rootless networks) connects in place of
//! the client, from the gateway of the container's network or from an address of the
//! container itself. To ban such an address would shut everybody out, and nothing can be
//! learnt of who guesses. On a machine there is no such address.
//!
//! Formats: <https://man7.org/linux/man-pages/man5/proc_pid_net.5.html>, and of the files of
//! IPv6 `Documentation/networking/ipv6.rst` of the kernel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::rules::ClientNetwork;
use crate::appliance::machine::place::Place;

/// Confined services see these, and nothing above them.
const ROUTES: &str = "/proc/self/net/route";
const ROUTES_6: &str = "/proc/self/net/ipv6_route";
const ADDRESSES: &str = "/proc/self/net/fib_trie";
const ADDRESSES_6: &str = "/proc/self/net/if_inet6";

/// Whether clients at this address may be anybody.
pub fn hides_clients(place: &Place, address: ClientNetwork) -> bool {
    if !place.is_container() {
        return false;
    }
    let files = [ROUTES, ROUTES_6, ADDRESSES, ADDRESSES_6]
        .map(|path| std::fs::read_to_string(place.path(path)).unwrap_or_default());
    let [routes, routes_6, own, own_6] = &files;
    let mut hidden = gateways(routes)
        .map(IpAddr::from)
        .chain(gateways_6(routes_6).map(IpAddr::from))
        .chain(addresses(own).map(IpAddr::from))
        .chain(addresses_6(own_6).map(IpAddr::from));
    hidden.any(|hidden| ClientNetwork::from(hidden) == address)
}

/// Gateways of default routes: destination and gateway are the second and third column, in
/// the byte order of this processor.
fn gateways(routes: &str) -> impl Iterator<Item = Ipv4Addr> {
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    routes.lines().filter_map(move |line| {
        let mut columns = line.split_whitespace().skip(1);
        let (destination, gateway) = (number(columns.next()?)?, number(columns.next()?)?);
        (destination == 0 && gateway != 0).then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    })
}

/// The same for IPv6: destination and its length come first, the gateway is the fifth column.
fn gateways_6(routes: &str) -> impl Iterator<Item = Ipv6Addr> {
    routes.lines().filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [destination, length, _, _, gateway, ..] = columns[..] else {
            return None;
        };
        let is_default = length == "00" && address_6(destination)?.is_unspecified();
        address_6(gateway).filter(|gateway| is_default && !gateway.is_unspecified())
    })
}

/// Addresses of the container: each stands above a line that says so.
fn addresses(trie: &str) -> impl Iterator<Item = Ipv4Addr> {
    let lines = trie.lines().zip(trie.lines().skip(1));
    lines
        .filter(|(_, below)| below.trim() == "/32 host LOCAL")
        .filter_map(|(line, _)| line.trim().strip_prefix("|-- ")?.parse().ok())
        .filter(|address: &Ipv4Addr| !address.is_loopback())
}

fn addresses_6(table: &str) -> impl Iterator<Item = Ipv6Addr> {
    table
        .lines()
        .filter_map(|line| address_6(line.split_whitespace().next()?))
        .filter(|address| !address.is_loopback())
}

fn address_6(text: &str) -> Option<Ipv6Addr> {
    u128::from_str_radix(text, 16).ok().map(Ipv6Addr::from_bits)
}

#[cfg(test)]
mod tests {
    use super::hides_clients;
    use crate::appliance::machine::place::{CONTAINER, Place};

    fn container() -> (tempfile::TempDir, Place) {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let write = |path: &str, text: &str| {
            let path = place.path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        // A container on podman's network 10.88.0.0/16, with 10.88.0.7 and fd00:88::7.
        write(
            "/proc/self/net/route",
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
             eth0\t00000000\t0100580A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
             eth0\t0000580A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n",
        );
        write(
            "/proc/self/net/ipv6_route",
            "fd000088000000000000000000000000 40 00000000000000000000000000000000 00 \
             00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0\n\
             00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
             fd000089000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n",
        );
        write(
            "/proc/self/net/fib_trie",
            "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     \
             +-- 10.88.0.0/16 2 0 2\n        |-- 10.88.0.0\n           /16 link UNICAST\n        \
             |-- 10.88.0.7\n           /32 host LOCAL\n        |-- 10.88.255.255\n           \
             /32 link BROADCAST\n",
        );
        write(
            "/proc/self/net/if_inet6",
            "00000000000000000000000000000001 01 80 10 80       lo\n\
             fd000088000000000000000000000007 02 40 00 80     eth0\n",
        );
        (folder, place)
    }

    #[test]
    fn gateway_and_own_addresses_hide_clients_in_a_container_only() {
        let (_folder, place) = container();
        let hides = |address: &str| hides_clients(&place, address.parse().unwrap());
        assert!(!hides("10.88.0.1"), "on a machine");
        std::fs::create_dir_all(place.path(CONTAINER)).unwrap();
        for hidden in ["10.88.0.1", "10.88.0.7", "fd00:89::1", "fd00:88::7"] {
            assert!(hides(hidden), "{hidden}");
        }
        for client in [
            "10.88.0.2",
            "10.88.255.255",
            "192.0.2.7",
            "2001:db8::1",
            "::1",
        ] {
            assert!(!hides(client), "{client}");
        }
    }
}
