//! What becomes of mail to domains of every kind, and what a client of the socket may say.

use super::world::{Client, ENFORCE, NOT_FOUND, World, set_clock};
use crate::world::machine::Machine;
use crate::world::outside::{Authority, Page, page};
use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::tlsa::CertUsage;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

#[test]
fn each_kind_of_domain_gets_what_it_asks_for() {
    let world = World::new();
    let machine = world.machine();
    let service = world.serve(&machine);
    let mode = |machine: &Machine| {
        let path = machine.path("run/mailimg-sts/policy.sock");
        path.metadata().unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode(&machine), 0o660);
    let mut client = Client::new(&machine);

    world.enforce("enforce.example");
    let secure = client.ask("enforce.example");
    assert_eq!(
        secure,
        "OK secure match=.enforce.example servername=hostname policy_type=sts \
         policy_domain=enforce.example mx_host_pattern=*.enforce.example \
         { policy_string = version: STSv1 } { policy_string = mode: enforce } \
         { policy_string = mx: *.enforce.example } { policy_string = max_age: 604800 }"
    );
    assert_eq!(client.ask("Enforce.Example"), secure);
    for key in [
        ".example",
        "[enforce.example]",
        "enforce.example:587",
        "enforce.example.",
    ] {
        assert_eq!(client.ask(key), NOT_FOUND, "{key}");
    }
    // What it asked for, and of whom.
    let requests = world.web.requests.lock().unwrap().clone();
    let (host, request) = &requests[0];
    assert_eq!(
        (requests.len(), host.as_str()),
        (1, "mta-sts.enforce.example")
    );
    assert!(request.starts_with("GET /.well-known/mta-sts.txt HTTP/1.1\r\n"));
    assert!(
        request
            .to_lowercase()
            .contains("host: mta-sts.enforce.example\r\n"),
        "{request}"
    );

    let testing = ENFORCE
        .replace("enforce", "testing")
        .replace("DOMAIN", "t.example");
    world.announce("t.example", page("text/plain; charset=utf-8", &testing));
    assert!(
        client
            .ask("t.example")
            .starts_with("OK may servername=hostname policy_type=sts ")
    );
    let none = "version: STSv1\nmode: none\nmax_age: 86400\n";
    world.announce("none.example", page("text/plain", none));
    assert_eq!(client.ask("none.example"), NOT_FOUND);
    assert_eq!(client.ask("nothing.example"), NOT_FOUND);
    println!("resident: {} KiB", service.memory());
}

#[test]
fn what_is_no_policy_leaves_mail_as_it_was() {
    let world = World::new();
    let machine = world.machine();
    let _service = world.serve(&machine);
    let mut client = Client::new(&machine);
    let good = |domain: &str| ENFORCE.replace("DOMAIN", domain);
    let raw = |text: &str| Page::Bytes(text.as_bytes().to_vec());

    world.announce(
        "moved.example",
        raw("HTTP/1.1 302 Found\r\nLocation: https://mta-sts.real.example/.well-known/mta-sts.txt\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"),
    );
    world.enforce("real.example");
    let missing = "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n";
    world.announce("missing.example", raw(missing));
    world.announce("html.example", page("text/html", &good("html.example")));
    let huge = format!("{}x: {}\n", good("huge.example"), "y".repeat(1 << 20));
    world.announce("huge.example", page("text/plain", &huge));
    world.announce(
        "broken.example",
        page("text/plain", "version: STSv1\nmode: enforce\n"),
    );
    world.announce("garbage.example", raw("\x00\x01 no HTTP\r\n\r\n"));
    world.announce("cut.example", raw("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 500\r\n\r\nversion: STSv1\n"));
    let stranger = Authority::new();
    world.enforce("stranger.example");
    let policy = page("text/plain", &good("stranger.example"));
    world.web.put(
        "mta-sts.stranger.example",
        policy,
        &stranger,
        "mta-sts.stranger.example",
    );
    world.enforce("name.example");
    let policy = page("text/plain", &good("name.example"));
    world.web.put(
        "mta-sts.name.example",
        policy,
        &world.trusted,
        "name.example",
    );
    world.enforce("two.example");
    let record = "v=STSv1; id=1;";
    world
        .resolver
        .texts("_mta-sts.two.example", &[record, record]);
    world.enforce("lame.example");
    world
        .resolver
        .failure("_mta-sts.lame.example", RecordType::TXT);
    for domain in [
        "moved", "missing", "html", "huge", "broken", "garbage", "cut", "stranger", "name", "two",
        "lame",
    ] {
        assert_eq!(
            client.ask(&format!("{domain}.example")),
            NOT_FOUND,
            "{domain}"
        );
        // And at once, for some minutes.
        assert_eq!(
            client.ask(&format!("{domain}.example")),
            NOT_FOUND,
            "{domain}"
        );
    }
    assert_eq!(world.web.count("mta-sts.real.example"), 0);
    assert_eq!(world.web.count("mta-sts.two.example"), 0);
    assert_eq!(world.web.count("mta-sts.html.example"), 1);
}

