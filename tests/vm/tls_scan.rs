//! A second opinion on TLS: testssl.sh (<https://testssl.sh>) against the ports
//! that mail comes and goes through. Under emulation it takes minutes, so it is
//! for ci/full, which installs it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use mailimg::builder::command::boot::credentials::{Credential, SETTINGS_NAME};
use serde_json::Value;

use super::boots_and_delivers::IMAGE;
use super::disk::Disk;
use super::machine::{Machine, Start};
use super::site::{DOMAIN, HOST_NAME, Site};
use crate::world::network::inside;
use crate::world::peers;

/// Debian's name for it.
const PROGRAM: &str = "testssl";
/// Ports and the protocol in which STARTTLS is asked for.
const PORTS: [(u16, Option<&str>); 3] = [(465, None), (993, None), (25, Some("smtp"))];
/// Protocols, categories of ciphers, forward secrecy, server defaults and
/// vulnerabilities; simulating clients and naming each cipher is left out.
const QUESTIONS: [&str; 5] = ["-p", "-s", "-f", "-S", "-U"];
/// Findings of these grades are errors.
const ERRORS: [&str; 3] = ["MEDIUM", "HIGH", "CRITICAL"];
/// What a self-signed certificate of a machine that no CA has seen is told for.
const CERTIFICATE: &str = "cert_";
/// The same by other names; and what a test that had no way out cannot say.
const NOT_TLS: [&str; 5] = [
    "DNS_CAArecord",
    "OCSP_stapling",
    "scanTime",
    "scanProblem",
    "engine_problem",
];
/// Protocols that may not be offered.
const OLD: [&str; 4] = ["SSLv2", "SSLv3", "TLS1", "TLS1_1"];

#[test]
#[ignore = "takes minutes and wants testssl.sh, for ci/full"]
fn tls_scan() -> Result<()> {
    let Some(image) = std::env::var_os(IMAGE).map(PathBuf::from) else {
        println!("skipped: {IMAGE} names no image");
        return Ok(());
    };
    inside("tls_scan::tls_scan", || run(&image))
}

fn run(image: &Path) -> Result<()> {
    let site = Site::start()?;
    let settings = format!(
        "DOMAIN={DOMAIN}\nHOSTNAME={HOST_NAME}\nADMIN_USER_INITIAL_PASSWORD=correct-horse\n"
    );
    let start = Start {
        credentials: vec![
            Credential::new(SETTINGS_NAME, settings),
            site.dns.credential(),
        ],
        ..Start::default()
    };
    let (machine, _) = Machine::start_serving(|| Disk::over(image), &start, &[25, 143])?;
    let mut bad = Vec::new();
    for (port, protocol) in PORTS {
        let started = Instant::now();
        let findings = scan(&machine, port, protocol)?;
        println!(
            "port {port}: {} findings in {:.0} s",
            findings.len(),
            started.elapsed().as_secs_f64()
        );
        for finding in &findings {
            let word = |key: &str| finding[key].as_str().unwrap_or_default();
            let (id, grade, said) = (word("id"), word("severity"), word("finding"));
            if !["OK", "INFO"].contains(&grade) {
                println!("    {grade:8} {id}: {said}");
            }
            let concerns_tls = !id.starts_with(CERTIFICATE) && !NOT_TLS.contains(&id);
            let is_old = OLD.contains(&id) && !said.contains("not offered");
            if is_old || (concerns_tls && ERRORS.contains(&grade)) {
                bad.push(format!("port {port}: {grade} {id}: {said}"));
            }
        }
        for protocol in OLD {
            if !findings.iter().any(|finding| finding["id"] == protocol) {
                bad.push(format!("port {port}: nothing is said of {protocol}"));
            }
        }
    }
    if bad.is_empty() {
        return machine.power_off();
    }
    bail!("testssl.sh finds:\n{}", bad.join("\n"))
}

fn scan(machine: &Machine, port: u16, protocol: Option<&str>) -> Result<Vec<Value>> {
    let folder = tempfile::tempdir()?;
    let report = folder.path().join("report.json");
    let mut command = peers::program(PROGRAM)?;
    command
        .args(["--quiet", "--color", "0", "--warnings", "off"])
        .args(["--nodns", "none", "--connect-timeout", "60"])
        .args(["--openssl-timeout", "60"])
        .args(QUESTIONS)
        .arg("--jsonfile")
        .arg(&report);
    if let Some(protocol) = protocol {
        command.args(["-t", protocol]);
    }
    // Its exit status counts findings; they are read below.
    let output = command
        .arg(format!("{}:{port}", machine.address()))
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running {PROGRAM}"))?;
    let text = std::fs::read_to_string(&report).with_context(|| {
        format!(
            "reading what {PROGRAM} wrote:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    serde_json::from_str(&text).with_context(|| format!("reading what {PROGRAM} wrote: {text}"))
}
