//! The power goes while a machine is upgraded, restarts, and keeps what it tried.
//!
//! One machine does all of it, and QEMU keeps what it wrote ([`super::super::write_log`]).
//! For each cut the disk is made as it may have been then: what was flushed is there, and any
//! of the sectors that were written after it. It starts for real, by the firmware, the boot
//! loader and Linux' driver for FAT, and serves mail as the old version or the new one.
//! The boot loaders are made to say that they are older before, so that they are renewed, too.
//! Which flush a cut follows is chosen among all of the upgrade, so that the few of the boot
//! partition and of the partition table have their share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use mailimg::builder::command::boot::credentials::{Credential, SETTINGS_NAME};
use mailimg::builder::command::boot::throw_away_disk::MINIMUM_DISK_BYTES;
use mailimg::format::bios::{CodeRecord, CorePlace};
use mailimg::format::boot_entry::LOADERS;
use mailimg::format::fat::Volume;
use mailimg::format::gpt::{SECTOR, TYPE_BIOS_BOOT, TYPE_ESP, read_gpt};
use mailimg::format::loader::loader_version;
use mailimg::format::storage::{Region, Storage};

use super::super::boots_and_delivers::IMAGE;
use super::super::disk::Disk;
use super::super::install::STATE;
use super::super::machine::{BOOT_LIMIT, Machine, Start};
use super::super::power_cut::{CUTS, Random, SEED, number};
use super::super::site::{DOMAIN, HOST_NAME, Site};
use super::super::ssh::SshKey;
use super::super::write_log::{Log, replay};
use super::{NEWER, VERSION, build_newer, upgrade};
use crate::world::network::inside;
use crate::world::process::run as run_program;
use crate::world::wait::until;

const USUAL_CUTS: u64 = 10;
/// What the machine has in `/var` before the upgrade.
const PROOF: &str = "/var/vmail/proof";

#[test]
#[ignore = "a boot for each cut, for ci/full"]
fn uefi_survives_power_cuts() -> Result<()> {
    survive("upgrade::cuts::uefi_survives_power_cuts", false)
}

#[test]
#[ignore = "a boot for each cut, for ci/full"]
fn bios_survives_power_cuts() -> Result<()> {
    survive("upgrade::cuts::bios_survives_power_cuts", true)
}

fn survive(name: &str, bios: bool) -> Result<()> {
    let Some(image) = std::env::var_os(IMAGE).map(PathBuf::from) else {
        println!("skipped: {IMAGE} names no image");
        return Ok(());
    };
    inside(name, || run(&image, bios))
}

/// The machine, and what it is before the upgrade.
struct World {
    site: Site,
    key: SshKey,
    /// Its disk.
    base: PathBuf,
    version: String,
    state: String,
    bios: bool,
}

fn run(image: &Path, bios: bool) -> Result<()> {
    let cuts = number(CUTS)?.unwrap_or(USUAL_CUTS);
    let seed = number(SEED)?.unwrap_or_else(rand::random);
    println!("{cuts} power cuts, {SEED}={seed}");
    let mut random = Random(seed);
    let folder = tempfile::Builder::new()
        .prefix("mailimg-power-")
        .tempdir_in("/var/tmp")?;
    let world = World::make(image, &folder.path().join("base.raw"), bios)?;
    let newer = build_newer(folder.path())?;
    let (disk, flushes) = world.record(&newer)?;
    let log = Log::read(disk.log()?)?;
    println!(
        "flush {} to {} of the log are the upgrade's",
        flushes,
        log.flushes()
    );

    let mut seen = BTreeMap::new();
    for cut in 1..=cuts {
        let after = flushes + random.next() as usize % (log.flushes() - flushes);
        // All, none, or one of a few shares of what was not flushed.
        let share = random.next() % 5;
        let path = folder.path().join("cut.raw");
        copy(&world.base, &path)?;
        log.cut(&path, after, || random.next() % 4 < share)?;
        let began = Instant::now();
        let version = world
            .starts(&path)
            .with_context(|| format!("cut {cut} of {SEED}={seed}, after flush {after}"))?;
        println!(
            "cut {cut}: after flush {after}, {share} of 4 sectors of the rest: {version}, {:.0} s",
            began.elapsed().as_secs_f64()
        );
        *seen.entry(version).or_insert(0) += 1;
    }
    println!("what was there after a cut: {seen:?}");
    Ok(())
}

