//! What a machine has after a boot that nobody touched.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::super::served::TLS_PORTS;
use super::super::site::HOST_NAME;
use super::Row;
use super::world::{ORDER_LIMIT, World};
use crate::world::wait::until;

/// Between two questions for the same name.
const PAUSE: Duration = Duration::from_secs(10);

pub const ROWS: &[Row] = &[
    Row {
        says: "all ports show one certificate, which the authority's root vouches for",
        check: one_certificate,
    },
    Row {
        says: "mailctl cert status says what is in use, in words and in JSON",
        check: status,
    },
    Row {
        says: "no secret of the agent can be read by others, and none is in the journal",
        check: secrets,
    },
];

/// Once records are published, which optional names wait for.
pub const LATER_ROWS: &[Row] = &[
    Row {
        says: "one account was made, and the authority was not asked twice for any name",
        check: one_account,
    },
    Row {
        says: "a second boot shows the same certificate and asks for no account, order or key",
        check: second_boot,
    },
];

fn one_certificate(world: &mut World) -> Result<()> {
    for port in TLS_PORTS {
        let served = world.served_on(port)?;
        println!("       port {port}: serial {}", served.serial);
        ensure!(!served.self_signed, "port {port} shows the first one");
        served.verify(world.pebble.root(), HOST_NAME)?;
    }
    world.served_everywhere().map(drop)
}

/// Optional names are ordered one after the other; when the number of orders
/// stands still they are done.
fn one_account(world: &mut World) -> Result<()> {
    let names = [
        "mta-sts.wombat.example",
        "autoconfig.wombat.example",
        "autodiscover.wombat.example",
        "mta-sts.koala.example",
        "autoconfig.koala.example",
        "autodiscover.koala.example",
    ];
    // The agent looks for them again by itself after a while; an owner who has
    // just published them asks at once, and again when resolvers have forgotten
    // that there were none.
    // Six orders, one after the other.
    let having = until("certificates of all names", 3 * ORDER_LIMIT, || {
        let found = world.run("ls /var/lib/mailimg/tls/names 2>/dev/null || true")?;
        let missing = names
            .iter()
            .find(|name| !found.lines().any(|line| line == **name));
        if let Some(name) = missing {
            let (code, said) = world.try_run(&format!("mailctl cert renew {name}"))?;
            if code != 0 {
                println!("       {}", said.trim());
                std::thread::sleep(PAUSE);
            }
        }
        Ok(missing.is_none().then_some(()))
    });
    let counts = world.pebble.counts();
    println!("       {counts:?}");
    having?;
    ensure!(counts.accounts == 1, "accounts: {}", counts.accounts);
    ensure!(
        counts.orders == 1 + names.len(),
        "{} orders for {} names",
        counts.orders,
        1 + names.len()
    );
    Ok(())
}

fn status(world: &mut World) -> Result<()> {
    let text = world.run("mailctl cert status")?;
    for line in text.lines() {
        println!("       {line}");
    }
    ensure!(text.contains(HOST_NAME), "{text}");
    let json: serde_json::Value = serde_json::from_str(&world.run("mailctl cert status --json")?)?;
    ensure!(json.to_string().contains(HOST_NAME), "{json}");
    Ok(())
}

fn secrets(world: &mut World) -> Result<()> {
    let open = world.run(
        "find /var/lib/mailimg/tls /var/lib/mailimg/acme -name '*key*' -type f -perm /o+r; \
         grep -rlE 'PRIVATE KEY' /var/lib/mailimg/acme /var/lib/mailimg/tls /run/mailimg-acme \
         2>/dev/null | while read -r file; do find \"$file\" -perm /o+r; done",
    )?;
    ensure!(open.trim().is_empty(), "others can read {open}");
    let (_, said) = world.try_run(
        "journalctl --no-pager -b -o cat | grep -cE 'PRIVATE KEY|bm90IG11Y2ggb2YgYSBzZWNyZXQ'",
    )?;
    ensure!(said.trim() == "0", "the journal has a secret: {said}");
    Ok(())
}

fn second_boot(world: &mut World) -> Result<()> {
    const KEYS: &str = "cd /var/lib/mailimg && find tls acme -type f -name '*key*' -exec sha256sum {} + | sort -k 2; \
                        sha256sum /var/lib/mailimg/tls/fullchain.pem";
    let before = world.served()?;
    let counts = world.pebble.counts();
    let keys = world.run(KEYS)?;
    world.machine.reboot(&world.key)?;
    world
        .machine
        .wait_for_banner(25, super::super::machine::BOOT_LIMIT)?;
    world.key.keep_connection(world.address())?;
    // The agent has had its turn.
    world.run("systemctl start mailimg-acme.service")?;
    let after = world.served_everywhere()?;
    ensure!(after.serial == before.serial, "the serial changed");
    ensure!(world.run(KEYS)? == keys, "keys changed");
    let now = world.pebble.counts();
    ensure!(
        (now.accounts, now.orders) == (counts.accounts, counts.orders),
        "{counts:?} became {now:?}"
    );
    println!(
        "       requests meanwhile: {}",
        now.requests - counts.requests
    );
    Ok(())
}
