//! Our own DNS: a signed root and signed zones below it, all served by one Knot.
//!
//! Knot signs by itself (<https://www.knot-dns.cz/docs/3.4/singlehtml/#automatic-dnssec-signing>);
//! keys are made first, so that each parent's zone file carries its children's
//! DS records from the start. No zone lies below a name that resolvers answer
//! themselves (RFC 6761, RFC 6303), `test.` among them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mailimg::builder::command::boot::credentials::Credential;
use tempfile::TempDir;

use crate::world::network::{GATEWAY, GATEWAY6, OUTSIDE_DNS, OUTSIDE_DNS6};
use crate::world::peers;
use crate::world::process::{Process, run};
use crate::world::query;
use crate::world::wait::until;

/// Name of the only name server.
const SERVER: &str = "a.nic.example.";
/// Credential that replaces a machine's root hints and trust anchor.
const CREDENTIAL: &str = "mailimg.dns";
/// Name, algorithm and secret of the key that may change zones (RFC 8945).
pub const UPDATE_KEY: (&str, &str, &str) = (
    "machine.wombat.example",
    "hmac-sha256",
    "bm90IG11Y2ggb2YgYSBzZWNyZXQgYXQgYWxsLCByZWFsbHk=",
);
/// How long signing and loading may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A zone as a test writes it.
#[derive(Clone, Debug)]
pub struct Zone {
    /// Full name with the last dot.
    pub name: String,
    /// Records as in a zone file, names relative to the zone.
    pub records: Vec<String>,
}

impl Zone {
    /// A zone and its records; SOA, NS and delegations are added.
    pub fn new(name: &str, records: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            records: records.iter().map(|&record| record.to_owned()).collect(),
        }
    }

    fn contains(&self, name: &str) -> bool {
        self.name != name && (self.name == "." || name.ends_with(&format!(".{}", self.name)))
    }

    fn file(&self, folder: &Path) -> PathBuf {
        let stem = if self.name == "." {
            "root"
        } else {
            self.name.trim_end_matches('.')
        };
        folder.join(format!("{stem}.zone"))
    }
}

/// A running name server.
pub struct Dns {
    folder: TempDir,
    zones: Vec<Zone>,
    trust_anchor: String,
    replaced: u32,
    _server: Process,
}

impl Dns {
    /// Signs and serves the root and these zones, of which none may be the root.
    pub fn start(zones: Vec<Zone>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let address_records = [
            format!("{SERVER} A {OUTSIDE_DNS}"),
            format!("{SERVER} AAAA {OUTSIDE_DNS6}"),
        ];
        let mut zones: Vec<Zone> = std::iter::once(Zone::new(".", &[])).chain(zones).collect();
        // The root carries the server's addresses as glue, their own zone as records.
        for zone in &mut zones {
            if zone.name == "." || zone.name == "example." {
                zone.records.extend(address_records.iter().cloned());
            }
        }
        std::fs::write(
            folder.path().join("knot.conf"),
            configuration(folder.path(), &zones),
        )?;

        let mut anchors = Vec::new();
        for zone in &zones {
            let mut keymgr = control(folder.path(), "keymgr")?;
            run(keymgr.args([
                &zone.name,
                "generate",
                "algorithm=ecdsap256sha256",
                "ksk=yes",
                "zsk=yes",
            ]))?;
            let text = run(control(folder.path(), "keymgr")?.args([&zone.name, "ds"]))?;
            // One line a digest type; 2 is SHA-256 (RFC 4509).
            let record = text
                .lines()
                .find(|line| line.split_whitespace().nth(4) == Some("2"))
                .with_context(|| format!("reading the DS record of {}: {text:?}", zone.name))?;
            anchors.push((zone.name.clone(), record.to_owned()));
        }
        let trust_anchor = anchors[0].1.clone();
        for (name, record) in &anchors[1..] {
            let parent = zones
                .iter_mut()
                .filter(|zone| zone.contains(name))
                .max_by_key(|zone| zone.name.len())
                .context("looking for a parent zone")?;
            parent.records.push(format!("{name} NS {SERVER}"));
            parent.records.push(record.clone());
        }
        for zone in &zones {
            write_zone(folder.path(), zone)?;
        }

        let log = folder.path().join("knot.log");
        let mut server = Process::start(&mut control(folder.path(), "knotd")?, &log)?;
        until("the name server", LIMIT, || {
            server.check_running()?;
            let served = zones
                .iter()
                .all(|zone| matches!(query::soa_serial(address(), &zone.name), Ok(Some(_))));
            Ok(served.then_some(()))
        })
        .with_context(|| crate::world::process::last_lines(&log))?;
        Ok(Self {
            folder,
            zones,
            trust_anchor,
            replaced: 0,
            _server: server,
        })
    }

    /// Where the root server is, in the format of a zone file.
    pub fn root_hints(&self) -> String {
        format!(
            ". 3600000 IN NS {SERVER}\n{SERVER} 3600000 IN A {OUTSIDE_DNS}\n{SERVER} 3600000 IN AAAA {OUTSIDE_DNS6}\n"
        )
    }

    /// The root's DS record, in the format of a zone file.
    pub fn trust_anchor(&self) -> String {
        self.trust_anchor.replacen(". DS ", ". 3600 IN DS ", 1) + "\n"
    }

