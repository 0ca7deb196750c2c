//! The service, the outside that it asks, and Postfix's end of its socket.

use crate::world::machine::Machine;
use crate::world::machine::service::Service;
use crate::world::outside::{Authority, Page, Resolver, WebServer, page};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Longest wait for an answer.
const START: Duration = Duration::from_secs(60);
/// This world is on loopback, where strangers have nobody called.
pub const ALSO_CALL: [&str; 2] = ["--also-call", "127.0.0.1"];
pub const ENFORCE: &str = "version: STSv1\r\nmode: enforce\r\nmx: *.DOMAIN\r\nmax_age: 604800\r\n";

pub struct World {
    pub resolver: Resolver,
    pub web: WebServer,
    pub trusted: Authority,
}

/// Whether NTP has set the machine's clock.
pub fn set_clock(machine: &Machine, is_set: bool) {
    let mark = machine.path("run/systemd/timesync/synchronized");
    if is_set {
        std::fs::create_dir_all(mark.parent().unwrap()).unwrap();
        std::fs::write(mark, "").unwrap();
    } else {
        std::fs::remove_file(mark).unwrap();
    }
}

impl World {
    pub fn new() -> Self {
        Self {
            resolver: Resolver::start(),
            web: WebServer::start(),
            trusted: Authority::new(),
        }
    }

    /// The service, with this world around it.
    pub fn serve(&self, machine: &Machine) -> Service {
        self.serve_with(machine, &ALSO_CALL)
    }

    /// The same, with more arguments.
    pub fn serve_with(&self, machine: &Machine, more: &[&str]) -> Service {
        let resolver = self.resolver.address.to_string();
        let port = self.web.port.to_string();
        let arguments = ["sts", "--resolver", &resolver, "--https-port", &port];
        Service::start(machine, &[&arguments, more].concat())
    }

    /// A machine that trusts this world's authority, as if it were imported.
    pub fn machine(&self) -> Machine {
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
        set_clock(&machine, true);
        machine
    }

    /// A domain that announces a policy, with one mail server.
    pub fn announce(&self, domain: &str, page: Page) {
        let host = format!("mta-sts.{domain}");
        self.resolver
            .texts(&format!("_mta-sts.{domain}"), &["v=STSv1; id=1;"]);
        self.resolver.address(&host, false);
        self.resolver
            .mail_servers(domain, &[&format!("mx.{domain}")], false);
        self.web.put(&host, page, &self.trusted, &host);
    }

    /// The same with a policy that is enforced.
    pub fn enforce(&self, domain: &str) {
        self.announce(
            domain,
            page("text/plain", &ENFORCE.replace("DOMAIN", domain)),
        );
    }
}

/// A connection of Postfix.
pub struct Client(pub UnixStream);

impl Client {
    pub fn new(machine: &Machine) -> Self {
        let stream = UnixStream::connect(machine.path("run/mailimg-sts/policy.sock")).unwrap();
        stream.set_read_timeout(Some(START)).unwrap();
        Self(stream)
    }

    pub fn ask(&mut self, key: &str) -> String {
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

pub const NOT_FOUND: &str = "NOTFOUND ";
