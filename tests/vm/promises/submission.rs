//! Submission: a user sends as himself and tells nobody where he sits.

use std::net::SocketAddr;

use anyhow::{Result, ensure};

use super::super::site::HOST_NAME;
use super::super::smtp::{CLIENT_NAME, Conversation};
use super::Promise;
use super::world::{World, letter, must_refuse};
use crate::world::network::CLIENTS;

pub const PROMISES: &[Promise] = &[
    Promise {
        says: "a user may not send with another envelope sender, nor with a stranger's",
        check: envelope_spoofing,
    },
    Promise {
        says: "a user may send as his alias, and with a tag",
        check: own_alias,
    },
    Promise {
        says: "a user may not write somebody else into the From header",
        check: header_spoofing,
    },
    Promise {
        says: "nobody sends through 465 or 587 without a login",
        check: no_login_no_mail,
    },
    Promise {
        says: "what a user sends tells nobody his address or his client's name",
        check: client_is_hidden,
    },
    Promise {
        says: "a password is taken in the forms that clients use, PLAIN and LOGIN",
        check: plain_and_login,
    },
];

fn envelope_spoofing(world: &World) -> Result<()> {
    let anna = world.account("anna");
    for sender in [
        "bert@wombat.example",
        "kim@koala.example",
        "nobody@wombat.example",
        "someone@outside.example",
        "office+tag@koala.example",
    ] {
        let mut client = world.submission(&anna)?;
        let reply = client.ask(&format!("MAIL FROM:<{sender}>"))?;
        let reply = if reply.code == 250 {
            client.ask("RCPT TO:<bert@wombat.example>")?
        } else {
            reply
        };
        must_refuse(&reply, sender)?;
    }
    Ok(())
}

fn own_alias(world: &World) -> Result<()> {
    let anna = world.account("anna");
    for sender in ["info@wombat.example", "anna+shop@wombat.example"] {
        let subject = world.unique("as an alias");
        let message = letter(sender, "bert@wombat.example", &subject, "Hello.");
        world
            .submission(&anna)?
            .send(sender, &["bert@wombat.example"], message.as_bytes())?
            .must_be(&[250], sender)?;
        world.read(&world.account("bert"), &subject)?;
    }
    Ok(())
}

fn header_spoofing(world: &World) -> Result<()> {
    let olga = world.account("olga");
    for from in [
        "bert@wombat.example",
        "Olga <boss@outside.example>",
        "\"olga@wombat.example\" <bert@wombat.example>",
        "olga@wombat.example, bert@wombat.example",
    ] {
        let message = letter(
            from,
            "bert@wombat.example",
            &world.unique("spoofed"),
            "Hello.",
        );
        let reply = world.submission(&olga)?.send(
            &olga.address,
            &["bert@wombat.example"],
            message.as_bytes(),
        )?;
        must_refuse(&reply, &format!("From: {from}"))?;
    }
    for from in [
        "\"Olga O.\" <OLGA@wombat.example>",
        "olga@wombat.example (me)",
    ] {
        let subject = world.unique("own head");
        let message = letter(from, &olga.address, &subject, "Hello.");
        world
            .submission(&olga)?
            .send(&olga.address, &[&olga.address], message.as_bytes())?
            .must_be(&[250], from)?;
    }
    Ok(())
}

fn no_login_no_mail(world: &World) -> Result<()> {
    let mut wrapped = Conversation::open_tls(world.client(), world.port(465), HOST_NAME)?;
    wrapped.hello()?;
    let (clear, _) = Conversation::open(world.client(), world.port(587))?;
    let (started, _) = clear.start_tls(HOST_NAME)?;
    for mut client in [wrapped, started] {
        let reply = client.ask("MAIL FROM:<anna@wombat.example>")?;
        let reply = if reply.code == 250 {
            client.ask("RCPT TO:<bert@wombat.example>")?
        } else {
            reply
        };
        must_refuse(&reply, "mail without a login")?;
    }
    Ok(())
}

fn client_is_hidden(world: &World) -> Result<()> {
    let anna = world.account("anna");
    let recipient = format!("{}@outside.example", world.unique("hidden"));
    let source = CLIENTS[3].into();
    let target = SocketAddr::new(world.address(), 465);
    let mut client = Conversation::open_tls(source, target, HOST_NAME)?;
    client.hello()?;
    client.log_in(&anna)?.must_be(&[235], "the login")?;
    let letter = letter(&anna.address, &recipient, "hidden", "Hello.");
    client
        .send(&anna.address, &[&recipient], letter.as_bytes())?
        .must_be(&[250], "the message")?;
    let caught = world.caught(&recipient)?;
    let text = String::from_utf8_lossy(&caught.message).into_owned();
    for word in [CLIENTS[3].to_string().as_str(), CLIENT_NAME] {
        ensure!(!text.contains(word), "{word} stands in {text}");
    }
    Ok(())
}

fn plain_and_login(world: &World) -> Result<()> {
    use base64::Engine;
    let anna = world.account("anna");
    let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let mut client = Conversation::open_tls(world.client(), world.port(465), HOST_NAME)?;
    client.hello()?;
    client.say("AUTH LOGIN", "334")?;
    client.say(&base64(&anna.address), "334")?;
    client.say(&base64(&anna.password), "235")?;
    let mut client = Conversation::open_tls(world.client(), world.port(465), HOST_NAME)?;
    client.hello()?;
    client.say("AUTH PLAIN", "334")?;
    client.say(
        &base64(&format!("\0{}\0{}", anna.address, anna.password)),
        "235",
    )?;
    Ok(())
}
