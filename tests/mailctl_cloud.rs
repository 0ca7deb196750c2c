//! `mailctl import-cloud` against each provider's metadata as it is served, and
//! against servers that serve something else.
//!
//! The servers here answer exactly what the providers document, path by path
//! and header by header; anything else they refuse, as the real ones do.

mod machine;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machine::Machine;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the machine is to get.
const SETTINGS: &str = "DOMAIN=wombat.example\nHOSTNAME=mail.wombat.example\n\
                        ADMIN_USER_INITIAL_PASSWORD=correct-horse\n";
/// Where metadata comes from must not hold up anything for longer.
const LIMIT: Duration = Duration::from_secs(20);

/// A request as it came.
#[derive(Debug, Clone, Default)]
struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    fn read(stream: &TcpStream) -> Option<Self> {
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next()?.ok()?;
        let mut words = first.split(' ');
        let mut request = Self {
            method: words.next()?.to_owned(),
            path: words.next()?.to_owned(),
            headers: Vec::new(),
        };
        for line in lines {
            let line = line.ok()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            request
                .headers
                .push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Some(request)
    }

    fn has(&self, name: &str, value: &str) -> bool {
        self.headers
            .iter()
            .any(|(other, found)| other == name && found == value)
    }
}

/// A status and a body.
type Answer = (u16, Vec<u8>);
type Handler = Box<dyn Fn(&Request, &mut TcpStream) + Send + Sync>;

/// A server on loopback, and what it was asked.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(handler: Handler) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let handler = Arc::new(handler);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let log = log.clone();
                let handler = handler.clone();
                std::thread::spawn(move || {
                    let Some(request) = Request::read(&stream) else {
                        return;
                    };
                    let line = format!("{} {}", request.method, request.path);
                    log.lock().unwrap().push(line);
                    handler(&request, &mut stream);
                });
            }
        });
        Self { address, seen }
    }

    /// A server that answers with whole bodies.
    fn answering(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::start(Box::new(move |request, stream| {
            let (status, body) = answer(request);
            let head = format!(
                "HTTP/1.1 {status} Whatever\r\nContent-Type: text/plain\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }))
    }

    fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn found(body: &str) -> Answer {
    (200, body.as_bytes().to_vec())
}

const NOTHING: Answer = (404, Vec::new());

/// Asks a server as a provider, and returns what was said.
fn import(machine: &Machine, provider: &str, server: &Server, more: &[&str]) -> String {
    let base = server.base();
    let mut arguments = vec!["import-cloud", "--provider", provider, "--base", &base];
    arguments.extend(more);
    let assert = machine.run(&arguments).success();
    String::from_utf8_lossy(&assert.get_output().stdout).into_owned()
}

/// Asks a server as a provider, and expects a machine that is ready for mail.
fn provisions(provider: &str, name: &str, server: &Server, addresses: &str) {
    let machine = Machine::new();
    machine.run(&["start"]).success();
    assert!(!machine.path("run/mailimg/configured").exists());
    let said = import(&machine, provider, server, &[]);
    assert!(
        said.starts_with(&format!("Took settings from the metadata of {name}.\n")),
        "{said}"
    );
    assert_eq!(machine.read("var/lib/mailimg/settings.env"), SETTINGS);
    for path in [
        "run/mailimg/configured",
        "run/mailimg/provisioned",
        "run/mailimg/postfix/main.cf",
        "var/lib/mailimg/tls/fullchain.pem",
    ] {
        assert!(machine.path(path).exists(), "{path}");
    }
    assert_eq!(machine.read("var/lib/mailimg/cloud.json"), addresses);
    assert!(
        machine
            .read("run/issue.d/50-mailimg.issue")
            .starts_with("Mail server mail.wombat.example for wombat.example\n")
    );
    // The next boot has settings, and asks for nothing but the addresses, once.
    let before = server.seen().len();
    machine.boot();
    let said = import(&machine, provider, server, &[]);
    assert_eq!(said, "Settings are there already.\n");
    assert!(server.seen().len() > before);
    let before = server.seen().len();
    import(&machine, provider, server, &[]);
    assert_eq!(server.seen().len(), before, "once a boot");
}

#[test]
fn hetzner() {
    let server = Server::answering(|request| match request.path.as_str() {
        "/hetzner/v1/userdata" => found(SETTINGS),
        "/hetzner/v1/metadata" => found(
            "availability-zone: hel1-dc2\nhostname: wombat\ninstance-id: 42\n\
             local-ipv4: ''\nnetwork-config:\n  config:\n  - mac_address: 96:00:00:12:34:56\n    \
             name: eth0\n    subnets:\n    - ipv4: true\n      type: dhcp\n    - address: \
             2a01:4f9:1:2::1/64\n      gateway: fe80::1\n      ipv6: true\n      type: static\n    \
             type: physical\n  version: 1\npublic-ipv4: 5.9.1.2\npublic-keys: []\n",
        ),
        _ => NOTHING,
    });
    let addresses = r#"{"provider":"Hetzner","ipv4":"5.9.1.2","ipv6":"2a01:4f9:1:2::1"}"#;
    provisions("hetzner", "Hetzner", &server, addresses);
}

#[test]
fn digitalocean() {
    let server = Server::answering(|request| match request.path.as_str() {
        "/metadata/v1/user-data" => found(SETTINGS),
        "/metadata/v1.json" => found(
            r#"{"droplet_id": 2756294, "hostname": "wombat", "user_data": "x", "interfaces":
            {"public": [{"ipv4": {"ip_address": "5.9.1.3", "netmask": "255.255.192.0",
            "gateway": "5.9.0.1"}, "ipv6": {"ip_address": "2604:A880:0800:0010::1", "cidr": 64},
            "mac": "04:01:2a:0f:2a:01", "type": "public"}]}}"#,
        ),
        _ => NOTHING,
    });
    let addresses = r#"{"provider":"DigitalOcean","ipv4":"5.9.1.3","ipv6":"2604:a880:800:10::1"}"#;
    provisions("digital-ocean", "DigitalOcean", &server, addresses);
}

#[test]
fn vultr() {
    let server = Server::answering(|request| match request.path.as_str() {
        "/latest/user-data" => found(SETTINGS),
        "/v1.json" => found(
            r#"{"hostname": "wombat", "instanceid": "a747bfz6385e", "interfaces": [{"ipv4":
            {"additional": [], "address": "5.9.1.4", "gateway": "5.9.1.1", "netmask":
            "255.255.254.0"}, "ipv6": {"additional": [], "address":
            "2001:19f0:5:1:5400:3ff:fe15:c465", "network": "2001:19f0:5:1::", "prefix": "64"},
            "mac": "56:00:03:15:c4:65", "network-type": "public"}], "user-data": []}"#,
        ),
        _ => NOTHING,
    });
    let addresses =
        r#"{"provider":"Vultr","ipv4":"5.9.1.4","ipv6":"2001:19f0:5:1:5400:3ff:fe15:c465"}"#;
    provisions("vultr", "Vultr", &server, addresses);
}

