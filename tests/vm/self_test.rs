//! The harness proves itself without a machine.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mail_auth::common::crypto::{RsaKey, Sha256};
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::DkimSigner;
use rsa::RsaPrivateKey;
use rsa::pkcs8::{EncodePrivateKey, EncodePublicKey};
use rsa::rand_core::OsRng;
use rustls::pki_types::PrivateKeyDer;

use super::dns::UPDATE_KEY;
use super::pebble::{AUTHORITY_NAME, Pebble};
use super::resolver::Resolver;
use super::site::{OUTSIDE_DOMAIN, STS_DOMAINS, Site, reverse_name};
use super::smtp::Conversation;
use super::{dkim, dns, https, pebble};
use crate::world::network::{
    CLIENTS, CLIENTS6, GATEWAY, OUTSIDE_AUTHORITY, OUTSIDE_CLIENTS, OUTSIDE_MAIL, OUTSIDE_MAIL6,
    OUTSIDE_POLICIES, connect_from, inside, machine_address, machine_address6,
};
use crate::world::process::run;
use crate::world::wait::until;
use crate::world::{peers, query};

/// Everything here is local.
const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn the_world_around_machines_works() -> Result<()> {
    inside("self_test::the_world_around_machines_works", || {
        let mut site = Site::start()?;
        zones_are_signed(&site)?;
        no_way_out()?;
        the_clock_is_right()?;
        mail_is_caught_and_verified(&mut site)?;
        site.check_running()
    })
}

#[test]
fn the_outside_vouches_and_takes_updates() -> Result<()> {
    inside("self_test::the_outside_vouches_and_takes_updates", || {
        let mut site = Site::start()?;
        an_authority_serves(&site)?;
        zones_change(&mut site)?;
        site.check_running()
    })
}

fn an_authority_serves(site: &Site) -> Result<()> {
    let place = pebble::place(OUTSIDE_AUTHORITY.into());
    let resolver = Resolver::start(&site.dns.root_hints())?;
    let pebble = Pebble::start(&site.authority, &resolver, place, false)?;
    let client = CLIENTS[0].into();
    let directory = https::get(client, place, AUTHORITY_NAME, "/dir")?;
    ensure!(
        directory.status == 200
            && directory
                .body
                .contains(&format!("https://{AUTHORITY_NAME}/sign-me-up")),
        "{directory:?}"
    );
    ensure!(pebble.root().starts_with("-----BEGIN"), "{}", pebble.root());
    ensure!(pebble.counts().requests == 1, "{:?}", pebble.counts());
    pebble.switch(false);
    until("the front to go", LIMIT, || {
        Ok(https::get(client, place, AUTHORITY_NAME, "/dir")
            .is_err()
            .then_some(()))
    })?;
    pebble.switch(true);
    until("the front to come", LIMIT, || {
        Ok(https::get(client, place, AUTHORITY_NAME, "/dir").ok())
    })?;
    for domain in STS_DOMAINS {
        let host = format!("mta-sts.{}", domain.name);
        let target = SocketAddr::new(OUTSIDE_POLICIES.into(), 443);
        let policy = https::get(client, target, &host, "/.well-known/mta-sts.txt")?;
        ensure!(
            policy.status == 200 && policy.body.starts_with("version: STSv1"),
            "{policy:?}"
        );
    }
    Ok(())
}

fn zones_change(site: &mut Site) -> Result<()> {
    let (key, algorithm, secret) = UPDATE_KEY;
    let script = format!(
        "server {}\nzone wombat.example.\nadd updated.wombat.example. 5 TXT \"here\"\nsend\n",
        dns::address()
    );
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("script");
    std::fs::write(&path, script)?;
    run(peers::program("knsupdate")?
        .args(["-y", &format!("{algorithm}:{key}:{secret}")])
        .arg(&path))?;
    let found = query::lookup_txt(dns::address(), "updated.wombat.example")?;
    ensure!(found == ["here"], "{found:?}");
    // A zone that is replaced forgets what came by updates, and stays signed.
    site.dns.replace(
        "wombat.example.",
        &["fresh 5 TXT \"new\"", "mail A 10.20.0.100"],
    )?;
    let found = query::lookup_txt(dns::address(), "updated.wombat.example")?;
    ensure!(found.is_empty(), "{found:?}");
    let answer = site.dns.validate("fresh.wombat.example", "TXT")?;
    ensure!(answer.starts_with("; fully validated"), "{answer}");
    let text = site.dns.zone_text("wombat.example.")?;
    ensure!(!text.contains("DMARC1"), "{text}");
    Ok(())
}

