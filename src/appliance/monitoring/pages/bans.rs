//! Who is kept out, as the guard says.

use crate::appliance::machine::place::Place;
use crate::appliance::monitoring::helpers::ask_facts;
use crate::appliance::monitoring::pages::charts::Shown;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

/// One ban.
#[derive(Debug, Serialize, Deserialize)]
struct Ban {
    address: String,
    since: String,
    until: String,
    failures: usize,
    account: String,
}

/// Values of the page.
#[derive(Debug, Serialize)]
pub struct Bans {
    /// The panels.
    pub panels: Vec<Shown>,
    bans: Vec<Ban>,
    problem: Option<String>,
}

/// Asks the guard, through root's helper.
pub async fn load(place: &Place, panels: Vec<Shown>) -> Bans {
    let place = place.clone();
    let asked = spawn_blocking(move || ask_facts::<Vec<Ban>>(&place, "bans")).await;
    let (bans, problem) = match asked {
        Ok(Ok(bans)) => (bans, None),
        Ok(Err(error)) => (Vec::new(), Some(format!("{error:#}"))),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    Bans {
        panels,
        bans,
        problem,
    }
}
