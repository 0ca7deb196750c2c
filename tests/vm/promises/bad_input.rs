//! Bad input and bad days: nothing that comes in ends the machine, and what
//! goes wrong inside costs no mail.

use anyhow::{Result, bail, ensure};

use super::super::smtp::Reply;
use super::Promise;
use super::world::{DELIVERY_LIMIT, MESSAGE_SIZE, World, friend, letter};
use crate::world::network::STRANGERS;
use crate::world::wait::until;

pub const PROMISES: &[Promise] = &[
    Promise {
        says: "mail with NUL bytes, bare line ends and eight bits is kept or refused, never mangled into two",
        check: odd_bytes,
    },
    Promise {
        says: "a header line of a megabyte is refused, one of 150 KB does no harm",
        check: long_header,
    },
    Promise {
        says: "ten thousand recipients in one message: a thousand are taken at most",
        check: many_recipients,
    },
    Promise {
        says: "a message nested a thousand levels deep can be read or is refused",
        check: deep_nesting,
    },
    Promise {
        says: "without disk space mail is put off with 452; nothing is lost, and room is enough",
        check: disk_full,
    },
    Promise {
        says: "without inodes mail is put off with 452, and taken as soon as there are some",
        check: inodes_gone,
    },
    Promise {
        says: "without a resolver mail waits, in and out",
        check: resolver_down,
    },
    Promise {
        says: "killed at any moment, mailctl leaves the accounts whole",
        check: killed_mailctl,
    },
    Promise {
        says: "files left half-written by a crash are in nobody's way",
        check: half_written_files,
    },
];

fn still_serves(world: &World) -> Result<()> {
    let subject = world.unique("still here");
    world
        .receive(&["hugo@wombat.example"], &subject)?
        .must_be(&[250], "the next message")?;
    world.read(&world.account("hugo"), &subject)?;
    Ok(())
}

fn odd_bytes(world: &World) -> Result<()> {
    let sender = friend("odd");
    for odd in [
        &b"zero \0 byte"[..],
        b"bare \n line feed",
        b"bare \r return",
        b"eight bits \xff\xfe\xe4",
        b"\x7f\x1b[2J\x08",
    ] {
        let subject = world.unique("odd bytes");
        let mut bytes = letter(&sender, "hugo@wombat.example", &subject, "begin").into_bytes();
        bytes.extend_from_slice(odd);
        bytes.extend_from_slice(b"\r\nend-of-odd\r\n");
        let reply = world
            .stranger()?
            .send(&sender, &["hugo@wombat.example"], &bytes)?;
        match reply.code {
            250 => {
                let message = world.read(&world.account("hugo"), &subject)?;
                ensure!(message.contains("end-of-odd"), "{:?}: {message:?}", odd);
            }
            500..600 => {}
            _ => bail!("{}: {:?}", odd.escape_ascii(), reply.text),
        }
    }
    still_serves(world)
}

fn long_header(world: &World) -> Result<()> {
    let sender = friend("long");
    let with = |length: usize| {
        format!(
            "X-Long: {}\r\n{}",
            "y".repeat(length),
            letter(&sender, "hugo@wombat.example", "long header", "Hello.")
        )
    };
    let send = |length: usize| -> Result<Reply> {
        world
            .stranger()?
            .send(&sender, &["hugo@wombat.example"], with(length).as_bytes())
    };
    send(1 << 20)?.must_be(&[500, 552, 554], "a header line of a megabyte")?;
    let reply = send(150 << 10)?;
    ensure!(
        reply.code == 250 || reply.code >= 500,
        "a header line of 150 KB: {:?}",
        reply.text
    );
    ensure!(
        MESSAGE_SIZE < 1 << 20,
        "the first line must be above the limit"
    );
    still_serves(world)
}

fn many_recipients(world: &World) -> Result<()> {
    const RECIPIENTS: usize = 10_000;
    const AT_ONCE: usize = 100;
    let mut stranger = world.stranger_from(STRANGERS[6].into())?;
    stranger.say(&format!("MAIL FROM:<{}>", friend("many")), "250")?;
    let mut accepted = 0;
    // To the first refusal only: who goes on is answered ever more slowly.
    let refused = 'all: {
        for begin in (0..RECIPIENTS).step_by(AT_ONCE) {
            let lines: String = (begin..begin + AT_ONCE)
                .map(|index| format!("RCPT TO:<hugo+{index}@wombat.example>\r\n"))
                .collect();
            stranger.wire().send(lines.as_bytes())?;
            for _ in 0..AT_ONCE {
                let reply = stranger.reply()?;
                if reply.code != 250 {
                    break 'all reply.text;
                }
                accepted += 1;
            }
        }
        bail!("all {accepted} recipients were accepted");
    };
    drop(stranger);
    ensure!(
        accepted <= 1000 && refused.starts_with('4'),
        "{accepted} were accepted, then came {refused:?}"
    );
    println!("       {accepted} recipients accepted, then {refused:?}");
    still_serves(world)
}

