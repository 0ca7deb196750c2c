//! Limits: size of a message, of a mailbox, and recipients an hour.

use anyhow::{Result, ensure};

use super::Promise;
use super::world::{MESSAGE_SIZE, QUOTA, SENDING_LIMIT, World, friend, letter};

pub const PROMISES: &[Promise] = &[
    Promise {
        says: "a message of exactly MESSAGE_SIZE_LIMIT is delivered whole",
        check: at_the_limit,
    },
    Promise {
        says: "one byte more is refused with 552, announced or not",
        check: above_the_limit,
    },
    Promise {
        says: "mail to a full mailbox is refused at once and never waits in the queue",
        check: over_quota,
    },
    Promise {
        says: "clients are told that a mailbox has room for 300,000 messages",
        check: messages,
    },
    Promise {
        says: "an account sends to SENDING_LIMIT recipients an hour, one more gets 450, others go on",
        check: sending_limit,
    },
];

/// A message of exactly so many bytes on the wire.
fn message_of(bytes: usize, subject: &str) -> Vec<u8> {
    let mut message = letter(&friend("big"), "carla@wombat.example", subject, "").into_bytes();
    let line = [&[b'x'; 76][..], b"\r\n"].concat();
    while bytes - message.len() > 2 * line.len() {
        message.extend_from_slice(&line);
    }
    let rest = bytes - message.len() - 2;
    message.extend(std::iter::repeat_n(b'y', rest));
    message.extend_from_slice(b"\r\n");
    message
}

fn at_the_limit(world: &World) -> Result<()> {
    let subject = world.unique("at the limit");
    let message = message_of(MESSAGE_SIZE, &subject);
    let mut stranger = world.stranger()?;
    stranger.say(
        &format!("MAIL FROM:<{}> SIZE={MESSAGE_SIZE}", friend("big")),
        "250",
    )?;
    stranger.say("RCPT TO:<carla@wombat.example>", "250")?;
    stranger.data(&message)?.must_be(&[250], "the message")?;
    let stored = world.read(&world.account("carla"), &subject)?;
    let (_, body) = std::str::from_utf8(&message)?
        .split_once("\r\n\r\n")
        .unwrap_or_default();
    ensure!(
        stored.ends_with(body),
        "the body that arrived is another one"
    );
    Ok(())
}

fn above_the_limit(world: &World) -> Result<()> {
    let mut stranger = world.stranger()?;
    stranger.say(
        &format!("MAIL FROM:<{}> SIZE={}", friend("big"), MESSAGE_SIZE + 1),
        "552",
    )?;
    stranger.say("RSET", "250")?;
    stranger.envelope(&friend("big"), &["carla@wombat.example"])?;
    stranger
        .data(&message_of(MESSAGE_SIZE + 1, &world.unique("too large")))?
        .must_be(&[552], "the message")?;
    stranger.say("NOOP", "250")?;
    Ok(())
}

fn over_quota(world: &World) -> Result<()> {
    let dora = world.account("dora");
    let mut mailbox = world.mailbox(&dora)?;
    let mut stored = 0;
    let piece = message_of(QUOTA / 4, "fills a mailbox");
    let status = loop {
        let status = mailbox.append("INBOX", &piece)?;
        if !status.starts_with("OK") {
            break status;
        }
        stored += piece.len();
        ensure!(
            stored <= 2 * QUOTA,
            "{stored} bytes were stored, the quota is {QUOTA}"
        );
    };
    ensure!(
        status.contains("OVERQUOTA"),
        "APPEND is answered {status:?}"
    );
    // Fills what is left.
    while mailbox
        .append("INBOX", &message_of(16 << 10, "fills the rest"))?
        .starts_with("OK")
    {}
    let before = world.queued()?;
    let mut stranger = world.stranger()?;
    let message = message_of(MESSAGE_SIZE - 1024, "one too many");
    stranger.say(
        &format!("MAIL FROM:<{}> SIZE={}", friend("big"), message.len()),
        "250",
    )?;
    let reply = stranger.ask("RCPT TO:<dora@wombat.example>")?;
    let reply = if reply.code == 250 {
        stranger.data(&message)?
    } else {
        reply
    };
    reply.must_be(&[452, 552], "mail to a full mailbox")?;
    let after = world.queued()?;
    ensure!(after <= before, "the queue grew from {before} to {after}");
    // Room again, mail again.
    mailbox.select("INBOX")?;
    mailbox.say("STORE 1:* +FLAGS.SILENT (\\Deleted)")?;
    mailbox.say("EXPUNGE")?;
    let subject = world.unique("room again");
    world
        .receive(&["dora@wombat.example"], &subject)?
        .must_be(&[250], "mail after making room")?;
    world.read(&dora, &subject)?;
    Ok(())
}

/// Only what it says: as many take ten minutes. That Dovecot keeps to it is seen with bytes.
fn messages(world: &World) -> Result<()> {
    let mut mailbox = world.mailbox(&world.account("carla"))?;
    let said = mailbox.say("GETQUOTAROOT INBOX")?.lines.join("\n");
    let limit = said
        .split_once("MESSAGE ")
        .and_then(|(_, rest)| rest.split([' ', ')']).nth(1));
    ensure!(limit == Some("300000"), "{said}");
    Ok(())
}

fn sending_limit(world: &World) -> Result<()> {
    let emil = world.account("emil");
    let mut client = world.submission(&emil)?;
    let mut sent = 0;
    while sent < SENDING_LIMIT {
        let recipients: Vec<String> = (0..SENDING_LIMIT / 2)
            .map(|index| format!("emil+{}@wombat.example", sent + index))
            .collect();
        let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
        let letter = letter(&emil.address, "list:;", &world.unique("to many"), "Hello.");
        client
            .send(&emil.address, &recipients, letter.as_bytes())?
            .must_be(
                &[250],
                &format!("{sent} and {} recipients", recipients.len()),
            )?;
        sent += SENDING_LIMIT / 2;
    }
    client.say(&format!("MAIL FROM:<{}>", emil.address), "250")?;
    let reply = client.ask("RCPT TO:<bert@wombat.example>")?;
    let reply = if reply.code == 250 {
        let letter = letter(&emil.address, "bert@wombat.example", "one more", "Hello.");
        client.data(letter.as_bytes())?
    } else {
        reply
    };
    reply.must_be(&[450], "one recipient more")?;
    world
        .submit(
            &world.account("bert"),
            "bert@wombat.example",
            &world.unique("others go on"),
        )?
        .must_be(&[250], "somebody else's message")?;
    // What the account receives has no limit.
    world
        .receive(&["emil@wombat.example"], &world.unique("to the limited"))?
        .must_be(&[250], "mail to the account")?;
    Ok(())
}
