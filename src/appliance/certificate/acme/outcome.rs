//! How a run ends for a name: a certificate that is handed over, one that is kept for its
//! time, or a failure that is told and remembered.

use super::agent::Agent;
use super::failure::{Failure, Kind};
use super::order::{Issued, forget_order};
use super::preflight::CLOCK_HINT;
use super::ready::{check_issued, find_kept, keep, leave_ready};
use super::record::Record;
use super::renewal::Renewal;
use crate::appliance::certificate::chain::{CertificateFacts, Untimely, read_facts};
use crate::appliance::certificate::chain_path;
use crate::appliance::machine::clock::{is_synchronized, now};
use crate::appliance::machine::files::read_linked;
use anyhow::Result;
use std::time::{Duration, Instant};

/// Longest wait for a certificate to be taken into use.
const TAKE_LIMIT: Duration = Duration::from_secs(60);

impl Agent<'_> {
    /// Checks what came, leaves it to be taken, and remembers the outcome.
    pub(super) fn conclude(
        &mut self,
        name: &str,
        record: &mut Record,
        result: Result<Issued, Failure>,
        forced: bool,
    ) -> Result<()> {
        let result = result.and_then(|issued| {
            // Whatever it is, this order is over.
            forget_order(self.place, name)?;
            let facts = check_issued(name, &issued).map_err(|error| {
                Failure::new(
                    Kind::Chain,
                    format!("the CA sent a certificate that is refused: {error:#}"),
                    "the certificate in use stays; tell the CA, or choose another by \
                     ACME_DIRECTORY_URL",
                )
            })?;
            Ok((issued, facts))
        });
        let (issued, facts) = match result {
            Ok(came) => came,
            Err(failure) => {
                self.fail(name, record, failure);
                return Ok(());
            }
        };
        record.succeed(&self.configuration.directory, forced, now());
        match facts.check_time(now()) {
            Ok(()) => self.hand_over(name, record, &issued, &facts),
            Err(untimely) => {
                keep(self.place, name, &issued)?;
                self.fail(name, record, kept(untimely));
                Ok(())
            }
        }
    }

    /// Leaves a certificate to be taken into use.
    fn hand_over(
        &mut self,
        name: &str,
        record: &mut Record,
        issued: &Issued,
        facts: &CertificateFacts,
    ) -> Result<()> {
        leave_ready(self.place, name, issued)?;
        record.renewal = Some(Renewal::by_lifetime(facts));
        self.lines.push(format!(
            "{name}: a certificate of {} came, serial {}.",
            facts.issuer, facts.serial
        ));
        if name == self.configuration.hostname && self.place.is_machine() {
            self.wait_until_taken(facts);
        }
        Ok(())
    }

    /// Hands a certificate over that was kept for its time, and says whether none is to be ordered.
    pub(super) fn tend_kept(&mut self, name: &str, record: &mut Record) -> Result<bool> {
        let Some((issued, facts)) = find_kept(self.place, name) else {
            return Ok(false);
        };
        match facts.check_time(now()) {
            Ok(()) => {
                record.failed = None;
                record.pause = None;
                self.hand_over(name, record, &issued, &facts)?;
                Ok(true)
            }
            Err(early @ Untimely::Early { .. }) => {
                self.fail(name, record, kept(early));
                Ok(true)
            }
            // Old when it came: the clock was ahead then, and has not gone back.
            Err(late) if record.issued.iter().any(|at| *at > facts.not_after) => {
                self.fail(name, record, kept(late));
                Ok(true)
            }
            Err(Untimely::Late { .. }) => Ok(false),
        }
    }

    fn fail(&mut self, name: &str, record: &mut Record, failure: Failure) {
        // What is looked at every few minutes is told when it changes.
        let told = record.failed.as_ref().is_some_and(|before| {
            // How far a clock is off is another number each time.
            let off = failure.kind == Kind::Clock && before.failure.kind == Kind::Clock;
            off || (failure.is_local() && before.failure == failure)
        });
        if !told {
            self.lines
                .push(format!("{name}: {failure}\n  hint: {}", failure.hint));
        }
        record.fail(failure, now(), rand::random());
        if let Some(failed) = &mut record.failed {
            failed.unsynchronized = !is_synchronized(self.place);
        }
    }

    /// So that the next key is made in this run, once this one is in use.
    fn wait_until_taken(&self, facts: &CertificateFacts) {
        let began = Instant::now();
        while began.elapsed() < TAKE_LIMIT {
            let installed = read_linked(&self.place.path(chain_path()))
                .ok()
                .flatten()
                .and_then(|pem| read_facts(&pem).ok());
            if installed.is_some_and(|installed| installed.serial == facts.serial) {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        tell!("warning: the certificate waits to be taken into use");
    }
}

fn kept(untimely: Untimely) -> Failure {
    Failure::new(
        Kind::Clock,
        format!("a certificate came and is kept for its time: {untimely}"),
        CLOCK_HINT,
    )
}
