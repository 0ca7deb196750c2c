//! `mailimg boot`: an image in QEMU on a throw-away disk, its ports on localhost.
//!
//! The image itself is only read: the machine writes to a qcow2 overlay in a
//! private temporary folder, which goes when the machine ends. Settings travel
//! as a systemd credential, never on a command line.
//!
//! The parts are public because the tests drive machines with them:
//! [`accelerator`], [`credentials`], [`firmware`], [`throw_away_disk`] and [`qemu`].
//! QEMU's options: <https://www.qemu.org/docs/master/system/invocation.html>.

pub mod accelerator;
pub mod credentials;
pub mod firmware;
pub mod hardware;
pub mod ports;
pub mod qemu;
pub mod throw_away_disk;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

use super::settings::load_authority;
use super::signals::{TemporaryFolder, run_program, say_when_stopped};
use crate::error::{Hint, hinted};
use crate::print::say;
use crate::settings::{named_authority, parse_settings};
use accelerator::AcceleratorChoice;
use credentials::{Credential, write_credentials};
use firmware::{Firmware, FirmwareKind};
use hardware::Hardware;
use ports::{Forward, choose_forwards};
use qemu::Qemu;

/// Folder for large temporary files that is on disk where `/tmp` is in memory.
const BIG_TEMPORARY_FOLDER: &str = "/var/tmp";

/// Where `mailimg build` puts images when nobody says otherwise.
const OUTPUT_FOLDER: &str = "out";

/// How the names of images end.
const IMAGE_ENDINGS: [&str; 2] = ["qcow2", "raw"];

/// Options of `mailimg boot`.
#[derive(clap::Args, Clone, Debug)]
pub struct BootOptions {
    /// Disk image to boot, raw or qcow2; it is only read [default: the newest in out/]
    pub image: Option<PathBuf>,
    /// Settings for the machine, handed over as a systemd credential.
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// Firmware that starts the image.
    #[arg(long, value_enum, default_value_t = FirmwareKind::Uefi)]
    pub firmware: FirmwareKind,
    /// What runs the machine's instructions.
    #[arg(long, value_enum, default_value_t = AcceleratorChoice::Auto)]
    pub accel: AcceleratorChoice,
}

/// Boots an image and returns when the machine has ended.
///
/// Fails with a hint when QEMU or its firmware is not installed, when the
/// image is none or cannot start by that firmware, or when QEMU refuses to run.
pub fn run_boot(options: &BootOptions) -> Result<()> {
    let path = match &options.image {
        Some(path) => path.clone(),
        None => newest_image(Path::new(OUTPUT_FOLDER))?,
    };
    let image = throw_away_disk::DiskImage::open(&path)?;
    let credentials = match &options.settings {
        Some(path) => load_settings(path)?,
        None => Vec::new(),
    };
    if options.firmware == FirmwareKind::Bios {
        image.check_boot_code()?;
    }
    let qemu = Qemu::find()?;
    let firmware = match options.firmware {
        FirmwareKind::Uefi => Firmware::find_uefi(Path::new("/"))?,
        FirmwareKind::Bios => Firmware::Bios,
    };
    let choice = accelerator::choose(options.accel, &qemu)?;
    let forwards = choose_forwards()?;

    say_when_stopped(
        "the machine and what it wrote are gone",
        "run the same command again",
    );
    let folder = temporary_folder()?;
    let disk = folder.path().join("disk.qcow2");
    image.make_overlay(&disk, throw_away_disk::MINIMUM_DISK_BYTES)?;

    let mut command = qemu.command();
    command
        .args(Hardware::default().arguments(&qemu, choice.accelerator))
        .args(firmware.arguments(folder.path())?)
        .args(throw_away_disk::disk_arguments(&disk))
        .args(write_credentials(folder.path(), &credentials)?)
        .args(network_arguments(&forwards))
        .args(terminal_arguments());

    say(&format!(
        "image        {}\naccelerator  {choice}\n{}\
         Ctrl-A x or Ctrl-C ends the machine; what it wrote is thrown away.\n",
        path.display(),
        ports::render_forwards(&forwards)
    ))?;
    match run_program(&mut command, None)? {
        Some(status) if !status.success() => Err(anyhow::anyhow!(
            "running {}: {status}",
            qemu.program().display()
        ))
        .hint(
            "its own message stands above; `--accel tcg` and the other `--firmware` rule out two causes",
        ),
        _ => Ok(()),
    }
}

/// The image that was written last to a folder of outputs.
fn newest_image(folder: &Path) -> Result<PathBuf> {
    let doing = || format!("looking for an image in {}", folder.display());
    let hint = "build one with `mailimg build`, or name an image";
    let mut newest: Option<(SystemTime, PathBuf)> = None;
    let entries = std::fs::read_dir(folder).with_context(doing).hint(hint)?;
    for entry in entries {
        let path = entry.with_context(doing)?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if !ending.is_some_and(|ending| IMAGE_ENDINGS.contains(&ending)) {
            continue;
        }
        let written = path
            .metadata()
            .and_then(|metadata| metadata.modified())
            .with_context(|| format!("looking at {}", path.display()))?;
        // Of two formats written at once it is always the same one.
        newest = newest.max(Some((written, path)));
    }
    match newest {
        Some((_, path)) => Ok(path),
        None => Err(hinted(format!("{}: there is none", doing()), hint)),
    }
}

