//! What a host gets before its first start, as plain data: Ignition and Butane say the same.

use super::deployment::{Archive, DataDisk, Deployment, ImageSource};
use super::quadlet::{ARCHIVE_PATH, DATA_LABEL, QUADLET_FOLDER, SETTINGS_FOLDER, quadlet_files};
use crate::settings::{Authority, SshKey};

/// Mode of what everybody may read.
const PUBLIC_MODE: u32 = 0o644;
/// Mode of settings, and of the folder around them.
const SETTINGS_MODE: u32 = 0o600;
const SETTINGS_FOLDER_MODE: u32 = 0o700;
/// Left for the system of a host that shares its disk: two versions of its own system, two
/// images and the archive.
const ROOT_MIB: i64 = 10 * 1024;
/// Which partition of Fedora CoreOS its root is.
const ROOT_NUMBER: i64 = 4;

/// Settings that travel with it.
#[derive(Clone, Copy, Debug)]
pub struct HostSettings<'build> {
    /// The text of settings.env.
    pub text: &'build [u8],
    /// The root certificate that it names.
    pub authority: Option<&'build Authority>,
    /// Who may log in: as root to the mail server, as `core` to the host.
    pub keys: &'build [SshKey],
}

/// What a host gets.
#[derive(Clone, Debug)]
pub struct Host {
    /// Keys of the account `core`.
    pub ssh_keys: Vec<String>,
    /// Folders, each with its mode.
    pub directories: Vec<(String, u32)>,
    /// Files.
    pub files: Vec<HostFile>,
    /// The partition for `/var` of the container.
    pub data: Option<DataPartition>,
    /// Units of the host that are switched on: name, and what changes them.
    pub units: Vec<(String, String)>,
}

/// A file of the host.
#[derive(Clone, Debug)]
pub struct HostFile {
    /// Its path.
    pub path: String,
    /// Its mode.
    pub mode: u32,
    /// What is in it.
    pub content: Content,
}

/// What is in a file.
#[derive(Clone, Debug)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// What lies at an address, when it has this SHA-512.
    Fetched {
        /// The address.
        url: String,
        /// The digest, in hexadecimal.
        sha512: String,
    },
}

/// A partition, and what is on its disk before it.
#[derive(Clone, Debug)]
pub struct DataPartition {
    /// The disk.
    pub device: String,
    /// Label of the root before it, with number and size in MiB, if it is on this disk.
    pub root: Option<(&'static str, i64, i64)>,
    /// Its label.
    pub label: &'static str,
    /// Options of mkfs: as many inodes as a mail server's own disk has.
    pub options: [&'static str; 2],
}

impl Host {
    /// All that a host needs to run a deployment.
    pub fn new(deployment: &Deployment, settings: Option<HostSettings<'_>>) -> Self {
        let mut files = Vec::new();
        for (name, text) in quadlet_files(deployment) {
            files.push(text_file(format!("{QUADLET_FOLDER}/{name}"), text));
        }
        let zincati = deployment.window.zincati();
        files.push(text_file(
            "/etc/zincati/config.d/55-mailimg.toml".to_owned(),
            zincati,
        ));
        let mut keys = Vec::new();
        if let Some(settings) = settings {
            files.extend(settings_files(&settings));
            keys.extend(settings.keys.iter().map(|key| key.0.clone()));
        }
        let mut units = Vec::new();
        match &deployment.image {
            ImageSource::Archive(archive) => files.extend(fetched(archive)),
            ImageSource::Registry(reference) if reference.digest.is_none() => {
                let timer = deployment.window.timer();
                units.push(("podman-auto-update.timer".to_owned(), timer));
            }
            ImageSource::Registry(_) => {}
        }
        Self {
            ssh_keys: keys,
            directories: vec![(SETTINGS_FOLDER.to_owned(), SETTINGS_FOLDER_MODE)],
            files,
            data: deployment.data_disk.as_ref().map(data_partition),
            units,
        }
    }
}

fn text_file(path: String, text: String) -> HostFile {
    HostFile {
        path,
        mode: PUBLIC_MODE,
        content: Content::Bytes(text.into_bytes()),
    }
}

fn settings_files(settings: &HostSettings<'_>) -> impl Iterator<Item = HostFile> {
    let file = |name: &str, bytes: &[u8]| HostFile {
        path: format!("{SETTINGS_FOLDER}/{name}"),
        mode: SETTINGS_MODE,
        content: Content::Bytes(bytes.to_vec()),
    };
    let text = file("settings.env", settings.text);
    let authority = settings.authority;
    let authority = authority.map(|authority| file(&authority.name, &authority.bytes));
    std::iter::once(text).chain(authority)
}

fn fetched(archive: &Archive) -> Option<HostFile> {
    let url = archive.url.clone()?;
    Some(HostFile {
        path: ARCHIVE_PATH.to_owned(),
        mode: PUBLIC_MODE,
        content: Content::Fetched {
            url,
            sha512: archive.sha512.clone(),
        },
    })
}

fn data_partition(disk: &DataDisk) -> DataPartition {
    let shared = disk.path() == DataDisk::BOOT_DISK;
    DataPartition {
        device: disk.path().to_owned(),
        root: shared.then_some(("root", ROOT_NUMBER, ROOT_MIB)),
        label: DATA_LABEL,
        options: ["-i", "8192"],
    }
}
