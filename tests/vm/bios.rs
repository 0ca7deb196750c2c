//! The same image on a machine with legacy BIOS, in the least memory: up to the health gate,
//! to another version, and back from a damaged one.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use mailimg::builder::command::boot::credentials::{Credential, SETTINGS_NAME};

use super::boots_and_delivers::IMAGE;
use super::cloud::nothing_failed;
use super::disk::Disk;
use super::machine::{BOOT_LIMIT, Machine, Start};
use super::site::{DOMAIN, HOST_NAME, Site};
use super::small_guest::MEMORY_MIB;
use super::ssh::SshKey;
use super::upgrade;
use crate::world::network::inside;
use crate::world::wait::until;

#[test]
fn bios_starts_what_uefi_starts() -> Result<()> {
    let Some(image) = std::env::var_os(IMAGE).map(PathBuf::from) else {
        println!("skipped: {IMAGE} names no image");
        return Ok(());
    };
    inside("bios::bios_starts_what_uefi_starts", || run(&image))
}

fn run(image: &Path) -> Result<()> {
    let site = Site::start()?;
    let key = SshKey::make()?;
    let settings = format!(
        "DOMAIN={DOMAIN}\nHOSTNAME={HOST_NAME}\nSSH_AUTHORIZED_KEYS={}\n",
        key.public
    );
    let start = Start {
        credentials: vec![
            Credential::new(SETTINGS_NAME, settings),
            site.dns.credential(),
        ],
        bios: true,
        memory_mib: Some(MEMORY_MIB),
        ..Start::default()
    };
    let (mut machine, _disk) = Machine::start_serving(|| Disk::over(image), &start, &[25])?;
    machine.wait_for_ssh(&key, BOOT_LIMIT)?;
    until("the health gate", BOOT_LIMIT, || {
        let state = "systemctl is-active boot-complete.target || true";
        Ok((key.run(machine.address(), state)? == "active\n").then_some(()))
    })
    .with_context(|| {
        key.run(machine.address(), "systemctl list-jobs; mailctl health")
            .unwrap_or_default()
    })?;
    println!(
        "BIOS, power-on to the health gate with {MEMORY_MIB} MiB: {:.1} s",
        machine.age().as_secs_f64()
    );
    nothing_failed(machine.address(), &key)?;
    let firmware = key.run(machine.address(), "ls /sys/firmware")?;
    ensure!(!firmware.contains("efi"), "UEFI started it: {firmware}");

    let folder = tempfile::tempdir_in("/var/tmp")?;
    upgrade::upgrade(&machine, &key, &upgrade::build_newer(folder.path())?)?;
    upgrade::comes_back(&machine, &key, 1)?;
    nothing_failed(machine.address(), &key)?;
    machine.cut_power()
}
