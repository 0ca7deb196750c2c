//! Build script: makes cargo notice new files in the folders that the program embeds,
//! and writes down which crates are compiled into it.
//!
//! It must not print or write anything that depends on where the sources lie,
//! since `mailctl` has to come out the same from any folder.

use std::collections::BTreeSet;
use std::env::var;
use std::path::Path;
use std::process::Command;
use std::{fs, str};

fn main() {
    for path in [
        "recipes",
        "overlay",
        "units",
        "src/build.rs",
        "Cargo.toml",
        "Cargo.lock",
    ] {
        println!("cargo::rerun-if-changed={path}");
    }
    let folder = var("OUT_DIR").expect("cargo sets OUT_DIR");
    let text = linked_crates();
    fs::write(Path::new(&folder).join("crates"), text).expect("writing the list of crates");
}

/// Crates that are linked, a line each: name, version, SHA-256, licence, by tabs.
///
/// Cargo.lock alone does not tell them from those for tests, other systems and
/// the compiler's own plug-ins; cargo does.
fn linked_crates() -> String {
    let cargo = var("CARGO").expect("cargo sets CARGO");
    let target = var("TARGET").expect("cargo sets TARGET");
    let output = Command::new(cargo)
        .args(["tree", "--locked", "--offline", "--target", &target])
        .args(["--edges", "normal,no-proc-macro", "--prefix", "none"])
        .args(["--no-dedupe", "--format", "{p}\t{l}"])
        .output()
        .expect("running cargo tree");
    assert!(
        output.status.success(),
        "cargo tree failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lock = fs::read_to_string("Cargo.lock").expect("reading Cargo.lock");
    let own = var("CARGO_PKG_NAME").expect("cargo sets CARGO_PKG_NAME");
    let mut lines = BTreeSet::new();
    for line in str::from_utf8(&output.stdout).expect("UTF-8").lines() {
        let (package, licence) = line.split_once('\t').unwrap_or((line, ""));
        let mut words = package.split(' ');
        let name = words.next().unwrap_or_default();
        let version = words.next().unwrap_or_default().trim_start_matches('v');
        if name != own {
            let checksum = checksum(&lock, name, version);
            lines.insert(format!("{name}\t{version}\t{checksum}\t{licence}\n"));
        }
    }
    lines.into_iter().collect()
}

/// The SHA-256 that Cargo.lock has of a crate's archive.
fn checksum<'a>(lock: &'a str, name: &str, version: &str) -> &'a str {
    let head = format!("name = \"{name}\"\nversion = \"{version}\"\n");
    let table = lock
        .split("[[package]]\n")
        .find(|table| table.starts_with(&head))
        .unwrap_or_default();
    let line = table
        .lines()
        .find_map(|line| line.strip_prefix("checksum = \""));
    line.map_or("", |value| value.trim_end_matches('"'))
}
