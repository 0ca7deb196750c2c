//! The OCI archive: what lies in it, in which layer, and that others take it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use flate2::read::GzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tar::{Archive, EntryType};

use crate::world::bench::deb::Deb;
use crate::world::bench::{Bench, user};
use crate::world::golden::assert_golden;

/// The table of a recipe, with one package set apart.
pub const CONTAINER: &str = "[container]\nstrip = [\"usr/lib/modules/**\"]\n\
    services = [\"postfix*\"]\nports = [\"25/tcp\"]\n\
    health_check = [\"/usr/bin/mailctl\", \"health\"]\n";

/// Of one layer's path: kind, mode, and target or content.
type Paths = BTreeMap<String, (EntryType, u32, Vec<u8>)>;

/// A tiny image with the package of a service.
pub fn bench(table: &str, smtp: &str) -> Bench {
    let mut bench = Bench::new();
    bench.archive.packages.push(
        Deb::new("postfix-tiny")
            .file("usr/sbin/smtp", 0o755, smtp.as_bytes())
            .file("usr/sbin/postdrop", 0o2755, b"postdrop"),
    );
    bench.archive.publish();
    let (path, target) = long();
    let link = format!(
        "[[effects.links]]\npath = '{path}'\ntarget = '{target}'\nreason = 'x'\n\
         [[effects.attributes]]\npath = 'usr/sbin/postdrop'\nmode = '2755'\nreason = 'x'\n"
    );
    bench.write_recipe(&bench.archive.url(), &format!("{table}{link}"));
    let path = bench.work("recipes/tiny.toml");
    let recipe = fs::read_to_string(&path).unwrap();
    fs::write(
        path,
        recipe.replace("\"kernel\"]\n", "\"kernel\", \"postfix-tiny\"]\n"),
    )
    .unwrap();
    bench
}

/// A path and a target for which the format itself has no room.
fn long() -> (String, String) {
    let path = format!("usr/share/{}/{}", "a".repeat(120), "b".repeat(200));
    (path, format!("/usr/{}", "c".repeat(150)))
}

fn built(smtp: &str) -> (Bench, BTreeMap<String, Vec<u8>>) {
    build(bench(CONTAINER, smtp))
}

fn build(bench: Bench) -> (Bench, BTreeMap<String, Vec<u8>>) {
    let bench = bench.with_image("oci");
    let archive = fs::read(bench.work("out/tiny_1.oci.tar")).unwrap();
    (bench, files(&archive))
}

/// The files of a tar.
pub fn files(tar: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in Archive::new(tar).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        assert!(
            files.insert(path.clone(), bytes).is_none(),
            "{path} lies there twice"
        );
    }
    files
}

fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
    let digest = descriptor["digest"].as_str().unwrap();
    let bytes = &files[&format!("blobs/{}", digest.replace(':', "/"))];
    assert_eq!(
        digest,
        format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
    );
    assert_eq!(descriptor["size"], bytes.len());
    bytes
}

pub fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// Manifest, config and the uncompressed layers of an archive, every digest checked.
fn parts(files: &BTreeMap<String, Vec<u8>>) -> (Value, Value, Vec<Vec<u8>>) {
    let index = json(&files["index.json"]);
    let manifest = json(blob(files, &index["manifests"][0]));
    let config = json(blob(files, &manifest["config"]));
    let layers: Vec<Vec<u8>> = manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| {
            let mut tar = Vec::new();
            GzDecoder::new(blob(files, layer))
                .read_to_end(&mut tar)
                .unwrap();
            tar
        })
        .collect();
    let digests = layers
        .iter()
        .map(|tar| format!("sha256:{}", hex::encode(Sha256::digest(tar))));
    assert_eq!(config["rootfs"]["diff_ids"], digests.collect::<Value>());
    (manifest, config, layers)
}

fn paths(tar: &[u8]) -> Paths {
    let mut paths = Paths::new();
    for entry in Archive::new(tar).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let header = entry.header();
        let (kind, mode) = (header.entry_type(), header.mode().unwrap());
        assert_eq!(
            (header.uid().unwrap(), header.gid().unwrap()),
            (0, 0),
            "{path}"
        );
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let target = entry.link_name_bytes().map(|name| name.into_owned());
        let found = paths.insert(path.clone(), (kind, mode, target.unwrap_or(content)));
        assert!(found.is_none(), "{path} lies there twice");
    }
    paths
}

