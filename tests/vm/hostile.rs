//! The hostile hour, in minutes: one user and one stranger take all that they can get, while others
//! log in, search, send and receive. Nothing of theirs may fail; what it costs them is printed.
//!
//! `MAILIMG_HOSTILE_SECONDS` is how long it takes, 120 unless given. Run by ci/full.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::boots_and_delivers::IMAGE;
use super::imap::Imap;
use super::managesieve::ManageSieve;
use super::promises::world::{Kind, World, friend, letter};
use super::site::HOST_NAME;
use super::smtp::{Account, Conversation};
use super::wire::Wire;
use crate::world::network::{CLIENTS, OUTSIDE_CLIENTS, STRANGERS, inside};

const TIME: &str = "MAILIMG_HOSTILE_SECONDS";
/// The quiet time before it, for comparison.
const QUIET: Duration = Duration::from_secs(20);
/// Everybody else, each at an address of their own.
const OTHERS: [&str; 3] = ["anna", "bert", "carla"];
/// Between what one of them does: mail for all comes from one server, which may connect 120 times
/// a minute.
const PAUSE: Duration = Duration::from_secs(2);
/// How long a message may take to be sent, a login and the check of a password with it, under
/// whatever is done meanwhile; Postfix would take ten seconds to let go of who is silent.
const SENDING_LIMIT: Duration = Duration::from_secs(10);
/// How long mail may take.
const DELIVERY_LIMIT: Duration = Duration::from_secs(120);
/// Each of them may send to so few within an hour.
const SENDS: usize = 6;
/// Matching this against a long line of a takes all the time that a filter has.
const BURNING: &str = "require [\"fileinto\"];\r\n\
    if header :matches \"subject\" \"*a*a*a*a*a*a*a*a*a*b\" { fileinto \"Junk\"; }\r\n";

#[test]
#[ignore = "takes minutes, for ci/full"]
fn hostile_hour() -> Result<()> {
    let Some(image) = std::env::var_os(IMAGE).map(PathBuf::from) else {
        println!("skipped: {IMAGE} names no image");
        return Ok(());
    };
    inside("hostile::hostile_hour", || run(&image))
}

/// What others waited for.
#[derive(Default)]
struct Times {
    login: Vec<Duration>,
    search: Vec<Duration>,
    delivery: Vec<Duration>,
    send: Vec<Duration>,
}

impl Times {
    fn add(&mut self, other: Self) {
        self.login.extend(other.login);
        self.search.extend(other.search);
        self.delivery.extend(other.delivery);
        self.send.extend(other.send);
    }

    fn print(&mut self, when: &str) {
        for (what, times) in [
            ("login", &mut self.login),
            ("search", &mut self.search),
            ("delivery", &mut self.delivery),
            ("send", &mut self.send),
        ] {
            times.sort();
            let (Some(slowest), Some(median)) = (times.last(), times.get(times.len() / 2)) else {
                continue;
            };
            println!(
                "{when}: {what}: median {:.2} s, slowest {:.2} s, {} times",
                median.as_secs_f64(),
                slowest.as_secs_f64(),
                times.len()
            );
        }
    }
}

fn run(image: &Path) -> Result<()> {
    let seconds = match std::env::var(TIME) {
        Ok(text) => text.parse().with_context(|| format!("reading {TIME}"))?,
        Err(_) => 120,
    };
    let world = World::make(image, Kind::Container)?;
    let machine = world.address();
    let others = OTHERS.map(|name| world.account(name));
    let hostile = world.account("petra");
    live(machine, &others, QUIET, "quiet")?.print("quiet");

    let stop = AtomicBool::new(false);
    let deeds = [const { AtomicUsize::new(0) }; DEEDS.len()];
    let mut times = std::thread::scope(|scope| {
        for ((_, deed), count) in DEEDS.iter().zip(&deeds) {
            let (stop, hostile) = (&stop, &hostile);
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    // Refusals are what is wanted.
                    let _ = deed(machine, hostile, stop);
                    count.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(100));
                }
            });
        }
        let times = live(machine, &others, Duration::from_secs(seconds), "hostile");
        stop.store(true, Ordering::SeqCst);
        times
    })?;
    times.print("hostile");
    for ((name, _), count) in DEEDS.iter().zip(&deeds) {
        println!("hostile: {name}: {} times", count.load(Ordering::SeqCst));
    }
    let failed = world.run("systemctl --failed --no-legend --plain")?;
    ensure!(failed.trim().is_empty(), "failed units:\n{failed}");
    world.end()
}