/// Reads a settings file, and the root certificate that it names beside it, into the
/// credentials that the machine looks for.
fn load_settings(path: &Path) -> Result<Vec<Credential>> {
    let value = std::fs::read(path)
        .with_context(|| format!("reading settings {}", path.display()))
        .hint("name an existing file after `--settings`; without it the machine boots and waits for settings")?;
    // What is wrong with it, the machine says itself.
    let named = parse_settings(&value)
        .ok()
        .as_ref()
        .and_then(named_authority);
    let authority = named.map(|name| load_authority(path, name)).transpose()?;
    let length = value.len() + authority.as_ref().map_or(0, |file| file.bytes.len());
    if length > credentials::CREDENTIAL_BYTES_MAX {
        return Err(hinted(
            format!(
                "reading settings {}: {length} bytes, at most {} fit",
                path.display(),
                credentials::CREDENTIAL_BYTES_MAX
            ),
            "a settings file holds KEY=value lines; is this the right file?",
        ));
    }
    let mut all = vec![Credential::new(credentials::SETTINGS_NAME, value)];
    all.extend(authority.map(|file| Credential::new(credentials::AUTHORITY_NAME, file.bytes)));
    Ok(all)
}

/// A private folder (mode 0700) that is removed with the machine.
fn temporary_folder() -> Result<TemporaryFolder> {
    let mut builder = tempfile::Builder::new();
    // The disk will hold the settings, passwords among them, and all mail.
    builder
        .prefix("mailimg-boot-")
        .permissions(Permissions::from_mode(0o700));
    let chosen = std::env::var_os("TMPDIR")
        .map_or_else(|| PathBuf::from(BIG_TEMPORARY_FOLDER), PathBuf::from);
    TemporaryFolder::make(|| builder.tempdir_in(&chosen))
        .with_context(|| format!("making a temporary folder in {}", chosen.display()))
        .hint("set TMPDIR to a folder on a disk with a few GiB free")
}

fn network_arguments(forwards: &[Forward]) -> Vec<String> {
    let mut netdev = String::from("user,id=net0");
    for forward in forwards {
        netdev.push_str(&format!(
            ",hostfwd=tcp:127.0.0.1:{}-:{}",
            forward.host_port, forward.service.port
        ));
    }
    vec![
        "-netdev".to_owned(),
        netdev,
        "-device".to_owned(),
        // An empty option ROM: no network boot, and no package that holds ROMs.
        "virtio-net-pci,netdev=net0,romfile=".to_owned(),
    ]
}

/// Serial port and monitor share the terminal; `signal=on` leaves Ctrl-C to QEMU.
fn terminal_arguments() -> [&'static str; 6] {
    [
        "-chardev",
        "stdio,id=terminal,mux=on,signal=on",
        "-serial",
        "chardev:terminal",
        "-mon",
        "chardev=terminal,mode=readline",
    ]
}

#[cfg(test)]
mod tests {
    use super::ports::{Forward, SERVICES};
    use super::{load_settings, network_arguments, newest_image, temporary_folder};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn missing_settings_are_named_with_advice() {
        let error = load_settings(std::path::Path::new("/nonexistent/settings.env")).unwrap_err();
        let text = crate::error::render(&error);
        assert!(
            text.starts_with("error: reading settings /nonexistent/settings.env: "),
            "{text}"
        );
        assert!(
            text.contains("\nhint: name an existing file after `--settings`"),
            "{text}"
        );
    }

    #[test]
    fn oversized_settings_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.env");
        std::fs::write(&path, vec![b'#'; 1 << 20]).unwrap();
        let text = crate::error::render(&load_settings(&path).unwrap_err());
        assert!(text.contains("1048576 bytes, at most 32768 fit"), "{text}");
    }

    #[test]
    fn the_newest_image_is_booted_when_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str, age: u64| {
            let file = std::fs::File::create(folder.path().join(name)).unwrap();
            let written = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
            file.set_modified(written).unwrap();
        };
        let refused =
            |folder: &std::path::Path| crate::error::render(&newest_image(folder).unwrap_err());
        place("mail_3.manifest.json", 1);
        let text = refused(folder.path());
        assert!(
            text.contains(": there is none\nhint: build one with `mailimg build`"),
            "{text}"
        );
        let text = refused(&folder.path().join("out"));
        assert!(
            text.contains("\nhint: build one with `mailimg build`"),
            "{text}"
        );
        place("mail_2.raw", 200);
        place("mail_1.qcow2", 100);
        place("mail_9.raw", 300);
        let newest = newest_image(folder.path()).unwrap();
        assert_eq!(newest, folder.path().join("mail_1.qcow2"));
    }

    #[test]
    fn only_localhost_is_forwarded() {
        let forwards = [
            Forward {
                service: SERVICES[0],
                host_port: 2525,
            },
            Forward {
                service: SERVICES[8],
                host_port: 2223,
            },
        ];
        assert_eq!(
            network_arguments(&forwards).join(" "),
            "-netdev user,id=net0,hostfwd=tcp:127.0.0.1:2525-:25,hostfwd=tcp:127.0.0.1:2223-:22 \
             -device virtio-net-pci,netdev=net0,romfile="
        );
    }

    #[test]
    fn nobody_else_reads_what_the_machine_writes() {
        let folder = temporary_folder().unwrap();
        let mode = folder.path().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
