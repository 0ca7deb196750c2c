//! User-data on a disk that the cloud attached.
//!
//! OpenStack's config drive (<https://docs.openstack.org/nova/latest/user/metadata.html#config-drives>,
//! DigitalOcean's and others' too) and cloud-init's NoCloud
//! (<https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html>,
//! Proxmox's and libvirt's) are found by their file system's label, as udev
//! links it. Only the kernel's drivers read the file system, in a mount
//! namespace of the unit's own; no link on it is followed, and nothing but a
//! regular file is read.

use crate::appliance::machine::files::ensure_folder;
use crate::appliance::machine::folder::Folder;
use crate::appliance::machine::place::Place;
use crate::appliance::machine::program::run_program;
use crate::settings::MAXIMUM_BYTES;
use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Where udev links file systems by their label (60-persistent-storage.rules).
const LABELS: &str = "/dev/disk/by-label";
/// Where a drive is mounted while it is read.
const MOUNT: &str = "/run/mailimg/config-drive";
/// What these drives are formatted with, and options of each driver.
const TYPES: [(&str, &std::ffi::CStr); 2] = [("iso9660", c""), ("vfat", c"umask=0077")];
/// Labels, and the file on such a drive.
const DRIVES: [(&str, &str); 4] = [
    ("config-2", "openstack/latest/user_data"),
    ("CONFIG-2", "openstack/latest/user_data"),
    ("cidata", "user-data"),
    ("CIDATA", "user-data"),
];

/// User-data, and the label of the drive that it was on.
pub struct UserDataFile {
    /// The label.
    pub label: &'static str,
    /// The file.
    pub bytes: Vec<u8>,
}

/// Reads the user-data of every drive that has any, in the order in which they count.
pub fn read_drives(place: &Place) -> Vec<Result<UserDataFile>> {
    if place.is_machine() {
        // The boot has not waited for disks that it does not need. A time-out only means
        // that something else is slow.
        let _ = run_program("/usr/bin/udevadm", &["settle", "--timeout=5"]);
    }
    DRIVES
        .into_iter()
        .filter_map(|(label, path)| {
            let device = place.path(format!("{LABELS}/{label}"));
            if !device.exists() {
                return None;
            }
            read_drive(place, &device, path)
                .with_context(|| format!("reading the drive labelled {label}"))
                .map(|bytes| bytes.map(|bytes| UserDataFile { label, bytes }))
                .transpose()
        })
        .collect()
}

fn read_drive(place: &Place, device: &Path, path: &str) -> Result<Option<Vec<u8>>> {
    if device.is_dir() {
        // A folder stands for a drive in a machine that is one itself.
        return read_file(device, path);
    }
    let mounted = Mounted::new(device, &place.path(MOUNT))?;
    read_file(&mounted.0, path)
}

/// A mounted drive, unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(device: &Path, folder: &Path) -> Result<Self> {
        ensure_folder(folder, 0o700, None)?;
        let flags = MountFlags::RDONLY
            | MountFlags::NOSUID
            | MountFlags::NODEV
            | MountFlags::NOEXEC
            | MountFlags::NOSYMFOLLOW;
        let mut failed = Errno::INVAL;
        for (kind, options) in TYPES {
            match mount(device, folder, kind, flags, options) {
                Ok(()) => return Ok(Self(folder.to_path_buf())),
                Err(error) => failed = error,
            }
        }
        Err(failed).with_context(|| format!("mounting {} as ISO 9660 and as FAT", device.display()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::empty());
    }
}

/// A regular file below a folder, reached without any link; `None` when it is absent.
fn read_file(folder: &Path, path: &str) -> Result<Option<Vec<u8>>> {
    let reading = || format!("reading {path}");
    let opened = Folder::of(&folder.join(path)).and_then(|(folder, name)| folder.file(name));
    let file = match opened {
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
            return Ok(None);
        }
        opened => opened.with_context(reading)?,
    };
    let mut bytes = Vec::new();
    file.take(MAXIMUM_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(reading)?;
    if bytes.len() > MAXIMUM_BYTES {
        bail!("{}: it has more than {MAXIMUM_BYTES} bytes", reading());
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::{read_drives, read_file};
    use crate::appliance::machine::place::Place;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_and_other_things_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert_eq!(read_file(folder.path(), "user-data").unwrap(), None);
        std::fs::write(at("secret"), "x").unwrap();
        symlink("secret", at("link")).unwrap();
        symlink(".", at("folder")).unwrap();
        std::fs::write(at("large"), vec![b'#'; 64 * 1024 + 1]).unwrap();
        for name in ["link", ".", "large", "folder/secret"] {
            assert!(read_file(folder.path(), name).is_err(), "{name}");
        }
        assert_eq!(read_file(folder.path(), "secret").unwrap().unwrap(), b"x");
        assert_eq!(read_file(folder.path(), "secret/x").unwrap(), None);
    }

    #[test]
    fn drives_by_their_labels() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        assert!(read_drives(&place).is_empty());
        let config = place.path("/dev/disk/by-label/config-2/openstack/latest");
        let cidata = place.path("/dev/disk/by-label/cidata");
        std::fs::create_dir_all(&config).unwrap();
        std::fs::create_dir_all(&cidata).unwrap();
        std::fs::write(config.join("user_data"), " \n").unwrap();
        std::fs::write(cidata.join("user-data"), "DOMAIN=a.example\n").unwrap();
        let found: Vec<_> = read_drives(&place)
            .into_iter()
            .map(|found| found.map(|found| (found.label, found.bytes)).unwrap())
            .collect();
        assert_eq!(
            found,
            [
                ("config-2", b" \n".to_vec()),
                ("cidata", b"DOMAIN=a.example\n".to_vec())
            ]
        );
    }
}
