//! What Postfix tells of its deliveries, and the reports that go out (RFC 8460).

use super::world::{ALSO_CALL, Client, NOT_FOUND, World, set_clock};
use crate::world::machine::Machine;
use crate::world::outside::{Page, page};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;

/// A mail server that takes one message and hands over all that was said to it.
fn mail_server(answer: &'static str) -> (SocketAddr, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        let mut said = String::new();
        let mut in_data = false;
        stream
            .write_all(b"220 mail.wombat.example ESMTP\r\n")
            .unwrap();
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).unwrap_or(0) == 0 {
                return said;
            }
            said.push_str(&line);
            let reply = match line.trim_end() {
                "." if in_data => {
                    in_data = false;
                    answer
                }
                _ if in_data => continue,
                "DATA" => {
                    in_data = true;
                    "354 go on"
                }
                "QUIT" => return said,
                line if line.starts_with("EHLO") => "250-mail.wombat.example\r\n250 8BITMIME",
                _ => "250 good",
            };
            stream.write_all(format!("{reply}\r\n").as_bytes()).unwrap();
        }
    });
    (address, thread)
}

/// What Postfix would report, in the words of libtlsrpt.
fn tell(machine: &Machine, domain: &str, endpoint: &str, failed: bool) {
    let details = if failed {
        r#","failure-details":[{"c":202,"s": "192.0.2.1","n": "mx.example","h": "250-mx.example\r\n250 PIPELINING","r": "192.0.2.2"}]"#
    } else {
        ""
    };
    let datagram = format!(
        r#"{{"dpv": "1","d": "{domain}","pr": "v=TLSRPTv1; rua={endpoint}","policies":[{{"policy-type":2,"policy-domain": "{domain}","policy-string":["version: STSv1"],"mx-host":["*.{domain}"]{details},"t":{0},"f":{0}}}]}}"#,
        u8::from(failed)
    );
    let socket = UnixDatagram::unbound().unwrap();
    let path = machine.path("run/mailimg-sts/report.sock");
    socket.send_to(datagram.as_bytes(), path).unwrap();
}

#[test]
fn what_postfix_tells_is_reported_the_day_after_and_once() {
    let world = World::new();
    let machine = world.machine();
    let service = world.serve(&machine);
    let web = format!("https://reports.web.example:{}/v1", world.web.port);
    for failed in [false, true, true] {
        tell(&machine, "mail.example", "mailto:tls@mail.example", failed);
    }
    tell(&machine, "web.example", &web, false);
    tell(&machine, "silent.example", "ftp://nowhere.example/", false);
    let garbage = UnixDatagram::unbound().unwrap();
    let socket = machine.path("run/mailimg-sts/report.sock");
    for bytes in [&b""[..], b"{", &[0xff; 50_000]] {
        garbage.send_to(bytes, &socket).unwrap();
    }
    // It answers after all of that, and stores what it counted when it is stopped.
    assert_eq!(Client::new(&machine).ask("[a.example]"), NOT_FOUND);
    service.stop();
    let days = machine.path("var/lib/mailimg/sts/days");
    let today = std::fs::read_dir(&days)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();

    // Of a day that is not over nothing is told.
    let resolver = world.resolver.address.to_string();
    let send = |smtp: &str| {
        let arguments = ["tlsrpt", "--resolver", &resolver, "--smtp", smtp];
        let output = machine
            .run(&[&arguments[..], &ALSO_CALL].concat())
            .success()
            .get_output()
            .stdout
            .clone();
        String::from_utf8(output).unwrap()
    };
    assert_eq!(send("127.0.0.1:1"), "Sent 0 reports, 0 wait.\n");
    let yesterday = make_it_yesterday(&today);

    // Nobody takes anything yet: mail is refused, the web server is not there.
    let (smtp, thread) = mail_server("451 later");
    assert_eq!(send(&smtp.to_string()), "Sent 1 reports, 2 wait.\n");
    drop(thread);
    let host = "reports.web.example";
    world.resolver.address(host, false);
    world
        .web
        .put(host, page("text/plain", "thanks"), &world.trusted, host);
    let (smtp, thread) = mail_server("250 taken");
    assert_eq!(send(&smtp.to_string()), "Sent 2 reports, 0 wait.\n");
    assert_eq!(send("127.0.0.1:1"), "Sent 0 reports, 0 wait.\n");
    assert_eq!(std::fs::read_dir(&days).unwrap().count(), 0);

    let said = thread.join().unwrap();
    assert!(
        said.contains("\r\nMAIL FROM:<>\r\nRCPT TO:<tls@mail.example>\r\nDATA\r\n"),
        "{said}"
    );
    for line in [
        "From: <noreply-smtp-tls-reporting@wombat.example>",
        "TLS-Report-Domain: mail.example",
        "TLS-Report-Submitter: wombat.example",
        "TLS-Required: No",
    ] {
        assert!(said.contains(&format!("\r\n{line}\r\n")), "{line}");
    }
    let start = said.find("gz\"\r\n\r\n").unwrap() + 7;
    let body = &said[start..];
    let body = body[..body.find("\r\n--").unwrap()].replace("\r\n", "");
    let packed = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, body).unwrap();
    let report = unpack(&packed);
    assert_eq!(report["organization-name"], "wombat.example");
    assert_eq!(
        report["date-range"]["start-datetime"],
        format!("{yesterday}T00:00:00Z")
    );
    let policy = &report["policies"][0];
    assert_eq!(policy["policy"]["policy-type"], "sts");
    assert_eq!(policy["summary"]["total-successful-session-count"], 1);
    assert_eq!(policy["summary"]["total-failure-session-count"], 2);
    let detail = &policy["failure-details"][0];
    assert_eq!(detail["result-type"], "certificate-host-mismatch");
    assert_eq!(detail["failed-session-count"], 2);
    assert_eq!(detail["receiving-mx-helo"], "mx.example");

    let requests = world.web.requests.lock().unwrap().clone();
    let (asked, request) = &requests[0];
    assert_eq!((requests.len(), asked.as_str()), (1, host));
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /v1 HTTP/1.1\r\n"), "{head}");
    assert!(
        head.to_lowercase()
            .contains("content-type: application/tlsrpt+gzip"),
        "{head}"
    );
    let bytes: Vec<u8> = body.chars().map(|byte| byte as u8).collect();
    assert_eq!(
        unpack(&bytes)["policies"][0]["policy"]["policy-domain"],
        "web.example"
    );
}

