//! `mailimg install`: a machine gets a newer image and keeps its mail, accounts and keys.
//!
//! The disk is installed from nothing, runs, gets the newer image with `--keep-data`, runs,
//! and gets the older one again. Settings lie on the boot partition, where an install has
//! to carry them over. Run by hand and by ci/full: three boots of what other tests boot.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::boots_and_delivers::IMAGE;
use super::disk::Disk;
use super::machine::{BOOT_LIMIT, Machine, Start};
use super::site::{DOMAIN, HOST_NAME, Site};
use super::ssh::SshKey;
use super::upgrade::{NEWER, build_newer};
use crate::world::network::inside;
use crate::world::peers;
use crate::world::process::run as run_program;

/// A VPS's disk.
const DISK_BYTES: u64 = 8 << 30;
/// What must be the same whatever image runs: identity, keys, accounts, mail, settings.
pub const STATE: &str = "uname -n && cat /etc/machine-id /var/lib/mailimg/settings.env && \
    cd /var/lib/mailimg && find dkim dh tls ssh users -type f -exec sha256sum {} + | sort -k 2 && \
    cat /var/vmail/proof && mailctl user list";
const VERSION: &str = "sed -n 's/^IMAGE_VERSION=//p' /etc/os-release";
/// The partitions that the root is read from.
const SLOT: &str = "lsblk -nso KNAME,TYPE /dev/mapper/root | sed -n 's/^vda\\([0-9]*\\) .*/\\1/p'";

#[test]
#[ignore = "boots three times, for ci/full"]
fn a_newer_image_keeps_mail_accounts_and_keys() -> Result<()> {
    let Some(image) = std::env::var_os(IMAGE).map(PathBuf::from) else {
        println!("skipped: {IMAGE} names no image");
        return Ok(());
    };
    inside(
        "install::a_newer_image_keeps_mail_accounts_and_keys",
        || run(&image),
    )
}

fn run(image: &Path) -> Result<()> {
    let site = Site::start()?;
    let key = SshKey::make()?;
    let folder = tempfile::tempdir_in("/var/tmp")?;
    let newer = build_newer(folder.path())?;
    let settings = folder.path().join("settings.env");
    std::fs::write(
        &settings,
        format!(
            "DOMAIN={DOMAIN}\nHOSTNAME={HOST_NAME}\nSSH_AUTHORIZED_KEYS={}\n\
             ADMIN_USER_INITIAL_PASSWORD=correct-horse\n",
            key.public
        ),
    )?;
    let raw = folder.path().join("disk.raw");
    std::fs::File::create(&raw)?.set_len(DISK_BYTES)?;
    install(&[image, &raw, Path::new("--settings"), &settings])?;

    let first = boot(&site, &raw, &key, |machine| {
        let address = machine.address();
        key.run(
            address,
            &format!("mailctl user add anna@{DOMAIN} 'pa$$word'"),
        )?;
        key.run(address, "echo kept > /var/vmail/proof")?;
        Ok((key.run(address, STATE)?, key.run(address, VERSION)?))
    })?;
    ensure!(first.1.trim() != NEWER, "{first:?}");

    let keep = Path::new("--keep-data");
    for (which, expected, is_newer) in [(newer.as_path(), 'B', true), (image, 'A', false)] {
        let said = install(&[which, &raw, keep])?;
        ensure!(
            said.contains(&format!("slot {expected}, with the disk's settings")),
            "{said}"
        );
        let next = boot(&site, &raw, &key, |machine| {
            let address = machine.address();
            println!("{}", key.run(address, "mailctl status")?);
            Ok((key.run(address, STATE)?, key.run(address, VERSION)?))
        })?;
        ensure!(next.0 == first.0, "{}\n---\n{}", first.0, next.0);
        ensure!((next.1.trim() == NEWER) == is_newer, "{}", next.1);
    }
    Ok(())
}

fn install(arguments: &[&Path]) -> Result<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailimg"));
    let said = run_program(command.arg("install").args(arguments))?;
    println!("{said}");
    Ok(said)
}

/// Runs a machine from a raw disk until it was asked, and keeps what it wrote.
fn boot<T>(
    site: &Site,
    raw: &Path,
    key: &SshKey,
    ask: impl FnOnce(&Machine) -> Result<T>,
) -> Result<T> {
    let start = Start {
        credentials: vec![site.dns.credential()],
        ..Start::default()
    };
    let disk = Arc::new(Disk::over(raw)?);
    let mut machine = Machine::start(&disk, &start)?;
    machine.wait_for_ssh(key, BOOT_LIMIT)?;
    println!("power-on to ssh {:.1} s", machine.age().as_secs_f64());
    machine.wait_for_banner(25, BOOT_LIMIT)?;
    println!(
        "root and hashes on partitions {}",
        key.run(machine.address(), SLOT)?
            .trim()
            .replace('\n', " and ")
    );
    let answer = ask(&machine)?;
    machine.power_off()?;
    let began = Instant::now();
    let written = raw.with_extension("written");
    run_program(
        peers::program("qemu-img")?
            .args(["convert", "-O", "raw"])
            .args([disk.path(), &written]),
    )?;
    std::fs::rename(&written, raw)?;
    println!("disk copied in {:.1} s", began.elapsed().as_secs_f64());
    Ok(answer)
}
