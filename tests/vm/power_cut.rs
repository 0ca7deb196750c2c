//! Acknowledged means kept: the power goes while mail comes in, and every
//! message that got its 250 is there afterwards, as it was sent.
//!
//! Killing QEMU loses nothing that the host has cached, so the disk after the
//! cut is made anew of what was written until the last flush
//! ([`super::write_log`]); whatever came later is lost, as in a disk's own
//! cache. The machine boots from that disk, is asked for all mail of all
//! rounds, and takes new mail until the next cut.
//!
//! One of the boots finds a clock that says 2001, as boards with an empty
//! battery do. The first one takes its settings from a cloud's metadata.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mailimg::builder::command::boot::throw_away_disk::MINIMUM_DISK_BYTES;

use super::boots_and_delivers::IMAGE;
use super::cloud;
use super::disk::Disk;
use super::imap::Imap;
use super::machine::{BOOT_LIMIT, Machine, Start};
use super::promises::world::friend;
use super::site::{DOMAIN, HOST_NAME, Site};
use super::smtp::{Account, Conversation};
use super::ssh::SshKey;
use super::write_log::replay;
use crate::world::network::{CLIENTS, OUTSIDE_CLIENTS, inside};
use crate::world::process::run as run_program;
use crate::world::wait::until;

/// How many cuts there are; ci/full has a hundred.
pub const CUTS: &str = "MAILIMG_POWER_CUTS";
const USUAL_CUTS: u64 = 2;
/// Repeats the cuts of another run, as far as time allows.
pub const SEED: &str = "MAILIMG_SEED";
/// When a cut comes, in milliseconds after every stream has begun.
const EARLIEST: u64 = 1_000;
const LATEST: u64 = 15_000;
/// How often a login is tried while the machine is too busy to judge it.
const LOGIN_TRIES: usize = 10;
/// A machine that is there answers within this time; one without power never.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Until all mail of a queue has been delivered after a boot.
const DELIVERY_LIMIT: Duration = Duration::from_secs(300);
/// The round whose boot finds the wrong clock, and what that says.
const WRONG_CLOCK_ROUND: u64 = 1;
const WRONG_CLOCK: &str = "base=2001-02-03T04:05:06";

/// A stream of messages: where from, whether it logs in, and to whom.
const STREAMS: [(IpAddr, bool, &str); 4] = [
    (IpAddr::V4(OUTSIDE_CLIENTS[0]), false, "anna"),
    (IpAddr::V4(OUTSIDE_CLIENTS[1]), false, "bert"),
    (IpAddr::V4(CLIENTS[0]), true, "anna"),
    (IpAddr::V4(CLIENTS[1]), true, "bert"),
];

/// Bodies of acknowledged messages by recipient and subject.
type Acknowledged = BTreeMap<(String, String), String>;

#[test]
fn acknowledged_mail_survives_power_cuts() -> Result<()> {
    let Some(image) = std::env::var_os(IMAGE).map(PathBuf::from) else {
        println!("skipped: {IMAGE} names no image");
        return Ok(());
    };
    inside("power_cut::acknowledged_mail_survives_power_cuts", || {
        run(&image)
    })
}

fn run(image: &Path) -> Result<()> {
    let cuts = number(CUTS)?.unwrap_or(USUAL_CUTS);
    let seed = number(SEED)?.unwrap_or_else(rand::random);
    println!("{cuts} power cuts, {SEED}={seed}");
    let mut random = Random(seed);
    let site = Site::start()?;
    let key = SshKey::make()?;
    let folder = tempfile::Builder::new()
        .prefix("mailimg-power-")
        .tempdir_in("/var/tmp")?;
    let base = folder.path().join("disk.raw");
    run_program(
        Command::new("cp")
            .args(["--sparse=always", "--"])
            .args([image, &base]),
    )?;
    std::fs::File::options()
        .write(true)
        .open(&base)?
        .set_len(MINIMUM_DISK_BYTES)?;

    let metadata = cloud::serve_settings(settings(&key))?;
    let mut kept = Acknowledged::new();
    for round in 0..=cuts {
        let (machine, disk) = boot(&site, &key, &base, round)?;
        if round == 0 {
            cloud::settings_were_taken(&metadata, &machine, &key)?;
            make_accounts(&machine, &key)?;
        } else {
            check_mail(&machine, &key, &kept)
                .with_context(|| format!("after cut {round} of {SEED}={seed}"))?;
        }
        if round == cuts {
            return machine.power_off();
        }
        let wait = Duration::from_millis(EARLIEST + random.next() % (LATEST - EARLIEST));
        let before = kept.len();
        cut(machine, disk.log()?, round, wait, &mut random, &mut kept)?;
        let done = replay(disk.log()?, &base)?;
        println!(
            "cut {}: {:.1} s into the stream, {} messages acknowledged, {} writes kept, {} dropped",
            round + 1,
            wait.as_secs_f64(),
            kept.len() - before,
            done.kept,
            done.dropped
        );
        ensure!(
            kept.len() > before,
            "no message was acknowledged before the cut"
        );
    }
    Ok(())
}

