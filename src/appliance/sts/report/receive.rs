//! Taking what Postfix tells, and keeping the count of the day.

use super::day::{Day, date_of, load_day, store_day};
use super::event::parse_event;
use crate::appliance::machine::clock::{may_be_set, unsigned_now};
use crate::appliance::machine::place::Place;
use jiff::civil::Date;
use std::time::Duration;
use tokio::net::UnixDatagram;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

/// Longest datagram of libtlsrpt.
const DATAGRAM_BYTES_MAX: usize = 128 << 10;
/// How much is lost at most when the power goes.
const STORING_INTERVAL: Duration = Duration::from_secs(60);

/// Receives until the process is told to stop, and stores what it has then.
pub async fn receive(place: &Place, socket: UnixDatagram) {
    let mut counter = Counter::new(place);
    let mut ticks = interval(STORING_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let stop = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::pin!(stop);
    loop {
        tokio::select! {
            result = socket.recv(&mut buffer) => {
                let event = result.ok().and_then(|length| parse_event(&buffer[..length]));
                // Before the clock is set nobody knows which day it is.
                if let Some(event) = event.filter(|_| !may_be_set(place)) {
                    counter.turn(unsigned_now());
                    counter.day.count(event);
                    counter.unsaved = true;
                }
            }
            _ = ticks.tick() => {
                counter.turn(unsigned_now());
                counter.store();
            }
            _ = &mut stop => {
                counter.store();
                return;
            }
        }
    }
}

struct Counter<'a> {
    place: &'a Place,
    date: Date,
    day: Day,
    unsaved: bool,
}

impl<'a> Counter<'a> {
    fn new(place: &'a Place) -> Self {
        let date = date_of(unsigned_now());
        Self {
            place,
            date,
            day: load_day(place, date),
            unsaved: false,
        }
    }

    /// Begins a new day when it is time.
    fn turn(&mut self, now: u64) {
        let date = date_of(now);
        if date != self.date {
            self.store();
            self.date = date;
            self.day = load_day(self.place, date);
        }
    }

    fn store(&mut self) {
        if !self.unsaved {
            return;
        }
        match store_day(self.place, self.date, &self.day) {
            Ok(()) => self.unsaved = false,
            Err(error) => tell!("{error:#}"),
        }
    }
}
