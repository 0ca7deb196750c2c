//! Name servers that do not do their work: silent, lame, of another opinion.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::knot::{Knot, second};
use super::site::{check, dns, empty_server, machine, printed_zones};
use crate::world::network;

const WOMBAT: &str = "wombat.example.";
const SERVERS: &str = "servers wombat.example wrong required";
/// Far below the limit of a check; a silent server is waited for once.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn bad_name_servers_are_named_and_hang_nothing() -> Result<()> {
    network::inside(
        "servers::bad_name_servers_are_named_and_hang_nothing",
        || {
            let machine = machine("")?;
            let knot = empty_server()?;
            let zones = printed_zones(&machine)?;
            for (zone, records) in &zones {
                knot.replace(zone, records)?;
            }
            let with_second = |more: &[&str]| -> Vec<String> {
                let more = more.iter().map(|&record| record.to_owned());
                let records = zones[WOMBAT].iter().cloned();
                records
                    .chain(["@ NS b.nic.example.".to_owned()])
                    .chain(more)
                    .collect()
            };
            knot.replace(WOMBAT, &with_second(&[]))?;

            // One that takes questions and never answers.
            let silent = UdpSocket::bind(SocketAddr::new(second(), 53))?;
            let started = Instant::now();
            let checked = check(&machine)?;
            let (bad, text) = (checked.bad(), checked.json.to_string());
            ensure!(checked.code == 1 && bad == [SERVERS], "{bad:?}");
            ensure!(
                text.contains("b.nic.example does not answer (198.18.0.26)"),
                "{text}"
            );
            ensure!(started.elapsed() < SOON, "it took {:?}", started.elapsed());
            drop(silent);

            // One that does not have the zone.
            let lame = Knot::start(
                &[second()],
                &BTreeMap::from([("other.example.".to_owned(), Vec::new())]),
                &[],
            )?;
            let checked = check(&machine)?;
            let (bad, text) = (checked.bad(), checked.json.to_string());
            ensure!(checked.code == 1 && bad == [SERVERS], "{bad:?}");
            ensure!(
                text.contains("b.nic.example refuses to answer for this zone"),
                "{text}"
            );
            drop(lame);

            // One that has another version of it.
            let mut other = with_second(&[]);
            other.retain(|line| !line.starts_with("wombat.example. 3600 IN MX"));
            let differing = Knot::start(
                &[second()],
                &BTreeMap::from([(WOMBAT.to_owned(), other)]),
                &[],
            )?;
            let checked = check(&machine)?;
            let (bad, text) = (checked.bad(), checked.json.to_string());
            ensure!(
                checked.code == 1 && bad == ["mx wombat.example missing required"],
                "{bad:?}"
            );
            ensure!(
                text.contains("the name servers differ")
                    && text.contains("b.nic.example say nothing"),
                "{text}"
            );
            drop(differing);
            Ok(())
        },
    )
}

#[test]
fn what_does_not_fit_a_packet_comes_over_tcp() -> Result<()> {
    network::inside("servers::what_does_not_fit_a_packet_comes_over_tcp", || {
        let machine = machine("")?;
        let knot = empty_server()?;
        for (zone, mut records) in printed_zones(&machine)? {
            let text = "x".repeat(250);
            if zone == WOMBAT {
                records.extend((0..40).map(|number| format!("@ TXT \"{number} {text}\"")));
            }
            knot.replace(&zone, &records)?;
        }
        let checked = check(&machine)?;
        ensure!(
            checked.code == 0 && checked.bad().is_empty(),
            "{:?}",
            checked.bad()
        );
        Ok(())
    })
}

#[test]
fn a_dead_resolver_is_no_verdict() -> Result<()> {
    network::inside("servers::a_dead_resolver_is_no_verdict", || {
        let machine = machine("")?;
        let checked = check(&machine)?;
        let all_unknown = checked.json["checks"].as_array().is_some_and(|checks| {
            !checks.is_empty() && checks.iter().all(|check| check["verdict"] == "cannot-tell")
        });
        ensure!(checked.code == 1 && all_unknown, "{:?}", checked.bad());
        ensure!(
            checked
                .json
                .to_string()
                .contains("the resolver at 198.18.0.53:53 does not answer")
        );
        // Printing does without DNS.
        let (code, text, _) = dns(&machine, &["records", "--zone", "koala.example"])?;
        ensure!(
            code == 0 && text.contains("$ORIGIN koala.example.\n"),
            "{text}"
        );
        Ok(())
    })
}