fn settings(key: &SshKey) -> String {
    format!(
        "DOMAIN={DOMAIN}\nHOSTNAME={HOST_NAME}\nSSH_AUTHORIZED_KEYS={}\n\
         ADMIN_USER_INITIAL_PASSWORD=correct-horse\nMAILBOX_QUOTA=none\nSENDING_LIMIT=none\n",
        key.public
    )
}

fn boot(site: &Site, key: &SshKey, base: &Path, round: u64) -> Result<(Machine, Arc<Disk>)> {
    let mut start = Start {
        credentials: vec![site.dns.credential()],
        options: cloud::firmware(),
        ..Start::default()
    };
    if round == WRONG_CLOCK_ROUND {
        start
            .options
            .extend(["-rtc".to_owned(), WRONG_CLOCK.to_owned()]);
    }
    let (mut machine, disk) = Machine::start_serving(|| Disk::logged(base), &start, &[25, 143])?;
    machine.wait_for_ssh(key, BOOT_LIMIT)?;
    println!(
        "boot {}: {:.1} s{}",
        round + 1,
        machine.age().as_secs_f64(),
        if round == WRONG_CLOCK_ROUND {
            ", with a clock that said 2001"
        } else {
            ""
        }
    );
    Ok((machine, disk))
}

fn account(name: &str) -> Account {
    Account {
        address: format!("{name}@{DOMAIN}"),
        password: format!("{name} {name}"),
    }
}

fn make_accounts(machine: &Machine, key: &SshKey) -> Result<()> {
    for name in ["anna", "bert"] {
        let account = account(name);
        key.run(
            machine.address(),
            &format!(
                "mailctl user add {} '{}'",
                account.address, account.password
            ),
        )?;
    }
    Ok(())
}

/// Streams mail in and pulls the plug in the middle.
fn cut(
    machine: Machine,
    log: &Path,
    round: u64,
    wait: Duration,
    random: &mut Random,
    kept: &mut Acknowledged,
) -> Result<()> {
    let address = machine.address();
    let acknowledged = Mutex::new(Acknowledged::new());
    let over = AtomicBool::new(false);
    let begun = AtomicUsize::new(0);
    let mut plug = Some(machine);
    let seeds = [(); STREAMS.len()].map(|()| random.next());
    let failures: Vec<String> = std::thread::scope(|scope| -> Result<Vec<String>> {
        let streams: Vec<_> = STREAMS
            .iter()
            .zip(seeds)
            .enumerate()
            .map(|(index, (stream, seed))| {
                let (acknowledged, over, begun) = (&acknowledged, &over, &begun);
                let name = format!("cut-{round}-{index}");
                scope.spawn(move || {
                    match pour(
                        stream,
                        address,
                        &name,
                        Random(seed),
                        acknowledged,
                        (begun, over),
                    ) {
                        // With the power gone every conversation breaks.
                        Err(_) if over.load(Ordering::SeqCst) => None,
                        Err(error) => Some(format!("{name}: {error:#}")),
                        Ok(()) => None,
                    }
                })
            })
            .collect();
        let first = until("an acknowledgement of each stream", BOOT_LIMIT, || {
            let all = begun.load(Ordering::SeqCst) == STREAMS.len();
            let ended = streams.iter().any(|stream| stream.is_finished());
            Ok((all || ended).then(Instant::now))
        });
        if let Ok(first) = first {
            // The only sleep there is: the moment of the cut is the case.
            std::thread::sleep(wait.saturating_sub(first.elapsed()));
            wait_for_write(log)?;
        }
        over.store(true, Ordering::SeqCst);
        if let Some(machine) = plug.take() {
            machine.cut_power()?;
        }
        first?;
        Ok(streams
            .into_iter()
            .filter_map(|stream| {
                stream
                    .join()
                    .unwrap_or_else(|_| Some("a stream panicked".to_owned()))
            })
            .collect())
    })?;
    ensure!(failures.is_empty(), "before the cut: {failures:?}");
    kept.extend(
        acknowledged
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner),
    );
    Ok(())
}

