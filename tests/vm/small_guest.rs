//! What mail costs: memory in a small machine, and what the checks take away
//! from the rate at which mail comes in. Run by hand and by ci/full.
//!
//! The same messages go through the whole pipeline, to the last mailbox, with
//! and without milters and the quota's policy; those are switched off in the
//! rendered main.cf, which the next boot writes anew.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use mailimg::builder::command::boot::credentials::{Credential, SETTINGS_NAME};

use super::boots_and_delivers::IMAGE;
use super::disk::Disk;
use super::machine::{BOOT_LIMIT, Machine, Start};
use super::promises::world::{friend, letter};
use super::site::{DOMAIN, HOST_NAME, Site};
use super::smtp::Conversation;
use super::ssh::SshKey;
use crate::world::network::{STRANGERS, inside};
use crate::world::wait::until;

/// Memory of the smallest machines that providers rent out.
pub const MEMORY_MIB: u32 = 512;
/// What should be in use while nothing happens, in MiB.
const MEMORY_AIM: u64 = 130;
/// Messages a run, their size, and how many sessions bring them.
const MESSAGES: usize = 200;
const MESSAGE_BYTES: usize = 5 << 10;
const SESSIONS: usize = 10;
/// Share of the bare rate that the checks should leave.
const RATIO_AIM: f64 = 0.9;
/// Each setting is measured so often, in turn; the best run of each counts.
const RUNS: usize = 3;
const DELIVERY_LIMIT: Duration = Duration::from_secs(600);

/// Recipients, so that no mailbox is the narrow place.
const NAMES: [&str; 10] = [
    "anna", "bert", "carla", "dora", "emil", "fritz", "gerda", "hugo", "ida", "jana",
];

#[test]
#[ignore = "a measurement, for ci/full"]
fn small_guest() -> Result<()> {
    let Some(image) = std::env::var_os(IMAGE).map(PathBuf::from) else {
        println!("skipped: {IMAGE} names no image");
        return Ok(());
    };
    inside("small_guest::small_guest", || run(&image))
}

fn run(image: &Path) -> Result<()> {
    let site = Site::start()?;
    let key = SshKey::make()?;
    let settings = format!(
        "DOMAIN={DOMAIN}\nHOSTNAME={HOST_NAME}\nSSH_AUTHORIZED_KEYS={}\n\
         ADMIN_USER_INITIAL_PASSWORD=correct-horse\nMAILBOX_QUOTA=100M\n",
        key.public
    );
    let start = Start {
        credentials: vec![
            Credential::new(SETTINGS_NAME, settings),
            site.dns.credential(),
        ],
        memory_mib: Some(MEMORY_MIB),
        ..Start::default()
    };
    let (mut machine, _) = Machine::start_serving(|| Disk::over(image), &start, &[25])?;
    machine.wait_for_ssh(&key, BOOT_LIMIT)?;
    key.keep_connection(machine.address())?;
    println!(
        "power-on to service with {MEMORY_MIB} MiB: {:.1} s",
        machine.age().as_secs_f64()
    );
    let mut script = "set -e\n".to_owned();
    for name in NAMES {
        script.push_str(&format!("mailctl user add {name}@{DOMAIN} {name}\n"));
    }
    key.run(machine.address(), &script)?;
    wait_for_boot(&machine, &key)?;
    report_memory(&machine, &key, "before any mail")?;

    let mut best = [0.0_f64; 2];
    for run in 0..RUNS {
        for (index, checks) in [(0, true), (1, false)] {
            switch_checks(&machine, &key, checks)?;
            let rate =
                measure(&machine, &key, &format!("run{run}-{index}")).with_context(|| {
                    let log = "postqueue -p | tail -n 5; journalctl --no-pager -o cat -n 40";
                    key.run(machine.address(), log).unwrap_or_default()
                })?;
            println!(
                "{rate:.1} messages a second {} milters and policy",
                if checks { "with" } else { "without" }
            );
            best[index] = best[index].max(rate);
        }
    }
    switch_checks(&machine, &key, true)?;
    println!(
        "ratio {:.2}, aim {RATIO_AIM}: {:.1} with and {:.1} without checks",
        best[0] / best[1],
        best[0],
        best[1]
    );
    report_memory(&machine, &key, "after all mail")?;
    let killed = key.run(
        machine.address(),
        "journalctl --no-pager -b -k -g 'Out of memory' -q || true",
    )?;
    ensure!(killed.trim().is_empty(), "{killed}");
    machine.power_off()
}

