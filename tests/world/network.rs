//! A network of its own for each test: one bridge, many addresses, no way out.
//!
//! The test runs again inside fresh network and process namespaces
//! (unshare(1)), so that every thread is inside and whatever it started ends
//! with it. On the bridge lie the taps of the machines and, as addresses of
//! this side, the gateway, several clients beside the machines, and hosts of
//! the outside that a machine reaches through the gateway. Anything else is
//! answered "unreachable" at once.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, connect, getpeername, socket, socket_with,
};

/// Set for the run inside.
const INSIDE: &str = "MAILIMG_TEST_INSIDE";
/// The bridge.
pub const BRIDGE: &str = "mail0";
/// How many machines can run at once.
pub const TAPS: u8 = 2;
/// Where a machine has addresses of the outside, as a rented one has: its reverse
/// names are asked for in the DNS, which resolvers do not do for private networks.
pub const PUBLIC_TAP: u8 = 1;
/// Gateway of that machine.
pub const PUBLIC_GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 1);
/// The same on IPv6, where the machine is told its address by its settings.
pub const PUBLIC_GATEWAY6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 9, 0, 0, 0, 1);

/// Gateway, name server and clock of the machines.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 1);
/// The same on IPv6.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x20, 0, 0, 0, 0, 0, 1);
/// Hosts beside the machines.
pub const CLIENTS: [Ipv4Addr; 4] = [
    Ipv4Addr::new(10, 20, 0, 11),
    Ipv4Addr::new(10, 20, 0, 12),
    Ipv4Addr::new(10, 20, 0, 13),
    Ipv4Addr::new(10, 20, 0, 14),
];
/// The same on IPv6.
pub const CLIENTS6: [Ipv6Addr; 4] = [client6(0x11), client6(0x12), client6(0x13), client6(0x14)];
/// The outside's name server: root and all zones.
///
/// The outside lies in the ranges for benchmarks (RFC 2544, RFC 5180), since
/// resolvers answer reverse names of the ranges for documentation themselves.
pub const OUTSIDE_DNS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 53);
/// The same on IPv6.
pub const OUTSIDE_DNS6: Ipv6Addr = outside6(0x53);
/// The outside's mail server.
pub const OUTSIDE_MAIL: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 25);
/// The same on IPv6.
pub const OUTSIDE_MAIL6: Ipv6Addr = outside6(0x25);
/// Clients from the outside.
pub const OUTSIDE_CLIENTS: [Ipv4Addr; 2] = [
    Ipv4Addr::new(198, 18, 0, 101),
    Ipv4Addr::new(198, 18, 0, 102),
];
/// The same on IPv6.
pub const OUTSIDE_CLIENTS6: [Ipv6Addr; 2] = [outside6(0x101), outside6(0x102)];

/// Mail servers of the outside with a manner of their own: one whose certificate
/// is what its TLSA record says, one whose is not, and somebody's relay.
pub const OUTSIDE_SERVERS: [Ipv4Addr; 3] = [
    Ipv4Addr::new(198, 18, 0, 26),
    Ipv4Addr::new(198, 18, 0, 27),
    Ipv4Addr::new(198, 18, 0, 28),
];
/// The outside's certificate authority.
pub const OUTSIDE_AUTHORITY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 14);
/// Web server of outside domains that have an MTA-STS policy (RFC 8461).
pub const OUTSIDE_POLICIES: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 15);
/// Their mail servers, in the order of `site::StsDomain::ALL`.
pub const STS_SERVERS: [Ipv4Addr; 5] = [
    Ipv4Addr::new(198, 18, 0, 30),
    Ipv4Addr::new(198, 18, 0, 31),
    Ipv4Addr::new(198, 18, 0, 32),
    Ipv4Addr::new(198, 18, 0, 33),
    Ipv4Addr::new(198, 18, 0, 34),
];
/// More clients from the outside, each for one test to be banned or refused.
pub const STRANGERS: [Ipv4Addr; 10] = [
    stranger(0),
    stranger(1),
    stranger(2),
    stranger(3),
    stranger(4),
    stranger(5),
    stranger(6),
    stranger(7),
    stranger(8),
    stranger(9),
];
/// The same on IPv6: two in one network, and one in another.
pub const STRANGERS6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0x2001, 2, 0, 1, 0, 0, 0, 1),
    Ipv6Addr::new(0x2001, 2, 0, 1, 0, 0, 0, 2),
    Ipv6Addr::new(0x2001, 2, 0, 2, 0, 0, 0, 1),
];

const fn stranger(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 0, 110 + index)
}

const fn client6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x20, 0, 0, 0, 0, 0, last)
}

const fn outside6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, last)
}

/// Name of a machine's tap device.
pub fn tap_name(tap: u8) -> String {
    format!("tap{tap}")
}

/// Hardware address of a machine, locally administered as QEMU's are.
pub fn machine_mac(tap: u8) -> String {
    format!("52:54:00:20:00:{tap:02x}")
}

/// Address that DHCP gives a machine.
pub fn machine_address(tap: u8) -> Ipv4Addr {
    if tap == PUBLIC_TAP {
        return Ipv4Addr::new(198, 18, 1, 100);
    }
    Ipv4Addr::new(10, 20, 0, 100 + tap)
}

