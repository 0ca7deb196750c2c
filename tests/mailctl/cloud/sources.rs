//! Which source is asked, when, and who else may ask.

use super::server::{NOTHING, Request, SETTINGS, Server, found, import};
use crate::world::machine::Machine;
use std::io::Write;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn nobody_is_there_at_first() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let later = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        let listener = TcpListener::bind(address).unwrap();
        for mut stream in listener.incoming().flatten() {
            let path = Request::read(&stream).unwrap_or_default().path;
            let body = if path == "/hetzner/v1/userdata" {
                SETTINGS
            } else {
                "public-ipv4: 5.9.1.2\n"
            };
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    let machine = Machine::new();
    machine.run(&["settings", "start"]).success();
    let server = Server {
        address,
        seen: Arc::default(),
    };
    let said = import(&machine, "hetzner", &server, &[]);
    assert!(said.starts_with("Took settings from"), "{said}");
    drop(later);
}

#[test]
fn other_sources_come_first() {
    // Good settings on the ESP: the cloud is asked for addresses alone.
    let server = Server::answering(|request| match request.path.as_str() {
        "/hetzner/v1/userdata" => found(&SETTINGS.replace("wombat", "koala")),
        "/hetzner/v1/metadata" => found("public-ipv4: 5.9.1.2\n"),
        _ => NOTHING,
    });
    let machine = Machine::new();
    machine.put_esp(SETTINGS);
    machine.boot();
    import(&machine, "hetzner", &server, &[]);
    assert_eq!(machine.read("var/lib/mailimg/settings.env"), SETTINGS);
    assert!(
        machine
            .read("var/lib/mailimg/cloud.json")
            .contains("5.9.1.2")
    );

    // Settings with a mistake there: they are to be mended, and hide what comes after.
    let machine = Machine::new();
    machine.put_esp("DOMAIN=wombat.example\n");
    machine.run(&["settings", "start"]).success();
    import(&machine, "hetzner", &server, &[]);
    assert!(!machine.path("var/lib/mailimg/settings.env").exists());

    // The template on the ESP sets nothing.
    let machine = Machine::new();
    machine.put_esp("# Settings\nDOMAIN=\nHOSTNAME=\n");
    machine.run(&["settings", "start"]).success();
    import(&machine, "hetzner", &server, &[]);
    machine.boot();
    assert!(
        machine
            .read("var/lib/mailimg/settings.env")
            .contains("koala.example")
    );
}

#[test]
fn drives_come_before_the_address() {
    let machine = Machine::new();
    machine.run(&["settings", "start"]).success();
    let drive = machine.path("dev/disk/by-label/config-2/openstack/latest");
    std::fs::create_dir_all(&drive).unwrap();
    // Not ours: the metadata is asked.
    std::fs::write(drive.join("user_data"), "#cloud-config\n").unwrap();
    let server = Server::answering(|_| NOTHING);
    let said = import(&machine, "open-stack", &server, &[]);
    assert!(
        said.starts_with(
            "User-data is there in the drive labelled config-2, but it is no settings.env: \
             it is a #cloud-config.\nThere is no user-data in the metadata of OpenStack.\n"
        ),
        "{said}"
    );
    assert!(!server.seen().is_empty());
    // Ours: nobody is asked.
    std::fs::write(drive.join("user_data"), SETTINGS).unwrap();
    let server = Server::answering(|_| NOTHING);
    let said = import(&machine, "open-stack", &server, &[]);
    assert!(
        said.starts_with("Took settings from the drive labelled config-2.\n"),
        "{said}"
    );
    assert_eq!(server.seen(), Vec::<String>::new());
    assert!(machine.path("run/mailimg/provisioned").exists());
}

#[test]
fn no_cloud_nobody_is_asked() {
    let machine = Machine::new();
    machine.run(&["settings", "start"]).success();
    let started = Instant::now();
    machine
        .run(&["cloud"])
        .success()
        .stdout("No cloud that offers settings.\n");
    assert!(started.elapsed() < Duration::from_secs(2));
    assert!(
        !machine
            .read("run/issue.d/50-mailimg.issue")
            .contains("metadata of")
    );
}

/// The packet filter of the image, in a network of its own where nobody answers: what is
/// sent is waited for, what is refused fails at once. The address is routed and not our
/// own, as on a machine.
#[test]
fn the_address_is_closed_to_all_but_root() {
    if !Command::new("unshare")
        .args(["--net", "true"])
        .status()
        .is_ok_and(|status| status.success())
        || !std::path::Path::new("/usr/sbin/nft").exists()
    {
        assert!(std::env::var_os("CI").is_none(), "needs root and nft");
        println!("skipped: needs root and nft");
        return;
    }
    let filter = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/overlay/usr/share/mailimg/metadata.nft"
    );
    // bash connects by itself (/dev/tcp); 124 is timeout's own code.
    let script = r#"
set -e
ip link set lo up
ip link add outside type veth peer name far
ip link set far up
ip link set outside up
ip addr add 10.20.0.100/24 dev outside
ip -6 addr add fd00:20::100/64 dev outside nodad
ip route add 169.254.169.254 dev outside
ip -6 route add fd00:ec2::254 dev outside
ip -6 route add fd00:a9fe:a9fe::1 dev outside
nft add table inet other
nft -f "$1"
nft -f "$1"
nft list tables
ask() { code=0; "$@" 2>/dev/null || code=$?; echo "$code"; }
for address in 169.254.169.254 fd00:ec2::254 fd00:a9fe:a9fe::1 10.20.0.7; do
    try="exec 3<>/dev/tcp/$address/80"
    echo "$address root $(ask timeout 0.5 bash -c "$try")"
    echo "$address nobody $(ask setpriv --reuid 65534 --regid 65534 --clear-groups timeout 0.5 bash -c "$try")"
done
"#;
    let output = Command::new("unshare")
        .args(["--net", "bash", "-c", script, "bash", filter])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "table inet other\ntable inet mailimg-metadata\n\
         169.254.169.254 root 124\n169.254.169.254 nobody 1\n\
         fd00:ec2::254 root 124\nfd00:ec2::254 nobody 1\n\
         fd00:a9fe:a9fe::1 root 124\nfd00:a9fe:a9fe::1 nobody 1\n\
         10.20.0.7 root 124\n10.20.0.7 nobody 124\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
