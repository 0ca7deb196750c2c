//! The files as texts, so that a change reads as a diff.

use mailimg::builder::write::ignition::{butane_config, ignition_config, quadlet_files};

use super::case;
use crate::world::golden::assert_golden;

#[test]
fn services_read_as_before() {
    for (case_name, golden) in [
        ("tag, none, folder", "tag"),
        ("digest, none, folder", "digest"),
        ("archive, none, own disk", "archive_partition"),
    ] {
        for (name, text) in quadlet_files(&case(case_name).deployment) {
            let (_, kind) = name.split_once('.').unwrap();
            assert_golden(&format!("host_{kind}_{golden}"), &text);
        }
    }
}

#[test]
fn configs_read_as_before() {
    for (case_name, golden) in [
        ("tag, none, folder", "least"),
        ("archive, authority, shared disk", "most"),
    ] {
        let host = case(case_name).host();
        assert_golden(
            &format!("host_ignition_{golden}"),
            &ignition_config(&host).unwrap(),
        );
        assert_golden(&format!("host_butane_{golden}"), &butane_config(&host));
    }
}
