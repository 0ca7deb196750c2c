//! An authority that is away, refuses, or wants to know who asks.

use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

use super::super::pebble::EXTERNAL_ACCOUNT;
use super::super::promises::world::letter;
use super::super::site::HOST_NAME;
use super::Row;
use super::world::{DELIVERY_LIMIT, ORDER_LIMIT, World};
use crate::world::wait::until;

/// Seconds that a refusing authority asks for.
const RETRY_AFTER: u32 = 3600;
/// For how many seconds after power-on the agent waits for a network.
const BOOTING: u64 = 5 * 60;
/// How long it waits then.
const PATIENCE: Duration = Duration::from_secs(60);

pub const ROWS: &[Row] = &[
    Row {
        says: "too many orders: nothing is asked again before Retry-After, and the status says so",
        check: refused,
    },
    Row {
        says: "an authority that asks for an external account gets it, once",
        check: external_account,
    },
    Row {
        says: "the authority away for 80 days: mail and TLS go on, status and an alert say so",
        check: away,
    },
];

fn refused(world: &mut World) -> Result<()> {
    let before = world.served()?;
    world.pebble.refuse_orders(RETRY_AFTER);
    let counts = world.pebble.counts();
    let (_, said) = world.try_run("mailctl cert renew --force")?;
    until("the refusal", ORDER_LIMIT, || {
        Ok((world.pebble.counts().orders > counts.orders).then_some(()))
    })
    .context(said)?;
    let counts = world.pebble.counts();
    for _ in 0..3 {
        world.run("systemctl start mailimg-acme.service || true")?;
    }
    let now = world.pebble.counts();
    world.pebble.refuse_orders(0);
    ensure!(
        now.orders == counts.orders,
        "orders went on: {counts:?} became {now:?}"
    );
    let (_, status) = world.try_run("mailctl cert status")?;
    for line in status.lines() {
        println!("       {line}");
    }
    ensure!(
        status.contains("rate") || status.contains("too many") || status.contains("limit"),
        "{status}"
    );
    ensure!(
        world.served()?.serial == before.serial,
        "the serial changed"
    );
    Ok(())
}

fn external_account(world: &mut World) -> Result<()> {
    let (kid, hmac) = EXTERNAL_ACCOUNT;
    let before = world.served()?;
    world.run(&format!(
        "set -e; cp -a /var/lib/mailimg/settings.env /run/settings.kept\n\
         sed -i '/^ACME_DIRECTORY_URL=/d' /var/lib/mailimg/settings.env\n\
         printf 'ACME_DIRECTORY_URL={}\\nACME_EAB_KID={kid}\\nACME_EAB_HMAC={hmac}\\n' \
         >>/var/lib/mailimg/settings.env\nmailctl settings apply",
        world.bound.directory()
    ))?;
    let (_, said) = world.try_run("mailctl cert renew --force")?;
    let served = world.wait_for_change(&before).context(said)?;
    served.verify(world.bound.root(), HOST_NAME)?;
    let counts = world.bound.counts();
    ensure!(counts.accounts == 1, "{counts:?}");
    world.renew()?;
    let counts = world.bound.counts();
    ensure!(counts.accounts == 1, "{counts:?}");
    Ok(())
}

/// Runs last: of the certificate's 90 days less than ten are left afterwards.
fn away(world: &mut World) -> Result<()> {
    let before = world.served_everywhere()?;
    world.pebble.switch(false);
    world.bound.switch(false);
    let mut took = Duration::ZERO;
    for _ in 0..8 {
        world.move_clock("+10 days")?;
        let began = Instant::now();
        world.run("systemctl start mailimg-acme.service || true")?;
        took = began.elapsed();
    }
    // A network is waited for at boot alone; later on the agent tries again some other time.
    let up: u64 = world.run("cut -d. -f1 /proc/uptime")?.trim().parse()?;
    ensure!(
        up <= BOOTING + took.as_secs() + 1 || took < PATIENCE,
        "{up} s after power-on the agent waits {took:?} for the authority"
    );
    let served = world.served_everywhere()?;
    ensure!(served.serial == before.serial, "the serial changed");
    let anna = world.account("anna");
    let bert = world.account("bert");
    let subject = world.unique("while-the-authority-is-away");
    let message = letter(&anna.address, &bert.address, &subject, "Hello.");
    world
        .submission(&anna)?
        .send(&anna.address, &[&bert.address], message.as_bytes())?
        .must_be(&[250], "the message")?;
    world.read(&bert, &subject)?;
    let (_, status) = world.try_run("mailctl cert status")?;
    for line in status.lines() {
        println!("       {line}");
    }
    ensure!(
        status.contains("acme.outside.example"),
        "the status names no authority: {status}"
    );
    let (_, whole) = world.try_run("mailctl status")?;
    ensure!(
        whole.contains("days left") && whole.contains("cannot be reached"),
        "{whole}"
    );
    let alert = until("an alert", DELIVERY_LIMIT, || {
        let mut imap = super::super::imap::Imap::open(
            world.client(),
            world.address(),
            HOST_NAME,
            &world.admin(),
        )?;
        let found = imap
            .messages("INBOX")?
            .iter()
            .map(|message| String::from_utf8_lossy(message).into_owned())
            .find(|message| message.contains("certificate") && message.contains(HOST_NAME));
        imap.log_out()?;
        Ok(found)
    })?;
    for line in alert.lines().filter(|line| line.starts_with("Subject:")) {
        println!("       {line}");
    }
    // Updates of records carry the time, and a name server refuses one that is months
    // off (BADTIME, RFC 8945, section 5.2.3): the clock is the test's doing.
    let failed = world.run("systemctl --failed --no-legend --plain")?;
    let others: Vec<&str> = failed
        .lines()
        .filter(|line| !line.starts_with("mailimg-dns.service "))
        .collect();
    ensure!(others.is_empty(), "{failed}");
    Ok(())
}