/// DNS of a stranger sent the machine to its own loopback, to whatever listened there.
#[test]
fn a_policy_that_is_said_to_be_on_loopback_is_not_asked_for() {
    let world = World::new();
    let machine = world.machine();
    world.enforce("inside.example");
    let service = world.serve_with(&machine, &[]);
    assert_eq!(Client::new(&machine).ask("inside.example"), NOT_FOUND);
    assert_eq!(world.web.count("mta-sts.inside.example"), 0);
    drop(service);
    let _service = world.serve(&machine);
    let answer = Client::new(&machine).ask("inside.example");
    assert!(answer.starts_with("OK secure "), "{answer}");
}

#[test]
fn dane_comes_first() {
    let world = World::new();
    let machine = world.machine();
    let _service = world.serve(&machine);
    let mut client = Client::new(&machine);
    let domain = |domain: &str, hosts: &[&str], secure: bool| {
        world.enforce(domain);
        world.resolver.mail_servers(domain, hosts, secure);
    };
    let resolver = &world.resolver;
    domain(
        "every.example",
        &["a.every.example", "b.every.example"],
        true,
    );
    resolver.tlsa("a.every.example", CertUsage::DaneEe, true);
    resolver.tlsa("b.every.example", CertUsage::DaneTa, true);
    domain("some.example", &["a.some.example", "b.some.example"], true);
    resolver.tlsa("a.some.example", CertUsage::DaneEe, true);
    domain("unsigned.example", &["a.unsigned.example"], false);
    resolver.tlsa("a.unsigned.example", CertUsage::DaneEe, true);
    domain("forged.example", &["a.forged.example"], true);
    resolver.tlsa("a.forged.example", CertUsage::DaneEe, false);
    domain("web.example", &["a.web.example"], true);
    resolver.tlsa("a.web.example", CertUsage::PkixEe, true);
    domain("broken.example", &["a.broken.example"], true);
    resolver.failure("_25._tcp.a.broken.example", RecordType::TLSA);
    domain("lame.example", &["a.lame.example"], true);
    resolver.failure("lame.example", RecordType::MX);

    assert_eq!(client.ask("every.example"), NOT_FOUND);
    assert_eq!(client.ask("some.example"), "OK dane-only");
    for plain in ["unsigned.example", "forged.example", "web.example"] {
        assert!(client.ask(plain).starts_with("OK secure "), "{plain}");
    }
    assert_eq!(client.ask("broken.example"), NOT_FOUND);
    assert_eq!(
        client.ask("lame.example"),
        "TEMP looking up the mail servers failed"
    );

    // Without a resolver that validates there is no DANE to come first.
    let settings = machine.read("var/lib/mailimg/settings.env") + "DNSSEC=no\n";
    std::fs::write(machine.path("var/lib/mailimg/settings.env"), settings).unwrap();
    machine.run(&["render"]).success();
    assert!(client.ask("every.example").starts_with("OK secure "));
}

/// Has the machine learn a policy, of which only the mail server is left then; returns what
/// was answered.
fn learn_and_lose(world: &World, machine: &Machine) -> String {
    world.enforce("a.example");
    let service = world.serve(machine);
    let before = Client::new(machine).ask("a.example");
    assert!(before.starts_with("OK secure "));
    drop(service);
    world.resolver.forget_all();
    world
        .resolver
        .mail_servers("a.example", &["mx.a.example"], false);
    before
}

