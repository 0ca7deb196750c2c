//! From nothing to a certificate, by each way there is.

use std::os::unix::fs::PermissionsExt;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::{Value, json};

use super::HOST;
use super::world::{EXTERNAL_ACCOUNT, Manner, World};

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

#[test]
fn the_other_port_when_port_80_is_shut() {
    let world = World::started(Manner {
        http_open: false,
        ..Manner::default()
    });
    let said = world.acme_and_take();
    assert_eq!(world.record(HOST)["method"], "tls-alpn-01", "{said}");
    assert_eq!(world.status(HOST)["certificate"]["self_signed"], false);
    assert_eq!(world.counts(), (1, 2));
    // It is remembered: no order is wasted on the shut port.
    world
        .machine
        .run(&["cert", "renew", "--force"])
        .success()
        .stdout(contains(HOST));
    assert_eq!(world.counts(), (1, 3));

    // Behind somebody's web server there is only port 80.
    let world = World::started(Manner {
        http_open: false,
        ..Manner::default()
    });
    world.configure(|configuration| configuration["tls_alpn"] = false.into());
    world
        .machine
        .run(&["cert", "renew"])
        .code(1)
        .stderr(contains("the CA cannot connect to port 80").and(contains("hint: open port 80")));
    assert_eq!(world.status(HOST)["problem"]["kind"], "port");
    assert_eq!(world.counts(), (1, 1));
}

#[test]
fn accounts_that_the_authority_gives_out() {
    let (kid, hmac) = EXTERNAL_ACCOUNT;
    let world = World::started(Manner::bound());
    world
        .machine
        .run(&["cert", "renew"])
        .code(1)
        .stderr(contains("wants an account that it gave out").and(contains("ACME_EAB_KID")));
    let other = hmac.replace('z', "a");
    for (kid, hmac, code) in [(kid, &other[..], 1), ("kid-9", hmac, 1), (kid, hmac, 0)] {
        world.set_external_account(kid, hmac);
        let assert = world.machine.run(&["cert", "renew"]).code(code);
        let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(code == 0 || said.contains("the account"), "{said}");
    }
    assert_eq!(world.counts(), (1, 1));
    assert_eq!(world.status(HOST)["problem"], json!(null));
    // A power cut after the request and before its answer: it is the same account.
    let path = world.machine.path("var/lib/mailimg/acme/account.json");
    let whole: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let mut cut = whole.clone();
    cut["address"] = json!(null);
    std::fs::write(&path, cut.to_string()).unwrap();
    world.machine.run(&["cert", "renew", "--force"]).success();
    assert_eq!(world.counts(), (1, 2));
    let again: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert!(again["address"].is_string());
    assert_eq!(again, whole);
    // Another key at the CA is another account; the old one is kept.
    let kept = || {
        std::fs::read_dir(world.machine.path("var/lib/mailimg/acme"))
            .unwrap()
            .filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                name.to_string_lossy().starts_with("account-until-")
            })
            .count()
    };
    let before = kept();
    world.set_external_account("kid-2", hmac);
    world.machine.run(&["cert", "renew", "--force"]).code(1);
    assert!(kept() > 0 && kept() >= before);
}

#[test]
fn optional_names_come_once_they_lead_here() {
    let world = World::new(Manner::default());
    let (here, away) = ("autoconfig.wombat.example", "mta-sts.wombat.example");
    world.configure(|configuration| configuration["optional_names"] = json!([here, away]));
    world.names.point(here, "127.0.0.1");
    world.names.point(away, "198.18.0.9");
    let mut world = world;
    // While HOSTNAME has none, nobody asks for others.
    world.acme();
    assert_eq!(world.status(here)["waiting"], format!("{HOST} comes first"));
    world.start_ca();
    world.machine.run(&["cert", "renew"]).success();
    world.machine.run(&["cert", "take"]).success();
    assert_eq!(world.counts(), (1, 2));
    assert_eq!(world.status(here)["certificate"]["days_left"], 89);
    let path = format!("var/lib/mailimg/tls/names/{here}/privkey.pem");
    assert_ne!(world.machine.read(&path), world.machine.read(KEY));
    let status = world.status(away);
    assert_eq!(status["waiting"], format!("{away} leads to 198.18.0.9"));
    assert_eq!(status["certificate"], json!(null));
    world
        .machine
        .run(&["cert", "renew", away])
        .code(1)
        .stderr(contains("leads to 198.18.0.9"));
    world
        .machine
        .run(&["cert", "renew", "other.example"])
        .code(1)
        .stderr(contains("none of the names that get a certificate"));
    assert_eq!(world.status(HOST)["problem"], json!(null));

    world.names.point(away, "127.0.0.1");
    world.machine.run(&["cert", "renew", away]).success();
    world.machine.run(&["cert", "take"]).success();
    assert_eq!(world.counts(), (1, 3));
    assert_eq!(world.status(away)["certificate"]["self_signed"], false);
    // One that nobody wants any more stays as it is and is not renewed.
    world.configure(|configuration| configuration["optional_names"] = json!([here]));
    world.acme_and_take();
    let left = format!("var/lib/mailimg/tls/names/{away}/fullchain.pem");
    assert!(world.machine.path(&left).exists());
}
