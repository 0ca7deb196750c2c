//! The manual: short pages of Markdown, the same on the machine and on the host.

use anyhow::Result;
use std::collections::BTreeMap;

use crate::error::{Hint, hinted};

/// Where the pages lie in the image, one file `NAME.md` each.
pub const FOLDER: &str = "usr/share/mailimg/manual";

/// One page as it is, or a list of all with their titles.
///
/// `pages` are texts by name. Fails when there is no such page.
pub fn show_page(pages: &BTreeMap<String, String>, name: Option<&str>) -> Result<String> {
    let Some(name) = name else {
        let width = pages.keys().map(String::len).max().unwrap_or(0);
        let lines = pages
            .iter()
            .map(|(name, text)| format!("{name:width$}  {}\n", title(text)));
        return Ok(lines.collect());
    };
    let page = pages.get(name.trim_end_matches(".md"));
    page.cloned()
        .ok_or_else(|| {
            let known: Vec<&str> = pages.keys().map(String::as_str).collect();
            hinted(
                format!("the manual has no page {name}"),
                format!("its pages are {}", known.join(", ")),
            )
        })
        .usage()
}

fn title(text: &str) -> &str {
    let first = text.lines().next().unwrap_or_default();
    first.trim_start_matches('#').trim()
}

#[cfg(test)]
mod tests {
    use super::show_page;
    use crate::error::render;
    use std::collections::BTreeMap;

    #[test]
    fn pages_are_listed_shown_and_missed() {
        let pages: BTreeMap<String, String> =
            [("dns", "# Records\n\nText.\n"), ("users", "# Accounts\n")]
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .into();
        assert_eq!(
            show_page(&pages, None).unwrap(),
            "dns    Records\nusers  Accounts\n"
        );
        assert_eq!(
            show_page(&pages, Some("dns.md")).unwrap(),
            "# Records\n\nText.\n"
        );
        assert_eq!(
            render(&show_page(&pages, Some("dsn")).unwrap_err()),
            "error: the manual has no page dsn\nhint: its pages are dns, users"
        );
    }
}
