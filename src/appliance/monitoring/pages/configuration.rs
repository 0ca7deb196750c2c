//! What the pages' process needs of the settings: no password, only its hash.

use crate::appliance::machine::files::remove_file;
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::rendered::Rendered;
use crate::appliance::users::password::{check_password, hash_password, is_password};
use crate::settings::Settings;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The unit of the pages.
pub const UNIT: &str = "mailimg-monitoring.service";
/// Where the values lie; only there when there is monitoring.
pub const CONFIGURATION: Rendered<Configuration> =
    Rendered::for_group(place::MONITORING_CONFIGURATION, "mailimg-monitoring");

/// The values of the settings that the pages act on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// `HOSTNAME`.
    pub hostname: String,
    /// All mail domains, `DOMAIN` first.
    pub domains: Vec<String>,
    /// Path of the pages, without `/` at its end.
    pub path: String,
    /// `GF_SECURITY_ADMIN_USER`.
    pub user: String,
    /// Hash of `GF_SECURITY_ADMIN_PASSWORD`, `None` when nobody can log in.
    pub password: Option<String>,
}

/// Writes the values, or removes them when there is no monitoring.
pub fn configure(place: &Place, settings: &Settings) -> Result<()> {
    if !settings.monitoring.enabled {
        return remove_file(&place.path(place::MONITORING_CONFIGURATION));
    }
    let monitoring = &settings.monitoring;
    // Sessions end when the hash changes, and each hash has a salt of its own.
    let before = CONFIGURATION.load_optional(place).ok().flatten();
    let before = before.and_then(|values| values.password);
    let password = match monitoring.password.as_deref() {
        None | Some("") => None,
        Some(password) => {
            check_password(password).context("reading GF_SECURITY_ADMIN_PASSWORD")?;
            match before.filter(|hash| is_password(hash, password)) {
                Some(hash) => Some(hash),
                None => Some(hash_password(password)?),
            }
        }
    };
    let values = Configuration {
        hostname: settings.hostname.clone(),
        domains: settings.domains().map(str::to_owned).collect(),
        path: monitoring.path().to_owned(),
        user: monitoring.user.clone(),
        password,
    };
    CONFIGURATION.write(place, &values)
}

/// Switches the pages on or off.
pub fn take(_: &Place, settings: &Settings) -> Result<()> {
    crate::appliance::monitoring::run(UNIT, settings)
}

#[cfg(test)]
mod tests {
    use super::{CONFIGURATION, configure};
    use crate::appliance::machine::place::{self, Place};
    use crate::settings::{parse_settings, resolve_settings};

    #[test]
    fn the_password_is_nowhere_and_its_hash_stays_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        std::fs::create_dir_all(place.path(place::RENDERED)).unwrap();
        let hash = |more: &str| {
            let text = format!("DOMAIN=a.example\nHOSTNAME=mail.a.example\n{more}");
            let written = parse_settings(text.as_bytes()).unwrap();
            configure(&place, &resolve_settings(&written).unwrap().settings).unwrap();
            let text = std::fs::read_to_string(place.path(place::MONITORING_CONFIGURATION));
            assert!(!text.unwrap_or_default().contains("wombat-secret"));
            let values = CONFIGURATION.load_optional(&place).unwrap();
            values.map(|values| values.password)
        };
        let set = "GF_SECURITY_ADMIN_PASSWORD=wombat-secret\n";
        let first = hash(set).unwrap().unwrap();
        assert_eq!(hash(set), Some(Some(first.clone())));
        let other = hash("GF_SECURITY_ADMIN_PASSWORD=wombat-secret2\n");
        assert_ne!(other.unwrap().unwrap(), first);
        assert_eq!(hash(""), Some(None));
        assert_eq!(hash("METRICS=false\n"), None);
    }
}
