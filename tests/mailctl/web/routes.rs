//! Every page, over HTTP and HTTPS, under every name.

use super::client::{Answer, browse, exchange, plain, secure};
use super::site::{HOSTNAME, Site};

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

#[test]
fn everything_else_goes_from_http_to_https() {
    let site = Site::start();
    let location = |host: &str, request: &str| {
        let answer = plain(site.http, host, request);
        let location = answer.header("location").unwrap_or_default().to_owned();
        (answer.status, location)
    };
    // Behind another web server, which has the certificates of all our names and port 443.
    for (host, request, status, expected) in [
        (HOSTNAME, "GET /", 301, "https://mail.wombat.example/"),
        (
            "Koala.example.:80",
            "HEAD /a/b?c=d&e=%2e",
            301,
            "https://koala.example/a/b?c=d&e=%2e",
        ),
        (HOSTNAME, "POST /x", 308, "https://mail.wombat.example/x"),
        ("192.0.2.1", "GET /", 301, "https://mail.wombat.example/"),
        (
            "evil.example",
            "GET /x",
            301,
            "https://mail.wombat.example/x",
        ),
        (
            HOSTNAME,
            "GET //evil.example",
            301,
            "https://mail.wombat.example//evil.example",
        ),
        (
            "autodiscover.koala.example",
            "GET /Autodiscover/Autodiscover.xml",
            302,
            "https://mail.wombat.example/autodiscover/autodiscover.xml",
        ),
    ] {
        assert_eq!(
            location(host, request),
            (status, expected.to_owned()),
            "{host} {request}"
        );
    }
}

#[test]
fn thunderbird_finds_its_settings() {
    let site = Site::start();
    let answer = secure(
        site.https,
        "autoconfig.koala.example",
        "GET /mail/config-v1.1.xml?emailaddress=jens%2Bx%40Koala.example",
    );
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        Some("application/xml; charset=utf-8")
    );
    assert!(answer.body.contains("<emailProvider id=\"koala.example\">"));
    let servers: Vec<(&str, &str)> = answer
        .body
        .split("<port>")
        .skip(1)
        .map(|part| {
            let (port, rest) = part.split_once('<').unwrap();
            let kind = rest.split_once("<socketType>").unwrap().1;
            (port, kind.split_once('<').unwrap().0)
        })
        .collect();
    let expected = [
        ("993", "SSL"),
        ("143", "STARTTLS"),
        ("465", "SSL"),
        ("587", "STARTTLS"),
    ];
    assert_eq!(servers, expected);
    assert_eq!(
        answer
            .body
            .matches("<hostname>mail.wombat.example<")
            .count(),
        4
    );
    // A tag is no part of the name to log in with; an address is put in by the program itself.
    for (address, username) in [
        ("jens%2Bx%40Koala.example", "jens@koala.example"),
        ("Jens+a+b@koala.example", "jens@koala.example"),
        ("Jens@koala.example", "%EMAILADDRESS%"),
        ("+x@koala.example", "%EMAILADDRESS%"),
        ("%3Cx%3E+y@koala.example", "%EMAILADDRESS%"),
    ] {
        let request = format!("GET /mail/config-v1.1.xml?emailaddress={address}");
        let answer = secure(site.https, "autoconfig.koala.example", &request);
        let element = format!("<username>{username}</username>");
        assert_eq!(answer.body.matches(&element).count(), 4, "{address}");
    }
    const WELL_KNOWN: &str = "GET /.well-known/autoconfig/mail/config-v1.1.xml";
    for (host, request, domain) in [
        (HOSTNAME, WELL_KNOWN, "wombat.example"),
        ("koala.example", WELL_KNOWN, "koala.example"),
        (
            "autoconfig.wombat.example",
            "GET /mail/config-v1.1.xml",
            "wombat.example",
        ),
    ] {
        for answer in [
            secure(site.https, host, request),
            plain(site.http, host, request),
        ] {
            assert_eq!(answer.status, 200, "{host}");
            assert!(answer.body.contains(&format!("id=\"{domain}\"")));
        }
    }
    for (host, request) in [
        (
            HOSTNAME,
            format!("{WELL_KNOWN}?emailaddress=a@else.example"),
        ),
        (HOSTNAME, format!("{WELL_KNOWN}?emailaddress=none")),
        (HOSTNAME, format!("{WELL_KNOWN}?emailaddress=%40%")),
        ("mta-sts.koala.example", WELL_KNOWN.to_owned()),
        ("else.example", WELL_KNOWN.to_owned()),
    ] {
        assert_eq!(
            secure(site.https, host, &request).status,
            404,
            "{host} {request}"
        );
    }
}

