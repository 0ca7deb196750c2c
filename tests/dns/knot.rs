//! Knot with zones that a test changes while it runs.
//!
//! <https://www.knot-dns.cz/docs/3.4/singlehtml/>

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::world::network::{OUTSIDE_DNS, OUTSIDE_DNS6, OUTSIDE_SERVERS};
use crate::world::process::{Process, last_lines, run};
use crate::world::wait::until;
use crate::world::{peers, query};

/// Name of the name server that every zone has.
pub const SERVER: &str = "a.nic.example.";
/// Name of a second one, at the second address.
pub const SECOND: &str = "b.nic.example.";
/// Name of the key that may change zones.
pub const KEY: &str = "mailimg-key";
/// The key.
pub const SECRET: &str = "c2VjcmV0IG9mIG91ciBvd24gdGVzdHMgb25seSE=";
/// How long loading may take.
const LIMIT: Duration = Duration::from_secs(20);

/// A running Knot.
pub struct Knot {
    folder: TempDir,
    address: IpAddr,
    /// DS records of the signed zones, in their order.
    pub keys: Vec<String>,
    _server: Process,
}

impl Knot {
    /// Serves these zones, by name with the last dot; each value holds the records besides SOA and NS.
    pub fn start(
        addresses: &[IpAddr],
        zones: &BTreeMap<String, Vec<String>>,
        signed: &[&str],
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let place = folder.path().display();
        let listen: Vec<String> = addresses
            .iter()
            .map(|address| format!("{address}@53"))
            .collect();
        let mut text = format!(
            "server:\n    rundir: \"{place}\"\n    listen: [ {} ]\n\
             log:\n  - target: stderr\n    any: info\n\
             database:\n    storage: \"{place}\"\n    journal-db-max-size: 64M\n    kasp-db-max-size: 16M\n    timer-db-max-size: 16M\n\
             key:\n  - id: {KEY}\n    algorithm: hmac-sha256\n    secret: {SECRET}\n\
             acl:\n  - id: ours\n    key: {KEY}\n    action: update\n\
             policy:\n  - id: ours\n    algorithm: ecdsap256sha256\n    single-type-signing: on\n    manual: on\n\
             template:\n  - id: default\n    zonefile-load: difference-no-serial\n    zonefile-sync: -1\n    journal-content: all\n    acl: ours\n\
             zone:\n",
            listen.join(", ")
        );
        for name in zones.keys() {
            text.push_str(&format!(
                "  - domain: \"{name}\"\n    file: \"{}\"\n",
                file(folder.path(), name)
            ));
            // The root's policy is no better than any other's; it takes no changes.
            if signed.contains(&name.as_str()) {
                text.push_str("    dnssec-signing: on\n    dnssec-policy: ours\n");
            }
        }
        std::fs::write(folder.path().join("knot.conf"), text)?;
        let mut zones = zones.clone();
        let mut keys = Vec::new();
        for name in signed {
            let mut keymgr = control(folder.path(), "keymgr")?;
            run(keymgr.args([
                name,
                "generate",
                "algorithm=ecdsap256sha256",
                "ksk=yes",
                "zsk=yes",
            ]))?;
            let text = run(control(folder.path(), "keymgr")?.args([name, "ds"]))?;
            // One line a digest type; 2 is SHA-256 (RFC 4509).
            let record = text
                .lines()
                .find(|line| line.split_whitespace().nth(4) == Some("2"))
                .context("reading a DS record")?;
            keys.push(record.to_owned());
            if *name != "." {
                let parent = match name.split_once('.') {
                    Some((_, parent)) if !parent.is_empty() => parent,
                    _ => ".",
                };
                zones
                    .get_mut(parent)
                    .context("looking for a parent zone")?
                    .push(record.to_owned());
            }
        }
        for (name, records) in &zones {
            write_zone(folder.path(), name, records)?;
        }
        let log = folder.path().join("knot.log");
        let mut server = Process::start(&mut control(folder.path(), "knotd")?, &log)?;
        until("the name server", LIMIT, || {
            server.check_running()?;
            let served = zones
                .keys()
                .all(|zone| matches!(query::soa_serial(addresses[0], zone), Ok(Some(_))));
            Ok(served.then_some(()))
        })
        .with_context(|| last_lines(&log))?;
        Ok(Self {
            folder,
            address: addresses[0],
            keys,
            _server: server,
        })
    }

