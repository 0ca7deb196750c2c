//! Signing and verifying: DKIM, SPF, DMARC and what the machine writes of them.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};

use super::super::site::{
    DOMAIN, HOST_NAME, OUTSIDE_DOMAIN, QUARANTINE_DOMAIN, REJECT_DOMAIN, SECOND_DOMAIN,
    UNANSWERED_DOMAIN,
};
use super::super::smtp::{Conversation, Reply};
use super::super::{dkim, dns};
use super::Promise;
use super::world::{World, friend, header_values, letter, must_refuse};
use crate::world::network::OUTSIDE_MAIL;
use crate::world::query::lookup_txt;

pub const PROMISES: &[Promise] = &[
    Promise {
        says: "mail out of each domain is signed with that domain's own key",
        check: each_domain_signs,
    },
    Promise {
        says: "mail from a domain that asks for rejection (DMARC) and fails it is refused with 550",
        check: dmarc_reject,
    },
    Promise {
        says: "mail from a domain that asks for quarantine and fails it lies in Junk",
        check: dmarc_quarantine,
    },
    Promise {
        says: "mail that SPF does not cover is marked spf=fail, covered mail spf=pass",
        check: spf_is_marked,
    },
    Promise {
        says: "Authentication-Results in this machine's name that come from outside are gone",
        check: forged_results_are_gone,
    },
    Promise {
        says: "no spelling of this machine's name in Authentication-Results gets mail past p=reject",
        check: nobody_speaks_for_us,
    },
    Promise {
        says: "a message with headers that end other programs is judged, and ends nothing",
        check: hostile_headers,
    },
    Promise {
        says: "mail without a Date, with two To or Cc, of nobody, a group or Doe, John is taken",
        check: odd_but_honest,
    },
    Promise {
        says: "mail of a domain whose name servers fail waits with 451, and says why",
        check: no_answer_is_no_policy,
    },
    Promise {
        says: "a message with two From headers is refused, from strangers and from users",
        check: two_from_headers,
    },
    Promise {
        says: "what a user writes is signed in a form that every server takes: no 8-bit text, no \
               endless lines",
        check: eight_bits_are_made_fit,
    },
    Promise {
        says: "a bounce goes out signed",
        check: bounces_are_signed,
    },
    Promise {
        says: "while the signer is down users get 451; mail goes on when it is back",
        check: signer_down,
    },
];

fn each_domain_signs(world: &World) -> Result<()> {
    for (account, domain) in [
        (world.account("anna"), DOMAIN),
        (world.second_account("kim"), SECOND_DOMAIN),
    ] {
        let recipient = format!("{}@outside.example", world.unique("signed"));
        world
            .submit(&account, &recipient, &world.unique("signed"))?
            .must_be(&[250], "the message")?;
        let caught = world.caught(&recipient)?;
        let signers = dkim::verify(&caught.message, dns::address())?;
        ensure!(
            signers.len() == 1 && signers[0].domain == domain,
            "mail of {} is signed by {signers:?}",
            account.address
        );
    }
    let record =
        |domain: &str| lookup_txt(dns::address(), &format!("mailserver._domainkey.{domain}"));
    let (first, second) = (record(DOMAIN)?, record(SECOND_DOMAIN)?);
    ensure!(
        first.len() == 1 && second.len() == 1 && first != second,
        "the domains' records are {first:?} and {second:?}"
    );
    Ok(())
}

/// A stranger's message whose From header is of a domain that he has not.
fn pretend(world: &World, domain: &str, recipient: &str, subject: &str) -> Result<Reply> {
    let letter = letter(
        &format!("boss@{domain}"),
        recipient,
        subject,
        "Pay this bill.",
    );
    world
        .stranger()?
        .send(&friend("phisher"), &[recipient], letter.as_bytes())
}

fn dmarc_reject(world: &World) -> Result<()> {
    let reply = pretend(
        world,
        REJECT_DOMAIN,
        "jana@wombat.example",
        &world.unique("pretended"),
    )?
    .must_be(&[550], "a message that fails p=reject")?;
    let says = ["5.7.1", REJECT_DOMAIN, "p=reject", "SPF pass", "no DKIM"];
    ensure!(
        says.iter().all(|word| reply.text.contains(word)),
        "{reply:?}"
    );
    Ok(())
}

