//! A host as a Butane config for people who edit: variant fcos, version 1.4.0
//! (<https://coreos.github.io/butane/config-fcos-v1_4/>), which is YAML.
//!
//! `butane` makes an Ignition config of it that says the same as ours.

use super::config::{DROP_IN, HOST_USER, data_url};
use super::host::{Content, DataPartition, Host, HostFile};
use super::quadlet::DATA_FORMAT;
use crate::builder::write::yaml::Yaml;

/// What the text begins with.
const HEAD: &str = "# `butane FILE` makes the Ignition config of this.\n";

/// The config as text.
pub fn butane_config(host: &Host) -> String {
    let mut document = vec![
        ("variant", Yaml::text("fcos")),
        ("version", Yaml::text("1.4.0")),
    ];
    if !host.ssh_keys.is_empty() {
        let keys = Yaml::texts(host.ssh_keys.iter().map(String::as_str));
        let user = [
            ("name", Yaml::text(HOST_USER)),
            ("ssh_authorized_keys", keys),
        ];
        let users = Yaml::List(vec![Yaml::map(user)]);
        document.push(("passwd", Yaml::map([("users", users)])));
    }
    document.push(("storage", storage(host)));
    if !host.units.is_empty() {
        let units = Yaml::List(host.units.iter().map(unit).collect());
        document.push(("systemd", Yaml::map([("units", units)])));
    }
    HEAD.to_owned() + &Yaml::map(document).to_document()
}

fn storage(host: &Host) -> Yaml {
    let directories = host.directories.iter();
    let directories = directories
        .map(|(path, mode)| Yaml::map([("path", Yaml::text(path)), ("mode", octal(*mode))]));
    let mut storage = Vec::new();
    if let Some(data) = &host.data {
        storage.push(("disks", Yaml::List(vec![disk(data)])));
        storage.push(("filesystems", Yaml::List(vec![filesystem(data)])));
    }
    storage.push(("directories", Yaml::List(directories.collect())));
    storage.push(("files", Yaml::List(host.files.iter().map(file).collect())));
    Yaml::map(storage)
}

fn unit((name, change): &(String, String)) -> Yaml {
    let drop_in = Yaml::map([
        ("name", Yaml::text(DROP_IN)),
        ("contents", Yaml::text(change)),
    ]);
    Yaml::map([
        ("name", Yaml::text(name)),
        ("enabled", plain(true)),
        ("dropins", Yaml::List(vec![drop_in])),
    ])
}

fn file(file: &HostFile) -> Yaml {
    let contents = match &file.content {
        Content::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Yaml::map([("inline", Yaml::text(text))]),
            Err(_) => Yaml::map([("source", Yaml::text(data_url(bytes)))]),
        },
        Content::Fetched { url, sha512 } => {
            let hash = Yaml::text(format!("sha512-{sha512}"));
            Yaml::map([
                ("source", Yaml::text(url)),
                ("verification", Yaml::map([("hash", hash)])),
            ])
        }
    };
    Yaml::map([
        ("path", Yaml::text(&file.path)),
        ("mode", octal(file.mode)),
        ("overwrite", plain(true)),
        ("contents", contents),
    ])
}

fn disk(data: &DataPartition) -> Yaml {
    let root = data.root.map(|(label, number, size)| {
        Yaml::map([
            ("label", Yaml::text(label)),
            ("number", plain(number)),
            ("size_mib", plain(size)),
            ("resize", plain(true)),
        ])
    });
    let own = Yaml::map([
        ("label", Yaml::text(data.label)),
        ("number", plain(0)),
        ("size_mib", plain(0)),
    ]);
    Yaml::map([
        ("device", Yaml::text(&data.device)),
        ("wipe_table", plain(false)),
        (
            "partitions",
            Yaml::List(root.into_iter().chain([own]).collect()),
        ),
    ])
}

fn filesystem(data: &DataPartition) -> Yaml {
    let device = format!("/dev/disk/by-partlabel/{}", data.label);
    Yaml::map([
        ("device", Yaml::text(device)),
        ("format", Yaml::text(DATA_FORMAT)),
        ("label", Yaml::text(data.label)),
        ("wipe_filesystem", plain(false)),
        ("options", Yaml::texts(data.options)),
    ])
}

fn octal(mode: u32) -> Yaml {
    Yaml::Plain(format!("{mode:04o}"))
}

fn plain(value: impl ToString) -> Yaml {
    Yaml::Plain(value.to_string())
}
