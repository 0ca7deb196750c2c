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
    use super::{FOLDER, show_page};
    use crate::appliance::Arguments;
    use crate::builder::command::command_line;
    use crate::error::render;
    use crate::settings::KEYS;
    use clap::CommandFactory;
    use std::collections::BTreeMap;
    use std::path::Path;

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

    /// Manual and README, by name.
    fn texts() -> BTreeMap<String, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let pages = std::fs::read_dir(root.join("overlay").join(FOLDER)).unwrap();
        let paths = pages.map(|page| page.unwrap().path());
        paths
            .chain([root.join("README.md")])
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, std::fs::read_to_string(path).unwrap())
            })
            .collect()
    }

    /// What is written as code: spans between backquotes, and lines of blocks.
    fn code(text: &str) -> Vec<&str> {
        let mut found = Vec::new();
        for (number, part) in text.split("```").enumerate() {
            if number % 2 == 1 {
                found.extend(part.lines().map(str::trim));
            } else {
                found.extend(part.split('`').skip(1).step_by(2));
            }
        }
        found
    }

    /// Why words are no command line of a program, if they are none.
    fn wrong_command(words: &[&str], program: &clap::Command) -> Option<String> {
        let mut command = program;
        let mut rest = words.iter().skip(1).peekable();
        while command.has_subcommands() {
            let word = rest.next()?;
            // `user add|del` names more than one.
            for name in word.split('|') {
                let found = command.find_subcommand(name);
                if name
                    .chars()
                    .all(|letter| letter.is_ascii_lowercase() || letter == '-')
                    && !name.starts_with('-')
                    && found.is_none()
                {
                    return Some(format!("{} has no {name}", command.get_name()));
                }
            }
            let first = word.split('|').next().unwrap_or_default();
            match command.find_subcommand(first) {
                Some(found) => command = found,
                None => return None,
            }
        }
        let known = |option: &str| {
            let mut arguments = command.get_arguments();
            option == "help" || arguments.any(|one| one.get_long() == Some(option))
        };
        rest.filter_map(|word| word.trim_matches(['[', ']']).strip_prefix("--"))
            .map(|option| option.split(['=', '|']).next().unwrap_or_default())
            .find(|option| !known(option))
            .map(|option| format!("{} has no --{option}", command.get_name()))
    }

    #[test]
    fn commands_that_the_manual_names_are_there() {
        let programs = [
            ("mailimg", command_line()),
            ("mailctl", Arguments::command()),
        ];
        let mut named = 0;
        let mut wrong = Vec::new();
        for (page, text) in texts() {
            for span in code(&text) {
                // Several commands may stand in a line.
                for part in span.split("&&") {
                    let words: Vec<&str> = part.split_whitespace().collect();
                    let Some(program) = words.first().and_then(|word| {
                        let name = word.trim_start_matches("target/release/");
                        programs.iter().find(|(program, _)| *program == name)
                    }) else {
                        continue;
                    };
                    named += 1;
                    // What comes behind a comment or a pipe is not ours.
                    let own: Vec<&str> = words
                        .iter()
                        .copied()
                        .take_while(|word| !["#", "|", ";", ">", "<"].contains(word))
                        .collect();
                    if let Some(why) = wrong_command(&own, &program.1) {
                        wrong.push(format!("{page}: {part}: {why}"));
                    }
                }
            }
        }
        assert!(named > 50, "only {named} commands were found");
        assert_eq!(wrong, [""; 0]);
    }

    #[test]
    fn keys_that_the_manual_names_are_there() {
        let known = |word: &str| KEYS.iter().any(|key| key.name == word);
        let mut wrong = Vec::new();
        for (page, text) in texts() {
            for line in code(&text) {
                // A line that sets something, as in settings.env.
                let Some((key, _)) = line.split_once('=') else {
                    continue;
                };
                let is_key = key.len() > 2
                    && key
                        .chars()
                        .all(|letter| letter.is_ascii_uppercase() || letter == '_');
                // Variables of the build, and the word that stands for a key.
                let is_other = ["MAILIMG_", "CARGO_", "INSTA_"]
                    .iter()
                    .any(|prefix| key.starts_with(prefix))
                    || key == "KEY";
                if is_key && !is_other && !known(key) {
                    wrong.push(format!("{page}: {line}"));
                }
            }
        }
        assert_eq!(wrong, [""; 0]);
    }

    #[test]
    fn pages_are_short_have_a_title_and_lead_to_pages() {
        let texts = texts();
        for (page, text) in &texts {
            assert!(text.starts_with("# "), "{page} has no title");
            assert!(text.lines().count() <= 200, "{page} is too long");
            for link in text.split("](").skip(1) {
                let target = link.split([')', '#']).next().unwrap_or_default();
                let name = target.rsplit('/').next().unwrap_or_default();
                if name.ends_with(".md") && !target.contains("://") {
                    assert!(texts.contains_key(name), "{page} leads to {target}");
                }
            }
        }
    }
}
