//! Brute force: whoever guesses passwords is shut out, and nobody else.
//!
//! All guessing is done at once when the first row asks for it: each wrong
//! guess is answered late on purpose.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::super::imap::Imap;
use super::super::managesieve::ManageSieve;
use super::super::site::HOST_NAME;
use super::super::smtp::{Account, Conversation, Reply};
use super::Promise;
use super::world::World;
use crate::world::network::{CLIENTS, STRANGERS, STRANGERS6, connect_from, machine_address6};
use crate::world::wait::until;

/// Wrong passwords that are one too many.
const GUESSES: usize = 6;
/// How often one is tried at most while the machine is too busy to judge it.
const TRIES: usize = 10;
/// Rounds of a wrong and a right login behind one address.
const NAT_ROUNDS: usize = 8;
/// How long an open port takes to answer at most, and how long a ban to come.
const CONNECT_LIMIT: Duration = Duration::from_secs(4);
const BAN_LIMIT: Duration = Duration::from_secs(30);
/// Every port with mail behind it.
const PORTS: [u16; 6] = [25, 465, 587, 143, 993, 4190];

const ON_465: IpAddr = IpAddr::V4(STRANGERS[1]);
const ON_993: IpAddr = IpAddr::V4(STRANGERS[2]);
const ON_4190: IpAddr = IpAddr::V4(STRANGERS[3]);
const ON_587: IpAddr = IpAddr::V4(STRANGERS[7]);
const ON_143: IpAddr = IpAddr::V4(STRANGERS[9]);
const AT_ONCE: IpAddr = IpAddr::V4(STRANGERS[8]);
const NEIGHBOUR: IpAddr = IpAddr::V4(STRANGERS[4]);
const NAT: IpAddr = IpAddr::V4(STRANGERS[5]);

pub const PROMISES: &[Promise] = &[
    Promise {
        says: "six wrong passwords on 465 shut their address out of every port of mail",
        check: |world| is_shut_out(world, ON_465),
    },
    Promise {
        says: "six wrong passwords on 993 shut their address out",
        check: |world| is_shut_out(world, ON_993),
    },
    Promise {
        says: "six wrong passwords on 4190 shut their address out",
        check: |world| is_shut_out(world, ON_4190),
    },
    Promise {
        says: "six wrong passwords on 587 shut their address out",
        check: |world| is_shut_out(world, ON_587),
    },
    Promise {
        says: "six wrong passwords on 143 shut their address out",
        check: |world| is_shut_out(world, ON_143),
    },
    Promise {
        says: "six wrong passwords at once shut their address out",
        check: |world| is_shut_out(world, AT_ONCE),
    },
    Promise {
        says: "six wrong passwords over IPv6 shut out the network (/64), not the one beside it",
        check: network_is_shut_out,
    },
    Promise {
        says: "an address that never guessed is let in on every port",
        check: neighbour_is_let_in,
    },
    Promise {
        says: "an address with good logins between the wrong ones (NAT) is let in",
        check: nat_is_let_in,
    },
    Promise {
        says: "mailctl ban list shows who is shut out, mailctl ban lift lets him in again",
        check: list_and_lift,
    },
];

/// Wrong logins, one connection each, on one port.
#[derive(Clone, Copy)]
enum Way {
    Submission,
    StartTls,
    ImapStartTls,
    Imap,
    Sieve,
}

/// One password; whether it was taken.
fn guess(way: Way, source: IpAddr, machine: IpAddr, account: &Account) -> Result<bool> {
    for _ in 0..TRIES {
        if let Some(taken) = try_password(way, source, machine, account)? {
            return Ok(taken);
        }
    }
    bail!("{source} got no verdict in {TRIES} tries")
}

