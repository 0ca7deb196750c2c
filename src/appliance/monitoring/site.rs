//! What all requests know.

use super::asked::Asked;
use super::facts::{DnsFacts, Users};
use super::helpers::ask_facts;
use super::login::failures::Failures;
use super::login::report::report_login;
use super::login::sessions::{COOKIE, Sessions};
use super::login::{Believed, Credentials, Outcome, nobody, random};
use super::pages::assets;
use super::pages::configuration::{CONFIGURATION, Configuration};
use super::pages::templates::Templates;
use super::query::Store;
use crate::appliance::guard::rules::ClientNetwork;
use crate::appliance::machine::clock::now;
use crate::appliance::machine::place::Place;
use crate::appliance::machine::watched::Watched;
use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Hashes of passwords that are computed at once: each takes 19 MiB and a tenth of a second.
const HASHES_AT_ONCE: usize = 1;

/// Something that was found out, and when.
#[derive(Debug)]
pub struct Known<T> {
    /// When, in seconds since 1970.
    pub at: i64,
    /// What, or why not.
    pub what: Result<Rc<T>, String>,
}

impl<T> Clone for Known<T> {
    fn clone(&self) -> Self {
        Self {
            at: self.at,
            what: self.what.clone(),
        }
    }
}

/// Something that takes long to find out: what is known is shown meanwhile.
#[derive(Debug)]
pub struct Slow<T> {
    known: RefCell<Option<Known<T>>>,
    is_running: Cell<bool>,
}

impl<T> Default for Slow<T> {
    fn default() -> Self {
        Self {
            known: RefCell::default(),
            is_running: Cell::new(false),
        }
    }
}

impl<T: DeserializeOwned + Send + 'static> Slow<T> {
    /// What is known.
    pub fn known(&self) -> Option<Known<T>> {
        self.known.borrow().clone()
    }

    /// Whether somebody finds it out at the moment.
    pub fn is_running(&self) -> bool {
        self.is_running.get()
    }

    /// Finds it out, unless somebody does already.
    pub async fn renew(&self, place: &Place, kind: &'static str) {
        if self.is_running.replace(true) {
            return;
        }
        let place = place.clone();
        let asked = spawn_blocking(move || ask_facts::<T>(&place, kind)).await;
        let what = match asked.context("waiting for facts").and_then(|result| result) {
            Ok(what) => Ok(Rc::new(what)),
            Err(error) => {
                tell!("{error:#}");
                Err(format!("{error:#}"))
            }
        };
        *self.known.borrow_mut() = Some(Known { at: now(), what });
        self.is_running.set(false);
    }
}

/// Pages, settings, who is logged in, and whom to ask.
pub struct Site {
    pub place: Place,
    pub templates: Templates,
    pub store: Store,
    /// Changes with what pages load.
    pub version: String,
    /// The guard's port, unless it is the usual one.
    pub guard: Option<u16>,
    pub sessions: RefCell<Sessions>,
    pub failures: RefCell<Failures>,
    pub dns: Slow<DnsFacts>,
    pub users: Slow<Users>,
    believed: RefCell<Believed>,
    configuration: RefCell<Watched<Configuration>>,
    last: RefCell<Rc<Configuration>>,
    hashing: Semaphore,
    salt: [u8; 32],
    nobody: Option<String>,
}

impl Site {
    /// Reads what the machine has now.
    pub fn new(place: &Place, store: SocketAddr, guard: Option<u16>) -> Result<Self> {
        let mut configuration = CONFIGURATION.watch(place);
        let last = configuration.get()?;
        Ok(Self {
            templates: Templates::load(place)?,
            version: assets::version(place),
            store: Store::new(store),
            guard,
            sessions: RefCell::default(),
            failures: RefCell::default(),
            dns: Slow::default(),
            users: Slow::default(),
            believed: RefCell::default(),
            configuration: RefCell::new(configuration),
            last: RefCell::new(last),
            hashing: Semaphore::new(HASHES_AT_ONCE),
            salt: random(),
            nobody: nobody(),
            place: place.clone(),
        })
    }

    /// The settings as they are now, or as they last could be read.
    pub fn configuration(&self) -> Rc<Configuration> {
        match self.configuration.borrow_mut().get() {
            Ok(now) => *self.last.borrow_mut() = now,
            Err(error) => tell!("{error:#}"),
        }
        self.last.borrow().clone()
    }

    /// The token for forms of the session that a request belongs to, if it does to one.
    pub fn session(&self, asked: &Asked, configuration: &Configuration) -> Option<String> {
        let hash = configuration.password.as_deref()?;
        let mut sessions = self.sessions.borrow_mut();
        sessions.find(asked.cookie(COOKIE)?, hash, Instant::now())
    }

    /// Whether the password that comes with a request is right; `None` when that address was
    /// wrong too often.
    pub async fn check(
        &self,
        given: Credentials,
        asked: &Asked,
        configuration: &Rc<Configuration>,
    ) -> Option<Outcome> {
        let address = asked.client();
        let network = ClientNetwork::from(address);
        let hash = configuration.password.clone().unwrap_or_default();
        if self.believed.borrow().holds(&given, &hash, Instant::now()) {
            return Some(Outcome::Right);
        }
        // One after the other, also so that many tries at once count as many.
        let _turn = self.hashing.acquire().await;
        if self.failures.borrow().are_too_many(network, Instant::now()) {
            return None;
        }
        let mut values = Configuration::clone(configuration);
        let is_possible = values.password.is_some();
        if !is_possible {
            values.password.clone_from(&self.nobody);
        }
        let (place, guard, salt) = (self.place.clone(), self.guard, self.salt);
        let credentials = given.clone();
        let checked = spawn_blocking(move || {
            let outcome = match credentials.check(&values) {
                Outcome::Right if is_possible => Outcome::Right,
                _ => Outcome::Wrong,
            };
            report_login(&place, guard, address, &credentials, &salt, outcome);
            outcome
        });
        let outcome = checked.await.unwrap_or(Outcome::Wrong);
        let now = Instant::now();
        match outcome {
            Outcome::Right => {
                self.failures.borrow_mut().forgive(network);
                self.believed.borrow_mut().note(&given, &hash, now);
            }
            Outcome::Wrong => {
                tell!("a wrong password for the pages from {address}");
                self.failures.borrow_mut().note(network, now);
            }
        }
        Some(outcome)
    }
}
