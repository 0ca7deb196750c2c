//! Credentials for the machine's systemd, handed over out of sight.
//!
//! systemd reads strings of SMBIOS type 11 that begin with
//! `io.systemd.credential.binary:` (smbios-type-11(7),
//! <https://www.freedesktop.org/software/systemd/man/latest/smbios-type-11.html>).
//! QEMU takes each string from a file, so nothing shows in `ps`. The guest
//! needs the kernel module `dmi-sysfs`.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::qemu::path_option;

/// Name of the credential with the settings.
pub const SETTINGS_NAME: &str = "settings.env";

/// Name of the credential with the root certificate of a private authority.
pub const AUTHORITY_NAME: &str = "private-ca.pem";

/// Largest sum of credentials, in bytes: the SMBIOS table has a 16-bit length and
/// holds Base64 and the machine's own entries beside it.
pub const CREDENTIAL_BYTES_MAX: usize = 32 * 1024;

/// A credential for the machine.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    name: String,
    value: Vec<u8>,
}

impl std::fmt::Debug for Credential {
    /// Leaves the value out: it may hold passwords.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Credential")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Credential {
    /// Names a value as systemd's services ask for it.
    pub fn new(name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }

    /// What services ask for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What they get.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    fn smbios_string(&self) -> String {
        format!(
            "io.systemd.credential.binary:{}={}",
            self.name,
            STANDARD.encode(&self.value)
        )
    }
}

/// Writes the credentials into the folder, readable by their owner only, and
/// returns QEMU's options.
pub fn write_credentials(folder: &Path, credentials: &[Credential]) -> Result<Vec<String>> {
    let mut arguments = Vec::new();
    for credential in credentials {
        let path = folder.join(format!("credential-{}", credential.name));
        let written = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(credential.smbios_string().as_bytes()));
        written.with_context(|| format!("writing credential {}", path.display()))?;
        arguments.push("-smbios".to_owned());
        arguments.push(format!("type=11,{}", path_option("path", &path)));
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::{Credential, write_credentials};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn secrets_are_in_a_private_file_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let credential = Credential::new(
            "settings.env",
            "DOMAIN=a.example\nRELAYHOST_PASSWORD=s,e=cret\n",
        );
        let arguments =
            write_credentials(folder.path(), std::slice::from_ref(&credential)).unwrap();
        let path = folder.path().join("credential-settings.env");
        assert_eq!(
            arguments,
            ["-smbios", &format!("type=11,path={}", path.display())]
        );
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "io.systemd.credential.binary:settings.env=\
             RE9NQUlOPWEuZXhhbXBsZQpSRUxBWUhPU1RfUEFTU1dPUkQ9cyxlPWNyZXQK"
        );
        assert!(!format!("{credential:?}").contains("DOMAIN"));
    }
}
