//! Every panel of the pages: what is asked of the store, and how it is shown.
//!
//! One table, from which pages, charts and the test that asks every query come. Queries are
//! PromQL (<https://prometheus.io/docs/prometheus/latest/querying/basics/>); `$window` stands
//! for what the range of a page makes of it. Series are those of the manual's page `metrics`.

mod bans;
mod dovecot;
mod machine;
mod overview;
mod panel;
mod postfix;

pub use panel::{Kind, Panel};

use serde::Serialize;

/// A page with panels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Page {
    /// The first one.
    Overview,
    /// The mail server.
    Postfix,
    /// The IMAP server.
    Dovecot,
    /// The machine.
    Machine,
    /// Who is kept out.
    Bans,
}

impl Page {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Overview,
        Self::Postfix,
        Self::Dovecot,
        Self::Machine,
        Self::Bans,
    ];

    /// How it is called in addresses of data.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Postfix => "postfix",
            Self::Dovecot => "dovecot",
            Self::Machine => "machine",
            Self::Bans => "bans",
        }
    }

    /// The page of that name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|page| page.name() == name)
    }

    /// Its panels, in order.
    pub fn panels(self) -> &'static [Panel] {
        match self {
            Self::Overview => overview::OVERVIEW,
            Self::Postfix => postfix::POSTFIX,
            Self::Dovecot => dovecot::DOVECOT,
            Self::Machine => machine::MACHINE,
            Self::Bans => bans::BANS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Page;
    use std::collections::BTreeSet;

    #[test]
    fn panels_are_complete_and_distinct() {
        let all = || Page::ALL.into_iter().flat_map(Page::panels);
        let ids: BTreeSet<&str> = all().map(|panel| panel.id).collect();
        assert_eq!(ids.len(), all().count());
        for page in Page::ALL {
            assert!(page.panels().len() > 3);
            assert_eq!(Page::find(page.name()), Some(page));
        }
        for panel in all() {
            assert!(panel.about.ends_with('.') && !panel.title.ends_with('.'));
            for (legend, query) in panel.queries {
                for label in legend.split('{').skip(1) {
                    let label = label.split('}').next().unwrap();
                    assert!(query.contains(label), "{}: {label}", panel.id);
                }
                let deep = query.bytes().filter(|byte| *byte == b'(').count();
                assert_eq!(deep, query.bytes().filter(|byte| *byte == b')').count());
            }
        }
    }
}