/// Address that a machine makes of the advertised prefix and its hardware
/// address (RFC 4291, appendix A); the public one is in its settings.
pub fn machine_address6(tap: u8) -> Ipv6Addr {
    if tap == PUBLIC_TAP {
        return Ipv6Addr::new(0x2001, 2, 0, 9, 0, 0, 0, 0x100);
    }
    Ipv6Addr::new(0xfd00, 0x20, 0, 0, 0x5054, 0x00ff, 0xfe20, u16::from(tap))
}

/// Runs the body of a test inside a network of its own.
///
/// `test` is the test's full name, by which it is run again inside.
pub fn inside(test: &str, body: impl FnOnce() -> Result<()>) -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        make_network()?;
        return body();
    }
    if !rustix::process::geteuid().is_root() {
        ensure!(
            std::env::var_os("CI").is_none(),
            "{test} needs root for its network namespace"
        );
        println!("skipped: {test} needs root for its network namespace");
        return Ok(());
    }
    let program = std::env::current_exe()?;
    // Whoever ends this process ends all that it started.
    let status = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare"])
        .args([
            "--net",
            "--pid",
            "--mount",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "--",
        ])
        .arg(program)
        .args(["--exact", test, "--include-ignored", "--nocapture"])
        .envs([super::peers::prepare()?])
        .env(INSIDE, "1")
        // Errors of tests are sentences; where they arose is plain from them.
        .env("RUST_LIB_BACKTRACE", "0")
        .status()
        .context("running setpriv and unshare")?;
    ensure!(
        status.success(),
        "{test} failed inside its network, see above"
    );
    Ok(())
}

/// Makes the devices and gives this side its addresses.
fn make_network() -> Result<()> {
    let mut script = format!(
        "link set lo up\nlink add name {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
         link set {BRIDGE} up\n"
    );
    for tap in 0..TAPS {
        let name = tap_name(tap);
        script.push_str(&format!(
            "tuntap add dev {name} mode tap\nlink set {name} master {BRIDGE}\nlink set {name} up\n"
        ));
    }
    let short: [Ipv4Addr; 8] = [
        OUTSIDE_DNS,
        OUTSIDE_MAIL,
        OUTSIDE_CLIENTS[0],
        OUTSIDE_CLIENTS[1],
        OUTSIDE_AUTHORITY,
        OUTSIDE_POLICIES,
        PUBLIC_GATEWAY,
        GATEWAY,
    ];
    let more = CLIENTS
        .into_iter()
        .chain(OUTSIDE_SERVERS)
        .chain(STS_SERVERS)
        .chain(STRANGERS);
    for address in short.into_iter().chain(more) {
        script.push_str(&format!("addr add {address}/24 dev {BRIDGE}\n"));
    }
    let long: [Ipv6Addr; 6] = [
        OUTSIDE_DNS6,
        OUTSIDE_MAIL6,
        OUTSIDE_CLIENTS6[0],
        OUTSIDE_CLIENTS6[1],
        PUBLIC_GATEWAY6,
        GATEWAY6,
    ];
    for address in long.into_iter().chain(CLIENTS6).chain(STRANGERS6) {
        script.push_str(&format!("addr add {address}/64 dev {BRIDGE} nodad\n"));
    }
    script.push_str("route add unreachable default\n-6 route add unreachable default\n");
    let (four, six): (Vec<&str>, Vec<&str>) =
        script.lines().partition(|line| !line.starts_with("-6 "));
    run_ip(&[], &four.join("\n"))?;
    let six: Vec<&str> = six
        .iter()
        .map(|line| line.trim_start_matches("-6 "))
        .collect();
    run_ip(&["-6"], &six.join("\n"))?;
    // A machine's packet to nowhere is answered instead of swallowed.
    for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        let path = format!("/proc/sys/net/{setting}");
        std::fs::write(&path, "1").with_context(|| format!("writing {path}"))?;
    }
    Ok(())
}

/// Runs iproute2's `ip` on a list of commands.
pub fn run_ip(options: &[&str], script: &str) -> Result<()> {
    let mut child = super::peers::program("ip")?
        .args(options)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting ip")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(script.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "setting up the network: {}\n{script}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Begins a connection from one of this side's addresses, and does not wait for the answer.
pub fn call(source: IpAddr, target: SocketAddr) -> Result<OwnedFd> {
    let family = if target.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let handle = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK, None)?;
    bind(&handle, &SocketAddr::new(source, 0))?;
    match connect(&handle, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(handle),
        Err(error) => Err(error).with_context(|| format!("calling {target} from {source}")),
    }
}

/// Whether the other side has answered such a connection.
pub fn is_answered(call: &OwnedFd) -> bool {
    getpeername(call).is_ok()
}

/// Connects from one of this side's addresses.
pub fn connect_from(source: IpAddr, target: SocketAddr, limit: Duration) -> Result<TcpStream> {
    let family = if target.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let handle: OwnedFd = socket(family, SocketType::STREAM, None)?;
    // The time limit on sending counts for connecting as well (socket(7)).
    set_socket_timeout(&handle, Timeout::Send, Some(limit))?;
    set_socket_timeout(&handle, Timeout::Recv, Some(limit))?;
    bind(&handle, &SocketAddr::new(source, 0))?;
    connect(&handle, &target).with_context(|| format!("connecting from {source} to {target}"))?;
    Ok(TcpStream::from(handle))
}
