//! Passwords: made from the kernel's randomness, stored as Argon2id.
//!
//! Argon2id by RFC 9106 (<https://www.rfc-editor.org/rfc/rfc9106>) in the PHC
//! string form, with Dovecot's scheme in front
//! (<https://doc.dovecot.org/2.4.1/core/config/auth/schemes.html>).

use anyhow::{Context, Result, anyhow, bail};
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use rand::RngExt;

/// 20 of 70 characters are 122 bits.
const GENERATED_LENGTH: usize = 20;
/// Characters that need no quoting in a shell's double quotes, an issue file or an env-file.
const ALPHABET: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789!()*+,-.;=?@_";
/// Dovecot's limit for one line of input is far above; this one stops mistakes.
const PASSWORD_BYTES_MAX: usize = 512;
/// Dovecot's name for what is made here.
const SCHEME: &str = "{ARGON2ID}";

/// Makes a new password.
pub fn generate_password() -> String {
    let mut random = rand::rng();
    (0..GENERATED_LENGTH)
        .map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())]))
        .collect()
}

/// Refuses what no client could send.
pub fn check_password(password: &str) -> Result<()> {
    if password.is_empty() {
        bail!("the password is empty");
    }
    if password.len() > PASSWORD_BYTES_MAX {
        bail!("the password has more than {PASSWORD_BYTES_MAX} bytes");
    }
    if password.chars().any(char::is_control) {
        bail!("the password holds a control character");
    }
    Ok(())
}

/// Hashes a password for Dovecot: `{ARGON2ID}$argon2id$...`.
pub fn hash_password(password: &str) -> Result<String> {
    // OWASP's second choice: 19 MiB and two passes, so that a guest of 512 MiB
    // can check several at once.
    let parameters = Params::new(19 * 1024, 2, 1, None)
        .map_err(|error| anyhow!("{error}"))
        .context("choosing Argon2's cost")?;
    let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
        .hash_password(password.as_bytes())
        .map_err(|error| anyhow!("{error}"))
        .context("hashing the password")?;
    Ok(format!("{SCHEME}{hash}"))
}

/// Whether a hash made here is that of this password.
pub fn is_password(hash: &str, password: &str) -> bool {
    let hash = hash.strip_prefix(SCHEME).unwrap_or(hash);
    PasswordHash::new(hash).is_ok_and(|hash| {
        Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::{check_password, generate_password, hash_password, is_password};

    #[test]
    fn a_hash_knows_its_password() {
        let hash = hash_password("secret").unwrap();
        assert!(is_password(&hash, "secret"));
        for (hash, password) in [(hash.as_str(), "Secret"), ("", "secret"), ("x", "x")] {
            assert!(!is_password(hash, password));
        }
    }

    #[test]
    fn generated_ones_are_long_and_different() {
        let first = generate_password();
        assert_eq!(first.len(), 20);
        assert_ne!(first, generate_password());
        check_password(&first).unwrap();
    }

    #[test]
    fn hashes_name_their_scheme_and_salt() {
        let hash = hash_password("secret").unwrap();
        assert!(
            hash.starts_with("{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert_ne!(hash, hash_password("secret").unwrap());
        assert!(check_password("").is_err() && check_password("a\nb").is_err());
    }
}