fn try_password(
    way: Way,
    source: IpAddr,
    machine: IpAddr,
    account: &Account,
) -> Result<Option<bool>> {
    match way {
        Way::StartTls => {
            let (client, _) = Conversation::open(source, SocketAddr::new(machine, 587))?;
            let (mut client, _) = client.start_tls(HOST_NAME)?;
            verdict(&client.log_in(account)?)
        }
        Way::Submission => {
            let target = SocketAddr::new(machine, 465);
            let mut client = Conversation::open_tls(source, target, HOST_NAME)?;
            client.hello()?;
            verdict(&client.log_in(account)?)
        }
        Way::ImapStartTls => {
            let mut imap = Imap::start_tls(source, machine, HOST_NAME)?;
            Ok(Some(imap.log_in(account)?.starts_with("OK")))
        }
        Way::Imap => {
            let mut imap = Imap::connect(source, machine, HOST_NAME)?;
            Ok(Some(imap.log_in(account)?.starts_with("OK")))
        }
        Way::Sieve => {
            let (sieve, _) = ManageSieve::connect(source, machine)?;
            let (mut sieve, _) = sieve.start_tls(HOST_NAME)?;
            Ok(Some(sieve.log_in(account)?.starts_with("OK")))
        }
    }
}

/// Postfix waits ten seconds for Dovecot, which tries passwords one after the other, and
/// answers 454 then: nothing was judged, nothing counts, and a guesser comes again.
fn verdict(reply: &Reply) -> Result<Option<bool>> {
    match reply.code {
        235 => Ok(Some(true)),
        535 => Ok(Some(false)),
        454 => Ok(None),
        _ => bail!("a login is answered {:?}", reply.text),
    }
}

/// Does all the guessing, the first time it is asked.
fn ensure_guessed(world: &World) -> Result<()> {
    static OUTCOME: Mutex<Option<Vec<String>>> = Mutex::new(None);
    let mut outcome = OUTCOME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(errors) = &*outcome {
        ensure!(errors.is_empty(), "guessing failed: {errors:?}");
        return Ok(());
    }
    let four = world.address();
    let six = IpAddr::from(machine_address6(0));
    let ulf = world.account("ulf");
    // Guessers try another word each time.
    let wrong = |round: usize| Account {
        password: format!("guessed {round}"),
        ..world.account("anna")
    };
    let attacks = [
        (Way::Submission, ON_465, four),
        (Way::Imap, ON_993, four),
        (Way::Sieve, ON_4190, four),
        (Way::StartTls, ON_587, four),
        (Way::ImapStartTls, ON_143, four),
        (Way::Imap, IpAddr::from(STRANGERS6[0]), six),
    ];
    let errors: Vec<String> = std::thread::scope(|scope| {
        let mut workers: Vec<_> = attacks
            .iter()
            .map(|&(way, source, machine)| {
                let wrong: Vec<Account> = (1..=GUESSES).map(wrong).collect();
                scope.spawn(move || -> Result<()> {
                    for (round, wrong) in wrong.iter().enumerate() {
                        let taken = guess(way, source, machine, wrong)
                            .with_context(|| format!("guess {round} from {source}"))?;
                        ensure!(!taken, "a wrong password was taken");
                    }
                    Ok(())
                })
            })
            .collect();
        for wrong in (1..=GUESSES).map(wrong) {
            workers.push(scope.spawn(move || {
                // The first ones may have shut the last ones out.
                let taken = guess(Way::Submission, AT_ONCE, four, &wrong).unwrap_or(false);
                ensure!(!taken, "a wrong password was taken");
                Ok(())
            }));
        }
        let (wrong, ulf) = (wrong(1), &ulf);
        workers.push(scope.spawn(move || {
            for round in 1..=NAT_ROUNDS {
                guess(Way::Imap, NAT, four, &wrong)
                    .with_context(|| format!("wrong login {round} from {NAT}"))?;
                let good = guess(Way::Imap, NAT, four, ulf)
                    .with_context(|| format!("good login {round} from {NAT}"))?;
                ensure!(good, "a right password was refused");
            }
            Ok(())
        }));
        workers
            .into_iter()
            .filter_map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|_| Err(anyhow!("a guesser panicked")))
                    .err()
                    .map(|error| format!("{error:#}"))
            })
            .collect()
    });
    *outcome = Some(errors.clone());
    ensure!(errors.is_empty(), "guessing failed: {errors:?}");
    Ok(())
}

