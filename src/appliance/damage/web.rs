//! Requests to the web server, and what Dovecot reports of those who log in.

use super::{Target, runtime, texts, try_all};
use crate::appliance::guard::firewall::{script_all, script_ban};
use crate::appliance::guard::reports::parse_report;
use crate::appliance::guard::rules::Rules;
use crate::appliance::machine::place;
use crate::appliance::web::asked::Arrival;
use crate::appliance::web::configuration::CONFIGURATION;
use crate::appliance::web::connection::converse;
use crate::appliance::web::site::Site;
use crate::appliance::web::tests::{configuration, machine};
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};

const TARGETS: &[Target] = &[
    Target {
        name: "requests to the web server",
        seeds: requests,
        words: &[
            "\r\n",
            "\r\n\r\n",
            "Host: mail.wombat.example\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Content-Length: ",
            "X-Forwarded-Proto: https\r\n",
            "Expect: 100-continue\r\n",
            "Connection: upgrade\r\n",
            "/../",
            "%2e",
            "%00",
            "?",
            "HTTP/1.0",
            "HEAD",
            "POST",
            "mta-sts.koala.example",
            "<EMailAddress>",
            "<![CDATA[",
            "&#0;",
            "<!DOCTYPE x [",
        ],
        start: || Box::new(ask()),
    },
    Target {
        name: "reports of logins",
        seeds: reports,
        words: &[
            "\"success\":false",
            "null",
            "\"remote\":\"",
            "::ffff:",
            "\\u0000",
            "{",
            "]",
        ],
        start: || Box::new(note()),
    },
];

#[test]
fn requests_of_strangers() {
    try_all(TARGETS);
}

fn requests() -> Vec<Vec<u8>> {
    let body = "<?xml version=\"1.0\"?><Autodiscover><Request><EMailAddress>a@wombat.example\
                </EMailAddress><AcceptableResponseSchema>http://schemas.microsoft.com/exchange/\
                autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema></Request>\
                </Autodiscover>";
    let posted = format!(
        "POST /autodiscover/autodiscover.xml HTTP/1.1\r\nHost: autodiscover.wombat.example\r\n\
         Content-Type: text/xml\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let get = |path: &str, host: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let two = get("/", "mail.wombat.example") + &get("/robots.txt", "mail.wombat.example");
    texts(&[
        &posted,
        &two,
        &get("/.well-known/mta-sts.txt", "mta-sts.koala.example"),
        &get(
            "/mail/config-v1.1.xml?emailaddress=a%40wombat.example",
            "autoconfig.wombat.example",
        ),
        &get(
            "/autodiscover/autodiscover.json/v1.0/a@wombat.example?Protocol=ActiveSync",
            "mail.wombat.example",
        ),
        &get(
            "/apple.mobileconfig?email=a@wombat.example",
            "mail.wombat.example:443",
        ),
        &get(
            "/.well-known/acme-challenge/abc_DEF-1",
            "mail.wombat.example",
        ),
    ])
}

/// A connection from its first byte to its last, with TLS taken off.
fn ask() -> impl Fn(&[u8]) {
    let (folder, of_machine, _) = machine();
    std::fs::create_dir_all(of_machine.path(place::RENDERED)).unwrap();
    CONFIGURATION
        .write(&of_machine, &configuration(80))
        .unwrap();
    let site = Rc::new(Site::new(&of_machine).unwrap());
    let runtime = runtime();
    move |input| {
        let _ = &folder;
        let odd = input.len() % 2 == 1;
        let arrival = Arrival {
            is_tls: !odd,
            is_proxy: odd,
            is_trusted: false,
            peer: std::net::Ipv4Addr::LOCALHOST.into(),
        };
        let (client, server) = duplex(64 << 10);
        let (mut reader, mut writer) = split(client);
        let mut answer = Vec::new();
        runtime.block_on(async {
            let speak = async {
                // It may be told to stop before its end.
                let _ = writer.write_all(input).await;
                let _ = writer.shutdown().await;
            };
            let listen = reader.read_to_end(&mut answer);
            let (_, (), heard) =
                tokio::join!(converse(site.clone(), server, arrival, true), speak, listen);
            heard.unwrap();
        });
        let text = String::from_utf8_lossy(&answer);
        for answer in text.split("HTTP/1.").skip(1) {
            let status = answer.get(2..5).unwrap_or_default();
            assert!(!status.starts_with('5'), "{text}");
        }
    }
}

fn reports() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"login":"a@wombat.example","pwhash":"12ab","remote":"192.0.2.1","device_id":"","protocol":"imap","session_id":"x","fail_type":"credentials","success":false,"policy_reject":false,"tls":true}"#,
        r#"{"login":"","pwhash":"","remote":"2001:db8::1","success":true}"#,
    ])
}

/// What nft reads holds nothing that a stranger wrote.
fn note() -> impl Fn(&[u8]) {
    move |input| {
        let mut rules = Rules::restore(Vec::new(), 0);
        for second in 0..8 {
            let Ok(Some(attempt)) = parse_report(input) else {
                return;
            };
            if let Some(ban) = rules.note(attempt, second) {
                let script = script_ban(&ban, second) + &script_all(&rules.running(second), second);
                let known = |byte: u8| byte.is_ascii_graphic() || b" \n".contains(&byte);
                assert!(script.bytes().all(known), "{script:?}");
            }
            let again: Vec<_> = rules.remembered();
            let text = serde_json::to_string(&again).unwrap();
            Rules::restore(serde_json::from_str(&text).unwrap(), second);
        }
    }
}
