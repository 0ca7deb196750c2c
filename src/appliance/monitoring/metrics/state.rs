//! What files of the machine say: certificates, upgrades, the version.

use super::exposition::{Samples, number};
use crate::appliance::certificate::chain::read_facts;
use crate::appliance::certificate::pair::CHAIN;
use crate::appliance::certificate::{chain_path, names_folder};
use crate::appliance::machine::files::read_optional;
use crate::appliance::machine::place::{self, Place};
use crate::appliance::updates::Attempt;
use crate::settings::Settings;
use std::fs::read_dir;
use std::path::PathBuf;

/// How an upgrade may stand, as its record says it.
const STATES: [&str; 6] = [
    "none",
    "waiting",
    "gave-up",
    "kept",
    "interrupted",
    "came-back",
];
/// Most certificates of optional names that are shown.
const MOST_NAMES: usize = 100;

/// `IMAGE_VERSION` of os-release(5).
pub fn image_version(place: &Place) -> String {
    let text = std::fs::read_to_string(place.path("/etc/os-release")).unwrap_or_default();
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix("IMAGE_VERSION="));
    value.unwrap_or_default().trim_matches('"').to_owned()
}

/// Adds when certificates end.
pub fn show_certificates(place: &Place, settings: &Settings, samples: &mut Samples) {
    let mut chains: Vec<(String, PathBuf)> =
        vec![(settings.hostname.clone(), place.path(chain_path()))];
    let names = read_dir(place.path(place::TLS_NAMES)).into_iter().flatten();
    for name in names.filter_map(Result::ok).take(MOST_NAMES) {
        let name = name.file_name().to_string_lossy().into_owned();
        let chain = place.path(names_folder(&name)).join(CHAIN);
        chains.push((name, chain));
    }
    for (name, chain) in chains {
        let facts = std::fs::read(chain)
            .ok()
            .and_then(|pem| read_facts(&pem).ok());
        let Some(facts) = facts else {
            continue;
        };
        let end = number(u64::try_from(facts.not_after).unwrap_or_default());
        samples.add(
            "mailimg_certificate_expiry_timestamp_seconds",
            &[&name],
            end,
        );
        let own = if facts.self_signed { 1.0 } else { 0.0 };
        samples.add("mailimg_certificate_self_signed", &[&name], own);
    }
}

/// Adds how the last upgrade stands.
pub fn show_updates(place: &Place, samples: &mut Samples) {
    let record = read_optional(&place.path(place::UPGRADE)).ok().flatten();
    let record: Option<serde_json::Value> =
        record.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let state = record
        .as_ref()
        .and_then(|record| record.get("state")?.as_str());
    for known in STATES {
        let is_it = if state.unwrap_or("none") == known {
            1.0
        } else {
            0.0
        };
        samples.add("mailimg_update_state", &[known], is_it);
    }
    let looked = Attempt::load(place).map_or(0, |attempt| attempt.at);
    if looked > 0 {
        let looked = number(u64::try_from(looked).unwrap_or_default());
        samples.add("mailimg_update_look_timestamp_seconds", &[], looked);
    }
}

#[cfg(test)]
mod tests {
    use super::{Samples, show_updates};
    use crate::appliance::machine::place::{self, Place};

    #[test]
    fn the_state_of_an_upgrade_is_one_of_a_few() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let path = place.path(place::UPGRADE);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        for (text, expected) in [
            (None, "none"),
            (Some("{"), "none"),
            (Some("{\"state\":\"came-back\",\"why\":\"x\"}"), "came-back"),
        ] {
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let mut samples = Samples::default();
            show_updates(&place, &mut samples);
            let text = samples.text();
            assert!(
                text.contains(&format!("{{state=\"{expected}\"}} 1\n")),
                "{text}"
            );
            assert_eq!(text.matches("} 0\n").count(), 5);
        }
    }
}
