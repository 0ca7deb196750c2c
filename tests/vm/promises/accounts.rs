//! Accounts: what `mailctl user` does takes effect at once.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::super::imap::Imap;
use super::super::site::HOST_NAME;
use super::super::smtp::{Account, Conversation};
use super::Promise;
use super::world::World;

/// How long a session may outlive its right.
const END_LIMIT: Duration = Duration::from_secs(30);

pub const PROMISES: &[Promise] = &[
    Promise {
        says: "a changed password ends open IMAP and SMTP sessions; only the new one is taken",
        check: changed_password,
    },
    Promise {
        says: "a deleted user is gone at once, open sessions and incoming mail included",
        check: deleted_user,
    },
    Promise {
        says: "a deleted user's mail is there again when the account is made again",
        check: deletion_keeps_mail,
    },
    Promise {
        says: "--purge-inbox removes the mail",
        check: purge_removes_mail,
    },
    Promise {
        says: "every command of the seed project's manual works and says what it says there",
        check: commands_of_the_manual,
    },
];

/// Opens a session each on 993 and 465, makes a change, and sees both end.
fn sessions_end(world: &World, account: &Account, command: &str) -> Result<()> {
    let mut mailbox = world.mailbox(account)?;
    mailbox.select("INBOX")?;
    let mut client = world.submission(account)?;
    client.say("NOOP", "250")?;
    world.run(command)?;
    let last = mailbox.wait_for_end(END_LIMIT)?;
    ensure!(
        last.is_empty() || last.starts_with("* BYE"),
        "the IMAP session ended with {last:?}"
    );
    let line = format!("MAIL FROM:<{}>", account.address);
    let reply = client.ask(&line)?;
    let reply = if reply.code == 250 {
        client.ask("RCPT TO:<anna@wombat.example>")?
    } else {
        reply
    };
    let reply = if reply.code == 250 {
        let letter = super::world::letter(&account.address, "anna@wombat.example", "late", "Hi.");
        client.data(letter.as_bytes())?
    } else {
        reply
    };
    reply.must_be(&[421], &line)?;
    Ok(())
}

/// Whether 993 and 465 take a password; both must agree.
fn is_let_in(world: &World, account: &Account) -> Result<bool> {
    let mut imap = Imap::connect(world.client(), world.address(), HOST_NAME)?;
    let imap = imap.log_in(account)?.starts_with("OK");
    let mut client = Conversation::open_tls(world.client(), world.port(465), HOST_NAME)?;
    client.hello()?;
    let smtp = client.log_in(account)?.code == 235;
    ensure!(imap == smtp, "IMAP lets in: {imap}, SMTP lets in: {smtp}");
    Ok(imap)
}

fn changed_password(world: &World) -> Result<()> {
    let old = world.account("petra");
    let new = Account {
        password: "a new one".to_owned(),
        ..old.clone()
    };
    sessions_end(
        world,
        &old,
        &format!("mailctl user passwd {} '{}'", new.address, new.password),
    )?;
    ensure!(!is_let_in(world, &old)?, "the old password is still taken");
    ensure!(is_let_in(world, &new)?, "the new password is not taken");
    let subject = world.unique("after the change");
    world
        .submit(&new, &new.address, &subject)?
        .must_be(&[250], "mail after the change")?;
    world.read(&new, &subject)?;
    Ok(())
}

fn deleted_user(world: &World) -> Result<()> {
    let sven = world.account("sven");
    sessions_end(world, &sven, &format!("mailctl user del {}", sven.address))?;
    ensure!(!is_let_in(world, &sven)?, "a deleted user is let in");
    let mut stranger = world.stranger()?;
    stranger.say(
        &format!("MAIL FROM:<{}>", super::world::friend("late")),
        "250",
    )?;
    stranger.say(&format!("RCPT TO:<{}>", sven.address), "550")?;
    Ok(())
}

fn deletion_keeps_mail(world: &World) -> Result<()> {
    let wilma = world.account("wilma");
    let subject = world.unique("to be kept");
    world
        .receive(&[&wilma.address], &subject)?
        .must_be(&[250], "the message")?;
    world.read(&wilma, &subject)?;
    let said = world.run(&format!("mailctl user del {}", wilma.address))?;
    ensure!(
        said == format!("Deleted '{}'.\n", wilma.address),
        "{said:?}"
    );
    ensure!(!is_let_in(world, &wilma)?, "a deleted user is let in");
    world.run(&format!(
        "mailctl user add {} '{}'",
        wilma.address, wilma.password
    ))?;
    world.read(&wilma, &subject)?;
    Ok(())
}

