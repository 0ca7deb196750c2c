//! `mailctl sts`, asked as Postfix asks, about domains of every kind.

mod machine;
mod outside;

use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::tlsa::CertUsage;
use machine::Machine;
use outside::{Authority, Page, Resolver, WebServer, page};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for the service to be ready.
const START: Duration = Duration::from_secs(60);
const ENFORCE: &str = "version: STSv1\r\nmode: enforce\r\nmx: *.DOMAIN\r\nmax_age: 604800\r\n";

/// The service, until it is dropped.
struct Service(Child);

impl Service {
    fn start(machine: &Machine, world: &World) -> Self {
        let path = machine.path("notify.sock");
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(START)).unwrap();
        let child = Command::new(assert_cmd::cargo::cargo_bin!("mailctl"))
            .env_clear()
            .env("NOTIFY_SOCKET", &path)
            .arg("--root")
            .arg(machine.path(""))
            .args(["sts", "--resolver", &world.resolver.address.to_string()])
            .args(["--https-port", &world.web.port.to_string()])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let service = Self(child);
        let mut word = [0; 64];
        let length = socket.recv(&mut word).unwrap();
        assert_eq!(word[..length].trim_ascii_end(), b"READY=1");
        service
    }

    /// Resident memory in KiB.
    fn memory(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct World {
    resolver: Resolver,
    web: WebServer,
    trusted: Authority,
}

impl World {
    fn new() -> Self {
        Self {
            resolver: Resolver::start(),
            web: WebServer::start(),
            trusted: Authority::new(),
        }
    }

    /// A machine that trusts this world's authority, as if it were imported.
    fn machine(&self) -> Machine {
        let machine = Machine::new();
        machine.put_esp(
            "DOMAIN=wombat.example\nHOSTNAME=mail.wombat.example\n\
             ADMIN_USER_INITIAL_PASSWORD=first\nACME_CA_FILE=ca.pem\n",
        );
        let file = machine.path("run/mailimg-initrd/esp/ca.pem");
        std::fs::write(file, &self.trusted.pem).unwrap();
        machine.boot();
        for folder in ["run/mailimg-sts", "var/lib/mailimg/sts"] {
            std::fs::create_dir_all(machine.path(folder)).unwrap();
        }
        machine
    }

    /// A domain that announces a policy, with one mail server.
    fn announce(&self, domain: &str, page: Page) {
        let host = format!("mta-sts.{domain}");
        self.resolver
            .texts(&format!("_mta-sts.{domain}"), &["v=STSv1; id=1;"]);
        self.resolver.address(&host, false);
        self.resolver
            .mail_servers(domain, &[&format!("mx.{domain}")], false);
        self.web.put(&host, page, &self.trusted, &host);
    }

    /// The same with a policy that is enforced.
    fn enforce(&self, domain: &str) {
        self.announce(
            domain,
            page("text/plain", &ENFORCE.replace("DOMAIN", domain)),
        );
    }
}

/// A connection of Postfix.
struct Client(UnixStream);

impl Client {
    fn new(machine: &Machine) -> Self {
        let stream = UnixStream::connect(machine.path("run/mailimg-sts/policy.sock")).unwrap();
        stream.set_read_timeout(Some(START)).unwrap();
        Self(stream)
    }

    fn ask(&mut self, key: &str) -> String {
        let request = format!("sts {key}");
        write!(self.0, "{}:{request},", request.len()).unwrap();
        let mut length = 0;
        loop {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            match byte[0] {
                b':' => break,
                digit => length = length * 10 + usize::from(digit - b'0'),
            }
        }
        let mut answer = vec![0; length + 1];
        self.0.read_exact(&mut answer).unwrap();
        assert_eq!(answer.pop(), Some(b','));
        String::from_utf8(answer).unwrap()
    }
}

const NOT_FOUND: &str = "NOTFOUND ";

#[test]
fn each_kind_of_domain_gets_what_it_asks_for() {
    let world = World::new();
    let machine = world.machine();
    let service = Service::start(&machine, &world);
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
    let _service = Service::start(&machine, &world);
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

#[test]
fn dane_comes_first() {
    let world = World::new();
    let machine = world.machine();
    let _service = Service::start(&machine, &world);
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

#[test]
fn a_policy_outlives_the_process_the_record_and_the_server() {
    let world = World::new();
    let machine = world.machine();
    world.enforce("a.example");
    let service = Service::start(&machine, &world);
    let before = Client::new(&machine).ask("a.example");
    assert!(before.starts_with("OK secure "));
    drop(service);

    // Everything that announced it is gone, only the mail server is left.
    world.resolver.forget_all();
    world
        .resolver
        .mail_servers("a.example", &["mx.a.example"], false);
    let service = Service::start(&machine, &world);
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
    let service = Service::start(&machine, &world);
    assert_eq!(Client::new(&machine).ask("a.example"), before);
    drop(service);
    let next = page("text/plain", &ENFORCE.replace("*.DOMAIN", "new.a.example"));
    world.web.put(
        "mta-sts.a.example",
        next,
        &world.trusted,
        "mta-sts.a.example",
    );
    let _service = Service::start(&machine, &world);
    let after = Client::new(&machine).ask("a.example");
    assert!(
        after.starts_with("OK secure match=new.a.example "),
        "{after}"
    );
}

#[test]
fn many_ask_and_one_looks_and_nobody_waits_for_a_slow_one() {
    let world = World::new();
    let machine = world.machine();
    let _service = Service::start(&machine, &world);
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
    let _service = Service::start(&machine, &world);
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
    let _service = Service::start(&machine, &world);
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
    let mut service = Service::start(&machine, &world);
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
    let process = rustix::process::Pid::from_child(&service.0);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    assert!(service.0.wait().unwrap().success());
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
            .run(&arguments)
            .success()
            .get_output()
            .stdout
            .clone();
        String::from_utf8(output).unwrap()
    };
    assert_eq!(send("127.0.0.1:1"), "Sent 0 reports, 0 wait.\n");
    let yesterday = jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .yesterday()
        .unwrap()
        .date();
    std::fs::rename(&today, days.join(format!("{yesterday}.json"))).unwrap();

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

fn unpack(packed: &[u8]) -> serde_json::Value {
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed)
        .read_to_string(&mut text)
        .unwrap();
    serde_json::from_str(&text).unwrap()
}
