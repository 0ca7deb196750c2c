//! Submission: a user sends as himself and tells nobody where he sits.

use std::net::SocketAddr;

use anyhow::{Result, ensure};

use super::super::site::HOST_NAME;
use super::super::smtp::{CLIENT_NAME, Conversation};
use super::Promise;
use super::world::{World, header_values, letter, must_refuse};
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
        says: "a user's own address may be his name too; a From header that reads in two ways is refused with advice",
        check: names_in_from,
    },
    Promise {
        says: "a Sender header that names somebody else is taken out",
        check: foreign_sender,
    },
    Promise {
        says: "a device that logs in may leave out the <> around addresses, a stranger may not",
        check: bare_addresses,
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

fn names_in_from(world: &World) -> Result<()> {
    let olga = world.account("olga");
    let send = |from: &str, subject: &str| {
        let message = letter(from, &olga.address, subject, "Hello.");
        let mut client = world.submission(&olga)?;
        client.send(&olga.address, &[&olga.address], message.as_bytes())
    };
    for from in [
        "olga@wombat.example <olga@wombat.example>",
        "\"Oje, Olga\" <olga@wombat.example>",
        "=?utf-8?q?Oje=2C_=C3=96lga?= <olga@wombat.example>",
        "Olga <olga@wombat.example>,",
    ] {
        let subject = world.unique("names in from");
        send(from, &subject)?.must_be(&[250], from)?;
        world.read(&olga, &subject)?;
    }
    for (from, advice) in [
        // Postfix completes the bare word before anybody sees it.
        ("Oje, Olga <olga@wombat.example>", "put the name in quotes"),
        (
            "bert@wombat.example <olga@wombat.example>",
            "cannot be read: put the name in quotes",
        ),
        (
            "=?utf-8?q?bert=40wombat.example?= <olga@wombat.example>",
            "may not send as bert@wombat.example",
        ),
    ] {
        let reply = send(from, "refused")?;
        must_refuse(&reply, from)?;
        ensure!(reply.text.contains(advice), "{from}: {}", reply.text);
    }
    Ok(())
}

fn foreign_sender(world: &World) -> Result<()> {
    let olga = world.account("olga");
    let subject = world.unique("sent by another");
    let message = letter(&olga.address, &olga.address, &subject, "Hello.");
    let message = format!("Sender: bert@wombat.example\r\n{message}");
    world
        .submission(&olga)?
        .send(&olga.address, &[&olga.address], message.as_bytes())?
        .must_be(&[250], "a foreign Sender")?;
    let message = world.read(&olga, &subject)?;
    ensure!(
        header_values(&message, "Sender").is_empty(),
        "Sender stands in {message}"
    );
    Ok(())
}

fn bare_addresses(world: &World) -> Result<()> {
    let fritz = world.account("fritz");
    let subject = world.unique("no brackets");
    let mut client = world.submission(&fritz)?;
    client.say(&format!("MAIL FROM:{}", fritz.address), "250")?;
    client.say(&format!("RCPT TO: {}", fritz.address), "250")?;
    let message = letter(&fritz.address, &fritz.address, &subject, "Hello.");
    client
        .data(message.as_bytes())?
        .must_be(&[250], "the message")?;
    world.read(&fritz, &subject)?;
    // Whose address it is counts all the same.
    let mut client = world.submission(&fritz)?;
    let reply = client.ask("MAIL FROM:bert@wombat.example")?;
    let reply = if reply.code == 250 {
        client.ask(&format!("RCPT TO:{}", fritz.address))?
    } else {
        reply
    };
    must_refuse(&reply, "MAIL FROM:bert@wombat.example")?;
    let mut stranger = world.stranger()?;
    stranger.say("MAIL FROM:kim@outside.example", "501")?;
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
