//! The objects of a cluster: as texts, and before a reader of YAML that is not ours.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Secret, Service};
use mailimg::builder::write::kube::{KubeSettings, kube_objects};
use mailimg::format::oci::{Reference, parse_reference};
use mailimg::settings::Authority;

use super::{SETTINGS, read_yaml};
use crate::world::golden::assert_golden;

/// An image that stays, or one that is followed.
fn image(stays: bool) -> Reference {
    let digest = "0123456789abcdef".repeat(4);
    let text = match stays {
        true => format!("registry.example.org/mail@sha256:{digest}"),
        false => "registry.example.org/mail:stable".to_owned(),
    };
    parse_reference(&text).unwrap()
}

fn settings<'test>(text: &'test [u8], authority: Option<&'test Authority>) -> KubeSettings<'test> {
    KubeSettings {
        domain: "example.org",
        text,
        authority,
    }
}

#[test]
fn objects_read_as_before() {
    let least = kube_objects(&image(true), None).unwrap();
    assert_golden("host_kube_least", &least);
    let authority = Authority {
        name: "root.pem".to_owned(),
        bytes: b"-----BEGIN\n-----END\n".to_vec(),
    };
    let settings = settings(SETTINGS.as_bytes(), Some(&authority));
    let most = kube_objects(&image(false), Some(settings)).unwrap();
    assert_golden("host_kube_most", &most);
}

/// Keys in a wrong place would be left out by Kubernetes' own structures.
#[test]
fn kubernetes_knows_every_key() {
    let authority = Authority {
        name: "root.pem".to_owned(),
        bytes: b"\xff\0".to_vec(),
    };
    for (text, authority) in [
        (None, None),
        (Some(SETTINGS.as_bytes().to_vec()), None),
        (
            Some(SETTINGS.replace('\n', "\r\n").into_bytes()),
            Some(&authority),
        ),
    ] {
        let settings = text.as_deref().map(|text| settings(text, authority));
        let objects = read_yaml(&kube_objects(&image(true), settings).unwrap());
        let kinds: Vec<&str> = objects
            .iter()
            .map(|one| one["kind"].as_str().unwrap())
            .collect();
        let expected = ["Secret", "Service", "StatefulSet"];
        assert_eq!(kinds, expected[usize::from(text.is_none())..]);
        for object in &objects {
            let again = match object["kind"].as_str().unwrap() {
                "Secret" => serde_json::from_value::<Secret>(object.clone())
                    .map(|object| serde_json::to_value(object).unwrap()),
                "Service" => serde_json::from_value::<Service>(object.clone())
                    .map(|object| serde_json::to_value(object).unwrap()),
                _ => serde_json::from_value::<StatefulSet>(object.clone())
                    .map(|object| serde_json::to_value(object).unwrap()),
            };
            assert_eq!(&again.unwrap(), object);
        }
        if let Some(text) = text {
            let kept = objects[0]["stringData"]["settings.env"].as_str().unwrap();
            assert_eq!(kept.as_bytes(), text);
        }
        if authority.is_some() {
            assert_eq!(objects[0]["data"]["root.pem"], "/wA=");
        }
    }
}

#[test]
fn each_organisation_has_objects_of_its_own() {
    let names = |domain: &str| {
        let settings = KubeSettings {
            domain,
            ..settings(b"", None)
        };
        let objects = read_yaml(&kube_objects(&image(true), Some(settings)).unwrap());
        let name = |object: &serde_json::Value| object["metadata"]["name"].to_string();
        objects.iter().map(name).collect::<Vec<String>>()
    };
    let one = names("a.example");
    assert_eq!(
        one,
        [
            "\"mail-a-example-settings\"",
            "\"mail-a-example\"",
            "\"mail-a-example\""
        ]
    );
    assert!(names("b.example").iter().all(|name| !one.contains(name)));
}
