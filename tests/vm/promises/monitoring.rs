//! The pages of monitoring, as a browser and a Grafana meet them.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use base64::Engine;

use super::super::https::{self, Response};
use super::super::site::{FORGED_DOMAIN, HOST_NAME};
use super::super::wire::Wire;
use super::Promise;
use super::world::{DELIVERY_LIMIT, MONITORING_PASSWORD, World};
use crate::world::network::STRANGERS;
use crate::world::wait::until;

/// Every page, and a word that only it has.
const PAGES: [(&str, &str); 8] = [
    ("/", "After installing"),
    ("/d/psfx/postfix", "Where a delivery"),
    ("/d/dvct/dovecot", "Largest mailboxes"),
    ("/d/mchn/machine", "Memory of services"),
    ("/d/bans/bans", "Who is kept out"),
    ("/d/dnsy/dns-sanity", "Records of this machine"),
    ("/queue", "What waits"),
    ("/users", "anna@wombat.example"),
];
/// Nobody else guesses from here.
const GUESSER: IpAddr = IpAddr::V4(STRANGERS[9]);

pub const PROMISES: &[Promise] = &[
    Promise {
        says: "the pages of monitoring are behind https and a login",
        check: pages_are_behind_a_login,
    },
    Promise {
        says: "a message that waits is kept back, let go and deleted on the pages",
        check: queue_is_changed,
    },
    Promise {
        says: "a Grafana asks the store of figures with the password of the pages, and is refused without",
        check: grafana_asks,
    },
    Promise {
        says: "six wrong passwords at the pages shut their address out of mail",
        check: guesser_is_shut_out,
    },
    Promise {
        says: "METRICS=false leaves no page, and METRICS=true brings them back",
        check: pages_come_and_go,
    },
];

/// A browser: where it is, and its cookies.
struct Browser<'a> {
    world: &'a World,
    source: IpAddr,
    cookies: Vec<(String, String)>,
}

impl<'a> Browser<'a> {
    fn new(world: &'a World, source: IpAddr) -> Self {
        Self {
            world,
            source,
            cookies: Vec::new(),
        }
    }

    fn ask(&mut self, method: &str, path: &str, more: &str, body: &str) -> Result<Response> {
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = format!(
            "{method} /monitoring{path} HTTP/1.1\r\nHost: {HOST_NAME}\r\nConnection: close\r\n\
             Cookie: {}\r\n{more}Content-Length: {}\r\n\r\n{body}",
            cookies.join("; "),
            body.len()
        );
        let wire = Wire::open_tls(self.source, self.world.port(443), HOST_NAME)?;
        let response = https::exchange(wire, &request)?;
        for (_, value) in response
            .headers
            .iter()
            .filter(|(name, _)| name == "set-cookie")
        {
            let pair = value.split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').context("a cookie without '='")?;
            self.cookies.retain(|(known, _)| known != name);
            self.cookies.push((name.to_owned(), value.to_owned()));
        }
        Ok(response)
    }

    fn get(&mut self, path: &str) -> Result<Response> {
        self.ask("GET", path, "", "")
    }

    fn post(&mut self, path: &str, token: &str, fields: &str) -> Result<Response> {
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        self.ask("POST", path, form, &format!("token={token}&{fields}"))
    }

    fn log_in(&mut self, password: &str) -> Result<Response> {
        let token = token(&self.get("/login")?)?;
        self.post("/login", &token, &format!("user=mail&password={password}"))
    }
}

/// The hidden field of a page's forms.
fn token(page: &Response) -> Result<String> {
    let mut parts = page.body.split("name=\"token\" value=\"");
    let rest = parts
        .nth(1)
        .with_context(|| format!("no form in {}", page.body))?;
    Ok(rest.split('"').next().unwrap_or_default().to_owned())
}

fn logged_in(world: &World) -> Result<Browser<'_>> {
    let mut browser = Browser::new(world, world.client());
    let answer = browser.log_in(MONITORING_PASSWORD)?;
    ensure!(
        answer.status == 303,
        "the login: {} {}",
        answer.status,
        answer.body
    );
    Ok(browser)
}

fn pages_are_behind_a_login(world: &World) -> Result<()> {
    let clear = https::get_clear(world.client(), world.port(80), HOST_NAME, "/monitoring/")?;
    let place = clear.header("location").unwrap_or_default().to_owned();
    ensure!(
        clear.status == 301 && place == format!("https://{HOST_NAME}/monitoring/"),
        "in the clear: {} {place}",
        clear.status
    );
    let mut nobody = Browser::new(world, world.client());
    for (path, word) in PAGES {
        let answer = nobody.get(path)?;
        ensure!(
            answer.status == 303 && !answer.body.contains(word),
            "{path} without a login: {}",
            answer.status
        );
    }
    let mut browser = logged_in(world)?;
    for (path, word) in PAGES {
        let answer = browser.get(path)?;
        ensure!(
            answer.status == 200 && answer.body.contains(word),
            "{path}: {} {}",
            answer.status,
            answer.body
        );
        let policy = answer.header("content-security-policy").unwrap_or_default();
        ensure!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
    }
    let overview = browser.get("/")?.body;
    ensure!(
        overview.contains("required records") && !overview.contains("did not say how it stands"),
        "{overview}"
    );
    // Its certificate is the one that it made itself.
    ensure!(
        overview.contains("certificate of this machine is its own"),
        "{overview}"
    );
    let script = browser.get("/assets/dygraph.min.js")?;
    ensure!(
        script.body.contains("Dygraph"),
        "the library is {} bytes",
        script.body.len()
    );
    Ok(())
}

