//! Addresses for the machines: DHCP and router advertisements by dnsmasq.
//!
//! Its DNS is off; machines are told of our name server and our clock.

use std::fmt::Write;

use anyhow::Result;
use tempfile::TempDir;

use crate::world::network::{
    BRIDGE, GATEWAY, GATEWAY6, PUBLIC_GATEWAY, PUBLIC_TAP, TAPS, machine_address, machine_mac,
};
use crate::world::peers;
use crate::world::process::Process;

/// A running DHCP server.
pub struct Dhcp {
    _folder: TempDir,
    process: Process,
}

impl Dhcp {
    /// Serves the bridge.
    pub fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let configuration = folder.path().join("dnsmasq.conf");
        std::fs::write(&configuration, text(&folder.path().display().to_string()))?;
        let mut command = peers::program("dnsmasq")?;
        command
            .arg("--keep-in-foreground")
            .arg(format!("--conf-file={}", configuration.display()));
        let process = Process::start(&mut command, &folder.path().join("dnsmasq.log"))?;
        Ok(Self {
            _folder: folder,
            process,
        })
    }

    /// Fails with its log when it has ended.
    pub fn check_running(&mut self) -> Result<()> {
        self.process.check_running()
    }
}

fn text(folder: &str) -> String {
    let mut text = format!(
        "port=0\ninterface={BRIDGE}\nbind-interfaces\nuser=root\nlog-facility=-\nlog-dhcp\n\
         dhcp-leasefile={folder}/leases\npid-file={folder}/pid\ndhcp-authoritative\n\
         dhcp-range={},static,255.255.255.0\n\
         dhcp-range={},static,255.255.255.0\n\
         dhcp-option=option:router,{GATEWAY}\n\
         dhcp-option=tag:public,option:router,{PUBLIC_GATEWAY}\ndhcp-option=option:dns-server,{GATEWAY}\n\
         dhcp-option=option:ntp-server,{GATEWAY}\n\
         enable-ra\ndhcp-range=fd00:20::,ra-only,64\ndhcp-option=option6:dns-server,[{GATEWAY6}]\n",
        machine_address(0),
        machine_address(PUBLIC_TAP)
    );
    for tap in 0..TAPS {
        let _ = writeln!(
            text,
            "dhcp-host={},{}{}",
            machine_mac(tap),
            if tap == PUBLIC_TAP { "set:public," } else { "" },
            machine_address(tap)
        );
    }
    text
}
