//! The account that the health gate logs in with.
//!
//! Made anew at each boot below /run, known to nobody, and good over loopback
//! only. Its hash is salted SHA-512 and not Argon2id: the password is 128
//! random bits, which no speed of guessing reaches, and the gate must not cost
//! a slow machine seconds of hashing. Format:
//! <https://doc.dovecot.org/2.4.1/core/config/auth/databases/passwd_file.html>,
//! `{SSHA512}` is base64 of the digest of password and salt, and the salt.

use crate::appliance::machine::accounts::{find_account, owner};
use crate::appliance::machine::files::{
    SECRET, ensure_file, ensure_folder, read_optional, write_file,
};
use crate::appliance::machine::place::{self, Place};
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt;
use sha2::{Digest, Sha512};
use std::path::PathBuf;

/// The account's name; no served domain is called so.
pub const PROBE_NAME: &str = "probe@localhost";
/// Group `dovecot` reads the hash.
const HASH_MODE: u32 = 0o640;
/// Where logins may come from: Dovecot's `allow_nets`.
const NETWORKS: &str = "127.0.0.0/8,::1/128";

fn file(place: &Place, name: &str) -> PathBuf {
    place.path(place::PROBE).join(name)
}

/// Makes the account, unless this boot has it already.
pub fn ensure_probe(place: &Place) -> Result<()> {
    ensure_folder(&place.path(place::PROBE), 0o755, None)?;
    ensure_folder(&file(place, "home"), 0o700, owner(place, "vmail", "vmail")?)?;
    let group = owner(place, "root", "dovecot")?;
    if let (Some(users), Some(_)) = (
        read_optional(&file(place, "users"))?,
        read_optional(&file(place, "password"))?,
    ) {
        return ensure_file(&file(place, "users"), &users, HASH_MODE, group).map(|_| ());
    }
    let mut random = [0; 24];
    rand::rng().fill(&mut random);
    let (password, salt) = random.split_at(16);
    let password = hex::encode(password);
    let digest = Sha512::new()
        .chain_update(&password)
        .chain_update(salt)
        .finalize();
    let hash = STANDARD.encode([&digest[..], salt].concat());
    let vmail = find_account(place, "vmail")?;
    let line = format!(
        "{PROBE_NAME}:{{SSHA512}}{hash}:{}:{}::{}/home::allow_nets={NETWORKS}\n",
        vmail.user,
        vmail.group,
        place::PROBE
    );
    write_file(&file(place, "password"), password.as_bytes(), SECRET, None)?;
    write_file(&file(place, "users"), line.as_bytes(), HASH_MODE, group)
}

/// The password of this boot.
pub fn load_password(place: &Place) -> Result<String> {
    let path = file(place, "password");
    std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{ensure_probe, load_password};
    use crate::appliance::machine::place::Place;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use sha2::{Digest, Sha512};

    #[test]
    fn made_once_with_a_hash_that_fits() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("etc")).unwrap();
        let table = "vmail:x:950:951::/var/vmail:/usr/sbin/nologin\n";
        std::fs::write(folder.path().join("etc/passwd"), table).unwrap();
        let place = Place::new(Some(folder.path()));
        ensure_probe(&place).unwrap();
        let line = std::fs::read_to_string(folder.path().join("run/mailimg/probe/users")).unwrap();
        let password = load_password(&place).unwrap();
        let (head, rest) = line.split_once("{SSHA512}").unwrap();
        let (hash, rest) = rest.split_once(':').unwrap();
        assert_eq!(head, "probe@localhost:");
        assert_eq!(
            rest,
            "950:951::/run/mailimg/probe/home::allow_nets=127.0.0.0/8,::1/128\n"
        );
        let bytes = STANDARD.decode(hash).unwrap();
        let digest = Sha512::digest([password.as_bytes(), &bytes[64..]].concat());
        assert_eq!(bytes[..64], digest[..]);
        ensure_probe(&place).unwrap();
        assert_eq!(load_password(&place).unwrap(), password);
    }
}