fn dmarc_quarantine(world: &World) -> Result<()> {
    let subject = world.unique("pretended");
    pretend(world, QUARANTINE_DOMAIN, "jana@wombat.example", &subject)?
        .must_be(&[250], "a message that fails p=quarantine")?;
    let jana = world.account("jana");
    let message = world.read_in(&jana, "Junk", &subject)?;
    let results = header_values(&message, "Authentication-Results").join("; ");
    ensure!(results.contains("dmarc=fail"), "{results:?}");
    let inbox = world.mailbox(&jana)?.messages("INBOX")?;
    ensure!(
        !inbox
            .iter()
            .any(|message| String::from_utf8_lossy(message).contains(&subject)),
        "it lies in the inbox as well"
    );
    Ok(())
}

fn spf_is_marked(world: &World) -> Result<()> {
    let sender = format!("someone@{OUTSIDE_DOMAIN}");
    let client = IpAddr::from(crate::world::network::OUTSIDE_CLIENTS[0]);
    for (source, expected) in [(client, "fail"), (OUTSIDE_MAIL.into(), "pass")] {
        let subject = world.unique("spf");
        let letter = letter(&sender, "kurt@wombat.example", &subject, "Hello.");
        world
            .stranger_from(source)?
            .send(&sender, &["kurt@wombat.example"], letter.as_bytes())?
            .must_be(&[250], "a message without DMARC")?;
        let message = world.read(&world.account("kurt"), &subject)?;
        let results = header_values(&message, "Authentication-Results");
        ensure!(
            results.iter().any(|value| value.starts_with(HOST_NAME)
                && value.contains(&format!("spf={expected}"))
                && value.contains("smtp.mailfrom=")
                && value.contains(&format!("policy.iprev={source}"))),
            "from {source}: {results:?}"
        );
    }
    Ok(())
}

fn forged_results_are_gone(world: &World) -> Result<()> {
    let subject = world.unique("whose results");
    let forged = format!(
        "Authentication-Results: {HOST_NAME}; dkim=pass header.d=forged-one\r\n\
         Authentication-Results: MAIL.Wombat.Example; dmarc=pass header.from=forged-two\r\n\
         Authentication-Results:\r\n {HOST_NAME};\r\n spf=pass smtp.mailfrom=forged-three\r\n\
         authentication-results: {HOST_NAME} 1; dmarc=pass header.from=forged-four\r\n\
         Received-SPF: pass (forged-five)\r\n\
         Authentication-Results: other.example; dkim=pass header.d=somebody-else\r\n"
    );
    let letter = letter(&friend("forger"), "lars@wombat.example", &subject, "Hello.");
    world
        .stranger()?
        .send(
            &friend("forger"),
            &["lars@wombat.example"],
            format!("{forged}{letter}").as_bytes(),
        )?
        .must_be(&[250], "the message")?;
    let message = world.read(&world.account("lars"), &subject)?;
    ensure!(!message.contains("forged-"), "{message}");
    ensure!(
        message.contains("somebody-else"),
        "another host's results are gone too: {message}"
    );
    Ok(())
}

/// A stranger's message with these headers above those of a letter.
fn with_headers(world: &World, from: &str, subject: &str, headers: &str) -> Result<Reply> {
    let recipient = "jana@wombat.example";
    let letter = letter(from, recipient, subject, "Pay this bill.");
    world.stranger()?.send(
        &friend("phisher"),
        &[recipient],
        format!("{headers}{letter}").as_bytes(),
    )
}

fn nobody_speaks_for_us(world: &World) -> Result<()> {
    let (host, rest) = HOST_NAME.split_once('.').context("a name without a dot")?;
    for name in [
        format!("{host} . {rest}"),
        format!("{host}\\.{rest}"),
        format!("\"{host}\".{rest}"),
        format!("\"{HOST_NAME}\""),
        format!("{host}(a comment).{rest}"),
        format!("{host}.\r\n {rest}"),
        format!("{HOST_NAME}. 1"),
    ] {
        let claim = format!(
            "Authentication-Results: {name}; spf=pass smtp.mailfrom={REJECT_DOMAIN}\r\n\
             Authentication-Results: {name}; dkim=pass header.d={REJECT_DOMAIN}\r\n"
        );
        let boss = format!("boss@{REJECT_DOMAIN}");
        let subject = world.unique("claimed");
        let reply = with_headers(world, &boss, &subject, &claim)?
            .must_be(&[550], &format!("a message with results of {name:?}"))?;
        ensure!(reply.text.contains(REJECT_DOMAIN), "{reply:?}");
        let subject = world.unique("claimed");
        with_headers(world, &friend("phisher"), &subject, &claim)?
            .must_be(&[250], "the same without a policy")?;
        let message = world.read(&world.account("jana"), &subject)?;
        let results = header_values(&message, "Authentication-Results");
        ensure!(results.len() == 1, "{name:?}: {results:?}");
    }
    Ok(())
}

