//! Sessions: a user has a share of them, from however many addresses, and is told when it is gone.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::imap::Imap;
use super::super::managesieve::ManageSieve;
use super::super::site::HOST_NAME;
use super::super::smtp::{Account, Conversation};
use super::super::wire::Wire;
use super::Promise;
use super::world::World;
use crate::world::network::{CLIENTS, STRANGERS};
use crate::world::wait::until;

/// What a user may have of each, over all addresses.
const IMAP: usize = 64;
const SIEVE: usize = 16;
/// Those that come at the same moment are not counted yet; far below what others need.
const AT_THE_SAME_MOMENT: usize = 16;
/// How many log in at the same time.
const AT_ONCE: usize = 8;
/// Sessions go when their connections do, a moment later.
const END_LIMIT: Duration = Duration::from_secs(30);
/// Silent connections to each port of submission, which has as many processes.
const SILENT: usize = 50;
/// Of which one stranger may hold so many.
const SHARE: usize = 25;
/// Until the greeting; Postfix lets a silent client go after ten seconds when all its processes
/// are taken. An emulated machine needs longer for starting those of one stranger's share.
const GREETING_LIMIT: Duration = Duration::from_secs(8);
/// The refusal.
const WORDS: &str = "Too many sessions of this user";

pub const PROMISES: &[Promise] = &[
    Promise {
        says: "a user has 64 sessions of IMAP over all addresses, one more is told why, and others log in",
        check: imap,
    },
    Promise {
        says: "a user has 16 sessions of ManageSieve over all addresses, one more is told why, and others log in",
        check: sieve,
    },
    Promise {
        says: "two telephones, a tablet and two laptops of a user have five sessions of IMAP each",
        check: devices,
    },
    Promise {
        says: "a hundred silent connections of a stranger to 465 and 587 keep nobody waiting there",
        check: silence,
    },
];

/// The image's own kernel has what the packet filter is made of.
pub const ON_A_MACHINE: &[Promise] = &[Promise {
    says: "a stranger holds 25 connections to each port of submission, and others are greeted",
    check: share_of_submission,
}];

fn imap(world: &World) -> Result<()> {
    let machine = world.address();
    let open = |source, account: &Account| Imap::open(source, machine, HOST_NAME, account);
    share(world, IMAP, &["petra", "quentin"], open)
}

fn sieve(world: &World) -> Result<()> {
    let machine = world.address();
    let open = |source, account: &Account| ManageSieve::open(source, machine, HOST_NAME, account);
    share(world, SIEVE, &["petra", "quentin"], open)
}

/// Takes all that one user gets, while another logs in.
fn share<T: Send>(
    world: &World,
    limit: usize,
    names: &[&str; 2],
    open: impl Fn(IpAddr, &Account) -> Result<T> + Sync,
) -> Result<()> {
    let [greedy, other] = names.map(|name| world.account(name));
    // Addresses that no row bans, with fewer sessions each than one address may have.
    let sources: Vec<IpAddr> = CLIENTS.into_iter().map(IpAddr::from).collect();
    let had = Mutex::new(Vec::new());
    let refusals = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..AT_ONCE {
            let (sources, had, refusals, open, greedy) =
                (&sources, &had, &refusals, &open, &greedy);
            scope.spawn(move || {
                for attempt in 0..limit / 4 {
                    let source = sources[(worker + attempt) % sources.len()];
                    let result = open(source, greedy);
                    match result {
                        Ok(session) => lock(had).push(session),
                        Err(error) => lock(refusals).push(format!("{error:#}")),
                    }
                }
            });
        }
    });
    let had = had.into_inner().unwrap_or_else(PoisonError::into_inner);
    let refusals = refusals
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    println!(
        "       {} sessions, {} refused: {}",
        had.len(),
        refusals.len(),
        refusals.last().map_or("", String::as_str)
    );
    ensure!(
        (limit..=limit + AT_THE_SAME_MOMENT).contains(&had.len()),
        "{} sessions of {limit}; refusals: {refusals:?}",
        had.len()
    );
    ensure!(
        refusals.iter().all(|text| text.contains(WORDS)),
        "{refusals:?}"
    );
    let began = Instant::now();
    let refused = open(sources[0], &greedy)
        .err()
        .context("one more was let in")?;
    ensure!(format!("{refused:#}").contains(WORDS), "{refused:#}");
    ensure!(
        began.elapsed() < Duration::from_secs(5),
        "refused after {:?}",
        began.elapsed()
    );
    open(sources[0], &other).context("another user")?;
    drop(had);
    until("a session to be free again", END_LIMIT, || {
        Ok(open(sources[0], &greedy).ok().map(drop))
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn devices(world: &World) -> Result<()> {
    let rita = world.account("rita");
    // At home, at work, and underway.
    let places = [CLIENTS[0], CLIENTS[0], CLIENTS[1], CLIENTS[2], STRANGERS[0]];
    let mut sessions = Vec::new();
    for source in places {
        for _ in 0..5 {
            let mut session = Imap::open(source.into(), world.address(), HOST_NAME, &rita)?;
            session.select("INBOX")?;
            sessions.push(session);
        }
    }
    for session in &mut sessions {
        session.say("NOOP")?;
    }
    Ok(())
}

/// On 465 Postfix counts who has its processes when TLS is there: fifty that said nothing had all.
fn silence(world: &World) -> Result<()> {
    let _held = hold_silent(world);
    let began = Instant::now();
    greet(world)?;
    let took = began.elapsed();
    println!("       greeted after {:.1} s", took.as_secs_f64());
    ensure!(world.is_emulated() || took < GREETING_LIMIT, "{took:?}");
    Ok(())
}

fn share_of_submission(world: &World) -> Result<()> {
    let held = hold_silent(world);
    for (port, held) in &held {
        println!("       {} of {SILENT} to {port} were let in", held.len());
        ensure!(held.len() <= SHARE, "{} to {port}", held.len());
    }
    greet(world)
}

/// What a stranger holds of each port of submission without a word.
fn hold_silent(world: &World) -> Vec<(u16, Vec<Wire>)> {
    let open = |port| Wire::open(STRANGERS[7].into(), world.port(port)).ok();
    let hold = |port| (port, (0..SILENT).filter_map(|_| open(port)).collect());
    [465, 587].map(hold).into()
}

fn greet(world: &World) -> Result<()> {
    Conversation::open_tls(world.client(), world.port(465), HOST_NAME)?;
    Conversation::open(world.client(), world.port(587))?;
    Ok(())
}
