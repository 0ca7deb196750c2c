//! The bill of materials: complete, consistent and the same inside as outside.

use std::collections::{BTreeMap, BTreeSet};

use mailimg::builder::bill::{BILL_PATH, Document, file_origins, file_path, is_valid};
use mailimg::builder::seal::erofs::{Root, What};
use mailimg::format::gpt::{TYPE_ROOT, read_gpt};
use mailimg::format::storage::Storage;

use crate::world::bench::Bench;

#[test]
fn every_file_of_the_root_is_in_the_bill_with_its_origin() {
    let bench = Bench::new().with_image("disk,spdx");
    let outputs = bench.outputs();
    let text = &outputs["tiny_1.spdx.json"];
    let bill: Document = serde_json::from_slice(text).unwrap();

    let disk = &outputs["tiny_1.raw"];
    let table = read_gpt(disk).unwrap();
    let start = table.find(&TYPE_ROOT).unwrap();
    let read_at = |buffer: &mut [u8], offset: u64| disk.read_at(buffer, start.offset() + offset);
    let root = Root::open(&read_at, start.size()).unwrap();
    assert_eq!(root.read(BILL_PATH).unwrap().as_ref(), Some(text));

    // The bill cannot hold its own digest; it says that it leaves itself out.
    let image = &bill.packages[0];
    let code = image.package_verification_code.as_ref().unwrap();
    assert_eq!(
        code.package_verification_code_excluded_files,
        [format!("./{BILL_PATH}")]
    );
    let mut expected = BTreeMap::new();
    for (path, stat) in root.stats().unwrap() {
        if let (What::File(_, digest), true) = (&stat.what, path != BILL_PATH) {
            expected.insert(path, hex::encode(digest));
        }
    }
    let listed: BTreeMap<String, String> = bill
        .files
        .iter()
        .map(|file| {
            let sha256 = &file.checksums[1].checksum_value;
            (file_path(file).to_owned(), sha256.clone())
        })
        .collect();
    assert_eq!(listed, expected);
    assert_eq!(listed.len(), bill.files.len(), "a path is listed twice");
    let origins = file_origins(&bill);
    assert_eq!(origins.len(), listed.len() + 1, "all, and the bill");
    assert_eq!(origins["usr/bin/sh"], "base");
    assert_eq!(
        origins["usr/lib/modules/6.1-tiny/modules.dep.bin"],
        "mailimg-builder"
    );
}

#[test]
fn a_bill_is_sound() {
    let bench = Bench::new().with_image("spdx");
    let outputs = bench.outputs();
    let names: Vec<&String> = outputs.keys().collect();
    assert_eq!(names, ["tiny_1.manifest.json", "tiny_1.spdx.json"]);
    let text = String::from_utf8(outputs["tiny_1.spdx.json"].clone()).unwrap();
    let bill: Document = serde_json::from_str(&text).unwrap();
    let mut ids = BTreeSet::from([bill.id.as_str()]);
    let packages = bill.packages.iter().map(|package| package.id.as_str());
    for id in packages.chain(bill.files.iter().map(|file| file.id.as_str())) {
        let letters = id.strip_prefix("SPDXRef-").unwrap().bytes();
        for letter in letters {
            assert!(
                letter.is_ascii_alphanumeric() || b".-".contains(&letter),
                "{id}"
            );
        }
        assert!(ids.insert(id), "{id} is there twice");
    }
    for relationship in &bill.relationships {
        assert!(ids.contains(relationship.spdx_element_id.as_str()));
        assert!(ids.contains(relationship.related_spdx_element.as_str()));
    }
    let mut holders = BTreeSet::new();
    for package in &bill.packages {
        let licence = &package.license_declared;
        assert!(licence == "NOASSERTION" || is_valid(licence), "{licence}");
        assert_eq!(
            package.files_analyzed,
            package.package_verification_code.is_some(),
            "{}",
            package.id
        );
        for id in &package.has_files {
            assert!(ids.contains(id.as_str()));
            assert!(holders.insert(id), "{id} is in two packages");
        }
    }
    assert_eq!(holders.len(), bill.files.len());
    let base = bill.packages.iter().find(|package| package.name == "base");
    let base = base.unwrap();
    assert_eq!(
        base.external_refs[0].reference_locator,
        "pkg:deb/debian/base@1.0?arch=amd64&distro=tiny-1"
    );
    assert_eq!(
        base.source_info.as_deref(),
        Some("built package from: base 1.0")
    );
    assert!(!text.contains(bench.beside("out").to_str().unwrap()));
}
