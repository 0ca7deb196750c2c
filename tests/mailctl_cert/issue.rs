//! From nothing to a certificate, by each way there is.

use std::os::unix::fs::PermissionsExt;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::json;

use super::HOST;
use super::world::{Manner, World};

const CHAIN: &str = "var/lib/mailimg/tls/fullchain.pem";
const KEY: &str = "var/lib/mailimg/tls/privkey.pem";

#[test]
fn a_second_run_makes_nothing_new() {
    let world = World::started(Manner::default());
    assert!(world.status(HOST)["certificate"]["self_signed"] == true);
    let said = world.acme();
    assert!(
        said.contains("a certificate of Pebble Intermediate CA"),
        "{said}"
    );
    assert_eq!(world.counts(), (1, 1));
    // Not in use before root took it.
    assert!(world.status(HOST)["certificate"]["self_signed"] == true);
    world
        .machine
        .run(&["cert", "take"])
        .success()
        .stdout(format!("Took the certificate of {HOST} into use.\n"));
    let status = world.status(HOST);
    assert_eq!(status["certificate"]["self_signed"], false, "{status}");
    assert_eq!(status["problem"], json!(null));
    let key = std::fs::metadata(world.machine.path(KEY)).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o640);
    let account = std::fs::metadata(world.machine.path("var/lib/mailimg/acme/account.json"));
    assert_eq!(account.unwrap().permissions().mode() & 0o777, 0o600);

    let (chain, account) = (
        world.machine.read(CHAIN),
        world.machine.read("var/lib/mailimg/acme/account.json"),
    );
    for _ in 0..2 {
        assert_eq!(world.acme_and_take().trim(), "");
    }
    assert_eq!(world.counts(), (1, 1));
    assert_eq!(world.machine.read(CHAIN), chain);
    assert_eq!(
        world.machine.read("var/lib/mailimg/acme/account.json"),
        account
    );
    let status = world.status(HOST);
    assert_eq!(status["next_renewal"]["reason"], "ari", "{status}");
    let public = world.public();
    assert_ne!(public["next_key"], status["certificate"]["key_sha256"]);
    assert!(public["account"].as_str().unwrap().contains("/my-account/"));
    world.machine.run(&["cert", "status"]).success().stdout(
        contains("issuer        Pebble Intermediate CA")
            .and(contains("the CA suggests it (ARI)"))
            .and(contains("problem").not()),
    );
    // Nothing of a challenge is left.
    let left = std::fs::read_dir(world.machine.path("run/mailimg-acme/http")).unwrap();
    assert_eq!(left.count(), 0);
    // The next boot finds a real certificate and leaves it alone.
    world.machine.run(&["provision"]).success();
    assert_eq!(world.machine.read(CHAIN), chain);
    world
        .machine
        .run(&["cert", "renew"])
        .success()
        .stdout(contains("it is renewed at"));
    assert_eq!(world.counts(), (1, 1));
}