fn purge_removes_mail(world: &World) -> Result<()> {
    let xaver = world.account("xaver");
    let subject = world.unique("to be purged");
    world
        .receive(&[&xaver.address], &subject)?
        .must_be(&[250], "the message")?;
    world.read(&xaver, &subject)?;
    let folder = format!("mail/inboxes/wombat.example/{}", xaver.address);
    let said = world.run(&format!("mailctl user del --purge-inbox {}", xaver.address))?;
    ensure!(
        said == format!("Deleted '{}' and purged {folder}.\n", xaver.address),
        "{said:?}"
    );
    world.run(&format!("test ! -e /var/vmail/{folder}"))?;
    world.run(&format!(
        "mailctl user add {} '{}'",
        xaver.address, xaver.password
    ))?;
    let left = world.mailbox(&xaver)?.messages("INBOX")?;
    ensure!(left.is_empty(), "{} messages are left", left.len());
    Ok(())
}

fn commands_of_the_manual(world: &World) -> Result<()> {
    let said = world.run("mailctl user add meier@entropiesenke.de 12345")?;
    ensure!(
        said == "Created user 'meier@entropiesenke.de' with password provided.\n",
        "{said:?}"
    );
    let said = world.run("mailctl user add jens@wombathub.de")?;
    let password = said
        .strip_prefix("Created user 'jens@wombathub.de', generated password is:'")
        .and_then(|rest| rest.strip_suffix("'.\n"));
    let jens = Account {
        address: "jens@wombathub.de".to_owned(),
        password: password.map(str::to_owned).unwrap_or_default(),
    };
    ensure!(password.is_some_and(|word| word.len() == 20), "{said:?}");
    ensure!(
        is_let_in(world, &jens)?,
        "the generated password is not taken"
    );
    let said = world.run("mailctl user passwd jens@wombathub.de 23456")?;
    ensure!(
        said == "Updated password for user 'jens@wombathub.de'\n",
        "{said:?}"
    );
    let jens = Account {
        password: "23456".to_owned(),
        ..jens
    };
    ensure!(
        is_let_in(world, &jens)?,
        "the changed password is not taken"
    );
    let said = world.run("mailctl user list")?;
    let mut lines = said.lines();
    let head = format!(
        "{:>40.40} | {:>10.10} | {}",
        "user", "mbox size", "sanity checks"
    );
    ensure!(lines.next() == Some(head.as_str()), "{said}");
    let row = format!(
        "{:>40.40} | {:>10.10} | {}",
        "meier@entropiesenke.de", "<empty>", "OK"
    );
    ensure!(lines.any(|line| line == row), "no line {row:?} in {said}");
    world.run(
        "echo 'sales@entropiesenke.de meier@entropiesenke.de' >>/var/lib/mailimg/aliases\n\
         mailctl user update-aliases",
    )?;
    let subject = world.unique("to sales");
    world
        .receive(&["sales@entropiesenke.de"], &subject)?
        .must_be(&[250], "the alias")?;
    let meier = Account {
        address: "meier@entropiesenke.de".to_owned(),
        password: "12345".to_owned(),
    };
    world.read(&meier, &subject)?;
    for (command, expected) in [
        (
            "mailctl user del jens@wombathub.de",
            "Deleted 'jens@wombathub.de'.\n",
        ),
        (
            "mailctl user del meier@entropiesenke.de --purge-inbox",
            "Deleted 'meier@entropiesenke.de' and purged mail/inboxes/entropiesenke.de/meier@entropiesenke.de.\n",
        ),
    ] {
        let said = world.run(command)?;
        ensure!(said == expected, "{command:?} says {said:?}");
    }
    let said = world.run("mailctl user passwd jens@wombathub.de x 2>&1; echo $?")?;
    ensure!(
        said.contains("User 'jens@wombathub.de' does not exist. Please create the user first.")
            && said.ends_with("\n1\n"),
        "{said:?}"
    );
    world.run(
        "sed -i '/^sales@entropiesenke.de/d' /var/lib/mailimg/aliases; mailctl update-aliases",
    )?;
    Ok(())
}