/// All others at once; any failure of theirs is an error.
fn live(machine: IpAddr, others: &[Account], time: Duration, when: &str) -> Result<Times> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = others
            .iter()
            .zip(CLIENTS.into_iter().skip(1))
            .map(|(account, client)| {
                scope.spawn(move || live_one(machine, account, client.into(), time, when))
            })
            .collect();
        let mut all = Times::default();
        for (worker, account) in workers.into_iter().zip(others) {
            let times = worker
                .join()
                .unwrap_or_else(|_| Err(anyhow!("it panicked")))
                .with_context(|| format!("{when}: what {} did", account.address))?;
            all.add(times);
        }
        Ok(all)
    })
}

fn live_one(
    machine: IpAddr,
    account: &Account,
    client: IpAddr,
    time: Duration,
    when: &str,
) -> Result<Times> {
    let mut times = Times::default();
    let began = Instant::now();
    for round in 0.. {
        if began.elapsed() > time {
            break;
        }
        let start = Instant::now();
        let mut imap = Imap::open(client, machine, HOST_NAME, account).context("logging in")?;
        times.login.push(start.elapsed());
        imap.select("INBOX")?;
        let start = Instant::now();
        imap.say("SEARCH TEXT \"nothing says this\"")
            .context("searching")?;
        times.search.push(start.elapsed());

        let subject = format!("{when}-{round}-{}", account.address);
        let text = letter(&friend("other"), &account.address, &subject, "Hello.");
        let source = OUTSIDE_CLIENTS[0].into();
        let (stranger, _) = Conversation::open(source, SocketAddr::new(machine, 25))
            .context("connecting to port 25")?;
        stranger
            .deliver(&friend("other"), &account.address, &text)
            .context("receiving")?;
        let start = Instant::now();
        while !imap
            .say(&format!("SEARCH SUBJECT \"{subject}\""))?
            .lines
            .iter()
            .any(|line| line.starts_with("* SEARCH "))
        {
            ensure!(start.elapsed() < DELIVERY_LIMIT, "{subject:?} was lost");
            std::thread::sleep(Duration::from_millis(50));
            imap.say("NOOP")?;
        }
        times.delivery.push(start.elapsed());
        imap.log_out()?;
        if times.send.len() < SENDS {
            let start = Instant::now();
            let target = SocketAddr::new(machine, 465);
            let mut smtp = Conversation::open_tls(client, target, HOST_NAME)?;
            smtp.hello()?;
            smtp.log_in(account)?.must_be(&[235], "the login")?;
            let text = letter(&account.address, &account.address, "to oneself", "Hello.");
            smtp.send(&account.address, &[&account.address], text.as_bytes())?
                .must_be(&[250], "sending")?;
            times.send.push(start.elapsed());
            ensure!(
                start.elapsed() < SENDING_LIMIT,
                "sending took {:?}",
                start.elapsed()
            );
        }
        std::thread::sleep(PAUSE);
    }
    Ok(times)
}

/// Does something hostile, over and over; the account is the hostile user's.
type Deed = fn(IpAddr, &Account, &AtomicBool) -> Result<()>;

const DEEDS: [(&str, Deed); 9] = [
    ("sessions of IMAP", imap_sessions),
    ("sessions of ManageSieve", sieve_sessions),
    ("filters that burn the processor", burn),
    ("scripts and folders", clutter),
    ("sending beyond the limit", send),
    ("silent connections to submission", silent),
    ("idle connections to the login ports", idle),
    ("forgeries", forge),
    ("guesses of passwords", guess),
];

