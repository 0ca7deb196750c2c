//! A machine, and a web server with a folder of signed updates for it.

use std::fs;
use std::path::PathBuf;

use mailimg::format::minisign::SecretKey;
use mailimg::format::update::{Part, UPDATE_FILE, Update};

use super::firmware::Firmware;
use super::machine::Machine;
use crate::world::bench::outcome::Outcome;
use crate::world::folder_server::Server;
use crate::world::registry::Registry;

/// The machine and the server.
pub struct Site {
    pub machine: Machine,
    pub server: Server,
    /// The key that the machine knows.
    pub key: SecretKey,
}

impl Site {
    /// Version 1 runs, the folder has version 2, signed by the key that the machine knows.
    pub fn new() -> Self {
        let machine = Machine::new(Firmware::Uefi);
        let said = machine.bench.run(&["key", "new"]);
        let line = said.done().stdout.clone();
        assert!(line.contains("[update]\nkeys = [\"RW"), "{line}");
        let text = fs::read_to_string(machine.bench.work("update.key")).unwrap();
        let key = SecretKey::parse(&text).unwrap();
        let server = Server::of(machine.bench.work("served"));
        let site = Self {
            machine,
            server,
            key,
        };
        site.put("run/mailimg/trust.pem", &site.server.authority);
        site.put("run/systemd/timesync/synchronized", "");
        site.know(&[&site.key]);
        site.sign("2", &[]).done();
        site
    }

    /// Writes a file of the machine.
    pub fn put(&self, path: &str, text: &str) {
        let path = self.machine.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Lets the machine know these keys.
    pub fn know(&self, keys: &[&SecretKey]) {
        let lines = keys.iter().map(|key| key.public().to_line() + "\n");
        let text = format!("# keys\n{}", lines.collect::<String>());
        self.put("usr/share/mailimg/update-keys", &text);
    }

    /// `mailimg sign` of an image.
    pub fn sign(&self, version: &str, more: &[&str]) -> Outcome {
        let image = format!("out/tiny_{version}.raw");
        let arguments = ["sign", &image, "--key", "update.key", "--into", "served"];
        self.machine.bench.run(&[&arguments, more].concat())
    }

    /// `mailctl upgrade` from the folder.
    pub fn upgrade(&self, more: &[&str]) -> Outcome {
        self.upgrade_from(&self.server.address(), more)
    }

    /// The same from another address.
    pub fn upgrade_from(&self, address: &str, more: &[&str]) -> Outcome {
        let arguments = ["upgrade", address, "--patience", "2"];
        self.machine.mailctl(&[&arguments, more].concat())
    }

    /// `mailimg push` of the folder, and of what else is named, by a registry's clients.
    pub fn push(&self, registry: &Registry, more: &[&str], reference: &str) -> Outcome {
        let authority = self.machine.bench.work("authorities.pem");
        fs::write(&authority, self.trusted(registry)).unwrap();
        let mut command = self.machine.bench.command();
        command
            .arg("push")
            .args(more)
            .args([reference, "--ca-file"])
            .arg(authority)
            .env("REGISTRY_AUTH_FILE", registry.credentials());
        self.machine.bench.finish(&mut command)
    }

    /// Lets the machine trust a registry, and this server.
    pub fn trust(&self, registry: &Registry) {
        self.put("run/mailimg/trust.pem", &self.trusted(registry));
    }

    fn trusted(&self, registry: &Registry) -> String {
        let registry = fs::read_to_string(registry.authority()).unwrap();
        format!("{}{registry}", self.server.authority)
    }

    /// A path of the folder.
    pub fn served(&self, path: &str) -> PathBuf {
        self.machine.bench.work("served").join(path)
    }

    /// What the folder says.
    pub fn update(&self) -> Update {
        Update::parse(&fs::read(self.served(UPDATE_FILE)).unwrap()).unwrap()
    }

    /// Changes what the folder says, and signs it.
    pub fn resign(&self, key: &SecretKey, change: impl FnOnce(&mut Update)) {
        let text = fs::read(self.served(UPDATE_FILE)).unwrap();
        let mut update = serde_json::from_slice(&text).unwrap();
        change(&mut update);
        let text = serde_json::to_vec_pretty(&update).unwrap();
        let name = Part::of(&text).path("minisig");
        fs::write(self.served(&name), key.sign(&text, "a test")).unwrap();
        fs::write(self.served(UPDATE_FILE), text).unwrap();
    }

    /// The file of the folder that is called so, the one in use.
    pub fn signatures(&self) -> PathBuf {
        let text = fs::read(self.served(UPDATE_FILE)).unwrap();
        self.served(&Part::of(&text).path("minisig"))
    }
}
