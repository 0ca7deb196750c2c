//! Relay: strangers send to this machine's addresses and to nobody else's.

use anyhow::{Context, Result, ensure};

use super::super::smtp::Account;
use super::Promise;
use super::world::{ADMIN_PASSWORD, World, friend, letter, must_refuse};
use crate::world::network::OUTSIDE_CLIENTS;

/// How many refusals one conversation takes; after twenty the machine hangs up.
const PER_CONVERSATION: usize = 6;

/// Ways to write carol@outside.example so that a careless server sends it on.
const FORMS: [&[u8]; 26] = [
    b"<carol@outside.example>",
    b"<carol@OUTSIDE.EXAMPLE>",
    b"carol@outside.example",
    b"<carol%outside.example@wombat.example>",
    b"<carol%outside.example@mail.wombat.example>",
    b"<carol%outside.example@[10.20.0.100]>",
    b"<carol%outside.example>",
    b"<@wombat.example:carol@outside.example>",
    b"<@mail.wombat.example,@wombat.example:carol@outside.example>",
    b"<@wombat.example:@outside.example:carol@outside.example>",
    b"<\"carol@outside.example\">",
    b"<\"carol@outside.example\"@wombat.example>",
    b"<\"carol%outside.example\"@wombat.example>",
    b"<\"carol\"@outside.example>",
    b"<outside.example!carol>",
    b"<outside.example!carol@wombat.example>",
    b"<carol@outside.example@wombat.example>",
    b"<carol@wombat.example@outside.example>",
    b"<carol@outside.example.>",
    b"<carol@[198.18.0.25]>",
    b"<carol@[IPv6:2001:2::25]>",
    b"<carol@198.18.0.25>",
    b"<carol@localhost>",
    b"<carol@[127.0.0.1]>",
    b"<carol@outside.example\0@wombat.example>",
    b"<carol@outside.example\0>",
];

pub const PROMISES: &[Promise] = &[
    Promise {
        says: "a stranger's mail to somebody else is refused, however the address is written",
        check: all_forms_are_refused,
    },
    Promise {
        says: "no system account gets mail; root's at the machine's own name goes to the administrator",
        check: no_local_accounts,
    },
    Promise {
        says: "a stranger may not send in the name of this machine's domains",
        check: own_domain_from_outside,
    },
    Promise {
        says: "a service that was taken over writes to nobody: port 25 passes nothing on for this \
               machine, and the port for filters is shut to it",
        check: services_send_nothing,
    },
];

fn all_forms_are_refused(world: &World) -> Result<()> {
    for (index, forms) in FORMS.chunks(PER_CONVERSATION).enumerate() {
        let source = OUTSIDE_CLIENTS[index % OUTSIDE_CLIENTS.len()];
        let mut stranger = world.stranger_from(source.into())?;
        stranger.say(&format!("MAIL FROM:<{}>", friend("relay")), "250")?;
        for form in forms {
            let shown = form.escape_ascii();
            stranger
                .wire()
                .send(&[b"RCPT TO:", *form, b"\r\n"].concat())?;
            let reply = stranger
                .reply()
                .with_context(|| format!("RCPT TO:{shown}"))?;
            ensure!(
                (500..600).contains(&reply.code),
                "RCPT TO:{shown} is answered {:?}",
                reply.text
            );
        }
    }
    Ok(())
}

fn no_local_accounts(world: &World) -> Result<()> {
    let mut stranger = world.stranger()?;
    stranger.say(&format!("MAIL FROM:<{}>", friend("relay")), "250")?;
    for address in [
        "root@wombat.example",
        "root",
        "root@localhost",
        "vmail@mail.wombat.example",
        "anna@mail.wombat.example",
    ] {
        let line = format!("RCPT TO:<{address}>");
        let reply = stranger.ask(&line)?;
        must_refuse(&reply, &line)?;
    }
    let subject = world.unique("to root");
    world
        .receive(&["root@mail.wombat.example"], &subject)?
        .must_be(&[250], "mail to the machine's root")?;
    let admin = Account {
        address: "postmaster@wombat.example".to_owned(),
        password: ADMIN_PASSWORD.to_owned(),
    };
    world.read(&admin, &subject)?;
    Ok(())
}

fn services_send_nothing(world: &World) -> Result<()> {
    // As a user of the machine, by bash's own sockets; a line is sent when the last was answered.
    let script = r#"
say() { printf '%s\r\n' "$1" >&3; hear; }
hear() { while read -r line <&3; do echo "$line"; case $line in ???" "*) break ;; esac; done; }
exec 3<>/dev/tcp/127.0.0.1/25 && hear
say 'EHLO wombat.example'
say 'MAIL FROM:<anna@wombat.example>'
say 'RCPT TO:<carol@outside.example>'
exec 3<>/dev/tcp/127.0.0.1/10025 && echo reached
"#;
    let path = "/run/relay-test";
    let said = world.run(&format!(
        "cat > {path} << 'END'\n{script}END\nchmod 644 {path}\n\
         runuser -u mailimg-web -- timeout 60 bash {path} 2>&1; rm {path}"
    ))?;
    ensure!(
        said.contains("554 5.7.1") && said.contains("Relay access denied"),
        "port 25: {said}"
    );
    ensure!(
        said.contains("refused") && !said.contains("reached"),
        "the port for filters: {said}"
    );
    Ok(())
}

fn own_domain_from_outside(world: &World) -> Result<()> {
    let mut stranger = world.stranger()?;
    let message = letter(
        "anna@wombat.example",
        "bert@wombat.example",
        "in your own name",
        "Send money.",
    );
    let first = stranger.ask("MAIL FROM:<anna@wombat.example>")?;
    if first.code >= 500 {
        return Ok(());
    }
    let second = stranger.ask("RCPT TO:<bert@wombat.example>")?;
    if second.code >= 500 {
        return Ok(());
    }
    let reply = stranger.data(message.as_bytes())?;
    must_refuse(&reply, "a message from anna@wombat.example")
}
