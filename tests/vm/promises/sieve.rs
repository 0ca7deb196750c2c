//! Sieve: what a user's filter does, stored through ManageSieve.

use anyhow::{Result, ensure};

use super::super::managesieve::ManageSieve;
use super::super::site::HOST_NAME;
use super::super::smtp::Account;
use super::Promise;
use super::world::{World, friend, letter};

pub const PROMISES: &[Promise] = &[
    Promise {
        says: "a filter stored over ManageSieve sorts mail into a folder, by its subject or by the \
               address it was sent to",
        check: fileinto,
    },
    Promise {
        says: "a filter finds a folder by what it is for",
        check: special_use,
    },
    Promise {
        says: "a vacation filter answers a person once, who wrote to an alias too",
        check: vacation,
    },
    Promise {
        says: "a filter may not answer as somebody else, and mail that it sends on is not signed \
               as ours, whoever it claims to be from",
        check: only_as_oneself,
    },
    Promise {
        says: "a reject filter sends mail back",
        check: reject,
    },
    Promise {
        says: "a filter with an error is refused when it is stored",
        check: broken_script,
    },
];

fn store(world: &World, account: &Account, script: &str) -> Result<()> {
    let mut sieve = ManageSieve::open(world.client(), world.address(), HOST_NAME, account)?;
    sieve.activate("test", script)
}

fn fileinto(world: &World) -> Result<()> {
    let fritz = world.account("fritz");
    store(
        world,
        &fritz,
        "require [\"fileinto\", \"mailbox\", \"envelope\", \"subaddress\"];\r\n\
         if envelope \"to\" \"orders@wombat.example\" { fileinto :create \"Orders\"; }\r\n\
         elsif envelope :detail \"to\" \"shop\" { fileinto :create \"Shop\"; }\r\n\
         elsif header :contains \"subject\" \"wombat report\" { fileinto :create \"Reports\"; }\r\n",
    )?;
    let sorted = world.unique("wombat report");
    world
        .receive(&[&fritz.address], &sorted)?
        .must_be(&[250], "mail to sort")?;
    world.read_in(&fritz, "Reports", &sorted)?;
    for (address, folder) in [
        ("orders@wombat.example", "Orders"),
        ("fritz+shop@wombat.example", "Shop"),
    ] {
        let subject = world.unique("by its address");
        world
            .receive(&[address], &subject)?
            .must_be(&[250], address)?;
        world.read_in(&fritz, folder, &subject)?;
    }
    let other = world.unique("anything else");
    world
        .receive(&[&fritz.address], &other)?
        .must_be(&[250], "other mail")?;
    world.read(&fritz, &other)?;
    Ok(())
}

fn special_use(world: &World) -> Result<()> {
    let gerda = world.account("gerda");
    store(
        world,
        &gerda,
        "require [\"fileinto\", \"special-use\"];\r\n\
         if allof (header :contains \"subject\" \"for the archive\",\r\n\
                   specialuse_exists \"\\\\Archive\") {\r\n\
           fileinto :specialuse \"\\\\Archive\" \"INBOX\";\r\n}\r\n",
    )?;
    let subject = world.unique("for the archive");
    world
        .receive(&[&gerda.address], &subject)?
        .must_be(&[250], "mail to file")?;
    world.read_in(&gerda, "Archive", &subject)?;
    Ok(())
}

fn vacation(world: &World) -> Result<()> {
    let vera = world.account("vera");
    store(
        world,
        &vera,
        "require [\"vacation\"];\r\nvacation :days 3 \"I am by the sea.\";\r\n",
    )?;
    let ask = |asker: &str, address: &str| -> Result<()> {
        let subject = world.unique("are you there");
        let message = letter(asker, address, &subject, "Well?");
        world
            .stranger()?
            .send(asker, &[address], message.as_bytes())?
            .must_be(&[250], "the question")?;
        world.read(&vera, &subject).map(drop)
    };
    let asker = friend("vacation-asker");
    ask(&asker, &vera.address)?;
    ask(&asker, &vera.address)?;
    let other = friend("vacation-asker-by-alias");
    ask(&other, "holiday@wombat.example")?;
    world.caught(&other)?;
    let caught = world.caught(&asker)?;
    let text = String::from_utf8_lossy(&caught.message);
    ensure!(text.contains("I am by the sea."), "{text}");
    ensure!(
        text.contains("DKIM-Signature"),
        "the answer is not signed: {text}"
    );
    ensure!(
        world.site.sink.count(&asker) == 1,
        "{} answers came",
        world.site.sink.count(&asker)
    );
    Ok(())
}

fn only_as_oneself(world: &World) -> Result<()> {
    let fritz = world.account("fritz");
    let hears = friend("hears-of-fritz");
    let script = format!(
        "require [\"vacation\", \"copy\"];\r\nredirect :copy \"{hears}\";\r\n\
         vacation :from \"vera@wombat.example\" \"Vera says so.\";\r\n"
    );
    store(world, &fritz, &script)?;
    let subject = world.unique("in our name");
    let asker = friend("asks-fritz");
    let message = letter(&asker, &fritz.address, &subject, "Well?");
    world
        .stranger()?
        .send(&asker, &[&fritz.address], message.as_bytes())?
        .must_be(&[250], "the question")?;
    world.read(&fritz, &subject)?;
    let caught = world.caught(&hears)?;
    ensure!(
        caught.sender == fritz.address,
        "it is from {}",
        caught.sender
    );
    let text = String::from_utf8_lossy(&caught.message);
    ensure!(
        !text.contains("d=wombat.example"),
        "a stranger's mail was signed as ours: {text}"
    );
    ensure!(world.site.sink.count(&asker) == 0, "fritz answered as vera");
    world.run(
        "journalctl -b -o cat -u 'postfix*' | grep -q 'may not send as vera@wombat.example'",
    )?;
    store(world, &fritz, "keep;\r\n")
}

fn reject(world: &World) -> Result<()> {
    let rita = world.account("rita");
    store(
        world,
        &rita,
        "require [\"reject\"];\r\nreject \"No circulars, please.\";\r\n",
    )?;
    let sender = friend("circular");
    let message = letter(&sender, &rita.address, &world.unique("circular"), "Buy!");
    world
        .stranger()?
        .send(&sender, &[&rita.address], message.as_bytes())?
        .must_be(&[250], "the circular")?;
    let caught = world.caught(&sender)?;
    let text = String::from_utf8_lossy(&caught.message);
    ensure!(text.contains("No circulars, please."), "{text}");
    Ok(())
}

fn broken_script(world: &World) -> Result<()> {
    let quentin = world.account("quentin");
    let mut sieve = ManageSieve::open(world.client(), world.address(), HOST_NAME, &quentin)?;
    let refused = sieve.activate("broken", "this is { no filter");
    ensure!(refused.is_err(), "a broken filter was stored");
    Ok(())
}
