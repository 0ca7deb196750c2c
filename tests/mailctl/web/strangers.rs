//! Requests that are malformed, slow, huge or many.

use super::client::{Answer, browse, connect, exchange, plain, secure};
use super::site::{HOSTNAME, Site};
use rand::RngExt;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpStream};
use std::time::{Duration, Instant};

/// Statuses of all answers to what is written on one connection.
fn statuses(text: &str) -> Vec<u16> {
    text.split("HTTP/1.")
        .skip(1)
        .map(|answer| answer[2..5].parse().unwrap())
        .collect()
}

#[test]
fn odd_requests_get_a_plain_answer() {
    let mut site = Site::start();
    let huge = "x".repeat(100_000);
    let cookie = format!("GET / HTTP/1.1\r\nHost: {HOSTNAME}\r\nCookie: {huge}\r\n\r\n");
    let line = format!("GET /{huge} HTTP/1.1\r\nHost: {HOSTNAME}\r\n\r\n");
    let many = format!(
        "GET / HTTP/1.1\r\nHost: {HOSTNAME}\r\n{}\r\n",
        "A: b\r\n".repeat(200)
    );
    let host = |lines: &str| format!("GET / HTTP/1.1\r\n{lines}Connection: close\r\n\r\n");
    let path = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: {HOSTNAME}\r\nConnection: close\r\n\r\n")
    };
    for (request, expected) in [
        (cookie, 431),
        (line, 431),
        (many, 431),
        (host(""), 400),
        (host("Host: \r\n"), 400),
        (host("Host: a\r\nHost: a\r\n"), 400),
        (host("Host: a b\r\n"), 400),
        (host("Host: a/../b\r\n"), 400),
        (host("Host: user@mail.wombat.example\r\n"), 400),
        (host("Host: a\0b\r\n"), 400),
        (host("Host: \u{e9}.example\r\n"), 400),
        (host("Host : mail.wombat.example\r\n"), 400),
        (host("Host: mail.wombat.example:8443\r\n"), 200),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), 200),
        ("GET / HTTP/3.0\r\n\r\n".to_owned(), 400),
        ("GET\r\n\r\n".to_owned(), 400),
        ("\0\0\0\0\r\n\r\n".to_owned(), 400),
        (path("/../../etc/passwd"), 404),
        (path("/%2e%2e/%2e%2e/etc/passwd"), 404),
        (path("/.well-known/acme-challenge/../../../etc/passwd"), 404),
        (path("/.well-known/acme-challenge/%2e%2e%2fweb.json"), 404),
        (path("/.well-known/acme-challenge/"), 404),
        (path("/.well-known/./mta-sts.txt"), 404),
        (path("/\0"), 400),
        (path("//"), 404),
        (path("/%00"), 404),
        (path("*"), 404),
        (path("https://mail.wombat.example/"), 200),
        (path("https://else.example/"), 404),
        (path("http://a@b/"), 400),
        (
            "CONNECT else.example:25 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            405,
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: {HOSTNAME}\r\nA: b\r\n c\r\nConnection: close\r\n\r\n"
            ),
            400,
        ),
    ] {
        let said = exchange(browse(site.https, HOSTNAME), request.as_bytes());
        let start: String = request.chars().take(100).collect();
        assert_eq!(statuses(&said), [expected], "{start:?}: {said}");
        assert!(!said.to_ascii_lowercase().contains("server:"));
        // The same over plain HTTP: any answer, and none twice.
        let said = exchange(connect(site.http), request.as_bytes());
        assert_eq!(statuses(&said).len(), 1, "{start:?}: {said}");
    }
    assert!(site.service.is_running());
}

/// A server that closes at once meets the rest with a reset, and whoever is
/// still sending loses the answer.
#[test]
fn who_is_still_sending_is_not_reset() {
    fn insist(mut stream: impl Read + Write) {
        let head = format!("GET / HTTP/1.1\r\nHost: {HOSTNAME}\r\nCookie: ");
        let piece = vec![b'x'; 20_000];
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&piece).unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).unwrap();
        assert_eq!(statuses(&String::from_utf8_lossy(&said)), [431]);
        for _ in 0..8 {
            // As over a slow line.
            std::thread::sleep(Duration::from_millis(50));
            stream.write_all(&piece).unwrap();
        }
    }
    let site = Site::start();
    insist(connect(site.http));
    insist(browse(site.https, HOSTNAME));
}

