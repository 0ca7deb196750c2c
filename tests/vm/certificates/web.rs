//! The web server: policy, autoconfiguration, and nothing that helps a stranger.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::super::hello::{Version, is_accepted};
use super::super::https::{Response, get, get_clear};
use super::super::served;
use super::super::site::{DOMAIN, HOST_NAME, SECOND_DOMAIN};
use super::super::wire::Wire;
use super::Row;
use super::world::World;

pub const ROWS: &[Row] = &[
    Row {
        says: "the MTA-STS policy of each domain comes over HTTPS with a certificate of its own name",
        check: policies,
    },
    Row {
        says: "mail programs get their settings: autoconfig and autodiscover",
        check: autoconfiguration,
    },
    Row {
        says: "port 80 redirects to HTTPS, which says HSTS, and no server tells its version",
        check: redirects,
    },
    Row {
        says: "TLS 1.0 and 1.1 are refused on 443",
        check: old_tls_is_refused,
    },
    Row {
        says: "malformed, odd, huge and slow requests neither stop the web server nor the mail",
        check: bad_requests,
    },
];

fn fetch(world: &World, host: &str, path: &str) -> Result<Response> {
    get(world.client(), world.port(443), host, path)
        .with_context(|| format!("getting https://{host}{path}"))
}

fn policies(world: &mut World) -> Result<()> {
    for domain in [DOMAIN, SECOND_DOMAIN] {
        let host = format!("mta-sts.{domain}");
        served::look(world.client(), world.address(), 443, &host)?
            .verify(world.pebble.root(), &host)
            .with_context(|| format!("asking for {host}"))?;
        let policy = fetch(world, &host, "/.well-known/mta-sts.txt")?;
        ensure!(policy.status == 200, "{policy:?}");
        let lines: Vec<&str> = policy.body.lines().collect();
        ensure!(
            lines.contains(&"version: STSv1")
                && lines.contains(&"mode: enforce")
                && lines.contains(&format!("mx: {HOST_NAME}").as_str())
                && lines.iter().any(|line| line.starts_with("max_age: ")),
            "{policy:?}"
        );
        let kind = policy.header("content-type").unwrap_or_default();
        ensure!(kind.starts_with("text/plain"), "{policy:?}");
    }
    Ok(())
}

fn autoconfiguration(world: &mut World) -> Result<()> {
    for (host, path) in [
        (format!("autoconfig.{DOMAIN}"), "/mail/config-v1.1.xml"),
        (
            HOST_NAME.to_owned(),
            "/.well-known/autoconfig/mail/config-v1.1.xml",
        ),
    ] {
        let path = format!("{path}?emailaddress=anna%40{DOMAIN}");
        let found = fetch(world, &host, &path)?;
        ensure!(
            found.status == 200
                && found
                    .body
                    .contains(&format!("<hostname>{HOST_NAME}</hostname>"))
                && found.body.contains("<port>993</port>")
                && found.body.contains("<port>465</port>"),
            "{host}{path}: {found:?}"
        );
    }
    let host = format!("autodiscover.{DOMAIN}");
    served::look(world.client(), world.address(), 443, &host)?
        .verify(world.pebble.root(), &host)?;
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Autodiscover xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006\">\
         <Request><EMailAddress>anna@{DOMAIN}</EMailAddress><AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema></Request></Autodiscover>"
    );
    let wire = Wire::open_tls(world.client(), world.port(443), &host)?;
    let found = super::super::https::exchange(
        wire,
        &format!(
            "POST /autodiscover/autodiscover.xml HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/xml\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ),
    )?;
    ensure!(
        found.status == 200 && found.body.contains(HOST_NAME) && found.body.contains("993"),
        "{found:?}"
    );
    Ok(())
}

fn redirects(world: &mut World) -> Result<()> {
    let there = get_clear(world.client(), world.port(80), HOST_NAME, "/")?;
    ensure!(
        (301..=308).contains(&there.status)
            && there
                .header("location")
                .is_some_and(|place| place.starts_with(&format!("https://{HOST_NAME}"))),
        "{there:?}"
    );
    let first = fetch(world, HOST_NAME, "/")?;
    ensure!(first.status == 200, "{first:?}");
    ensure!(
        first
            .header("strict-transport-security")
            .is_some_and(|value| value.contains("max-age=")),
        "{first:?}"
    );
    for response in [&there, &first] {
        ensure!(
            response.header("server").is_none() && response.header("x-powered-by").is_none(),
            "{response:?}"
        );
    }
    let nothing = fetch(world, HOST_NAME, "/no-such-page")?;
    ensure!(nothing.status == 404, "{nothing:?}");
    Ok(())
}

fn old_tls_is_refused(world: &mut World) -> Result<()> {
    for version in [Version::Tls10, Version::Tls11] {
        let mut wire = Wire::open(world.client(), world.port(443))?;
        ensure!(!is_accepted(&mut wire, version)?, "{version:?} is accepted");
    }
    let mut wire = Wire::open(world.client(), world.port(443))?;
    ensure!(
        is_accepted(&mut wire, Version::Tls12)?,
        "TLS 1.2 is refused"
    );
    Ok(())
}

/// What clients send that keep no rules; whether and how each is answered is the
/// server's choice, as long as it goes on.
fn bad_requests(world: &mut World) -> Result<()> {
    let huge = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!(
        "GET / HTTP/1.1\r\n{}\r\n",
        (0..5000).fold(String::new(), |text, index| text
            + &format!("a{index}: b\r\n"))
    );
    let requests: [&[u8]; 12] = [
        b"\r\n\r\n\r\n",
        b"\0\xff\xfe\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET http://other.example/ HTTP/1.1\r\nHost: mail.wombat.example\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: mail.wombat.example\r\n\r\n",
        b"GET /.well-known/acme-challenge/..%2f..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \r\nConnection: close\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        huge.as_bytes(),
        many.as_bytes(),
    ];
    for port in [80, 443] {
        for request in requests {
            let mut wire = Wire::open(world.client(), world.port(port))?;
            if port == 443 {
                wire = wire.secure(HOST_NAME)?;
            }
            // A server may hang up while a large request is still on its way.
            let _ = wire.send(request);
            wire.set_limit(Duration::from_secs(2))?;
            let answer = wire.rest(1 << 20).unwrap_or_default();
            let answer = String::from_utf8_lossy(&answer);
            ensure!(!answer.contains("root:"), "{answer}");
        }
    }
    // Clients that begin and never end, more than one lazy server would bear.
    let mut slow = Vec::new();
    for index in 0..60 {
        let mut wire = Wire::open(world.client(), world.port([80, 443][index % 2]))?;
        let _ = wire.send(b"GET / HT");
        slow.push(wire);
    }
    let subject = world.unique("while-web-is-busy");
    let letter = super::super::promises::world::letter(
        &world.account("anna").address,
        &world.account("bert").address,
        &subject,
        "Hello.",
    );
    let anna = world.account("anna");
    world
        .submission(&anna)?
        .send(
            &anna.address,
            &[&world.account("bert").address],
            letter.as_bytes(),
        )?
        .must_be(&[250], "the message")?;
    world.read(&world.account("bert"), &subject)?;
    let first = get(
        crate::world::network::CLIENTS[3].into(),
        world.port(443),
        HOST_NAME,
        "/",
    )?;
    ensure!(first.status == 200, "{first:?}");
    drop(slow);
    let restarts = world.run("systemctl show -p NRestarts --value mailimg-web.service")?;
    ensure!(restarts.trim() == "0", "it restarted {restarts} times");
    Ok(())
}
