//! Archives that must not be believed, and what the user reads then.

use super::{BASE, lock_from, recipe, refused};
use crate::builder::archive::fixture::keys::{certificate, make_key};
use crate::builder::archive::fixture::{Mirror, NOW, Suite};
use crate::error::render;

/// Publishes, damages and locks; returns the error's text.
fn refused_after(damage: impl Fn(&mut Mirror)) -> String {
    let key = make_key(1);
    let mut mirror = Mirror::publish(&[Suite::new("tiny", BASE)], &key);
    damage(&mut mirror);
    let error = lock_from(&recipe(&["tiny"], &["perl"]), &mirror, &key, None).unwrap_err();
    render(&error)
}

#[test]
fn a_flipped_bit_in_the_inrelease_is_refused() {
    let address = Mirror::address("tiny", "InRelease");
    let text = refused_after(|mirror| {
        let bytes = mirror.files.get_mut(&address).unwrap();
        let position = bytes.windows(6).position(|part| part == b"Origin").unwrap();
        bytes[position] ^= 1;
    });
    assert!(
        text.starts_with("error: checking the InRelease of tiny: no acceptable signature: "),
        "{text}"
    );
    assert!(text.contains("does not match the text\nhint: "), "{text}");
}

#[test]
fn a_flipped_bit_in_an_index_is_refused() {
    let text = refused_after(|mirror| {
        for (url, bytes) in &mut mirror.files {
            if !url.ends_with("InRelease") {
                bytes[20] ^= 1;
            }
        }
    });
    assert!(
        text.starts_with("error: fetching the package indexes of tiny: "),
        "{text}"
    );
    assert!(
        text.contains("hint: a mirror in the middle of an update"),
        "{text}"
    );
}

#[test]
fn an_index_is_found_without_by_hash_too() {
    let key = make_key(1);
    let mut mirror = Mirror::publish(&[Suite::new("tiny", BASE)], &key);
    mirror.files.retain(|url, _| !url.contains("by-hash"));
    lock_from(&recipe(&["tiny"], &["perl"]), &mirror, &key, None).unwrap();
}

#[test]
fn a_web_page_in_place_of_the_inrelease_is_recognised() {
    let address = Mirror::address("tiny", "InRelease");
    let text = refused_after(|mirror| {
        mirror
            .files
            .insert(address.clone(), b"<!DOCTYPE html>\n<html>".to_vec());
    });
    assert_eq!(
        text,
        "error: checking the InRelease of tiny: this is no signed document: \
         it begins with '<!DOCTYPE html>'\n\
         hint: a proxy or a captive portal may have answered in the mirror's place; \
         open the address in a browser, or name another mirror in the recipe"
    );
}

#[test]
fn a_foreign_key_is_refused_and_named() {
    let mirror = Mirror::publish(&[Suite::new("tiny", BASE)], &make_key(2));
    let error = lock_from(&recipe(&["tiny"], &["perl"]), &mirror, &make_key(1), None).unwrap_err();
    let text = render(&error);
    let foreign = certificate(&make_key(2)).fingerprint();
    assert!(
        text.contains(&format!("{foreign} is not among the allowed keys")),
        "{text}"
    );
}

#[test]
fn a_release_past_its_date_is_refused() {
    let key = make_key(1);
    let mut suite = Suite::new("tiny", BASE);
    suite.valid_until = Some(NOW - 60);
    let mirror = Mirror::publish(&[suite], &key);
    let error = lock_from(&recipe(&["tiny"], &["perl"]), &mirror, &key, None).unwrap_err();
    assert!(render(&error).contains("it expired on 2026-11-22 11:59:00 UTC\nhint: "));
}

#[test]
fn an_archive_that_went_back_in_time_is_refused() {
    let key = make_key(1);
    let recipe = recipe(&["tiny"], &["perl"]);
    let newer = Mirror::publish(&[Suite::new("tiny", BASE)], &key);
    let lock = lock_from(&recipe, &newer, &key, None).unwrap();
    let mut suite = Suite::new("tiny", BASE);
    suite.date -= 86400;
    let older = Mirror::publish(&[suite], &key);
    let error = lock_from(&recipe, &older, &key, Some(&lock)).unwrap_err();
    assert!(render(&error).contains("than the one the lock came from"));
    lock_from(&recipe, &newer, &key, Some(&lock)).unwrap();
}

#[test]
fn unknown_components_and_architectures_are_answered_with_what_is_there() {
    let key = make_key(1);
    let mirror = Mirror::publish(&[Suite::new("tiny", BASE)], &key);
    let mut wrong = recipe(&["tiny"], &["perl"]);
    wrong.sources[0].components = vec!["universe".to_owned()];
    let error = lock_from(&wrong, &mirror, &key, None).unwrap_err();
    assert!(
        render(&error).contains("tiny has no component 'universe'\nhint: its components are main")
    );
    wrong.architecture = "s390x".to_owned();
    let error = lock_from(&wrong, &mirror, &key, None).unwrap_err();
    assert!(render(&error).contains("tiny has no packages for s390x"));
}

#[test]
fn a_package_with_a_broken_field_is_named() {
    let text = refused(
        &recipe(&["tiny"], &["a"]),
        "Package: a\nVersion: 1\nDepends: b (>= 1\n",
    );
    assert!(
        text.contains("reading package a 1: the relation 'b (>= 1' lacks its closing"),
        "{text}"
    );
}
