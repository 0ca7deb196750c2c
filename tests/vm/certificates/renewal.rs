//! Renewals: under open sessions, with TLSA records, by another way, and by order
//! of the authority.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::super::dns;
use super::super::imap::Imap;
use super::super::promises::world::{friend, letter};
use super::super::served::TLS_PORTS;
use super::super::site::{DOMAIN, HOST_NAME};
use super::super::smtp::Conversation;
use super::super::wire::Wire;
use super::Row;
use super::world::{DELIVERY_LIMIT, ORDER_LIMIT, World};
use crate::world::network::CLIENTS;
use crate::world::query;
use crate::world::wait::until;

/// From the new certificate on one port to the same on all.
const SPREAD_LIMIT: Duration = Duration::from_secs(30);
/// Renewals under TLSA records, unless `MAILIMG_RENEWALS` says another number:
/// ci/full has 20, which takes some minutes.
const RENEWALS: u32 = 3;
/// Holds another number.
const RENEWALS_VARIABLE: &str = "MAILIMG_RENEWALS";
/// For how long resolvers keep the TLSA records that the test loads, in seconds.
const SHORT_TTL: u64 = 5;

pub const ROWS: &[Row] = &[
    Row {
        says: "a forced renewal drops no open IMAP, SMTP or HTTPS session, and all ports follow",
        check: under_open_sessions,
    },
    Row {
        says: "with TLSA records the key on port 25 fits at every moment of many renewals, and does change",
        check: tlsa,
    },
    Row {
        says: "with port 80 shut the next certificate comes by TLS-ALPN-01",
        check: by_alpn,
    },
];

/// Moves the clock on, past the authority's six hours between two questions.
pub const LATER_ROWS: &[Row] = &[Row {
    says: "when the authority moves the window up, the machine renews by itself",
    check: window_moved_up,
}];

fn under_open_sessions(world: &mut World) -> Result<()> {
    let anna = world.account("anna");
    let bert = world.account("bert");
    let subject = world.unique("from-an-old-session");
    let submitted = world.unique("from-an-old-submission");

    let mut stranger = Conversation::open(CLIENTS[1].into(), world.port(25))?
        .0
        .start_tls(HOST_NAME)?
        .0;
    stranger.envelope(&friend("patient"), &[&bert.address])?;
    let mut submission = world.submission(&anna)?;
    submission.envelope(&anna.address, &[&bert.address])?;
    let mut imap = Imap::open(world.client(), world.address(), HOST_NAME, &bert)?;
    imap.select("INBOX")?;
    let web = Wire::open_tls(world.client(), world.port(443), HOST_NAME)?;

    let before = world.served()?;
    let stop = AtomicBool::new(false);
    let took = std::thread::scope(|scope| {
        // A browser that asks for one page after the other on one connection.
        let browser = scope.spawn(|| browse(web, &stop));
        let outcome = imap.idle("EXISTS", DELIVERY_LIMIT, || {
            world.run("mailctl cert renew --force")?;
            let renewed = world.wait_for_change(&before)?;
            let started = Instant::now();
            for port in TLS_PORTS {
                until(
                    &format!("the new serial on port {port}"),
                    SPREAD_LIMIT,
                    || Ok((world.served_on(port)?.serial == renewed.serial).then_some(())),
                )?;
            }
            println!(
                "       all ports {:.1} s after the first",
                started.elapsed().as_secs_f64()
            );
            let text = letter(&friend("patient"), &bert.address, &subject, "Hello.");
            stranger
                .data(text.as_bytes())?
                .must_be(&[250], "the message on port 25")?;
            let text = letter(&anna.address, &bert.address, &submitted, "Hello.");
            submission
                .data(text.as_bytes())?
                .must_be(&[250], "the message on port 465")?;
            Ok(())
        });
        stop.store(true, Ordering::SeqCst);
        let pages = browser
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the browser panicked")))?;
        println!("       {pages} pages on one connection meanwhile");
        outcome
    })?;
    println!(
        "       IDLE told of the message after {:.1} s",
        took.as_secs_f64()
    );
    imap.say("NOOP")?;
    imap.log_out()?;
    stranger.say("QUIT", "221")?;
    submission.say("QUIT", "221")?;
    world.read(&bert, &subject)?;
    world.read(&bert, &submitted).map(drop)
}

/// Asks for one page after the other until told to stop.
fn browse(mut web: Wire, stop: &AtomicBool) -> Result<u32> {
    let mut pages = 0;
    while !stop.load(Ordering::SeqCst) {
        web.send(format!("GET / HTTP/1.1\r\nHost: {HOST_NAME}\r\n\r\n").as_bytes())?;
        let mut length = None;
        loop {
            let line = web
                .line()?
                .with_context(|| format!("the web server hung up after {pages} pages"))?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok();
            }
        }
        web.bytes(length.context("a page without its length")?)?;
        pages += 1;
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(pages)
}

/// Digests of the records at the name for port 25, as the name server has them.
fn live_tlsa() -> Result<BTreeSet<String>> {
    let name = format!("_25._tcp.{HOST_NAME}");
    Ok(query::lookup_tlsa(dns::address(), &name)?
        .into_iter()
        .collect())
}

