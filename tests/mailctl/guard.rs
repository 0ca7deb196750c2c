//! `mailctl guard`, `mailctl ban` and `mailctl filter` as units and people call them.

use crate::world::machine::Machine;
use crate::world::machine::service::Service;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;

/// A machine with the folders that systemd makes for both units.
fn machine() -> Machine {
    let machine = Machine::provisioned();
    for folder in [
        "run/mailimg-guard",
        "run/mailimg-filter",
        "var/lib/mailimg/guard",
        "usr/share/publicsuffix",
    ] {
        std::fs::create_dir_all(machine.path(folder)).unwrap();
    }
    let suffixes = machine.path("usr/share/publicsuffix/public_suffix_list.dat");
    std::fs::write(suffixes, "example\n").unwrap();
    machine
}

/// A port that was free a moment ago.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn report_failures(machine: &Machine, address: SocketAddr, remote: &str, count: usize) {
    let key = machine.read("run/mailimg/guard-key");
    let body = format!(
        "{{\"device_id\":\"\",\"fail_type\":\"credentials\",\"login\":\"jens@wombathub.de\",\
         \"protocol\":\"imap\",\"pwhash\":\"0acd\",\"remote\":\"{remote}\",\"session_id\":\"\",\
         \"success\":false,\"policy_reject\":false,\"tls\":true}}"
    );
    let request = |connection: &str| {
        format!(
            "POST /?command=report HTTP/1.1\r\nHost: {address}\r\nConnection: {connection}\r\n\
             Content-Type: application/json\r\nX-API-Key: {key}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let requests = request("Keep-Alive").repeat(count - 1) + &request("close");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(requests.as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said.matches("200 OK").count(), count, "{said}");
}

#[test]
fn six_bad_logins_ban_until_lifted() {
    let machine = machine();
    let address = free_address();
    let listen = address.to_string();
    let guard = Service::start(&machine, &["guard", "--listen", &listen]);
    machine
        .run(&["ban", "list"])
        .success()
        .stdout("No address is banned.\n");
    report_failures(&machine, address, "192.0.2.1", 5);
    report_failures(&machine, address, "127.0.0.1", 20);
    machine
        .run(&["ban", "list", "--json"])
        .success()
        .stdout("[]\n");
    report_failures(&machine, address, "192.0.2.1", 1);
    report_failures(&machine, address, "2001:db8::1", 6);
    // An answer means that all reports before it were worked off.
    machine.run(&["ban", "list"]).success();
    drop(guard);
    let address = free_address();
    let listen = address.to_string();
    let _guard = Service::start(&machine, &["guard", "--listen", &listen]);
    let output = machine.run(&["ban", "list", "--json"]).success();
    let bans: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    let bans = bans.as_array().unwrap();
    assert_eq!(bans.len(), 2);
    for ban in bans {
        assert_eq!(ban["failures"], 6);
        assert_eq!(ban["account"], "jens@wombathub.de");
        assert!(ban["until"].as_str().unwrap() > ban["since"].as_str().unwrap());
    }
    machine
        .run(&["ban", "lift", "2001:db8:0:0:ffff::1"])
        .success()
        .stdout("Lifted the ban of 2001:db8::/64.\n");
    machine
        .run(&["ban", "lift", "198.51.100.1"])
        .code(1)
        .stderr("error: 198.51.100.1 is not banned\nhint: mailctl ban list shows who is\n");
    machine.run(&["ban", "lift", "everybody"]).code(2);
    machine
        .run(&["ban", "lift", "all"])
        .success()
        .stdout("Lifted the ban of 192.0.2.1.\n");
    machine
        .run(&["ban", "lift", "all"])
        .success()
        .stdout("No address is banned.\n");
}

#[test]
fn without_a_guard_there_is_a_hint() {
    let machine = machine();
    let output = machine.run(&["ban", "list"]).code(1);
    let said = String::from_utf8_lossy(&output.get_output().stderr);
    assert!(
        said.contains("hint: systemctl status mailimg-guard"),
        "{said}"
    );
}

#[test]
fn the_filter_is_ready_when_its_socket_is() {
    let machine = machine();
    let _filter = Service::start(&machine, &["filter"]);
    let socket = machine.path("run/mailimg-filter/filter.sock");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let output = machine.run(&["health", "--timeout", "0", "--json"]).code(1);
    let health: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    let outcome = |name: &str| {
        let probes = health["probes"].as_array().unwrap();
        probes
            .iter()
            .find(|probe| probe["name"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(outcome("mailimg-filter")["ok"], true);
    assert_eq!(outcome("storage")["ok"], true);
    let why = outcome("opendkim")["why"].as_str().unwrap().to_owned();
    assert!(why.starts_with("/run/opendkim/opendkim.sock: "), "{why}");
}

#[test]
fn a_machine_without_settings_is_healthy() {
    Machine::new()
        .run(&["health", "--timeout", "0"])
        .success()
        .stdout("Healthy: waiting for settings.\n");
}
