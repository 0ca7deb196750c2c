//! Another version on a running machine: kept when mail goes on, and given up when it does
//! not start. What tests with both firmwares share; and every way in which a version may
//! fail, for ci/full.

mod cuts;
mod scheduled;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mailimg::builder::command::boot::credentials::{Credential, SETTINGS_NAME};

use super::boots_and_delivers::IMAGE;
use super::disk::Disk;
use super::install::STATE;
use super::machine::{BOOT_LIMIT, Machine, Start};
use super::site::{DOMAIN, HOST_NAME, Site};
use super::ssh::SshKey;
use crate::world::network::inside;
use crate::world::process::run as run_program;
use crate::world::wait::until;

/// The newer image's version.
pub const NEWER: &str = "99.0";
/// Three tries and the way back.
const BACK_LIMIT: Duration = Duration::from_secs(4 * BOOT_LIMIT.as_secs());
/// What the kernel says when a block of the root is not what was sealed.
const VERITY_PANIC: &str = "Kernel panic - not syncing: dm-verity device corrupted";
const VERSION: &str = "sed -n 's/^IMAGE_VERSION=//p' /etc/os-release";
/// Where EROFS keeps its superblock, which every mount reads.
const SUPERBLOCK_OFFSET: u64 = 1024;

/// An image of the same packages with another version.
pub fn build_newer(folder: &Path) -> Result<PathBuf> {
    build(Path::new("."), folder, NEWER)
}

/// An image of the recipes, overlay and units of one folder, in another one.
fn build(resources: &Path, folder: &Path, version: &str) -> Result<PathBuf> {
    let out = folder.join("out");
    // As ci/image does it: what is the same in both images does not travel.
    std::fs::create_dir_all(folder)?;
    let agent = folder.join("mailctl");
    run_program(
        Command::new("strip")
            .arg("-o")
            .args([&agent, Path::new(env!("CARGO_BIN_EXE_mailctl"))]),
    )?;
    let said = run_program(
        Command::new(env!("CARGO_BIN_EXE_mailimg"))
            .current_dir(resources)
            .args(["build", "--offline", "--locked"])
            .args(["--image-version", version])
            .arg("--agent")
            .arg(&agent)
            .arg("--output-dir")
            .arg(&out),
    )
    .with_context(|| format!("building version {version}"))?;
    println!("{said}");
    Ok(out.join(format!("mail_{version}.raw")))
}

/// Sends an image to the machine, which restarts and keeps it.
pub fn upgrade(machine: &Machine, key: &SshKey, image: &Path) -> Result<()> {
    let before = key.run(machine.address(), VERSION)?;
    let said = run_program(&mut command(machine, key, image)?)?;
    println!("{said}");
    ensure!(
        said.contains(&format!("healthy on {NEWER}")),
        "from {before}: {said}"
    );
    let status = key.run(machine.address(), "mailctl status")?;
    ensure!(
        status.contains(&format!("Image        {NEWER},")) && !status.contains("Upgrade"),
        "{status}"
    );
    Ok(())
}

/// `mailimg upgrade`, which waits until it is known how it went.
fn command(machine: &Machine, key: &SshKey, image: &Path) -> Result<Command> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailimg"));
    command
        .arg("upgrade")
        .arg(format!("ssh://root@{}", machine.address()))
        .arg(image)
        .args(["--reboot", "--ssh", &key.command_line()?]);
    Ok(command)
}

/// Leaves one try of three to what is on trial, for boot loaders of either firmware.
const SPEND_TWO_TRIES: &str = "\
    set -e; mkdir /run/esp; mount /dev/vda1 /run/esp; cd /run/esp/EFI/Linux; \
    set -- *+3.efi; mv \"$1\" \"${1%+3.efi}+1-2.efi\"; cd /; \
    environment=$(find /run/esp -name grubenv); grep -q ^tries=3 $environment; \
    sed s/^tries=3/tries=1/ $environment > /run/grubenv; cp /run/grubenv $environment; \
    umount /run/esp";

/// Goes back to the version before, whose root is damaged meanwhile: the machine returns to
/// the present one with nobody's help after so many tries, and says so.
///
/// With one try, two of the three are spent beforehand: each takes an emulated machine two
/// minutes.
pub fn comes_back(machine: &Machine, key: &SshKey, tries: usize) -> Result<()> {
    let address = machine.address();
    let boot_id = "cat /proc/sys/kernel/random/boot_id";
    let before = key.run(address, boot_id)?;
    let version = key.run(address, VERSION)?;
    key.run(
        address,
        &format!(
            "mailctl rollback && dd if=/dev/urandom of=/dev/vda3 bs=1 count=64 \
             seek={SUPERBLOCK_OFFSET} conv=notrunc status=none && sync"
        ),
    )?;
    if tries == 1 {
        key.run(address, SPEND_TWO_TRIES)?;
    }
    let began = Instant::now();
    let panics_before = machine.serial_text().matches(VERITY_PANIC).count();
    let _ = key.output(address, "systemctl reboot")?;
    until("the version before", BACK_LIMIT, || {
        let output = key.output(address, boot_id)?;
        Ok((output.status.success() && output.stdout != before.as_bytes()).then_some(()))
    })?;
    let panics = machine.serial_text().matches(VERITY_PANIC).count() - panics_before;
    ensure!(
        panics == tries,
        "{panics} of {tries} tries ended in a panic"
    );
    ensure!(key.run(address, VERSION)? == version);
    let status = until("the end of the trial", BOOT_LIMIT, || {
        let status = key.run(address, "mailctl status")?;
        Ok(status.contains("did not prove itself").then_some(status))
    })?;
    println!(
        "a damaged root: back, {tries} tries, {:.1} s\n{status}",
        began.elapsed().as_secs_f64()
    );
    // The owner is told, who is postmaster here.
    until("mail to the owner", BOOT_LIMIT, || {
        let found = "grep -rl 'went back to version' /var/vmail/mail/inboxes | wc -l";
        Ok((key.run(address, found)?.trim() != "0").then_some(()))
    })
}

