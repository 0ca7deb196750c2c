//! The container as a service of its host: files that podman's generator makes units of.
//!
//! Quadlet, <https://docs.podman.io/en/stable/markdown/podman-systemd.unit.5.html>, as podman
//! 5 reads it, and rootful: ports below 1024, clients' own addresses and bans need it. The
//! image brings its signal to stop and its `/sbin/init`. Left out: a health check that
//! restarts, since mail that waits is better than mail that is cut off.

use std::fs::File;

use anyhow::Result;

use super::deployment::{Deployment, ImageSource};

/// Where a host's own files for Quadlet lie.
pub const QUADLET_FOLDER: &str = "/etc/containers/systemd";
/// Where a host keeps the settings; the container sees the folder as `/run/secrets`.
pub const SETTINGS_FOLDER: &str = "/etc/mailimg";
/// Where a host keeps the archive when there is no registry.
pub const ARCHIVE_PATH: &str = "/var/lib/mailimg/mail.oci.tar";
/// Label of the partition for `/var` of the container.
pub const DATA_LABEL: &str = "mail";
/// What is on that partition.
pub const DATA_FORMAT: &str = "ext4";

/// The files' names and texts.
pub fn quadlet_files(deployment: &Deployment) -> [(&'static str, String); 2] {
    [
        ("mail.container", container(deployment)),
        ("mail.volume", volume(deployment)),
    ]
}

/// Writes both as an archive that is unpacked in their folder.
pub fn write_quadlet(deployment: &Deployment, file: &File) -> Result<()> {
    let mut archive = tar::Builder::new(file);
    for (name, text) in quadlet_files(deployment) {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, name, text.as_bytes())?;
    }
    archive.finish()?;
    Ok(())
}

fn container(deployment: &Deployment) -> String {
    let data = match deployment.data_disk {
        None => String::new(),
        Some(_) => format!(
            "# No mail is taken until its partition is there and sound.\n\
             Requires=systemd-fsck@dev-disk-by\\x2dpartlabel-{DATA_LABEL}.service\n\
             After=systemd-fsck@dev-disk-by\\x2dpartlabel-{DATA_LABEL}.service\n"
        ),
    };
    let (image, before) = image(&deployment.image);
    format!(
        "\
# The mail server as a service of this host, by podman 5 or newer.
[Unit]
Description=Mail server in a container
{data}
[Container]
ContainerName=mail
{image}
# Clients' own addresses, for bans and for what mail says of where it came from.
Network=host
# Its own packet filter, which bans.
AddCapability=NET_ADMIN
# Its init is systemd.
PodmanArgs=--systemd=always
# Its own resolver validates; names of this host are no business of its.
DNS=none
PodmanArgs=--no-hosts
# Each of its services has a limit of its own.
PidsLimit=-1
# Mail, accounts, keys, certificates.
Volume=mail.volume:/var
# The log, which podman would keep in memory.
Volume=mail-journal:/var/log/journal
# settings.env lies in this folder, which no other container may read.
Volume={SETTINGS_FOLDER}:/run/secrets:ro,Z
# Logs in as a client would. A first start makes keys, which takes minutes, and before it
# has found its settings nothing serves.
HealthCmd=[\"/usr/bin/mailctl\",\"health\",\"--timeout\",\"5\",\"--settings-needed\"]
HealthInterval=1m
HealthTimeout=45s
HealthRetries=3
HealthStartPeriod=30m
# Started is what takes mail; so an automatic update that does not is taken back.
Notify=healthy
# What is being delivered may end.
StopTimeout=120

[Service]
# {SETTINGS_FOLDER} is there also before there are settings.
ConfigurationDirectory=mailimg
ConfigurationDirectoryMode=0700
# The container cannot load what its packet filter needs.
ExecStartPre=-modprobe --all nf_tables nf_conntrack
{before}Restart=always
RestartSec=10
# To fetch the image, and the start period.
TimeoutStartSec=45min
TimeoutStopSec=150

[Install]
WantedBy=multi-user.target
"
    )
}

/// Lines that name the image, and those of the service that see to it before.
fn image(source: &ImageSource) -> (String, String) {
    match source {
        ImageSource::Registry(reference) if reference.digest.is_some() => {
            (format!("Image={reference}"), String::new())
        }
        ImageSource::Registry(reference) => (
            format!(
                "Image={reference}\n\
                 # podman-auto-update.timer takes what the tag names by then.\n\
                 AutoUpdate=registry"
            ),
            String::new(),
        ),
        ImageSource::Archive(archive) => {
            let id = &archive.image_id;
            (
                format!("# The one image of {ARCHIVE_PATH}.\nImage={id}\nPull=never"),
                format!(
                    "ExecStartPre=/bin/sh -c 'podman image exists {id} || \
                     podman pull --quiet oci-archive:{ARCHIVE_PATH}'\n"
                ),
            )
        }
    }
}

fn volume(deployment: &Deployment) -> String {
    let device = match deployment.data_disk {
        None => String::new(),
        // The context lets a container read it where SELinux is on, and is dropped elsewhere.
        Some(_) => format!(
            "Device=/dev/disk/by-partlabel/{DATA_LABEL}\nType={DATA_FORMAT}\n\
             Options=noatime,nodev,nosuid,noexec,\
             context=system_u:object_r:container_file_t:s0\n"
        ),
    };
    format!(
        "\
# All that a mail server keeps: it outlives containers and images.
[Unit]
Description=Data of the mail server

[Volume]
VolumeName=mail
{device}"
    )
}
