//! Delivery to others: IPv4, IPv6, DANE, and a relay host.

use anyhow::{Result, ensure};

use super::super::site::{DANE_DOMAIN, FORGED_DOMAIN, FOUR_DOMAIN, SIX_DOMAIN};
use super::super::smtp::Conversation;
use super::Promise;
use super::world::{DELIVERY_LIMIT, World, friend, letter};
use crate::world::network::machine_address6;
use crate::world::network::{OUTSIDE_CLIENTS6, OUTSIDE_MAIL, OUTSIDE_MAIL6, OUTSIDE_SERVERS};
use crate::world::wait::until;

pub const PROMISES: &[Promise] = &[
    Promise {
        says: "mail goes out to servers with an IPv4 address only",
        check: out_on_ipv4,
    },
    Promise {
        says: "mail goes out to servers with an IPv6 address only",
        check: out_on_ipv6,
    },
    Promise {
        says: "mail comes in on IPv6",
        check: in_on_ipv6,
    },
    Promise {
        says: "a server whose certificate its TLSA record names gets its mail, encrypted",
        check: dane_match,
    },
    Promise {
        says: "a server whose certificate its TLSA record does not name gets none; the mail waits",
        check: dane_mismatch,
    },
];

fn out_on_ipv4(world: &World) -> Result<()> {
    let recipient = format!("{}@{FOUR_DOMAIN}", world.unique("four"));
    world
        .submit(&world.account("carla"), &recipient, "to IPv4")?
        .must_be(&[250], "the message")?;
    let caught = world.caught(&recipient)?;
    ensure!(
        caught.server == OUTSIDE_MAIL,
        "it came to {}",
        caught.server
    );
    ensure!(
        caught.client == world.address(),
        "it came from {}",
        caught.client
    );
    Ok(())
}

fn out_on_ipv6(world: &World) -> Result<()> {
    let recipient = format!("{}@{SIX_DOMAIN}", world.unique("six"));
    world
        .submit(&world.account("carla"), &recipient, "to IPv6")?
        .must_be(&[250], "the message")?;
    let caught = world.caught(&recipient)?;
    ensure!(
        caught.server == OUTSIDE_MAIL6,
        "it came to {}",
        caught.server
    );
    ensure!(
        caught.client == machine_address6(0),
        "it came from {}",
        caught.client
    );
    Ok(())
}

fn in_on_ipv6(world: &World) -> Result<()> {
    let subject = world.unique("over IPv6");
    let target = (machine_address6(0), 25).into();
    let (conversation, _) = Conversation::open(OUTSIDE_CLIENTS6[0].into(), target)?;
    let sender = friend("six");
    conversation.deliver(
        &sender,
        "carla@wombat.example",
        &letter(&sender, "carla@wombat.example", &subject, "Hello."),
    )?;
    let message = world.read(&world.account("carla"), &subject)?;
    ensure!(
        message.contains(&format!("IPv6:{}", OUTSIDE_CLIENTS6[0])),
        "{message}"
    );
    Ok(())
}

fn dane_match(world: &World) -> Result<()> {
    let recipient = format!("{}@{DANE_DOMAIN}", world.unique("dane"));
    world
        .submit(&world.account("carla"), &recipient, "to DANE")?
        .must_be(&[250], "the message")?;
    let caught = world.caught(&recipient)?;
    ensure!(
        caught.server == OUTSIDE_SERVERS[0],
        "it came to {}",
        caught.server
    );
    ensure!(caught.encrypted, "it came in the clear");
    let log = world.run("journalctl --no-pager -o cat -u 'postfix*' | grep 'TLS connection established to mx.dane.example' | tail -n 1")?;
    ensure!(log.contains("Verified TLS"), "Postfix says {log:?}");
    Ok(())
}

fn dane_mismatch(world: &World) -> Result<()> {
    let recipient = format!("{}@{FORGED_DOMAIN}", world.unique("forged"));
    world
        .submit(&world.account("carla"), &recipient, "to a forger")?
        .must_be(&[250], "the message")?;
    let waiting = until("the mail to wait", DELIVERY_LIMIT, || {
        let queue = world.run("postqueue -j")?;
        Ok(queue
            .lines()
            .find(|line| line.contains(&recipient) && line.contains("\"deferred\""))
            .map(str::to_owned))
    })?;
    ensure!(
        waiting.contains("Server certificate not trusted")
            || waiting.contains("not verified")
            || waiting.contains("TLS"),
        "it waits for another reason: {waiting}"
    );
    ensure!(
        world.site.sink.find(&recipient).is_none(),
        "the forger got the message"
    );
    world.run("postsuper -d ALL deferred 2>&1")?;
    Ok(())
}
