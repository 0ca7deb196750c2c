//! `mailimg push` of a signed folder and `mailctl upgrade oci://…`, through Debian's registry.

use std::fs;
use std::process::Command;

use super::site::Site;
use crate::oci::{CONTAINER, bench};
use crate::world::registry::{Registry, Tokens};

#[test]
fn a_signed_version_comes_from_a_registry() {
    let mut site = Site::new();
    let registry = Registry::for_everybody();
    site.trust(&registry);
    let reference = registry.reference("team/mail:stable");
    let said = site.push(&registry, &["served"], &reference);
    assert!(said.done().stdout.contains(" 0 were there"), "{said:?}");
    let again = site.push(&registry, &["served"], &reference);
    assert!(again.done().stdout.contains(": 0 bytes sent"), "{again:?}");

    let checked = site.upgrade_from(&reference, &["--check"]);
    assert!(checked.done().stdout.contains('2'), "{checked:?}");
    assert_eq!(site.machine.standing(), "");
    // The line ends in the middle of it, and what came is kept.
    registry.line().cut_after(usize::MAX, 40_000);
    let error = site.upgrade_from(&reference, &[]).error(1);
    assert!(error.contains("\nhint: "), "{error}");
    registry.line().mend();
    let said = site.upgrade_from(&reference, &[]);
    let text = said.done().stdout.clone();
    assert!(text.starts_with("2 is ready: "), "{text}");
    assert_eq!(site.machine.boot_version(), "2");
    site.machine.mailctl(&["bless"]).done();
    let error = site.upgrade_from(&reference, &[]).error(1);
    assert!(error.contains("version 2 is what runs"), "{error}");
}

#[test]
fn a_registry_that_gives_everybody_a_token_is_asked_for_one() {
    let mut site = Site::new();
    let tokens = Tokens::start("mail");
    let registry = Registry::with_tokens(&tokens);
    fs::remove_file(registry.credentials()).unwrap();
    site.server.authority.push_str(&tokens.server.authority);
    site.trust(&registry);
    let reference = registry.reference("mail:1");
    site.push(&registry, &["served"], &reference).done();
    let asked = tokens.server.asked();
    assert!(
        asked
            .iter()
            .any(|asked| asked.contains("service=registry.test")
                && asked.contains("scope=repository:mail:pull")),
        "{asked:?}"
    );
    tokens.server.set(Default::default());
    site.upgrade_from(&reference, &[]).done();
    assert_eq!(tokens.server.asked().len(), 1);
    // It lets nobody into another repository.
    let error = site
        .upgrade_from(&registry.reference("other:1"), &[])
        .error(1);
    assert!(error.contains("the server answers 401"), "{error}");
}

#[test]
fn what_is_no_update_in_a_registry_is_told_and_changes_nothing() {
    let site = Site::new();
    let open = Registry::for_everybody();
    site.trust(&open);
    site.push(&open, &["served"], &open.reference("mail:1"))
        .done();
    let refused_with = |status: i32, reference: &str| {
        let error = site.upgrade_from(reference, &[]).error(status);
        assert_eq!(site.machine.standing(), "");
        assert!(error.contains("\nhint: "), "{error}");
        error
    };
    let refused = |reference: &str| refused_with(1, reference);
    let error = refused(&open.reference("mail:2"));
    assert!(error.contains("there is no 2"), "{error}");
    let error = refused_with(2, &open.reference("mail"));
    assert!(error.contains("it has no tag"), "{error}");
    let error = refused_with(2, "oci://mail:1");
    assert!(error.contains("does not begin with a registry"), "{error}");
    let error = refused_with(2, &site.server.address().replace("https", "oci"));
    assert!(error.contains("reading 'oci://localhost"), "{error}");
    // A web server that is no registry.
    let port = site.server.port;
    let error = refused(&format!("oci://localhost:{port}/mail:1"));
    assert!(error.contains("there is no 1"), "{error}");
    site.server.set(crate::world::folder_server::Manner::Page);
    let error = refused(&format!("oci://localhost:{port}/mail:1"));
    assert!(error.contains("it is no manifest of a registry"), "{error}");

    // Half of a folder goes nowhere.
    let pack = site.update().root.blocks.pack.path("pack");
    fs::write(site.served(&pack), "damaged").unwrap();
    let error = site
        .push(&open, &["served"], &open.reference("mail:3"))
        .error(1);
    assert!(error.contains("is not what was signed"), "{error}");
    fs::remove_file(site.served(&pack)).unwrap();
    let error = site
        .push(&open, &["served"], &open.reference("mail:3"))
        .error(1);
    assert!(error.contains("opening parts/DIGEST.pack"), "{error}");

    // One with a password is for machines no place.
    let closed = Registry::start();
    site.trust(&closed);
    let error = refused(&closed.reference("mail:1"));
    assert!(error.contains("the server answers 401"), "{error}");
}

#[test]
fn an_image_and_an_update_lie_under_one_tag() {
    let site = Site::new();
    let registry = Registry::for_everybody();
    site.trust(&registry);
    let reference = registry.reference("mail:stable");
    let [old, new] = ["smtp", "another smtp"].map(|smtp| {
        let bench = bench(CONTAINER, smtp).with_image("oci");
        let path = site.machine.bench.work(smtp).with_extension("oci.tar");
        fs::copy(bench.work("out/tiny_1.oci.tar"), &path).unwrap();
        path.to_str().unwrap().to_owned()
    });
    site.push(&registry, &[&old, "served"], &reference).done();
    let comes_back = |archive: &str| {
        let bench = &site.machine.bench;
        let mut command = bench.command();
        command
            .args(["pull", &reference, "--output-dir", "pulled", "--ca-file"])
            .arg(registry.authority());
        bench.finish(&mut command).done();
        let pulled = fs::read(bench.work("pulled/tiny_1.oci.tar")).unwrap();
        assert!(pulled == fs::read(archive).unwrap(), "{archive}");
    };
    comes_back(&old);
    // What engines would run.
    let inspected = Command::new("skopeo")
        .args(["inspect", "--tls-verify=false", "--config"])
        .arg(reference.replace("oci://", "docker://"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&inspected.stdout);
    assert!(text.contains("/sbin/init"), "{inspected:?}");

    // A newer image takes the older one's place, and leaves the update.
    let said = site.push(&registry, &[&new], &reference);
    let text = said.done().stdout.clone();
    assert!(
        text.contains("The tag still has the update 2, sha256:"),
        "{text}"
    );
    comes_back(&new);
    site.upgrade_from(&reference, &[]).done();

    let error = site.push(&registry, &[&old, &new], &reference).error(2);
    assert!(error.contains("two of these"), "{error}");
    // An image alone needs no index.
    let alone = registry.reference("mail:alone");
    site.push(&registry, &[&old], &alone).done();
    let error = site.upgrade_from(&alone, &[]).error(1);
    assert!(
        error.contains("is no update of a machine's disk"),
        "{error}"
    );
}