#[test]
fn akamai() {
    const TOKEN: &str = "0f21d1e3c2b1";
    let server = Server::answering(|request| {
        if request.path == "/v1/token" {
            return match request.has("metadata-token-expiry-seconds", "300") {
                true if request.method == "PUT" => found(TOKEN),
                _ => (400, Vec::new()),
            };
        }
        if !request.has("metadata-token", TOKEN) {
            return (401, Vec::new());
        }
        match request.path.as_str() {
            "/v1/user-data" => found(&STANDARD.encode(SETTINGS)),
            "/v1/network" if request.has("accept", "application/json") => found(
                r#"{"interfaces": [{"id": 1, "purpose": "public", "label": null}], "ipv4":
                {"public": ["5.9.1.5/32"], "private": [], "shared": []}, "ipv6": {"slaac":
                "2600:3c06::f03c:94ff:fecb:c10b/128", "ranges": [], "link_local":
                "fe80::f03c:94ff:fecb:c10b/128", "shared_ranges": []}}"#,
            ),
            _ => NOTHING,
        }
    });
    let addresses =
        r#"{"provider":"Akamai","ipv4":"5.9.1.5","ipv6":"2600:3c06::f03c:94ff:fecb:c10b"}"#;
    provisions("akamai", "Akamai", &server, addresses);
}

#[test]
fn openstack() {
    let server = Server::answering(|request| match request.path.as_str() {
        "/openstack/latest/user_data" => found(SETTINGS),
        "/latest/meta-data/public-ipv4" => found("5.9.1.6"),
        "/openstack/latest/network_data.json" => found(
            r#"{"links": [], "services": [], "networks": [{"id": "network0", "type": "ipv4",
            "ip_address": "10.0.0.3"}, {"id": "network1", "type": "ipv6", "ip_address":
            "2a01:1::5", "netmask": "ffff:ffff:ffff:ffff::"}]}"#,
        ),
        _ => NOTHING,
    });
    let addresses = r#"{"provider":"OpenStack","ipv4":"5.9.1.6","ipv6":"2a01:1::5"}"#;
    provisions("open-stack", "OpenStack", &server, addresses);
}