impl World {
    /// Lets a machine start once and take its settings.
    fn make(image: &Path, base: &Path, bios: bool) -> Result<Self> {
        copy(image, base)?;
        let file = std::fs::File::options().write(true).open(base)?;
        file.set_len(MINIMUM_DISK_BYTES)?;
        let mut world = Self {
            site: Site::start()?,
            key: SshKey::make()?,
            base: base.to_owned(),
            version: String::new(),
            state: String::new(),
            bios,
        };
        let (mut machine, disk) =
            Machine::start_serving(|| Disk::logged(base), &world.start(), &[25])?;
        machine.wait_for_ssh(&world.key, BOOT_LIMIT)?;
        let said = |command: &str| world.key.run(machine.address(), command);
        said(&format!("mailctl health && echo kept > {PROOF}"))?;
        let (version, state) = (said(VERSION)?, said(STATE)?);
        machine.power_off()?;
        replay(disk.log()?, base)?;
        make_loaders_older(base)?;
        (world.version, world.state) = (version, state);
        Ok(world)
    }

    fn start(&self) -> Start {
        let settings = format!(
            "DOMAIN={DOMAIN}\nHOSTNAME={HOST_NAME}\nSSH_AUTHORIZED_KEYS={}\n",
            self.key.public
        );
        Start {
            credentials: vec![
                Credential::new(SETTINGS_NAME, settings),
                self.site.dns.credential(),
            ],
            bios: self.bios,
            ..Start::default()
        }
    }

    /// Upgrades a machine until the new version is kept. The number is of the flushes that
    /// came before.
    fn record(&self, newer: &Path) -> Result<(std::sync::Arc<Disk>, usize)> {
        let (mut machine, disk) =
            Machine::start_serving(|| Disk::logged(&self.base), &self.start(), &[25])?;
        machine.wait_for_ssh(&self.key, BOOT_LIMIT)?;
        self.key.run(machine.address(), "mailctl health && sync")?;
        let before = Log::read(disk.log()?)?.flushes();
        upgrade(&machine, &self.key, newer)?;
        until("the end of the trial", BOOT_LIMIT, || {
            let record = "grep -q 'loaders_done.: true' /var/lib/mailimg/upgrade.json";
            let output = self.key.output(machine.address(), record)?;
            Ok(output.status.success().then_some(()))
        })?;
        let said = "sync; journalctl --no-pager -b -u mailimg-bless";
        let said = self.key.run(machine.address(), said)?;
        println!("{said}");
        for loader in ["systemd-boot", "GRUB"] {
            let line = format!("The boot loader {loader} is ");
            ensure!(said.contains(&line), "{loader} was not renewed: {said}");
        }
        machine.cut_power()?;
        Ok((disk, before))
    }

    /// Starts a disk until it serves mail, and tells which version that is.
    fn starts(&self, disk: &Path) -> Result<String> {
        let (mut machine, _disk) =
            Machine::start_serving(|| Disk::over(disk), &self.start(), &[25, 143])?;
        machine.wait_for_ssh(&self.key, BOOT_LIMIT)?;
        let said = |command: &str| self.key.run(machine.address(), command);
        let version = said(VERSION)?.trim().to_owned();
        ensure!(
            version == self.version.trim() || version == NEWER,
            "{version} starts"
        );
        said(&format!("mailctl health && grep -q kept {PROOF}"))?;
        ensure!(said(STATE)? == self.state, "state was lost");
        until("the end of a trial", BOOT_LIMIT, || {
            let status = said("mailctl status")?;
            Ok((!status.contains("is on trial")).then_some(()))
        })?;
        // All of the root is what was sealed; a wrong block would panic.
        said("cat /dev/mapper/root >/dev/null")?;
        machine.cut_power()?;
        Ok(version)
    }
}

/// Makes both boot loaders say that they are older, for the upgrade to renew them.
fn make_loaders_older(disk: &Path) -> Result<()> {
    let file = std::fs::File::options().read(true).write(true).open(disk)?;
    let mut disk = &file;
    let table = read_gpt(&disk)?;
    let bios = table.find(&TYPE_BIOS_BOOT).context("finding GRUB")?;
    let [place, _] = CorePlace::both(bios);
    let record = CodeRecord {
        version: "1".to_owned(),
        ..CodeRecord::read(&disk, bios, place)?
    };
    let mut sector = record.to_text().into_bytes();
    sector.resize(SECTOR as usize, 0);
    disk.write_at(&sector, place.record * SECTOR)?;

    let esp = table
        .find(&TYPE_ESP)
        .context("finding the boot partition")?;
    for path in LOADERS {
        let mut region = Region::new(&mut disk, esp.offset(), esp.size())?;
        let mut volume = Volume::open(&mut region)?;
        let mut bytes = volume.read(path)?;
        let version = loader_version(&bytes).context("reading systemd-boot's version")?;
        let older = format!("0{}", &version[1..]);
        let length = version.len();
        for at in 0..bytes.len() - length {
            if bytes[at..at + length] == *version.as_bytes() {
                bytes[at..at + length].copy_from_slice(older.as_bytes());
            }
        }
        volume.replace_file(path, &bytes)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    run_program(
        Command::new("cp")
            .args(["--sparse=always", "--reflink=auto", "--"])
            .args([from, to]),
    )
    .map(drop)
}