fn queue_is_changed(world: &World) -> Result<()> {
    let recipient = format!("{}@{FORGED_DOMAIN}", world.unique("kept"));
    world
        .submit(&world.account("carla"), &recipient, "kept back")?
        .must_be(&[250], "the message")?;
    let find = || -> Result<Option<serde_json::Value>> {
        let queue = world.run("postqueue -j")?;
        let line = queue.lines().find(|line| line.contains(&recipient));
        Ok(line.map(serde_json::from_str).transpose()?)
    };
    let waiting = until("the mail to wait", DELIVERY_LIMIT, || {
        Ok(find()?.filter(|message| message["queue_name"] == "deferred"))
    })?;
    let id = waiting["queue_id"].as_str().context("no id")?.to_owned();
    let mut browser = logged_in(world)?;
    let page = browser.get("/queue")?;
    ensure!(
        page.body.contains(&recipient) && page.body.contains(&id),
        "{}",
        page.body
    );
    let token = token(&page)?;
    let without = browser.post("/queue", "", &format!("verb=delete&id={id}"))?;
    ensure!(
        without.status == 403,
        "without its token: {}",
        without.status
    );
    for (verb, queue) in [
        ("hold", Some("hold")),
        ("release", Some("deferred")),
        ("delete", None),
    ] {
        let answer = browser.post("/queue", &token, &format!("verb={verb}&id={id}"))?;
        ensure!(answer.status == 303, "{verb}: {}", answer.status);
        let said = browser.get("/queue")?.body;
        ensure!(said.contains(&format!("Message {id} is")), "{verb}: {said}");
        let name = find()?.map(|message| message["queue_name"].clone());
        let fits = match queue {
            // Let go, it is tried at once.
            Some("deferred") => name.as_ref().is_some_and(|name| name != "hold"),
            queue => name.as_ref().and_then(|name| name.as_str()) == queue,
        };
        ensure!(fits, "after {verb} it is in {name:?}");
    }
    Ok(())
}

fn grafana_asks(world: &World) -> Result<()> {
    let mut grafana = Browser::new(world, world.client());
    let refused = grafana.get("/api/v1/labels")?;
    ensure!(
        refused.status == 401 && refused.header("www-authenticate").is_some(),
        "without a password: {}",
        refused.status
    );
    let pair = format!("mail:{MONITORING_PASSWORD}");
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    let header = format!("Authorization: Basic {encoded}\r\n");
    let answer = grafana.ask("GET", "/api/v1/status/buildinfo", &header, "")?;
    ensure!(answer.status == 200, "{} {}", answer.status, answer.body);
    for path in [
        "/api/v1/admin/tsdb/delete_series",
        "/api/v1/write",
        "/api/v1/import",
    ] {
        let answer = grafana.ask("POST", path, &header, "")?;
        ensure!(answer.status == 404, "{path}: {}", answer.status);
    }
    Ok(())
}

fn guesser_is_shut_out(world: &World) -> Result<()> {
    let port = SocketAddr::new(world.address(), 993);
    let is_open = || {
        crate::world::network::connect_from(GUESSER, port, std::time::Duration::from_secs(4))
            .is_ok()
    };
    ensure!(is_open(), "it was shut out before");
    for number in 0..6 {
        let answer = Browser::new(world, GUESSER).log_in(&format!("guess{number}"))?;
        ensure!(answer.status == 403, "guess {number}: {}", answer.status);
    }
    until("the guesser to be shut out", DELIVERY_LIMIT, || {
        Ok((!is_open()).then_some(()))
    })?;
    world.run(&format!("mailctl ban lift {GUESSER}"))?;
    Ok(())
}

fn pages_come_and_go(world: &World) -> Result<()> {
    let file = "/var/lib/mailimg/settings.env";
    world.run(&format!(
        "cp {file} /run/settings.kept && echo METRICS=false >>{file} && mailctl settings apply"
    ))?;
    let off = Browser::new(world, world.client()).get("/login");
    let state = world.run("systemctl is-active mailimg-monitoring mailimg-facts.socket || true");
    world.run(&format!(
        "cat /run/settings.kept >{file} && mailctl settings apply"
    ))?;
    let (off, state) = (off?, state?);
    ensure!(off.status == 404, "with METRICS=false: {}", off.status);
    ensure!(
        !state.lines().any(|line| line == "active"),
        "with METRICS=false: {state}"
    );
    until("the pages to come back", DELIVERY_LIMIT, || {
        let answer = Browser::new(world, world.client()).get("/login")?;
        Ok((answer.status == 200).then_some(()))
    })
}