fn hostile_headers(world: &World) -> Result<()> {
    let main = "systemctl show -P MainPID mailimg-filter.service";
    let before = world.run(main)?;
    let many = "a=b; ".repeat(2000);
    let folded = "\r\n smtp.mailfrom=x.example".repeat(500);
    for headers in [
        format!("Authentication-Results: other.example; {many}\r\n spf=pass{folded}\r\n"),
        "ARC-Authentication-Results:\r\nARC-Seal:\r\n".to_owned(),
        "ARC-Authentication-Results: ;\r\nARC-Message-Signature: i=1\r\nARC-Seal: i=1\r\n"
            .to_owned(),
        "ARC-Seal: i=1; cv=none\r\n".repeat(60),
        "DKIM-Signature:\r\nDKIM-Signature: v=1; b=; bh=; h=; d=; s=\r\n".to_owned(),
    ] {
        let boss = format!("boss@{REJECT_DOMAIN}");
        with_headers(world, &boss, &world.unique("hostile"), &headers)?
            .must_be(&[550], "a message that fails p=reject")?;
        with_headers(world, &friend("odd"), &world.unique("hostile"), &headers)?
            .must_be(&[250], "a message without a policy")?;
    }
    let after = world.run(main)?;
    ensure!(before == after, "the filter ended: {before:?}, {after:?}");
    Ok(())
}

fn odd_but_honest(world: &World) -> Result<()> {
    let sender = friend("odd");
    for head in [
        format!("From: {sender}\r\nTo: jana@wombat.example\r\n"),
        format!(
            "From: {sender}\r\nTo: jana@wombat.example\r\nTo: lars@wombat.example\r\n\
             Cc: a@b.example\r\nCc: c@d.example\r\n"
        ),
        "From: MAILER-DAEMON\r\nTo: jana@wombat.example\r\n".to_owned(),
        "From: <>\r\nTo: jana@wombat.example\r\n".to_owned(),
        format!("From: Friends: {sender};\r\nTo: jana@wombat.example\r\n"),
        format!("From: Doe, John <{sender}>\r\nTo: jana@wombat.example\r\n"),
    ] {
        let subject = world.unique("honest");
        let message = format!("{head}Subject: {subject}\r\n\r\nHello.\r\n");
        world
            .stranger()?
            .send(&sender, &["jana@wombat.example"], message.as_bytes())?
            .must_be(&[250], &head)?;
        world.read(&world.account("jana"), &subject)?;
    }
    Ok(())
}

fn no_answer_is_no_policy(world: &World) -> Result<()> {
    let from = format!("boss@{UNANSWERED_DOMAIN}");
    let reply = with_headers(world, &from, &world.unique("unanswered"), "")?
        .must_be(&[451], "a message of a domain that nobody answers for")?;
    ensure!(reply.text.contains(UNANSWERED_DOMAIN), "{reply:?}");
    Ok(())
}

fn two_from_headers(world: &World) -> Result<()> {
    let lars = world.account("lars");
    let twice = |first: &str| {
        format!(
            "From: boss@wombat.example\r\n{}",
            letter(first, &lars.address, &world.unique("two heads"), "Hello.")
        )
    };
    let sender = friend("twin");
    let reply = world
        .stranger()?
        .send(&sender, &[&lars.address], twice(&sender).as_bytes())?;
    must_refuse(&reply, "a stranger's message with two From headers")?;
    let reply = world.submission(&lars)?.send(
        &lars.address,
        &[&lars.address],
        twice(&lars.address).as_bytes(),
    )?;
    must_refuse(&reply, "a user's message with two From headers")
}

