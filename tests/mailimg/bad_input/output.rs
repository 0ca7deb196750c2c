//! Places that cannot be written to, and builds that are stopped.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::world::bench::deb::Deb;
use crate::world::bench::outcome::Outcome;
use crate::world::bench::packages::filler;
use crate::world::bench::server::Reply;
use crate::world::bench::{Bench, user};

/// Runs the program with a small file system over a folder; returns how it
/// ended and which files it left there.
///
/// Mounting needs root or a user namespace; nothing comes back without both.
fn with_small_disk(
    bench: &Bench,
    folder: &Path,
    size: &str,
    arguments: &[&str],
) -> Option<(Outcome, String)> {
    small_disk(bench, folder, size, "true", arguments)
}

/// [`with_small_disk`], with a shell command that fills it beforehand.
fn small_disk(
    bench: &Bench,
    folder: &Path,
    size: &str,
    before: &str,
    arguments: &[&str],
) -> Option<(Outcome, String)> {
    const SCRIPT: &str = "mount -t tmpfs -o size=$SIZE,mode=755 none \"$PLACE\" || exit 99\n\
        eval \"$BEFORE\" || exit 98\n\"$@\"\ncode=$?\n\
        find \"$PLACE\" -type f -printf '%P\\n' | sort\nexit $code";
    fs::create_dir_all(folder).unwrap();
    let program = bench.command();
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        SCRIPT,
        "sh",
    ]);
    command.arg(program.get_program()).args(arguments);
    command.current_dir(bench.work(""));
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
        .env("SIZE", size)
        .env("PLACE", folder)
        .env("BEFORE", before);
    let outcome = bench.finish(&mut command);
    if outcome.code == Some(99) || outcome.stderr.starts_with("unshare:") {
        eprintln!(
            "skipped: no file system can be mounted here: {}",
            outcome.stderr
        );
        return None;
    }
    let left = outcome.stdout.clone();
    Some((outcome, left))
}

/// A bench with an image of some megabytes.
fn large(size: usize) -> Bench {
    let mut bench = Bench::new();
    bench
        .archive
        .packages
        .push(Deb::new("filler").file("usr/share/filler", 0o644, &filler(size)));
    bench.archive.publish();
    let recipe = fs::read_to_string(bench.work("recipes/tiny.toml")).unwrap();
    bench.write(
        "recipes/tiny.toml",
        &recipe.replace("\"base\"", "\"base\", \"filler\""),
    );
    bench
}

#[test]
fn a_disk_that_is_full_of_the_image() {
    let bench = large(8 << 20);
    let place = bench.work("out");
    let Some((outcome, left)) = with_small_disk(&bench, &place, "4m", &["build", "tiny"]) else {
        return;
    };
    let error = outcome.error(1);
    assert!(
        error.starts_with(
            "error: writing out/tiny_1-ADDED.raw: writing the root: writing the image at "
        ),
        "{error}"
    );
    assert!(
        error.ends_with(
            ": No space left on device (os error 28)
\
             hint: the disk is full: free some space, or choose another --output-dir"
        ),
        "{error}"
    );
    assert_eq!(left, "");
    bench
        .run(&["build", "tiny", "--locked", "--offline"])
        .done();
}

#[test]
fn a_disk_that_is_full_of_the_second_image() {
    let bench = large(8 << 20);
    let place = bench.work("out");
    let build = ["build", "tiny", "--format", "disk,qcow2"];
    let Some((outcome, left)) = with_small_disk(&bench, &place, "14m", &build) else {
        return;
    };
    assert_eq!(
        outcome.error(1),
        "error: writing out/tiny_1-ADDED.qcow2: writing the qcow2 image: No space left on \
         device (os error 28)\n\
         hint: the disk is full: free some space, or choose another --output-dir"
    );
    assert_eq!(left, "");
}