/// Posts a body as Outlook does.
fn post(site: &Site, host: &str, path: &str, body: &str) -> Answer {
    let text = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/xml\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    Answer::parse(&exchange(browse(site.https, host), text.as_bytes()))
}

#[test]
fn outlook_finds_its_settings() {
    let site = Site::start();
    let request = |address: &str| {
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><Autodiscover xmlns=\"http://schemas.\
             microsoft.com/exchange/autodiscover/outlook/requestschema/2006\"><Request>\
             <EMailAddress>{address}</EMailAddress><AcceptableResponseSchema>http://schemas.\
             microsoft.com/exchange/autodiscover/outlook/responseschema/2006a\
             </AcceptableResponseSchema></Request></Autodiscover>"
        )
    };
    for path in [
        "/autodiscover/autodiscover.xml",
        "/Autodiscover/Autodiscover.xml",
    ] {
        let answer = post(&site, HOSTNAME, path, &request("Jens@koala.example"));
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer
                .body
                .matches("<LoginName>jens@koala.example<")
                .count(),
            2
        );
        assert_eq!(
            answer.body.matches("<Server>mail.wombat.example<").count(),
            2
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    let path = "/autodiscover/autodiscover.xml";
    let answer = post(
        &site,
        "autodiscover.koala.example",
        path,
        &request("a@else.example"),
    );
    assert_eq!(answer.status, 404);
    for body in [
        "",
        "x",
        "<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><EMailAddress>&b;</EMailAddress>",
        "<EMailAddress>&lt;&gt;@koala.example</EMailAddress>",
    ] {
        let answer = post(&site, HOSTNAME, path, body);
        assert!(
            answer.body.contains("<ErrorCode>600</ErrorCode>"),
            "{answer:?}"
        );
    }
    let answer = post(&site, HOSTNAME, path, &request("\"><x>@koala.example"));
    assert_ne!(answer.body.matches("<x>").count(), 1);
    let phone = request("a@koala.example").replace("outlook/responseschema/2006a", "mobilesync");
    let answer = post(&site, HOSTNAME, path, &phone);
    assert!(
        answer.body.contains("<ErrorCode>601</ErrorCode>"),
        "{answer:?}"
    );
    let huge = "x".repeat(20 << 10);
    assert_eq!(post(&site, HOSTNAME, path, &huge).status, 413);

    let get = |request: &str| secure(site.https, "autodiscover.wombat.example", request);
    let answer = get("GET /AutoDiscover/autodiscover.XML?Email=a%40wombat.example");
    assert!(answer.body.contains("<LoginName>a@wombat.example<"));
    for address in ["a%2Btag%40wombat.example", "A+tag+more@Wombat.example"] {
        let answer = get(&format!(
            "GET /autodiscover/autodiscover.xml?email={address}"
        ));
        let login = "<LoginName>a@wombat.example<";
        assert_eq!(answer.body.matches(login).count(), 2, "{address}");
    }
    let answer = get("GET /autodiscover/autodiscover.xml?email=+tag@wombat.example");
    assert_eq!(answer.status, 404);
    let answer = get("GET /autodiscover/autodiscover.xml");
    assert!(answer.body.contains("<ErrorCode>600<"));
    for request in [
        "GET /autodiscover/autodiscover.json?Email=a+x@wombat.example&Protocol=AutodiscoverV1",
        "GET /autodiscover/autodiscover.json?Email=a@wombat.example&Protocol=Autodiscoverv1",
        "GET /autodiscover/autodiscover.json/v1.0/a%40wombat.example?Protocol=AutodiscoverV1",
    ] {
        let answer = get(request);
        assert_eq!(answer.status, 200);
        let value: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(value["Protocol"], "AutodiscoverV1");
        let url = "https://mail.wombat.example/autodiscover/autodiscover.xml";
        assert_eq!(value["Url"], url);
    }
    let answer = get("GET /autodiscover/autodiscover.json?Email=a@wombat.example&Protocol=EWS");
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("InvalidProtocol"));
    let answer = get("GET /autodiscover/autodiscover.json?Email=a@else.example&Protocol=EWS");
    assert_eq!(answer.status, 404);
}

