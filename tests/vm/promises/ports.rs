//! Ports and TLS: no password in the clear, no outdated encryption.

use anyhow::{Context, Result, ensure};

use super::super::hello::{Version, is_accepted};
use super::super::managesieve::{self, ManageSieve};
use super::super::site::HOST_NAME;
use super::super::smtp::Conversation;
use super::super::wire::Wire;
use super::Promise;
use super::world::{World, must_refuse};
use crate::world::network::OUTSIDE_CLIENTS;

/// AUTH PLAIN of `anna` with some password.
const LOGIN: &str = "AUTH PLAIN AGFubmFAd29tYmF0LmV4YW1wbGUAeA==";

pub const PROMISES: &[Promise] = &[
    Promise {
        says: "port 25 offers no login and takes none, before and after STARTTLS",
        check: no_login_on_25,
    },
    Promise {
        says: "port 587 offers a login after STARTTLS only",
        check: login_on_587_after_tls,
    },
    Promise {
        says: "port 143 takes a login after STARTTLS only",
        check: login_on_143_after_tls,
    },
    Promise {
        says: "port 4190 takes a login after STARTTLS only",
        check: login_on_4190_after_tls,
    },
    Promise {
        says: "TLS 1.0 and 1.1 are refused on 25, 465, 587, 143, 993, 443 and 4190",
        check: old_tls_is_refused,
    },
    Promise {
        says: "VRFY and EXPN tell the same of those who exist and those who do not",
        check: vrfy_and_expn_tell_nothing,
    },
    Promise {
        says: "banners name the machine and no version",
        check: banners_name_no_version,
    },
];

fn no_login_on_25(world: &World) -> Result<()> {
    let (mut clear, _) = Conversation::open(OUTSIDE_CLIENTS[0].into(), world.port(25))?;
    let offers = clear.hello()?;
    ensure!(!offers.offers("AUTH"), "in the clear: {:?}", offers.text);
    ensure!(offers.offers("STARTTLS"), "no STARTTLS: {:?}", offers.text);
    must_refuse(&clear.ask(LOGIN)?, LOGIN)?;
    let (clear, _) = Conversation::open(OUTSIDE_CLIENTS[0].into(), world.port(25))?;
    let (mut secure, offers) = clear.start_tls(HOST_NAME)?;
    ensure!(!offers.offers("AUTH"), "over TLS: {:?}", offers.text);
    must_refuse(&secure.ask(LOGIN)?, LOGIN)
}

fn login_on_587_after_tls(world: &World) -> Result<()> {
    let (mut clear, _) = Conversation::open(world.client(), world.port(587))?;
    let offers = clear.hello()?;
    ensure!(!offers.offers("AUTH"), "in the clear: {:?}", offers.text);
    must_refuse(&clear.ask(LOGIN)?, LOGIN)?;
    must_refuse(
        &clear.ask("MAIL FROM:<anna@wombat.example>")?,
        "MAIL without TLS",
    )?;
    let (clear, _) = Conversation::open(world.client(), world.port(587))?;
    let (mut secure, offers) = clear.start_tls(HOST_NAME)?;
    ensure!(
        offers.text.contains("AUTH PLAIN LOGIN") || offers.text.contains("AUTH LOGIN PLAIN"),
        "over TLS: {:?}",
        offers.text
    );
    secure
        .log_in(&world.account("anna"))?
        .must_be(&[235], "the login")?;
    Ok(())
}

fn login_on_143_after_tls(world: &World) -> Result<()> {
    let mut wire = Wire::open(world.client(), world.port(143))?;
    let greeting = line(&mut wire)?;
    ensure!(
        greeting.contains("LOGINDISABLED") && !greeting.contains("AUTH="),
        "{greeting:?}"
    );
    wire.send_line("a LOGIN anna@wombat.example x")?;
    let answer = tagged(&mut wire, "a ")?;
    ensure!(answer.starts_with("a NO"), "LOGIN is answered {answer:?}");
    ensure!(answer.contains("PRIVACYREQUIRED"), "{answer:?}");
    wire.send_line("b STARTTLS")?;
    let answer = tagged(&mut wire, "b ")?;
    ensure!(
        answer.starts_with("b OK"),
        "STARTTLS is answered {answer:?}"
    );
    let mut wire = wire.secure(HOST_NAME)?;
    let anna = world.account("anna");
    wire.send_line(&format!(
        "c LOGIN \"{}\" \"{}\"",
        anna.address, anna.password
    ))?;
    let answer = tagged(&mut wire, "c ")?;
    ensure!(answer.starts_with("c OK"), "LOGIN is answered {answer:?}");
    Ok(())
}

