//! Services: nothing failed, everything is confined, and a relay host is used.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::super::imap::Imap;
use super::super::site::{HOST_NAME, RELAY_HOST_NAME, RELAY_PORT};
use super::super::smtp::Conversation;
use super::world::{DELIVERY_LIMIT, World};
use super::{Promise, figures};
use crate::world::network::OUTSIDE_SERVERS;
use crate::world::wait::until;

/// The highest exposure that `systemd-analyze security` may find.
const EXPOSURE: f64 = 2.5;
/// From the end of all services to their return, under emulation; below the three minutes
/// for which Dovecot would wait by itself.
const RETURN_LIMIT: Duration = Duration::from_secs(150);
/// From Dovecot's return to a login on 465, under emulation; below the minute for which
/// Postfix would let the port rest by itself.
const SUBMISSION_LIMIT: Duration = Duration::from_secs(30);
/// All services of mail that stay.
const STAYING: [&str; 10] = [
    "unbound.service",
    "opendkim.service",
    "dovecot.service",
    "postfix.service",
    "mailimg-filter.service",
    "mailimg-guard.service",
    "mailimg-sts.service",
    "mailimg-web.service",
    "mailimg-metrics.service",
    "mailimg-store.service",
];
/// What else stays, with Debian's units.
const DEBIAN: [&str; 4] = [
    "systemd-networkd.service",
    "systemd-timesyncd.service",
    "systemd-journald.service",
    "ssh.service",
];
/// Some services that this limit is for, lest none be found.
const CONFINED: [&str; 13] = [
    "postfix.service",
    "dovecot.service",
    "opendkim.service",
    "unbound.service",
    "mailimg-acme.service",
    "mailimg-web.service",
    "mailimg-sts.service",
    "mailimg-dns.service",
    "mailimg-metrics.service",
    "mailimg-store.service",
    "mailimg-measure-queue.service",
    "mailimg-measure-mail.service",
    "mailimg-measure-dns.service",
];

/// Containers have the clock of the host, and none of its limits of memory.
pub const ON_A_MACHINE: &[Promise] = &[
    Promise {
        says: "the clock may jump, forwards and back: logins, mail and quotas go on",
        check: clock_jumps,
    },
    Promise {
        says: "services that the kernel ends for want of memory are back by themselves",
        check: starved,
    },
];

pub const PROMISES: &[Promise] = &[
    Promise {
        says: "the exposure of every service of mail is at most 2.5 (systemd-analyze security)",
        check: exposure,
    },
    Promise {
        says: "with RELAYHOST set, mail goes out through it, encrypted and logged in",
        check: relay_host,
    },
    Promise {
        says: "services whose main processes are killed all at once are back by themselves",
        check: killed,
    },
    Promise {
        says: "no service is given up for want of memory, nor after any number of starts",
        check: never_given_up,
    },
    Promise {
        says: "services can be restarted, all at once too",
        check: restarted,
    },
    Promise {
        says: "services come back however often they end, by whichever signal",
        check: ended_over_and_over,
    },
    Promise {
        says: "submission is back with Dovecot, whoever came while that was away",
        check: submission_returns,
    },
    Promise {
        says: "who logs in all at once after Dovecot's restart or reload is let in",
        check: all_at_once,
    },
    Promise {
        says: "any process of a service may be killed",
        check: children_killed,
    },
    Promise {
        says: "after all this no unit has failed",
        check: nothing_failed,
    },
];

fn exposure(world: &World) -> Result<()> {
    // Named one by one, since the table without names has only units that are loaded:
    // neither what a timer starts now and then nor what has ended.
    let told = world.run(
        "systemctl list-unit-files --type=service --no-legend --plain \
         | cut -d ' ' -f 1 | grep -E '^(mailimg-|opendkim|unbound|postfix|dovecot)' \
         | grep -v '@' | xargs systemd-analyze --no-pager security | grep Overall",
    )?;
    let mut exposed = Vec::new();
    let mut found = Vec::new();
    for line in told.lines() {
        // "→ Overall exposure level for opendkim.service: 1.3 OK :-)"
        let (unit, rest) = line
            .split_once(" for ")
            .and_then(|(_, rest)| rest.split_once(": "))
            .with_context(|| format!("reading {line:?}"))?;
        let value: f64 = rest
            .split(' ')
            .next()
            .and_then(|value| value.parse().ok())
            .with_context(|| format!("reading the exposure in {line:?}"))?;
        println!("       {value} {unit}");
        found.push(unit);
        if value > EXPOSURE {
            exposed.push(line);
        }
    }
    for unit in CONFINED {
        ensure!(found.contains(&unit), "{unit} is not among {found:?}");
    }
    ensure!(exposed.is_empty(), "exposed: {exposed:?}");
    Ok(())
}