/// Who never ends his half is not waited for long, nor read without end.
#[test]
fn lingering_ends() {
    /// What the buffers between two sockets may hold, and a few times as much.
    const MOST: usize = 64 << 20;
    let site = Site::start();
    let began = Instant::now();
    let mut silent = connect(site.http);
    let mut endless = connect(site.http);
    for stream in [&mut silent, &mut endless] {
        let said = exchange(stream, b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(statuses(&said), [400]);
    }
    let piece = vec![b'x'; 64 << 10];
    let mut sent = 0;
    while endless.write_all(&piece).is_ok() {
        sent += piece.len();
        assert!(sent < MOST, "{sent} bytes were taken");
    }
    while silent.write_all(b"x").is_ok() {
        let took = began.elapsed();
        assert!(took < Duration::from_secs(30), "{took:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What a proxy in front may read otherwise must not become a second request.
#[test]
fn nothing_is_smuggled() {
    let site = Site::start();
    let inner = "GET /robots.txt HTTP/1.1\r\nHost: mail.wombat.example\r\n\r\n";
    for headers in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 99999999999999999999999\r\n",
    ] {
        for method in ["GET", "POST"] {
            let request = format!(
                "{method} /autodiscover/autodiscover.xml HTTP/1.1\r\n\
                 Host: mail.wombat.example\r\n{headers}\r\n0\r\n\r\n{inner}"
            );
            let said = exchange(browse(site.https, HOSTNAME), request.as_bytes());
            let statuses = statuses(&said);
            assert_eq!(statuses.len(), 1, "{method} {headers:?}: {said}");
            assert!(
                [400, 411].contains(&statuses[0]),
                "{method} {headers:?}: {said}"
            );
        }
    }
    // A body that nobody asked for is never read as a request.
    let request = format!(
        "GET / HTTP/1.1\r\nHost: mail.wombat.example\r\nContent-Length: {}\r\n\r\n{inner}",
        inner.len()
    );
    let said = exchange(browse(site.https, HOSTNAME), request.as_bytes());
    assert_eq!(statuses(&said), [200]);
}

#[test]
fn slow_clients_are_dropped() {
    let site = Site::start();
    let began = Instant::now();
    let silent = connect(site.https);
    let mut half_head = connect(site.http);
    half_head
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n")
        .unwrap();
    let mut half_body = browse(site.https, HOSTNAME);
    let head = format!(
        "POST /autodiscover/autodiscover.xml HTTP/1.1\r\nHost: {HOSTNAME}\r\n\
         Content-Length: 100\r\n\r\n<"
    );
    half_body.write_all(head.as_bytes()).unwrap();
    let mut idle = connect(site.http);
    idle.write_all(format!("GET / HTTP/1.1\r\nHost: {HOSTNAME}\r\n\r\n").as_bytes())
        .unwrap();
    let ends = [
        exchange(silent, b""),
        exchange(half_head, b""),
        exchange(half_body, b""),
        exchange(idle, b""),
    ];
    let took = began.elapsed();
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert_eq!(ends[0], "");
    assert_eq!(statuses(&ends[2]), [408]);
    assert_eq!(statuses(&ends[3]), [301]);
}

/// Half of them say nothing, half say nearly all, on both ports.
#[test]
fn a_crowd_of_slow_clients_keeps_nobody_out() {
    let mut site = Site::start();
    secure(site.https, HOSTNAME, "GET /");
    let before = site.memory();
    for (crowd, limit) in [(200, 0), (700, 500)] {
        let mut held = Vec::new();
        for number in 0..crowd {
            let mut stream = connect(if number % 2 == 0 {
                site.http
            } else {
                site.https
            });
            if number % 4 == 0 {
                let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nA: ");
            }
            held.push(stream);
        }
        let began = Instant::now();
        assert_eq!(plain(site.http, HOSTNAME, "GET /").status, 301);
        assert_eq!(secure(site.https, HOSTNAME, "GET /").status, 200);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?} beside {crowd}");
        // The oldest made room.
        let mut ended = 0;
        for stream in &mut held {
            stream.set_nonblocking(true).unwrap();
            let mut byte = [0];
            ended += usize::from(matches!(stream.read(&mut byte), Ok(0)));
        }
        assert!(ended <= crowd - limit, "{ended} of {crowd} ended");
        let after = site.memory();
        println!("{crowd} slow clients: a good one took {took:?}, {before} then {after} KiB");
        assert!(after < 64 << 10, "{after} KiB");
    }
    assert!(site.service.is_running());
}

#[test]
fn two_hundred_with_tls_stay_small() {
    let site = Site::start();
    let before = site.memory();
    let mut held: Vec<_> = (0..200).map(|_| browse(site.https, HOSTNAME)).collect();
    for stream in &mut held {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nA: ")
            .unwrap();
    }
    let began = Instant::now();
    assert_eq!(secure(site.https, HOSTNAME, "GET /").status, 200);
    let after = site.memory();
    println!(
        "{:?} beside 200 over TLS, {before} then {after} KiB",
        began.elapsed()
    );
    assert!(after < 64 << 10, "{after} KiB");
    let request = format!("b\r\nHost: {HOSTNAME}\r\n\r\n");
    let said = exchange(held.pop().unwrap(), request.as_bytes());
    assert_eq!(Answer::parse(&said).status, 400, "two hosts");
}

#[test]
fn noise_is_survived_on_both_families() {
    let mut site = Site::start();
    for number in 0..300 {
        let mut noise = vec![0u8; number];
        rand::rng().fill(&mut noise[..]);
        if number % 3 == 0 {
            noise.splice(0..0, *b"GET / HTTP/1.1\r\nHost: ");
        }
        noise.extend(b"\r\n\r\n");
        let port = if number % 2 == 0 {
            site.http
        } else {
            site.https
        };
        let mut stream = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        let _ = stream.write_all(&noise);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut said = Vec::new();
        let end = stream.read_to_end(&mut said);
        let waited = end.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!waited, "{noise:?}");
    }
    assert!(site.service.is_running());
    assert_eq!(secure(site.https, HOSTNAME, "GET /").status, 200);
}