    /// Tells a machine to trust this root.
    pub fn credential(&self) -> Credential {
        let value = serde_json::json!({
            "root_hints": self.root_hints(),
            "trust_anchor": self.trust_anchor(),
        });
        Credential::new(CREDENTIAL, value.to_string())
    }

    /// Adds a record to a zone and returns when it is served.
    pub fn add(&mut self, zone_name: &str, record: &str) -> Result<()> {
        let record = record.trim_end().to_owned();
        self.zone_mut(zone_name)?.records.push(record);
        self.reload(zone_name)
    }

    /// Lets a zone have these records and no others (but SOA, NS and delegations),
    /// each as a line of a zone file, and returns when they are served. What came
    /// by updates is gone.
    pub fn replace(&mut self, zone_name: &str, records: &[&str]) -> Result<()> {
        let inner: Vec<String> = self
            .zones
            .iter()
            .filter(|zone| zone.name != zone_name && zone.name.ends_with(zone_name))
            .map(|zone| format!("{} ", zone.name))
            .collect();
        // Without any change a zone keeps its serial, and nobody knows that it was read.
        let number = self.replaced + 1;
        self.replaced = number;
        let zone = self.zone_mut(zone_name)?;
        zone.records
            .retain(|record| inner.iter().any(|name| record.starts_with(name.as_str())));
        zone.records
            .extend(records.iter().map(|record| record.trim_end().to_owned()));
        zone.records
            .push(format!("replaced.{zone_name} 5 TXT \"{number}\""));
        self.reload(zone_name)
    }

    /// What a zone holds now, as Knot tells it.
    pub fn zone_text(&self, zone_name: &str) -> Result<String> {
        run(control(self.folder.path(), "knotc")?.args(["zone-read", zone_name]))
    }

    fn zone_mut(&mut self, zone_name: &str) -> Result<&mut Zone> {
        self.zones
            .iter_mut()
            .find(|zone| zone.name == zone_name)
            .with_context(|| format!("looking for zone {zone_name}"))
    }

    fn reload(&mut self, zone_name: &str) -> Result<()> {
        let before = query::soa_serial(address(), zone_name)?;
        let folder = self.folder.path().to_owned();
        write_zone(&folder, self.zone_mut(zone_name)?)?;
        run(control(&folder, "knotc")?.args(["zone-reload", zone_name]))?;
        until("the changed zone", LIMIT, || {
            Ok((query::soa_serial(address(), zone_name)? != before).then_some(()))
        })
    }

    /// What delv says of a name when it trusts nothing but our root.
    pub fn validate(&self, name: &str, kind: &str) -> Result<String> {
        let words: Vec<&str> = self.trust_anchor.split_whitespace().collect();
        let &[.., tag, algorithm, digest_type, digest] = words.as_slice() else {
            bail!("reading the trust anchor {:?}", self.trust_anchor);
        };
        let path = self.folder.path().join("trust-anchors");
        std::fs::write(
            &path,
            format!(
                "trust-anchors {{ . static-ds {tag} {algorithm} {digest_type} \"{digest}\"; }};\n"
            ),
        )?;
        run(peers::program("delv")?
            .args(["-a", &path.to_string_lossy(), "+root=."])
            .args([format!("@{OUTSIDE_DNS}"), name.to_owned(), kind.to_owned()]))
    }
}

/// Where tests ask.
pub fn address() -> IpAddr {
    OUTSIDE_DNS.into()
}

/// One of Knot's programs with our configuration.
fn control(folder: &Path, program: &str) -> Result<Command> {
    let mut command = peers::program(program)?;
    command.arg("-c").arg(folder.join("knot.conf"));
    Ok(command)
}

fn configuration(folder: &Path, zones: &[Zone]) -> String {
    let place = folder.display();
    let (key, algorithm, secret) = UPDATE_KEY;
    let mut text = format!(
        r#"server:
    rundir: "{place}"
    listen: [ {OUTSIDE_DNS}@53, {OUTSIDE_DNS6}@53, {GATEWAY}@53, {GATEWAY6}@53 ]
log:
  - target: stderr
    any: info
database:
    storage: "{place}"
    journal-db-max-size: 64M
    kasp-db-max-size: 16M
    timer-db-max-size: 16M
key:
  - id: {key}
    algorithm: {algorithm}
    secret: {secret}
acl:
  - id: update
    key: {key}
    action: update
policy:
  - id: ours
    algorithm: ecdsap256sha256
    single-type-signing: on
    manual: on
    # A machine whose clock is moved on still believes them.
    rrsig-lifetime: 400d
    rrsig-refresh: 10d
template:
  - id: default
    dnssec-signing: on
    dnssec-policy: ours
    zonefile-load: difference-no-serial
    zonefile-sync: -1
    journal-content: all
    acl: update
zone:
"#
    );
    for zone in zones {
        text.push_str(&format!(
            "  - domain: \"{}\"\n    file: \"{}\"\n",
            zone.name,
            zone.file(folder).display()
        ));
    }
    text
}

fn write_zone(folder: &Path, zone: &Zone) -> Result<()> {
    let text = format!(
        "$ORIGIN {}\n$TTL 60\n@ SOA {SERVER} hostmaster.example. 1 3600 600 86400 60\n@ NS {SERVER}\n{}\n",
        zone.name,
        zone.records.join("\n")
    );
    let path = zone.file(folder);
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}
