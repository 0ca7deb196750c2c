//! `mailctl dns records`: the texts that people paste.

use crate::world::golden::assert_golden;
use crate::world::machine::Machine;

const SETTINGS: &str = "DOMAIN=wombat.example\nHOSTNAME=mail.host.example\n\
     ADDITIONAL_DOMAINS=koala.example\nADMIN_USER_INITIAL_PASSWORD=x\nPUBLIC_IPV6=2001:db8::25\n";

/// Output with the keys, new in each run, made the same.
fn records(machine: &Machine, words: &[&str]) -> String {
    let mut all = vec!["dns", "records"];
    all.extend(words);
    let assert = machine.run(&all).success();
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    text.lines()
        .map(|line| match line.split_once("p=MII") {
            Some((start, _)) => format!("{start}p=MII(key)\n"),
            None => format!("{line}\n"),
        })
        .collect()
}

#[test]
fn records_as_people_paste_them() {
    let machine = Machine::new();
    machine.put_esp(SETTINGS);
    machine.boot();
    std::fs::remove_file(machine.path("var/lib/mailimg/tls/self-signed")).unwrap();
    let chain = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
    let certificate = machine.read("var/lib/mailimg/tls/fullchain.pem");
    std::fs::write(machine.path("var/lib/mailimg/tls/fullchain.pem"), chain).unwrap();
    machine
        .run(&["dns", "records"])
        .code(1)
        .stderr(predicates::str::contains("reading "));
    std::fs::write(
        machine.path("var/lib/mailimg/tls/fullchain.pem"),
        certificate,
    )
    .unwrap();
    // The digest of a key that is new in each run.
    let masked = |text: String| -> String {
        text.lines()
            .map(|line| match line.split_once("3 1 1 ") {
                Some((start, _)) => format!("{start}3 1 1 (digest)\n"),
                None => format!("{line}\n"),
            })
            .collect()
    };
    let address = ["--address", "192.0.2.25", "--address", "2001:db8::25"];
    let zone = records(&machine, &[&["--zone"][..], &address].concat());
    assert_golden("dns_records_zone", &masked(zone));
    let form = records(&machine, &[&["koala.example"][..], &address].concat());
    assert_golden("dns_records_form", &masked(form));
    // One domain alone is still a whole zone, with what it holds for the others.
    let alone = records(&machine, &["wombat.example", "--zone"]);
    assert!(alone.contains("koala.example._report._dmarc.wombat.example. "));
    assert!(!alone.contains(" _dmarc.koala.example"));
    // Without --address, what the settings say.
    let json = records(&machine, &["--json"]);
    assert!(json.contains("\"2001:db8::25\"") && !json.contains("192.0.2.25"));
    machine
        .run(&["dns", "records", "b.example"])
        .code(1)
        .stderr(predicates::str::contains(
            "'b.example' is no domain of this machine",
        ));
    machine
        .run(&["dns", "check"])
        .code(1)
        .stderr("error: a folder has no resolver\nhint: --resolver ADDRESS:PORT names one\n");
}
