//! Another version on a running machine: kept when mail goes on, and given up when it does
//! not start. What tests with both firmwares share.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::machine::{BOOT_LIMIT, Machine};
use super::ssh::SshKey;
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
    let out = folder.join("out");
    // As ci/image does it: what is the same in both images does not travel.
    let agent = folder.join("mailctl");
    run_program(
        Command::new("strip")
            .arg("-o")
            .args([&agent, Path::new(env!("CARGO_BIN_EXE_mailctl"))]),
    )?;
    let said = run_program(
        Command::new(env!("CARGO_BIN_EXE_mailimg"))
            .args(["build", "--offline", "--locked", "--image-version", NEWER])
            .arg("--agent")
            .arg(&agent)
            .arg("--output-dir")
            .arg(&out),
    )
    .context("building a newer image")?;
    println!("{said}");
    Ok(out.join(format!("mail_{NEWER}.raw")))
}

/// Sends an image to the machine, which restarts and keeps it.
pub fn upgrade(machine: &Machine, key: &SshKey, image: &Path) -> Result<()> {
    let before = key.run(machine.address(), VERSION)?;
    let said = run_program(
        Command::new(env!("CARGO_BIN_EXE_mailimg"))
            .arg("upgrade")
            .arg(format!("ssh://root@{}", machine.address()))
            .arg(image)
            .args(["--reboot", "--ssh", &key.command_line()?]),
    )?;
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

/// Goes back to the version before, whose root is damaged meanwhile: the machine returns to
/// the present one with nobody's help, and says so.
pub fn comes_back(machine: &Machine, key: &SshKey) -> Result<()> {
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
    let began = Instant::now();
    let _ = key.output(address, "systemctl reboot")?;
    until("the version before", BACK_LIMIT, || {
        let output = key.output(address, boot_id)?;
        Ok((output.status.success() && output.stdout != before.as_bytes()).then_some(()))
    })?;
    let panics = machine.serial_text().matches(VERITY_PANIC).count();
    ensure!(panics == 3, "{panics} of three tries ended in a panic");
    ensure!(key.run(address, VERSION)? == version);
    let status = until("the end of the trial", BOOT_LIMIT, || {
        let status = key.run(address, "mailctl status")?;
        Ok(status.contains("did not prove itself").then_some(status))
    })?;
    println!(
        "a damaged root: back after three tries, {:.1} s\n{status}",
        began.elapsed().as_secs_f64()
    );
    // The owner is told, who is postmaster here.
    until("mail to the owner", BOOT_LIMIT, || {
        let found = "grep -rl 'went back to version' /var/vmail/mail/inboxes | wc -l";
        Ok((key.run(address, found)?.trim() != "0").then_some(()))
    })
}
