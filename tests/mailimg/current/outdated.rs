//! `mailimg outdated`: locked beside offered, and an exit code for timers.

use crate::world::bench::Bench;

#[test]
fn a_current_lock_is_current() {
    let bench = Bench::new();
    bench.run(&["lock", "tiny"]).done();
    for more in [&[][..], &["--offline"]] {
        let outcome = bench.run(&[&["outdated", "tiny"], more].concat());
        assert_eq!(
            outcome.done().stdout,
            "tiny is current: no source offers other than the 3 packages locked\n"
        );
    }
}

#[test]
fn what_is_behind_is_listed_and_nothing_is_written() {
    let mut bench = Bench::new();
    bench.run(&["lock", "tiny"]).done();
    let lock = bench.lock();
    let base = bench.archive.packages[0].clone();
    bench.archive.packages[0] = base.version("1.1");
    bench.archive.publish();
    let outcome = bench.run(&["outdated", "tiny"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("error:"), "{}", outcome.stderr);
    assert_eq!(
        outcome.stdout,
        "PACKAGE  LOCKED  OFFERED  SUITE\n\
         base     1.0     1.1      test\n\
         1 change to tiny, security updates: 0; `mailimg lock tiny` takes it\n"
    );
    let outcome = bench.run(&["outdated", "tiny", "--json"]);
    assert_eq!(outcome.code, Some(1));
    let last: serde_json::Value =
        serde_json::from_str(outcome.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "outdated");
    assert_eq!(last["behind"], 1);
    let expected = serde_json::json!({
        "change": "upgraded", "package": "base", "locked": "1.0", "offered": "1.1",
        "suite": "test", "security": false,
    });
    assert_eq!(last["packages"], serde_json::json!([expected]));
    assert!(bench.lock() == lock);
}

#[test]
fn a_locked_version_above_all_that_is_offered_is_told() {
    let mut bench = Bench::new();
    bench.run(&["lock", "tiny"]).done();
    let base = bench.archive.packages[0].clone();
    bench.archive.packages[0] = base.version("0.9");
    bench.archive.publish();
    let outcome = bench.run(&["outdated", "tiny"]);
    assert!(
        outcome.done().stdout.ends_with(
            "base     1.0     0.9      test   the locked version is higher\n\
                 tiny is behind in nothing\n"
        ),
        "{}",
        outcome.stdout
    );
}

#[test]
fn without_a_lock_there_is_nothing_to_compare() {
    let bench = Bench::new();
    let error = bench.run(&["outdated", "tiny"]).error(1);
    assert!(
        error.ends_with("hint: make it with `mailimg lock tiny`"),
        "{error}"
    );
}