fn zones_are_signed(site: &Site) -> Result<()> {
    let mut questions = vec![
        ("mail.wombat.example".to_owned(), "AAAA"),
        ("outside.example".to_owned(), "MX"),
    ];
    let hosts: [IpAddr; 4] = [
        machine_address(0).into(),
        machine_address6(0).into(),
        OUTSIDE_MAIL.into(),
        OUTSIDE_MAIL6.into(),
    ];
    questions.extend(hosts.map(|address| (reverse_name(address), "PTR")));
    for (name, kind) in questions {
        let answer = site.dns.validate(&name, kind)?;
        ensure!(
            answer.starts_with("; fully validated"),
            "{name} {kind}: {answer}"
        );
    }
    let answer = site.dns.validate("nobody.wombat.example", "A")?;
    ensure!(
        answer.contains("; negative response, fully validated"),
        "{answer}"
    );
    let hints = site.dns.root_hints();
    ensure!(hints.lines().count() == 3, "{hints}");
    ensure!(
        site.dns.trust_anchor().starts_with(". "),
        "{}",
        site.dns.trust_anchor()
    );
    Ok(())
}

fn no_way_out() -> Result<()> {
    let beyond: SocketAddr = "192.0.2.1:25".parse()?;
    let started = Instant::now();
    ensure!(
        connect_from(IpAddr::from(GATEWAY), beyond, LIMIT).is_err(),
        "192.0.2.1 was reached"
    );
    ensure!(
        started.elapsed() < LIMIT / 2,
        "192.0.2.1 must be refused at once"
    );
    Ok(())
}

fn the_clock_is_right() -> Result<()> {
    let socket = std::net::UdpSocket::bind((CLIENTS[0], 0))?;
    socket.set_read_timeout(Some(LIMIT))?;
    let mut request = [0; 48];
    request[0] = (4 << 3) | 3;
    request[40..48].copy_from_slice(b"originat");
    socket.send_to(&request, (GATEWAY, 123))?;
    let mut reply = [0; 64];
    let length = socket.recv(&mut reply)?;
    ensure!(
        length == 48 && reply[0] == (4 << 3) | 4,
        "no NTP server's reply"
    );
    ensure!(
        &reply[24..32] == b"originat",
        "the reply is to another question"
    );
    let seconds = u64::from(u32::from_be_bytes(reply[40..44].try_into()?));
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_secs();
    ensure!(
        (seconds - 2_208_988_800).abs_diff(now) <= 2,
        "the clock says {seconds}"
    );
    Ok(())
}

fn mail_is_caught_and_verified(site: &mut Site) -> Result<()> {
    let key = RsaPrivateKey::new(&mut OsRng, 2048)?;
    let public = base64(key.to_public_key().to_public_key_der()?.as_bytes());
    // Two strings, as keys of this size need (RFC 6376, section 3.6.2.2).
    let (first, second) = public.split_at(200);
    site.dns.add(
        "outside.example.",
        &format!(
            "test._domainkey TXT ( \"v=DKIM1; k=rsa; p={first}\"\n  \"{second}\" ) ; a comment"
        ),
    )?;
    let record = query::lookup_txt(dns::address(), "test._domainkey.outside.example")?;
    ensure!(
        record == [format!("v=DKIM1; k=rsa; p={public}")],
        "{record:?}"
    );

    let message =
        "From: a@outside.example\r\nTo: b@outside.example\r\nSubject: hello\r\n\r\n.dot\r\nbye\r\n";
    let der = key.to_pkcs8_der()?;
    let signer = RsaKey::<Sha256>::from_key_der(PrivateKeyDer::Pkcs8(der.as_bytes().into()))
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let signature = DkimSigner::from_key(signer)
        .domain(OUTSIDE_DOMAIN)
        .selector("test")
        .headers(["From", "To", "Subject"])
        .sign(message.as_bytes())
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let signed = format!("{}{message}", signature.to_header());

    // From inside and outside, on both IP versions.
    let ways: [(IpAddr, IpAddr); 3] = [
        (CLIENTS[1].into(), OUTSIDE_MAIL.into()),
        (OUTSIDE_CLIENTS[0].into(), OUTSIDE_MAIL.into()),
        (CLIENTS6[2].into(), OUTSIDE_MAIL6.into()),
    ];
    for (index, (source, server)) in ways.into_iter().enumerate() {
        let recipient = format!("b{index}@outside.example");
        let (conversation, _) = Conversation::open(source, SocketAddr::new(server, 25))?;
        conversation.deliver("a@outside.example", &recipient, &signed)?;
        let caught = site.sink.wait_for(&recipient, LIMIT)?;
        ensure!(
            caught.client == source && caught.sender == "a@outside.example",
            "{caught:?}"
        );
        ensure!(caught.helo == "client.outside.example", "{}", caught.helo);
        let signers = dkim::verify(&caught.message, dns::address())?;
        ensure!(
            signers.len() == 1 && signers[0].domain == OUTSIDE_DOMAIN,
            "{signers:?}"
        );
        ensure!(signers[0].selector == "test", "{signers:?}");
        let spoiled = String::from_utf8(caught.message)?.replace("bye", "buy");
        ensure!(
            dkim::verify(spoiled.as_bytes(), dns::address()).is_err(),
            "a changed body must not verify"
        );
    }
    Ok(())
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
