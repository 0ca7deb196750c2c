//! What waits in the queue, why, and what is to be done about it.

use super::frame::Frame;
use crate::appliance::machine::clock::now;
use crate::appliance::monitoring::asked::Asked;
use crate::appliance::monitoring::helpers::{ask_facts, change_queue};
use crate::appliance::monitoring::site::Site;
use crate::appliance::monitoring::unit::Unit;
use crate::appliance::postfix::queue::{QueuedMessage, readable_age};
use crate::appliance::web::answer::Answer;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

/// Messages on the page.
const MOST: usize = 200;
/// Recipients shown of one message.
const MOST_RECIPIENTS: usize = 20;

/// What root's helper says.
#[derive(Debug, Default, Deserialize)]
struct Facts {
    total: usize,
    messages: Vec<QueuedMessage>,
}

#[derive(Debug, Serialize)]
struct Recipient {
    address: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Row {
    id: String,
    queue: String,
    age: String,
    size: String,
    sender: String,
    recipients: Vec<Recipient>,
    more: usize,
    is_held: bool,
}

#[derive(Debug, Serialize)]
struct Values {
    rows: Vec<Row>,
    total: usize,
    problem: Option<String>,
}

/// The page.
pub async fn answer(site: &Site, frame: &Frame) -> Result<Answer> {
    let place = site.place.clone();
    let asked = spawn_blocking(move || ask_facts::<Facts>(&place, "queue")).await?;
    let (facts, problem) = match asked {
        Ok(facts) => (facts, None),
        Err(error) => (Facts::default(), Some(format!("{error:#}"))),
    };
    site.templates
        .page("queue.html", frame, &values(facts, problem, now()))
}

fn values(facts: Facts, problem: Option<String>, now: i64) -> Values {
    let mut messages = facts.messages;
    messages.sort_by_key(|message| message.arrival_time);
    Values {
        total: facts.total,
        rows: messages
            .into_iter()
            .take(MOST)
            .map(|message| row(message, now))
            .collect(),
        problem,
    }
}

fn row(message: QueuedMessage, now: i64) -> Row {
    let more = message.recipients.len().saturating_sub(MOST_RECIPIENTS);
    Row {
        age: readable_age((now - message.arrival_time).max(0)),
        size: Unit::Bytes.write(message.message_size as f64),
        is_held: message.queue_name == "hold",
        id: message.queue_id,
        queue: message.queue_name,
        sender: message.sender,
        recipients: message
            .recipients
            .into_iter()
            .take(MOST_RECIPIENTS)
            .map(|recipient| Recipient {
                address: recipient.address,
                reason: recipient.delay_reason.unwrap_or_default(),
            })
            .collect(),
        more,
    }
}

/// Has done what the form says, and returns what came of it.
pub async fn change(site: &Site, asked: &Asked) -> Result<String> {
    let verb = asked.field("verb").context("the form has no verb")?;
    let id = asked.field("id").context("the form names no message")?;
    // The helper looks at both; a line break would be a second line.
    anyhow::ensure!(
        [&verb, &id].iter().all(|word| {
            !word.is_empty()
                && word.len() < 64
                && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
        }),
        "the form names no message"
    );
    let place = site.place.clone();
    spawn_blocking(move || change_queue(&place, &verb, &id)).await?
}

#[cfg(test)]
mod tests {
    use super::{Facts, values};
    use crate::appliance::machine::place::Place;
    use crate::appliance::monitoring::asked::Asked;
    use crate::appliance::monitoring::pages::configuration::Configuration;
    use crate::appliance::monitoring::pages::frame::Frame;
    use crate::appliance::monitoring::pages::templates::Templates;
    use http::{HeaderMap, Method};

    /// Whoever sends mail writes its sender, and whoever refuses it the reason.
    #[test]
    fn what_strangers_wrote_is_text() {
        let evil = "</td><script>alert(1)</script>\"'&";
        let facts: Facts = serde_json::from_value(serde_json::json!({
            "total": 1,
            "messages": [{
                "queue_name": evil, "queue_id": evil, "arrival_time": 0, "message_size": 1,
                "sender": evil,
                "recipients": [{"address": evil, "delay_reason": evil}]
            }]
        }))
        .unwrap();
        let configuration = Configuration {
            hostname: "mail.a.example".to_owned(),
            domains: Vec::new(),
            path: "/monitoring".to_owned(),
            user: "mail".to_owned(),
            password: None,
        };
        let asked = Asked {
            method: Method::GET,
            path: "/queue".to_owned(),
            query: format!("range={evil}"),
            headers: HeaderMap::new(),
            body: Vec::new(),
        };
        let frame = Frame::new((&configuration, "1"), &asked, "/queue", "t");
        let image = Place::new(Some(
            &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("overlay"),
        ));
        let page = Templates::load(&image).unwrap();
        let page = page
            .page("queue.html", &frame, &values(facts, None, 10))
            .unwrap();
        let text = format!("{page:?}");
        assert!(!text.contains("<script>alert"), "{text}");
        assert!(text.matches("&lt;script&gt;alert").count() >= 5, "{text}");
    }
}