#[test]
fn the_documents_say_what_engines_ask() {
    let (_bench, files) = built("smtp");
    let (manifest, config, layers) = parts(&files);
    // Digests of compressed layers change with the compressor.
    let mut said = config["config"].clone();
    let created = said["Labels"].as_object_mut().unwrap();
    let created = created.remove("org.opencontainers.image.created").unwrap();
    assert_eq!(config["created"], created);
    let text = serde_json::to_string_pretty(&said).unwrap() + "\n";
    assert_golden("container_config", &text);
    assert_eq!(config["architecture"], "amd64");
    assert_eq!(config["os"], "linux");
    assert_eq!(config["history"].as_array().unwrap().len(), layers.len());
    assert_eq!(
        config["created"],
        manifest["annotations"]["org.opencontainers.image.created"]
    );

    // docker before 25 reads an index of its own, over the same blobs.
    let docker = json(&files["manifest.json"]);
    assert_eq!(docker[0]["RepoTags"][0], "localhost/tiny:1");
    let config_path = docker[0]["Config"].as_str().unwrap();
    assert_eq!(json(&files[config_path]), config);
    for (layer, path) in layers.iter().zip(docker[0]["Layers"].as_array().unwrap()) {
        let mut tar = Vec::new();
        let compressed = &files[path.as_str().unwrap()];
        GzDecoder::new(&compressed[..])
            .read_to_end(&mut tar)
            .unwrap();
        assert!(tar == *layer);
    }
}

#[test]
fn every_path_lies_in_one_layer_and_the_kernel_in_none() {
    let (_bench, files) = built("smtp");
    let (_, _, layers) = parts(&files);
    let layers: Vec<Paths> = layers.iter().map(|tar| paths(tar)).collect();
    let mut seen = BTreeMap::new();
    for (number, layer) in layers.iter().enumerate() {
        for (path, (kind, ..)) in layer {
            if *kind != EntryType::Directory {
                assert_eq!(seen.insert(path.as_str(), number), None, "{path}");
            }
        }
    }
    let of = |path: &str| seen.get(path).copied();
    let (path, target) = long();
    assert_eq!(of(&path), Some(2));
    assert_eq!(layers[2][&path].2, target.as_bytes());
    assert_eq!(of("usr/bin/sh"), Some(0));
    for path in ["usr/sbin/smtp", "usr/sbin/postdrop"] {
        assert_eq!(of(path), Some(1), "{path}");
    }
    assert_eq!(layers[1]["usr/sbin/postdrop"].1, 0o2755);
    for path in seen.keys() {
        let boots = [
            "boot/",
            "usr/lib/modules",
            "usr/lib/systemd/boot",
            "usr/lib/grub",
        ];
        assert!(!boots.iter().any(|start| path.starts_with(start)), "{path}");
    }
    // Mounted over, so nothing in it would be seen.
    assert!(!seen.keys().any(|path| path.starts_with("var/")));
}

#[test]
fn a_new_version_of_a_service_changes_its_layer() {
    let (_one, before) = built("smtp");
    // Of a lock that was made on another day, too.
    let mut other = bench(CONTAINER, "another smtp");
    other.archive.age += 86_400;
    other.archive.publish();
    let (_two, after) = build(other);
    let (_, before, _) = parts(&before);
    let (_, after, _) = parts(&after);
    assert_ne!(before["created"], after["created"]);
    let changed: Vec<bool> = (0..)
        .map_while(|number| {
            let of = |config: &Value| config["rootfs"]["diff_ids"].get(number).cloned();
            of(&before).map(|digest| Some(digest) != of(&after))
        })
        .collect();
    // The last one has the lists of what is in the image.
    assert_eq!(changed, [false, true, true]);
}