#[test]
fn amazon() {
    const TOKEN: &str = "AQAEAKq==";
    let server = Server::answering(|request| {
        if request.path == "/latest/api/token" {
            return match request.method.as_str() {
                "PUT" if request.has("x-aws-ec2-metadata-token-ttl-seconds", "300") => found(TOKEN),
                _ => (400, Vec::new()),
            };
        }
        if !request.has("x-aws-ec2-metadata-token", TOKEN) {
            return (401, Vec::new());
        }
        match request.path.as_str() {
            "/latest/user-data" => found(SETTINGS),
            "/latest/meta-data/public-ipv4" => found("5.9.1.7"),
            _ => NOTHING,
        }
    });
    let addresses = r#"{"provider":"Amazon EC2","ipv4":"5.9.1.7","ipv6":null}"#;
    provisions("amazon", "Amazon EC2", &server, addresses);
}

/// What the consoles show of a machine without settings whose cloud has this user-data.
fn console_with(user_data: Vec<u8>) -> String {
    let server = Server::answering(move |request| match request.path.as_str() {
        "/hetzner/v1/userdata" => (200, user_data.clone()),
        _ => NOTHING,
    });
    let machine = Machine::new();
    machine.run(&["start"]).success();
    import(&machine, "hetzner", &server, &[]);
    assert!(!machine.path("var/lib/mailimg/settings.env").exists());
    assert!(!machine.path("run/mailimg/configured").exists());
    let console = machine.read("run/issue.d/50-mailimg.issue");
    assert!(console.starts_with("This mail server waits for its settings."));
    console
}

#[test]
fn user_data_that_is_no_settings_file() {
    let foreign = "User-data is there in the metadata of Hetzner, but it is no settings.env: it is";
    for (user_data, expected) in [
        (
            b"#cloud-config\nhostname: x\n".to_vec(),
            format!("{foreign} a #cloud-config.\n"),
        ),
        (
            b"#!/bin/sh\nreboot\n".to_vec(),
            format!("{foreign} a script.\n"),
        ),
        (
            b"Content-Type: multipart/mixed; boundary=\"==\"\n\n".to_vec(),
            format!("{foreign} a MIME message.\n"),
        ),
        (
            b"\x1f\x8b\x08\0\0\0\0\0".to_vec(),
            format!("{foreign} compressed.\n"),
        ),
        (
            b"<html><body>Log in to this hotel</body></html>".to_vec(),
            format!("{foreign} something without any key of ours.\n"),
        ),
        (
            Vec::new(),
            "There is no user-data in the metadata of Hetzner.\n".to_owned(),
        ),
    ] {
        let console = console_with(user_data);
        assert!(console.contains(&expected), "{console}");
    }
}

#[test]
fn settings_with_mistakes_are_named_with_their_lines() {
    let console = console_with(b"DOMAIN=wombat\nHOSTNAM=mail.wombat.example\n".to_vec());
    assert!(
        console.contains(
            "The settings from the metadata of Hetzner were not taken.\nerror: 3 problems\n  \
             line 1: DOMAIN: 'wombat' has only one label; expected a full name such as \
             mail.example.org\n"
        ),
        "{console}"
    );
    assert!(console.contains("line 2: HOSTNAM: is no known key and is ignored; expected HOSTNAME"));
}

#[test]
fn line_ends_byte_order_mark_and_base64() {
    let windows = format!("\u{feff}{}", SETTINGS.replace('\n', "\r\n"));
    for user_data in [windows.clone(), STANDARD.encode(SETTINGS)] {
        let server = Server::answering(move |request| match request.path.as_str() {
            "/hetzner/v1/userdata" => found(&user_data),
            _ => NOTHING,
        });
        let machine = Machine::new();
        machine.run(&["start"]).success();
        import(&machine, "hetzner", &server, &[]);
        let shown = machine.run(&["settings", "show"]).success();
        let shown = String::from_utf8_lossy(&shown.get_output().stdout).into_owned();
        assert!(shown.contains("HOSTNAME=mail.wombat.example\n"), "{shown}");
    }
}

/// Sends bytes until the other side has enough.
fn send_for_ever(stream: &mut TcpStream, start: &str, piece: &[u8], pause: Duration) {
    let _ = stream.write_all(start.as_bytes());
    while stream.write_all(piece).is_ok() {
        std::thread::sleep(pause);
    }
}

