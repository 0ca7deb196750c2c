//! `mailimg sign` and `mailctl upgrade https://…`: what comes, and what goes on after an end.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mailimg::format::minisign::SecretKey;

use super::machine::build_with;
use super::site::Site;
use crate::world::bench::files_below;
use crate::world::folder_server::Manner;

/// Bytes that nothing compresses, other ones for each seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn a_signed_version_comes_and_is_tried() {
    let mut site = Site::new();
    let said = site.upgrade(&[]);
    let text = said.done().stdout.clone();
    assert!(text.starts_with("2 is ready: "), "{text}");
    assert!(text.contains(" travelled."), "{text}");
    assert_eq!(site.server.connections(), 1);
    let packs = site.server.asked();
    let packs = packs.iter().filter(|asked| asked.contains(".pack"));
    assert!(packs.count() <= 8, "{:?}", site.server.asked());
    let whole = site.update().root.blocks.pack.size as usize;
    assert!(site.server.sent() < whole / 2, "{}", site.server.sent());
    assert_eq!(site.machine.boot_version(), "2");
    site.machine.mailctl(&["bless"]).done();
    assert_eq!(site.machine.boot_version(), "2");
    let error = site.upgrade(&[]).error(1);
    assert_eq!(
        error,
        "error: version 2 is what runs\nhint: there is nothing to do"
    );
}

#[test]
fn twenty_versions_one_after_the_other() {
    let mut site = Site::new();
    for number in 2..22u64 {
        let version = number.to_string();
        if number > 3 {
            build_with(&mut site.machine.bench, &version, &noise(number, 9000));
        }
        site.sign(&version, &[]).done();
        site.upgrade(&[]).done();
        assert_eq!(site.machine.boot_version(), version);
        site.machine.mailctl(&["bless"]).done();
    }
    // This one and the one before: root and kernel image, index and pack, and signatures.
    let files = files_below(&site.served("parts"));
    assert!(files.len() <= 2 * 5, "{:?}", files.keys());
}

#[test]
fn a_check_says_what_would_come_and_changes_nothing() {
    let site = Site::new();
    let manifest = "{\"packages\": [{\"name\": \"base\", \"version\": \"1+1\", \"sha256\": \"\"}]}";
    site.put("usr/share/mailimg/manifest.json", manifest);
    let before = (
        site.machine.kernels(),
        fs::read(site.machine.disk()).unwrap(),
    );
    let said = site.upgrade(&["--check"]);
    let text = said.done().stdout.clone();
    assert!(text.starts_with("2 would come, 1 runs. "), "{text}");
    assert!(
        text.contains("\n  upgraded    base 1+1 -> 2+3232323232323232\n"),
        "{text}"
    );
    let signer = format!("Signed by {}, good until ", site.key.public().number);
    assert!(text.contains(&signer), "{text}");
    assert!(
        !site
            .server
            .asked()
            .iter()
            .any(|asked| asked.contains(".pack"))
    );
    let after = (
        site.machine.kernels(),
        fs::read(site.machine.disk()).unwrap(),
    );
    assert!(before == after);
    site.sign("1", &[]).done();
    let said = site.upgrade(&["--check"]);
    assert_eq!(said.done().stdout, "1 is what runs. Nothing would come.\n");
}

#[test]
fn a_server_that_knows_no_ranges_will_do() {
    let mut site = Site::new();
    site.server.set(Manner::WithoutRanges);
    site.upgrade(&[]).done();
    assert_eq!(site.machine.boot_version(), "2");
}

#[test]
fn redirects_to_https_are_followed() {
    let mut site = Site::new();
    let other = crate::world::folder_server::Server::of(site.served(""));
    let both = format!("{}{}", site.server.authority, other.authority);
    site.put("run/mailimg/trust.pem", &both);
    // Each file is sent on, since the address has no path.
    other.set(Manner::Well);
    site.server
        .set(Manner::On(format!("{}update.json", other.address())));
    let error = site.upgrade(&[]).error(1);
    // The signatures are no signatures there: they are asked for where update.json is.
    assert!(error.contains(".minisig"), "{error}");
    site.server.set(Manner::Well);
    site.upgrade(&[]).done();
    assert_eq!(site.machine.boot_version(), "2");
}

