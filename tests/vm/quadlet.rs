//! The container that a host's service starts: our files, through podman's generator, to the
//! real engine. What a host without systemd lacks is left out: being notified, and timers.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use mailimg::builder::write::ignition::{
    Deployment, ImageSource, Window, quadlet_files, read_archive,
};

use super::engine::{Engine, Kind, START_LIMIT};
use super::site::{DOMAIN, HOST_NAME, Site};
use crate::world::network::inside;
use crate::world::peers::program;
use crate::world::process::run;
use crate::world::wait::until;

/// Names the raw image, beside which the archive lies.
const IMAGE: &str = "MAILIMG_IMAGE";
/// What the host has settings in.
const SETTINGS_FOLDER: &str = "/etc/mailimg:";

#[test]
fn the_service_of_a_host_runs_the_image() -> Result<()> {
    let Some(image) = std::env::var_os(IMAGE).map(PathBuf::from) else {
        println!("skipped: {IMAGE} names no image");
        return Ok(());
    };
    inside("quadlet::the_service_of_a_host_runs_the_image", || {
        live(&image)
    })
}

fn live(image: &Path) -> Result<()> {
    let site = Site::start()?;
    let Some(engine) = Engine::with_archive_of(Kind::Podman, image, None)? else {
        return Ok(());
    };
    let settings = engine.file(
        "secrets/settings.env",
        &format!("DOMAIN={DOMAIN}\nHOSTNAME={HOST_NAME}\n"),
    )?;
    set_permissions(&settings, Permissions::from_mode(0o600))?;
    let root_of_dns = String::from_utf8_lossy(site.dns.credential().value()).into_owned();
    engine.file("secrets/mailimg.dns", &root_of_dns)?;

    let words = command_line(&image.with_extension("oci.tar"))?;
    let (image, words) = words.split_last().context("reading the command line")?;
    engine
        .run(&["image", "exists", image])
        .context("looking for the image by the name that the service has for it")?;
    let folder = settings.trim_end_matches("settings.env");
    let options = options(words, folder);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    println!("podman run {}", options.join(" "));
    serve(&engine, &options)?;
    engine.shell("echo told before | systemd-cat")?;
    engine.stop()?;
    engine.remove()?;

    serve(&engine, &options)?;
    let log = engine.shell("journalctl --no-pager --quiet --output cat")?;
    ensure!(
        log.contains("told before"),
        "the log ended with its container"
    );
    engine.remove()
}

/// Starts it, and waits for its own check of health.
fn serve(engine: &Engine, options: &[&str]) -> Result<()> {
    engine.create(options)?;
    until("a healthy container", START_LIMIT, || {
        engine.check_running()?;
        let health = engine.output(&["healthcheck", "run", "mail"])?;
        Ok(health.status.success().then_some(()))
    })
    .with_context(|| engine.log().unwrap_or_default())
}

/// What the generated service runs, word by word.
fn command_line(archive: &Path) -> Result<Vec<String>> {
    let file = std::fs::File::open(archive)?;
    let deployment = Deployment {
        image: ImageSource::Archive(read_archive(&file, None)?),
        window: Window::parse("Sun 03:00", "2h")?,
        data_disk: None,
    };
    let folder = tempfile::tempdir()?;
    for (name, text) in quadlet_files(&deployment) {
        std::fs::write(folder.path().join(name), text)?;
    }
    let mut quadlet = program("quadlet")?;
    quadlet.env("QUADLET_UNIT_DIRS", folder.path());
    let units = run(quadlet.arg("--dryrun"))?;
    let mut lines = units.lines();
    let line = lines
        .find_map(|line| line.strip_prefix("ExecStart=/usr/bin/podman run "))
        .context("looking for what the service starts")?;
    Ok(split(line))
}

/// Words as systemd.syntax(7) separates them, as far as Quadlet quotes them.
fn split(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        let last = words.len() - 1;
        match letter {
            '"' => quoted = !quoted,
            '\\' => words[last].extend(letters.next()),
            ' ' if !quoted => words.push(String::new()),
            letter => words[last].push(letter),
        }
    }
    words
}

/// The options, less those that a place for containers stands in for.
fn options(words: &[String], settings: &str) -> Vec<String> {
    const ALONE: [&str; 3] = ["--replace", "--rm", "-d"];
    const BEGINNINGS: [&str; 3] = ["--cidfile=", "--cgroups=", "--sdnotify="];
    const WITH_VALUE: [&str; 3] = ["--name", "--network", "--pids-limit"];
    let mut options = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let left_out = |starts: &[&str]| starts.iter().any(|start| word.starts_with(start));
        if ALONE.contains(&word.as_str()) || left_out(&BEGINNINGS) {
            continue;
        }
        if WITH_VALUE.contains(&word.as_str()) {
            words.next();
            continue;
        }
        if word == "--health-interval" {
            words.next();
            options.extend([word.clone(), "disable".to_owned()]);
            continue;
        }
        match (word.as_str(), words.as_slice().first()) {
            ("-v", Some(volume)) if volume.ends_with(":/var") => {
                words.next();
            }
            ("-v", Some(volume)) if volume.starts_with(SETTINGS_FOLDER) => {
                let rest = volume.trim_start_matches(SETTINGS_FOLDER);
                options.extend([word.clone(), format!("{settings}:{rest}")]);
                words.next();
            }
            _ => options.push(word.clone()),
        }
    }
    options
}
