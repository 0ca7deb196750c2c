//! A cloud around the machine: settings from its metadata address and from its
//! drives, and a metadata server that never comes to an end.
//!
//! What each provider serves is in `tests/mailctl/cloud`; here one of them
//! shows the way through the units, from power-on to mail. A machine of its own has
//! only the server without an end: that of [`super::power_cut`] has its settings from
//! metadata, that of [`super::promises`] from a drive.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::boots_and_delivers::IMAGE;
use super::disk::Disk;
use super::machine::{BOOT_LIMIT, Machine, Start};
use super::site::{HOST_NAME, Site};
use super::ssh::SshKey;
use crate::world::network::{BRIDGE, inside, run_ip};
use crate::world::peers;
use crate::world::process::run;

/// Where clouds serve metadata.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// A firmware that names a cloud.
const HETZNER: [&str; 2] = ["-smbios", "type=1,manufacturer=Hetzner,product=vServer"];
/// Longest that a cloud may take, with what an emulated machine needs to start programs.
const CLOUD_LIMIT: Duration = Duration::from_secs(60);

/// Who answers at the metadata address, and what he was asked.
pub struct Metadata {
    seen: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Metadata {
    fn start(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Result<Self> {
        run_ip(&[], &format!("addr add {METADATA}/32 dev {BRIDGE}\n"))?;
        let listener = TcpListener::bind((METADATA, 80))?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (log, answer) = (log.clone(), answer.clone());
                std::thread::spawn(move || {
                    let Some(path) = read_path(&stream) else {
                        return;
                    };
                    log.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((Instant::now(), path.clone()));
                    answer(&path, &mut stream);
                });
            }
        });
        Ok(Self { seen })
    }

    /// Fails unless the machine asked once in each of so many boots: for its settings,
    /// and for its addresses, which may change.
    pub fn was_asked_in_boots(&self, boots: usize) -> Result<()> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let paths: Vec<&str> = seen.iter().map(|(_, path)| path.as_str()).collect();
        ensure!(
            paths == ["/hetzner/v1/userdata", "/hetzner/v1/metadata"].repeat(boots),
            "asked for {paths:?}"
        );
        Ok(())
    }

    fn first(&self) -> Option<Instant> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.first().map(|(when, _)| *when)
    }
}

/// The path that a request names, when all its headers are there.
fn read_path(stream: &TcpStream) -> Option<String> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    while !lines.next()?.ok()?.is_empty() {}
    Some(first.split(' ').nth(1)?.to_owned())
}

fn send(stream: &mut TcpStream, body: &str) {
    // A machine that has gone away shows in what it does.
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
}

/// The options of a machine that a cloud's firmware names itself to.
pub fn firmware() -> Vec<String> {
    HETZNER.map(str::to_owned).into()
}

/// A cloud that serves these settings, and two addresses of the machine.
pub fn serve_settings(settings: String) -> Result<Metadata> {
    Metadata::start(move |path, stream| match path {
        "/hetzner/v1/userdata" => send(stream, &settings),
        "/hetzner/v1/metadata" => send(stream, "hostname: wombat\npublic-ipv4: 5.9.1.2\n"),
        _ => send(stream, "unexpected"),
    })
}

/// The machine took its settings from the metadata, once, and nobody else can reach it.
pub fn settings_were_taken(metadata: &Metadata, machine: &Machine, key: &SshKey) -> Result<()> {
    let address = machine.address();
    metadata.was_asked_in_boots(1)?;
    let state = key.run(address, "cat /var/lib/mailimg/cloud.json")?;
    ensure!(
        state == r#"{"provider":"Hetzner","ipv4":"5.9.1.2","ipv6":null}"#,
        "{state}"
    );
    let console = key.run(address, "cat /run/issue.d/50-mailimg.issue")?;
    ensure!(console.contains(HOST_NAME), "{console}");
    nothing_failed(machine.address(), key)?;
    is_closed(machine, key)?;
    is_confined(machine, key)?;

    // Whenever the network changes it looks again, and asks nobody any more.
    let again = key.run(
        address,
        "systemctl start mailimg-cloud.service; sleep 5; \
         journalctl --no-pager -b -o cat -u mailimg-cloud.service",
    )?;
    println!("{again}");
    ensure!(
        again.contains("Settings are there already, and the addresses are noted."),
        "{again}"
    );
    metadata.was_asked_in_boots(1)
}

/// Users of the machine cannot reach the address, root can.
fn is_closed(machine: &Machine, key: &SshKey) -> Result<()> {
    let script = format!(
        "for user in root nobody vmail postfix mailimg-policy; do\n\
         echo $user: $(runuser -u $user -- timeout 5 bash -c \
         'exec 3<>/dev/tcp/{METADATA}/80 && echo reached' 2>&1)\n\
         done"
    );
    let said = key.run(machine.address(), &script)?;
    println!("{said}");
    let of = |user: &str| {
        said.lines()
            .find_map(|line| line.strip_prefix(&format!("{user}: ")))
            .with_context(|| format!("{user} said nothing"))
    };
    for user in ["nobody", "vmail", "postfix", "mailimg-policy"] {
        let said = of(user)?;
        ensure!(said.contains("refused"), "{user} was told {said}");
    }
    let said = of("root")?;
    ensure!(said == "reached", "root was told {said}");
    Ok(())
}