#[test]
fn a_policy_outlives_the_process_the_record_and_the_server() {
    let world = World::new();
    let machine = world.machine();
    let before = learn_and_lose(&world, &machine);
    let service = world.serve(&machine);
    assert_eq!(Client::new(&machine).ask("a.example"), before);
    drop(service);

    // Another record is another policy; one that cannot be fetched changes nothing.
    world.enforce("a.example");
    world
        .resolver
        .texts("_mta-sts.a.example", &["v=STSv1; id=2;"]);
    let bad = page("text/html", "gone");
    world.web.put(
        "mta-sts.a.example",
        bad,
        &world.trusted,
        "mta-sts.a.example",
    );
    let service = world.serve(&machine);
    assert_eq!(Client::new(&machine).ask("a.example"), before);
    drop(service);
    let next = page("text/plain", &ENFORCE.replace("*.DOMAIN", "new.a.example"));
    world.web.put(
        "mta-sts.a.example",
        next,
        &world.trusted,
        "mta-sts.a.example",
    );
    let _service = world.serve(&machine);
    let after = Client::new(&machine).ask("a.example");
    assert!(
        after.starts_with("OK secure match=new.a.example "),
        "{after}"
    );
}

/// A boot with the clock decades ahead, where the certificate of the policy's server looks
/// expired, too.
#[test]
fn a_policy_outlives_a_clock_that_nobody_set_yet() {
    let world = World::new();
    let machine = world.machine();
    let before = learn_and_lose(&world, &machine);
    let file = machine.path("var/lib/mailimg/sts/policies/a.example.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut entry: serde_json::Value = serde_json::from_str(&text).unwrap();
    entry["fetched"] = 1_000_000_000.into();
    std::fs::write(&file, entry.to_string()).unwrap();
    set_clock(&machine, false);
    let service = world.serve(&machine);
    assert_eq!(Client::new(&machine).ask("a.example"), before);
    drop(service);
    set_clock(&machine, true);
    let _service = world.serve(&machine);
    assert_eq!(Client::new(&machine).ask("a.example"), NOT_FOUND);
}

#[test]
fn many_ask_and_one_looks_and_nobody_waits_for_a_slow_one() {
    let world = World::new();
    let machine = world.machine();
    let _service = world.serve(&machine);
    world.announce("slow.example", Page::Trickle);
    world.enforce("busy.example");
    let began = Instant::now();
    std::thread::scope(|scope| {
        let slow: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| Client::new(&machine).ask("slow.example")))
            .collect();
        let busy: Vec<_> = (0..50)
            .map(|_| scope.spawn(|| Client::new(&machine).ask("busy.example")))
            .collect();
        for thread in busy {
            assert!(thread.join().unwrap().starts_with("OK secure "));
        }
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
        assert_eq!(world.web.count("mta-sts.busy.example"), 1);
        for thread in slow {
            assert_eq!(thread.join().unwrap(), NOT_FOUND);
        }
    });
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(world.web.count("mta-sts.slow.example"), 1);
}

#[test]
fn too_many_slow_servers_make_mail_wait_and_lift_no_policy() {
    let world = World::new();
    let machine = world.machine();
    let _service = world.serve(&machine);
    let slow = |number: usize| format!("slow{number}.example");
    for number in 0..16 {
        world.announce(&slow(number), Page::Trickle);
    }
    world.enforce("late.example");
    std::thread::scope(|scope| {
        for number in 0..16 {
            let machine = &machine;
            scope.spawn(move || Client::new(machine).ask(&slow(number)));
        }
        std::thread::sleep(Duration::from_secs(1));
        let answer = Client::new(&machine).ask("late.example");
        assert_eq!(answer, "TEMP too many policies are being fetched");
    });
    let answer = Client::new(&machine).ask("late.example");
    assert!(answer.starts_with("OK secure "), "{answer}");
}

#[test]
fn garbage_at_the_socket_ends_its_own_connection_and_no_other() {
    let world = World::new();
    let machine = world.machine();
    let _service = world.serve(&machine);
    world.enforce("a.example");
    let mut client = Client::new(&machine);
    let mut silent = Client::new(&machine);
    silent.0.write_all(b"500:sts ").unwrap();
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"999999999:",
        b"3:abcd",
        &[0xff; 4096],
    ] {
        let mut other = Client::new(&machine);
        other.0.write_all(garbage).unwrap();
        let mut rest = Vec::new();
        // Closed, or reset with what was not read.
        let _ = other.0.read_to_end(&mut rest);
        assert!(rest.is_empty());
    }
    let mut other = Client::new(&machine);
    other.0.write_all(b"15:wrong a.example,").unwrap();
    let mut start = [0; 11];
    other.0.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"25:PERM the");
    assert!(client.ask("a.example").starts_with("OK secure "));
}
