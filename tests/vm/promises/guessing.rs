//! Guessing passwords from many addresses at once, while a neighbour logs in.
//!
//! All of it is done when the first row asks for it: each wrong guess is
//! answered late on purpose.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::super::imap::Imap;
use super::super::managesieve::ManageSieve;
use super::super::site::HOST_NAME;
use super::super::smtp::{Account, Conversation, Reply};
use super::world::World;
use crate::world::network::{STRANGERS, STRANGERS6, machine_address6};

/// Wrong passwords that are one too many.
const GUESSES: usize = 6;
/// How often one is tried at most while the machine is too busy to judge it.
const TRIES: usize = 10;
/// Rounds of a wrong and a right login behind one address.
const NAT_ROUNDS: usize = 8;
/// How often the neighbour logs in on each port before anybody guesses.
const LOGINS_ALONE: usize = 3;
/// A login meanwhile waits its turn: under emulation, on a host that is busy as well, each password
/// takes seconds, and how many is not what this is about. A login that never comes is.
const LOGIN_LIMIT: Duration = Duration::from_secs(300);
/// Between its logins, of which Postfix takes sixty a minute from one address.
const LOGIN_PAUSE: Duration = Duration::from_secs(1);

pub const ON_465: IpAddr = IpAddr::V4(STRANGERS[1]);
pub const ON_993: IpAddr = IpAddr::V4(STRANGERS[2]);
pub const ON_4190: IpAddr = IpAddr::V4(STRANGERS[3]);
pub const ON_587: IpAddr = IpAddr::V4(STRANGERS[7]);
pub const ON_143: IpAddr = IpAddr::V4(STRANGERS[9]);
pub const AT_ONCE: IpAddr = IpAddr::V4(STRANGERS[8]);
pub const NEIGHBOUR: IpAddr = IpAddr::V4(STRANGERS[4]);
pub const NAT: IpAddr = IpAddr::V4(STRANGERS[5]);

/// How a login is tried, with a connection each.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    Submission,
    StartTls,
    ImapStartTls,
    Imap,
    Sieve,
}

/// What came of it all.
pub struct Guessing {
    errors: Vec<String>,
    /// When it did.
    pub began: Instant,
    /// The neighbour's logins on 465 and on 993.
    pub logins: Vec<Logins>,
}

/// What one neighbour saw on one port.
pub struct Logins {
    pub way: Way,
    /// Before anybody guessed.
    pub alone: Vec<Duration>,
    /// With how many guessers there were when each began.
    pub meanwhile: Vec<(usize, Duration)>,
    /// What came instead of a login.
    pub failed: Vec<String>,
}

impl Logins {
    /// Fails when a login failed, or did not come to an end.
    pub fn check(&self) -> Result<()> {
        let late = self.meanwhile.iter().any(|(_, took)| *took > LOGIN_LIMIT);
        ensure!(self.failed.is_empty() && !late, "{self}");
        Ok(())
    }
}

impl fmt::Display for Logins {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: alone", self.way)?;
        for took in &self.alone {
            write!(formatter, " {:.1}", took.as_secs_f64())?;
        }
        write!(formatter, " s; beside (guessers)")?;
        for (guessers, took) in &self.meanwhile {
            write!(formatter, " ({guessers}) {:.1}", took.as_secs_f64())?;
        }
        write!(formatter, " s; failed: {:?}", self.failed)
    }
}

/// Does it, the first time it is asked.
pub fn ensure_guessed<T>(world: &World, look: impl FnOnce(&Guessing) -> Result<T>) -> Result<T> {
    static OUTCOME: Mutex<Option<Guessing>> = Mutex::new(None);
    let mut outcome = OUTCOME.lock().unwrap_or_else(PoisonError::into_inner);
    let guessing = outcome.get_or_insert_with(|| {
        let mut guessing = Guessing {
            errors: Vec::new(),
            began: Instant::now(),
            logins: Vec::new(),
        };
        if let Err(error) = guess_all(world, &mut guessing) {
            guessing.errors.push(format!("{error:#}"));
        }
        for logins in &guessing.logins {
            println!("       {logins}");
        }
        guessing
    });
    let errors = &guessing.errors;
    ensure!(errors.is_empty(), "guessing failed: {errors:?}");
    look(guessing)
}

/// One guesser's, or one neighbour's, work.
type Work<'a> = Box<dyn FnOnce() -> Result<()> + Send + 'a>;

