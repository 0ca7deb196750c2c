//! Each provider's metadata as it is documented, path by path and header by header;
//! anything else the servers refuse, as the real ones do.

use super::server::{NOTHING, SETTINGS, Server, found, import};
use crate::world::machine::Machine;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Asks a server as a provider, and expects a machine that is ready for mail.
fn provisions(provider: &str, name: &str, server: &Server, addresses: &str) {
    let machine = Machine::new();
    machine.run(&["settings", "start"]).success();
    assert!(!machine.path("run/mailimg/configured").exists());
    let said = import(&machine, provider, server, &[]);
    assert!(
        said.starts_with(&format!("Took settings from the metadata of {name}.\n")),
        "{said}"
    );
    assert_eq!(machine.read("var/lib/mailimg/settings.env"), SETTINGS);
    for path in [
        "run/mailimg/configured",
        "run/mailimg/provisioned",
        "run/mailimg/postfix/main.cf",
        "var/lib/mailimg/tls/fullchain.pem",
    ] {
        assert!(machine.path(path).exists(), "{path}");
    }
    assert_eq!(machine.read("var/lib/mailimg/cloud.json"), addresses);
    assert!(
        machine
            .read("run/issue.d/50-mailimg.issue")
            .starts_with("Mail server mail.wombat.example for wombat.example\n")
    );
    // The next boot has settings, and asks for nothing but the addresses, once.
    let before = server.seen().len();
    machine.boot();
    let said = import(&machine, provider, server, &[]);
    assert_eq!(said, "Settings are there already.\n");
    assert!(server.seen().len() > before);
    let before = server.seen().len();
    import(&machine, provider, server, &[]);
    assert_eq!(server.seen().len(), before, "once a boot");
}

#[test]
fn hetzner() {
    let server = Server::answering(|request| match request.path.as_str() {
        "/hetzner/v1/userdata" => found(SETTINGS),
        "/hetzner/v1/metadata" => found(
            "availability-zone: hel1-dc2\nhostname: wombat\ninstance-id: 42\n\
             local-ipv4: ''\nnetwork-config:\n  config:\n  - mac_address: 96:00:00:12:34:56\n    \
             name: eth0\n    subnets:\n    - ipv4: true\n      type: dhcp\n    - address: \
             2a01:4f9:1:2::1/64\n      gateway: fe80::1\n      ipv6: true\n      type: static\n    \
             type: physical\n  version: 1\npublic-ipv4: 5.9.1.2\npublic-keys: []\n",
        ),
        _ => NOTHING,
    });
    let addresses = r#"{"provider":"Hetzner","ipv4":"5.9.1.2","ipv6":"2a01:4f9:1:2::1"}"#;
    provisions("hetzner", "Hetzner", &server, addresses);
}

#[test]
fn digitalocean() {
    let server = Server::answering(|request| match request.path.as_str() {
        "/metadata/v1/user-data" => found(SETTINGS),
        "/metadata/v1.json" => found(
            r#"{"droplet_id": 2756294, "hostname": "wombat", "user_data": "x", "interfaces":
            {"public": [{"ipv4": {"ip_address": "5.9.1.3", "netmask": "255.255.192.0",
            "gateway": "5.9.0.1"}, "ipv6": {"ip_address": "2604:A880:0800:0010::1", "cidr": 64},
            "mac": "04:01:2a:0f:2a:01", "type": "public"}]}}"#,
        ),
        _ => NOTHING,
    });
    let addresses = r#"{"provider":"DigitalOcean","ipv4":"5.9.1.3","ipv6":"2604:a880:800:10::1"}"#;
    provisions("digital-ocean", "DigitalOcean", &server, addresses);
}

#[test]
fn vultr() {
    let server = Server::answering(|request| match request.path.as_str() {
        "/latest/user-data" => found(SETTINGS),
        "/v1.json" => found(
            r#"{"hostname": "wombat", "instanceid": "a747bfz6385e", "interfaces": [{"ipv4":
            {"additional": [], "address": "5.9.1.4", "gateway": "5.9.1.1", "netmask":
            "255.255.254.0"}, "ipv6": {"additional": [], "address":
            "2001:19f0:5:1:5400:3ff:fe15:c465", "network": "2001:19f0:5:1::", "prefix": "64"},
            "mac": "56:00:03:15:c4:65", "network-type": "public"}], "user-data": []}"#,
        ),
        _ => NOTHING,
    });
    let addresses =
        r#"{"provider":"Vultr","ipv4":"5.9.1.4","ipv6":"2001:19f0:5:1:5400:3ff:fe15:c465"}"#;
    provisions("vultr", "Vultr", &server, addresses);
}

#[test]
fn akamai() {
    const TOKEN: &str = "0f21d1e3c2b1";
    let server = Server::answering(|request| {
        if request.path == "/v1/token" {
            return match request.has("metadata-token-expiry-seconds", "300") {
                true if request.method == "PUT" => found(TOKEN),
                _ => (400, Vec::new()),
            };
        }
        if !request.has("metadata-token", TOKEN) {
            return (401, Vec::new());
        }
        match request.path.as_str() {
            "/v1/user-data" => found(&STANDARD.encode(SETTINGS)),
            "/v1/network" if request.has("accept", "application/json") => found(
                r#"{"interfaces": [{"id": 1, "purpose": "public", "label": null}], "ipv4":
                {"public": ["5.9.1.5/32"], "private": [], "shared": []}, "ipv6": {"slaac":
                "2600:3c06::f03c:94ff:fecb:c10b/128", "ranges": [], "link_local":
                "fe80::f03c:94ff:fecb:c10b/128", "shared_ranges": []}}"#,
            ),
            _ => NOTHING,
        }
    });
    let addresses =
        r#"{"provider":"Akamai","ipv4":"5.9.1.5","ipv6":"2600:3c06::f03c:94ff:fecb:c10b"}"#;
    provisions("akamai", "Akamai", &server, addresses);
}

#[test]
fn openstack() {
    let server = Server::answering(|request| match request.path.as_str() {
        "/openstack/latest/user_data" => found(SETTINGS),
        "/latest/meta-data/public-ipv4" => found("5.9.1.6"),
        "/openstack/latest/network_data.json" => found(
            r#"{"links": [], "services": [], "networks": [{"id": "network0", "type": "ipv4",
            "ip_address": "10.0.0.3"}, {"id": "network1", "type": "ipv6", "ip_address":
            "2a01:1::5", "netmask": "ffff:ffff:ffff:ffff::"}]}"#,
        ),
        _ => NOTHING,
    });
    let addresses = r#"{"provider":"OpenStack","ipv4":"5.9.1.6","ipv6":"2a01:1::5"}"#;
    provisions("open-stack", "OpenStack", &server, addresses);
}

#[test]
fn amazon() {
    const TOKEN: &str = "AQAEAKq==";
    let server = Server::answering(|request| {
        if request.path == "/latest/api/token" {
            return match request.method.as_str() {
                "PUT" if request.has("x-aws-ec2-metadata-token-ttl-seconds", "300") => found(TOKEN),
                _ => (400, Vec::new()),
            };
        }
        if !request.has("x-aws-ec2-metadata-token", TOKEN) {
            return (401, Vec::new());
        }
        match request.path.as_str() {
            "/latest/user-data" => found(SETTINGS),
            "/latest/meta-data/public-ipv4" => found("5.9.1.7"),
            _ => NOTHING,
        }
    });
    let addresses = r#"{"provider":"Amazon EC2","ipv4":"5.9.1.7","ipv6":null}"#;
    provisions("amazon", "Amazon EC2", &server, addresses);
}
