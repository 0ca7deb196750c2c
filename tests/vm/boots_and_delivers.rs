//! The image from power-on to a message read: the test of the whole.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mailimg::builder::command::boot::credentials::{Credential, SETTINGS_NAME};

use super::disk::Disk;
use super::machine::{BOOT_LIMIT, Machine, Start};
use super::site::{DOMAIN, HOST_NAME, Site};
use super::smtp::{Account, submit};
use super::ssh::SshKey;
use super::{dkim, dns, imap, upgrade};
use crate::world::network::{CLIENTS, inside};

/// Names the image.
pub const IMAGE: &str = "MAILIMG_IMAGE";
/// From one mail server to another, both on this host.
const DELIVERY_LIMIT: Duration = Duration::from_secs(240);
/// Digests of all keys, and the machine's identity.
const IDENTITY: &str = "cat /etc/machine-id && cd /var/lib/mailimg && find dkim dh tls ssh -type f -exec sha256sum {} + | sort -k 2";

#[test]
fn boots_and_delivers() -> Result<()> {
    let Some(image) = std::env::var_os(IMAGE).map(PathBuf::from) else {
        println!("skipped: {IMAGE} names no image");
        return Ok(());
    };
    inside("boots_and_delivers::boots_and_delivers", || run(&image))
}

