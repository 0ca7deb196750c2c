//! Clocks that are not the CA's: seconds, hours and years off, in both directions.

use std::path::Path;

use serde_json::json;

use super::HOST;
use super::world::{Manner, World};

/// What timesyncd makes once it has set the clock.
const SYNCHRONIZED: &str = "run/systemd/timesync/synchronized";
/// Where Debian's faketime has its library.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// Runs mailctl with a clock that is off, and returns what it says.
fn run_off(world: &World, seconds: i64, arguments: &[&str]) -> String {
    assert!(Path::new(FAKETIME).exists(), "faketime is not installed");
    let output = world
        .machine
        .command(arguments)
        .env("LD_PRELOAD", FAKETIME)
        .env("FAKETIME", format!("{seconds:+}s"))
        // Waits must take as long as they do.
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    said
}

fn is_served(world: &World) -> bool {
    world.status(HOST)["certificate"]["self_signed"] == false
}

#[test]
fn some_minutes_and_a_clock_that_is_ahead_change_nothing() {
    for off in [-240, -3, 3, 240, 2400, 13 * 3600] {
        let world = World::started(Manner::default());
        run_off(&world, off, &["acme"]);
        run_off(&world, off, &["cert", "take"]);
        assert!(is_served(&world), "{off}: {}", world.status(HOST));
        assert_eq!(world.counts(), (1, 1));
        // Nor does the clock's being set right.
        assert_eq!(world.acme_and_take().trim(), "");
        assert_eq!(world.counts(), (1, 1));
    }
}

#[test]
fn a_clock_that_nobody_set_is_waited_for_and_costs_no_order() {
    for (off, words) in [
        (-2400, "was not set yet and is 40 minutes behind"),
        (-13 * 3600, "13 hours behind"),
        (-20 * 365 * 86_400, "before this program was written"),
        (20 * 365 * 86_400, "7300 days ahead of"),
    ] {
        let world = World::started(Manner::default());
        let said = run_off(&world, off, &["acme"]);
        assert!(said.contains(words), "{off}: {said}");
        assert!(said.contains("NTP"), "{said}");
        assert_eq!(world.status(HOST)["problem"]["kind"], "clock");
        // Told once, looked at with every run.
        assert_eq!(run_off(&world, off, &["acme"]).trim(), "");
        assert_eq!(world.counts().1, 0, "{off}");
        world.acme_and_take();
        assert!(is_served(&world), "{off}: {}", world.status(HOST));
        assert_eq!(world.status(HOST)["problem"], json!(null));
        assert_eq!(world.counts(), (1, 1));
    }
}

/// A CA that is ahead, or an NTP server that is behind.
#[test]
fn a_certificate_whose_time_has_not_come_is_kept() {
    let world = World::started(Manner::default());
    std::fs::create_dir_all(world.machine.path(SYNCHRONIZED).parent().unwrap()).unwrap();
    std::fs::write(world.machine.path(SYNCHRONIZED), "").unwrap();
    let hours = -13 * 3600;
    let said = run_off(&world, hours, &["acme"]);
    assert!(said.contains("is kept for its time"), "{said}");
    assert_eq!(
        run_off(&world, hours, &["cert", "take"]),
        "No certificate waits.\n"
    );
    assert_eq!(run_off(&world, hours, &["acme"]).trim(), "");
    assert_eq!(world.status(HOST)["problem"]["kind"], "clock");
    // Its time comes, but goes again before it is taken.
    let said = world.acme();
    assert!(said.contains("came, serial"), "{said}");
    let said = run_off(&world, hours, &["cert", "take"]);
    assert!(said.contains("is put by: it is valid from"), "{said}");
    assert!(!is_served(&world));
    world.acme_and_take();
    assert!(is_served(&world), "{}", world.status(HOST));
    assert_eq!(world.status(HOST)["problem"], json!(null));
    assert_eq!(world.counts(), (1, 1));
}

#[test]
fn a_certificate_that_looks_old_is_kept_too() {
    let world = World::started(Manner::default());
    std::fs::create_dir_all(world.machine.path(SYNCHRONIZED).parent().unwrap()).unwrap();
    std::fs::write(world.machine.path(SYNCHRONIZED), "").unwrap();
    let years = 20 * 365 * 86_400;
    let said = run_off(&world, years, &["acme"]);
    assert!(said.contains("is kept for its time"), "{said}");
    assert_eq!(run_off(&world, years, &["acme"]).trim(), "");
    world.acme_and_take();
    assert!(is_served(&world), "{}", world.status(HOST));
    assert_eq!(world.counts(), (1, 1));
    // In use it stays in use, whatever the clock says.
    run_off(&world, -13 * 3600, &["acme"]);
    run_off(&world, -13 * 3600, &["cert", "take"]);
    assert!(is_served(&world));
    assert_eq!(world.counts(), (1, 1));
}

/// With a wrong clock neither DNSSEC nor TLS works: what failed then is no reason to wait.
#[test]
fn what_failed_before_the_clock_was_set_is_tried_at_once() {
    let mut world = World::new(Manner::default());
    world.acme();
    assert_eq!(world.status(HOST)["problem"]["kind"], "unreachable");
    world.start_ca();
    assert_eq!(world.acme().trim(), "", "the pause is kept");
    std::fs::create_dir_all(world.machine.path(SYNCHRONIZED).parent().unwrap()).unwrap();
    std::fs::write(world.machine.path(SYNCHRONIZED), "").unwrap();
    world.acme_and_take();
    assert!(is_served(&world), "{}", world.status(HOST));
}
