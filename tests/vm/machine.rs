//! A machine: QEMU on a tap device, with its serial port in a file.
//!
//! Machines are waited for by what they show: a line on the serial port, a
//! banner on a TCP port, an end. A machine that is dropped while it runs has
//! failed its test, so its last lines are printed.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mailimg::builder::command::boot::accelerator::{AcceleratorChoice, Chosen, choose};
use mailimg::builder::command::boot::credentials::{Credential, write_credentials};
use mailimg::builder::command::boot::firmware::Firmware;
use mailimg::builder::command::boot::hardware::Hardware;
use mailimg::builder::command::boot::qemu::{Qemu, escape_commas};
use tempfile::TempDir;

use super::disk::Disk;
use super::qmp::Qmp;
use super::smtp::read_banner;
use super::ssh::SshKey;
use crate::world::network::{machine_address, machine_mac, tap_name};
use crate::world::peers;
use crate::world::process::{Process, last_lines};
use crate::world::wait::until;

/// Generous: emulated, on a busy host with two CPUs, a boot takes minutes.
pub const BOOT_LIMIT: Duration = Duration::from_secs(600);
/// A clean end stops every service first.
const END_LIMIT: Duration = Duration::from_secs(240);
/// How long one attempt to reach a port takes at most.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);

/// What a machine says when it will never get further.
const HOPELESS: [&str; 3] = [
    "Kernel panic",
    "mailimg: the machine stops here",
    "You are in emergency mode",
];
/// What a kernel says when emulation let one CPU run into an instruction that
/// another one was about to change; QEMU 7.2 does so in one boot of many, and
/// no other machine. On a busy host its timer may stand still for too long, too.
const EMULATION_FAULTS: [&str; 2] = ["Oops: int3:", "IO-APIC + timer doesn't work"];
/// How often a boot that ends so is tried again.
const ATTEMPTS: u32 = 3;
/// Holds words for the kernel's command line, `systemd.log_target=console` say,
/// to look into a boot that fails (systemd-stub(7)).
const KERNEL_OPTIONS: &str = "MAILIMG_KERNEL_OPTIONS";
/// Holds the number of a machine's processors, a small VPS's unless given.
const PROCESSORS: &str = "MAILIMG_PROCESSORS";

/// What a machine starts with beside its disk.
#[derive(Default)]
pub struct Start {
    /// Credentials for its systemd.
    pub credentials: Vec<Credential>,
    /// Which tap it is plugged into, and so which addresses it has.
    pub tap: u8,
    /// Whether a reset ends the machine instead of starting it again.
    pub end_on_reset: bool,
    /// Whether legacy BIOS starts it instead of UEFI.
    pub bios: bool,
    /// Its memory in MiB, a small VPS's unless given.
    pub memory_mib: Option<u32>,
    /// Further options of QEMU.
    pub options: Vec<String>,
}

/// A running machine.
pub struct Machine {
    process: Process,
    qmp: Qmp,
    serial: PathBuf,
    started: Instant,
    address: IpAddr,
    ended: bool,
    _disk: Arc<Disk>,
    _folder: TempDir,
}

impl Machine {
    /// Switches a machine on.
    pub fn start(disk: &Arc<Disk>, start: &Start) -> Result<Self> {
        let (qemu, chosen) = hypervisor()?;
        let folder = tempfile::tempdir()?;
        let serial = folder.path().join("serial.log");
        let control = folder.path().join("qmp");
        let mut hardware = Hardware::default();
        if let Some(memory_mib) = start.memory_mib {
            hardware.memory_mib = memory_mib;
        }
        if let Ok(number) = std::env::var(PROCESSORS) {
            hardware.cpus = number
                .parse()
                .with_context(|| format!("reading {PROCESSORS}, {number:?}"))?;
        }
        let firmware = match start.bios {
            true => Firmware::Bios,
            false => peers::uefi()?,
        };
        let mut command: Command = qemu.command();
        command
            .args(hardware.arguments(&qemu, chosen.accelerator))
            .args(firmware.arguments(folder.path())?)
            .args(disk.arguments())
            .args(write_credentials(folder.path(), &start.credentials)?)
            .arg("-netdev")
            .arg(format!(
                "tap,id=net0,ifname={},script=no,downscript=no",
                tap_name(start.tap)
            ))
            .arg("-device")
            .arg(format!(
                "virtio-net-pci,netdev=net0,romfile=,mac={}",
                machine_mac(start.tap)
            ))
            .arg("-chardev")
            .arg(format!("file,id=serial0,path={}", serial.display()))
            .args(["-serial", "chardev:serial0", "-qmp"])
            .arg(format!("unix:{},server=on,wait=off", control.display()))
            .args(&start.options);
        if start.end_on_reset {
            command.arg("-no-reboot");
        }
        if let Ok(words) = std::env::var(KERNEL_OPTIONS) {
            let words = escape_commas(&words);
            command.arg("-smbios").arg(format!(
                "type=11,value=io.systemd.stub.kernel-cmdline-extra={words}"
            ));
        }
        let started = Instant::now();
        let log = folder.path().join("qemu.log");
        let process = Process::start(&mut command, &log)?;
        println!("serial port: {}", serial.display());
        let qmp = Qmp::connect(&control).with_context(|| last_lines(&log))?;
        Ok(Self {
            process,
            qmp,
            serial,
            started,
            address: machine_address(start.tap).into(),
            ended: false,
            _disk: disk.clone(),
            _folder: folder,
        })
    }

