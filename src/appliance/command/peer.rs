//! `mailctl peer`: what `mailimg upgrade` calls over ssh. Not for people.

use crate::appliance::machine::place::Place;
use crate::appliance::machine::program::run_program;
use crate::appliance::upgrade::machine::{Machine, boot_id};
use crate::appliance::upgrade::offer::Permissions;
use crate::appliance::upgrade::record::{Record, State};
use crate::appliance::upgrade::source::peer::Peer;
use crate::appliance::upgrade::upgrade;
use crate::error::render;
use crate::format::delta::{Answer, Outcome, Standing, write_line};
use anyhow::{Context, Result};
use clap::Subcommand;
use std::io::{BufReader, stdin, stdout};

/// What a peer asks for.
#[derive(Debug, Subcommand)]
pub enum PeerVerb {
    /// Take an image over standard input.
    Receive,
    /// Say how the last upgrade stands.
    Standing,
    /// Restart.
    Restart,
}

/// Does what a peer asks for.
pub fn run_verb(place: &Place, verb: &PeerVerb) -> Result<(String, bool)> {
    match verb {
        PeerVerb::Receive => receive(place),
        PeerVerb::Standing => {
            let standing = standing(place)?;
            let text = serde_json::to_string(&standing).context("writing JSON")?;
            Ok((text, true))
        }
        PeerVerb::Restart => {
            run_program("/usr/bin/systemctl", &["--no-block", "reboot"])?;
            Ok((String::new(), true))
        }
    }
}

/// What goes wrong is said to the peer, who prints it.
fn receive(place: &Place) -> Result<(String, bool)> {
    let mut input = BufReader::new(stdin().lock());
    let mut output = stdout().lock();
    let took = (|| {
        let mut peer = Peer::greet(place, &mut input, &mut output)?;
        let permissions = Permissions {
            downgrade: peer.allows_downgrade(),
        };
        upgrade(place, &mut peer, permissions)?;
        Machine::open(place)
    })();
    let (answer, is_good) = match took {
        Ok(machine) => {
            let running = machine.version;
            (Answer::Done { running }, true)
        }
        Err(error) => (Answer::Refused(render(&error)), false),
    };
    write_line(&mut output, &answer)?;
    Ok((String::new(), is_good))
}

fn standing(place: &Place) -> Result<Standing> {
    let outcome = match Record::load(place)?.map(|record| record.state) {
        None => Outcome::None,
        Some(State::Waiting | State::GaveUp { .. }) => Outcome::Open,
        Some(State::Kept) => Outcome::Kept,
        Some(State::Interrupted) => Outcome::None,
        Some(State::CameBack { why, .. }) => Outcome::CameBack(why),
    };
    Ok(Standing {
        running: Machine::open(place)?.version,
        boot: boot_id(place),
        outcome,
    })
}
