//! A machine with two domains, and name servers for them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::knot::{Knot, empty_zones, first};
use crate::world::machine::Machine;
use crate::world::network::OUTSIDE_DNS;

/// The machine's address.
pub const IPV4: &str = "198.18.0.30";
/// The same on IPv6.
pub const IPV6: &str = "2001:2::30";
/// Zones of the first domain, the second, and both families' addresses.
pub const ZONES: [&str; 4] = [
    "wombat.example.",
    "koala.example.",
    "18.198.in-addr.arpa.",
    "2.0.0.0.1.0.0.2.ip6.arpa.",
];
/// Nothing may take longer, whatever name servers do.
const LONGEST: Duration = Duration::from_secs(30);
const NEXT_KEY: &str = "ab12cd34ab12cd34ab12cd34ab12cd34ab12cd34ab12cd34ab12cd34ab12cd34";
/// A key that the machine had before.
pub const FORMER_KEY: &str = "fe12cd34ab12cd34ab12cd34ab12cd34ab12cd34ab12cd34ab12cd34ab12cd34";
const SETTINGS: &str =
    "DOMAIN=wombat.example\nHOSTNAME=mail.wombat.example\nADMIN_USER_INITIAL_PASSWORD=x\n";

/// Records of zones, by name with the last dot.
pub type Zones = BTreeMap<String, Vec<String>>;

/// A machine that has its keys and a certificate.
pub fn machine(more: &str) -> Result<Machine> {
    machine_of("koala.example", more)
}

/// The same with these domains beside the first one.
pub fn machine_of(domains: &str, more: &str) -> Result<Machine> {
    let machine = Machine::new();
    machine.put_esp(&format!("{SETTINGS}ADDITIONAL_DOMAINS={domains}\n{more}"));
    machine.boot();
    machine.run(&["dkim", "rotate", "wombat.example"]).success();
    // As if an authority had issued it.
    std::fs::remove_file(machine.path("var/lib/mailimg/tls/self-signed"))?;
    let folder = machine.path("var/lib/mailimg/acme");
    std::fs::create_dir_all(&folder)?;
    let public = serde_json::json!({
        "next_key": NEXT_KEY,
        "keys": [FORMER_KEY, NEXT_KEY],
        "account": "https://acme-v02.api.letsencrypt.org/acme/acct/1",
        "directory": "https://acme-v02.api.letsencrypt.org/directory",
    });
    std::fs::write(folder.join("public.json"), public.to_string())?;
    Ok(machine)
}

/// The name servers with empty zones; the first domain's is signed.
pub fn empty_server() -> Result<Knot> {
    Knot::start(&first(), &empty_zones(&ZONES), &["wombat.example."])
}

/// Runs `mailctl dns` with our addresses and name server; returns code, output and errors.
pub fn dns(machine: &Machine, words: &[&str]) -> Result<(i32, String, String)> {
    dns_by(machine, SocketAddr::new(OUTSIDE_DNS.into(), 53), words)
}

/// The same by another resolver.
pub fn dns_by(
    machine: &Machine,
    resolver: SocketAddr,
    words: &[&str],
) -> Result<(i32, String, String)> {
    let resolver = resolver.to_string();
    let mut all = vec!["dns"];
    all.extend(words);
    all.extend([
        "--address",
        IPV4,
        "--address",
        IPV6,
        "--resolver",
        &resolver,
    ]);
    let started = Instant::now();
    let output = machine.command(&all).output()?;
    ensure!(
        started.elapsed() < LONGEST,
        "{words:?} took {:?}",
        started.elapsed()
    );
    Ok((
        output.status.code().context("mailctl was killed")?,
        String::from_utf8(output.stdout)?,
        String::from_utf8(output.stderr)?,
    ))
}

/// What `--zone` prints, by zone.
pub fn printed_zones(machine: &Machine) -> Result<Zones> {
    let (code, text, errors) = dns(machine, &["records", "--zone"])?;
    ensure!(code == 0, "dns records failed: {errors}");
    let mut zones = Zones::new();
    let mut zone = String::new();
    for line in text.lines() {
        if let Some(origin) = line.strip_prefix("$ORIGIN ") {
            origin.clone_into(&mut zone);
        }
        // The very lines, comments and all, but for those before the first origin.
        if !zone.is_empty() {
            zones.entry(zone.clone()).or_default().push(line.to_owned());
        }
    }
    Ok(zones)
}

/// Records of a zone without those of these names and types, and with others.
pub fn changed(records: &[String], without: &[(&str, &str)], with: &[&str]) -> Vec<String> {
    let goes = |line: &String| {
        let words: Vec<&str> = line.split(' ').collect();
        without
            .iter()
            .any(|(name, kind)| words.first() == Some(name) && words.get(3) == Some(kind))
    };
    let gone = records.iter().filter(|line| goes(line)).count();
    assert!(gone >= without.len(), "nothing to take away of {without:?}");
    records
        .iter()
        .filter(|line| !goes(line))
        .cloned()
        .chain(with.iter().map(|&line| line.to_owned()))
        .collect()
}

/// The outcome of `dns check`.
pub struct Checked {
    /// Exit code.
    pub code: i32,
    /// Everything that was said.
    pub json: Value,
}

impl Checked {
    /// Checks that are not good: name of the check, record, verdict and need.
    pub fn bad(&self) -> Vec<String> {
        self.json["checks"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|check| check["verdict"] != "ok")
            .map(|check| {
                let word = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
                format!(
                    "{} {} {} {}",
                    word("check"),
                    word("name"),
                    word("verdict"),
                    word("need")
                )
            })
            .collect()
    }

    /// What is said and advised about a record, and what is expected; lines.
    pub fn words(&self, check: &str, name: &str) -> String {
        let found = self.json["checks"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|found| found["check"] == check && found["name"] == name);
        let list = |key: &str| -> Vec<String> {
            found
                .and_then(|found| found[key].as_array())
                .into_iter()
                .flatten()
                .filter_map(|line| line.as_str().map(str::to_owned))
                .collect()
        };
        let said = found.and_then(|found| found["said"].as_str());
        let mut lines = vec![said.unwrap_or_default().to_owned()];
        lines.extend(list("expected"));
        lines.extend(list("advice"));
        lines.join("\n")
    }
}

/// Runs the check.
pub fn check(machine: &Machine) -> Result<Checked> {
    check_by(machine, SocketAddr::new(OUTSIDE_DNS.into(), 53))
}

/// The same by another resolver.
pub fn check_by(machine: &Machine, resolver: SocketAddr) -> Result<Checked> {
    let (code, text, errors) = dns_by(machine, resolver, &["check", "--json"])?;
    let json = serde_json::from_str(&text).with_context(|| format!("reading {text}{errors}"))?;
    Ok(Checked { code, json })
}
