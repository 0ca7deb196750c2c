//! A host as an Ignition config, version 3.3.0
//! (<https://coreos.github.io/ignition/configuration-v3_3/>), which is JSON.
//!
//! Fedora CoreOS has read this version since 2021. Partitions and file systems that are there
//! already, with these labels, are taken as they are: a host made anew keeps its mail.

use anyhow::{Context, Result};
use ignition_config::v3_3::{
    Config, Directory, Disk, Dropin, File, Filesystem, Partition, Passwd, Resource, Storage,
    Systemd, Unit, User, Verification,
};
use serde_json::Value;

use super::host::{Content, DataPartition, Host, HostFile};
use super::quadlet::DATA_FORMAT;

/// Who logs in to a host.
pub(super) const HOST_USER: &str = "core";
/// The name of what changes a unit of the host.
pub(super) const DROP_IN: &str = "10-mailimg.conf";

/// The config as text.
pub fn ignition_config(host: &Host) -> Result<String> {
    let (disks, filesystems) = host.data.as_ref().map(disk).unzip();
    let config = Config {
        passwd: passwd(host),
        storage: Some(Storage {
            directories: Some(host.directories.iter().map(directory).collect()),
            disks: disks.map(|disk| vec![disk]),
            files: Some(host.files.iter().map(file).collect()),
            filesystems: filesystems.map(|filesystem| vec![filesystem]),
            ..Storage::default()
        }),
        systemd: systemd(host),
        ..Config::default()
    };
    let mut value = serde_json::to_value(config).context("writing the Ignition config")?;
    strip_nulls(&mut value);
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}

/// Takes out what the structures say of keys that are not set.
fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            entries.retain(|_, value| !value.is_null());
            entries.values_mut().for_each(strip_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

fn passwd(host: &Host) -> Option<Passwd> {
    let mut user = User::new(HOST_USER.to_owned());
    user.ssh_authorized_keys = Some(host.ssh_keys.clone());
    (!host.ssh_keys.is_empty()).then(|| Passwd {
        users: Some(vec![user]),
        ..Passwd::default()
    })
}

fn systemd(host: &Host) -> Option<Systemd> {
    let unit = |(name, change): &(String, String)| {
        let mut drop_in = Dropin::new(DROP_IN.to_owned());
        drop_in.contents = Some(change.clone());
        let mut unit = Unit::new(name.clone());
        unit.enabled = Some(true);
        unit.dropins = Some(vec![drop_in]);
        unit
    };
    (!host.units.is_empty()).then(|| Systemd {
        units: Some(host.units.iter().map(unit).collect()),
    })
}

fn directory((path, mode): &(String, u32)) -> Directory {
    let mut directory = Directory::new(path.clone());
    directory.mode = Some(i64::from(*mode));
    directory
}

fn file(file: &HostFile) -> File {
    let mut written = File::new(file.path.clone());
    written.mode = Some(i64::from(file.mode));
    written.overwrite = Some(true);
    written.contents = Some(match &file.content {
        Content::Bytes(bytes) => Resource {
            source: Some(data_url(bytes)),
            ..Resource::default()
        },
        Content::Fetched { url, sha512 } => Resource {
            source: Some(url.clone()),
            verification: Some(Verification {
                hash: Some(format!("sha512-{sha512}")),
            }),
            ..Resource::default()
        },
    });
    written
}

fn disk(data: &DataPartition) -> (Disk, Filesystem) {
    let root = data.root.map(|(label, number, size)| Partition {
        label: Some(label.to_owned()),
        number: Some(number),
        size_mib: Some(size),
        resize: Some(true),
        ..Partition::default()
    });
    let own = Partition {
        label: Some(data.label.to_owned()),
        // The next number that is free, and all that is left.
        number: Some(0),
        size_mib: Some(0),
        ..Partition::default()
    };
    let mut disk = Disk::new(data.device.clone());
    disk.wipe_table = Some(false);
    disk.partitions = Some(root.into_iter().chain([own]).collect());
    let mut filesystem = Filesystem::new(format!("/dev/disk/by-partlabel/{}", data.label));
    filesystem.format = Some(DATA_FORMAT.to_owned());
    filesystem.label = Some(data.label.to_owned());
    filesystem.wipe_filesystem = Some(false);
    filesystem.options = Some(data.options.map(str::to_owned).to_vec());
    (disk, filesystem)
}

/// Bytes as an address that holds them: RFC 2397, <https://www.rfc-editor.org/rfc/rfc2397>.
pub(super) fn data_url(bytes: &[u8]) -> String {
    let mut url = String::from("data:,");
    for byte in bytes {
        // What needs no escape anywhere: RFC 3986, section 2.3.
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                url.push(char::from(*byte));
            }
            byte => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::{data_url, strip_nulls};
    use serde_json::json;

    #[test]
    fn keys_that_are_not_set_are_not_written() {
        let mut value = json!({"a": null, "b": [{"c": null, "d": false}], "e": {"f": null}});
        strip_nulls(&mut value);
        assert_eq!(value, json!({"b": [{"d": false}], "e": {}}));
    }

    #[test]
    fn an_address_holds_any_bytes() {
        assert_eq!(data_url(b""), "data:,");
        assert_eq!(data_url(b"a=b c\n%\xff~"), "data:,a%3Db%20c%0A%25%FF~");
    }
}