#[test]
fn servers_that_never_give_an_answer() {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    let second = Duration::from_secs(1);
    let servers: Vec<(&str, Handler, &str)> = vec![
        (
            "endless body",
            Box::new(move |_, stream| {
                send_for_ever(stream, &format!("{OK}\r\n"), &[b'#'; 4096], Duration::ZERO);
            }),
            "the answer has more than 65536 bytes",
        ),
        (
            "slow body",
            Box::new(move |_, stream| {
                let start = format!("{OK}Content-Length: 100\r\n\r\n");
                send_for_ever(stream, &start, b"#", second);
            }),
            "in vain until the end",
        ),
        (
            "endless headers",
            Box::new(move |_, stream| {
                send_for_ever(stream, OK, b"X-More: of this\r\n", Duration::ZERO);
            }),
            "No settings came from the metadata of Hetzner",
        ),
        (
            "slow headers",
            Box::new(move |_, stream| send_for_ever(stream, "", b"H", second)),
            "No settings came from the metadata of Hetzner",
        ),
        (
            "silence",
            Box::new(|_, stream| {
                let _ = stream.read(&mut [0; 16]);
                std::thread::sleep(LIMIT);
            }),
            "in vain until the end",
        ),
        (
            "garbage",
            Box::new(|_, stream| {
                let _ = stream.write_all(&[0xff; 300]);
            }),
            "No settings came from the metadata of Hetzner",
        ),
        (
            "redirect",
            Box::new(|_, stream| {
                let _ = stream.write_all(
                    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\
                      Content-Length: 0\r\n\r\n",
                );
            }),
            "redirects are not followed",
        ),
        (
            "errors",
            Box::new(|_, stream| {
                let _ = stream.write_all(
                    b"HTTP/1.1 500 Sorry\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                );
            }),
            "it answers 500",
        ),
        (
            "refusal",
            Box::new(|_, stream| {
                let _ = stream.write_all(
                    b"HTTP/1.1 403 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                );
            }),
            "it answers 403",
        ),
        (
            "broken off",
            Box::new(|_, stream| {
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nDOMAIN=wombat.example\n",
                );
            }),
            "No settings came from the metadata of Hetzner",
        ),
    ];
    std::thread::scope(|scope| {
        for (name, handler, expected) in servers {
            scope.spawn(move || {
                let server = Server::start(handler);
                let machine = Machine::new();
                machine.run(&["start"]).success();
                let started = Instant::now();
                let said = import(&machine, "hetzner", &server, &[]);
                let took = started.elapsed();
                println!("{name}: {:.1} s: {}", took.as_secs_f64(), said.trim());
                assert!(took < LIMIT, "{name} took {took:?}");
                assert!(said.contains(expected), "{name}: {said}");
                let console = machine.read("run/issue.d/50-mailimg.issue");
                assert!(console.contains(expected), "{name}: {console}");
                assert!(!machine.path("var/lib/mailimg/settings.env").exists());
            });
        }
    });
}

#[test]
fn nobody_is_there_at_first() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let later = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        let listener = TcpListener::bind(address).unwrap();
        for mut stream in listener.incoming().flatten() {
            let path = Request::read(&stream).unwrap_or_default().path;
            let body = if path == "/hetzner/v1/userdata" {
                SETTINGS
            } else {
                "public-ipv4: 5.9.1.2\n"
            };
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    let machine = Machine::new();
    machine.run(&["start"]).success();
    let server = Server {
        address,
        seen: Arc::default(),
    };
    let said = import(&machine, "hetzner", &server, &[]);
    assert!(said.starts_with("Took settings from"), "{said}");
    drop(later);
}

#[test]
fn other_sources_come_first() {
    // Good settings on the ESP: the cloud is asked for addresses alone.
    let server = Server::answering(|request| match request.path.as_str() {
        "/hetzner/v1/userdata" => found(&SETTINGS.replace("wombat", "koala")),
        "/hetzner/v1/metadata" => found("public-ipv4: 5.9.1.2\n"),
        _ => NOTHING,
    });
    let machine = Machine::new();
    machine.put_esp(SETTINGS);
    machine.boot();
    import(&machine, "hetzner", &server, &[]);
    assert_eq!(machine.read("var/lib/mailimg/settings.env"), SETTINGS);
    assert!(
        machine
            .read("var/lib/mailimg/cloud.json")
            .contains("5.9.1.2")
    );

    // Settings with a mistake there: they are to be mended, and hide what comes after.
    let machine = Machine::new();
    machine.put_esp("DOMAIN=wombat.example\n");
    machine.run(&["start"]).success();
    import(&machine, "hetzner", &server, &[]);
    assert!(!machine.path("var/lib/mailimg/settings.env").exists());

    // The template on the ESP sets nothing.
    let machine = Machine::new();
    machine.put_esp("# Settings\nDOMAIN=\nHOSTNAME=\n");
    machine.run(&["start"]).success();
    import(&machine, "hetzner", &server, &[]);
    machine.boot();
    assert!(
        machine
            .read("var/lib/mailimg/settings.env")
            .contains("koala.example")
    );
}

#[test]
fn drives_come_before_the_address() {
    let machine = Machine::new();
    machine.run(&["start"]).success();
    let drive = machine.path("dev/disk/by-label/config-2/openstack/latest");
    std::fs::create_dir_all(&drive).unwrap();
    // Not ours: the metadata is asked.
    std::fs::write(drive.join("user_data"), "#cloud-config\n").unwrap();
    let server = Server::answering(|_| NOTHING);
    let said = import(&machine, "open-stack", &server, &[]);
    assert!(
        said.starts_with(
            "User-data is there in the drive labelled config-2, but it is no settings.env: \
             it is a #cloud-config.\nThere is no user-data in the metadata of OpenStack.\n"
        ),
        "{said}"
    );
    assert!(!server.seen().is_empty());
    // Ours: nobody is asked.
    std::fs::write(drive.join("user_data"), SETTINGS).unwrap();
    let server = Server::answering(|_| NOTHING);
    let said = import(&machine, "open-stack", &server, &[]);
    assert!(
        said.starts_with("Took settings from the drive labelled config-2.\n"),
        "{said}"
    );
    assert_eq!(server.seen(), Vec::<String>::new());
    assert!(machine.path("run/mailimg/provisioned").exists());
}

#[test]
fn no_cloud_nobody_is_asked() {
    let machine = Machine::new();
    machine.run(&["start"]).success();
    let started = Instant::now();
    machine
        .run(&["import-cloud"])
        .success()
        .stdout("No cloud that offers settings.\n");
    assert!(started.elapsed() < Duration::from_secs(2));
    assert!(
        !machine
            .read("run/issue.d/50-mailimg.issue")
            .contains("metadata of")
    );
}

/// The packet filter of the image, in a network of its own where nobody answers: what is
/// sent is waited for, what is refused fails at once. The address is routed and not our
/// own, as on a machine.
#[test]
fn the_address_is_closed_to_all_but_root() {
    if !Command::new("unshare")
        .args(["--net", "true"])
        .status()
        .is_ok_and(|status| status.success())
        || !std::path::Path::new("/usr/sbin/nft").exists()
    {
        assert!(std::env::var_os("CI").is_none(), "needs root and nft");
        println!("skipped: needs root and nft");
        return;
    }
    let filter = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/overlay/usr/share/mailimg/metadata.nft"
    );
    // bash connects by itself (/dev/tcp); 124 is timeout's own code.
    let script = r#"
set -e
ip link set lo up
ip link add outside type veth peer name far
ip link set far up
ip link set outside up
ip addr add 10.20.0.100/24 dev outside
ip -6 addr add fd00:20::100/64 dev outside nodad
ip route add 169.254.169.254 dev outside
ip -6 route add fd00:ec2::254 dev outside
ip -6 route add fd00:a9fe:a9fe::1 dev outside
nft add table inet other
nft -f "$1"
nft -f "$1"
nft list tables
ask() { code=0; "$@" 2>/dev/null || code=$?; echo "$code"; }
for address in 169.254.169.254 fd00:ec2::254 fd00:a9fe:a9fe::1 10.20.0.7; do
    try="exec 3<>/dev/tcp/$address/80"
    echo "$address root $(ask timeout 0.5 bash -c "$try")"
    echo "$address nobody $(ask setpriv --reuid 65534 --regid 65534 --clear-groups timeout 0.5 bash -c "$try")"
done
"#;
    let output = Command::new("unshare")
        .args(["--net", "bash", "-c", script, "bash", filter])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "table inet other\ntable inet mailimg-metadata\n\
         169.254.169.254 root 124\n169.254.169.254 nobody 1\n\
         fd00:ec2::254 root 124\nfd00:ec2::254 nobody 1\n\
         fd00:a9fe:a9fe::1 root 124\nfd00:a9fe:a9fe::1 nobody 1\n\
         10.20.0.7 root 124\n10.20.0.7 nobody 124\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
