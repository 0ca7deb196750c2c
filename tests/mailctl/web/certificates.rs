//! Which certificate is shown, and how a new one is taken.

use super::client::{Answer, browse, certificate, connect_tls, exchange};
use super::site::{HOSTNAME, Site, make_pair, replace};
use std::io::{Read, Write};
use std::thread::sleep;
use std::time::Duration;

/// Longer than the server's pause between looks at its files.
const A_MOMENT: Duration = Duration::from_millis(1200);

#[test]
fn the_name_asked_for_chooses_the_certificate() {
    let site = Site::start();
    let shown = |name: &str| certificate(&browse(site.https, name));
    let bootstrap = shown(HOSTNAME);
    assert_eq!(shown("mta-sts.wombat.example"), bootstrap);
    let own = site.install("tls", HOSTNAME);
    let sts = site.install("tls/names/mta-sts.wombat.example", "mta-sts.wombat.example");
    sleep(A_MOMENT);
    assert_eq!(shown(HOSTNAME), own);
    assert_eq!(shown("MTA-STS.wombat.example"), sts);
    assert_eq!(shown("mta-sts.koala.example"), own);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        connect_tls(site.https, HOSTNAME, &["http/1.1"], &[version]).unwrap();
        connect_tls(site.https, HOSTNAME, &[], &[version]).unwrap();
    }
    assert!(connect_tls(site.https, HOSTNAME, &["h2"], rustls::ALL_VERSIONS).is_err());
}

/// Twice the same request over one connection, with something done in between.
#[test]
fn a_new_certificate_ends_no_connection() {
    let site = Site::start();
    let mut open = browse(site.https, HOSTNAME);
    let request = format!("GET /robots.txt HTTP/1.1\r\nHost: {HOSTNAME}\r\n\r\n");
    let mut ask = || {
        open.write_all(request.as_bytes()).unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"Disallow: /\n") {
            let mut part = [0; 1024];
            let length = open.read(&mut part).unwrap();
            assert_ne!(length, 0, "the connection was closed");
            said.extend_from_slice(&part[..length]);
        }
        Answer::parse(&String::from_utf8(said).unwrap())
    };
    assert_eq!(ask().header("strict-transport-security"), None);
    let own = site.install("tls", HOSTNAME);
    sleep(A_MOMENT);
    let mut new = browse(site.https, HOSTNAME);
    assert_eq!(certificate(&new), own);
    assert_eq!(ask().status, 200);
    // Only what an authority vouches for may be insisted on.
    let closing = request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let answer = Answer::parse(&exchange(&mut new, closing.as_bytes()));
    let strict = answer.header("strict-transport-security");
    assert_eq!(strict, Some("max-age=31536000"));

    // Half a pair, a torn file, none at all: what served serves on.
    let (_, other, key) = make_pair(HOSTNAME, None);
    let folder = site.machine.path("var/lib/mailimg/tls");
    for (chain, private) in [
        (Some(other.as_str()), None),
        (Some(&other[..200]), Some(key.as_str())),
        (Some(""), Some("")),
    ] {
        if let Some(chain) = chain {
            replace(folder.join("fullchain.pem"), chain);
        }
        if let Some(private) = private {
            replace(folder.join("privkey.pem"), private);
        }
        sleep(A_MOMENT);
        assert_eq!(certificate(&browse(site.https, HOSTNAME)), own);
    }
    std::fs::remove_file(folder.join("fullchain.pem")).unwrap();
    sleep(A_MOMENT);
    assert_eq!(certificate(&browse(site.https, HOSTNAME)), own);
    replace(folder.join("fullchain.pem"), &other);
    replace(folder.join("privkey.pem"), &key);
    sleep(A_MOMENT);
    assert_ne!(certificate(&browse(site.https, HOSTNAME)), own);
}

#[test]
fn a_challenge_is_answered_by_its_certificate_alone() {
    let site = Site::start();
    let ask = |name: &str| connect_tls(site.https, name, &["acme-tls/1"], rustls::ALL_VERSIONS);
    assert!(ask("mta-sts.koala.example").is_err(), "nobody expects one");
    let (challenge, pem, key) = make_pair("mta-sts.koala.example", Some(&[7; 32]));
    let folder = site.machine.path("run/mailimg-acme/alpn");
    replace(
        folder.join("mta-sts.koala.example.pem"),
        &format!("{pem}{key}"),
    );
    let mut answered = ask("mta-sts.koala.example").unwrap();
    assert_eq!(certificate(&answered), challenge);
    assert_eq!(answered.conn.alpn_protocol(), Some(&b"acme-tls/1"[..]));
    // Nothing comes after the handshake.
    let said = exchange(&mut answered, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(said, "");
    // Everybody else sees the usual one.
    assert_ne!(
        certificate(&browse(site.https, "mta-sts.koala.example")),
        challenge
    );
    assert!(ask(HOSTNAME).is_err());
    replace(folder.join(format!("{HOSTNAME}.pem")), "torn");
    assert!(ask(HOSTNAME).is_err());
}

#[test]
fn a_key_that_may_be_read_later_is_taken_then() {
    let site = Site::start();
    let folder = site.machine.path("var/lib/mailimg/tls");
    std::fs::rename(folder.join("privkey.pem"), folder.join("aside")).unwrap();
    assert!(connect_tls(site.https, HOSTNAME, &[], rustls::ALL_VERSIONS).is_err());
    std::fs::rename(folder.join("aside"), folder.join("privkey.pem")).unwrap();
    sleep(A_MOMENT);
    browse(site.https, HOSTNAME);
}