fn deep_nesting(world: &World) -> Result<()> {
    const LEVELS: usize = 1000;
    let sender = friend("deep");
    let subject = world.unique("deep");
    let head = letter(&sender, "hugo@wombat.example", &subject, "");
    let (head, _) = head.split_once("\r\n\r\n").unwrap_or_default();
    let mut message = format!("{head}\r\nMIME-Version: 1.0\r\n");
    for level in 0..LEVELS {
        message.push_str(&format!(
            "Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n"
        ));
    }
    message.push_str("Content-Type: text/plain\r\n\r\nthe bottom\r\n");
    for level in (0..LEVELS).rev() {
        message.push_str(&format!("--b{level}--\r\n"));
    }
    let reply = world
        .stranger()?
        .send(&sender, &["hugo@wombat.example"], message.as_bytes())?;
    if reply.code == 250 {
        let stored = world.read(&world.account("hugo"), &subject)?;
        ensure!(stored.contains("the bottom"), "the bottom is gone");
        let mut mailbox = world.mailbox(&world.account("hugo"))?;
        let last = mailbox.select("INBOX")?;
        mailbox.say(&format!("FETCH 1:{last} (ENVELOPE BODYSTRUCTURE)"))?;
    } else {
        super::world::must_refuse(&reply, "a deep message")?;
    }
    still_serves(world)
}

fn disk_full(world: &World) -> Result<()> {
    let before = world.unique("before the flood");
    world
        .receive(&["hugo@wombat.example"], &before)?
        .must_be(&[250], "mail before")?;
    // To the last block, those kept for root included.
    world.run(
        "for unit in 1048576 65536 4096; do\n\
         n=$(($(stat -f -c %f /var) * $(stat -f -c %S /var) / unit))\n\
         while [ $n -gt 0 ]; do fallocate -l $((n * unit)) /var/filler.$unit.$n 2>/dev/null && break; n=$((n * 9 / 10)); done\n\
         done; sync; df /var | tail -n 1",
    )?;
    let subject = world.unique("during the flood");
    let refused = world.receive(&["hugo@wombat.example"], &subject);
    let listed = world.run("mailctl user list");
    let added = world.run("mailctl user add flood@wombat.example x");
    world.run("rm -f /var/filler.*; sync")?;
    match refused {
        Ok(reply) => {
            reply.must_be(&[452, 451, 431], "mail without disk space")?;
        }
        // The refusal came before the message.
        Err(error) => {
            let text = format!("{error:#}");
            ensure!(text.contains("\"45") || text.contains("\"43"), "{text}");
        }
    }
    listed?;
    let accounts = world.run("cat /var/lib/mailimg/users")?;
    ensure!(
        accounts.contains("hugo@wombat.example:")
            && accounts.contains("flood@wombat.example:") == added.is_ok(),
        "an account was lost; adding one: {added:?}"
    );
    world.read(&world.account("hugo"), &before)?;
    until("mail to be taken again", DELIVERY_LIMIT, || {
        Ok(world
            .receive(&["hugo@wombat.example"], &subject)
            .is_ok_and(|reply| reply.code == 250)
            .then_some(()))
    })?;
    world.read(&world.account("hugo"), &subject)?;
    still_serves(world)
}

fn inodes_gone(world: &World) -> Result<()> {
    /// The filter takes mail while so many are left.
    const LEAST: u32 = 10_000;
    let before = world.unique("before the swarm");
    world
        .receive(&["hugo@wombat.example"], &before)?
        .must_be(&[250], "mail before")?;
    // A little below, so that other servers' files would still fit.
    world.run(&format!(
        "mkdir /var/swarm && cd /var/swarm\n\
         n=$(($(stat -f -c %d /var) - {LEAST} + 500)); f=0\n\
         while [ $n -gt 0 ]; do k=$((n < 20000 ? n : 20000)); f=$((f + 1)); mkdir $f\n\
         (cd $f; seq $k | xargs touch); n=$((n - k)); done"
    ))?;
    let subject = world.unique("during the swarm");
    let refused = world.receive(&["hugo@wombat.example"], &subject);
    let left = world.run("stat -f -c '%d of %c' /var");
    world.run("rm -rf /var/swarm")?;
    println!("       inodes left: {}", left?.trim());
    match refused {
        Ok(reply) => {
            reply.must_be(&[452], "mail without inodes")?;
        }
        // The refusal came before the message.
        Err(error) => {
            let text = format!("{error:#}");
            ensure!(text.contains("\"452"), "{text}");
        }
    }
    world.read(&world.account("hugo"), &before)?;
    world
        .receive(&["hugo@wombat.example"], &subject)?
        .must_be(&[250], "mail after")?;
    world.read(&world.account("hugo"), &subject)?;
    Ok(())
}

