//! One message stays one message, and clients that do not wait are refused
//! (<https://www.postfix.org/smtp-smuggling.html>).

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::super::imap::wait_in;
use super::super::wire::Wire;
use super::Promise;
use super::world::{World, friend, letter};
use crate::world::network::{OUTSIDE_CLIENTS, STRANGERS};

/// Longer than the machine lets a talker wait before it speaks.
const GREETING_LIMIT: Duration = Duration::from_secs(60);

/// Ends of data that some servers take and others do not.
const TERMINATORS: [&[u8]; 7] = [
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\n.\r",
];

pub const PROMISES: &[Promise] = &[
    Promise {
        says: "no end of data but CRLF.CRLF begins a second message, neither on 25 nor on 465",
        check: terminators,
    },
    Promise {
        says: "a client that talks before it is greeted gets no mail in",
        check: pregreet,
    },
    Promise {
        says: "commands sent ahead by a client that may not are refused",
        check: pipelining_abuse,
    },
];

fn terminators(world: &World) -> Result<()> {
    let gerda = world.account("gerda");
    let mut subjects = Vec::new();
    for (index, terminator) in TERMINATORS.iter().enumerate() {
        let subject = world.unique("carrier");
        let (mut client, sender) = if index % 2 == 0 {
            (world.stranger()?, friend("smuggler"))
        } else {
            (world.submission(&gerda)?, gerda.address.clone())
        };
        client.envelope(&sender, &[&gerda.address])?;
        client.say("DATA", "354")?;
        let hidden = letter(&sender, &gerda.address, "smuggled", "Boo.");
        let mut bytes = letter(&sender, &gerda.address, &subject, "The first line.").into_bytes();
        bytes.truncate(bytes.len() - 2);
        bytes.extend_from_slice(terminator);
        bytes.extend_from_slice(
            format!(
                "MAIL FROM:<{sender}>\r\nRCPT TO:<{}>\r\nDATA\r\n{hidden}\r\n.\r\n",
                gerda.address
            )
            .as_bytes(),
        );
        client.wire().send(&bytes)?;
        let reply = client.reply()?;
        let name = terminator.escape_ascii();
        match reply.code {
            250 => subjects.push(subject),
            // Refusing the whole is as good.
            500..600 => continue,
            _ => bail!("{name}: {:?}", reply.text),
        }
        // One answer for one message: the next one is to the next command.
        let reply = client.ask("NOOP not-in-the-message")?;
        ensure!(
            reply.code == 250 && !reply.text.contains("queued"),
            "{name}: a second answer came, {:?}",
            reply.text
        );
    }
    ensure!(!subjects.is_empty(), "no carrier was accepted");
    let mut mailbox = world.mailbox(&gerda)?;
    for subject in &subjects {
        wait_in(&mut mailbox, "INBOX", subject)?;
    }
    let messages = mailbox.messages("INBOX")?;
    let smuggled = messages
        .iter()
        .filter(|message| {
            let text = String::from_utf8_lossy(message);
            let head = text.split("\r\n\r\n").next().unwrap_or_default().to_owned();
            head.contains("Subject: smuggled")
        })
        .count();
    ensure!(
        smuggled == 0 && messages.len() == subjects.len(),
        "{} messages for {} carriers, {smuggled} of them smuggled",
        messages.len(),
        subjects.len()
    );
    Ok(())
}

fn pregreet(world: &World) -> Result<()> {
    let mut wire = Wire::open(STRANGERS[0].into(), world.port(25))?;
    wire.set_limit(GREETING_LIMIT)?;
    wire.send(
        format!(
            "EHLO hasty.example\r\nMAIL FROM:<{}>\r\nRCPT TO:<hugo@wombat.example>\r\n",
            friend("hasty")
        )
        .as_bytes(),
    )?;
    let mut said = Vec::new();
    while let Some(line) = wire.line()? {
        let refused = line.starts_with("55") || line.starts_with("52") || line.starts_with("421");
        said.push(line);
        if refused {
            return Ok(());
        }
        if said.iter().filter(|line| line.starts_with("250 ")).count() >= 3 {
            bail!("a recipient was accepted: {said:?}");
        }
    }
    // Hung up without a word for it.
    Ok(())
}

fn pipelining_abuse(world: &World) -> Result<()> {
    // HELO announces no pipelining, so everything after it has to wait.
    let mut wire = Wire::open(OUTSIDE_CLIENTS[1].into(), world.port(25))?;
    loop {
        let Some(line) = wire.line()? else {
            bail!("the machine hung up before its banner");
        };
        if line.starts_with("220 ") {
            break;
        }
    }
    let subject = world.unique("ahead");
    let letter = letter(&friend("ahead"), "hugo@wombat.example", &subject, "Hello.");
    wire.send(
        format!(
            "HELO client.outside.example\r\nMAIL FROM:<{}>\r\nRCPT TO:<hugo@wombat.example>\r\n\
             DATA\r\n{letter}.\r\nQUIT\r\n",
            friend("ahead")
        )
        .as_bytes(),
    )?;
    let mut said = Vec::new();
    while let Some(line) = wire.line()? {
        said.push(line);
    }
    ensure!(
        said.iter()
            .any(|line| line.starts_with('5') || line.starts_with("421")),
        "nothing was refused: {said:?}"
    );
    ensure!(
        !said.iter().any(|line| line.contains("queued")),
        "the message was taken: {said:?}"
    );
    Ok(())
}