/// A version that does not work.
struct Bad {
    what: &'static str,
    /// Spoils a copy of recipes, overlay and units.
    spoil: fn(&Path) -> Result<()>,
    /// What the machine says of it.
    why: &'static str,
}

/// What the old version says of one that left no word.
const SILENT: &str = "left no word";

/// Every way to fail that an image can bring along.
const BAD: [Bad; 7] = [
    Bad {
        what: "dead Postfix",
        spoil: |folder| mask(folder, "postfix.service"),
        why: "Connection refused",
    },
    Bad {
        what: "dead Dovecot",
        spoil: |folder| mask(folder, "dovecot.service"),
        why: "imap: ",
    },
    Bad {
        what: "dead signer",
        spoil: |folder| mask(folder, "opendkim.service"),
        why: "opendkim: ",
    },
    Bad {
        what: "a kernel that panics",
        spoil: |folder| {
            let words = "command_line = \"rdinit=/none init=/none ";
            edit(folder, "recipes/mail.toml", "command_line = \"", words)
        },
        why: SILENT,
    },
    Bad {
        what: "an initrd that lacks a module",
        spoil: |folder| edit(folder, "recipes/mail.toml", "    \"erofs\",\n", ""),
        why: SILENT,
    },
    Bad {
        what: "an initrd that hangs",
        spoil: |folder| {
            let units = "units/initrd/usr/lib/systemd/system";
            // Fifteen minutes are too long for a test.
            let trial = format!("{units}/mailimg-trial.service");
            edit(folder, &trial, "RuntimeMaxSec=15min", "RuntimeMaxSec=90s")?;
            let hang = "[Unit]\nDefaultDependencies=no\nBefore=initrd-root-fs.target\n\
                        [Service]\nType=oneshot\nExecStart=sleep infinity\n\
                        TimeoutStartSec=infinity\n[Install]\nRequiredBy=initrd-root-fs.target\n";
            std::fs::write(folder.join(units).join("mailimg-hang.service"), hang)?;
            Ok(())
        },
        why: SILENT,
    },
    Bad {
        what: "a /var that cannot be mounted",
        spoil: |folder| {
            let script = "units/initrd/usr/libexec/mailimg/mount-var";
            edit(folder, script, "mount -t ext4", "mount -t xfs")
        },
        why: SILENT,
    },
];

fn mask(folder: &Path, unit: &str) -> Result<()> {
    let path = folder.join("units/masked");
    let text = std::fs::read_to_string(&path)?;
    Ok(std::fs::write(path, format!("{text}{unit}  a test\n"))?)
}

fn edit(folder: &Path, file: &str, from: &str, to: &str) -> Result<()> {
    let path = folder.join(file);
    let text = std::fs::read_to_string(&path)?;
    ensure!(text.contains(from), "{file} has no {from:?}");
    Ok(std::fs::write(path, text.replacen(from, to, 1))?)
}

#[test]
#[ignore = "some twenty boots, for ci/full"]
fn uefi_comes_back_from_everything() -> Result<()> {
    come_back_from_everything("upgrade::uefi_comes_back_from_everything", false)
}

#[test]
#[ignore = "some twenty boots, for ci/full"]
fn bios_comes_back_from_everything() -> Result<()> {
    come_back_from_everything("upgrade::bios_comes_back_from_everything", true)
}

fn come_back_from_everything(name: &str, bios: bool) -> Result<()> {
    let Some(image) = std::env::var_os(IMAGE).map(PathBuf::from) else {
        println!("skipped: {IMAGE} names no image");
        return Ok(());
    };
    inside(name, || try_all(&image, bios))
}

fn try_all(image: &Path, bios: bool) -> Result<()> {
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
        bios,
        ..Start::default()
    };
    let (mut machine, _disk) = Machine::start_serving(|| Disk::over(image), &start, &[25])?;
    machine.wait_for_ssh(&key, BOOT_LIMIT)?;
    let address = machine.address();
    key.run(address, "mailctl health && echo kept > /var/vmail/proof")?;
    let state = key.run(address, STATE)?;
    let version = key.run(address, VERSION)?;
    for (number, bad) in BAD.iter().enumerate() {
        let folder = tempfile::tempdir_in("/var/tmp")?;
        for resources in ["recipes", "overlay", "units"] {
            run_program(
                Command::new("cp")
                    .args(["-r", resources])
                    .arg(folder.path()),
            )?;
        }
        (bad.spoil)(folder.path())?;
        let spoilt = build(folder.path(), folder.path(), &format!("{NEWER}.{number}"))?;
        let began = Instant::now();
        let output = command(&machine, &key, &spoilt)?.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        println!(
            "{}: {:.0} s, {}",
            bad.what,
            began.elapsed().as_secs_f64(),
            said.lines().last().unwrap_or_default()
        );
        ensure!(
            said.contains("came back on") && said.contains(bad.why),
            "{}: {said}{}",
            bad.what,
            String::from_utf8_lossy(&output.stdout)
        );
        key.run(address, "mailctl health")?;
        ensure!(key.run(address, VERSION)? == version && key.run(address, STATE)? == state);
    }
    // The other slot has a version that was kept, and another one comes into its place.
    let folder = tempfile::tempdir_in("/var/tmp")?;
    upgrade(&machine, &key, &build_newer(folder.path())?)?;
    comes_back(&machine, &key, 3)?;
    machine.cut_power()
}
