//! Images to Debian's own registry and back: what travels, and what a kill leaves.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::oci::{CONTAINER, bench, files, json};
use crate::world::bench::Bench;
use crate::world::bench::outcome::Outcome;
use crate::world::registry::Registry;
use crate::world::wait::until;

const ARCHIVE: &str = "out/tiny_1.oci.tar";

/// A file that takes some time to travel, however it is compressed.
fn large(seed: u64) -> String {
    let mut state = seed;
    let mut text = String::new();
    while text.len() < 24 << 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{state:016x}"));
    }
    text
}

/// `mailimg`, which trusts a registry and is known there.
fn command(bench: &Bench, registry: &Registry, arguments: &[&str]) -> Command {
    let mut command = bench.command();
    command
        .args(arguments)
        .arg("--ca-file")
        .arg(registry.authority())
        .env("REGISTRY_AUTH_FILE", registry.credentials());
    command
}

fn run(bench: &Bench, registry: &Registry, arguments: &[&str]) -> Outcome {
    bench.finish(&mut command(bench, registry, arguments))
}

/// What the last JSON line of a command says.
fn told(outcome: &Outcome) -> Value {
    json(outcome.done().stdout.lines().last().unwrap().as_bytes())
}

/// Bytes of what came in part.
fn kept_below(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let parts = files.filter(|file| file.path().extension() == Some("part".as_ref()));
    let sizes = parts.filter_map(|part| part.metadata().ok());
    sizes.map(|part| part.len()).sum()
}

/// Kills a command when the line to its registry is dead, and this much has come into the cache:
/// on a busy machine much of it is still on its way then.
fn kill_when_dead(bench: &Bench, registry: &Registry, arguments: &[&str], kept: u64) {
    let mut command = command(bench, registry, arguments);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("a dead line", Duration::from_secs(60), || {
        let arrived = kept_below(&bench.cache().join("objects")) >= kept;
        Ok((registry.line().is_dead() && arrived).then_some(()))
    })
    .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    registry.line().mend();
}

/// The digest of an archive's image.
fn digest(archive: &[u8]) -> String {
    let index = json(&files(archive)["index.json"]);
    index["manifests"][0]["digest"].as_str().unwrap().to_owned()
}

/// The blobs of an archive with their sizes.
fn blobs(archive: &[u8]) -> BTreeMap<String, u64> {
    let path = format!("blobs/{}", digest(archive).replace(':', "/"));
    let manifest = json(&files(archive)[&path]);
    let layers = manifest["layers"].as_array().unwrap();
    let of = |one: &Value| {
        let digest = one["digest"].as_str().unwrap();
        (digest.to_owned(), one["size"].as_u64().unwrap())
    };
    layers.iter().chain([&manifest["config"]]).map(of).collect()
}

#[test]
fn an_archive_comes_back_byte_for_byte() {
    let registry = Registry::start();
    let bench = bench(CONTAINER, "smtp").with_image("oci,spdx");
    let archive = fs::read(bench.work(ARCHIVE)).unwrap();
    let total: u64 = blobs(&archive).values().sum();
    let reference = registry.reference("team/mail:1");
    let push = ["push", ARCHIVE, &reference, "--json"];
    let first = told(&run(&bench, &registry, &push));
    assert!(first["sent"].as_u64().unwrap() >= total, "{first}");
    let second = told(&run(&bench, &registry, &push));
    assert_eq!(second["sent"], 0, "{second}");

    // Bill of materials and manifest are listed under the image's digest.
    let tags = registry.tags("team/mail");
    assert_eq!(tags.len(), 2, "{tags:?}");
    assert!(tags[1].starts_with("sha256-"), "{tags:?}");

    let by_digest = registry.reference(&format!("team/mail@{}", digest(&archive)));
    for reference in [&reference, &by_digest] {
        let pull = ["pull", reference, "--output-dir", "pulled", "--json"];
        run(&bench, &registry, &pull).done();
        assert!(fs::read(bench.work("pulled/tiny_1.oci.tar")).unwrap() == archive);
        fs::remove_dir_all(bench.work("pulled")).unwrap();
    }

    // Under another name nothing is sent when that is asked for.
    let other = registry.reference("other:1");
    let mount = [
        "push",
        ARCHIVE,
        &other,
        "--mount-from",
        "team/mail",
        "--json",
    ];
    let mounted = told(&run(&bench, &registry, &mount));
    assert_eq!(mounted["sent"], 0, "{mounted}");
}