/// Waits until the machine writes: between two requests of one burst there is
/// more to lose than while the disk is at rest.
fn wait_for_write(log: &Path) -> Result<()> {
    let before = std::fs::metadata(log)?.len();
    let started = Instant::now();
    while std::fs::metadata(log)?.len() == before {
        ensure!(
            started.elapsed() < ANSWER_LIMIT,
            "the machine writes nothing"
        );
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// Sends messages on one connection until the power is gone.
fn pour(
    (source, logs_in, recipient): &(IpAddr, bool, &str),
    machine: IpAddr,
    name: &str,
    mut random: Random,
    acknowledged: &Mutex<Acknowledged>,
    (begun, over): (&AtomicUsize, &AtomicBool),
) -> Result<()> {
    let recipient = account(recipient);
    let (mut conversation, sender) = if *logs_in {
        let client = log_in(*source, machine, &recipient)?;
        (client, recipient.address.clone())
    } else {
        let target = SocketAddr::new(machine, 25);
        let (mut stranger, _) = Conversation::open(*source, target)?;
        stranger.wire().set_limit(ANSWER_LIMIT)?;
        stranger.hello()?;
        (stranger, friend("stream"))
    };
    for index in 0.. {
        if over.load(Ordering::SeqCst) {
            break;
        }
        let subject = format!("{name}-{index}");
        let body = body(&subject, &mut random);
        let letter = format!(
            "From: {sender}\r\nTo: {}\r\nSubject: {subject}\r\n\
             Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{subject}@test.example>\r\n\r\n{body}",
            recipient.address
        );
        conversation
            .send(&sender, &[&recipient.address], letter.as_bytes())?
            .must_be(&[250], &subject)?;
        acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((recipient.address.clone(), subject), body);
        if index == 0 {
            begun.fetch_add(1, Ordering::SeqCst);
        }
    }
    Ok(())
}

/// A connection on 465 after its login. On a busy machine Postfix waits its ten seconds for
/// Dovecot and answers 454: nothing was judged, and a mail program tries again.
fn log_in(source: IpAddr, machine: IpAddr, account: &Account) -> Result<Conversation> {
    let target = SocketAddr::new(machine, 465);
    let mut tries = 1;
    loop {
        let mut client = Conversation::open_tls(source, target, HOST_NAME)?;
        client.wire().set_limit(ANSWER_LIMIT)?;
        client.hello()?;
        let reply = client.log_in(account)?;
        if reply.code == 454 && tries < LOGIN_TRIES {
            tries += 1;
            continue;
        }
        reply.must_be(&[235], "the login")?;
        return Ok(client);
    }
}

/// Some hundred bytes to some twenty thousand.
fn body(subject: &str, random: &mut Random) -> String {
    let lines = 2 + random.next() % 300;
    (0..lines)
        .map(|line| {
            format!(
                "{subject} line {line} {:016x} {:016x}\r\n",
                random.next(),
                random.next()
            )
        })
        .collect()
}

/// Every acknowledged message is in its mailbox, as it was sent.
fn check_mail(machine: &Machine, key: &SshKey, kept: &Acknowledged) -> Result<()> {
    let client = IpAddr::from(CLIENTS[2]);
    let started = Instant::now();
    loop {
        let mut found = Acknowledged::new();
        for name in ["anna", "bert"] {
            let account = account(name);
            let mut imap = Imap::open(client, machine.address(), HOST_NAME, &account)?;
            for message in imap.messages("INBOX")? {
                let message = String::from_utf8_lossy(&message).into_owned();
                let (head, body) = message
                    .split_once("\r\n\r\n")
                    .with_context(|| format!("a message without a body: {message:?}"))?;
                if let Some(subject) = head.lines().find_map(|line| line.strip_prefix("Subject: "))
                {
                    found.insert(
                        (account.address.clone(), subject.to_owned()),
                        body.to_owned(),
                    );
                }
            }
            imap.log_out()?;
        }
        let changed: Vec<_> = kept
            .iter()
            .filter(|(name, body)| found.get(*name).is_some_and(|found| found != *body))
            .map(|(name, _)| name)
            .collect();
        ensure!(
            changed.is_empty(),
            "these messages are not as sent: {changed:?}"
        );
        let missing: Vec<_> = kept
            .keys()
            .filter(|name| !found.contains_key(*name))
            .collect();
        if missing.is_empty() {
            println!("all {} acknowledged messages are there", kept.len());
            return Ok(());
        }
        if started.elapsed() > DELIVERY_LIMIT {
            bail!(
                "{} of {} acknowledged messages are lost: {missing:?}\n{}",
                missing.len(),
                kept.len(),
                key.run(
                    machine.address(),
                    "postqueue -p; journalctl --no-pager -b -p warning -n 40"
                )?
            );
        }
        key.run(machine.address(), "postqueue -f")?;
    }
}

/// The number that a variable of the environment holds.
pub fn number(variable: &str) -> Result<Option<u64>> {
    std::env::var(variable)
        .ok()
        .map(|text| {
            text.parse()
                .with_context(|| format!("reading {variable}={text}"))
        })
        .transpose()
}

/// SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>): repeatable, no more.
pub struct Random(pub u64);

impl Random {
    /// The next one.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
