//! A lock beside a later one, a later recipe and another clock.

use super::{BASE, dropping, lock_from, recipe};
use crate::builder::archive::fixture::keys::{certificate, make_key};
use crate::builder::archive::fixture::{Mirror, NOW, Suite};
use crate::builder::lock::{check_fresh, difference, make_lock_with_keys, objects, outdated};
use crate::builder::progress::Progress;
use crate::error::render;

#[test]
fn changes_between_locks_are_listed() {
    let key = make_key(1);
    let recipe = recipe(&["tiny"], &["top"]);
    let make = |depends: &str, rest: &str, date: i64| {
        let text = format!("Package: top\nVersion: 1\nDepends: {depends}\n\n{rest}");
        let mut suite = Suite::new("tiny", &text);
        suite.date = date;
        lock_from(&recipe, &Mirror::publish(&[suite], &key), &key, None).unwrap()
    };
    let old = make(
        "a, b, c",
        "Package: a\nVersion: 1\n\nPackage: b\nVersion: 2\n\nPackage: c\nVersion: 1\n",
        NOW - 7200,
    );
    let new = make(
        "a, b, d",
        "Package: a\nVersion: 1.1\n\nPackage: b\nVersion: 1\n\nPackage: d\nVersion: 1\n",
        NOW - 3600,
    );
    assert_eq!(
        difference(&old, &new),
        "source      tiny 2026-11-22 10:00:00 UTC -> 2026-11-22 11:00:00 UTC\n\
         upgraded    a 1 -> 1.1\n\
         downgraded  b 2 -> 1\n\
         removed     c 1\n\
         added       d 1\n"
    );
    assert_eq!(difference(&new, &new), "");
}

#[test]
fn what_is_outdated_begins_with_security_updates() {
    let key = make_key(1);
    let recipe = recipe(&["tiny", "tiny-security"], &["a", "z"]);
    let lock = |plain: &str, security: &str| {
        let suites = [
            Suite::new("tiny", plain),
            Suite::new("tiny-security", security),
        ];
        lock_from(&recipe, &Mirror::publish(&suites, &key), &key, None).unwrap()
    };
    let plain = "Package: a\nVersion: 1\nDepends: b\n\nPackage: b\nVersion: 1\n\n\
                 Package: z\nVersion: 1\n";
    let old = lock(plain, "Package: unused\nVersion: 1\n");
    let new = lock(
        &plain.replacen(
            "Version: 1\nDepends: b",
            "Version: 2\nDepends: c\n\nPackage: c\nVersion: 1",
            1,
        ),
        "Package: z\nVersion: 1+u1\n",
    );
    let told: Vec<String> = outdated(&old, &new)
        .iter()
        .map(|one| {
            let version = |version: &Option<String>| version.clone().unwrap_or_default();
            format!(
                "{:?} {} {} {} {}",
                one.change,
                one.package,
                version(&one.locked),
                version(&one.offered),
                one.suite
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "Upgraded z 1 1+u1 tiny-security",
            "Upgraded a 1 2 tiny",
            "Removed b 1  tiny",
            "Added c  1 tiny",
        ]
    );
    assert!(outdated(&new, &new).is_empty());
}

#[test]
fn snapshots_are_those_of_the_recipe_at_the_time_of_the_lock() {
    let key = make_key(1);
    let mirror = Mirror::publish(&[Suite::new("tiny", BASE)], &key);
    let mut recipe = recipe(&["tiny"], &["base"]);
    let lock = lock_from(&recipe, &mirror, &key, None).unwrap();
    assert!(objects(&lock, &recipe)[0].snapshots.is_empty());
    recipe.sources[0].snapshots = vec![
        "http://a.test/{time}/".to_owned(),
        "http://b.test".to_owned(),
    ];
    let path = &lock.packages[0].path;
    assert_eq!(
        objects(&lock, &recipe)[0].snapshots,
        [
            format!("http://a.test/20261122T110000Z/{path}"),
            format!("http://a.test/20261123T110000Z/{path}"),
            format!("http://b.test/{path}"),
        ]
    );
}

#[test]
fn a_clock_before_the_lock_is_told_first() {
    let key = make_key(1);
    let recipe = recipe(&["tiny"], &["base"]);
    let mirror = Mirror::publish(&[Suite::new("tiny", BASE)], &key);
    let lock = lock_from(&recipe, &mirror, &key, None).unwrap();
    let early = make_lock_with_keys(
        &recipe,
        &mirror,
        Some(&lock),
        &[],
        NOW - 86_400,
        &Progress::hidden(),
        &|_: &str| Ok(vec![certificate(&key)]),
    );
    assert_eq!(
        render(&early.unwrap_err()),
        "error: resolving tiny: this machine's clock says 2026-11-21 12:00:00 UTC, but the \
         lock came from an index of 2026-11-22 11:00:00 UTC\n\
         hint: set the clock; a build with `--locked` does not need it"
    );
}

#[test]
fn a_lock_older_than_its_recipe_is_refused() {
    let first = recipe(&["tiny"], &["perl", "mailer"]);
    let key = make_key(1);
    let mirror = Mirror::publish(&[Suite::new("tiny", BASE)], &key);
    let lock = lock_from(&first, &mirror, &key, None).unwrap();
    let mut renamed = recipe(&["tiny"], &["mailer", "perl"]);
    renamed.name = "other".to_owned();
    renamed.version = "2".to_owned();
    // Where old packages are kept decides nothing of what is built.
    renamed.sources[0].snapshots = vec!["http://snapshot.test/{time}".to_owned()];
    check_fresh(&renamed, &lock).unwrap();
    for changed in [
        recipe(&["tiny"], &["mailer"]),
        dropping(recipe(&["tiny"], &["perl", "mailer"]), &["mawk"]),
        recipe(&["tiny", "more"], &["perl", "mailer"]),
    ] {
        let text = render(&check_fresh(&changed, &lock).unwrap_err());
        assert!(text.contains("older than the recipe"), "{text}");
        assert!(text.contains("hint: `mailimg lock tiny`"), "{text}");
    }
}
