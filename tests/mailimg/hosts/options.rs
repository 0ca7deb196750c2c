//! Options of `mailimg build` for hosts, and what it writes.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256, Sha512};

use crate::world::bench::Bench;

/// What a build with these options refuses.
fn refused(bench: &Bench, options: &str) -> String {
    let options: Vec<&str> = options.split(' ').collect();
    let error = bench
        .run(&[&["build", "tiny"], options.as_slice()].concat())
        .error(2);
    assert!(bench.outputs().is_empty());
    error
}

#[test]
fn what_does_not_fit_together_is_told_before_anything_is_built() {
    let bench = Bench::new();
    for (options, expected) in [
        (
            "--format ignition",
            "error: nothing says where the host gets the image from\n\
             hint: add `--image-reference REGISTRY/REPOSITORY:TAG`, or without a registry \
             `--archive-url URL` with `oci` in --format",
        ),
        (
            "--format butane --image-reference a.example/b:c --archive-url https://a.example/b",
            "error: --image-reference and --archive-url both say where the image comes from\n\
             hint: leave out one of them",
        ),
        (
            "--format quadlet --image-reference a.example/b:c --archive b",
            "error: --image-reference and --archive both say where the image comes from\n\
             hint: leave out one of them",
        ),
        (
            "--format ignition --archive-url https://a.example/b",
            "error: nothing says what lies at --archive-url\n\
             hint: add `oci` to --format for the archive of this build, or `--archive FILE` for \
             another: the host checks its digest",
        ),
        (
            "--format ignition --archive b",
            "error: nothing says where the host fetches the archive from\n\
             hint: add `--archive-url URL`; only `--format quadlet` goes without",
        ),
        (
            "--image-reference a.example/b:c",
            "error: --image-reference says what a host runs, and no output is for one\n\
             hint: add `--format ignition`, `butane` or `quadlet`, or leave the option out",
        ),
        (
            "--format kube --image-reference a.example/b:c --data-disk /dev/vdb",
            "error: --data-disk says what a host runs, and no output is for one\n\
             hint: add `--format ignition`, `butane` or `quadlet`, or leave the option out",
        ),
        (
            "--format kube,quadlet --archive b",
            "error: --archive says where the image comes from, and a cluster fetches no archive\n\
             hint: add `--image-reference REGISTRY/REPOSITORY:TAG` instead",
        ),
        (
            "--format ignition --image-reference mail:stable",
            "error: reading --image-reference: 'mail:stable' does not begin with a registry\n\
             hint: name a host with a dot, or with a port, before the first slash, such as \
             registry.example.org/mail:stable or registry.example.org/mail@sha256:DIGEST; images \
             of Docker Hub begin with docker.io/",
        ),
        (
            "--format ignition --archive-url ftp://a.example/b --archive b",
            "error: reading --archive-url: 'ftp://a.example/b' is no address of an archive: it \
             does not begin with https:// or http://\n\
             hint: name one such as https://files.example.org/mail.oci.tar",
        ),
        (
            "--format ignition --image-reference a.example/b:c --data-disk vdb",
            "error: reading --data-disk: 'vdb' is no disk\n\
             hint: name a disk of the host such as /dev/vdb, or /dev/disk/by-id/coreos-boot-disk \
             for the one it starts from",
        ),
        (
            "--format ignition --image-reference a.example/b:c --update-schedule monthly",
            "error: reading --update-schedule: 'monthly' names days of the month\n\
             hint: `--update-schedule` takes days of the week, the only ones that hosts know: \
             Sun 03:00, Mon..Fri 02:30",
        ),
    ] {
        assert_eq!(refused(&bench, options), expected, "{options}");
    }
}