fn relay_host(world: &World) -> Result<()> {
    let login = &world.site.relay_login;
    world.run(&format!(
        "cp -a /var/lib/mailimg/settings.env /run/settings.kept\n\
         cat >>/var/lib/mailimg/settings.env <<'END'\nRELAYHOST=[{RELAY_HOST_NAME}]:{RELAY_PORT}\n\
         RELAYHOST_USER={}\nRELAYHOST_PASSWORD={}\nEND\nmailctl settings apply",
        login.address, login.password
    ))?;
    let outcome = (|| {
        // Postfix takes new settings up between two messages, not at once.
        let caught = until("the relay to be used", DELIVERY_LIMIT, || {
            let recipient = format!("{}@outside.example", world.unique("relayed"));
            world
                .submit(&world.account("carla"), &recipient, "through a relay")?
                .must_be(&[250], "the message")?;
            let caught = world.caught(&recipient)?;
            Ok((caught.server == OUTSIDE_SERVERS[2]).then_some(caught))
        })?;
        ensure!(
            caught.encrypted && caught.logged_in,
            "encrypted: {}, logged in: {}",
            caught.encrypted,
            caught.logged_in
        );
        Ok(())
    })();
    world.run("cp -a /run/settings.kept /var/lib/mailimg/settings.env; mailctl settings apply")?;
    outcome
}

/// The main process of each, which changes when it is started anew.
fn main_processes(world: &World) -> Result<Vec<u32>> {
    let said = world.run(&format!(
        "systemctl show --property=MainPID --value {}",
        STAYING.join(" ")
    ))?;
    let numbers = said.split_whitespace().map(str::parse);
    let numbers: Vec<u32> = numbers.collect::<Result<_, _>>().context(said.clone())?;
    ensure!(numbers.len() == STAYING.len(), "{said}");
    Ok(numbers)
}

/// Does something to all services, and wants every one back, and mail to go through.
fn come_back(world: &World, command: &str) -> Result<()> {
    let before = main_processes(world)?;
    world.run(&format!("{command} {}", STAYING.join(" ")))?;
    let again = until("new main processes", RETURN_LIMIT, || {
        let now = main_processes(world)?;
        let all = now
            .iter()
            .zip(&before)
            .all(|(now, before)| *now != 0 && now != before);
        Ok(all.then_some(()))
    });
    let units = STAYING.join(" ");
    again.with_context(|| {
        let told = format!("systemctl --no-pager -n 8 status {units} || true");
        world.run(&told).unwrap_or_default()
    })?;
    check_mail(world)
}

/// What mail needs is there, and mail goes through.
fn check_mail(world: &World) -> Result<()> {
    world.run("mailctl health")?;
    let carla = world.account("carla");
    let subject = world.unique("after-the-return");
    world
        .receive(&[&carla.address], &subject)?
        .must_be(&[250], "a message from outside")?;
    world.read(&carla, &subject)?;
    let subject = world.unique("after-the-return");
    world
        .submit(&carla, &carla.address, &subject)?
        .must_be(&[250], "a message from a user")?;
    world.read(&carla, &subject).map(drop)
}

/// Dovecot never came back: its sockets of the run before were in its way.
fn killed(world: &World) -> Result<()> {
    come_back(world, "systemctl kill --kill-whom=main --signal=KILL")
}

/// By default systemd stops a whole service of which the kernel ended one process, and gives up
/// one that is started five times in ten seconds.
fn never_given_up(world: &World) -> Result<()> {
    for unit in STAYING.into_iter().chain(DEBIAN) {
        let said = world.run(&format!(
            "systemctl show -p LoadState -p OOMPolicy -p Restart -p StartLimitIntervalUSec {unit}"
        ))?;
        if world.has_engine() && said.contains("LoadState=masked\n") {
            // What is the host's.
            continue;
        }
        let restarts = if DEBIAN.contains(&unit) {
            &["Restart=always", "Restart=on-failure"][..]
        } else {
            &["Restart=always"]
        };
        for wanted in [
            &["OOMPolicy=continue"][..],
            restarts,
            &["StartLimitIntervalUSec=0"],
        ] {
            let found = said.lines().any(|line| wanted.contains(&line));
            ensure!(found, "{unit}: {said:?} has none of {wanted:?}");
        }
    }
    Ok(())
}

/// The kernel ends a process of each, and others in its place, until they have memory again.
fn starved(world: &World) -> Result<()> {
    let starve = "starve() { for unit; do systemctl set-property --runtime $unit MemoryMax=64K; \
                  done; sleep 5; systemctl revert \"$@\" 2>&1; }; starve";
    come_back(world, starve)?;
    for unit in STAYING {
        let count = world.run(&format!(
            "journalctl --no-pager -b -o cat -u {unit} | grep -c 'killed by the OOM killer' || true"
        ))?;
        println!("       {} ended in {unit}", count.trim());
        ensure!(count.trim() != "0", "nothing of {unit} was ended");
    }
    Ok(())
}

