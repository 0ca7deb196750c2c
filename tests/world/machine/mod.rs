//! A folder that stands for a machine: the image's templates, an account table, an ESP.

pub mod service;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A machine that is thrown away when the test ends.
pub struct Machine {
    folder: TempDir,
}

impl Machine {
    /// A machine that never booted.
    pub fn new() -> Self {
        let machine = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("overlay/usr/share/mailimg");
        for entry in walkdir::WalkDir::new(&templates) {
            let entry = entry.unwrap();
            let target = machine
                .path("usr/share/mailimg")
                .join(entry.path().strip_prefix(&templates).unwrap());
            if entry.file_type().is_dir() {
                std::fs::create_dir_all(target).unwrap();
            } else {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
        std::fs::create_dir_all(machine.path("etc")).unwrap();
        let table = "root:x:0:0::/root:/bin/sh\nvmail:x:990:990::/var/vmail:/usr/sbin/nologin\n";
        std::fs::write(machine.path("etc/passwd"), table).unwrap();
        machine
    }

    /// A machine that booted with two domains and an admin.
    pub fn provisioned() -> Self {
        let machine = Self::new();
        machine.put_esp(
            "DOMAIN=wombathub.de\nHOSTNAME=mail.${DOMAIN}\nADDITIONAL_DOMAINS=entropiesenke.de\n\
             ADMIN_USER_INITIAL_PASSWORD=first\n",
        );
        machine.boot();
        machine
    }

    /// A path below the machine's root.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// A file's text.
    pub fn read(&self, relative: &str) -> String {
        std::fs::read_to_string(self.path(relative)).unwrap()
    }

    /// Puts settings.env on the ESP.
    pub fn put_esp(&self, text: &str) {
        let folder = self.path("run/mailimg-initrd/esp");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("settings.env"), text).unwrap();
    }

    /// Calls what units call at boot, with /run as a boot finds it.
    pub fn boot(&self) {
        let _ = std::fs::remove_dir_all(self.path("run/mailimg"));
        for verb in [
            &["settings", "start"][..],
            &["provision"],
            &["dkim", "ensure"],
        ] {
            self.run(verb).success();
        }
    }

    /// A mailctl command line on this machine.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::cargo_bin("mailctl").unwrap();
        command
            .env_clear()
            .arg("--root")
            .arg(self.folder.path())
            .args(arguments);
        command
    }

    /// Runs mailctl on this machine.
    pub fn run(&self, arguments: &[&str]) -> Assert {
        self.command(arguments).assert()
    }
}
