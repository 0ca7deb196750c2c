//! Who runs the machine below this one, as its firmware says.
//!
//! Only a cloud that the firmware names is asked for metadata: on any other
//! network whoever answered at the metadata address would own the machine. The
//! strings are those that the providers' own images look for
//! (<https://docs.cloud-init.io/en/latest/explanation/identification.html>).

use crate::appliance::machine::place::Place;
use std::fmt;
use std::io::Read;

/// Where the kernel shows the firmware's strings.
const DMI: &str = "/sys/class/dmi/id";
/// Far more than a string of SMBIOS that anybody uses.
const FIRMWARE_STRING_BYTES_MAX: u64 = 256;
/// `chassis_asset_tag` of clouds that are OpenStack under another name.
const OPENSTACK_TAGS: [&str; 6] = [
    "OpenStack Nova",
    "OpenStack Compute",
    "OpenTelekomCloud",
    "SAP CCloud VM",
    "HUAWEICLOUD",
    "Samsung Cloud Platform",
];

/// A cloud whose metadata can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Provider {
    /// Akamai, once Linode.
    Akamai,
    /// Amazon EC2.
    Amazon,
    /// DigitalOcean.
    DigitalOcean,
    /// Hetzner Cloud.
    Hetzner,
    /// OpenStack, whoever runs it.
    OpenStack,
    /// Vultr.
    Vultr,
}

impl fmt::Display for Provider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Akamai => "Akamai",
            Self::Amazon => "Amazon EC2",
            Self::DigitalOcean => "DigitalOcean",
            Self::Hetzner => "Hetzner",
            Self::OpenStack => "OpenStack",
            Self::Vultr => "Vultr",
        })
    }
}

/// The cloud that the firmware names.
pub fn find_provider(place: &Place) -> Option<Provider> {
    let read = |name: &str| {
        let mut text = Vec::new();
        std::fs::File::open(place.path(format!("{DMI}/{name}")))
            .and_then(|file| file.take(FIRMWARE_STRING_BYTES_MAX).read_to_end(&mut text))
            .map(|_| String::from_utf8_lossy(&text).trim().to_owned())
            .unwrap_or_default()
    };
    identify(
        &read("sys_vendor"),
        &read("product_name"),
        &read("chassis_asset_tag"),
    )
}

fn identify(vendor: &str, product: &str, tag: &str) -> Option<Provider> {
    match vendor {
        "Akamai" | "Linode" => return Some(Provider::Akamai),
        "Amazon EC2" => return Some(Provider::Amazon),
        "DigitalOcean" => return Some(Provider::DigitalOcean),
        "Hetzner" => return Some(Provider::Hetzner),
        "Vultr" => return Some(Provider::Vultr),
        _ => {}
    }
    let openstack =
        matches!(product, "OpenStack Nova" | "OpenStack Compute") || OPENSTACK_TAGS.contains(&tag);
    openstack.then_some(Provider::OpenStack)
}

#[cfg(test)]
mod tests {
    use super::{Provider, find_provider, identify};
    use crate::appliance::machine::place::Place;

    #[test]
    fn clouds_by_their_firmware() {
        assert_eq!(identify("Hetzner", "vServer", ""), Some(Provider::Hetzner));
        assert_eq!(identify("Linode", "", ""), Some(Provider::Akamai));
        assert_eq!(
            identify("OpenStack Foundation", "OpenStack Nova", ""),
            Some(Provider::OpenStack)
        );
        assert_eq!(
            identify("QEMU", "Standard PC", "OpenTelekomCloud"),
            Some(Provider::OpenStack)
        );
        assert_eq!(identify("QEMU", "Standard PC (Q35 + ICH9, 2009)", ""), None);
        assert_eq!(identify("", "", ""), None);
    }

    #[test]
    fn a_machine_without_firmware() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        assert_eq!(find_provider(&place), None);
        let dmi = folder.path().join("sys/class/dmi/id");
        std::fs::create_dir_all(&dmi).unwrap();
        std::fs::write(dmi.join("sys_vendor"), "Vultr\n").unwrap();
        assert_eq!(find_provider(&place), Some(Provider::Vultr));
    }
}
