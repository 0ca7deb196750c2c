//! The accounts and what their mailboxes take; nothing can be changed here.

use super::frame::Frame;
use crate::appliance::machine::clock::now;
use crate::appliance::monitoring::asked::Asked;
use crate::appliance::monitoring::facts::{User, Users};
use crate::appliance::monitoring::site::{Known, Site};
use crate::appliance::monitoring::unit::{Unit, time};
use crate::appliance::web::answer::Answer;
use anyhow::Result;
use http::header;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::timeout;

/// Accounts on a page.
const A_PAGE: usize = 100;
/// What is known so long is found out again, in seconds.
const FRESH: i64 = 60;
/// Longest that the page waits for it.
const WAIT: Duration = Duration::from_secs(3);

#[derive(Debug, Serialize)]
struct Row {
    user: String,
    size: String,
    messages: String,
    quota: String,
    /// Part of the quota that is in use, in per cent.
    used: Option<u64>,
    last_login: String,
    /// What is wrong, if anything.
    wrong: String,
}

#[derive(Debug, Serialize)]
struct Values {
    rows: Vec<Row>,
    total: usize,
    total_size: String,
    matching: usize,
    search: String,
    /// The same as it stands in an address.
    search_url: String,
    number: usize,
    numbers: usize,
    before: Option<usize>,
    next: Option<usize>,
    at: String,
    problem: Option<String>,
    is_running: bool,
}

/// The page.
pub async fn answer(site: &Rc<Site>, frame: &Frame, asked: &Asked) -> Result<Answer> {
    let known = site.users.known();
    let is_fresh = known
        .as_ref()
        .is_some_and(|known| (now() - known.at).abs() < FRESH);
    if !is_fresh {
        let renewing = site.clone();
        let renewal = tokio::task::spawn_local(async move {
            let place = renewing.place.clone();
            renewing.users.renew(&place, "users").await;
        });
        // What is known already is shown at once.
        let wait = if known.is_some() {
            Duration::from_millis(300)
        } else {
            WAIT
        };
        let _ = timeout(wait, renewal).await;
    }
    let values = values(site.users.known(), site.users.is_running(), asked);
    let answer = site.templates.page("users.html", frame, &values)?;
    Ok(match values.is_running {
        true => answer.with(header::REFRESH, "3"),
        false => answer,
    })
}

fn values(known: Option<Known<Users>>, is_running: bool, asked: &Asked) -> Values {
    let at = known.as_ref().map(|known| known.at);
    let (users, problem) = match known.map(|known| known.what) {
        Some(Ok(users)) => (users, None),
        Some(Err(problem)) => (Rc::default(), Some(problem)),
        None => (Rc::default(), None),
    };
    let search = asked.parameter("search").unwrap_or_default();
    let wanted = search.trim().to_lowercase();
    let matching: Vec<&User> = users
        .iter()
        .filter(|user| user.user.to_lowercase().contains(&wanted))
        .collect();
    let numbers = matching.len().div_ceil(A_PAGE).max(1);
    let number = asked
        .parameter("page")
        .and_then(|text| text.parse().ok())
        .unwrap_or(1usize)
        .clamp(1, numbers);
    let total: u64 = matching.iter().filter_map(|user| user.mailbox_bytes).sum();
    Values {
        rows: matching
            .iter()
            .skip((number - 1) * A_PAGE)
            .take(A_PAGE)
            .map(|user| row(user))
            .collect(),
        total: users.len(),
        total_size: Unit::Bytes.write(total as f64),
        matching: matching.len(),
        search_url: utf8_percent_encode(&search, NON_ALPHANUMERIC).to_string(),
        search,
        number,
        numbers,
        before: (number > 1).then(|| number - 1),
        next: (number < numbers).then(|| number + 1),
        at: at.map_or_else(String::new, time),
        problem,
        is_running,
    }
}

fn row(user: &User) -> Row {
    let bytes = |value: Option<u64>, none: &str| {
        value.map_or_else(|| none.to_owned(), |value| Unit::Bytes.write(value as f64))
    };
    let used = user.mailbox_bytes.zip(user.quota_bytes);
    Row {
        user: user.user.clone(),
        size: bytes(user.mailbox_bytes, "no mail yet"),
        messages: user
            .mailbox_messages
            .map_or_else(String::new, |count| Unit::Count.write(count as f64)),
        quota: bytes(user.quota_bytes, "no limit"),
        used: used
            .filter(|(_, most)| *most > 0)
            .map(|(size, most)| size.saturating_mul(100) / most),
        last_login: user.last_login.map_or_else(String::new, time),
        wrong: match user.sanity.as_str() {
            "OK" => String::new(),
            wrong => wrong.to_owned(),
        },
    }
}
