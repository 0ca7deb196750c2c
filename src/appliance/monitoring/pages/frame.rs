//! What all pages have around them.

use crate::appliance::monitoring::asked::Asked;
use crate::appliance::monitoring::pages::configuration::Configuration;
use crate::appliance::monitoring::panels::Page;
use crate::appliance::monitoring::query::{RANGES, Range};
use serde::Serialize;

/// Pages in the order of the menu: path, name.
const MENU: [(&str, &str); 8] = [
    ("/", "Overview"),
    ("/d/psfx/postfix", "Mail server"),
    ("/d/dvct/dovecot", "Mailboxes"),
    ("/d/mchn/machine", "Machine"),
    ("/d/bans/bans", "Bans"),
    ("/d/dnsy/dns-sanity", "DNS"),
    ("/queue", "Queue"),
    ("/users", "Users"),
];

#[derive(Debug, Serialize)]
struct Entry {
    href: String,
    words: &'static str,
    is_here: bool,
}

#[derive(Debug, Serialize)]
struct RangeEntry {
    name: &'static str,
    words: &'static str,
    is_here: bool,
}

/// Values of all pages.
#[derive(Debug, Serialize)]
pub struct Frame {
    /// Path of the pages, without `/` at its end.
    pub base: String,
    /// `HOSTNAME`.
    pub hostname: String,
    /// Name of the page.
    pub title: String,
    /// Changes with what pages load.
    pub version: String,
    /// For forms; empty on the page without a session.
    pub token: String,
    /// Whether the browser has warned of our certificate.
    pub is_self_signed: bool,
    /// What was just done.
    pub said: Option<String>,
    /// What range of time is shown.
    pub range: &'static str,
    /// Whether this page shows time.
    pub has_time: bool,
    /// How its data is called.
    pub data: &'static str,
    /// Path of this page.
    pub here: String,
    menu: Vec<Entry>,
    ranges: Vec<RangeEntry>,
}

impl Frame {
    /// Around the page of that path.
    pub fn new(
        (configuration, version): (&Configuration, &str),
        asked: &Asked,
        path: &str,
        token: &str,
    ) -> Self {
        let base = configuration.path.clone();
        let range = Range::find(asked.parameter("range").as_deref());
        let menu = MENU.map(|(own, words)| Entry {
            href: format!("{base}{own}"),
            words,
            is_here: own == path,
        });
        let ranges = RANGES.map(|one| RangeEntry {
            name: one.name,
            words: one.words,
            is_here: one == range,
        });
        let title = MENU.iter().find(|(own, _)| *own == path);
        Self {
            here: format!("{base}{path}"),
            hostname: configuration.hostname.clone(),
            title: title.map_or("Log in", |(_, words)| words).to_owned(),
            version: version.to_owned(),
            token: token.to_owned(),
            is_self_signed: asked.is_self_signed(),
            said: None,
            range: range.name,
            has_time: false,
            data: "",
            menu: menu.into(),
            ranges: ranges.into(),
            base,
        }
    }

    /// The same for a page of panels.
    pub fn with_panels(mut self, page: Page) -> Self {
        self.has_time = true;
        self.data = page.name();
        self
    }
}

/// Whether a path below the pages' own is one of theirs.
pub fn is_page(path: &str) -> bool {
    MENU.iter().any(|(own, _)| *own == path)
}