/// Two of them were one blob, which then lay in the archive twice.
#[test]
fn layers_without_anything_in_them_are_left_out() {
    let (_bench, files) = build(bench("[container]\n", "smtp"));
    let (_, config, layers) = parts(&files);
    assert_eq!(layers.len(), 2);
    assert_eq!(config["history"].as_array().unwrap().len(), 2);
}

/// Two images that differ never have the same version.
#[test]
fn what_a_container_is_without_changes_the_version() {
    let bench = bench(CONTAINER, "smtp");
    let built = |folder: &str| {
        let build = [
            "build",
            "tiny",
            "--locked",
            "--format",
            "oci",
            "--output-dir",
            folder,
        ];
        bench.run(&build).done();
        let path = bench.output(folder, ".oci.tar");
        path.file_name().unwrap().to_owned()
    };
    bench.run(&["lock", "tiny"]).done();
    let before = built("one");
    let path = bench.work("recipes/tiny.toml");
    let recipe = fs::read_to_string(&path).unwrap();
    fs::write(path, recipe.replace("[\"25/tcp\"]", "[\"587/tcp\"]")).unwrap();
    let after = built("two");
    assert_ne!(before, after);
    bench.write("units/masked-in-container", "a.service  the host's\n");
    assert_ne!(after, built("three"));
}

#[test]
fn the_number_of_processors_changes_nothing() {
    let bench = bench(CONTAINER, "smtp");
    let build = |threads: &str| {
        let arguments = ["build", "tiny", "--image-version", "1", "--format", "oci"];
        let mut command = bench.command();
        command.args(arguments).env("RAYON_NUM_THREADS", threads);
        bench.finish(&mut command).done();
        fs::read(bench.work("out/tiny_1.oci.tar")).unwrap()
    };
    assert!(build("1") == build("5"));
}

#[test]
fn a_recipe_without_a_container_is_refused() {
    let bench = bench("", "smtp");
    let outcome = bench.run(&["build", "tiny", "--format", "oci"]);
    insta::assert_snapshot!(outcome.error(1), @r"
    error: making a container of tiny: the recipe has no [container]
    hint: build another recipe, `mailimg build mail --format oci`, or add a [container] table to this one
    ");
    assert!(bench.outputs().is_empty());
}

#[test]
fn leaving_out_a_package_that_is_not_there_is_refused() {
    let bench = bench("[container]\nwithout = [\"systemd-bot\"]\n", "smtp");
    let outcome = bench.run(&["build", "tiny", "--format", "oci,disk"]);
    insta::assert_snapshot!(outcome.error(1), @r"
    error: leaving out systemd-bot in the container: the lock has no such package
    hint: take it out of `without` in the recipe's [container], or correct its name
    ");
    assert!(bench.outputs().is_empty());
}

/// skopeo reads manifests as registries' clients do; umoci unpacks by the letter.
#[test]
fn other_programs_take_the_archive() {
    let (bench, _) = built("smtp");
    let archive = bench.work("out/tiny_1.oci.tar");
    let said = run(&[
        "skopeo",
        "inspect",
        &format!("oci-archive:{}", archive.display()),
    ]);
    let inspected = json(said.as_bytes());
    assert_eq!(inspected["Layers"].as_array().unwrap().len(), 3);
    if !user::is_root() {
        println!("not tried: umoci sets owners, which takes root");
        return;
    }
    let folder = bench.beside("unpacked");
    let layout = folder.join("layout");
    fs::create_dir_all(&layout).unwrap();
    Archive::new(fs::File::open(&archive).unwrap())
        .unpack(&layout)
        .unwrap();
    let (image, bundle) = (format!("{}:1", layout.display()), folder.join("bundle"));
    run(&[
        "umoci",
        "unpack",
        "--image",
        &image,
        bundle.to_str().unwrap(),
    ]);
    let smtp = fs::read(bundle.join("rootfs/usr/sbin/smtp")).unwrap();
    assert_eq!(smtp, b"smtp");
    assert!(Path::new(&bundle).join("rootfs/var").is_dir());
}

fn run(words: &[&str]) -> String {
    let output = Command::new(words[0])
        .args(&words[1..])
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "running {}: {error}; apt-get install {}",
                words[0], words[0]
            )
        });
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
