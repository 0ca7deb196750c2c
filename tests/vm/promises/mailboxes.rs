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
        says: "a search finds the mails that hold a text, and only them (RFC 9051, section 6.4.4)",
        check: search,
    },
    Promise {
        says: "folders may have dots in their names, and any other character",
        check: folder_names,
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

fn search(world: &World) -> Result<()> {
    let tina = world.account("tina");
    let mut imap = world.mailbox(&tina)?;
    imap.say("CREATE Searched")?;
    for text in [
        "Nur 1&1 hilft.",
        "Ein rot eingelegter wein.",
        "Ein roter rot wein.",
        "user@example.org/path?x=1",
    ] {
        let message = letter(&tina.address, &tina.address, "searched", text);
        imap.append("Searched", message.as_bytes())?;
    }
    imap.select("Searched")?;
    for (text, found) in [
        ("1&1", "1"),
        ("rot wein", "3"),
        ("ROT", "2 3"),
        ("example.org/path?", "4"),
        ("ngeleg", "2"),
        ("nowhere", ""),
    ] {
        for key in ["BODY", "TEXT"] {
            let answer = imap.say(&format!("SEARCH {key} \"{text}\""))?;
            let line = answer.lines.first().cloned().unwrap_or_default();
            let told = line.trim_start_matches("* SEARCH").trim();
            ensure!(
                told == found,
                "{key} {text:?} finds {told:?}, not {found:?}"
            );
        }
    }
    imap.log_out()
}

fn folder_names(world: &World) -> Result<()> {
    let tina = world.account("tina");
    let mut imap = world.mailbox(&tina)?;
    let names = [
        "St. Gallen",
        "example.org",
        ".hidden",
        "Projekte/v1.0/a.b",
        "~home",
        "a^b ^2e #1",
    ];
    for name in names {
        imap.say(&format!("CREATE \"{name}\""))?;
        let message = letter(&tina.address, &tina.address, name, "In its folder.");
        let status = imap.append(name, message.as_bytes())?;
        ensure!(status.starts_with("OK"), "{name}: {status}");
    }
    let listed = imap.say("LIST \"\" \"*\"")?.lines.join("\n");
    for name in names {
        ensure!(listed.contains(name), "{name} is not in {listed}");
        ensure!(imap.select(name)? == 1, "{name} is empty");
        imap.say("CLOSE")?;
        imap.say(&format!("DELETE \"{name}\""))?;
    }
    imap.log_out()
}

fn quota_is_shown(world: &World) -> Result<()> {
    let answer = world
        .mailbox(&world.account("tina"))?
        .say("GETQUOTAROOT INBOX")?;
    let expected = format!(" {} MESSAGE ", super::world::QUOTA >> 10);
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
