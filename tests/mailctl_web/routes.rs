//! Every page, over HTTP and HTTPS, under every name.

use crate::client::{plain, secure};
use crate::site::{HOSTNAME, Site};

#[test]
fn challenges_are_answered_under_any_name() {
    let site = Site::start();
    let folder = site.machine.path("run/mailimg-acme/http");
    std::fs::write(folder.join("to-ken_1"), "to-ken_1.digest").unwrap();
    for host in [
        HOSTNAME,
        "mta-sts.koala.example",
        "127.0.0.1",
        "else.example",
    ] {
        let request = "GET /.well-known/acme-challenge/to-ken_1";
        let answer = plain(site.http, host, request);
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "to-ken_1.digest")
        );
        let answer = plain(site.http, host, "GET /.well-known/acme-challenge/other");
        assert_eq!(answer.status, 404);
    }
    let answer = secure(
        site.https,
        HOSTNAME,
        "GET /.well-known/acme-challenge/to-ken_1",
    );
    assert_eq!(answer.body, "to-ken_1.digest");
}

#[test]
fn the_policy_is_served_for_each_domain_over_https_alone() {
    let site = Site::start();
    const REQUEST: &str = "GET /.well-known/mta-sts.txt";
    for domain in ["wombat.example", "koala.example"] {
        let answer = secure(site.https, &format!("mta-sts.{domain}"), REQUEST);
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        assert_eq!(
            answer.body,
            "version: STSv1\r\nmode: enforce\r\nmx: mail.wombat.example\r\nmax_age: 604800\r\n"
        );
    }
    for host in [
        HOSTNAME,
        "wombat.example",
        "mta-sts.else.example",
        "mta-sts.example",
    ] {
        assert_eq!(secure(site.https, host, REQUEST).status, 404, "{host}");
    }
    let answer = plain(site.http, "mta-sts.koala.example", REQUEST);
    assert_eq!(answer.status, 301);
    assert_eq!(
        answer.header("location"),
        Some("https://mta-sts.koala.example/.well-known/mta-sts.txt")
    );
}