#[test]
fn a_file_that_is_no_archive() {
    let bench = Bench::new();
    bench.write("mail.oci.tar", "no tar");
    for (file, wrong) in [
        ("mail.oci.tar", "it is no tar: failed to read entire block"),
        ("none", "No such file or directory (os error 2)"),
    ] {
        let error = bench
            .run(&["build", "tiny", "--format", "quadlet", "--archive", file])
            .error(1);
        assert_eq!(
            error,
            format!(
                "error: reading the OCI archive {file}: {wrong}\n\
                 hint: `--archive` takes what `mailimg build --format oci` writes"
            )
        );
    }
    assert!(bench.outputs().is_empty());
}

/// An OCI archive with no layers.
fn archive() -> Vec<u8> {
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"digest":"sha256:{}","size":1}},"layers":[]}}"#,
        "ab".repeat(32)
    );
    let digest = hex::encode(Sha256::digest(&manifest));
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":
            "application/vnd.oci.image.manifest.v1+json","digest":"sha256:{digest}","size":{}}}]}}"#,
        manifest.len()
    );
    let mut builder = tar::Builder::new(Vec::new());
    for (path, text) in [
        ("index.json".to_owned(), index),
        (format!("blobs/sha256/{digest}"), manifest),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        builder
            .append_data(&mut header, path, text.as_bytes())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn a_host_is_written_with_its_settings_for_nobody_else_to_read() {
    let bench = Bench::new();
    let archive = archive();
    bench.write_bytes("mail.oci.tar", &archive);
    bench.write(
        "settings.env",
        "DOMAIN=example.org\nHOSTNAME=mail.example.org\n",
    );
    let build = [
        "build",
        "tiny",
        "--image-version",
        "1",
        "--format",
        "quadlet,ignition,butane,ignition",
        "--archive-url",
        "https://files.example.org/mail.oci.tar",
        "--archive",
        "mail.oci.tar",
        "--settings",
        "settings.env",
    ];
    let outcome = bench.run(&build);
    let outputs = bench.outputs();
    let told = outcome.done().notes();
    for warning in [
        "warning: out/tiny_1.ign: it holds the settings with their secrets.",
        "warning: out/tiny_1.bu: it holds the settings with their secrets.",
        "warning: out/tiny_1.quadlet.tar: it holds no settings; put them on the host as \
         /etc/mailimg/settings.env",
    ] {
        assert!(told.contains(warning), "{told}");
    }
    assert_eq!(
        Vec::from_iter(outputs.keys()),
        ["tiny_1.bu", "tiny_1.ign", "tiny_1.quadlet.tar"]
    );
    for (name, private) in [("bu", true), ("ign", true), ("quadlet.tar", false)] {
        let path = bench.work(&format!("out/tiny_1.{name}"));
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077 == 0, private, "{name} has mode {mode:o}");
    }
    let config: Value = serde_json::from_slice(&outputs["tiny_1.ign"]).unwrap();
    let files = config["storage"]["files"].as_array().unwrap();
    let file = |path: &str| files.iter().find(|file| file["path"] == path).unwrap();
    assert_eq!(file("/etc/mailimg/settings.env")["mode"], 0o600);
    let contents = &file("/var/lib/mailimg/mail.oci.tar")["contents"];
    let digest = hex::encode(Sha512::digest(&archive));
    assert_eq!(contents["verification"]["hash"], format!("sha512-{digest}"));
    assert_eq!(contents["source"], "https://files.example.org/mail.oci.tar");

    let mut names = Vec::new();
    let mut services = tar::Archive::new(outputs["tiny_1.quadlet.tar"].as_slice());
    for entry in services.entries().unwrap() {
        let entry = entry.unwrap();
        names.push(entry.path().unwrap().display().to_string());
        let header = entry.header();
        let plain = (header.mode(), header.mtime(), header.uid(), header.gid());
        let plain = (
            plain.0.unwrap(),
            plain.1.unwrap(),
            plain.2.unwrap(),
            plain.3.unwrap(),
        );
        assert_eq!(plain, (0o644, 0, 0, 0));
    }
    assert_eq!(names, ["mail.container", "mail.volume"]);

    // The same again is the same.
    bench.run(&build).done();
    assert!(bench.outputs() == outputs);
}