#[test]
fn apple_gets_a_profile_that_stays_the_same() {
    let site = Site::start();
    let get = |address: &str| {
        let request = format!("GET /apple.mobileconfig?email={address}");
        secure(site.https, HOSTNAME, &request)
    };
    let answer = get("jens%40koala.example");
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        Some("application/x-apple-aspen-config")
    );
    assert_eq!(
        answer
            .body
            .matches("<string>jens@koala.example</string>")
            .count(),
        6
    );
    assert!(
        !answer
            .body
            .to_ascii_lowercase()
            .contains("<key>incomingpassword")
    );
    assert_eq!(get("Jens@Koala.example").body, answer.body);
    assert_eq!(get("jens%2Bshop@koala.example").body, answer.body);
    let uuids = |body: &str| -> Vec<String> {
        let parts = body.split("<key>PayloadUUID</key>").skip(1);
        parts.map(|part| part[..60].to_owned()).collect()
    };
    let mut all = uuids(&answer.body);
    all.extend(uuids(&get("other@koala.example").body));
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 4);
    for address in [
        "",
        "jens",
        "a@else.example",
        "%3Cx%3E%40koala.example",
        "a%00@koala.example",
    ] {
        assert_eq!(get(address).status, 404, "{address}");
    }
    assert_eq!(
        secure(site.https, HOSTNAME, "GET /apple.mobileconfig").status,
        404
    );
}

#[test]
fn the_first_page_says_what_this_is_and_nothing_of_its_making() {
    let site = Site::start();
    let answer = secure(site.https, HOSTNAME, "GET /");
    assert_eq!(answer.status, 200);
    for part in [
        "This is the mail server of wombat.example, koala.example.",
        "action=\"/apple.mobileconfig\"",
        "993",
        "465",
    ] {
        assert!(answer.body.contains(part), "{part}");
    }
    let all = format!("{}{}", answer.head, answer.body.to_ascii_lowercase());
    for word in [
        "mailimg", "postfix", "dovecot", "hyper", "debian", "server:",
    ] {
        assert!(!all.contains(word), "{word}");
    }
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    let policy = answer.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    let robots = secure(site.https, HOSTNAME, "GET /robots.txt");
    assert_eq!(robots.body, "User-agent: *\nDisallow: /\n");
    assert_eq!(secure(site.https, HOSTNAME, "GET /none").status, 404);
    assert_eq!(secure(site.https, "else.example", "GET /").status, 404);
    // Over plain HTTP nothing is insisted on.
    assert_eq!(
        plain(site.http, HOSTNAME, "GET /").header("strict-transport-security"),
        None
    );
}

#[test]
fn methods_and_heads() {
    let site = Site::start();
    for method in ["DELETE", "PUT", "TRACE", "PATCH", "OPTIONS", "FOO"] {
        for port_answer in [
            plain(site.http, HOSTNAME, &format!("{method} /")),
            secure(site.https, HOSTNAME, &format!("{method} /")),
        ] {
            assert_eq!(port_answer.status, 405, "{method}");
            assert!(
                port_answer
                    .header("allow")
                    .unwrap()
                    .starts_with("get, head")
            );
        }
    }
    assert_eq!(secure(site.https, HOSTNAME, "POST /").status, 405);
    for path in ["/", "/robots.txt", "/none"] {
        let get = secure(site.https, HOSTNAME, &format!("GET {path}"));
        let head = secure(site.https, HOSTNAME, &format!("HEAD {path}"));
        assert_eq!(head.body, "");
        let without_date = |head: &str| -> Vec<String> {
            let lines = head.lines().filter(|line| !line.starts_with("date: "));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(without_date(&head.head), without_date(&get.head));
        let length = get.body.len().to_string();
        assert_eq!(head.header("content-length"), Some(length.as_str()));
    }
}

#[test]
fn changed_settings_are_taken_without_a_restart() {
    let mut site = Site::start();
    let ask = |site: &Site| {
        let request = "GET /.well-known/mta-sts.txt";
        secure(site.https, "mta-sts.emu.example", request)
    };
    assert_eq!(ask(&site).status, 404);
    let path = site.machine.path("var/lib/mailimg/settings.env");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("=koala.example", "=koala.example,emu.example");
    std::fs::write(&path, format!("{text}MTA_STS=none\n")).unwrap();
    site.machine.run(&["settings", "apply"]).success();
    assert!(ask(&site).body.contains("mode: none\r\n"));
    assert!(site.service.is_running());
    std::fs::write(site.machine.path("run/mailimg/web.json"), "torn").unwrap();
    assert!(
        ask(&site).body.contains("mode: none\r\n"),
        "the last good one serves on"
    );
}