#[test]
fn what_is_killed_goes_on_and_a_changed_layer_travels_alone() {
    let registry = Registry::start();
    let old = bench(CONTAINER, &large(1)).with_image("oci");
    let archive = fs::read(old.work(ARCHIVE)).unwrap();
    let old_blobs = blobs(&archive);
    let total: u64 = old_blobs.values().sum();
    let reference = registry.reference("mail:1");
    let push = ["push", ARCHIVE, &reference, "--json"];
    registry.line().cut_after(11 << 20, usize::MAX);
    kill_when_dead(&old, &registry, &push, 0);
    let pushed = told(&run(&old, &registry, &push));
    let (sent, kept) = (
        pushed["sent"].as_u64().unwrap(),
        pushed["kept"].as_u64().unwrap(),
    );
    println!("of {total} bytes {sent} were sent after the kill, {kept} were there");
    assert!(kept > 0 && sent < 2 * total, "{pushed}");

    let pull = ["pull", &reference, "--output-dir", "pulled", "--json"];
    registry.line().cut_after(usize::MAX, 6 << 20);
    kill_when_dead(&old, &registry, &pull, 4 << 20);
    assert!(!old.work("pulled/tiny_1.oci.tar").exists());
    let pulled = told(&run(&old, &registry, &pull));
    let received = pulled["received"].as_u64().unwrap();
    println!("of {total} bytes {received} were received after the kill");
    assert!(received <= total - (4 << 20), "{pulled}");
    assert!(fs::read(old.work("pulled/tiny_1.oci.tar")).unwrap() == archive);

    let new = bench(CONTAINER, "another smtp").with_image("oci");
    let new_blobs = blobs(&fs::read(new.work(ARCHIVE)).unwrap());
    let changed = new_blobs
        .iter()
        .filter(|(digest, _)| !old_blobs.contains_key(*digest));
    let changed: u64 = changed.map(|(_, size)| size).sum();
    let pushed = told(&run(&new, &registry, &push));
    println!(
        "{changed} of {} bytes changed",
        new_blobs.values().sum::<u64>()
    );
    assert_eq!(pushed["sent"], changed, "{pushed}");
}

