//! A machine whose pages are served: web server, pages, root's two helpers, guard, store.

use crate::web::site::FreePorts;
use crate::world::machine::Machine;
use crate::world::machine::service::Service;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

pub const HOSTNAME: &str = "mail.wombat.example";
pub const PASSWORD: &str = "wombats watch";

/// Everything of it; what is not started is away.
pub struct Site {
    pub machine: Machine,
    pub http: u16,
    pub https: u16,
    pub guard: u16,
    pub pages: Option<Service>,
    _web: Service,
}

impl Site {
    /// With the usual settings and nobody behind the store's address.
    pub fn start() -> Self {
        Self::start_with("", free_address())
    }

    /// With more settings, and a store.
    pub fn start_with(more: &str, store: SocketAddr) -> Self {
        Self::start_on(Machine::new(), more, store)
    }

    /// On a machine that has something already.
    pub fn start_on(machine: Machine, more: &str, store: SocketAddr) -> Self {
        let ports = FreePorts::find();
        let (http, https) = ports.numbers();
        machine.put_esp(&format!(
            "DOMAIN=wombat.example\nHOSTNAME={HOSTNAME}\n\
             ADMIN_USER_INITIAL_PASSWORD=first\nGF_SECURITY_ADMIN_PASSWORD={PASSWORD}\n\
             HTTP_PORT={http}\nHTTPS_PORT={https}\nPUBLIC_IPV4=192.0.2.1\n{more}"
        ));
        machine.boot();
        for folder in [
            "run/mailimg-acme/http",
            "run/mailimg-acme/alpn",
            "run/mailimg-monitoring",
            "run/mailimg-guard",
            "var/lib/mailimg/guard",
            "usr/share/javascript/dygraphs",
        ] {
            std::fs::create_dir_all(machine.path(folder)).unwrap();
        }
        for name in ["dygraph.min.js", "dygraph.min.css"] {
            let path = machine.path("usr/share/javascript/dygraphs").join(name);
            std::fs::write(path, "/* a chart */").unwrap();
        }
        for (socket, verb) in [
            ("run/mailimg-facts.sock", "facts"),
            ("run/mailimg-queue-change.sock", "queue-change"),
        ] {
            answer_each(&machine, socket, verb);
        }
        drop(ports);
        let web = Service::start(&machine, &["web"]);
        let guard = free_address().port();
        let has_pages = machine.path("run/mailimg/monitoring.json").exists();
        let pages = has_pages.then(|| {
            let (store, guard) = (store.to_string(), guard.to_string());
            let arguments = ["monitoring", "--store", &store, "--guard", &guard];
            Service::start(&machine, &arguments)
        });
        Self {
            machine,
            http,
            https,
            guard,
            pages,
            _web: web,
        }
    }

    /// Puts other settings into use.
    pub fn apply(&self, from: &str, to: &str) {
        let path = self.machine.path("var/lib/mailimg/settings.env");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
        self.machine.run(&["settings", "apply"]).success();
    }
}

/// A port that was free a moment ago.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Starts a helper for each connection, as systemd does.
fn answer_each(machine: &Machine, socket: &str, verb: &'static str) {
    let listener = UnixListener::bind(machine.path(socket)).unwrap();
    let root: PathBuf = machine.path("");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let root = root.clone();
            std::thread::spawn(move || {
                let input = OwnedFd::from(stream.try_clone().unwrap());
                let _ = Command::new(assert_cmd::cargo::cargo_bin!("mailctl"))
                    .env_clear()
                    // Nobody answers there.
                    .env("MAILCTL_RESOLVER", "127.0.0.1:9")
                    .arg("--root")
                    .arg(root)
                    .arg(verb)
                    .stdin(Stdio::from(input))
                    .stdout(Stdio::from(OwnedFd::from(stream)))
                    .status();
            });
        }
    });
}
