//! A machine with a CA, a name server and a web server around it, on loopback.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use super::HOST;
use super::name_server::NameServer;
use super::web::{serve_alpn, serve_http};
use crate::world::machine::Machine;
use crate::world::peers;
use crate::world::port::unused_port;
use crate::world::process::Process;

/// How long a CA may take to start on a busy machine.
const STARTING: Duration = Duration::from_secs(60);

/// A port that nobody listens on.
const SHUT: u16 = 1;

/// An account that a CA gives out: its name and its secret.
pub const EXTERNAL_ACCOUNT: (&str, &str) = (
    "kid-1",
    "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W",
);

/// How the CA behaves.
pub struct Manner {
    /// Percentage of good nonces that it refuses.
    pub nonce_reject: u8,
    /// External accounts, one of which it wants.
    pub accounts: Value,
    /// Lifetime of certificates, in seconds.
    pub lifetime: u64,
    /// Whether port 80 leads to the web server.
    pub http_open: bool,
}

impl Manner {
    /// A CA that wants [`EXTERNAL_ACCOUNT`].
    pub fn bound() -> Self {
        let (kid, hmac) = EXTERNAL_ACCOUNT;
        Self {
            accounts: json!({ kid: hmac }),
            ..Self::default()
        }
    }
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            nonce_reject: 0,
            accounts: json!({}),
            lifetime: 90 * 86_400,
            http_open: true,
        }
    }
}

/// The machine and all around it.
pub struct World {
    pub machine: Machine,
    pub names: NameServer,
    folder: tempfile::TempDir,
    manner: Manner,
    authority: (CertificateParams, KeyPair),
    ca_port: u16,
    management_port: u16,
    http_port: u16,
    tls_port: u16,
    ca: Option<Process>,
}