fn resolver_down(world: &World) -> Result<()> {
    let inward = world.unique("inward");
    let recipient = format!("{}@outside.example", world.unique("outward"));
    world.run("systemctl stop unbound.service")?;
    // Postfix may refuse the sender for now, before any message.
    let came = world.receive(&["hugo@wombat.example"], &inward).ok();
    let went = world
        .submit(&world.account("kurt"), &recipient, "outward")
        .ok();
    let lost = world.run("journalctl --no-pager -o cat -u 'postfix*' --since -300s | grep -E 'status=bounced.*outward' || true");
    world.run("systemctl start unbound.service")?;
    for (what, reply) in [("in", &came), ("out", &went)] {
        if let Some(reply) = reply {
            ensure!(
                reply.code < 500,
                "mail {what} was refused for ever: {:?}",
                reply.text
            );
        }
    }
    ensure!(lost?.trim().is_empty(), "mail out was sent back");
    let accepted = |reply: &Option<Reply>| reply.as_ref().is_some_and(|reply| reply.code == 250);
    until("mail to go on", DELIVERY_LIMIT, || {
        let mut all = true;
        if !accepted(&came) {
            all &= world
                .receive(&["hugo@wombat.example"], &inward)
                .is_ok_and(|reply| reply.code == 250);
        }
        if all && !accepted(&went) {
            all &= world
                .submit(&world.account("kurt"), &recipient, "outward")
                .is_ok_and(|reply| reply.code == 250);
        }
        Ok(all.then_some(()))
    })?;
    until("the waiting mail", DELIVERY_LIMIT, || {
        world.run("postqueue -f")?;
        Ok(world.site.sink.find(&recipient).map(drop))
    })?;
    world.read(&world.account("hugo"), &inward)?;
    Ok(())
}

fn killed_mailctl(world: &World) -> Result<()> {
    let said = world.run(
        "users=/var/lib/mailimg/users\n\
         before=$(wc -l <$users)\n\
         for i in $(seq 1 12); do\n\
         mailctl user add victim$i@wombat.example x >/dev/null 2>&1 & victim=$!\n\
         sleep 0.$((RANDOM % 10))$((RANDOM % 10)); kill -9 $victim 2>/dev/null; wait $victim 2>/dev/null\n\
         if grep -vE '^[^:@]+@[^:@]+:\\{ARGON2ID\\}\\$argon2id\\$[^:]+(:[^:]*){6}$' $users; then echo torn; fi\n\
         [ -z \"$(tail -c 1 $users)\" ] || echo no end of line\n\
         [ $(wc -l <$users) -ge $before ] || echo lost\n\
         done\n\
         mailctl user list >/dev/null || echo list fails\n\
         grep -c ^victim $users || true\n\
         for a in $(grep -o '^victim[^:]*' $users); do mailctl user del $a >/dev/null || echo del fails; done\n\
         find /var/lib/mailimg /run/mailimg -name '*.new'",
    )?;
    let mut lines = said.lines();
    let made = lines.next().unwrap_or_default();
    ensure!(
        made.bytes().all(|byte| byte.is_ascii_digit()),
        "after killing mailctl: {said}"
    );
    println!("       {made} of 12 killed commands had finished");
    still_serves(world)
}

fn half_written_files(world: &World) -> Result<()> {
    world.run(
        "cd /var/lib/mailimg; me=$$\n\
         for n in 1 2 3 $me; do head -c 100 users >users.$n.new; head -c 10 settings.env >settings.env.$n.new; \
         head -c 7 aliases >aliases.$n.new; done\n\
         mkdir -p /run/mailimg/postfix; echo torn >/run/mailimg/postfix/mailboxes.1.new\n\
         mailctl user add half@wombat.example x\nmailctl update-aliases\nmailctl user del half@wombat.example\n\
         rm -f users.*.new settings.env.*.new aliases.*.new /run/mailimg/postfix/mailboxes.1.new",
    )?;
    still_serves(world)
}
