//! Mailboxes: mail is pushed, and folders are where clients look for them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Promise;
use super::world::{World, friend, letter};

/// From the server's acknowledgement to the client's notice.
const PUSH_LIMIT: Duration = Duration::from_secs(2);
/// How long a push is waited for, to say how late it came.
const PATIENCE: Duration = Duration::from_secs(30);

pub const PROMISES: &[Promise] = &[
    Promise {
        says: "a waiting client hears of new mail within 2 s of its acceptance (IDLE)",
        check: idle,
    },
    Promise {
        says: "Drafts, Junk, Sent and Trash are there and marked for clients",
        check: special_folders,
    },
    Promise {
        says: "the quota is shown to clients",
        check: quota_is_shown,
    },
];

fn idle(world: &World) -> Result<()> {
    let idla = world.account("idla");
    let mut mailbox = world.mailbox(&idla)?;
    mailbox.select("INBOX")?;
    let sender = friend("pusher");
    let mut stranger = world.stranger()?;
    stranger.envelope(&sender, &[&idla.address])?;
    let letter = letter(&sender, &idla.address, &world.unique("push"), "Now.");
    let mut accepted = Instant::now();
    mailbox.idle("EXISTS", PATIENCE, || {
        stranger
            .data(letter.as_bytes())?
            .must_be(&[250], "the message")?;
        accepted = Instant::now();
        Ok(())
    })?;
    let took = accepted.elapsed();
    println!(
        "       IDLE told {:.2} s after acceptance",
        took.as_secs_f64()
    );
    ensure!(
        took <= PUSH_LIMIT,
        "IDLE told {:.2} s after acceptance",
        took.as_secs_f64()
    );
    Ok(())
}

fn special_folders(world: &World) -> Result<()> {
    let answer = world
        .mailbox(&world.account("tina"))?
        .say("LIST \"\" \"*\"")?;
    for name in ["Drafts", "Junk", "Sent", "Trash"] {
        ensure!(
            answer
                .lines
                .iter()
                .any(|line| line.contains(&format!("\\{name}")) && line.contains(name)),
            "{name} is not in {:?}",
            answer.lines
        );
    }
    Ok(())
}

fn quota_is_shown(world: &World) -> Result<()> {
    let answer = world
        .mailbox(&world.account("tina"))?
        .say("GETQUOTAROOT INBOX")?;
    let expected = format!("{})", super::world::QUOTA >> 10);
    ensure!(
        answer
            .lines
            .iter()
            .any(|line| line.contains("STORAGE") && line.contains(&expected)),
        "{:?}",
        answer.lines
    );
    Ok(())
}
