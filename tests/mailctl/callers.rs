//! The guard's limits of new and of open connections, by the kernel's own nftables: a machine and
//! a stranger, each in a network namespace (network_namespaces(7)).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mailimg::appliance::script_all;
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::sockopt::set_socket_linger;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::world::network::{call, is_answered};

/// Where passwords are taken, and where none are.
const LOGIN: u16 = 993;
const MAIL: u16 = 25;
const SUBMISSION: u16 = 465;
/// How many connections begin at once.
const CROWD: usize = 400;
/// How many are let in at once, and each second after that.
const AT_ONCE: usize = 100;
const A_SECOND: f64 = 20.0;
/// How many may be open at a time.
const OPEN_LOGINS: usize = 400;
const OPEN_FEW: usize = 25;
/// More, and fewer than are let in at once.
const GROUP: usize = 60;
/// How long answers are waited for; what was not answered is begun anew after a second.
const PATIENCE: Duration = Duration::from_millis(700);

/// A network namespace, which ends with its process.
struct Network(Child);

impl Network {
    fn new() -> Option<Self> {
        let child = Command::new("unshare")
            .args(["--net", "--kill-child", "sh", "-c", "echo; exec sleep 600"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut network = Self(child.ok()?);
        let mut line = [0];
        let mut output = network.0.stdout.take()?;
        std::io::Read::read_exact(&mut output, &mut line).ok()?;
        Some(network)
    }

    fn run(&self, script: &str) {
        let inside = format!("--net=/proc/{}/ns/net", self.0.id());
        let status = Command::new("nsenter")
            .args([&inside, "sh", "-ec", script])
            .status();
        assert!(status.unwrap().success(), "{script}");
    }

    /// Does something in a thread that is inside.
    fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/proc/{}/ns/net", self.0.id());
        let entry = std::fs::File::open(path).unwrap();
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                move_into_link_name_space(entry.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            inside.join().unwrap()
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn listen(port: u16) -> OwnedFd {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
    let handle = socket(AddressFamily::INET6, SocketType::STREAM, None).unwrap();
    bind(
        &handle,
        &SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port),
    )
    .unwrap();
    listen(&handle, 4096).unwrap();
    handle
}

/// Those of that many connections that are answered, which stay open.
fn opened(count: usize, source: &str, target: &str, port: u16) -> Vec<OwnedFd> {
    let source: IpAddr = source.parse().unwrap();
    let target = SocketAddr::new(target.parse().unwrap(), port);
    let calls: Vec<OwnedFd> = (0..count).map(|_| call(source, target).unwrap()).collect();
    std::thread::sleep(PATIENCE);
    calls.into_iter().filter(is_answered).collect()
}

/// How many of that many connections are answered.
fn answered(count: usize, source: &str, target: &str, port: u16) -> usize {
    opened(count, source, target, port).len()
}

/// How many may have been let in since, however long a busy host took.
fn most(began: Instant) -> usize {
    AT_ONCE + (began.elapsed().as_secs_f64() * A_SECOND).ceil() as usize
}

/// A machine with the guard's rules and a stranger, with servers on ports of the machine.
fn with_stranger(work: impl FnOnce(&Network, &Network)) {
    let (Some(machine), Some(stranger)) = (Network::new(), Network::new()) else {
        assert!(std::env::var_os("CI").is_none(), "needs root and nft");
        println!("skipped: needs root and nft");
        return;
    };
    machine.run(&format!(
        "ip link set lo up
         ip link add outside type veth peer name far netns {}
         ip link set outside up
         ip addr add 10.20.0.100/24 dev outside
         ip -6 addr add fd00:20::100/48 dev outside nodad",
        stranger.0.id()
    ));
    stranger.run(
        "ip link set far up
         ip addr add 10.20.0.1/24 dev far
         ip addr add 10.20.0.2/24 dev far
         for name in fd00:20:0:1::1 fd00:20:0:1::2 fd00:20:0:2::1; do
             ip -6 addr add $name/48 dev far nodad
         done",
    );
    let script = script_all(&[], 0);
    for _ in 0..2 {
        // What is there already is no error, for the guard that starts again.
        machine.run(&format!("/usr/sbin/nft -f - <<'EOF'\n{script}\nEOF"));
    }
    let (end, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let machine = &machine;
        let (ready, is_ready) = mpsc::channel();
        scope.spawn(move || {
            machine.within(move || {
                let _sockets = [LOGIN, MAIL, SUBMISSION].map(listen);
                ready.send(()).unwrap();
                let _ = ended.recv();
            });
        });
        is_ready.recv().unwrap();
        work(machine, &stranger);
        drop(end);
    });
}

/// A thousand connections at once had their passwords checked before the first was banned.
#[test]
fn a_crowd_from_one_address_is_let_in_little_by_little() {
    with_stranger(|machine, stranger| {
        stranger.within(|| {
            let four = |count, source, port| answered(count, source, "10.20.0.100", port);
            let six = |count, source| answered(count, source, "fd00:20::100", LOGIN);
            let began = Instant::now();
            let let_in = four(CROWD, "10.20.0.1", LOGIN);
            assert!(
                (AT_ONCE..=most(began)).contains(&let_in),
                "{let_in} of {CROWD}"
            );
            assert_eq!(four(50, "10.20.0.2", LOGIN), 50, "a neighbour waits");
            let began = Instant::now();
            let let_in = six(CROWD, "fd00:20:0:1::1") + six(50, "fd00:20:0:1::2");
            assert!(
                (AT_ONCE..=most(began)).contains(&let_in),
                "{let_in} of one /64"
            );
            assert_eq!(six(50, "fd00:20:0:2::1"), 50, "another /64 waits");
            // Those that were not let in at once are, as soon as the crowd has gone.
            std::thread::sleep(Duration::from_secs(2));
            assert_eq!(four(20, "10.20.0.1", LOGIN), 20);
        });
        machine.within(|| {
            for address in ["127.0.0.1", "::1"] {
                assert_eq!(answered(CROWD, address, address, LOGIN), CROWD, "{address}");
            }
        });
    });
}

/// A network with many addresses took all places before the greeting of port 25, and one address
/// that was silent all processes of port 465.
#[test]
fn a_network_has_so_many_connections_to_what_has_few_places() {
    with_stranger(|machine, stranger| {
        for port in [MAIL, SUBMISSION] {
            stranger.within(|| {
                let four = |count, source| opened(count, source, "10.20.0.100", port);
                let six = |count, source| opened(count, source, "fd00:20::100", port);
                let open = four(GROUP, "10.20.0.1");
                assert_eq!(open.len(), OPEN_FEW, "port {port}");
                assert_eq!(four(20, "10.20.0.2").len(), 20, "a neighbour is refused");
                let first = six(20, "fd00:20:0:1::1");
                let second = six(20, "fd00:20:0:1::2");
                assert_eq!(first.len() + second.len(), OPEN_FEW, "one /64");
                assert_eq!(six(20, "fd00:20:0:2::1").len(), 20, "another /64");
                // A place that is free is given again.
                for call in &open {
                    // With a reset: nobody on the other side closes, too.
                    set_socket_linger(call, Some(Duration::ZERO)).unwrap();
                }
                drop(open);
                std::thread::sleep(Duration::from_secs(1));
                assert_eq!(four(20, "10.20.0.1").len(), 20);
            });
            machine.within(|| {
                assert_eq!(answered(GROUP, "127.0.0.1", "127.0.0.1", port), GROUP);
            });
        }
    });
}

/// One address held all places of login processes with connections that said nothing.
#[test]
fn an_office_has_four_hundred_connections_open_and_no_more() {
    with_stranger(|_, stranger| {
        stranger.within(|| {
            let mut open = Vec::new();
            // No faster than they are let in.
            for round in 0..60 {
                let count = if round == 0 { AT_ONCE - 20 } else { 20 };
                let more = opened(count, "10.20.0.1", "10.20.0.100", LOGIN);
                let refused = more.len() < count;
                open.extend(more);
                if refused && open.len() >= OPEN_LOGINS {
                    break;
                }
                std::thread::sleep(Duration::from_millis(400));
            }
            assert_eq!(open.len(), OPEN_LOGINS);
            assert_eq!(answered(20, "10.20.0.2", "10.20.0.100", LOGIN), 20);
        });
    });
}
