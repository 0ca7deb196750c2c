//! Recipients: users, tags, aliases and catch-all.

use anyhow::{Result, ensure};

use super::Promise;
use super::world::{World, friend, header_values, letter};

pub const PROMISES: &[Promise] = &[
    Promise {
        says: "an unknown recipient is refused with 550 at RCPT, a known one beside it is not",
        check: unknown_is_refused,
    },
    Promise {
        says: "user+tag@ reaches the user, whatever the tag",
        check: tags_reach_the_user,
    },
    Promise {
        says: "addresses are the same in capital and small letters",
        check: mixed_case,
    },
    Promise {
        says: "an alias reaches its target, a tag on it included",
        check: alias_reaches_its_target,
    },
    Promise {
        says: "an alias with several targets reaches each of them",
        check: alias_with_several_targets,
    },
    Promise {
        says: "an alias whose target is a bare name means the user of the first domain",
        check: alias_to_a_bare_name,
    },
    Promise {
        says: "an alias of an address elsewhere sends mail on",
        check: alias_to_the_outside,
    },
    Promise {
        says: "mail that is sent on leaves as it came: its signature holds",
        check: sent_on_unchanged,
    },
    Promise {
        says: "a catch-all takes what nobody else has; a real user keeps his own mail",
        check: catch_all,
    },
    Promise {
        says: "mailctl alias add, list and del work at once",
        check: alias_commands,
    },
    Promise {
        says: "an alias may be called as people and firms are, with ' and &",
        check: odd_names,
    },
    Promise {
        says: "aliases in a loop or to nowhere are refused and change nothing",
        check: bad_aliases_are_refused,
    },
];

fn unknown_is_refused(world: &World) -> Result<()> {
    let mut stranger = world.stranger()?;
    stranger.say(&format!("MAIL FROM:<{}>", friend("x")), "250")?;
    stranger.say("RCPT TO:<anna@wombat.example>", "250")?;
    for address in ["nobody@wombat.example", "annaa@wombat.example"] {
        stranger.say(&format!("RCPT TO:<{address}>"), "550")?;
    }
    Ok(())
}

fn tags_reach_the_user(world: &World) -> Result<()> {
    let subject = world.unique("tagged");
    for tag in ["shop", "a.b", "2026-11", "+", ""] {
        let subject = format!("{subject} {}", tag.len());
        world
            .receive(&[&format!("bert+{tag}@wombat.example")], &subject)?
            .must_be(&[250], tag)?;
    }
    world.read(&world.account("bert"), &format!("{subject} 7"))?;
    Ok(())
}

fn mixed_case(world: &World) -> Result<()> {
    let subject = world.unique("mixed case");
    world
        .receive(&["BeRt@WoMbAt.ExAmPlE"], &subject)?
        .must_be(&[250], "BeRt@WoMbAt.ExAmPlE")?;
    let mut bert = world.account("bert");
    bert.address = "BERT@wombat.EXAMPLE".to_owned();
    world.read(&bert, &subject)?;
    Ok(())
}

fn alias_reaches_its_target(world: &World) -> Result<()> {
    for address in [
        "info@wombat.example",
        "INFO@Wombat.Example",
        "info+tag@wombat.example",
    ] {
        let subject = world.unique("to an alias");
        world
            .receive(&[address], &subject)?
            .must_be(&[250], address)?;
        world.read(&world.account("anna"), &subject)?;
    }
    Ok(())
}

fn alias_with_several_targets(world: &World) -> Result<()> {
    let subject = world.unique("to a team");
    world
        .receive(&["team@wombat.example"], &subject)?
        .must_be(&[250], "the team")?;
    for name in ["anna", "bert"] {
        world.read(&world.account(name), &subject)?;
    }
    Ok(())
}

fn alias_to_a_bare_name(world: &World) -> Result<()> {
    let subject = world.unique("to a bare name");
    world
        .receive(&["office@wombat.example"], &subject)?
        .must_be(&[250], "the alias")?;
    world.read(&world.account("anna"), &subject)?;
    Ok(())
}

fn alias_to_the_outside(world: &World) -> Result<()> {
    let subject = world.unique("sent on");
    world
        .receive(&["away@wombat.example"], &subject)?
        .must_be(&[250], "the alias")?;
    let caught = world.caught("alias-target@outside.example")?;
    let text = String::from_utf8_lossy(&caught.message);
    ensure!(text.contains(&subject), "{text}");
    Ok(())
}

