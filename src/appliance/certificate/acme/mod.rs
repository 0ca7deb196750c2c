//! `mailctl acme`: gets certificates from a CA and keeps them valid.
//!
//! Run at boot and every few minutes; most runs find nothing to do. For each
//! name, HOSTNAME first:
//!
//! ```text
//! due? ─► pause over? ─► clock, DNS, web server ─► order ─► chain ─► ready/NAME
//! ARI or    kept by        what costs nothing       resumed   checked   taken by
//! lifetime  record                                                      cert take
//! ```
//!
//! ACME is RFC 8555 (<https://www.rfc-editor.org/rfc/rfc8555>). The agent
//! installs nothing itself: it has no right to.

mod account;
mod agent;
mod alert;
mod back_off;
mod challenge;
mod client;
mod configuration;
mod external_account;
mod failure;
mod keys;
mod names;
mod order;
mod outcome;
mod preflight;
mod ready;
mod record;
mod renewal;
mod request;

use crate::appliance::machine::files::ensure_folder;
use crate::appliance::machine::place::{self, Place};
use crate::appliance::wire::serve::{BLOCKING_THREADS, start_runtime};
use agent::Agent;
use anyhow::Result;

pub use configuration::{Configuration, configure, load_configuration, load_configured};
pub use ready::{find_chain, put_by, ready_folder};
pub use record::{Record, load_record};
pub use renewal::Reason;
pub use request::{RenewalRequest, is_left, leave_request};

/// The unit that runs the agent; its timer starts it again when it has ended.
pub const UNIT: &str = "mailimg-acme.service";

/// Does what is due, and returns what to say.
///
/// What keeps a certificate from coming is no error: it is remembered and told.
pub fn run_agent(place: &Place) -> Result<String> {
    let Some(configuration) = load_configuration(place)? else {
        return Ok("No settings yet: no name needs a certificate.".to_owned());
    };
    let folder = place.path(place::ACME);
    if !place.is_machine() {
        ensure_folder(&folder, 0o755, None)?;
    }
    for ours in ["requests", "kept"] {
        ensure_folder(&folder.join(ours), 0o755, None)?;
    }
    let _lock = crate::appliance::machine::files::lock_file(&folder.join("lock"))?;
    let runtime = start_runtime(BLOCKING_THREADS)?;
    runtime.block_on(Agent::new(place, &configuration).run())
}
