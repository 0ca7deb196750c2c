//! The files before the programs that read them: Ignition's own check, podman's generator,
//! and a reader of YAML that is not ours.

use std::fs;
use std::path::Path;
use std::process::Output;

use mailimg::builder::write::ignition::{butane_config, ignition_config, quadlet_files};
use serde_json::{Map, Value};

use super::{cases, images, read_yaml};
use crate::world::peers::fetched_program;

/// What a run said on standard error, when it ended well.
fn done(output: &Output, what: &str) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{what}: {said}");
    said
}

#[test]
fn ignition_takes_every_config() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.ign");
    for case in cases() {
        fs::write(&path, ignition_config(&case.host()).unwrap()).unwrap();
        let mut validate = fetched_program("ignition-validate").unwrap();
        let said = done(&validate.arg(&path).output().unwrap(), &case.name);
        assert_eq!(said, "", "{}", case.name);
    }
    // It does look at what it is given.
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace("\"mode\": 384", "\"mode\": 99999")).unwrap();
    let mut validate = fetched_program("ignition-validate").unwrap();
    assert!(!validate.arg(&path).output().unwrap().status.success());
}

/// What podman's generator makes of the files of a folder.
fn generate(folder: &Path) -> Output {
    let mut quadlet = fetched_program("quadlet").unwrap();
    quadlet.env("QUADLET_UNIT_DIRS", folder).arg("--dryrun");
    quadlet.output().unwrap()
}

/// The generated unit of this name.
fn unit<'text>(output: &'text str, name: &str) -> &'text str {
    let head = format!("---{name}---\n");
    let (_, rest) = output.split_once(&head).unwrap();
    rest.split("\n---").next().unwrap()
}

#[test]
fn podman_makes_services_of_every_container() {
    for case in cases() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in quadlet_files(&case.deployment) {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let output = generate(folder.path());
        let said = done(&output, &case.name);
        // Beside what it loads it says what it does not like.
        let loads = |line: &str| line.contains(": Loading source unit file ");
        assert!(said.lines().all(loads), "{}: {said}", case.name);
        let units = String::from_utf8(output.stdout).unwrap();
        let service = unit(&units, "mail.service");
        let line = |start: &str| service.lines().find(|line| line.starts_with(start));
        let run = line("ExecStart=").unwrap();
        for option in [
            " --network host ",
            " --cap-add net_admin ",
            " --sdnotify=healthy ",
            " -v mail:/var ",
            " -v mail-journal:/var/log/journal ",
            " -v /etc/mailimg:/run/secrets:ro,Z ",
            " --stop-timeout 120 ",
            " --systemd=always ",
            r#" --health-cmd "[\"/usr/bin/mailctl\",\"health\",\"--timeout\",\"5\",\"--settings-needed\"]" "#,
        ] {
            assert!(run.contains(option), "{}: {option}: {run}", case.name);
        }
        let followed = run.contains("io.containers.autoupdate=registry");
        assert_eq!(followed, case.name.starts_with("tag"), "{}", case.name);
        let device =
            unit(&units, "mail-volume.service").contains("device=/dev/disk/by-partlabel/mail");
        let waits = line(r"Requires=systemd-fsck@dev-disk-by\x2dpartlabel-mail.service").is_some();
        let partition = case.deployment.data_disk.is_some();
        assert_eq!((device, waits), (partition, partition), "{}", case.name);
    }
    // It does look at what it is given.
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("mail.container"),
        "[Container]\nImag=a\n",
    )
    .unwrap();
    assert!(!generate(folder.path()).status.success());
}

#[test]
fn images_are_run_as_they_are_named() {
    let digest = "0123456789abcdef".repeat(4);
    let expected = [
        "registry.example.org:5000/a/mail:stable".to_owned(),
        format!("registry.example.org/mail@sha256:{digest}"),
        digest,
    ];
    for ((name, _), expected) in images().into_iter().zip(expected) {
        let folder = tempfile::tempdir().unwrap();
        let case = super::case(&format!("{name}, none, folder"));
        for (name, text) in quadlet_files(&case.deployment) {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let units = String::from_utf8(generate(folder.path()).stdout).unwrap();
        let service = unit(&units, "mail.service");
        let run = service
            .lines()
            .find(|line| line.starts_with("ExecStart="))
            .unwrap();
        assert_eq!(run.rsplit(' ').next(), Some(expected.as_str()));
    }
}

/// What a Butane config says, in Ignition's words: keys in its spelling, and texts as the
/// addresses that hold them.
fn translate(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            let mut translated = Map::new();
            for (key, value) in entries {
                let mut words = key.split('_');
                let mut name = words.next().unwrap().to_owned();
                for word in words {
                    match word {
                        "mib" => name.push_str("MiB"),
                        word => name.push_str(&(word[..1].to_uppercase() + &word[1..])),
                    }
                }
                if name == "inline" {
                    let text = value.as_str().unwrap();
                    let escape = |byte: u8| match byte {
                        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
                        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
                        byte => format!("%{byte:02X}"),
                    };
                    let escaped: String = text.bytes().map(escape).collect();
                    translated.insert("source".to_owned(), format!("data:,{escaped}").into());
                } else {
                    translated.insert(name, translate(value));
                }
            }
            translated.into()
        }
        Value::Array(items) => items.iter().map(translate).collect(),
        other => other.clone(),
    }
}

#[test]
fn butane_says_what_ignition_says() {
    for case in cases() {
        let host = case.host();
        let butane = read_yaml(&butane_config(&host));
        assert_eq!(butane.len(), 1);
        let mut expected: Value = serde_json::from_str(&ignition_config(&host).unwrap()).unwrap();
        let expected = expected.as_object_mut().unwrap();
        assert_eq!(expected.remove("ignition").unwrap()["version"], "3.3.0");
        let mut translated = translate(&butane[0]);
        let translated = translated.as_object_mut().unwrap();
        assert_eq!(translated.remove("variant").unwrap(), "fcos");
        assert_eq!(translated.remove("version").unwrap(), "1.4.0");
        assert_eq!(translated, expected, "{}", case.name);
    }
}