fn run(image: &Path) -> Result<()> {
    let mut site = Site::start()?;
    let key = SshKey::make()?;
    let disk = Arc::new(Disk::over(image)?);
    let start = Start {
        credentials: credentials(&site, &key),
        ..Start::default()
    };

    let mut machine = Machine::start(&disk, &start)?;
    machine.wait_for_banner(25, BOOT_LIMIT)?;
    println!(
        "first boot: power-on to SMTP banner {:.1} s",
        machine.age().as_secs_f64()
    );
    machine.wait_for_ssh(&key, BOOT_LIMIT)?;
    println!(
        "first boot: power-on to ssh {:.1} s",
        machine.age().as_secs_f64()
    );

    let anna = add_user(&machine, &key, "anna")?;
    let bert = add_user(&machine, &key, "bert")?;
    mail_between(&machine, &anna, &bert)?;
    mail_to_the_outside(&mut site, &machine, &key, &anna)?;
    root_is_sealed(&machine, &key)?;
    nothing_failed(&machine, &key)?;
    print_blame(&machine, &key)?;

    let identity = key.run(machine.address(), IDENTITY)?;
    let folder = tempfile::tempdir_in("/var/tmp")?;
    let began = Instant::now();
    upgrade::upgrade(&machine, &key, &upgrade::build_newer(folder.path())?)?;
    println!(
        "upgrade: built, sent, restarted and kept in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    machine.wait_for_banner(25, BOOT_LIMIT)?;
    ensure!(
        key.run(machine.address(), IDENTITY)? == identity,
        "machine-id or keys changed over an upgrade"
    );
    read_first_message(&machine, &bert)?;
    nothing_failed(&machine, &key)?;
    print_blame(&machine, &key)?;

    upgrade::comes_back(&machine, &key, 1)?;
    ensure!(key.run(machine.address(), IDENTITY)? == identity);
    read_first_message(&machine, &bert)?;
    nothing_failed(&machine, &key)?;
    site.check_running()?;
    // The journal was in the way of unmounting /var.
    ensure!(
        !machine.serial_text().contains("Failed unmounting"),
        "the machine did not go down cleanly"
    );
    machine.power_off()
}

/// What the machine is told: its settings, and our DNS instead of the world's.
fn credentials(site: &Site, key: &SshKey) -> Vec<Credential> {
    let settings = format!(
        "DOMAIN={DOMAIN}\nHOSTNAME={HOST_NAME}\nSSH_AUTHORIZED_KEYS={}\nADMIN_USER_INITIAL_PASSWORD=correct-horse\n",
        key.public
    );
    vec![
        Credential::new(SETTINGS_NAME, settings),
        site.dns.credential(),
    ]
}

fn add_user(machine: &Machine, key: &SshKey, name: &str) -> Result<Account> {
    let account = Account {
        address: format!("{name}@{DOMAIN}"),
        password: format!("{name}'s pa$$word;"),
    };
    let quoted = account.password.replace('\'', r"'\''");
    let said = key.run(
        machine.address(),
        &format!("mailctl user add {} '{quoted}'", account.address),
    )?;
    let expected = format!(
        "Created user '{}' with password provided.\n",
        account.address
    );
    ensure!(said == expected, "mailctl says {said:?}");
    Ok(account)
}

const FIRST_SUBJECT: &str = "first message";
const FIRST_TEXT: &str = "Good evening, Bert.";

fn mail_between(machine: &Machine, sender: &Account, recipient: &Account) -> Result<()> {
    submit(
        machine.address(),
        HOST_NAME,
        sender,
        &recipient.address,
        FIRST_SUBJECT,
        FIRST_TEXT,
    )?;
    let wrong = Account {
        password: "guessed".to_owned(),
        ..sender.clone()
    };
    let refused = submit(
        machine.address(),
        HOST_NAME,
        &wrong,
        &recipient.address,
        "no",
        "no",
    );
    ensure!(refused.is_err(), "a wrong password must be refused");
    read_first_message(machine, recipient)?;
    println!(
        "power-on to a message read {:.1} s",
        machine.age().as_secs_f64()
    );
    Ok(())
}

fn read_first_message(machine: &Machine, recipient: &Account) -> Result<()> {
    let client = IpAddr::from(CLIENTS[0]);
    let message = imap::wait_for_message(
        client,
        machine.address(),
        HOST_NAME,
        recipient,
        FIRST_SUBJECT,
    )?;
    ensure!(message.contains(FIRST_TEXT), "{message}");
    Ok(())
}

fn mail_to_the_outside(
    site: &mut Site,
    machine: &Machine,
    key: &SshKey,
    sender: &Account,
) -> Result<()> {
    // The machine keeps the record to publish in the form of a zone file.
    let record = key.run(
        machine.address(),
        &format!("cat /var/lib/mailimg/dkim/{DOMAIN}/*.txt"),
    )?;
    site.dns.add(&format!("{DOMAIN}."), &record)?;
    submit(
        machine.address(),
        HOST_NAME,
        sender,
        "carol@outside.example",
        "outward",
        "Hello, world.",
    )?;
    let caught = site.sink.wait_for("carol@outside.example", DELIVERY_LIMIT).with_context(|| {
        key.run(machine.address(), "postqueue -p; journalctl --no-pager -n 60 -u 'postfix*' -u 'opendkim*' -u 'unbound*'")
            .unwrap_or_default()
    })?;
    ensure!(
        caught.sender == sender.address,
        "the envelope says {}",
        caught.sender
    );
    ensure!(
        caught.helo == HOST_NAME,
        "the machine calls itself {}",
        caught.helo
    );
    let signers = dkim::verify(&caught.message, dns::address())?;
    ensure!(
        signers.iter().any(|signer| signer.domain == DOMAIN),
        "signed by {signers:?}"
    );
    Ok(())
}

fn root_is_sealed(machine: &Machine, key: &SshKey) -> Result<()> {
    let address = machine.address();
    let source = key.run(
        address,
        "findmnt --noheadings --output SOURCE / || awk '$2 == \"/\" {print $1}' /proc/mounts",
    )?;
    ensure!(
        source.trim() == "/dev/mapper/root",
        "the root is mounted from {source:?}"
    );
    let kinds = key.run(address, "cat /sys/block/dm-*/dm/uuid")?;
    ensure!(
        kinds.contains("CRYPT-VERITY-"),
        "device mapper has {kinds:?}"
    );
    for attempt in [
        "touch /usr/intruder",
        "touch /etc/intruder",
        "mount -o remount,rw / && touch /usr/intruder",
    ] {
        let output = key.output(address, attempt)?;
        ensure!(
            !output.status.success() && output.status.code() != Some(255),
            "{attempt:?} ended with {}",
            output.status
        );
    }
    Ok(())
}

fn nothing_failed(machine: &Machine, key: &SshKey) -> Result<()> {
    let failed = key.run(machine.address(), "systemctl --failed --no-legend --plain")?;
    if failed.trim().is_empty() {
        return Ok(());
    }
    let journal = key.run(
        machine.address(),
        "journalctl --no-pager -b -p warning -n 80",
    )?;
    anyhow::bail!("failed units:\n{failed}{journal}")
}

fn print_blame(machine: &Machine, key: &SshKey) -> Result<()> {
    let text = key.run(
        machine.address(),
        "systemd-analyze --no-pager time; systemd-analyze --no-pager blame | grep -v '[.]device$' | head -n 15",
    )?;
    println!("{text}");
    Ok(())
}
