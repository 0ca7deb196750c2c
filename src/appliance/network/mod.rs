//! Host name and addresses, for systemd-networkd and the kernel.
//!
//! Format: systemd.network(5),
//! <https://www.freedesktop.org/software/systemd/man/257/systemd.network.html>.
//! DHCP and router advertisements are the image's own default; a file is
//! rendered here only for static addresses.

pub mod port_mapping;
pub mod public_address;

use super::machine::files::{PUBLIC, ensure_file, ensure_folder, remove_file};
use super::machine::place::Place;
use super::machine::program::run_program;
use crate::settings::{Interface, Settings};
use anyhow::{Context, Result};
use std::fmt::Write;

/// Sorts before the image's default for all wired interfaces.
const STATIC_NETWORK: &str = "/run/systemd/network/20-mailimg-static.network";

/// Writes or removes networkd's file for static addresses.
pub fn ensure_network(place: &Place, settings: &Settings) -> Result<()> {
    let path = place.path(STATIC_NETWORK);
    match static_network(settings) {
        None => remove_file(&path),
        Some(text) => {
            ensure_folder(
                path.parent().context("a file without a folder")?,
                0o755,
                None,
            )?;
            ensure_file(&path, text.as_bytes(), PUBLIC, None).map(|_| ())
        }
    }
}

fn static_network(settings: &Settings) -> Option<String> {
    let (v4, v6) = (
        settings.network.ipv4.as_ref(),
        settings.network.ipv6.as_ref(),
    );
    let dhcp = match (v4, v6) {
        (None, None) => return None,
        (Some(_), Some(_)) => "no",
        (Some(_), None) => "ipv6",
        (None, Some(_)) => "ipv4",
    };
    let mut text = format!(
        "# Rendered by mailctl from IPV4_* and IPV6_* of settings.env.\n\
         [Match]\nType=ether\nKind=!*\n\n\
         [Network]\nDHCP={dhcp}\nIPv6AcceptRA={}\n",
        if v6.is_some() { "no" } else { "yes" }
    );
    let interfaces: Vec<&Interface> = [v4, v6].into_iter().flatten().collect();
    for interface in &interfaces {
        let _ = writeln!(text, "Address={}/{}", interface.address, interface.prefix);
    }
    for interface in interfaces {
        if let Some(gateway) = interface.gateway {
            // On-link, since many providers hand out a gateway outside the prefix.
            let _ = write!(text, "\n[Route]\nGateway={gateway}\nGatewayOnLink=yes\n");
        }
    }
    Some(text)
}

/// Gives the kernel its host name, except in a container, whose runtime set it already.
pub fn set_host_name(place: &Place, hostname: &str) -> Result<()> {
    if !place.is_machine() {
        return Ok(());
    }
    match rustix::system::sethostname(hostname.as_bytes()) {
        Err(rustix::io::Errno::PERM) => Ok(()),
        result => result.context("setting the host name"),
    }
}

/// Takes changed addresses into use; those of a container are its engine's.
pub fn take(place: &Place, settings: &Settings) -> Result<()> {
    if place.is_container() || static_network(settings).is_none() {
        return Ok(());
    }
    run_program("/usr/bin/networkctl", &["reload"]).map(|_| ())
}

/// Writes host name and addresses.
pub fn configure(place: &Place, settings: &Settings) -> Result<()> {
    set_host_name(place, &settings.hostname)?;
    ensure_network(place, settings)
}

#[cfg(test)]
mod tests {
    use super::static_network;
    use crate::settings::{parse_settings, resolve_settings};

    fn rendered(more: &str) -> Option<String> {
        let text = format!("DOMAIN=a.example\nHOSTNAME=mail.a.example\n{more}");
        let written = parse_settings(text.as_bytes()).unwrap();
        static_network(&resolve_settings(&written).unwrap().settings)
    }

    #[test]
    fn nothing_static_nothing_rendered() {
        assert_eq!(rendered(""), None);
    }

    #[test]
    fn off_link_gateways() {
        let text = rendered(
            "IPV4_ADDRESS=203.0.113.7\nIPV4_GATEWAY=172.31.1.1\n\
             IPV6_ADDRESS=2001:db8::7/64\nIPV6_GATEWAY=fe80::1\n",
        )
        .unwrap();
        insta::assert_snapshot!(text, @r"
        # Rendered by mailctl from IPV4_* and IPV6_* of settings.env.
        [Match]
        Type=ether
        Kind=!*

        [Network]
        DHCP=no
        IPv6AcceptRA=no
        Address=203.0.113.7/32
        Address=2001:db8::7/64

        [Route]
        Gateway=172.31.1.1
        GatewayOnLink=yes

        [Route]
        Gateway=fe80::1
        GatewayOnLink=yes
        ");
    }

    #[test]
    fn one_family_leaves_the_other_automatic() {
        let text = rendered("IPV4_ADDRESS=203.0.113.7/24\n").unwrap();
        assert!(text.contains("DHCP=ipv6\nIPv6AcceptRA=yes\nAddress=203.0.113.7/24\n"));
    }
}
