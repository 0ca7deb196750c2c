//! A machine that upgrades itself from a folder of a web server, in the sandbox of its unit
//! and with little memory: killed on the way, kept; then given a version that does not work.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use mailimg::builder::command::boot::credentials::{AUTHORITY_NAME, Credential, SETTINGS_NAME};

use super::super::boots_and_delivers::IMAGE;
use super::super::disk::Disk;
use super::super::machine::{BOOT_LIMIT, Machine, Start};
use super::super::site::{DOMAIN, HOST_NAME, Site};
use super::super::ssh::SshKey;
use super::{BACK_LIMIT, NEWER, VERSION, build, edit, mask};
use crate::world::folder_server::Server;
use crate::world::network::{OUTSIDE_AUTHORITY, inside};
use crate::world::process::run as run_program;
use crate::world::wait::until;

/// Version of the image that the machine begins with, and of one that does not work.
const OLDER: &str = "98.0";
const SPOILT: &str = "99.1";
/// The name of the web server.
const SERVER: &str = "acme.outside.example";
/// As small as a machine may be.
const MEMORY_MIB: u32 = 512;
/// Of packs, after which it is killed.
const KILLED_AFTER_BYTES: usize = 200_000;
const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";
const UNIT: &str = "mailimg-upgrade.service";

#[test]
#[ignore = "a dozen boots, for ci/full"]
fn a_machine_upgrades_itself() -> Result<()> {
    // It builds its own, with a key; the variable says that machines are wanted.
    if std::env::var_os(IMAGE).is_none() {
        println!("skipped: {IMAGE} names no image");
        return Ok(());
    }
    inside("upgrade::scheduled::a_machine_upgrades_itself", run)
}

/// The settings with a window that opened some hours ago and is open still.
fn settings(key: &SshKey, hours: u64) -> String {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let opened = (now - (12 + hours) * 3600) % 86_400;
    format!(
        "DOMAIN={DOMAIN}\nHOSTNAME={HOST_NAME}\nSSH_AUTHORIZED_KEYS={}\n\
         ACME_CA_FILE={AUTHORITY_NAME}\nUPDATE_SOURCE=https://{SERVER}/\n\
         UPDATE_SCHEDULE={:02}:{:02}\nUPDATE_WINDOW=23h\n",
        key.public,
        opened / 3600,
        opened / 60 % 60
    )
}

/// Recipes, overlay and units with a key for updates.
fn resources(folder: &Path, name: &str, keys: &str) -> Result<PathBuf> {
    let copy = folder.join(name);
    std::fs::create_dir(&copy)?;
    for resources in ["recipes", "overlay", "units"] {
        run_program(Command::new("cp").args(["-r", resources]).arg(&copy))?;
    }
    edit(
        &copy,
        "recipes/mail.toml",
        "# [update]\n# keys = [\"RW...\"]\n",
        keys,
    )?;
    Ok(copy)
}