#[test]
fn twenty_ends_in_the_middle_lose_nothing() {
    let mut site = Site::new();
    let length = 3 << 20;
    build_with(&mut site.machine.bench, "4", &noise(4, length));
    site.sign("4", &[]).done();
    let step = length / 25;
    let mut fetched = 0;
    for round in 0..20 {
        site.server.set(Manner::Stalling(step));
        let mut command = site.machine.command(&["upgrade", &site.server.address()]);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let begin = Instant::now();
        while site.server.left() > 0 {
            assert!(begin.elapsed() < Duration::from_secs(60), "round {round}");
            assert!(child.try_wait().unwrap().is_none(), "round {round}");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(50));
        child.kill().unwrap();
        child.wait().unwrap();
        fetched += step;
        assert_eq!(site.machine.boot_version(), "1", "round {round}");
    }
    site.server.set(Manner::Well);
    site.upgrade(&[]).done();
    // A frame that was under way at each end comes again, and no more.
    let packs = site.update().root.blocks.pack.size as usize;
    let most = packs - fetched + 20 * (64 << 10) + (200 << 10);
    assert!(site.server.sent() < most, "{} {most}", site.server.sent());
    assert_eq!(site.machine.boot_version(), "4");
}

#[test]
fn a_connection_that_is_cut_is_taken_up_again() {
    let mut site = Site::new();
    build_with(&mut site.machine.bench, "4", &noise(4, 1 << 20));
    site.sign("4", &[]).done();
    site.server.set(Manner::Cutting(300_000));
    let error = site.upgrade(&[]).error(1);
    assert!(error.contains(".pack"), "{error}");
    assert!(
        error.contains("try again later, what has come is kept"),
        "{error}"
    );
    assert_eq!(site.machine.boot_version(), "1");
    site.server.set(Manner::Well);
    let text = site.upgrade(&[]).done().stdout.clone();
    assert!(site.server.sent() < 900_000, "{text}");
    assert_eq!(site.machine.boot_version(), "4");
}

#[test]
fn a_new_key_comes_with_an_image_that_both_signed() {
    let site = Site::new();
    let bench = &site.machine.bench;
    bench.run(&["key", "new", "--output", "keys/next"]).done();
    let next = fs::read_to_string(bench.work("keys/next.key")).unwrap();
    let next = SecretKey::parse(&next).unwrap();
    let both = ["--key", "keys/next.key"];
    site.sign("2", &both).done();
    for known in [&[&site.key][..], &[&next], &[&next, &site.key]] {
        site.know(known);
        site.upgrade(&["--check"]).done();
    }
    // Added afterwards.
    site.sign("2", &[]).done();
    site.know(&[&next]);
    assert!(
        site.upgrade(&["--check"])
            .error(1)
            .contains("signed by the key")
    );
    bench
        .run(&["sign", "served", "--key", "keys/next.key"])
        .done();
    site.upgrade(&["--check"]).done();
    site.know(&[&site.key]);
    site.upgrade(&["--check"]).done();
    // Anew, by the next one alone.
    let again = [
        "sign",
        "served",
        "--key",
        "keys/next.key",
        "--valid-for",
        "7",
    ];
    bench.run(&again).done();
    assert!(
        site.upgrade(&["--check"])
            .error(1)
            .contains("signed by the key")
    );
    site.know(&[&next]);
    site.upgrade(&["--check"]).done();
}

#[test]
fn minisign_takes_what_mailimg_signed() {
    if Command::new("minisign").arg("-v").output().is_err() {
        println!("skipped: minisign is not installed");
        return;
    }
    let site = Site::new();
    let verify = |key: &str| {
        let mut command = Command::new("minisign");
        command.args(["-V", "-m", "served/update.json", "-p", key, "-x"]);
        command
            .arg(site.signatures())
            .current_dir(site.machine.bench.work(""));
        command.output().unwrap().status.success()
    };
    assert!(verify("update.pub"));
    site.machine
        .bench
        .run(&["key", "new", "--output", "other"])
        .done();
    assert!(!verify("other.pub"));
}

#[test]
fn keys_are_made_once_and_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new();
    let bench = &site.machine.bench;
    let mode = |name: &str| fs::metadata(bench.work(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("update.key"), 0o600);
    let before = fs::read(bench.work("update.key")).unwrap();
    assert!(
        bench
            .run(&["key", "new"])
            .error(1)
            .contains("is there already")
    );
    assert!(fs::read(bench.work("update.key")).unwrap() == before);
    // Whom the umask lets read may fetch it.
    assert_eq!(mode("served/update.json") & 0o444, 0o444);
    for (key, expected) in [
        ("none.key", "No such file"),
        ("update.pub", "no secret key"),
    ] {
        let arguments = ["sign", "out/tiny_2.raw", "--key", key];
        assert!(bench.run(&arguments).error(1).contains(expected), "{key}");
    }
    let arguments = ["sign", "out", "--key", "update.key"];
    assert!(
        bench
            .run(&arguments)
            .error(1)
            .contains("there is no update.json")
    );
    assert!(!bench.work("out/parts").exists());
}
