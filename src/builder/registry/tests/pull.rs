//! Pulling what is something else than it should be, or broke off.

use std::fs;

use super::server::{Registry, Reply, digest};
use super::{Parts, Setup, pushed};
use crate::builder::registry::find_image;
use crate::error::render;
use crate::format::oci::{INDEX_TYPE, MANIFEST_TYPE, parse_reference, to_json};

#[test]
fn a_registry_that_says_nothing_is_given_up() {
    let stalls = Reply {
        stalls: true,
        length: Some(10),
        ..Reply::status(202)
    };
    let registry = Registry::with(move |asked| {
        let manifest = asked.line.contains("/manifests/");
        manifest.then(|| Reply {
            status: 200,
            ..stalls.clone()
        })
    });
    let error = Setup::new().pull(&registry).unwrap_err();
    assert!(
        error.starts_with("error: asking for the manifest: broke off after 0 bytes: stalled\nhint"),
        "{error}"
    );
}

/// What a pull says of an image whose manifest is answered so.
fn not_pulled(kind: &'static str, bytes: &[u8]) -> String {
    let bytes = bytes.to_vec();
    let registry = Registry::with(move |asked| {
        let manifest = asked.line.contains("/manifests/1");
        manifest.then(|| Reply::status(200).header("Content-Type", kind).body(&bytes))
    });
    Setup::new().pull(&registry).unwrap_err()
}

#[test]
fn a_tag_that_is_something_else_is_told_what_it_is() {
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    let error = not_pulled(docker, b"{}");
    assert!(
        error.contains(&format!("it is of the kind '{docker}'")),
        "{error}"
    );
    let index = br#"{"schemaVersion":2,"manifests":[{"digest":"sha256:1","size":1,
        "platform":{"os":"linux","architecture":"arm64"}}]}"#;
    let error = not_pulled(INDEX_TYPE, index);
    assert!(
        error.contains("it is for linux/arm64, and not for linux/amd64\nhint"),
        "{error}"
    );
    let error = not_pulled(MANIFEST_TYPE, &vec![b' '; (4 << 20) + 1]);
    assert!(error.contains("more than 4194304 bytes\nhint"), "{error}");
    let error = Setup::new().pull(&Registry::new()).unwrap_err();
    assert!(
        error.starts_with("error: there is no such image\nhint"),
        "{error}"
    );
}

#[test]
fn of_several_platforms_ours_is_taken() {
    let (registry, parts) = (Registry::new(), Parts::new(11));
    pushed(&registry, &parts);
    let digest = digest(&to_json(&parts.manifest()).unwrap());
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"digest":"sha256:1","size":1,
        "platform":{{"os":"linux","architecture":"arm64"}}}},{{"digest":"{digest}","size":1,
        "platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#
    );
    let index = (INDEX_TYPE.to_owned(), index.into_bytes());
    registry.state().manifests.insert("1".to_owned(), index);
    assert_eq!(Setup::new().pull(&registry).unwrap().0, parts.0);
}

#[test]
fn a_blob_that_is_another_one_is_refused() {
    let parts = Parts::new(12);
    for (changed, wrong) in [
        (
            Parts::new(13).0[2].clone(),
            "has another SHA-256 than pinned",
        ),
        (vec![0; 4000], "has 4000 bytes, expected 3500"),
    ] {
        let registry = Registry::new();
        pushed(&registry, &parts);
        registry.state().blobs.insert(digest(&parts.0[2]), changed);
        let error = Setup::new().pull(&registry).unwrap_err();
        assert!(
            error.contains(wrong) && error.contains("\nhint: "),
            "{error}"
        );
    }
    // The manifest itself, by its digest.
    let registry = Registry::new();
    pushed(&registry, &parts);
    let wrong = digest(b"another");
    let stored = registry.state().manifests["1"].clone();
    registry.state().manifests.insert(wrong.clone(), stored);
    let reference = format!("127.0.0.1:{}/mail@{wrong}", registry.port);
    let reference = parse_reference(&reference).unwrap();
    let client = Setup::new().client(&registry, false);
    let error = render(&find_image(&client, &reference).unwrap_err());
    assert!(
        error.contains(&format!("expected {wrong}\nhint: ")),
        "{error}"
    );
}

#[test]
fn a_pull_goes_on_in_the_middle_of_a_blob() {
    let (setup, registry, parts) = (Setup::new(), Registry::new(), Parts::new(14));
    pushed(&registry, &parts);
    let path = setup.cache.object_path(&digest(&parts.0[2])[7..]).unwrap();
    fs::write(path.with_extension("part"), &parts.0[2][..3000]).unwrap();
    assert_eq!(setup.pull(&registry), Ok((parts.0, 502 + 500)));
    let ranges = registry.state();
    let ranges = ranges.asked.iter().map(|asked| asked.header("range"));
    assert_eq!(ranges.filter(|range| *range == "bytes=3000-").count(), 1);
}