    /// Switches a machine on and waits until these ports serve; each attempt
    /// gets a disk of its own.
    pub fn start_serving(
        make_disk: impl Fn() -> Result<Disk>,
        start: &Start,
        ports: &[u16],
    ) -> Result<(Self, Arc<Disk>)> {
        let mut attempt = 1;
        loop {
            let disk = Arc::new(make_disk()?);
            let mut machine = Self::start(&disk, start)?;
            let served = ports
                .iter()
                .try_for_each(|&port| machine.wait_for_banner(port, BOOT_LIMIT).map(drop));
            match served {
                Ok(()) => return Ok((machine, disk)),
                Err(error) => {
                    let serial = machine.serial_text();
                    let fault = EMULATION_FAULTS
                        .iter()
                        .find(|fault| serial.contains(**fault));
                    let Some(fault) = fault.filter(|_| attempt < ATTEMPTS) else {
                        return Err(error);
                    };
                    println!("emulation failed ({fault}), booting again");
                    attempt += 1;
                }
            }
        }
    }

    /// Fails when the machine has ended.
    pub fn check_running(&mut self) -> Result<()> {
        self.process.check_running()
    }

    /// The machine's address on IPv4.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Time since power-on.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// All that came out of the serial port.
    pub fn serial_text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.serial).unwrap_or_default()).into_owned()
    }

    /// Waits for a text on the serial port.
    pub fn wait_for_serial(&mut self, text: &str, limit: Duration) -> Result<()> {
        let what = format!("{text:?} on the serial port");
        self.wait(&what, limit, |machine| {
            Ok(machine.serial_text().contains(text).then_some(()))
        })
    }

    /// Waits until a server says something on a port, and returns its first line.
    pub fn wait_for_banner(&mut self, port: u16, limit: Duration) -> Result<String> {
        let target = SocketAddr::new(self.address, port);
        self.wait(&format!("a banner on port {port}"), limit, |_| {
            Ok(read_banner(target, ATTEMPT_LIMIT))
        })
    }

    /// Waits until ssh lets this key in.
    pub fn wait_for_ssh(&mut self, key: &SshKey, limit: Duration) -> Result<()> {
        self.wait("ssh", limit, |machine| {
            Ok(key
                .output(machine.address, "true")?
                .status
                .success()
                .then_some(()))
        })
    }

    /// Waits for the end of a machine that ends by itself.
    pub fn wait_for_end(&mut self, limit: Duration) -> Result<()> {
        let serial = self.serial.clone();
        let process = &mut self.process;
        until("the machine's end", limit, || {
            Ok(process.has_ended()?.then_some(()))
        })
        .with_context(|| last_lines(&serial))?;
        self.ended = true;
        Ok(())
    }

    /// Restarts from inside and returns when the new boot lets ssh in.
    pub fn reboot(&mut self, key: &SshKey) -> Result<()> {
        let boot_id = "cat /proc/sys/kernel/random/boot_id";
        let before = key.run(self.address, boot_id)?;
        self.started = Instant::now();
        // The connection may be cut before the command's status arrives.
        let _ = key.output(self.address, "systemctl reboot")?;
        self.wait("the next boot", BOOT_LIMIT, |machine| {
            let output = key.output(machine.address, boot_id)?;
            Ok((output.status.success() && output.stdout != before.as_bytes()).then_some(()))
        })?;
        // The journal was in the way of unmounting /var.
        ensure!(
            !self.serial_text().contains("Failed unmounting"),
            "the machine did not go down cleanly"
        );
        Ok(())
    }

    /// Presses the power button and waits for a clean end.
    pub fn power_off(mut self) -> Result<()> {
        self.qmp.execute("system_powerdown")?;
        self.wait_for_end(END_LIMIT)
    }

    /// Pulls the plug: QEMU ends without a last flush, which asking it would bring.
    pub fn cut_power(mut self) -> Result<()> {
        self.ended = true;
        self.process.kill()
    }

    fn wait<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut ask: impl FnMut(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        until(what, limit, || {
            if self.process.has_ended()? {
                bail!("the machine ended before {what}");
            }
            let serial = self.serial_text();
            if let Some(words) = HOPELESS.iter().find(|&&words| serial.contains(words)) {
                bail!("the machine says {words:?} before {what}");
            }
            ask(self)
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if !self.ended {
            eprintln!(
                "--- the machine's last lines, {} s after power-on ---\n{}\n---",
                self.age().as_secs(),
                last_lines(&self.serial)
            );
        }
    }
}

/// QEMU and its accelerator, looked up once.
fn hypervisor() -> Result<(Qemu, Chosen)> {
    static FOUND: OnceLock<(Qemu, Chosen)> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(found.clone());
    }
    let qemu = peers::qemu()?;
    let chosen = choose(AcceleratorChoice::Auto, &qemu)?;
    println!("accelerator: {chosen}");
    Ok(FOUND.get_or_init(|| (qemu, chosen)).clone())
}
