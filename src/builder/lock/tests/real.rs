//! The resolver beside apt, on Debian's real indexes.
//!
//! Not run by default: it needs a folder laid out like a mirror, with the
//! InRelease and `Packages.xz` of trixie and trixie-updates under `debian` and
//! of trixie-security under `debian-security`, not older than a week:
//!
//! ```text
//! REAL_MIRROR=FOLDER REAL_PACKAGES='postfix unbound' \
//!     cargo test --lib beside_apt -- --ignored --nocapture
//! ```
//!
//! It fails when apt, given the same indexes, an empty system and no
//! Recommends, would install other names or versions.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

use super::{listed, recipe};
use crate::builder::archive::index::{Field, read_index};
use crate::builder::fetch::{Check, Fetch, Object};
use crate::builder::lock::make_lock;
use crate::builder::progress::Progress;

const SUITES: [&str; 3] = ["trixie", "trixie-updates", "trixie-security"];

/// Addresses that are paths.
struct Folder;

impl Fetch for Folder {
    fn document(&self, urls: &[String], _: u64, check: Check<'_>) -> Result<Vec<u8>> {
        let bytes = std::fs::read(&urls[0])?;
        check(&bytes)?;
        Ok(bytes)
    }

    fn kept(&self, _: &[String]) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn objects(&self, objects: &[Object]) -> Result<Vec<PathBuf>> {
        // The last address is the plain one.
        Ok(objects
            .iter()
            .map(|object| PathBuf::from(&object.urls[object.urls.len() - 1]))
            .collect())
    }
}

fn base(suite: &str) -> &'static str {
    match suite.ends_with("-security") {
        true => "debian-security",
        false => "debian",
    }
}

/// Names of the essential packages: apt leaves them out of an empty system.
fn essential(mirror: &str) -> Vec<String> {
    let path = format!("{mirror}/debian/dists/trixie/main/binary-amd64/Packages.xz");
    let mut plain = Vec::new();
    let mut decoder = liblzma::read::XzDecoder::new(std::fs::File::open(path).unwrap());
    std::io::Read::read_to_end(&mut decoder, &mut plain).unwrap();
    read_index(plain.as_slice(), plain.len() as u64, "amd64")
        .unwrap()
        .entries()
        .filter(|entry| entry.get(Field::Essential) == "yes")
        .map(|entry| entry.get(Field::Package).to_owned())
        .collect()
}

/// What apt would install, as `name version`.
fn simulate_apt(mirror: &str, folder: &Path, packages: &[String]) -> Result<BTreeSet<String>> {
    for part in ["state/lists/partial", "cache/archives/partial", "etc"] {
        std::fs::create_dir_all(folder.join(part))?;
    }
    std::fs::write(folder.join("status"), "")?;
    let sources: String = SUITES
        .iter()
        .map(|suite| {
            format!(
                "deb [trusted=yes] copy:{mirror}/{} {suite} main\n",
                base(suite)
            )
        })
        .collect();
    std::fs::write(folder.join("etc/sources.list"), sources)?;
    let root = folder.display();
    std::fs::write(
        folder.join("apt.conf"),
        format!(
            "Dir::State \"{root}/state\"; Dir::State::status \"{root}/status\";\n\
             Dir::Cache \"{root}/cache\"; Dir::Etc \"{root}/etc\"; Dir::Etc::parts \"none\";\n\
             Dir::Etc::main \"none\"; APT::Architecture \"amd64\"; APT::Architectures {{ \"amd64\"; }};\n\
             APT::Install-Recommends \"false\"; Acquire::Languages \"none\";\n\
             APT::Sandbox::User \"\"; Debug::NoLocking \"true\";\n"
        ),
    )?;
    let run = |arguments: &[String]| -> Result<String> {
        let output = Command::new("apt-get")
            .env("APT_CONFIG", folder.join("apt.conf"))
            .args(arguments)
            .output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    run(&["update".to_owned()])?;
    let mut arguments = vec!["-s".to_owned(), "install".to_owned()];
    arguments.extend_from_slice(packages);
    // `Inst NAME (VERSION SOURCE [ARCHITECTURE])`
    Ok(run(&arguments)?
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
            Some(format!("{name} {}", rest.split(' ').next()?))
        })
        .collect())
}

#[test]
#[ignore = "needs a copy of Debian's indexes, and apt"]
fn beside_apt() {
    let mirror = std::env::var("REAL_MIRROR").unwrap();
    let wanted = std::env::var("REAL_PACKAGES").unwrap();
    let wanted: Vec<&str> = wanted.split_whitespace().collect();
    let mut recipe = recipe(&SUITES, &wanted);
    for source in &mut recipe.sources {
        let base = base(&source.suite);
        source.mirrors = vec![format!("{mirror}/{base}")];
        source.keys = vec![base.replacen("debian", "debian-trixie", 1)];
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_secs()).unwrap();
    let started = Instant::now();
    let lock = make_lock(&recipe, &Folder, None, &[], now, &Progress::hidden())
        .map_err(|error| println!("{}", crate::error::render(&error)))
        .unwrap();
    println!(
        "{} packages in {:?}",
        lock.packages.len(),
        started.elapsed()
    );
    let ours: BTreeSet<String> = listed(&lock).lines().map(str::to_owned).collect();

    let folder = tempfile::tempdir().unwrap();
    let mut packages = essential(&mirror);
    packages.extend(wanted.iter().map(|name| (*name).to_owned()));
    let theirs = simulate_apt(&mirror, folder.path(), &packages).unwrap();
    let differences: Vec<String> = theirs
        .difference(&ours)
        .map(|line| format!("apt  {line}"))
        .chain(ours.difference(&theirs).map(|line| format!("ours {line}")))
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
