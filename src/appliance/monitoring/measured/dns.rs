//! `mailctl measure-dns`: whether the records are as they should be, as `mailctl dns check` says.

use super::Measure;
use crate::appliance::dns::address::find_addresses;
use crate::appliance::dns::check::check_records;
use crate::appliance::dns::facts::gather_facts;
use crate::appliance::machine::place::Place;
use crate::appliance::monitoring::configuration;
use crate::appliance::monitoring::metrics::exposition::{Samples, number};
use crate::appliance::wire::serve::{BLOCKING_THREADS, start_runtime};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Most records that are shown: those of a hundred domains.
const MOST_SHOWN: usize = 1000;

/// How it is measured.
pub const DNS: Measure = Measure {
    name: "dns",
    longest_age: 3 * 3600,
};

/// What is read of a report; pages show all of it.
#[derive(Debug, Deserialize)]
struct Found {
    checks: Vec<Check>,
}

#[derive(Debug, Deserialize)]
struct Check {
    check: String,
    of: String,
    need: String,
    verdict: String,
}

/// Where the check asks.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct DnsOptions {
    /// The resolver.
    #[arg(long, hide = true, default_value = "127.0.0.1:53")]
    resolver: SocketAddr,
}

/// Measures them; what DNS says is no error.
pub fn measure_dns(place: &Place, options: &DnsOptions) -> Result<String> {
    DNS.run(place, || {
        let settings = configuration::load(place).context("looking for settings")?;
        let addresses = find_addresses(place, &settings, &[], None)?;
        let facts = gather_facts(place, &settings, addresses)?;
        start_runtime(BLOCKING_THREADS)?.block_on(check_records(facts, options.resolver))
    })
}

/// Adds what was measured, and says whether it is recent.
pub fn show_dns(place: &Place, samples: &mut Samples) -> bool {
    let Some(measured) = DNS.recent::<Found>(place) else {
        return false;
    };
    let at = number(u64::try_from(measured.at).unwrap_or_default());
    samples.add("mailimg_dns_check_timestamp_seconds", &[], at);
    // Several records of a kind are one, which is good when all of them are.
    let mut rows: BTreeMap<[String; 3], bool> = BTreeMap::new();
    for check in measured.found.checks {
        let is_good = check.verdict == "ok";
        let row = rows
            .entry([check.of, check.check, check.need])
            .or_insert(true);
        *row &= is_good;
    }
    for ([domain, record, need], is_good) in rows.iter().take(MOST_SHOWN) {
        let value = if *is_good { 1.0 } else { 0.0 };
        samples.add("mailimg_dns_check", &[domain, record, need], value);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::show_dns;
    use crate::appliance::machine::clock::now;
    use crate::appliance::machine::place::Place;
    use crate::appliance::monitoring::metrics::exposition::Samples;

    #[test]
    fn records_of_a_kind_are_one() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let path = folder.path().join("run/mailimg-measure-dns");
        std::fs::create_dir_all(&path).unwrap();
        let check = |check, verdict| {
            format!(
                "{{\"check\":\"{check}\",\"of\":\"a.example\",\"name\":\"x\",\"need\":\"required\",\"verdict\":\"{verdict}\"}}"
            )
        };
        let checks = [
            check("mx", "ok"),
            check("dkim", "ok"),
            check("dkim", "missing"),
        ]
        .join(",");
        let text = format!(
            "{{\"at\":{},\"seconds\":1.0,\"found\":{{\"ok\":false,\"checks\":[{checks}]}}}}",
            now()
        );
        std::fs::write(path.join("figures.json"), text).unwrap();
        let mut samples = Samples::default();
        assert!(show_dns(&place, &mut samples));
        let text = samples.text();
        for line in [
            "mailimg_dns_check{domain=\"a.example\",record=\"mx\",need=\"required\"} 1",
            "mailimg_dns_check{domain=\"a.example\",record=\"dkim\",need=\"required\"} 0",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}: {text}");
        }
    }
}
