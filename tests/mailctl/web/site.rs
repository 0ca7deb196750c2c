//! A machine with two domains whose web server runs on free ports of loopback.

use crate::world::machine::Machine;
use crate::world::machine::service::Service;
use rand::RngExt;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use std::net::TcpListener;
use std::ops::Range;
use std::path::PathBuf;

pub const HOSTNAME: &str = "mail.wombat.example";

pub struct Site {
    pub machine: Machine,
    pub service: Service,
    pub http: u16,
    pub https: u16,
}

/// Below those that the kernel hands out, so that no client of another test takes them.
const PORTS: Range<u16> = 20_000..32_000;

/// Two ports that are kept free for a server until this is dropped.
pub struct FreePorts([TcpListener; 2]);

impl FreePorts {
    pub fn find() -> Self {
        Self([(); 2].map(|()| {
            loop {
                let port = rand::rng().random_range(PORTS);
                if let Ok(listener) = TcpListener::bind(("::", port)) {
                    return listener;
                }
            }
        }))
    }

    pub fn numbers(&self) -> (u16, u16) {
        let [http, https] = self
            .0
            .each_ref()
            .map(|held| held.local_addr().unwrap().port());
        (http, https)
    }
}

impl Site {
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// With more settings.
    pub fn start_with(more: &str) -> Self {
        let ports = FreePorts::find();
        let (http, https) = ports.numbers();
        let machine = Machine::new();
        machine.put_esp(&format!(
            "DOMAIN=wombat.example\nHOSTNAME=mail.${{DOMAIN}}\n\
             ADDITIONAL_DOMAINS=koala.example\nADMIN_USER_INITIAL_PASSWORD=first\n\
             HTTP_PORT={http}\nHTTPS_PORT={https}\n{more}"
        ));
        machine.boot();
        for folder in ["http", "alpn"] {
            std::fs::create_dir_all(machine.path("run/mailimg-acme").join(folder)).unwrap();
        }
        drop(ports);
        let service = Service::start(&machine, &["web"]);
        Self {
            machine,
            service,
            http,
            https,
        }
    }

    /// Puts an authority's pair in place of what is in a folder of certificates.
    pub fn install(&self, folder: &str, name: &str) -> Vec<u8> {
        let (certificate, pem, key) = make_pair(name, None);
        let folder = self.machine.path("var/lib/mailimg").join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        replace(folder.join("privkey.pem"), &key);
        replace(folder.join("fullchain.pem"), &pem);
        let _ = std::fs::remove_file(folder.join("self-signed"));
        certificate
    }

    /// Resident memory of the server in KiB.
    pub fn memory(&self) -> u64 {
        self.service.memory()
    }
}

/// Writes aside and renames, as all that install certificates do.
pub fn replace(path: PathBuf, text: &str) {
    let aside = path.with_extension("new");
    std::fs::write(&aside, text).unwrap();
    std::fs::rename(aside, path).unwrap();
}

/// DER of a certificate, its PEM, and its key's; with the extension of a challenge if asked.
pub fn make_pair(name: &str, challenge: Option<&[u8]>) -> (Vec<u8>, String, String) {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
    parameters
        .custom_extensions
        .extend(challenge.map(CustomExtension::new_acme_identifier));
    let certificate = parameters.self_signed(&key).unwrap();
    (
        certificate.der().to_vec(),
        certificate.pem(),
        key.serialize_pem(),
    )
}