fn is_open(source: IpAddr, machine: IpAddr, port: u16) -> bool {
    connect_from(source, SocketAddr::new(machine, port), CONNECT_LIMIT).is_ok()
}

fn wait_until_shut(world: &World, source: IpAddr, machine: IpAddr) -> Result<()> {
    until(&format!("{source} to be shut out"), BAN_LIMIT, || {
        Ok((!is_open(source, machine, 993)).then_some(()))
    })
    .with_context(|| {
        // What was reported lies further back than what the ports say now.
        let log = "journalctl --no-pager -o short-monotonic -b -n 60 \
                   -g 'policy|report|nft|^ban |auth failed|Password mismatch|SASL' \
                   -u 'mailimg-guard*' -u 'dovecot*' -u postfix";
        world.run(log).unwrap_or_else(|error| format!("{error:#}"))
    })
}

fn is_shut_out(world: &World, source: IpAddr) -> Result<()> {
    ensure_guessed(world)?;
    wait_until_shut(world, source, world.address())?;
    let open: Vec<u16> = std::thread::scope(|scope| {
        let machine = world.address();
        let tries = PORTS.map(|port| (port, scope.spawn(move || is_open(source, machine, port))));
        tries
            .into_iter()
            .filter_map(|(port, handle)| handle.join().unwrap_or(true).then_some(port))
            .collect()
    });
    ensure!(open.is_empty(), "{source} is let in on {open:?}");
    Ok(())
}

fn network_is_shut_out(world: &World) -> Result<()> {
    ensure_guessed(world)?;
    let machine = IpAddr::from(machine_address6(0));
    let [guesser, same_network, beside] = STRANGERS6.map(IpAddr::from);
    wait_until_shut(world, guesser, machine)?;
    wait_until_shut(world, same_network, machine)?;
    ensure!(is_open(beside, machine, 993), "{beside} is shut out too");
    Ok(())
}

fn neighbour_is_let_in(world: &World) -> Result<()> {
    ensure_guessed(world)?;
    for source in [NEIGHBOUR, CLIENTS[0].into()] {
        for port in PORTS {
            ensure!(
                is_open(source, world.address(), port),
                "{source} is shut out of {port}"
            );
        }
    }
    let mut imap = Imap::connect(NEIGHBOUR, world.address(), HOST_NAME)?;
    let status = imap.log_in(&world.account("ulf"))?;
    ensure!(status.starts_with("OK"), "{status}");
    Ok(())
}

fn nat_is_let_in(world: &World) -> Result<()> {
    ensure_guessed(world)?;
    ensure!(is_open(NAT, world.address(), 993), "{NAT} is shut out");
    ensure!(
        guess(Way::Imap, NAT, world.address(), &world.account("ulf"))?,
        "a right password was refused"
    );
    Ok(())
}

fn list_and_lift(world: &World) -> Result<()> {
    ensure_guessed(world)?;
    wait_until_shut(world, ON_465, world.address())?;
    let listed = world.run("mailctl ban list")?;
    for shown in [
        ON_465.to_string(),
        ON_993.to_string(),
        "2001:2:0:1::/64".to_owned(),
    ] {
        ensure!(listed.contains(&shown), "{shown} is not in {listed:?}");
    }
    for hidden in [NAT, NEIGHBOUR] {
        ensure!(
            !listed.contains(&hidden.to_string()),
            "{hidden} is in {listed:?}"
        );
    }
    world.run(&format!("mailctl ban lift {ON_465}"))?;
    until("the lifted address to be let in", BAN_LIMIT, || {
        Ok(is_open(ON_465, world.address(), 465).then_some(()))
    })?;
    ensure!(
        !is_open(ON_993, world.address(), 993),
        "lifting one ban lifted another"
    );
    Ok(())
}