    /// Replaces the records of a zone and returns when they are served.
    pub fn replace(&self, zone: &str, records: &[String]) -> Result<()> {
        let before = self.serial(zone)?;
        write_zone(self.folder.path(), zone, records)?;
        run(control(self.folder.path(), "knotc")?.args(["-b", "zone-reload", zone]))?;
        until("the changed zone", LIMIT, || {
            Ok((self.serial(zone)? != before).then_some(()))
        })
        .with_context(|| last_lines(&self.folder.path().join("knot.log")))
    }

    /// Has the parent of a zone below `example.` list a key that the zone does not have.
    pub fn break_chain(&self, zone: &str) -> Result<()> {
        let path = file(self.folder.path(), "example.");
        let text = std::fs::read_to_string(&path)?;
        let broken: Vec<String> = text
            .lines()
            .map(|line| match line.rsplit_once(' ') {
                Some((start, digest)) if line.starts_with(&format!("{zone} DS ")) => {
                    format!("{start} {}", "0".repeat(digest.len()))
                }
                _ => line.to_owned(),
            })
            // What `replace` writes by itself.
            .skip(4)
            .collect();
        self.replace("example.", &broken)
    }

    /// The serial of a zone, which every change raises.
    pub fn serial(&self, zone: &str) -> Result<u32> {
        query::soa_serial(self.address, zone)?.with_context(|| format!("{zone} is not served"))
    }

    /// What is served of a zone, as text.
    pub fn dump(&self, zone: &str) -> Result<String> {
        run(control(self.folder.path(), "knotc")?.args(["zone-read", zone]))
    }
}

/// The addresses of the first name server.
pub fn first() -> Vec<IpAddr> {
    vec![OUTSIDE_DNS.into(), OUTSIDE_DNS6.into()]
}

/// The address of the second.
pub fn second() -> IpAddr {
    OUTSIDE_SERVERS[0].into()
}

/// Root, parents and empty zones that a world needs.
pub fn empty_zones(names: &[&str]) -> BTreeMap<String, Vec<String>> {
    let addresses = [
        format!("{SERVER} A {OUTSIDE_DNS}"),
        format!("{SERVER} AAAA {OUTSIDE_DNS6}"),
        format!("{SECOND} A {}", second()),
    ];
    let mut zones: BTreeMap<String, Vec<String>> = [".", "example."]
        .iter()
        .map(|name| ((*name).to_owned(), addresses.to_vec()))
        .collect();
    zones
        .get_mut(".")
        .into_iter()
        .for_each(|root| root.push(format!("example. NS {SERVER}")));
    for name in names {
        let parent = if name.ends_with(".example.") {
            "example."
        } else {
            "."
        };
        zones
            .get_mut(parent)
            .into_iter()
            .for_each(|zone| zone.push(format!("{name} NS {SERVER}")));
        zones.insert((*name).to_owned(), Vec::new());
    }
    zones
}

fn control(folder: &Path, program: &str) -> Result<Command> {
    let mut command = peers::program(program)?;
    command.arg("-c").arg(folder.join("knot.conf"));
    Ok(command)
}

fn file(folder: &Path, name: &str) -> String {
    let stem = if name == "." {
        "root"
    } else {
        name.trim_end_matches('.')
    };
    folder.join(format!("{stem}.zone")).display().to_string()
}

fn write_zone(folder: &Path, name: &str, records: &[String]) -> Result<()> {
    let text = format!(
        "$ORIGIN {name}\n$TTL 60\n@ SOA {SERVER} hostmaster.example. 1 3600 600 86400 1\n@ NS {SERVER}\n{}\n",
        records.join("\n")
    );
    let path = file(folder, name);
    std::fs::write(&path, text).with_context(|| format!("writing {path}"))
}