/// Waits until everything that a boot starts has come to rest.
fn wait_for_boot(machine: &Machine, key: &SshKey) -> Result<()> {
    until("the end of the boot", BOOT_LIMIT, || {
        let jobs = key.run(machine.address(), "systemctl list-jobs --no-legend")?;
        Ok(jobs.trim().is_empty().then_some(()))
    })
}

fn report_memory(machine: &Machine, key: &SshKey, when: &str) -> Result<()> {
    let text = key.run(
        machine.address(),
        "cat /proc/meminfo; systemd-cgtop -b -n 1 -m --depth=2 2>/dev/null | head -n 14",
    )?;
    let kib = |name: &str| -> Result<u64> {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.split_whitespace().next())
            .with_context(|| format!("looking for {name} in /proc/meminfo"))?
            .parse()
            .context("reading /proc/meminfo")
    };
    let used = (kib("MemTotal:")? - kib("MemAvailable:")?) >> 10;
    println!("memory in use {when}: {used} MiB, aim {MEMORY_AIM}");
    for line in text.lines().skip_while(|line| !line.starts_with("/")) {
        println!("    {line}");
    }
    Ok(())
}

/// Renders main.cf anew, then takes milters and policy out unless they are wanted.
fn switch_checks(machine: &Machine, key: &SshKey, on: bool) -> Result<()> {
    let off = if on {
        ""
    } else {
        "sed -i -e 's/^\\(smtpd_milters\\|mua_milters\\|non_smtpd_milters\\) *=.*/\\1 =/' \
         -e '/^smtpd_recipient_restrictions/s/, check_policy_service {[^}]*}//' \
         -e '/^smtpd_recipient_restrictions/s/, check_policy_service [^,]*//' \
         /run/mailimg/postfix/main.cf\n"
    };
    // Both sides begin with fresh processes.
    key.run(
        machine.address(),
        &format!("set -e\nmailctl render >/dev/null\n{off}systemctl restart postfix"),
    )?;
    Ok(())
}

/// Messages a second, from the first connection to the last delivery.
fn measure(machine: &Machine, key: &SshKey, name: &str) -> Result<f64> {
    let target = SocketAddr::new(machine.address(), 25);
    let next = AtomicUsize::new(0);
    // Everybody is greeted before the clock starts: strangers wait once.
    let mut conversations = Vec::new();
    for index in 0..SESSIONS {
        let source = STRANGERS[index % STRANGERS.len()].into();
        let (mut conversation, _) = Conversation::open(source, target)?;
        conversation.hello()?;
        conversations.push(conversation);
    }
    let before = delivered(machine, key)?;
    let started = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = conversations
            .into_iter()
            .map(|mut conversation| {
                let next = &next;
                scope.spawn(move || -> Result<()> {
                    loop {
                        let index = next.fetch_add(1, Ordering::SeqCst);
                        if index >= MESSAGES {
                            return Ok(());
                        }
                        let recipient = format!("{}@{DOMAIN}", NAMES[index % NAMES.len()]);
                        let text = "All work and no play makes a dull message.\r\n"
                            .repeat(MESSAGE_BYTES / 44);
                        let message = letter(
                            &friend("rate"),
                            &recipient,
                            &format!("{name}-{index}"),
                            text.trim_end(),
                        );
                        conversation
                            .send(&friend("rate"), &[&recipient], message.as_bytes())?
                            .must_be(&[250], "a message")?;
                    }
                })
            })
            .collect();
        for worker in workers {
            worker
                .join()
                .unwrap_or_else(|_| Err(anyhow!("a session panicked")))?;
        }
        Ok::<(), anyhow::Error>(())
    })?;
    until("all deliveries", DELIVERY_LIMIT, || {
        Ok((delivered(machine, key)? >= before + MESSAGES).then_some(()))
    })?;
    Ok(MESSAGES as f64 / started.elapsed().as_secs_f64())
}

/// Messages in all mailboxes.
fn delivered(machine: &Machine, key: &SshKey) -> Result<usize> {
    key.run(
        machine.address(),
        "find /var/vmail/mail/inboxes -path '*/new/*' -type f | wc -l",
    )?
    .trim()
    .parse()
    .context("counting messages")
}