/// The record of a stranger had the machine send what he chose to the network behind it.
#[test]
fn a_report_goes_to_no_address_of_ours_and_is_sent_on_nowhere() {
    let world = World::new();
    let machine = world.machine();
    let service = world.serve(&machine);
    let host = "reports.web.example";
    let endpoint = format!("https://{host}:{}/v1", world.web.port);
    tell(&machine, "web.example", &endpoint, false);
    assert_eq!(Client::new(&machine).ask("[a.example]"), NOT_FOUND);
    service.stop();
    let days = std::fs::read_dir(machine.path("var/lib/mailimg/sts/days"));
    make_it_yesterday(&days.unwrap().next().unwrap().unwrap().path());
    let moved = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: https://real.example:{}/\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n",
        world.web.port
    );
    let moved = Page::Bytes(moved.into_bytes());
    world.resolver.address(host, false);
    world.web.put(host, moved, &world.trusted, host);
    world.resolver.address("real.example", false);
    let taken = page("text/plain", "thanks");
    world
        .web
        .put("real.example", taken, &world.trusted, "real.example");

    let resolver = world.resolver.address.to_string();
    let arguments = ["tlsrpt", "--resolver", &resolver, "--smtp", "127.0.0.1:1"];
    let waits = "Sent 0 reports, 1 wait.\n";
    let ran = machine.run(&arguments).success().stdout(waits);
    let told = String::from_utf8_lossy(&ran.get_output().stderr).into_owned();
    assert!(
        told.contains("refused: 127.0.0.1 is not on the public internet"),
        "{told}"
    );
    assert_eq!(world.web.count(host), 0);
    let trial = [&arguments[..], &ALSO_CALL].concat();
    machine.run(&trial).success().stdout(waits);
    assert_eq!(world.web.count(host), 1);
    assert_eq!(world.web.count("real.example"), 0);
}

/// Has the day of a file be over; its date then.
fn make_it_yesterday(today: &std::path::Path) -> jiff::civil::Date {
    let yesterday = jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .yesterday()
        .unwrap()
        .date();
    std::fs::rename(today, today.with_file_name(format!("{yesterday}.json"))).unwrap();
    yesterday
}

/// At a boot with the clock at 2006 or 2046 days of nowhere were counted and told.
#[test]
fn a_clock_that_nobody_set_yet_counts_and_tells_nothing() {
    let world = World::new();
    let machine = world.machine();
    let days = machine.path("var/lib/mailimg/sts/days");
    let left = || {
        let mut names: Vec<_> = std::fs::read_dir(&days)
            .map(|all| all.map(|day| day.unwrap().file_name()).collect())
            .unwrap_or_default();
        names.sort();
        names
    };
    set_clock(&machine, false);
    let service = world.serve(&machine);
    tell(&machine, "mail.example", "mailto:tls@mail.example", true);
    assert_eq!(Client::new(&machine).ask("[a.example]"), NOT_FOUND);
    service.stop();
    assert_eq!(left().len(), 0);

    set_clock(&machine, true);
    let service = world.serve(&machine);
    tell(&machine, "mail.example", "mailto:tls@mail.example", true);
    assert_eq!(Client::new(&machine).ask("[a.example]"), NOT_FOUND);
    service.stop();
    let today = left().pop().unwrap();
    for other in ["2006-11-27.json", "2099-01-01.json"] {
        std::fs::copy(days.join(&today), days.join(other)).unwrap();
    }
    let resolver = world.resolver.address.to_string();
    let arguments = ["tlsrpt", "--resolver", &resolver, "--smtp", "127.0.0.1:1"];
    set_clock(&machine, false);
    let said = "No report is sent before the clock is set.\n";
    machine.run(&arguments).success().stdout(said);
    assert_eq!(left().len(), 3);
    set_clock(&machine, true);
    let said = "Sent 0 reports, 0 wait.\n";
    machine.run(&arguments).success().stdout(said);
    assert_eq!(left(), [today]);
}

fn unpack(packed: &[u8]) -> serde_json::Value {
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed)
        .read_to_string(&mut text)
        .unwrap();
    serde_json::from_str(&text).unwrap()
}
