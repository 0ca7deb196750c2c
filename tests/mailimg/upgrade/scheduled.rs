//! `mailctl upgrade --scheduled`: what a machine takes by itself, and when.

use std::fs;

use jiff::Timestamp;

use super::site::Site;
use crate::world::folder_server::Manner;

/// One whose window is open all day, and whose chance is that it begins at once.
fn site() -> Site {
    let site = Site::new();
    set(&site, 0);
    site
}

/// A window that opened so many hours ago, and lasts longer; its first half is over.
fn set(site: &Site, hours: i64) {
    let start = Timestamp::now().as_second() - (12 + hours) * 3600;
    let time = Timestamp::from_second(start).unwrap().to_string();
    let settings = format!(
        "DOMAIN=a.example\nHOSTNAME=mail.a.example\nUPDATE_SOURCE={}\nUPDATE_SCHEDULE={}\n\
         UPDATE_WINDOW=23h\n",
        site.server.address(),
        &time[11..16]
    );
    site.put("var/lib/mailimg/settings.env", &settings);
}

fn look(site: &Site) -> crate::world::bench::outcome::Outcome {
    let arguments = ["upgrade", "--scheduled", "--patience", "2"];
    site.machine.mailctl(&arguments)
}

#[test]
fn it_takes_what_is_new_once() {
    let mut site = site();
    let said = look(&site);
    assert_eq!(said.done().stdout, "2 is tried now\n");
    assert_eq!(
        look(&site).done().stdout,
        "Nothing is left to do in this window.\n"
    );
    assert_eq!(site.machine.boot_version(), "2");
    // On trial, in the next window.
    set(&site, 1);
    assert_eq!(look(&site).done().stdout, "2 is on trial\n");
    site.machine.mailctl(&["bless"]).done();
    set(&site, 2);
    assert_eq!(
        look(&site).done().stdout,
        "2 is what runs, nothing is newer\n"
    );
    let status = site.machine.mailctl(&["status"]).done().stdout.clone();
    assert!(status.contains("\nUpdates      "), "{status}");
    assert!(
        status.contains("2 is what runs, nothing is newer"),
        "{status}"
    );
}

#[test]
fn what_did_not_prove_itself_is_not_tried_again() {
    let mut site = site();
    look(&site).done();
    assert_eq!(site.machine.boot_version(), "2");
    site.machine.mailctl(&["fallback"]).done();
    assert_eq!(site.machine.boot_version(), "1");
    site.machine.mailctl(&["bless"]).done();
    set(&site, 1);
    let said = "2 did not prove itself here and is not tried again by itself\n";
    assert_eq!(look(&site).done().stdout, said);
    // By hand it is, and a newer one by itself.
    set(&site, 2);
    site.sign("3", &[]).done();
    assert_eq!(look(&site).done().stdout, "3 is tried now\n");
}

#[test]
fn a_failure_is_looked_at_again_in_the_same_window() {
    let mut site = site();
    site.server.set(Manner::Status(503));
    let told = || fs::read_to_string(site.machine.path("var/lib/mailimg/upgrade-attempt.json"));
    for _ in 0..2 {
        assert!(look(&site).error(1).contains("the server answers 503"));
        assert!(
            told()
                .unwrap()
                .contains("\"told\": \"fetching https://localhost")
        );
    }
    let status = site.machine.mailctl(&["status"]).done().stdout.clone();
    assert!(status.contains("\nUpdates      "), "{status}");
    site.server.set(Manner::Well);
    assert_eq!(look(&site).done().stdout, "2 is tried now\n");
    assert!(told().unwrap().contains("\"told\": null"));
    assert_eq!(site.machine.boot_version(), "2");
}

/// The owner got mail about a failure that was his own upgrade.
#[test]
fn an_upgrade_by_hand_is_waited_for_and_no_failure() {
    let site = site();
    let lock = fs::File::create(site.machine.path("run/mailimg-upgrade.lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(look(&site).done().stdout, "an upgrade is under way\n");
    let attempt = site.machine.path("var/lib/mailimg/upgrade-attempt.json");
    let attempt = fs::read_to_string(attempt).unwrap();
    assert!(attempt.contains("\"told\": null"), "{attempt}");
    drop(lock);
    assert_eq!(look(&site).done().stdout, "2 is tried now\n");
}

#[test]
fn it_waits_for_schedule_and_window() {
    let site = Site::new();
    assert_eq!(look(&site).done().stdout, "There are no settings yet.\n");
    let minimal = "DOMAIN=a.example\nHOSTNAME=mail.a.example\n";
    site.put("var/lib/mailimg/settings.env", minimal);
    assert_eq!(look(&site).done().stdout, "UPDATE_SCHEDULE is not set.\n");
    set(&site, -13);
    assert_eq!(look(&site).done().stdout, "The window is not open.\n");
    fs::remove_file(site.machine.path("run/systemd/timesync/synchronized")).unwrap();
    assert_eq!(look(&site).done().stdout, "The clock is not set yet.\n");
    // Without an address it is UPDATE_SOURCE that is meant.
    site.put("run/systemd/timesync/synchronized", "");
    let said = site
        .machine
        .mailctl(&["upgrade", "--check"])
        .done()
        .stdout
        .clone();
    assert!(said.starts_with("2 would come, 1 runs."), "{said}");
    site.put("var/lib/mailimg/settings.env", minimal);
    let error = site.machine.mailctl(&["upgrade", "--check"]).error(1);
    assert!(error.contains("set UPDATE_SOURCE"), "{error}");
}
