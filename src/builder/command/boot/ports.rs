//! Which ports of the machine are reachable on localhost, and where.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::Result;

use crate::error::hinted;

/// A port that the image serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Name as in `/etc/services`.
    pub name: &'static str,
    /// Port in the machine.
    pub port: u16,
    /// Port on localhost that is tried first.
    pub preferred: u16,
}

/// Every port the image may serve, mail first.
pub const SERVICES: [Service; 9] = [
    service("smtp", 25, 2525),
    service("imap", 143, 2143),
    service("submissions", 465, 2465),
    service("submission", 587, 2587),
    service("imaps", 993, 2993),
    service("sieve", 4190, 4190),
    service("http", 80, 8080),
    service("https", 443, 8443),
    service("ssh", 22, 2222),
];

const fn service(name: &'static str, port: u16, preferred: u16) -> Service {
    Service {
        name,
        port,
        preferred,
    }
}

/// How many ports after the preferred one are tried: room for several machines.
const PORTS_TRIED: u16 = 20;

/// A service and its port on localhost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// What is forwarded.
    pub service: Service,
    /// Port on localhost.
    pub host_port: u16,
}

/// Finds a free port on localhost for every service.
pub fn choose_forwards() -> Result<Vec<Forward>> {
    let mut taken = Vec::new();
    SERVICES
        .into_iter()
        .map(|service| {
            let host_port = (service.preferred..service.preferred + PORTS_TRIED)
                .find(|port| !taken.contains(port) && is_free(*port))
                .ok_or_else(|| {
                    hinted(
                        format!(
                            "forwarding {}: ports {} to {} of localhost are in use",
                            service.name,
                            service.preferred,
                            service.preferred + PORTS_TRIED - 1
                        ),
                        "end other machines or programs that listen there",
                    )
                })?;
            taken.push(host_port);
            Ok(Forward { service, host_port })
        })
        .collect()
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The table that a person reads before the machine starts.
pub fn render_forwards(forwards: &[Forward]) -> String {
    let mut text = format!(
        "{:<12} {:<16} {}\n",
        "service", "on this host", "in the machine"
    );
    for forward in forwards {
        let here = format!("localhost:{}", forward.host_port);
        text.push_str(&format!(
            "{:<12} {here:<16} {}\n",
            forward.service.name, forward.service.port
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Forward, SERVICES, choose_forwards, is_free, render_forwards};
    use std::net::{Ipv4Addr, TcpListener};

    #[test]
    fn a_port_in_use_is_passed_over() {
        let first = choose_forwards().unwrap();
        let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, first[0].host_port)).unwrap();
        assert!(!is_free(first[0].host_port));
        let second = choose_forwards().unwrap();
        assert_ne!(first[0].host_port, second[0].host_port);
        let mut ports: Vec<u16> = second.iter().map(|forward| forward.host_port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), SERVICES.len());
    }

    #[test]
    fn the_table_reads_by_column() {
        let forwards = SERVICES.map(|service| Forward {
            service,
            host_port: service.preferred,
        });
        assert_eq!(
            render_forwards(&forwards[..3]),
            "service      on this host     in the machine\n\
             smtp         localhost:2525   25\n\
             imap         localhost:2143   143\n\
             submissions  localhost:2465   465\n"
        );
    }
}
