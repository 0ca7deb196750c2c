//! What a host is to run, and where its image comes from.

use anyhow::{Context, Result, anyhow};

use super::window::Window;
use crate::error::{Hint, hinted};
use crate::format::oci::{Reference, parse_reference};

/// What a host is to run.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Where the image comes from.
    pub image: ImageSource,
    /// When the host may restart.
    pub window: Window,
    /// The disk that gets a partition for `/var` of the container; without one it is a
    /// folder of podman's.
    pub data_disk: Option<DataDisk>,
}

/// Where the image comes from.
#[derive(Clone, Debug)]
pub enum ImageSource {
    /// A registry: the digest stays, the tag is followed.
    Registry(Reference),
    /// An archive that the host has.
    Archive(Archive),
}

/// An OCI archive, known by its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Where the host fetches it from, if it does so by itself.
    pub url: Option<String>,
    /// Digest of the whole file, in hexadecimal.
    pub sha512: String,
    /// What podman calls the image in it: the digest of its configuration, in hexadecimal.
    pub image_id: String,
}

/// A disk, by a path that stays the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDisk(String);

impl DataDisk {
    /// Where Fedora CoreOS has the disk that it started from.
    pub const BOOT_DISK: &str = "/dev/disk/by-id/coreos-boot-disk";

    /// Checks a path of a device.
    pub fn parse(path: &str) -> Result<Self> {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
        let name = path.strip_prefix("/dev/").unwrap_or_default();
        let steps = name.split('/');
        if name.bytes().all(inside) && steps.clone().all(|step| !["", ".", ".."].contains(&step)) {
            return Ok(Self(path.to_owned()));
        }
        Err(hinted(
            format!("'{path}' is no disk"),
            format!(
                "name a disk of the host such as /dev/vdb, or {} for the one it starts from",
                Self::BOOT_DISK
            ),
        ))
    }

    /// The path.
    pub fn path(&self) -> &str {
        &self.0
    }
}

impl ImageSource {
    /// Takes a reference that says which image to run: by digest or by tag, never by both.
    pub fn parse_registry(text: &str) -> Result<Self> {
        let reference = parse_reference(text)?;
        let hint = match (&reference.tag, &reference.digest) {
            (Some(_), None) | (None, Some(_)) => return Ok(Self::Registry(reference)),
            (None, None) => {
                "add a tag that the host follows, such as :stable, or @sha256:DIGEST of the image \
                 that it stays on"
            }
            (Some(_), Some(_)) => {
                "leave out the digest for a host that follows the tag, or the tag for one that \
                 stays on the digest"
            }
        };
        let what = if reference.tag.is_some() {
            "both a tag and a digest"
        } else {
            "neither a tag nor a digest"
        };
        Err(hinted(format!("'{text}' has {what}"), hint))
    }
}

/// Checks an address that hosts fetch an archive from.
pub fn check_url(text: &str) -> Result<()> {
    let address = text
        .parse::<http::Uri>()
        .map_err(|error| anyhow!("{error}"))
        .and_then(|address| {
            let scheme = address.scheme_str().unwrap_or_default();
            let host = address.host().unwrap_or_default();
            let authority = address
                .authority()
                .map_or("", |authority| authority.as_str());
            if !["http", "https"].contains(&scheme) {
                return Err(anyhow!("it does not begin with https:// or http://"));
            }
            if host.is_empty() || text.contains('#') || authority.contains('@') {
                return Err(anyhow!("it names no file on a web server"));
            }
            Ok(())
        });
    address
        .with_context(|| format!("'{text}' is no address of an archive"))
        .hint("name one such as https://files.example.org/mail.oci.tar")
}

#[cfg(test)]
mod tests {
    use super::{DataDisk, ImageSource, check_url};
    use crate::error::render;

    #[test]
    fn an_image_is_named_by_tag_or_by_digest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let parse = |text: &str| ImageSource::parse_registry(text).map_err(|error| render(&error));
        assert!(parse("a.example/mail:stable").is_ok());
        assert!(parse(&format!("a.example/mail@{digest}")).is_ok());
        let error = parse("a.example/mail").unwrap_err();
        assert!(
            error.contains("has neither a tag nor a digest\nhint: add a tag"),
            "{error}"
        );
        let error = parse(&format!("a.example/mail:stable@{digest}")).unwrap_err();
        assert!(
            error.contains("has both a tag and a digest\nhint: leave out"),
            "{error}"
        );
    }

    #[test]
    fn addresses_are_those_of_web_servers() {
        for good in [
            "https://a.example/mail.oci.tar",
            "http://192.0.2.1:8080/a%20b?c=d",
            "https://[2001:db8::1]/x",
        ] {
            check_url(good).unwrap();
        }
        for bad in [
            "",
            "mail.oci.tar",
            "/mail.oci.tar",
            "a.example/mail.oci.tar",
            "ftp://a.example/mail.oci.tar",
            "file:///mail.oci.tar",
            "https://",
            "https:///mail.oci.tar",
            "https://a.example/a b",
            "https://a.example/a\nb",
            "https://a.example/a#b",
            "https://user:secret@a.example/a",
        ] {
            let error = render(&check_url(bad).unwrap_err());
            assert!(
                error.starts_with(&format!("error: '{bad}' is no address")),
                "{error}"
            );
        }
    }

    #[test]
    fn disks_are_paths_of_devices() {
        for good in [
            "/dev/vdb",
            DataDisk::BOOT_DISK,
            "/dev/disk/by-path/pci-0000:00:1f.2-ata-1",
        ] {
            assert_eq!(DataDisk::parse(good).unwrap().path(), good);
        }
        for bad in [
            "",
            "vdb",
            "/dev/",
            "/dev//vdb",
            "/dev/../etc",
            "/dev/v db",
            "/dev/%n",
        ] {
            let error = render(&DataDisk::parse(bad).unwrap_err());
            assert!(error.contains("is no disk\nhint: "), "{error}");
        }
    }
}