impl World {
    /// A machine that booted with settings, and a CA that is not started yet.
    pub fn new(manner: Manner) -> Self {
        let machine = Machine::new();
        let ca_port = unused_port();
        machine.put_esp(&format!(
            "DOMAIN=wombat.example\nHOSTNAME={HOST}\nADMIN_USER_INITIAL_PASSWORD=first\n\
             ACME_DIRECTORY_URL=https://localhost:{ca_port}/dir\n"
        ));
        machine.run(&["settings", "start"]).success();
        machine.run(&["provision"]).success();
        let names = NameServer::start();
        names.point(HOST, "127.0.0.1");
        let http_port = serve_http(machine.path("run/mailimg-acme/http"));
        let tls_port = serve_alpn(machine.path("run/mailimg-acme/alpn"));
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
            authority: authority(),
            ca_port,
            management_port: unused_port(),
            http_port,
            tls_port,
            ca: None,
            machine,
            names,
            manner,
        };
        world.configure(|configuration| {
            configuration["http_port"] = http_port.into();
            configuration["name_server"] = world.names.address().to_string().into();
            configuration["optional_names"] = json!([]);
            configuration["patience"] = 0.into();
        });
        let root = world.authority.0.self_signed(&world.authority.1).unwrap();
        std::fs::write(world.machine.path("run/mailimg/trust.pem"), root.pem()).unwrap();
        world
    }

    /// The same, and the CA runs.
    pub fn started(manner: Manner) -> Self {
        let mut world = Self::new(manner);
        world.start_ca();
        world
    }

    /// Changes what the agent acts on.
    pub fn configure(&self, change: impl FnOnce(&mut Value)) {
        let path = self.machine.path("run/mailimg/acme.json");
        let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        std::fs::write(path, value.to_string()).unwrap();
    }

    /// Has the agent show this account.
    pub fn set_external_account(&self, kid: &str, hmac: &str) {
        self.configure(|configuration| {
            configuration["external_account"] = json!({ "kid": kid, "hmac": hmac });
        });
    }

    /// Where the CA listens.
    pub fn ca_address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.ca_port).into()
    }

    /// A certificate and key that the machine takes for the CA's own server.
    pub fn server_certificate(&self) -> (rcgen::Certificate, KeyPair) {
        let issuer = Issuer::from_params(&self.authority.0, &self.authority.1);
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(["localhost".to_owned()]).unwrap();
        (parameters.signed_by(&key, &issuer).unwrap(), key)
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("pebble.log")
    }

    /// Starts the CA, which knows nothing of what was before.
    pub fn start_ca(&mut self) {
        let (certificate, key) = self.server_certificate();
        let path = |name: &str| self.folder.path().join(name);
        std::fs::write(path("server.pem"), certificate.pem()).unwrap();
        std::fs::write(path("server.key"), key.serialize_pem()).unwrap();
        let required = self.manner.accounts != json!({});
        let http_port = if self.manner.http_open {
            self.http_port
        } else {
            SHUT
        };
        let configuration = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.ca_port),
            "managementListenAddress": format!("127.0.0.1:{}", self.management_port),
            "certificate": path("server.pem"),
            "privateKey": path("server.key"),
            "httpPort": http_port,
            "tlsPort": self.tls_port,
            "externalAccountBindingRequired": required,
            "externalAccountMACKeys": self.manner.accounts,
            "certificateValidityPeriod": self.manner.lifetime,
        }});
        std::fs::write(path("pebble.json"), configuration.to_string()).unwrap();
        let mut command = peers::fetched_program("pebble").unwrap();
        command
            .arg("-config")
            .arg(path("pebble.json"))
            .arg("-dnsserver")
            .arg(self.names.address().to_string())
            .arg("-strict")
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .env(
                "PEBBLE_WFE_NONCEREJECT",
                self.manner.nonce_reject.to_string(),
            );
        let mut ca = Process::start(&mut command, &self.log()).unwrap();
        let began = Instant::now();
        while TcpStream::connect(self.ca_address()).is_err() {
            ca.check_running().unwrap();
            assert!(began.elapsed() < STARTING, "the CA does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        self.ca = Some(ca);
    }

    /// The CA is gone.
    pub fn stop_ca(&mut self) {
        self.ca = None;
    }

    /// What the CA wrote down.
    pub fn ca_log(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// How many accounts and orders the CA knows.
    pub fn counts(&self) -> (usize, usize) {
        let log = self.ca_log();
        let last = |what: &str| {
            log.lines()
                .rev()
                .find_map(|line| {
                    let (_, rest) = line.split_once("There are now ")?;
                    let (number, rest) = rest.split_once(' ')?;
                    rest.starts_with(what).then(|| number.parse().ok())?
                })
                .unwrap_or(0)
        };
        (last("accounts"), last("orders"))
    }

    /// Runs the agent.
    pub fn acme(&self) -> String {
        let assert = self.machine.run(&["acme"]).success();
        String::from_utf8_lossy(&assert.get_output().stdout).into_owned()
    }

    /// Runs the agent and takes what it got.
    pub fn acme_and_take(&self) -> String {
        let said = self.acme();
        self.machine.run(&["cert", "take"]).success();
        said
    }

    /// What `cert status` says of a name.
    pub fn status(&self, name: &str) -> Value {
        let assert = self.machine.run(&["cert", "status", "--json"]).success();
        let all: Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
        let names = all.as_array().unwrap();
        names
            .iter()
            .find(|one| one["name"] == name)
            .unwrap()
            .clone()
    }

    /// What the agent remembers of a name.
    pub fn record(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.record_path(name)).unwrap()).unwrap()
    }

    fn record_path(&self, name: &str) -> PathBuf {
        let path = format!("var/lib/mailimg/acme/names/{name}/record.json");
        self.machine.path(&path)
    }

    /// Changes what it remembers, as time would.
    pub fn change_record(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut record = self.record(name);
        change(&mut record);
        std::fs::write(self.record_path(name), record.to_string()).unwrap();
    }

    /// What others may know of the agent.
    pub fn public(&self) -> Value {
        serde_json::from_str(&self.machine.read("var/lib/mailimg/acme/public.json")).unwrap()
    }

    /// Allows an address to be this machine's.
    pub fn own(&self, address: &str) {
        let address: IpAddr = address.parse().unwrap();
        self.configure(|configuration| {
            configuration["public_addresses"] = json!([address]);
        });
    }
}

fn authority() -> (CertificateParams, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new([]).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let name = "Test authority";
    parameters
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    (parameters, key)
}
