//! `mailimg diff` of locks, manifests and images.

use std::fs;

use crate::world::bench::deb::Deb;
use crate::world::bench::{Bench, flip_bit};
use crate::world::golden::assert_golden;

const OLD: &str = include_str!("old.lock");
const NEW: &str = include_str!("new.lock");

/// The bench with an image `old.raw`, and one that was built after changes as `out/tiny_1.raw`.
fn two_images() -> Bench {
    let mut bench = Bench::new().with_image("disk");
    for kind in ["raw", "manifest.json"] {
        let built = bench.work(&format!("out/tiny_1.{kind}"));
        fs::rename(built, bench.work(&format!("old.{kind}"))).unwrap();
    }
    fs::rename(bench.work("recipes/tiny.lock"), bench.work("old.lock")).unwrap();
    let base = &mut bench.archive.packages[0];
    let units = "usr/lib/systemd/system";
    *base = Deb::new("base")
        .version("1.1")
        .file("usr/lib/os-release", 0o644, b"ID=tiny\nVERSION_ID=1\n")
        .file("usr/lib/systemd/systemd", 0o755, b"the first process\n")
        .file("usr/bin/sh", 0o555, b"another shell\n")
        .file(
            &format!("{units}/a.service"),
            0o644,
            b"[Install]\nWantedBy=b.target\n",
        )
        .script("postinst", "#!/bin/sh\ntrue\n");
    bench.archive.packages.push(Deb::new("extra").file(
        "usr/lib/systemd/system-preset/00.preset",
        0o644,
        b"enable a.service\n",
    ));
    bench.archive.publish();
    let recipe = fs::read_to_string(bench.work("recipes/tiny.toml")).unwrap();
    bench.write(
        "recipes/tiny.toml",
        &recipe.replace("\"base\"", "\"base\", \"extra\""),
    );
    bench.with_image("disk,qcow2")
}

#[test]
fn two_locks_tell_packages_and_sources() {
    let bench = Bench::new();
    bench.write("old.lock", OLD);
    bench.write("new.lock", NEW);
    let outcome = bench.run(&["diff", "old.lock", "new.lock"]);
    assert_golden("diff_locks", &outcome.done().stdout);
    let same = bench.run(&["diff", "old.lock", "old.lock"]);
    assert!(same.done().stdout.starts_with("nothing differs\n"));
}

#[test]
fn two_images_tell_files_units_and_scripts() {
    let bench = two_images();
    let outcome = bench.run(&["diff", "old.raw", "out/tiny_1.raw"]);
    // Sizes of compressed parts are not ours to promise.
    let (text, _) = outcome.done().stdout.split_once("sizes\n").unwrap();
    // Nor is the size of the bill, which names the mirror's folder.
    let lines = text.lines().map(|line| match line.contains("spdx.json") {
        true => line.split(", ").next().unwrap_or_default(),
        false => line,
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    assert_golden("diff_images", &text);
    let json = bench.run(&["diff", "old.raw", "out/tiny_1.qcow2", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.done().stdout).unwrap();
    assert_eq!(json["packages"][0]["change"], "upgraded");
    let files = json["files"].as_array().unwrap();
    let shell = files.iter().find(|file| file["path"] == "/usr/bin/sh");
    assert_eq!(
        shell.unwrap()["differs"],
        serde_json::json!(["content", "mode"])
    );
}

#[test]
fn mixed_kinds_compare_what_both_have() {
    let bench = two_images();
    for (old, new) in [
        ("old.lock", "out/tiny_1.raw"),
        ("old.raw", "out/tiny_1.manifest.json"),
        ("old.manifest.json", "recipes/tiny.lock"),
    ] {
        let text = bench.run(&["diff", old, new]).done().stdout.clone();
        assert!(text.contains("upgraded    base 1.0 -> 1.1\n"), "{text}");
        assert!(text.contains("added       extra 1.0\n"), "{text}");
        assert!(text.contains("added       postinst of base\n"), "{text}");
        // Told when one side has them.
        let image = [old, new].iter().any(|name| name.ends_with(".raw"));
        assert_eq!(text.contains("files and units: "), image, "{text}");
    }
    fs::remove_dir_all(bench.cache().join("unpacked")).unwrap();
    let text = bench.run(&["diff", "old.lock", "recipes/tiny.lock"]);
    assert!(
        text.done()
            .stdout
            .contains("maintainer scripts of 1 package: "),
        "{}",
        text.stdout
    );
}

#[test]
fn what_is_no_image_lock_or_manifest_is_refused() {
    let bench = Bench::new().with_image("disk");
    let image = fs::read(bench.work("out/tiny_1.raw")).unwrap();
    bench.write_bytes("short.raw", &image[..image.len() / 2]);
    bench.write_bytes("empty.raw", b"");
    bench.write("text.raw", "no image at all\n");
    bench.write("newer.lock", &format!("format = 9\n{OLD}"));
    bench.write("bad.manifest.json", "{}");
    fs::create_dir(bench.work("folder")).unwrap();
    for (name, code, start) in [
        ("absent.raw", 2, "reading absent.raw: there is no such file"),
        ("short.raw", 1, "reading short.raw: partition "),
        ("empty.raw", 1, "reading empty.raw: the disk ends before "),
        ("text.raw", 1, "reading text.raw: the disk ends before "),
        ("folder", 1, "reading folder: "),
        ("newer.lock", 1, "reading newer.lock: reading the lock: "),
        (
            "bad.manifest.json",
            1,
            "reading bad.manifest.json: reading the manifest: missing field ",
        ),
    ] {
        let error = bench.run(&["diff", name, "out/tiny_1.raw"]).error(code);
        assert!(error.starts_with(&format!("error: {start}")), "{error}");
    }
    // The root's first block, where its own checksum sees it.
    let table = mailimg::format::gpt::read_gpt(&image).unwrap();
    let root = table.find(&mailimg::format::gpt::TYPE_ROOT).unwrap();
    let mut damaged = image.clone();
    damaged[root.offset() as usize + 1024 + 40] ^= 1;
    bench.write_bytes("damaged.raw", &damaged);
    let error = bench.run(&["diff", "damaged.raw", "damaged.raw"]).error(1);
    assert!(
        error.starts_with(
            "error: reading damaged.raw: reading the root: its superblock has a wrong checksum\n"
        ),
        "{error}"
    );
    bench.write_bytes("flipped.raw", &image[..4096]);
    flip_bit(&bench.work("flipped.raw"));
    bench.run(&["diff", "flipped.raw", "damaged.raw"]).error(1);
}
