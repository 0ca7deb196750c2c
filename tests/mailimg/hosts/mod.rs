//! What is written for hosts that run the image as a container.

mod cluster;
mod engines;
mod options;
mod texts;

use std::fs;
use std::process::Command;

use mailimg::builder::write::ignition::{
    Archive, DataDisk, Deployment, Host, HostSettings, ImageSource, Window,
};
use mailimg::settings::{Authority, SshKey};
use serde_json::Value;

/// Settings with all that could mislead a reader of YAML or of addresses.
const SETTINGS: &str = "\
# yes: \"no\" 'x' %20 ä\n\
DOMAIN=example.org\n\
HOSTNAME=mail.example.org\n\
\n\
ADMIN_USER_INITIAL_PASSWORD= s3cret\\ #%:{}[]&*!|>?\t€\n\
SSH_AUTHORIZED_KEYS=ssh-ed25519 AAAA one@home\n";

/// One way to run the image, with a name for it.
struct Case {
    name: String,
    deployment: Deployment,
    settings: Option<(Vec<u8>, Option<Authority>)>,
}

impl Case {
    /// What a host gets in this case.
    fn host(&self) -> Host {
        let key = SshKey("ssh-ed25519 AAAA one@home".to_owned());
        let keys = [key];
        let settings = self.settings.as_ref();
        let settings = settings.map(|(text, authority)| HostSettings {
            text,
            authority: authority.as_ref(),
            keys: &keys,
        });
        Host::new(&self.deployment, settings)
    }
}

/// Where an image may come from.
fn images() -> [(&'static str, ImageSource); 3] {
    let reference = |text: &str| ImageSource::parse_registry(text).unwrap();
    let digest = "0123456789abcdef".repeat(4);
    let archive = Archive {
        url: Some("https://files.example.org/mail%20x.oci.tar?a=b&c".to_owned()),
        sha512: "ab".repeat(64),
        image_id: digest.clone(),
    };
    [
        ("tag", reference("registry.example.org:5000/a/mail:stable")),
        (
            "digest",
            reference(&format!("registry.example.org/mail@sha256:{digest}")),
        ),
        ("archive", ImageSource::Archive(archive)),
    ]
}

/// Reads YAML and prints its documents as JSON.
const YAML_TO_JSON: &str =
    "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";

/// YAML as a reader of Python sees it, document by document.
fn read_yaml(text: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.yaml");
    fs::write(&path, text).unwrap();
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", YAML_TO_JSON]);
    python.stdin(fs::File::open(&path).unwrap());
    let output = python.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "`apt install python3-yaml` brings the reader: {said}"
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every combination of options.
fn cases() -> Vec<Case> {
    let authority = |bytes: &[u8]| {
        Some(Authority {
            name: "root.pem".to_owned(),
            bytes: bytes.to_vec(),
        })
    };
    let text = SETTINGS.as_bytes().to_vec();
    let windows_text = SETTINGS.replace('\n', "\r\n").into_bytes();
    let settings = [
        ("none", None),
        ("settings", Some((text.clone(), None))),
        ("authority", Some((text, authority(b"-----BEGIN\n")))),
        ("bytes", Some((windows_text, authority(b"\xff\0")))),
    ];
    let disks = [None, Some("/dev/vdb"), Some(DataDisk::BOOT_DISK)];
    let mut cases = Vec::new();
    for (image_name, image) in images() {
        for (settings_name, settings) in &settings {
            for disk in disks {
                let place = match disk {
                    None => "folder",
                    Some(DataDisk::BOOT_DISK) => "shared disk",
                    Some(_) => "own disk",
                };
                cases.push(Case {
                    name: format!("{image_name}, {settings_name}, {place}"),
                    deployment: Deployment {
                        image: image.clone(),
                        window: Window::parse("Sat,Sun 03:00", "90min").unwrap(),
                        data_disk: disk.map(|disk| DataDisk::parse(disk).unwrap()),
                    },
                    settings: settings.clone(),
                });
            }
        }
    }
    cases
}

/// The case of this name.
fn case(name: &str) -> Case {
    let mut cases = cases().into_iter();
    cases.find(|case| case.name == name).unwrap()
}