/// 8-bit text and a line of 2500 octets, which Postfix by itself changes for servers that do
/// not know the one, and always for the other.
fn sent_on_unchanged(world: &World) -> Result<()> {
    let subject = world.unique("sent on unchanged");
    let body = format!("Gr\u{fc}\u{df}e.\r\n{}\r\n", "long ".repeat(500));
    let sender = friend("signer");
    let message = letter(&sender, "moved@wombat.example", &subject, &body).replace(
        "Subject:",
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: 8bit\r\nSubject:",
    );
    let mut stranger = world.stranger()?;
    stranger.say(&format!("MAIL FROM:<{sender}> BODY=8BITMIME"), "250")?;
    stranger.say("RCPT TO:<moved@wombat.example>", "250")?;
    stranger
        .data(message.as_bytes())?
        .must_be(&[250], "the message")?;
    let caught = world.caught("unchanged@outside.example")?;
    let text = String::from_utf8_lossy(&caught.message);
    ensure!(text.contains(&body), "{text}");
    Ok(())
}

fn catch_all(world: &World) -> Result<()> {
    let subject = world.unique("caught");
    world
        .receive(&["whoever.this.is@koala.example"], &subject)?
        .must_be(&[250], "the catch-all")?;
    let message = world.read(&world.second_account("kim"), &subject)?;
    // Whose address it was, nothing else says.
    let delivered = header_values(&message, "Delivered-To");
    ensure!(
        delivered == ["whoever.this.is@koala.example"],
        "Delivered-To: {delivered:?}"
    );
    let own = world.unique("for the real one");
    world
        .receive(&["real@koala.example"], &own)?
        .must_be(&[250], "the user")?;
    world.read(&world.second_account("real"), &own)?;
    let mut kim = world.mailbox(&world.second_account("kim"))?;
    let stolen = kim
        .messages("INBOX")?
        .iter()
        .any(|message| String::from_utf8_lossy(message).contains(&own));
    ensure!(!stolen, "the catch-all got the mail of a real user");
    Ok(())
}

fn alias_commands(world: &World) -> Result<()> {
    world.run("mailctl alias add sales@wombat.example bert@wombat.example")?;
    let listed = world.run("mailctl alias list")?;
    ensure!(
        listed.contains("sales@wombat.example") && listed.contains("bert@wombat.example"),
        "mailctl alias list says {listed:?}"
    );
    let subject = world.unique("to sales");
    world
        .receive(&["sales@wombat.example"], &subject)?
        .must_be(&[250], "the new alias")?;
    world.read(&world.account("bert"), &subject)?;
    world.run("mailctl alias del sales@wombat.example")?;
    let mut stranger = world.stranger()?;
    stranger.say(&format!("MAIL FROM:<{}>", friend("x")), "250")?;
    stranger.say("RCPT TO:<sales@wombat.example>", "550")?;
    Ok(())
}

fn odd_names(world: &World) -> Result<()> {
    for (address, word) in [
        ("o'neil@wombat.example", "'o'\\''neil@wombat.example'"),
        ("r&d@wombat.example", "'r&d@wombat.example'"),
    ] {
        world.run(&format!("mailctl alias add {word} bert@wombat.example"))?;
        let subject = world.unique("to an odd name");
        let tagged = address.replace('@', "+tag@");
        for recipient in [address, &tagged] {
            world
                .receive(&[recipient], &subject)?
                .must_be(&[250], recipient)?;
        }
        let bert = world.account("bert");
        world.read(&bert, &subject)?;
        // And back: who gets its mail may send as it.
        let message = letter(address, &bert.address, &subject, "Hello.");
        world
            .submission(&bert)?
            .send(address, &[&bert.address], message.as_bytes())?
            .must_be(&[250], address)?;
        world.run(&format!("mailctl alias del {word}"))?;
    }
    Ok(())
}

fn bad_aliases_are_refused(world: &World) -> Result<()> {
    let file = "/var/lib/mailimg/aliases";
    for (bad, what) in [
        (
            "one@wombat.example two@wombat.example\ntwo@wombat.example one@wombat.example",
            "a loop",
        ),
        (
            "lost@wombat.example nobody@wombat.example",
            "a target that is not there",
        ),
        (
            "lost@foreign.example anna@wombat.example",
            "a domain of somebody else",
        ),
    ] {
        let status = world.run(&format!(
            "cp -a {file} /run/aliases.kept; printf '%s\\n' '{bad}' >>{file}\n\
             mailctl update-aliases >/run/aliases.said 2>&1; echo $?; cat /run/aliases.said\n\
             cp -a /run/aliases.kept {file}"
        ))?;
        ensure!(
            status.starts_with("1\n"),
            "{what}: mailctl ends with {status:?}"
        );
    }
    // The old table is still in use.
    let subject = world.unique("after bad aliases");
    world
        .receive(&["info@wombat.example"], &subject)?
        .must_be(&[250], "the old alias")?;
    world.read(&world.account("anna"), &subject)?;
    world.run("mailctl update-aliases")?;
    Ok(())
}