/// No unit of these may do more than it has to.
fn is_confined(machine: &Machine, key: &SshKey) -> Result<()> {
    for unit in [
        "mailimg-cloud",
        "mailimg-metadata",
        "mailimg-metadata-filter",
    ] {
        let said = key.run(
            machine.address(),
            &format!("systemd-analyze --no-pager security {unit}.service | tail -n 1"),
        )?;
        println!("{}", said.trim());
        let value: f64 = said
            .split_whitespace()
            .find_map(|word| word.parse().ok())
            .with_context(|| format!("no figure in {said:?}"))?;
        ensure!(value <= 2.5, "{unit}: {value}");
    }
    Ok(())
}

/// Every unit of the boot did what it should.
pub fn nothing_failed(address: IpAddr, key: &SshKey) -> Result<()> {
    let failed = key.run(
        address,
        "systemctl is-active boot-complete.target; systemctl --failed --no-legend --plain",
    )?;
    ensure!(failed == "active\n", "{failed}");
    Ok(())
}

/// Two drives: one of FAT with what is not ours, and an optical disc with settings, which
/// an emulated machine may find only after the first look.
pub struct Drives {
    disc: PathBuf,
    fat: PathBuf,
    _folder: TempDir,
}

impl Drives {
    /// Makes both.
    pub fn make(settings: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let disc = folder.path().join("config-2.iso");
        make_disc(folder.path(), &disc, settings)?;
        let fat = folder.path().join("cidata.img");
        make_fat(folder.path(), &fat, "#cloud-config\nhostname: other\n")?;
        Ok(Self {
            disc,
            fat,
            _folder: folder,
        })
    }

    /// Plugs them in.
    pub fn options(&self) -> Vec<String> {
        vec![
            "-drive".to_owned(),
            format!("file={},media=cdrom,format=raw", self.disc.display()),
            "-drive".to_owned(),
            format!(
                "file={},if=virtio,format=raw,readonly=on",
                self.fat.display()
            ),
        ]
    }
}

/// A config drive as nova makes it, with Rock Ridge and Joliet names.
fn make_disc(folder: &Path, disc: &Path, user_data: &str) -> Result<()> {
    let tree = folder.join("disc");
    let latest = tree.join("openstack/latest");
    std::fs::create_dir_all(&latest)?;
    std::fs::write(latest.join("meta_data.json"), "{}")?;
    std::fs::write(latest.join("user_data"), user_data)?;
    run(peers::program("xorriso")?
        .args([
            "-as", "mkisofs", "-quiet", "-V", "config-2", "-r", "-J", "-o",
        ])
        .arg(disc)
        .arg(&tree))
    .context("making a disc")
    .map(drop)
}

fn make_fat(folder: &Path, fat: &Path, user_data: &str) -> Result<()> {
    let file = folder.join("user-data");
    std::fs::write(&file, user_data)?;
    std::fs::File::create(fat)?.set_len(4 << 20)?;
    run(peers::program("mkfs.vfat")?.args(["-n", "cidata"]).arg(fat))?;
    run(Command::new("mcopy")
        .arg("-i")
        .arg(fat)
        .arg(&file)
        .arg("::user-data"))
    .context("filling a FAT volume")
    .map(drop)
}

#[test]
fn endless_metadata() -> Result<()> {
    let Some(image) = std::env::var_os(IMAGE).map(PathBuf::from) else {
        println!("skipped: {IMAGE} names no image");
        return Ok(());
    };
    inside("cloud::endless_metadata", || run_endless(&image))
}

/// A byte each second for ever: the machine boots, counts as healthy, and says why it waits.
fn run_endless(image: &Path) -> Result<()> {
    let site = Site::start()?;
    let metadata = Metadata::start(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(b"#").is_ok() {
            std::thread::sleep(Duration::from_secs(1));
        }
    })?;
    let disk = Arc::new(Disk::over(image)?);
    let mut options = firmware();
    options.extend([
        "-smbios".to_owned(),
        // A machine without settings lets nobody in: systemd tells on the serial port.
        // Its status lines end when a login prompt has the console; the kernel's do not.
        "type=11,value=io.systemd.stub.kernel-cmdline-extra=systemd.log_target=kmsg loglevel=7"
            .to_owned(),
    ]);
    let start = Start {
        credentials: vec![site.dns.credential()],
        options,
        ..Start::default()
    };
    let mut machine = Machine::start(&disk, &start)?;
    machine.wait_for_serial("Conclude the boot", BOOT_LIMIT)?;
    let healthy = Instant::now();
    println!(
        "power-on to a good boot without settings: {:.1} s",
        machine.age().as_secs_f64()
    );
    machine.wait_for_serial("No settings came from the metadata of Hetzner", BOOT_LIMIT)?;
    let ended = Instant::now();
    let began = metadata.first().context("nobody asked")?;
    println!(
        "first question to last word: {:.1} s; a good boot {:.1} s before that",
        ended.duration_since(began).as_secs_f64(),
        ended.saturating_duration_since(healthy).as_secs_f64()
    );
    ensure!(ended.duration_since(began) < CLOUD_LIMIT, "it took longer");
    machine.power_off()
}