fn guess_all(world: &World, outcome: &mut Guessing) -> Result<()> {
    let four = world.address();
    let (ulf, vera) = (&world.account("ulf"), &world.account("vera"));
    for way in [Way::Submission, Way::Imap] {
        let alone = (0..LOGINS_ALONE).map(|_| timed_login(way, four, vera));
        outcome.logins.push(Logins {
            way,
            alone: alone.collect::<Result<_>>()?,
            meanwhile: Vec::new(),
            failed: Vec::new(),
        });
    }
    let works = all_guessers(four, &world.account("anna"), ulf);
    // Each guesser has one until he is done, however he ends.
    let token = Arc::new(());
    let guessers = &Arc::downgrade(&token);
    outcome.errors = std::thread::scope(|scope| {
        let mut threads: Vec<_> = works
            .into_iter()
            .map(|work| {
                let token = token.clone();
                scope.spawn(move || {
                    let _token = token;
                    work()
                })
            })
            .collect();
        drop(token);
        for logins in &mut outcome.logins {
            threads.push(scope.spawn(move || {
                loop {
                    let beside = guessers.strong_count();
                    if beside == 0 {
                        return Ok(());
                    }
                    let began = Instant::now();
                    match timed_login(logins.way, four, vera) {
                        Ok(took) => logins.meanwhile.push((beside, took)),
                        Err(error) => logins.failed.push(format!(
                            "after {:.1} s: {error:#}",
                            began.elapsed().as_secs_f64()
                        )),
                    }
                    std::thread::sleep(LOGIN_PAUSE);
                }
            }));
        }
        let results = threads.into_iter().map(|thread| {
            let result = thread.join();
            result.unwrap_or_else(|_| Err(anyhow!("a guesser panicked")))
        });
        let errors = results.filter_map(Result::err);
        errors.map(|error| format!("{error:#}")).collect()
    });
    Ok(())
}

/// Fourteen from eight addresses, seven of them at once from one.
fn all_guessers<'a>(four: IpAddr, target: &Account, good: &'a Account) -> Vec<Work<'a>> {
    let six = IpAddr::from(machine_address6(0));
    // Guessers try another word each time.
    let wrong = |round: usize| Account {
        password: format!("guessed {round}"),
        ..target.clone()
    };
    let attacks = [
        (Way::Submission, ON_465, four),
        (Way::Imap, ON_993, four),
        (Way::Sieve, ON_4190, four),
        (Way::StartTls, ON_587, four),
        (Way::ImapStartTls, ON_143, four),
        (Way::Imap, IpAddr::from(STRANGERS6[0]), six),
    ];
    let mut works: Vec<Work<'a>> = Vec::new();
    for (way, source, machine) in attacks {
        let words: Vec<Account> = (1..=GUESSES).map(wrong).collect();
        works.push(Box::new(move || guess_words(way, source, machine, &words)));
    }
    for wrong in (1..=GUESSES + 1).map(wrong) {
        works.push(Box::new(move || {
            // The first ones may have shut the last ones out.
            let taken = guess(Way::Submission, AT_ONCE, four, &wrong).unwrap_or(false);
            ensure!(!taken, "a wrong password was taken");
            Ok(())
        }));
    }
    let wrong = wrong(1);
    works.push(Box::new(move || {
        for round in 1..=NAT_ROUNDS {
            guess(Way::Imap, NAT, four, &wrong)
                .with_context(|| format!("wrong login {round} from {NAT}"))?;
            let good = guess(Way::Imap, NAT, four, good)
                .with_context(|| format!("good login {round} from {NAT}"))?;
            ensure!(good, "a right password was refused");
        }
        Ok(())
    }));
    works
}

/// One word after the other, until the address is shut out.
fn guess_words(way: Way, source: IpAddr, machine: IpAddr, words: &[Account]) -> Result<()> {
    let mut unheard = 0;
    for (round, wrong) in words.iter().enumerate() {
        for _ in 0..TRIES {
            match try_password(way, source, machine, wrong) {
                Ok(Some(taken)) => {
                    ensure!(!taken, "a wrong password was taken");
                    break;
                }
                Ok(None) => unheard += 1,
                // What was judged when Postfix no longer waited for it counts, too; and the ban
                // may come before the answer to the last one, which cuts the connection.
                Err(_) if unheard > 0 || round + 1 == words.len() => return Ok(()),
                Err(error) => {
                    return Err(error.context(format!("guess {round} from {source}")));
                }
            }
        }
    }
    Ok(())
}

/// A neighbour connects and logs in.
fn timed_login(way: Way, machine: IpAddr, account: &Account) -> Result<Duration> {
    let began = Instant::now();
    let taken = guess(way, NEIGHBOUR, machine, account)?;
    ensure!(taken, "a right password was refused");
    Ok(began.elapsed())
}

/// One password; whether it was taken.
pub fn guess(way: Way, source: IpAddr, machine: IpAddr, account: &Account) -> Result<bool> {
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

/// Postfix waits ten seconds for Dovecot, which may check others' passwords for longer on an
/// emulated machine, and answers 454 then: a mail program comes again, and so does a guesser.
fn verdict(reply: &Reply) -> Result<Option<bool>> {
    match reply.code {
        235 => Ok(Some(true)),
        535 => Ok(Some(false)),
        454 => Ok(None),
        _ => bail!("a login is answered {:?}", reply.text),
    }
}
