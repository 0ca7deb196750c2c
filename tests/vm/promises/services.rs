//! Services: nothing failed, everything is confined, and a relay host is used.

use anyhow::{Context, Result, ensure};

use super::super::network::OUTSIDE_SERVERS;
use super::super::site::{RELAY_HOST_NAME, RELAY_PORT};
use super::super::wait::until;
use super::Promise;
use super::world::{DELIVERY_LIMIT, World};

/// The highest exposure that `systemd-analyze security` may find.
const EXPOSURE: f64 = 2.5;
/// Services that this limit is for: ours and those that mail goes through.
const CONFINED: [&str; 6] = [
    "mailimg-",
    "opendkim",
    "opendmarc",
    "unbound",
    "postfix",
    "dovecot",
];

/// Units of ours that talk to the world beyond mail; each must be in the table.
const OUTWARD: [&str; 4] = [
    "mailimg-acme.service",
    "mailimg-web.service",
    "mailimg-sts.service",
    "mailimg-dns.service",
];

pub const PROMISES: &[Promise] = &[
    Promise {
        says: "the exposure of every service of mail is at most 2.5 (systemd-analyze security)",
        check: exposure,
    },
    Promise {
        says: "with RELAYHOST set, mail goes out through it, encrypted and logged in",
        check: relay_host,
    },
    Promise {
        says: "after all this no unit has failed",
        check: nothing_failed,
    },
];

fn exposure(world: &World) -> Result<()> {
    let table = world.run("systemd-analyze --no-pager security")?;
    for line in table.lines() {
        println!("       {line}");
    }
    let mut exposed = Vec::new();
    let mut seen = Vec::new();
    for line in table.lines() {
        let mut words = line.split_whitespace();
        let (Some(unit), Some(value)) = (words.next(), words.next()) else {
            continue;
        };
        let Some(name) = CONFINED.iter().find(|name| unit.starts_with(**name)) else {
            continue;
        };
        seen.push(*name);
        let value: f64 = value
            .parse()
            .with_context(|| format!("reading the exposure in {line:?}"))?;
        if value > EXPOSURE {
            exposed.push(format!("{unit} {value}"));
        }
    }
    for name in CONFINED {
        ensure!(seen.contains(&name), "{name} is not in the table");
    }
    for unit in OUTWARD {
        ensure!(table.contains(unit), "{unit} is not in the table");
    }
    ensure!(exposed.is_empty(), "exposed: {exposed:?}");
    Ok(())
}

fn relay_host(world: &World) -> Result<()> {
    let login = &world.site.relay_login;
    world.run(&format!(
        "cp -a /var/lib/mailimg/settings.env /run/settings.kept\n\
         cat >>/var/lib/mailimg/settings.env <<'END'\nRELAYHOST=[{RELAY_HOST_NAME}]:{RELAY_PORT}\n\
         RELAYHOST_USER={}\nRELAYHOST_PASSWORD={}\nEND\nmailctl settings apply",
        login.address, login.password
    ))?;
    let outcome = (|| {
        // Postfix takes new settings up between two messages, not at once.
        let caught = until("the relay to be used", DELIVERY_LIMIT, || {
            let recipient = format!("{}@outside.example", world.unique("relayed"));
            world
                .submit(&world.account("carla"), &recipient, "through a relay")?
                .must_be(&[250], "the message")?;
            let caught = world.caught(&recipient)?;
            Ok((caught.server == OUTSIDE_SERVERS[2]).then_some(caught))
        })?;
        ensure!(
            caught.encrypted && caught.logged_in,
            "encrypted: {}, logged in: {}",
            caught.encrypted,
            caught.logged_in
        );
        Ok(())
    })();
    world.run("cp -a /run/settings.kept /var/lib/mailimg/settings.env; mailctl settings apply")?;
    outcome
}

fn nothing_failed(world: &World) -> Result<()> {
    let failed = world.run("systemctl --failed --no-legend --plain")?;
    ensure!(failed.trim().is_empty(), "{failed}");
    Ok(())
}
