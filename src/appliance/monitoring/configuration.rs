//! What monitoring needs of the settings: a settings file without secrets, there while it is
//! wanted.

use crate::appliance::dns::configuration::public_environment;
use crate::appliance::machine::files::{PUBLIC, ensure_file, remove_file};
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::settings::load_checked;
use crate::settings::Settings;
use anyhow::Result;

/// Writes the file, or removes it with `METRICS=false`: its units start only with it.
pub fn configure(place: &Place, settings: &Settings) -> Result<()> {
    let path = place.path(place::METRICS_CONFIGURATION);
    if !settings.monitoring.enabled {
        return remove_file(&path);
    }
    let limit = settings.sending_limit;
    let limit = limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
    let text = format!(
        "{}ADMIN_USER={}\nSENDING_LIMIT={limit}\n",
        public_environment(settings),
        settings.admin.local
    );
    ensure_file(&path, text.as_bytes(), PUBLIC, None).map(|_| ())
}

/// Reads it; nothing without monitoring.
pub fn load(place: &Place) -> Option<Settings> {
    let resolved = load_checked(place, place::METRICS_CONFIGURATION).ok()??;
    Some(resolved.settings)
}

#[cfg(test)]
mod tests {
    use super::{configure, load};
    use crate::appliance::machine::place::{self, Place};
    use crate::settings::{Settings, parse_settings, resolve_settings};

    fn settings(more: &str) -> Settings {
        let text = format!("DOMAIN=a.example\nHOSTNAME=mail.a.example\n{more}");
        let written = parse_settings(text.as_bytes()).unwrap();
        resolve_settings(&written).unwrap().settings
    }

    #[test]
    fn what_is_needed_is_there_and_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        std::fs::create_dir_all(folder.path().join("run/mailimg")).unwrap();
        let all = settings(
            "ADMIN_USER=root\nADMIN_USER_INITIAL_PASSWORD=geheim\nSENDING_LIMIT=none\n\
             RELAYHOST=[relay.example]:587\nRELAYHOST_USER=u\nRELAYHOST_PASSWORD=geheim\n\
             GF_SECURITY_ADMIN_PASSWORD=geheim\n",
        );
        configure(&place, &all).unwrap();
        let text = std::fs::read_to_string(place.path(place::METRICS_CONFIGURATION)).unwrap();
        assert!(!text.contains("geheim"), "{text}");
        let some = load(&place).unwrap();
        assert_eq!((some.admin, some.sending_limit), (all.admin, None));
        assert_eq!(some.relay.host, all.relay.host);
        configure(&place, &settings("METRICS=false\n")).unwrap();
        assert!(load(&place).is_none());
    }
}