#[test]
fn a_disk_that_is_full_of_the_cache() {
    let bench = large(8 << 20);
    let Some((outcome, _)) = with_small_disk(&bench, &bench.cache(), "4m", &["build", "tiny"])
    else {
        return;
    };
    assert_eq!(
        outcome.error(1),
        "error: unpacking filler 1.0: reading data.tar.xz: reading usr/share/filler: \
         writing BENCH/cache/mailimg/unpacked/DIGEST.v1.part: No space left on device \
         (os error 28)\n\
         hint: free some space there, or set XDG_CACHE_HOME to a folder on a larger disk"
    );
    assert!(bench.outputs().is_empty());
}

#[test]
fn a_disk_that_is_full_of_what_is_fetched() {
    let mut bench = Bench::new();
    // Bytes that do not pack.
    let noise: Vec<u8> = (0..1u64 << 17)
        .flat_map(|number| {
            number
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29)
                .to_le_bytes()
        })
        .collect();
    let base = bench.archive.packages[0].clone();
    bench.archive.packages[0] = base.file("usr/share/noise", 0o644, &noise);
    bench.archive.publish();
    let small = with_small_disk(&bench, &bench.cache(), "256k", &["build", "tiny"]);
    let Some((outcome, left)) = small else {
        return;
    };
    assert_eq!(
        outcome.error(1),
        "error: writing BENCH/cache/mailimg/objects/DIGEST.part: No space left on device \
         (os error 28)\n\
         hint: free some space there, or set XDG_CACHE_HOME to a folder on a larger disk"
    );
    assert!(!left.contains(".part"), "{left}");
    assert!(bench.outputs().is_empty());
}

#[test]
fn a_disk_that_is_full_of_the_lock() {
    let bench = Bench::built();
    let (recipes, lock) = (bench.work("recipes"), bench.lock());
    let elsewhere = bench.work("elsewhere");
    // A page is for each of four files, the fifth finds none.
    let before = format!("cp {}/* \"$PLACE\"", recipes.display());
    let Some((outcome, left)) = small_disk(
        &bench,
        &elsewhere,
        "16k",
        &before,
        &["lock", "elsewhere/tiny.toml"],
    ) else {
        return;
    };
    assert_eq!(
        outcome.error(1),
        "error: writing elsewhere/tiny.lock: No space left on device (os error 28)\n\
         hint: the disk is full: free some space, or choose another --output-dir"
    );
    assert_eq!(
        left,
        "accounts.toml\n\
         archive.pgp\n\
         tiny.lock\n\
         tiny.toml\n\
         "
    );
    assert!(bench.lock() == lock);
}

#[test]
fn a_folder_that_belongs_to_somebody_else() {
    let bench = Bench::built();
    let lock = bench.lock();
    fs::remove_dir_all(bench.work("out")).unwrap();
    bench.give_away();
    fs::create_dir(bench.work("out")).unwrap();
    fs::set_permissions(bench.work("out"), fs::Permissions::from_mode(0o555)).unwrap();
    for (folder, reason) in [
        ("out", "writing to out: Permission denied (os error 13)"),
        (
            "out/below",
            "making the folder out/below: Permission denied (os error 13)",
        ),
        (
            "recipes/tiny.toml",
            "making the folder recipes/tiny.toml: File exists (os error 17)",
        ),
    ] {
        let mut command = bench.command();
        command.args(["build", "tiny", "--output-dir", folder]);
        let mut command = user::ordinary(command, &bench.beside(""));
        let error = bench.finish(&mut command).error(1);
        assert_eq!(
            error,
            format!(
                "error: {reason}
\
                 hint: choose a folder that you may write to with `--output-dir`"
            )
        );
    }
    assert!(bench.outputs().is_empty());
    assert!(bench.lock() == lock);
}

/// Ends a program as Ctrl-C does, once something is the case.
fn interrupt(child: Child, condition: impl Fn() -> bool) -> Output {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "it never came so far"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    child.wait_with_output().unwrap()
}

