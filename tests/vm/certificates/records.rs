//! Records: pushed by the machine, printed by it, and checked by it.

use anyhow::{Context, Result, ensure};

use super::super::dns;
use super::super::site::{DOMAIN, SECOND_DOMAIN};
use super::Row;
use super::world::{ORDER_LIMIT, World};
use crate::world::query;
use crate::world::wait::until;

pub const ROWS: &[Row] = &[
    Row {
        says: "records published by updates (RFC 2136) pass mailctl dns check, IPv6 too",
        check: published,
    },
    Row {
        says: "the zone that mailctl dns records --zone prints passes the check when loaded by hand",
        check: loaded_by_hand,
    },
    Row {
        says: "a missing MX, a wrong address and a foreign DKIM key each turn the check red",
        check: faults,
    },
    Row {
        says: "publishing again mends the zones",
        check: mended,
    },
];

/// What the check says of everything, and that it is content.
fn must_be_green(world: &World) -> Result<()> {
    let (code, text) = world.try_run("mailctl dns check")?;
    for line in text.lines() {
        println!("       {line}");
    }
    ensure!(code == 0, "mailctl dns check ended with {code}");
    Ok(())
}

fn published(world: &mut World) -> Result<()> {
    until("a published DKIM key", ORDER_LIMIT, || {
        let name = format!("mailserver._domainkey.{SECOND_DOMAIN}");
        if query::lookup_txt(dns::address(), &name)?.is_empty() {
            world.run("systemctl start mailimg-dns.service || true")?;
            return Ok(None);
        }
        Ok(Some(()))
    })
    .with_context(|| world.try_run("mailctl dns publish").unwrap_or_default().1)?;
    let text = world.site.dns.zone_text(&format!("{DOMAIN}."))?;
    for kind in [" AAAA ", " TLSA ", " SRV ", "_mta-sts", "_smtp._tls"] {
        ensure!(text.contains(kind), "{kind:?} is not in the zone:\n{text}");
    }
    must_be_green(world)
}

/// The printed zones, each with its name, in the form that the harness loads.
fn printed_zone(world: &World, domain: &str) -> Result<Vec<String>> {
    let text = world.run(&format!("mailctl dns records --zone {domain}"))?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn load(world: &mut World, domain: &str, lines: &[String]) -> Result<()> {
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    world.site.dns.replace(&format!("{domain}."), &lines)
}

fn loaded_by_hand(world: &mut World) -> Result<()> {
    world.run("systemctl stop mailimg-dns.timer mailimg-dns.service")?;
    for domain in [DOMAIN, SECOND_DOMAIN] {
        let lines = printed_zone(world, domain)?;
        load(world, domain, &lines)?;
    }
    must_be_green(world)
}

/// Each fault alone: the check must end with 1 and name the record.
fn faults(world: &mut World) -> Result<()> {
    let good = printed_zone(world, DOMAIN)?;
    let without = |word: &str| -> Vec<String> {
        good.iter()
            .filter(|line| !line.split_whitespace().any(|found| found == word))
            .cloned()
            .collect()
    };
    let mut wrong_address = without("A");
    wrong_address.push(format!("mail.{DOMAIN}. 60 IN A 198.18.0.99"));
    let wrong_key: Vec<String> = good
        .iter()
        .map(|line| line.replace("p=MII", "p=MIJ"))
        .collect();
    ensure!(wrong_key != good, "no DKIM key in the zone:\n{good:?}");
    for (lines, word) in [
        (without("MX"), "MX"),
        (wrong_address, "198.18.0.99"),
        (wrong_key, "DKIM"),
    ] {
        load(world, DOMAIN, &lines)?;
        let (code, text) = world.try_run("mailctl dns check")?;
        ensure!(code == 1, "ended with {code} for {word}:\n{text}");
        ensure!(text.contains(word), "says nothing of {word}:\n{text}");
    }
    load(world, DOMAIN, &good)
}

fn mended(world: &mut World) -> Result<()> {
    let empty = [format!("mail.{DOMAIN}. 60 IN A 198.18.0.99")];
    load(world, DOMAIN, &empty)?;
    world.run("systemctl start mailimg-dns.timer; mailctl dns publish")?;
    must_be_green(world)
}