fn login_on_4190_after_tls(world: &World) -> Result<()> {
    let (mut clear, offers) = ManageSieve::connect(world.client(), world.address())?;
    ensure!(
        !offers.contains("PLAIN") && !offers.contains("LOGIN"),
        "in the clear: {offers:?}"
    );
    ensure!(offers.contains("\"STARTTLS\""), "{offers:?}");
    let said = clear.log_in(&world.account("anna"))?;
    ensure!(
        !said.starts_with("OK"),
        "a login in the clear is answered {said:?}"
    );
    let (clear, _) = ManageSieve::connect(world.client(), world.address())?;
    let (mut secure, offers) = clear.start_tls(HOST_NAME)?;
    ensure!(offers.contains("PLAIN"), "over TLS: {offers:?}");
    let said = secure.log_in(&world.account("anna"))?;
    ensure!(said.starts_with("OK"), "a login is answered {said:?}");
    Ok(())
}

fn old_tls_is_refused(world: &World) -> Result<()> {
    for port in [25, 465, 587, 143, 993, 443, managesieve::PORT] {
        for (version, expected) in [
            (Version::Tls10, false),
            (Version::Tls11, false),
            (Version::Tls12, true),
        ] {
            let mut wire = wire_before_tls(world, port)?;
            let accepted = is_accepted(&mut wire, version)
                .with_context(|| format!("{version:?} on port {port}"))?;
            ensure!(
                accepted == expected,
                "{version:?} on port {port}: accepted is {accepted}"
            );
        }
    }
    Ok(())
}

/// A connection on which the next bytes are a TLS handshake.
fn wire_before_tls(world: &World, port: u16) -> Result<Wire> {
    let source = if port == 25 {
        OUTSIDE_CLIENTS[1].into()
    } else {
        world.client()
    };
    let mut wire = Wire::open(source, world.port(port))?;
    match port {
        25 | 587 => {
            smtp_reply(&mut wire)?;
            wire.send_line("EHLO client.outside.example")?;
            smtp_reply(&mut wire)?;
            wire.send_line("STARTTLS")?;
            let reply = smtp_reply(&mut wire)?;
            ensure!(reply.starts_with("220"), "STARTTLS is answered {reply:?}");
        }
        143 => {
            line(&mut wire)?;
            wire.send_line("a STARTTLS")?;
            tagged(&mut wire, "a ")?;
        }
        managesieve::PORT => {
            tagged(&mut wire, "OK")?;
            wire.send_line("STARTTLS")?;
            tagged(&mut wire, "OK")?;
        }
        _ => {}
    }
    Ok(wire)
}

fn line(wire: &mut Wire) -> Result<String> {
    wire.line()?.context("the server hung up")
}

fn tagged(wire: &mut Wire, tag: &str) -> Result<String> {
    loop {
        let line = line(wire)?;
        if line.starts_with(tag) {
            return Ok(line);
        }
    }
}

fn smtp_reply(wire: &mut Wire) -> Result<String> {
    loop {
        let line = line(wire)?;
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(line);
        }
    }
}

fn vrfy_and_expn_tell_nothing(world: &World) -> Result<()> {
    let mut stranger = world.stranger()?;
    for verb in ["VRFY", "EXPN"] {
        let mut said = Vec::new();
        for name in ["anna", "nobody", "team"] {
            let line = format!("{verb} {name}@wombat.example");
            let reply = stranger.ask(&line)?.must_be(&[500, 502, 550, 252], &line)?;
            said.push(reply.text.replace(name, "NAME"));
        }
        ensure!(
            said.iter().all(|text| *text == said[0]),
            "{verb} tells them apart: {said:?}"
        );
    }
    stranger.say("QUIT", "221")?;
    Ok(())
}

fn banners_name_no_version(world: &World) -> Result<()> {
    let (_, smtp) = Conversation::open(OUTSIDE_CLIENTS[0].into(), world.port(25))?;
    ensure!(smtp.contains(HOST_NAME), "{smtp:?}");
    let (_, submission) = Conversation::open(world.client(), world.port(587))?;
    let imap = line(&mut Wire::open(world.client(), world.port(143))?)?;
    for banner in [smtp, submission, imap] {
        for word in ["postfix", "debian", "2.4", "3.10"] {
            ensure!(
                !banner.to_lowercase().contains(word),
                "a banner says {banner:?}"
            );
        }
    }
    Ok(())
}
