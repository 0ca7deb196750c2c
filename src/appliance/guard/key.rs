//! The key that Dovecot's reports carry, so that nobody else on the machine can
//! have an address banned. New at each boot; both sides read it as they start.

use crate::appliance::machine::accounts::owner;
use crate::appliance::machine::files::{
    SECRET, ensure_file, ensure_folder, read_optional, write_file,
};
use crate::appliance::machine::place::{self, Place};
use anyhow::{Context, Result};
use rand::RngExt;

/// The guard's group reads the key.
const KEY_MODE: u32 = 0o640;

/// Writes the key for both sides where it is missing.
pub fn ensure_key(place: &Place) -> Result<()> {
    let path = place.path(place::GUARD_KEY);
    let configuration = place.path(place::GUARD_CONFIGURATION);
    let key = match read_optional(&path)? {
        Some(key) => String::from_utf8(key).context("reading the guard's key")?,
        None => random_hex(),
    };
    let group = owner(place, "root", "mailimg-guard")?;
    ensure_file(&path, key.as_bytes(), KEY_MODE, group)?;
    let line = format!("auth_policy_server_api_header = {key}\n");
    let written = read_optional(&configuration)?.unwrap_or_default();
    if written.starts_with(line.as_bytes()) {
        return Ok(());
    }
    let folder = configuration.parent().context("a file without a folder")?;
    ensure_folder(folder, 0o755, None)?;
    // Salts the hashes of passwords, so that the same one looks different at the next boot.
    let text = format!("{line}auth_policy_hash_nonce = {}\n", random_hex());
    write_file(
        &configuration,
        text.as_bytes(),
        SECRET,
        owner(place, "root", "root")?,
    )
}

/// A secret of 128 bits.
pub fn random_hex() -> String {
    let mut bytes = [0; 16];
    rand::rng().fill(&mut bytes);
    hex::encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::ensure_key;
    use crate::appliance::machine::place::Place;

    #[test]
    fn made_once() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run/mailimg");
        std::fs::create_dir_all(&run).unwrap();
        let place = Place::new(Some(folder.path()));
        let read = || {
            ensure_key(&place).unwrap();
            let key = std::fs::read_to_string(run.join("guard-key")).unwrap();
            let text = std::fs::read_to_string(run.join("dovecot/guard.conf")).unwrap();
            (key, text)
        };
        let (key, text) = read();
        assert_eq!(key.len(), 32);
        assert!(text.contains(&key) && text.contains("\nauth_policy_hash_nonce = "));
        assert_eq!(read(), (key.clone(), text));
        std::fs::remove_file(run.join("dovecot/guard.conf")).unwrap();
        assert_eq!(read().0, key);
    }
}
