//! Mail to domains with an MTA-STS policy, and the reports they want.

use anyhow::{Result, ensure};

use super::super::promises::world::letter;
use super::super::site::{DOMAIN, REPORTS_ADDRESS, STS_DOMAINS};
use super::super::{dkim, dns};
use super::Row;
use super::world::{DELIVERY_LIMIT, World};
use crate::world::network::STS_SERVERS;
use crate::world::wait::until;

pub const ROWS: &[Row] = &[
    Row {
        says: "a policy to enforce that the server keeps: delivered, verified by name",
        check: kept,
    },
    Row {
        says: "a policy to enforce, and nobody vouches for the server: deferred",
        check: nameless,
    },
    Row {
        says: "a policy to enforce that names another server: deferred",
        check: elsewhere,
    },
    Row {
        says: "a policy on trial is broken: delivered",
        check: trying,
    },
    Row {
        says: "a TLSA record that fits wins over a policy that does not: delivered",
        check: both,
    },
];

/// Moves the clock on a day.
pub const LATER_ROWS: &[Row] = &[Row {
    says: "a report on TLS (RFC 8460) reaches who asked for it, signed",
    check: report,
}];

/// Sends a message to one of the domains and returns its recipient.
fn send(world: &World, domain: usize) -> Result<String> {
    let anna = world.account("anna");
    let recipient = format!("{}@{}", world.unique("sts"), STS_DOMAINS[domain].name);
    let message = letter(&anna.address, &recipient, &recipient, "Hello.");
    world
        .submission(&anna)?
        .send(&anna.address, &[&recipient], message.as_bytes())?
        .must_be(&[250], "the message")?;
    Ok(recipient)
}

fn must_arrive(world: &World, domain: usize) -> Result<String> {
    let recipient = send(world, domain)?;
    let caught = world.caught(&recipient)?;
    ensure!(
        caught.server == STS_SERVERS[domain] && caught.encrypted,
        "it came to {}, encrypted: {}",
        caught.server,
        caught.encrypted
    );
    world.run(&format!(
        "journalctl --no-pager -b -o cat -u 'postfix*' | \
         grep 'TLS connection established to mx.{}' | tail -n 1",
        STS_DOMAINS[domain].name
    ))
}

/// The reason in the queue; the message is taken out afterwards.
fn must_wait(world: &World, domain: usize) -> Result<String> {
    let recipient = send(world, domain)?;
    let waiting = until("the mail to wait", DELIVERY_LIMIT, || {
        let queue = world.run("postqueue -j")?;
        Ok(queue
            .lines()
            .find(|line| line.contains(&recipient) && line.contains("\"deferred\""))
            .map(str::to_owned))
    })?;
    println!("       {waiting}");
    ensure!(
        world.site.sink.find(&recipient).is_none(),
        "the server got the message"
    );
    world.run("postsuper -d ALL deferred 2>&1")?;
    Ok(waiting)
}

fn kept(world: &mut World) -> Result<()> {
    let log = must_arrive(world, 0)?;
    ensure!(log.contains("Verified TLS"), "Postfix says {log:?}");
    Ok(())
}

fn nameless(world: &mut World) -> Result<()> {
    let reason = must_wait(world, 1)?;
    ensure!(reason.contains("certificate"), "another reason: {reason}");
    Ok(())
}

fn elsewhere(world: &mut World) -> Result<()> {
    must_wait(world, 2)?;
    // The queue only has words that are true of any server that cannot be used.
    let log = world.run("journalctl --no-pager -b -o cat -u 'postfix*' | grep elsewhere")?;
    ensure!(
        log.contains("does not match STS MX pattern"),
        "Postfix says {log:?}"
    );
    Ok(())
}

fn trying(world: &mut World) -> Result<()> {
    must_arrive(world, 3).map(drop)
}

fn both(world: &mut World) -> Result<()> {
    let log = must_arrive(world, 4)?;
    ensure!(log.contains("Verified TLS"), "Postfix says {log:?}");
    Ok(())
}

fn report(world: &mut World) -> Result<()> {
    // Reports are of whole days.
    world.move_clock("+1 day")?;
    // Nothing is told before NTP has set the clock, which this one stands for.
    world.run(
        "mkdir -p /run/systemd/timesync; touch /run/systemd/timesync/synchronized; \
         systemctl start mailimg-tlsrpt.service",
    )?;
    let caught = world.caught(REPORTS_ADDRESS)?;
    let text = String::from_utf8_lossy(&caught.message);
    ensure!(
        text.contains("tlsrpt") && text.contains("TLS-Report-Domain"),
        "{text}"
    );
    let signers = dkim::verify(&caught.message, dns::address())?;
    ensure!(
        signers.iter().any(|signer| signer.domain == DOMAIN),
        "signed by {signers:?}"
    );
    Ok(())
}