fn restarted(world: &World) -> Result<()> {
    come_back(world, "systemctl restart")
}

/// Systemd gives a unit up that starts five times in ten seconds, and takes SIGTERM for a wish.
fn ended_over_and_over(world: &World) -> Result<()> {
    let rounds = "for round in 1 2 3 4 5 6; do systemctl restart opendkim mailimg-sts; done; \
                  systemctl kill --kill-whom=main --signal=TERM";
    come_back(world, rounds)
}

/// Postfix let nobody in for a minute after smtpd had found no Dovecot to ask.
fn submission_returns(world: &World) -> Result<()> {
    // Those that run have asked already.
    world.run("systemctl stop dovecot; systemctl reload postfix")?;
    let away = until("a client to be turned away", SUBMISSION_LIMIT, || {
        let client = Conversation::open_tls(world.client(), world.port(465), HOST_NAME);
        Ok(client.is_err().then_some(()))
    });
    world.run("systemctl start dovecot")?;
    let began = Instant::now();
    away?;
    let carla = world.account("carla");
    until("a login on 465", SUBMISSION_LIMIT, || {
        Ok(world.submission(&carla).ok())
    })?;
    let took = began.elapsed();
    println!("       {:.1} s after Dovecot", took.as_secs_f64());
    ensure!(took < SUBMISSION_LIMIT, "{took:?}");
    Ok(())
}

/// Four of six were told of a temporary failure, and their programs asked for the password.
fn all_at_once(world: &World) -> Result<()> {
    let carla = world.account("carla");
    let machine = world.address();
    let clients: Vec<IpAddr> = (0..6).map(|_| world.client()).collect();
    // On a busy machine the old process for passwords outlives a reload for a while.
    let busy = "for each in 1 2 3 4; do timeout 30 sh -c 'while :; do :; done' & done >&- 2>&-";
    for (how, before) in [("restart", ":"), ("reload", busy), ("reload", ":")] {
        world.run(&format!("{before}\nsystemctl {how} dovecot"))?;
        std::thread::scope(|scope| -> Result<()> {
            let logins: Vec<_> = clients
                .iter()
                .map(|client| scope.spawn(|| Imap::open(*client, machine, HOST_NAME, &carla)))
                .collect();
            for login in logins {
                let opened = login.join().unwrap_or_else(|_| bail!("it panicked"));
                opened.with_context(|| format!("after a {how}"))?;
            }
            Ok(())
        })?;
    }
    world.run("pkill -f '[w]hile :; do :' || true")?;
    Ok(())
}

/// All but the main processes of all services, which these start anew.
fn children_killed(world: &World) -> Result<()> {
    world.run(&format!(
        "for unit in {}; do main=$(systemctl show --property=MainPID --value $unit); \
         group=/sys/fs/cgroup$(systemctl show --property=ControlGroup --value $unit); \
         for process in $(cat $(find $group -name cgroup.procs)); do \
         [ $process = $main ] || kill -KILL $process; done; done",
        STAYING.join(" ")
    ))?;
    check_mail(world)
}

/// By how much, in seconds: NTP, a paused machine, local time in the hardware clock, an
/// empty battery.
/// The sum is none.
const JUMPS: [i64; 8] = [2, -2, 2400, -2400, 46_800, -46_800, 20 * YEAR, -20 * YEAR];
const YEAR: i64 = 365 * 86_400;

/// Dovecot let nobody in for three minutes after the clock was put back.
fn clock_jumps(world: &World) -> Result<()> {
    // Or it would set the clock again at once.
    world.run("systemctl stop systemd-timesyncd.service")?;
    let outcome = (|| {
        for jump in JUMPS {
            world.run(&format!("date -s @$(($(date +%s) + {jump}))"))?;
            let jumped = Instant::now();
            // Services may still be up that are about to be started anew.
            let mut broken = Ok(());
            until("mail to go through", RETURN_LIMIT, || {
                broken = check_mail(world);
                Ok(broken.is_ok().then_some(()))
            })
            .with_context(|| format!("after a jump of {jump} s: {broken:?}"))?;
            let took = jumped.elapsed();
            println!(
                "       {:.1} s after a jump of {jump} s mail is through",
                took.as_secs_f64()
            );
            ensure!(took < RETURN_LIMIT, "{took:?} after a jump of {jump} s");
        }
        // The store was shown years that came and went.
        until("figures to go on", RETURN_LIMIT, || {
            Ok(figures::are_fresh(world)?.then_some(()))
        })
    })();
    world.run("systemctl start systemd-timesyncd.service")?;
    outcome
}

fn nothing_failed(world: &World) -> Result<()> {
    let failed = world.run("systemctl --failed --no-legend --plain")?;
    ensure!(failed.trim().is_empty(), "{failed}");
    Ok(())
}