#[test]
fn a_registry_that_knows_us_not_says_so() {
    let registry = Registry::start();
    let bench = bench(CONTAINER, "smtp").with_image("oci");
    let reference = registry.reference("mail:1");
    let port = reference
        .rsplit(':')
        .nth(1)
        .unwrap()
        .split('/')
        .next()
        .unwrap();
    let masked = |outcome: Outcome| {
        let file = registry.credentials().display().to_string();
        outcome
            .error(1)
            .replace(&file, "FILE")
            .replace(port, "PORT")
    };
    let push = ["push", ARCHIVE, &reference];
    // me:wrong.
    registry.write_credentials("bWU6d3Jvbmc=");
    insta::assert_snapshot!(masked(run(&bench, &registry, &push)), @r"
    error: pushing to localhost:PORT/mail:1: sending sha256:DIGEST: asking for it: localhost:PORT does not take the credentials of FILE
    hint: the credentials of FILE need the right to do this; `podman login localhost:PORT` stores others
    ");
    fs::remove_file(registry.credentials()).unwrap();
    insta::assert_snapshot!(masked(run(&bench, &registry, &push)), @r"
    error: pushing to localhost:PORT/mail:1: sending sha256:DIGEST: asking for it: localhost:PORT asks who you are, and no credentials are known for it
    hint: `podman login localhost:PORT` stores some; looked into FILE, and REGISTRY_AUTH_FILE names another file
    ");
    let pull = ["pull", &reference];
    insta::assert_snapshot!(masked(run(&bench, &registry, &pull)), @r"
    error: pulling localhost:PORT/mail:1: asking for the manifest: localhost:PORT asks who you are, and no credentials are known for it
    hint: `podman login localhost:PORT` stores some; looked into FILE, and REGISTRY_AUTH_FILE names another file
    ");
    assert!(!bench.work("out/tiny_1.oci.tar.part").exists());
}

#[test]
fn a_program_that_keeps_credentials_is_asked() {
    let registry = Registry::start();
    let bench = bench(CONTAINER, "smtp").with_image("oci");
    let reference = registry.reference("mail:1");
    let host = reference["oci://".len()..].split('/').next().unwrap();
    let programs = bench.work("programs");
    fs::create_dir(&programs).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let pushed = |answer: &str| {
        let program = programs.join("docker-credential-vault");
        let script = format!("#!/bin/sh\nread asked\n[ \"$1 $asked\" = 'get {host}' ] || exit 9\n");
        fs::write(&program, script + answer).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let push = ["push", ARCHIVE, &reference, "--timeout", "1"];
        bench.finish(command(&bench, &registry, &push).env("PATH", &path))
    };
    let known = r#"echo '{"ServerURL":"x","Username":"me","Secret":"secret"}'"#;
    for file in [
        format!("{{\"credHelpers\":{{\"{host}\":\"vault\"}}}}"),
        "{\"credsStore\":\"vault\"}".to_owned(),
    ] {
        fs::write(registry.credentials(), file).unwrap();
        pushed(known).done();
    }
    for (answer, said) in [
        (
            "echo 'credentials not found in native keychain'; exit 1",
            "no credentials are known",
        ),
        ("echo secret; exit 3", "ended with exit status: 3"),
        ("echo secret", "answered something else than credentials"),
        ("exec sleep 60", "docker-credential-vault does not answer"),
    ] {
        let error = pushed(answer).error(1);
        assert!(
            error.contains(said) && error.contains("\nhint: "),
            "{error}"
        );
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn a_push_that_is_stopped_says_what_is_left() {
    let registry = Registry::start();
    let bench = bench(CONTAINER, &large(3)).with_image("oci");
    let reference = registry.reference("mail:1");
    registry.line().cut_after(4 << 20, usize::MAX);
    let mut command = command(&bench, &registry, &["push", ARCHIVE, &reference]);
    let child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("a dead line", Duration::from_secs(60), || {
        Ok(registry.line().is_dead().then_some(()))
    })
    .unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("what was sent stays in the registry")
            && said.contains("it goes on where this one stopped"),
        "{said}"
    );
    registry.line().mend();
    run(&bench, &registry, &["push", ARCHIVE, &reference]).done();
}

#[test]
fn what_names_no_image_is_wrong_usage_and_what_is_none_is_refused() {
    let bench = Bench::new();
    for arguments in [
        &["push", "a.oci.tar", "docker://r.example/mail:1"][..],
        &["push", "a.oci.tar", "oci://r.example/mail"],
        &["pull", "r.example/mail:1"],
        &["pull", "oci://r.example/mail:1", "--plain-http"],
    ] {
        bench.run(arguments).error(2);
    }
    bench.write("a.oci.tar", "no tar");
    let error = bench
        .run(&["push", "a.oci.tar", "oci://r.example/mail:1"])
        .error(1);
    insta::assert_snapshot!(error, @r"
    error: reading the OCI archive a.oci.tar: it is no tar: failed to read entire block
    hint: `mailimg push` takes what `mailimg build --format oci` and `mailimg sign` write
    ");
}