/// Sessions from all of the user's addresses until there are no more, held until the end.
fn hold<T>(stop: &AtomicBool, open: impl Fn(IpAddr) -> Result<T>) {
    let mut held = Vec::new();
    for source in STRANGERS[1..6].iter().cycle() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        match open((*source).into()) {
            Ok(session) => held.push(session),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

fn imap_sessions(machine: IpAddr, user: &Account, stop: &AtomicBool) -> Result<()> {
    hold(stop, |source| Imap::open(source, machine, HOST_NAME, user));
    Ok(())
}

fn sieve_sessions(machine: IpAddr, user: &Account, stop: &AtomicBool) -> Result<()> {
    // After the filter is stored: none would be left for that.
    std::thread::sleep(Duration::from_secs(2));
    hold(stop, |source| {
        ManageSieve::open(source, machine, HOST_NAME, user)
    });
    Ok(())
}

fn burn(machine: IpAddr, user: &Account, stop: &AtomicBool) -> Result<()> {
    ManageSieve::open(CLIENTS[0].into(), machine, HOST_NAME, user)?.activate("burn", BURNING)?;
    while !stop.load(Ordering::SeqCst) {
        let text = letter(
            &friend("accomplice"),
            &user.address,
            &"a".repeat(900),
            "Go.",
        );
        let source = STRANGERS[6].into();
        let (smtp, _) = Conversation::open(source, SocketAddr::new(machine, 25))?;
        smtp.deliver(&friend("accomplice"), &user.address, &text)?;
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn clutter(machine: IpAddr, user: &Account, stop: &AtomicBool) -> Result<()> {
    let mut imap = Imap::open(CLIENTS[0].into(), machine, HOST_NAME, user)?;
    let mut sieve = ManageSieve::open(CLIENTS[0].into(), machine, HOST_NAME, user)?;
    for number in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        imap.ask(&format!("CREATE folder-{number}"))?;
        sieve.ask(&format!(
            "PUTSCRIPT \"script-{number}\" {{{}+}}\r\n{BURNING}",
            BURNING.len()
        ))?;
    }
    Ok(())
}

fn send(machine: IpAddr, user: &Account, _: &AtomicBool) -> Result<()> {
    let target = SocketAddr::new(machine, 465);
    let mut smtp = Conversation::open_tls(CLIENTS[0].into(), target, HOST_NAME)?;
    smtp.hello()?;
    smtp.log_in(user)?;
    let text = letter(&user.address, "anna@wombat.example", "bulk", "Buy.");
    for _ in 0..30 {
        smtp.send(&user.address, &["anna@wombat.example"], text.as_bytes())?;
    }
    Ok(())
}

fn silent(machine: IpAddr, _: &Account, stop: &AtomicBool) -> Result<()> {
    let mut held = Vec::new();
    for port in [465, 587] {
        for _ in 0..50 {
            held.push(Wire::open(
                STRANGERS[7].into(),
                SocketAddr::new(machine, port),
            ));
        }
    }
    wait(stop, Duration::from_secs(20));
    Ok(())
}

fn idle(machine: IpAddr, _: &Account, stop: &AtomicBool) -> Result<()> {
    let mut held = Vec::new();
    for _ in 0..20 {
        let source = STRANGERS[7].into();
        held.push(Wire::open_tls(
            source,
            SocketAddr::new(machine, 993),
            HOST_NAME,
        ));
        for port in [143, 4190] {
            held.push(Wire::open(source, SocketAddr::new(machine, port)));
        }
    }
    wait(stop, Duration::from_secs(20));
    Ok(())
}

fn forge(machine: IpAddr, _: &Account, _: &AtomicBool) -> Result<()> {
    let source = STRANGERS[8].into();
    let (smtp, _) = Conversation::open(source, SocketAddr::new(machine, 25))?;
    let text = letter("anna@wombat.example", "bert@wombat.example", "pay", "Now.");
    smtp.deliver("anna@wombat.example", "bert@wombat.example", &text)?;
    Ok(())
}

fn guess(machine: IpAddr, _: &Account, _: &AtomicBool) -> Result<()> {
    let account = Account {
        address: "anna@wombat.example".to_owned(),
        password: format!("guess {:?}", Instant::now()),
    };
    Imap::open(STRANGERS[9].into(), machine, HOST_NAME, &account).map(drop)
}

fn wait(stop: &AtomicBool, time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time && !stop.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(100));
    }
}
