//! What all connections know.

use super::certificates::Certificates;
use super::configuration::{CONFIGURATION, Configuration};
use super::connections::Connections;
use super::pages::Pages;
use super::passing::Passing;
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::watched::Watched;
use anyhow::Result;
use std::cell::RefCell;
use std::rc::Rc;

/// Pages, settings, certificates, and who is connected.
pub struct Site {
    pub place: Place,
    pub pages: Pages,
    pub configuration: RefCell<Watched<Configuration>>,
    pub last: RefCell<Rc<Configuration>>,
    pub certificates: RefCell<Certificates>,
    pub connections: RefCell<Connections>,
    pub monitoring: Passing,
}

impl Site {
    /// Reads what the machine has now.
    pub fn new(place: &Place) -> Result<Self> {
        let mut configuration = CONFIGURATION.watch(place);
        let last = configuration.get()?;
        Ok(Self {
            place: place.clone(),
            pages: Pages::load(place)?,
            configuration: RefCell::new(configuration),
            last: RefCell::new(last),
            certificates: RefCell::new(Certificates::new(place.clone())),
            connections: RefCell::default(),
            monitoring: Passing::new(place.path(place::MONITORING_SOCKET)),
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
}