fn run() -> Result<()> {
    let folder = tempfile::tempdir_in("/var/tmp")?;
    let folder = folder.path();
    let mailimg = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mailimg"));
        command.current_dir(folder);
        command
    };
    let said = run_program(mailimg().args(["key", "new"]))?;
    let (_, lines) = said.split_once("[update]").context("reading the key")?;
    let keys = format!("[update]{lines}");
    let good = resources(folder, "good", &keys)?;
    let older = build(&good, &folder.join("older"), OLDER)?;
    let newer = build(&good, &folder.join("newer"), NEWER)?;
    let served = folder.join("served");
    let sign = |image: &Path| {
        run_program(mailimg().arg("sign").arg(image).args([
            "--key",
            "update.key",
            "--into",
            "served",
        ]))
    };
    sign(&newer)?;

    let site = Site::start()?;
    let listener = TcpListener::bind((OUTSIDE_AUTHORITY, 443))?;
    let certificate = site.authority.issue(&[SERVER])?;
    let server = Server::on(listener, certificate.config, site.authority.pem(), served);
    let key = SshKey::make()?;
    let start = Start {
        credentials: vec![
            Credential::new(SETTINGS_NAME, settings(&key, 0)),
            Credential::new(AUTHORITY_NAME, site.authority.pem()),
            site.dns.credential(),
        ],
        memory_mib: Some(MEMORY_MIB),
        ..Start::default()
    };
    let (mut machine, _disk) = Machine::start_serving(|| Disk::over(&older), &start, &[25])?;
    machine.wait_for_ssh(&key, BOOT_LIMIT)?;
    let address = machine.address();
    key.run(address, "mailctl health")?;
    until("the time", BOOT_LIMIT, || {
        let synchronized = key.output(address, "test -e /run/systemd/timesync/synchronized")?;
        Ok(synchronized.status.success().then_some(()))
    })?;

    // Killed while it fetches, and started again as its timer would.
    let before = key.run(address, BOOT_ID)?;
    key.run(address, &format!("systemctl start --no-block {UNIT}"))?;
    until("the first bytes", BOOT_LIMIT, || {
        Ok((server.sent() > KILLED_AFTER_BYTES).then_some(()))
    })
    .with_context(|| told(&key, &machine))?;
    key.run(address, &format!("systemctl kill --signal=KILL {UNIT}"))?;
    println!("killed after {} bytes", server.sent());
    key.run(
        address,
        &format!("systemctl reset-failed {UNIT}; systemctl start --no-block {UNIT}"),
    )?;
    wait_for_another_boot(&key, &machine, &before)?;
    println!("the newer version in {} bytes", server.sent());
    ensure!(
        key.run(address, VERSION)?.trim() == NEWER,
        "{}",
        told(&key, &machine)
    );
    until("the end of the trial", BOOT_LIMIT, || {
        let status = key.run(address, "mailctl status")?;
        Ok((!status.contains("Upgrade ")).then_some(()))
    })
    .with_context(|| told(&key, &machine))?;
    wait_for_mail(&key, &machine, &format!("runs version {NEWER}"))?;

    // A version without Postfix, in the next window.
    let bad = resources(folder, "bad", &keys)?;
    mask(&bad, "postfix.service")?;
    sign(&build(&bad, &folder.join("spoilt"), SPOILT)?)?;
    let next_window = |hours| {
        key.run(
            address,
            &format!(
                "cat >/var/lib/mailimg/settings.env <<'END'\n{}END\nmailctl settings apply",
                settings(&key, hours)
            ),
        )
    };
    next_window(1)?;
    let before = key.run(address, BOOT_ID)?;
    key.run(address, &format!("systemctl start --no-block {UNIT}"))?;
    let bad_boot = wait_for_another_boot(&key, &machine, &before)?;
    until("the version before", BACK_LIMIT, || {
        let output = key.output(address, BOOT_ID)?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok((output.status.success() && text != bad_boot.as_str()).then_some(()))
    })?;
    ensure!(
        key.run(address, VERSION)?.trim() == NEWER,
        "{}",
        told(&key, &machine)
    );
    wait_for_mail(&key, &machine, "went back to version")?;
    next_window(2)?;
    key.run(address, &format!("systemctl start {UNIT}"))?;
    let last = told(&key, &machine);
    ensure!(last.contains("is not tried again by itself"), "{last}");
    key.run(address, "mailctl health")?;
    machine.cut_power()
}

/// What the unit said.
fn told(key: &SshKey, machine: &Machine) -> String {
    key.run(
        machine.address(),
        &format!("journalctl --no-pager -o cat -n 20 -u {UNIT}; mailctl status"),
    )
    .unwrap_or_else(|error| format!("{error:#}"))
}

fn wait_for_another_boot(key: &SshKey, machine: &Machine, before: &str) -> Result<String> {
    until("the next boot", 2 * BOOT_LIMIT, || {
        let output = key.output(machine.address(), BOOT_ID)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((output.status.success() && text != before).then_some(text))
    })
    .with_context(|| told(key, machine))
}

/// The owner is told, who is postmaster here.
fn wait_for_mail(key: &SshKey, machine: &Machine, words: &str) -> Result<()> {
    until(&format!("mail that says {words:?}"), BOOT_LIMIT, || {
        let found = format!("grep -rl '{words}' /var/vmail/mail/inboxes | wc -l");
        Ok((key.run(machine.address(), &found)?.trim() != "0").then_some(()))
    })
}