fn eight_bits_are_made_fit(world: &World) -> Result<()> {
    let mona = world.account("mona");
    let recipient = format!("{}@outside.example", world.unique("umlauts"));
    let message = letter(
        &mona.address,
        &recipient,
        "umlauts",
        "Gr\u{fc}\u{df}e aus K\u{f6}ln",
    )
    .replace(
        "Subject:",
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: 8bit\r\nSubject:",
    );
    let mut client = world.submission(&mona)?;
    client.say(
        &format!("MAIL FROM:<{}> BODY=8BITMIME", mona.address),
        "250",
    )?;
    client.say(&format!("RCPT TO:<{recipient}>"), "250")?;
    client
        .data(message.as_bytes())?
        .must_be(&[250], "the message")?;
    let caught = world.caught(&recipient)?;
    let signers = dkim::verify(&caught.message, dns::address())?;
    ensure!(signers.len() == 1, "signed by {signers:?}");
    let text = String::from_utf8_lossy(&caught.message);
    ensure!(caught.message.is_ascii(), "8 bits left the machine: {text}");
    ensure!(text.contains("Gr=C3=BC=C3=9Fe aus K=C3=B6ln"), "{text}");
    // So is a line that servers cut up or refuse.
    let recipient = format!("{}@outside.example", world.unique("long-line"));
    let message = letter(&mona.address, &recipient, "long", &"words ".repeat(500));
    world
        .submission(&mona)?
        .send(&mona.address, &[&recipient], message.as_bytes())?
        .must_be(&[250], "a long line")?;
    let caught = world.caught(&recipient)?;
    dkim::verify(&caught.message, dns::address())?;
    let text = String::from_utf8_lossy(&caught.message);
    let longest = text.lines().map(str::len).max().unwrap_or_default();
    ensure!(longest <= 998, "a line of {longest} left the machine");
    ensure!(text.contains("quoted-printable"), "{text}");
    Ok(())
}

fn bounces_are_signed(world: &World) -> Result<()> {
    let mona = world.account("mona");
    let recipient = format!(
        "{}{}@outside.example",
        super::super::sink::UNKNOWN,
        world.unique("x")
    );
    world
        .submit(&mona, &recipient, &world.unique("to nobody"))?
        .must_be(&[250], "the message")?;
    let mut mailbox = world.mailbox(&mona)?;
    let bounce = crate::world::wait::until("a bounce", super::world::DELIVERY_LIMIT, || {
        Ok(mailbox
            .messages("INBOX")?
            .into_iter()
            .find(|message| String::from_utf8_lossy(message).contains(&recipient)))
    })?;
    let signers = dkim::verify(&bounce, dns::address())?;
    ensure!(
        signers.iter().any(|signer| signer.domain == DOMAIN),
        "signed by {signers:?}"
    );
    Ok(())
}

fn signer_down(world: &World) -> Result<()> {
    let nils = world.account("nils");
    let mut open = world.submission(&nils)?;
    world.run("systemctl kill --signal=KILL opendkim.service; systemctl stop opendkim.service")?;
    let outcome = (|| -> Result<(Reply, Reply)> {
        let mut reply = open.ask(&format!("MAIL FROM:<{}>", nils.address))?;
        if reply.code == 250 {
            reply = open.ask("RCPT TO:<unsigned@outside.example>")?;
        }
        if reply.code == 250 {
            let letter = letter(
                &nils.address,
                "unsigned@outside.example",
                "unsigned",
                "Hello.",
            );
            reply = open.data(letter.as_bytes())?;
        }
        // Whoever comes now is put off even earlier.
        let mut next = Conversation::open_tls(world.client(), world.port(465), HOST_NAME)?;
        next.hello()?;
        Ok((reply, next.log_in(&nils)?))
    })();
    world.run("systemctl reset-failed opendkim.service; systemctl start opendkim.service")?;
    let (reply, next) = outcome?;
    reply.must_be(&[451], "a message while the signer is down")?;
    next.must_be(&[235, 451, 454], "a login while the signer is down")?;
    let recipient = format!("{}@outside.example", world.unique("later"));
    let subject = world.unique("later");
    crate::world::wait::until("mail to go on", super::world::DELIVERY_LIMIT, || {
        let reply = world.submit(&nils, &recipient, &subject);
        Ok(reply.is_ok_and(|reply| reply.code == 250).then_some(()))
    })?;
    let caught = world.caught(&recipient)?;
    dkim::verify(&caught.message, dns::address())?;
    ensure!(
        world.site.sink.find("unsigned@outside.example").is_none(),
        "the refused message came out"
    );
    Ok(())
}
