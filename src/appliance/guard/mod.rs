//! `mailctl guard`: keeps out addresses that guess passwords.
//!
//! ```text
//! Dovecot ─ reports (HTTP) ─► rules ─► firewall (nftables)
//!    every login of IMAP,       ▲ │
//!    managesieve, submission    │ └──► journal (bans that outlive the process)
//!                 mailctl ban ──┘ control socket
//! ```
//!
//! Dovecot answers all password questions, Postfix's too, so its reports are
//! complete; no log is read. One task owns the rules and works one thing off
//! after the other, so nothing is locked. Loopback is never banned, nor is an address behind
//! which a container engine hides all clients ([`engine`]).

pub mod control;
mod engine;
pub mod firewall;
pub mod journal;
pub mod key;
pub mod logins;
pub mod reports;
pub mod rules;
#[cfg(test)]
mod tests;

use super::machine::files::{PUBLIC, ensure_file};
use super::machine::place::{self, Place};
use super::wire::serve::{BLOCKING_THREADS, bind_socket, start_runtime, tell_ready};
use anyhow::{Context, Result};
use control::{Asked, ControlRequest, ControlResponse, serve_control};
use firewall::{Firewall, script_all, script_ban, script_lift};
use journal::{load_bans, store_bans};
use logins::LastLogins;
use rules::{Attempt, Ban, Rules};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc::{self, Receiver};
use tokio::time::interval;

pub use key::ensure_key;

/// Reports that may wait while the kernel is told of a ban.
const WAITING_REPORTS: usize = 1024;
/// How often what is too old is dropped.
const FORGETTING_INTERVAL: Duration = Duration::from_secs(300);

/// Seconds since 1970 that never jump: what the clock said at the start, and the
/// time that passed since. Bans in the kernel are measured the same way.
struct Clock {
    began: Instant,
    at_begin: u64,
}

impl Clock {
    fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            began: Instant::now(),
            at_begin: since_epoch.map_or(0, |duration| duration.as_secs()),
        }
    }

    fn now(&self) -> u64 {
        self.at_begin + self.began.elapsed().as_secs()
    }
}

/// Guards until the process is stopped; bans in the kernel then run out by themselves.
pub fn run_guard(place: &Place, listen: SocketAddr) -> Result<String> {
    let runtime = start_runtime(BLOCKING_THREADS)?;
    runtime.block_on(async {
        let key_path = place.path(place::GUARD_KEY);
        let key = std::fs::read_to_string(&key_path)
            .with_context(|| format!("reading {}", key_path.display()))?;
        let firewall = if place.is_machine() {
            Firewall::Kernel
        } else {
            Firewall::Absent
        };
        let mut keeper = Keeper::start(place, firewall)?;
        let reports = TcpListener::bind(listen)
            .await
            .with_context(|| format!("listening on {listen}"))?;
        let socket = place.path(place::GUARD_SOCKET);
        let control = bind_socket(&socket, 0o600, |path| UnixListener::bind(path))?;
        let (attempt_sender, attempts) = mpsc::channel(WAITING_REPORTS);
        let (request_sender, requests) = mpsc::channel(1);
        tokio::spawn(serve_control(control, request_sender));
        let server = axum::serve(reports, reports::router(key, attempt_sender));
        tell_ready()?;
        tokio::select! {
            result = server.into_future() => result.context("taking reports")?,
            () = keeper.keep(attempts, requests) => {}
        }
        Ok("The guard has ended.".to_owned())
    })
}

/// Owns the rules, and carries out what follows from them.
struct Keeper<'a> {
    place: &'a Place,
    firewall: Firewall,
    clock: Clock,
    rules: Rules,
    logins: LastLogins,
    /// Whether the kernel missed something and is to be told all of it again.
    behind: bool,
}

impl<'a> Keeper<'a> {
    fn start(place: &'a Place, firewall: Firewall) -> Result<Self> {
        let clock = Clock::start();
        let now = clock.now();
        let rules = Rules::restore(load_bans(place), now);
        let mut keeper = Self {
            place,
            firewall,
            clock,
            rules,
            logins: LastLogins::restore(place),
            behind: false,
        };
        let made = firewall.apply(&script_all(&keeper.rules.running(now), now));
        match made.context("making the table of bans") {
            // The network of a host is not its rootless engine's to guard, whatever rights the
            // container was given.
            Err(error) if place.is_container() && firewall::is_forbidden(&error) => {
                keeper.firewall = Firewall::Absent;
                keeper.tell_no_bans(
                    "the container may not filter packets of its network, which a rootless \
                     engine has from its host",
                );
            }
            made => made?,
        }
        Ok(keeper)
    }

