//! Policies, what Postfix asks about them, and what it tells of TLS.

use super::{Target, is_plain, runtime, texts, try_all};
use crate::appliance::sts::answer::{Answer, Dane, answer};
use crate::appliance::sts::netstring::read_netstring;
use crate::appliance::sts::policy::{is_domain, parse_policy, parse_records};
use crate::appliance::sts::report::event::{Endpoint, parse_event, parse_record};
use crate::appliance::sts::socketmap::wanted_domain;
use crate::appliance::wire::line::Conversation;
use std::io::Cursor;

const TARGETS: &[Target] = &[
    Target {
        name: "questions of Postfix in netstrings",
        seeds: || {
            texts(&[
                "15:sts example.com,7:sts a.b,0:,",
                "31:sts [mail.example.com]:587 example,",
            ])
        },
        words: &["sts ", ",", ":", "99999999999999999999:"],
        start: || Box::new(read_questions),
    },
    Target {
        name: "a policy",
        seeds: || {
            texts(&[
                "version: STSv1\r\nmode: enforce\r\nmx: Mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n",
                "version: STSv1\nmode: none\nmax_age: 86400\nx.new-key_1: \u{fc}, {y}\n",
            ])
        },
        words: &[
            "mx: ",
            "mode: testing",
            "max_age: ",
            "*.",
            "\r\n",
            "{",
            "}",
            ",",
        ],
        start: || Box::new(read_policy),
    },
    Target {
        name: "the records of a policy and of reports",
        seeds: || {
            texts(&[
                "v=STSv1; id=20160831085700Z;",
                "v=TLSRPTv1 ;x=y; rua=mailto:a%2Bb@example.com?subject=x , https://Report.example.com:8443/v1;",
            ])
        },
        words: &[
            "rua=", "mailto:", "https://", "%0d%0a", "@", ":443", "[::1]", "id=",
        ],
        start: || Box::new(read_records),
    },
    Target {
        name: "what Postfix tells of a session",
        seeds: || {
            texts(&[
                r#"{"dpv": "1","d": "Example.com","pr": "v=TLSRPTv1;rua=mailto:r@example.com","policies":[{"policy-type":2,"policy-domain": "example.com","policy-string":["version: STSv1","mode: enforce"],"mx-host":["*.example.com"],"failure-details":[{"c":202,"s": "192.0.2.1","n": "mx.example.com","h": "250-mx.example.com\r\n250 PIPELINING","r": "192.0.2.2"}],"t":1,"f":1}]}"#,
            ])
        },
        words: &[
            "{", "[", "\"", "\\u0000", "\\ud800", "null", "\"f\":1", "policies",
        ],
        start: || Box::new(read_event),
    },
    Target {
        name: "replies of SMTP and IMAP",
        seeds: || {
            texts(&[
                "220-mx.example ESMTP\r\n220 mx.example\r\n250-a\r\n250 b\r\n",
                "* OK ready\r\n* 0 EXISTS\r\na OK done\r\n",
            ])
        },
        words: &["\r\n", "220-", "250 ", "* ", "a OK"],
        start: || Box::new(read_replies),
    },
];

#[test]
fn policies_and_reports_of_strangers() {
    try_all(TARGETS);
}

fn read_questions(input: &[u8]) {
    runtime().block_on(async {
        let mut stream = input;
        while let Ok(Some(request)) = read_netstring(&mut stream, 512).await {
            if let Ok(Some(domain)) = wanted_domain(&request) {
                assert!(is_domain(&domain));
            }
        }
    });
}

/// What Postfix reads splits at blanks, commas and braces.
fn read_policy(input: &[u8]) {
    match parse_policy(input) {
        Ok(policy) => {
            let split = |name: &String| name.contains([' ', ',', '{', '}', ':']);
            assert!(!policy.patterns.iter().any(split), "{policy:?}");
            let told = answer("a.example", &policy, Dane::None);
            if let Answer::Level(text) = told {
                assert!(is_plain(&text), "{text:?}");
                assert!(text.len() < 100_000);
            }
        }
        Err(wrong) => assert!(is_plain(&wrong) && wrong.len() < 1000, "{wrong:?}"),
    }
}

fn read_records(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if let Some(id) = parse_records(&lines) {
        assert!(id.len() <= 32 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
    for endpoint in parse_record(&text) {
        match endpoint {
            // A blank or a bracket would be a command of SMTP.
            Endpoint::Mail(address) => {
                assert!(
                    is_plain(&address) && !address.contains([' ', '<', '>']),
                    "{address:?}"
                );
            }
            Endpoint::Web { url, host, .. } => {
                assert!(is_domain(&host) && is_plain(&url), "{url:?}");
            }
        }
    }
}

fn read_event(input: &[u8]) {
    if let Some(event) = parse_event(input) {
        assert!(is_domain(&event.domain));
        let _ = parse_record(&event.record);
    }
}

fn read_replies(input: &[u8]) {
    let said = || Conversation::new(Cursor::new(input.to_vec()));
    let mut smtp = said();
    while smtp.expect_smtp("2").is_ok() {}
    let mut imap = said();
    while imap.expect_imap("*").is_ok() && imap.expect_imap("a").is_ok() {}
}
