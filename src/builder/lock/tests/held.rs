//! Packages that are held back, and what cannot be.

use super::recipe;
use crate::builder::archive::fixture::keys::{certificate, make_key};
use crate::builder::archive::fixture::{Mirror, NOW, Suite};
use crate::builder::lock::{Held, HeldPackage, Lock, difference, held_text, make_lock_with_keys};
use crate::builder::progress::Progress;
use crate::error::render;

const FIRST: &str = "\
Package: mailer
Version: 1
Depends: library (= 1)

Package: library
Version: 1

Package: kernel-1
Version: 1

Package: kernel
Version: 1
Depends: kernel-1
";

const SECOND: &str = "\
Package: mailer
Version: 2
Depends: library (= 2)

Package: library
Version: 2

Package: kernel-2
Version: 2

Package: kernel
Version: 2
Depends: kernel-2
";

fn lock(packages: &str, held: &[HeldPackage]) -> anyhow::Result<Lock> {
    let key = make_key(1);
    let mirror = Mirror::publish(&[Suite::new("tiny", packages)], &key);
    let recipe = recipe(&["tiny"], &["mailer", "kernel"]);
    let keyrings = |_: &str| Ok(vec![certificate(&key)]);
    make_lock_with_keys(
        &recipe,
        &mirror,
        None,
        held,
        NOW,
        &Progress::hidden(),
        &keyrings,
    )
}

/// Packages of the first lock, to be held back from version 2.
fn held(names: &[&str]) -> Vec<HeldPackage> {
    let first = lock(FIRST, &[]).unwrap();
    let stanza = |name: &str| {
        let start = format!("Package: {name}\n");
        let stanza = FIRST
            .split("\n\n")
            .find(|stanza| stanza.starts_with(&start));
        format!("{}\nArchitecture: amd64\n", stanza.unwrap().trim_end())
    };
    let of = |name: &&str| HeldPackage {
        locked: first
            .packages
            .iter()
            .find(|one| one.name == **name)
            .unwrap()
            .clone(),
        control: stanza(name),
        held: Held {
            offered: "2".to_owned(),
            listed: 7,
        },
    };
    names.iter().map(of).collect()
}

#[test]
fn a_package_stays_behind_with_what_it_needs() {
    let lock = lock(SECOND, &held(&["mailer", "library"])).unwrap();
    assert_eq!(
        super::listed(&lock),
        "kernel 2\nkernel-2 2\nlibrary 1\nmailer 1"
    );
    let told: Vec<String> = lock.packages.iter().filter_map(held_text).collect();
    assert_eq!(
        told,
        [
            "held back   library 1, although 2 is on offer",
            "held back   mailer 1, although 2 is on offer"
        ]
    );
    assert_eq!(Lock::parse(&lock.to_text()).unwrap(), lock);
    let told = difference(&lock, &lock);
    assert!(told.contains("held back   mailer 1"), "{told}");
}

#[test]
fn a_kernel_stays_behind_though_its_name_is_gone() {
    let lock = lock(SECOND, &held(&["kernel", "kernel-1"])).unwrap();
    assert_eq!(
        super::listed(&lock),
        "kernel 1\nkernel-1 1\nlibrary 2\nmailer 2"
    );
}

#[test]
fn what_needs_the_newer_one_is_named() {
    let error = render(&lock(SECOND, &held(&["library"])).unwrap_err());
    assert!(
        error.contains("mailer") && error.contains("library"),
        "{error}"
    );
}
