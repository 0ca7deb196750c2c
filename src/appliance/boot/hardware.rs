//! Network cards and disk controllers that no driver of this image takes.
//!
//! Read from `/sys/bus/pci/devices`: a device that a driver took has a link `driver`,
//! <https://docs.kernel.org/PCI/sysfs-pci.html>, and its class begins with one of those
//! of <https://pcisig.com/pci-code-and-id-assignment-specification>. Left out: devices on
//! other buses. A machine whose root lies on such a controller does not come this far;
//! `overlay/usr/libexec/mailimg/emergency` says the same there.

use std::fmt::Write as _;

use crate::appliance::machine::place::Place;

/// Where the kernel shows the devices.
const DEVICES: &str = "/sys/bus/pci/devices";
/// How a class begins, and what it is called.
const KINDS: [(&str, &str); 2] = [("0x01", "disk controller"), ("0x02", "network card")];
/// Says which recipe this image is of.
const OS_RELEASE: &str = "/usr/lib/os-release";
/// The recipe whose kernel has all drivers that Debian has.
const METAL: &str = "metal";

/// Lines for the console about such devices; empty when there are none.
pub fn describe_driverless(place: &Place) -> String {
    let mut found = driverless(place);
    if found.is_empty() {
        return String::new();
    }
    found.sort();
    let mut text = String::from("No driver in this image takes:\n");
    for device in found {
        let _ = writeln!(text, "  {device}");
    }
    let release = read(place, OS_RELEASE).unwrap_or_default();
    let recipe = release
        .lines()
        .find_map(|line| line.strip_prefix("IMAGE_ID="))
        .unwrap_or_default();
    text.push_str(match recipe.trim_matches('"') {
        METAL => "This image has all drivers of Debian; the device may need firmware besides.\n",
        _ => "An image of the recipe 'metal' has more drivers: 'mailimg build metal'.\n",
    });
    text
}

/// Each with its vendor's and its own number, and its place on the bus.
fn driverless(place: &Place) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(place.path(DEVICES)) else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .filter_map(|name| describe(place, name.to_str()?))
        .collect()
}

fn describe(place: &Place, name: &str) -> Option<String> {
    let device = format!("{DEVICES}/{name}");
    if place.path(format!("{device}/driver")).exists() {
        return None;
    }
    let class = read(place, &format!("{device}/class"))?;
    let (_, kind) = KINDS.iter().find(|(begin, _)| class.starts_with(begin))?;
    let number = |file: &str| -> Option<String> {
        let text = read(place, &format!("{device}/{file}"))?;
        Some(text.trim().trim_start_matches("0x").to_owned())
    };
    let (vendor, own) = (number("vendor")?, number("device")?);
    Some(format!("{kind} {vendor}:{own} at {name}"))
}

fn read(place: &Place, path: &str) -> Option<String> {
    std::fs::read_to_string(place.path(path)).ok()
}

#[cfg(test)]
mod tests {
    use super::describe_driverless;
    use crate::appliance::machine::place::Place;

    #[test]
    fn only_cards_and_controllers_without_a_driver_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        assert_eq!(describe_driverless(&place), "");
        let add = |name: &str, class: &str, driver: bool| {
            let device = place.path(format!("/sys/bus/pci/devices/{name}"));
            std::fs::create_dir_all(&device).unwrap();
            for (file, text) in [("class", class), ("vendor", "0x8086"), ("device", "0x100e")] {
                std::fs::write(device.join(file), format!("{text}\n")).unwrap();
            }
            if driver {
                std::fs::create_dir(device.join("driver")).unwrap();
            }
        };
        add("0000:00:01.0", "0x060000", false);
        add("0000:00:02.0", "0x020000", true);
        assert_eq!(describe_driverless(&place), "");
        add("0000:00:04.0", "0x010000", false);
        add("0000:00:03.0", "0x020000", false);
        assert_eq!(
            describe_driverless(&place),
            "No driver in this image takes:\n  \
             disk controller 8086:100e at 0000:00:04.0\n  \
             network card 8086:100e at 0000:00:03.0\n\
             An image of the recipe 'metal' has more drivers: 'mailimg build metal'.\n"
        );
        std::fs::create_dir_all(place.path("/usr/lib")).unwrap();
        std::fs::write(place.path("/usr/lib/os-release"), "IMAGE_ID=metal\n").unwrap();
        assert!(describe_driverless(&place).ends_with("may need firmware besides.\n"));
    }
}