/// Names in the output folder, hidden ones too.
fn names(bench: &Bench) -> Vec<String> {
    let entries = fs::read_dir(bench.work("out")).into_iter().flatten();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

const INTERRUPTED: &str = "error: stopped by signal 2, no output was left behind\n\
    hint: run the same command again; what was fetched is kept";

#[test]
fn ctrl_c_while_a_package_is_fetched() {
    let bench = Bench::new();
    let server = bench.archive.serve(|path, bytes| {
        path.contains("base_")
            .then(|| Reply::Stalls(bytes.to_vec(), 100))
    });
    bench.write_recipe(&server.url(""), "");
    let mut command = bench.command();
    command.args(["build", "tiny"]).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let fetching = || {
        server
            .requests()
            .iter()
            .any(|request| request.contains("base_"))
    };
    let outcome = Outcome::new(&interrupt(child, fetching), &[]);
    assert_eq!(
        outcome.error(130),
        INTERRUPTED.replace(
            "no output was left behind",
            "what was finished stays: recipes/tiny.lock"
        )
    );
    assert_eq!(names(&bench), [""; 0]);

    bench.write_recipe(&bench.archive.url(), "");
    bench.run(&["build", "tiny"]).done();
}

#[test]
fn ctrl_c_while_the_image_is_written() {
    let bench = large(96 << 20);
    let recipe = fs::read_to_string(bench.work("recipes/tiny.toml")).unwrap();
    bench.write(
        "recipes/tiny.toml",
        &recipe.replace("root_mib = 32", "root_mib = 128"),
    );
    bench.run(&["build", "tiny"]).done();
    let image = bench.outputs();
    let mut command = bench.command();
    command
        .args(["build", "tiny", "--format", "disk,qcow2"])
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let writing = || {
        names(&bench)
            .iter()
            .any(|name| name.starts_with(".tiny_1-") && name.contains(".raw.tmp-"))
    };
    let outcome = Outcome::new(&interrupt(child, writing), &[]);
    assert_eq!(outcome.error(130), INTERRUPTED);
    assert!(bench.outputs() == image, "the old image was harmed");
    bench
        .run(&["build", "tiny", "--locked", "--offline"])
        .done();
    assert!(bench.outputs() == image);
}

/// The end of a pipe that somebody has read enough of.
fn closed_pipe() -> Stdio {
    let (_, writer) = std::io::pipe().unwrap();
    writer.into()
}

/// `mailimg inspect IMAGE | head` ended in a panic, and so did every other command.
#[test]
fn readers_who_have_had_enough_are_no_error() {
    let bench = Bench::built();
    let image = bench.output("out", ".raw");
    let image = image.to_str().unwrap();
    let lock = "recipes/tiny.lock";
    for arguments in [
        &["inspect", image] as &[&str],
        &["verify", image],
        &["diff", lock, lock],
        &["diff", "--json", lock, lock],
        &["outdated", "tiny"],
        &["outdated", "tiny", "--json"],
        &["why", "base", "tiny"],
        &["scripts", "tiny"],
        &["lock", "tiny"],
        &["build", "tiny", "--json"],
        &["man"],
        &["completions", "bash"],
    ] {
        let mut command = bench.command();
        let outcome = bench.finish(command.args(arguments).stdout(closed_pipe()));
        assert_eq!(outcome.code, Some(0), "{arguments:?}: {}", outcome.stderr);
        assert!(
            !outcome.stderr.contains("panicked"),
            "{arguments:?}: {}",
            outcome.stderr
        );
    }
}

/// A service must outlive the journal, which takes its warnings, as a command its terminal.
#[test]
fn errors_that_nobody_hears_are_errors_all_the_same() {
    let bench = Bench::built();
    let code = |command: &mut Command| {
        let ended = command.stderr(closed_pipe()).stdout(closed_pipe()).status();
        ended.unwrap().code()
    };
    assert_eq!(
        code(bench.command().args(["inspect", "nothing.raw"])),
        Some(1)
    );
    assert_eq!(code(bench.command().args(["build", "nothing"])), Some(2));
    assert_eq!(code(bench.command().args(["build", "tiny"])), Some(0));
    let mut mailctl = Command::new(env!("CARGO_BIN_EXE_mailctl"));
    mailctl.arg("--root").arg(bench.work(""));
    assert_eq!(code(mailctl.args(["user", "list"])), Some(1));
}