/// Puts the records that the machine prints into the zone, for a short time each.
fn load_printed(world: &mut World) -> Result<()> {
    let text = world.run(&format!("mailctl dns records --zone {DOMAIN}"))?;
    let lines: Vec<String> = text.lines().map(with_short_ttl).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    world.site.dns.replace(&format!("{DOMAIN}."), &lines)
}

/// `name 3600 IN TLSA …` with another number; other records stay.
fn with_short_ttl(line: &str) -> String {
    match line.split_whitespace().collect::<Vec<_>>().as_slice() {
        [name, ttl, "IN", "TLSA", rest @ ..] if ttl.parse::<u64>().is_ok() => {
            format!("{name} {SHORT_TTL} IN TLSA {}", rest.join(" "))
        }
        [name, "IN", "TLSA", rest @ ..] | [name, "TLSA", rest @ ..] => {
            format!("{name} {SHORT_TTL} IN TLSA {}", rest.join(" "))
        }
        _ => line.to_owned(),
    }
}

/// The owner keeps the zone by hand here: what the machine prints is loaded after
/// each renewal. Whoever asked up to one TTL ago may still hold what was there
/// then, so the key must fit that as well.
fn tlsa(world: &mut World) -> Result<()> {
    world.run(
        "set -e; cp -a /var/lib/mailimg/settings.env /run/settings.kept\n\
         sed -i '/^DNS_UPDATE_/d' /var/lib/mailimg/settings.env\nmailctl settings apply",
    )?;
    // Resolvers may still have what the machine published itself, for an hour.
    let outcome = load_printed(world)
        .and_then(|()| world.run("systemctl start mailimg-acme.service").map(drop))
        .and_then(|()| world.move_clock("+2 hours"))
        .and_then(|()| renew_under_tlsa(world));
    world.run(
        "set -e; cp -a /run/settings.kept /var/lib/mailimg/settings.env; mailctl settings apply",
    )?;
    outcome
}

fn renew_under_tlsa(world: &mut World) -> Result<()> {
    let renewals = match std::env::var(RENEWALS_VARIABLE) {
        Ok(number) => number.parse().context("reading MAILIMG_RENEWALS")?,
        Err(_) => RENEWALS,
    };
    let lifetime = Duration::from_secs(SHORT_TTL);
    let mut cached: VecDeque<(Instant, BTreeSet<String>)> = VecDeque::new();
    let mut keys = BTreeSet::new();
    load_printed(world)?;
    cached.push_back((Instant::now(), live_tlsa()?));
    for renewal in 1..=renewals {
        let served = world.renew()?;
        keys.insert(served.key_digest.clone());
        // An answer is good for so long after the last moment it was given.
        while cached.len() > 1 && cached[1].0.elapsed() > lifetime {
            cached.pop_front();
        }
        for (_, digests) in &cached {
            ensure!(
                digests.contains(&served.key_digest),
                "renewal {renewal}: port 25 shows the key {}, a resolver has {digests:?}",
                served.key_digest
            );
        }
        load_printed(world)?;
        let now = live_tlsa()?;
        ensure!(now.len() == 2, "renewal {renewal}: {now:?} are published");
        ensure!(
            now.contains(&served.key_digest),
            "renewal {renewal}: the machine prints {now:?} and shows {}",
            served.key_digest
        );
        if cached.back().is_none_or(|(_, last)| *last != now) {
            cached.push_back((Instant::now(), now));
        }
    }
    println!("       {renewals} renewals, {} keys", keys.len());
    ensure!(
        keys.len() >= 2 || renewals < 3,
        "the key never changed in {renewals} renewals"
    );
    Ok(())
}

/// A table of the test's own: the machine's stays as it is.
const SHUT: &str = "nft 'add table inet test; \
    add chain inet test input { type filter hook input priority -200; }; \
    add rule inet test input iifname != lo tcp dport 80 reject with tcp reset'";

fn by_alpn(world: &mut World) -> Result<()> {
    let before = world.pebble.whole_log()?.len();
    let served = world.served()?;
    world.run(SHUT)?;
    let outcome = (|| {
        until("a certificate with port 80 shut", ORDER_LIMIT, || {
            // The first order may fail by HTTP-01; who asks again is told so.
            world.try_run("mailctl cert renew --force")?;
            let now = world.served()?;
            Ok((now.serial != served.serial).then_some(()))
        })?;
        // Pebble tells each try of HTTP-01, and of no other way.
        let log = world.pebble.whole_log()?;
        let last = log[before..]
            .rsplit("Added order")
            .next()
            .unwrap_or_default();
        ensure!(
            last.contains("set VALID") && !last.contains("validate w/ HTTP"),
            "{last}"
        );
        Ok(())
    })();
    world.run("nft delete table inet test")?;
    outcome?;
    let target = SocketAddr::new(world.address(), 80);
    super::super::https::get_clear(world.client(), target, HOST_NAME, "/").map(drop)
}

fn window_moved_up(world: &mut World) -> Result<()> {
    let before = world.served()?;
    world
        .pebble
        .set_window(Some(("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z")));
    // The authority said when to ask again: the machine is moved on past that.
    let outcome = world.move_clock("+7 hours").and_then(|()| {
        until("a renewal", ORDER_LIMIT, || {
            world.run("systemctl start mailimg-acme.service || true")?;
            Ok((world.served()?.serial != before.serial).then_some(()))
        })
    });
    world.pebble.set_window(None);
    outcome
}
