//! Brute force: whoever guesses passwords is shut out, and nobody else.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::super::imap::Imap;
use super::super::site::HOST_NAME;
use super::Promise;
use super::guessing::{
    AT_ONCE, Logins, NAT, NEIGHBOUR, ON_143, ON_465, ON_587, ON_993, ON_4190, Way, ensure_guessed,
    guess,
};
use super::world::World;
use crate::world::network::{CLIENTS, STRANGERS6, connect_from, machine_address6};
use crate::world::wait::until;

/// How long an open port takes to answer at most, and how long a ban to come.
const CONNECT_LIMIT: Duration = Duration::from_secs(4);
const BAN_LIMIT: Duration = Duration::from_secs(30);
/// Every port with mail behind it.
const PORTS: [u16; 6] = [25, 465, 587, 143, 993, 4190];

pub const PROMISES: &[Promise] = &[
    Promise {
        says: "six wrong passwords on 465 shut their address out of every port of mail",
        check: |world| is_shut_out(world, ON_465),
    },
    Promise {
        says: "six wrong passwords on 993 shut their address out",
        check: |world| is_shut_out(world, ON_993),
    },
    Promise {
        says: "six wrong passwords on 4190 shut their address out",
        check: |world| is_shut_out(world, ON_4190),
    },
    Promise {
        says: "six wrong passwords on 587 shut their address out",
        check: |world| is_shut_out(world, ON_587),
    },
    Promise {
        says: "six wrong passwords on 143 shut their address out",
        check: |world| is_shut_out(world, ON_143),
    },
    Promise {
        says: "six wrong passwords at once shut their address out",
        check: |world| is_shut_out(world, AT_ONCE),
    },
    Promise {
        says: "six wrong passwords over IPv6 shut out the network (/64), not the one beside it",
        check: network_is_shut_out,
    },
    Promise {
        says: "while fourteen guess, a neighbour logs in on 465 and 993, however slow the machine is",
        check: neighbour_logs_in_meanwhile,
    },
    Promise {
        says: "an address that never guessed is let in on every port",
        check: neighbour_is_let_in,
    },
    Promise {
        says: "an address with good logins between the wrong ones (NAT) is let in",
        check: nat_is_let_in,
    },
    Promise {
        says: "mailctl ban list shows who is shut out, mailctl ban lift lets him in again",
        check: list_and_lift,
    },
];

fn is_open(source: IpAddr, machine: IpAddr, port: u16) -> bool {
    connect_from(source, SocketAddr::new(machine, port), CONNECT_LIMIT).is_ok()
}

fn wait_until_shut(world: &World, source: IpAddr, machine: IpAddr) -> Result<()> {
    until(&format!("{source} to be shut out"), BAN_LIMIT, || {
        Ok((!is_open(source, machine, 993)).then_some(()))
    })
    .with_context(|| {
        // What was reported lies further back than what the ports say now.
        let log = "journalctl --no-pager -o short-monotonic -b -n 60 \
                   -g 'policy|report|nft|^ban |auth failed|Password mismatch|SASL' \
                   -u 'mailimg-guard*' -u 'dovecot*' -u postfix";
        world.run(log).unwrap_or_else(|error| format!("{error:#}"))
    })
}

fn is_shut_out(world: &World, source: IpAddr) -> Result<()> {
    ensure_guessed(world, |_| Ok(()))?;
    wait_until_shut(world, source, world.address())?;
    let open: Vec<u16> = std::thread::scope(|scope| {
        let machine = world.address();
        let tries = PORTS.map(|port| (port, scope.spawn(move || is_open(source, machine, port))));
        tries
            .into_iter()
            .filter_map(|(port, handle)| handle.join().unwrap_or(true).then_some(port))
            .collect()
    });
    ensure!(open.is_empty(), "{source} is let in on {open:?}");
    Ok(())
}

fn network_is_shut_out(world: &World) -> Result<()> {
    ensure_guessed(world, |_| Ok(()))?;
    let machine = IpAddr::from(machine_address6(0));
    let [guesser, same_network, beside] = STRANGERS6.map(IpAddr::from);
    wait_until_shut(world, guesser, machine)?;
    wait_until_shut(world, same_network, machine)?;
    ensure!(is_open(beside, machine, 993), "{beside} is shut out too");
    Ok(())
}

/// Passwords were checked in the process that Postfix asks as soon as somebody connects:
/// smtpd died of waiting, and its port rested for a minute.
fn neighbour_logs_in_meanwhile(world: &World) -> Result<()> {
    let (since, logins) = ensure_guessed(world, |guessing| {
        let logins = guessing.logins.iter().try_for_each(Logins::check);
        Ok((guessing.began.elapsed().as_secs(), logins))
    })?;
    let died = world.run(&format!(
        "journalctl --no-pager -o short-precise -q --since '-{} s' -u postfix \
         -g 'no SASL authentication mechanisms|throttling' || true",
        since + 2
    ))?;
    logins.with_context(|| died.clone())?;
    ensure!(died.is_empty(), "{died}");
    Ok(())
}

fn neighbour_is_let_in(world: &World) -> Result<()> {
    ensure_guessed(world, |_| Ok(()))?;
    for source in [NEIGHBOUR, CLIENTS[0].into()] {
        for port in PORTS {
            ensure!(
                is_open(source, world.address(), port),
                "{source} is shut out of {port}"
            );
        }
    }
    let mut imap = Imap::connect(NEIGHBOUR, world.address(), HOST_NAME)?;
    let status = imap.log_in(&world.account("ulf"))?;
    ensure!(status.starts_with("OK"), "{status}");
    Ok(())
}

fn nat_is_let_in(world: &World) -> Result<()> {
    ensure_guessed(world, |_| Ok(()))?;
    ensure!(is_open(NAT, world.address(), 993), "{NAT} is shut out");
    ensure!(
        guess(Way::Imap, NAT, world.address(), &world.account("ulf"))?,
        "a right password was refused"
    );
    Ok(())
}

fn list_and_lift(world: &World) -> Result<()> {
    ensure_guessed(world, |_| Ok(()))?;
    wait_until_shut(world, ON_465, world.address())?;
    let listed = world.run("mailctl ban list")?;
    for shown in [
        ON_465.to_string(),
        ON_993.to_string(),
        "2001:2:0:1::/64".to_owned(),
    ] {
        ensure!(listed.contains(&shown), "{shown} is not in {listed:?}");
    }
    for hidden in [NAT, NEIGHBOUR] {
        ensure!(
            !listed.contains(&hidden.to_string()),
            "{hidden} is in {listed:?}"
        );
    }
    world.run(&format!("mailctl ban lift {ON_465}"))?;
    until("the lifted address to be let in", BAN_LIMIT, || {
        Ok(is_open(ON_465, world.address(), 465).then_some(()))
    })?;
    ensure!(
        !is_open(ON_993, world.address(), 993),
        "lifting one ban lifted another"
    );
    Ok(())
}
