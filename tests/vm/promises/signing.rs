//! Signing and verifying: DKIM, SPF, DMARC and what the machine writes of them.

use std::net::IpAddr;

use anyhow::{Result, ensure};

use super::super::site::{
    DOMAIN, HOST_NAME, OUTSIDE_DOMAIN, QUARANTINE_DOMAIN, REJECT_DOMAIN, SECOND_DOMAIN,
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
        says: "a message with two From headers is refused, from strangers and from users",
        check: two_from_headers,
    },
    Promise {
        says: "what a user writes in 8-bit text is signed in a form that every server takes",
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
    pretend(
        world,
        REJECT_DOMAIN,
        "jana@wombat.example",
        &world.unique("pretended"),
    )?
    .must_be(&[550], "a message that fails p=reject")?;
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
                && value.contains("smtp.mailfrom=")),
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