    async fn keep(&mut self, mut attempts: Receiver<Attempt>, mut requests: Receiver<Asked>) {
        let mut forgetting = interval(FORGETTING_INTERVAL);
        loop {
            tokio::select! {
                // Whoever lists bans sees what all reports before led to.
                biased;
                Some(attempt) = attempts.recv() => self.note(attempt).await,
                Some((request, answer)) = requests.recv() => {
                    let response = self.answer(request).await;
                    // Whoever asked may be gone.
                    let _ = answer.send(response);
                }
                _ = forgetting.tick() => {
                    let now = self.clock.now();
                    self.rules.forget(now);
                    if let Err(error) = self.logins.store(self.place) {
                        tell!("{error:#}");
                    }
                    if self.behind {
                        self.tell_kernel(script_all(&self.rules.running(now), now)).await;
                    }
                }
                else => return,
            }
        }
    }

    async fn note(&mut self, attempt: Attempt) {
        let now = self.clock.now();
        if attempt.success {
            self.logins.note(&attempt.account, now);
        }
        let Some(ban) = self.rules.note(attempt, now) else {
            return;
        };
        if engine::hides_clients(self.place, ban.address) {
            self.rules.lift(ban.address, now);
            self.tell_no_bans(&format!(
                "every client comes as {}, one of whom guesses passwords; give the container the \
                 host's network",
                ban.address
            ));
            return;
        }
        if self.firewall == Firewall::Absent && self.place.is_container() {
            self.rules.lift(ban.address, now);
            tell!(
                "somebody at {} guesses passwords of {:?} and stays, since nobody can be banned",
                ban.address,
                ban.account
            );
            return;
        }
        tell!(
            "ban address={} seconds={} failures={} account={:?}",
            ban.address,
            ban.until - ban.since,
            ban.failures,
            ban.account
        );
        self.tell_kernel(script_ban(&ban, now)).await;
        self.store();
    }

    /// Says that nobody can be kept out, in the journal and for `mailctl status`.
    fn tell_no_bans(&self, why: &str) {
        tell!("nobody is banned: {why}");
        let path = self.place.path(place::NO_BANS);
        if let Err(error) = ensure_file(&path, format!("{why}\n").as_bytes(), PUBLIC, None) {
            tell!("{error:#}");
        }
    }

    async fn answer(&mut self, request: ControlRequest) -> ControlResponse {
        let now = self.clock.now();
        let running = self.rules.running(now);
        let ControlRequest::Lift { address } = request else {
            return ControlResponse::Bans(running);
        };
        let lifted: Vec<Ban> = running
            .into_iter()
            .filter(|ban| address.is_none_or(|address| address == ban.address))
            .filter(|ban| self.rules.lift(ban.address, now))
            .collect();
        if lifted.is_empty() {
            return ControlResponse::Bans(lifted);
        }
        for ban in &lifted {
            tell!("lift address={}", ban.address);
        }
        let script = lifted.iter().map(|ban| script_lift(ban.address)).collect();
        self.store();
        if self.tell_kernel(script).await {
            ControlResponse::Bans(lifted)
        } else {
            ControlResponse::Error("the kernel did not take it; the journal says why".to_owned())
        }
    }

    async fn tell_kernel(&mut self, script: String) -> bool {
        let firewall = self.firewall;
        // nft takes a moment; reports are queued meanwhile.
        let told = tokio::task::spawn_blocking(move || firewall.apply(&script)).await;
        let result = told.context("running nft").and_then(|result| result);
        if let Err(error) = &result {
            tell!("{error:#}");
        }
        self.behind = result.is_err();
        result.is_ok()
    }

    fn store(&self) {
        if let Err(error) = store_bans(self.place, &self.rules.remembered()) {
            tell!("{error:#}");
        }
    }
}