/// Who has no registry needs no second build.
#[test]
fn the_archive_of_a_build_is_what_its_hosts_run() {
    let bench = Bench::new();
    let container = "[container]\nstrip = []\nservices = []\nports = []\nhealth_check = []\n";
    bench.write_recipe(&bench.archive.url(), container);
    let build = ["build", "tiny", "--image-version", "1", "--format"];
    let url = "https://files.example.org/mail.oci.tar";
    let fetched = [&build[..], &["ignition,oci", "--archive-url", url]].concat();
    bench.run(&fetched).done();
    let outputs = bench.outputs();
    let config: Value = serde_json::from_slice(&outputs["tiny_1.ign"]).unwrap();
    let files = config["storage"]["files"].as_array().unwrap();
    let path = "/var/lib/mailimg/mail.oci.tar";
    let file = files.iter().find(|file| file["path"] == path).unwrap();
    let digest = hex::encode(Sha512::digest(&outputs["tiny_1.oci.tar"]));
    assert_eq!(
        file["contents"]["verification"]["hash"],
        format!("sha512-{digest}")
    );

    // Podman's name for the image is the digest of its configuration.
    bench.run(&[&build[..], &["oci,quadlet"]].concat()).done();
    let mut service = String::new();
    let services = bench.outputs().remove("tiny_1.quadlet.tar").unwrap();
    let mut services = tar::Archive::new(services.as_slice());
    let mut first = services.entries().unwrap().next().unwrap().unwrap();
    first.read_to_string(&mut service).unwrap();
    let image = service.lines().find_map(|line| line.strip_prefix("Image="));
    let blob = format!("blobs/sha256/{}", image.unwrap());
    let mut archive = tar::Archive::new(outputs["tiny_1.oci.tar"].as_slice());
    let mut entries = archive.entries().unwrap().map(Result::unwrap);
    let mut blob = entries
        .find(|entry| entry.path().unwrap() == Path::new(&blob))
        .unwrap();
    let config: Value = serde_json::from_reader(&mut blob).unwrap();
    assert_eq!(config["os"], "linux");
}

#[test]
fn a_cluster_is_written_with_its_settings_for_nobody_else_to_read() {
    let bench = Bench::new();
    bench.write(
        "settings.env",
        "DOMAIN=example.org\nHOSTNAME=mail.example.org\n",
    );
    let build = [
        "build",
        "tiny",
        "--image-version",
        "1",
        "--format",
        "kube",
        "--image-reference",
        "a.example/b:c",
        "--settings",
        "settings.env",
    ];
    let told = bench.run(&build).done().notes();
    let warning = "warning: out/tiny_1.kube.yaml: it holds the settings with their secrets.";
    assert!(told.contains(warning), "{told}");
    let path = bench.work("out/tiny_1.kube.yaml");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0);
    let text = fs::read_to_string(path).unwrap();
    assert!(
        text.contains("name: \"mail-example-org-settings\""),
        "{text}"
    );
}

#[test]
fn without_settings_everybody_may_read_it() {
    let bench = Bench::new();
    let build = [
        "build",
        "tiny",
        "--image-version",
        "1",
        "--format",
        "ignition",
    ];
    let outcome = bench.run(&[&build[..], &["--image-reference", "a.example/b:c"]].concat());
    assert!(
        !outcome.done().stderr.contains("warning"),
        "{}",
        outcome.stderr
    );
    let outputs = bench.outputs();
    assert_eq!(Vec::from_iter(outputs.keys()), ["tiny_1.ign"]);
    let text = std::str::from_utf8(&outputs["tiny_1.ign"]).unwrap();
    assert!(!text.contains("null"), "{text}");
    assert!(!text.contains("/etc/mailimg/settings.env"), "{text}");
}
