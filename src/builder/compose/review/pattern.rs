//! Lines of blocks as patterns of words, and the parameters in them.
//!
//! A word of a pattern is literal but for at most one `{CLASS}`; a word that
//! ends in `...` stands for one or more. What a class lets through has no
//! character that means anything to a shell, so a parameter can never hide a
//! command. Versions are read and forgotten: they change with every update.

use anyhow::{Context, Result, bail};

/// Endings of units that a package may bring, systemd.unit(5).
const UNIT_ENDINGS: [&str; 8] = [
    ".automount",
    ".mount",
    ".path",
    ".service",
    ".slice",
    ".socket",
    ".target",
    ".timer",
];

/// What a parameter may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Unit,
    Name,
    Path,
    Target,
    Version,
    Number,
    Configuration,
}

/// A word of a pattern.
#[derive(Clone, Debug)]
struct Word {
    before: String,
    class: Option<Class>,
    after: String,
    repeated: bool,
}

/// A line of a block, to be compared with.
#[derive(Clone, Debug)]
pub struct Pattern {
    words: Vec<Word>,
}

impl Pattern {
    /// Reads a line of the table.
    pub fn parse(line: &str) -> Result<Self> {
        let words: Result<Vec<Word>> = line.split_whitespace().map(parse_word).collect();
        let words = words.with_context(|| format!("reading the line `{line}` of a block"))?;
        Ok(Self { words })
    }

    /// The parameters of a line that fits, without versions.
    pub fn match_words(&self, words: &[&str]) -> Option<Vec<String>> {
        let mut parameters = Vec::new();
        let mut rest = words;
        for word in &self.words {
            let (first, mut after) = rest.split_first()?;
            parameters.extend(word.read(first)?);
            while let (true, Some((next, further))) = (word.repeated, after.split_first()) {
                let Some(parameter) = word.read(next) else {
                    break;
                };
                parameters.extend(parameter);
                after = further;
            }
            rest = after;
        }
        rest.is_empty().then_some(parameters)
    }
}

impl Word {
    /// What stands for the word's class, if the text fits; nothing is recorded
    /// of a literal word or a version.
    fn read(&self, text: &str) -> Option<Option<String>> {
        let inner = text.strip_prefix(&self.before)?.strip_suffix(&self.after)?;
        let Some(class) = self.class else {
            return inner.is_empty().then_some(None);
        };
        let plain = unescape(inner)?;
        if !class.admits(&plain) {
            return None;
        }
        Some((class != Class::Version).then_some(plain))
    }
}

impl Class {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "unit" => Self::Unit,
            "name" => Self::Name,
            "path" => Self::Path,
            "target" => Self::Target,
            "version" => Self::Version,
            "number" => Self::Number,
            "configuration" => Self::Configuration,
            _ => return None,
        })
    }

    fn admits(self, text: &str) -> bool {
        let of = |more: &str| {
            let plain = |letter: char| letter.is_ascii_alphanumeric() || more.contains(letter);
            text.starts_with(|first: char| first.is_ascii_alphanumeric() || "./_@".contains(first))
                && text.chars().all(plain)
        };
        match self {
            Self::Unit => of(":_.@-") && UNIT_ENDINGS.iter().any(|ending| text.ends_with(ending)),
            Self::Name => of("+._@-") && !text.starts_with('.'),
            Self::Path => text.starts_with('/') && of("+._@~:/-") && !climbs(text),
            Self::Target => of("+._@~:/-"),
            Self::Version => of("+.~:-"),
            Self::Number => text.parse::<u32>().is_ok() && !text.starts_with('+'),
            Self::Configuration => of("+._@-") && text.ends_with(".conf"),
        }
    }
}

fn climbs(path: &str) -> bool {
    path.split('/').any(|name| name == "..")
}

/// debhelper writes a backslash before characters that it does not trust.
fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        plain.push(match letter {
            '\\' => letters.next().filter(char::is_ascii_punctuation)?,
            other => other,
        });
    }
    Some(plain)
}

fn parse_word(text: &str) -> Result<Word> {
    let (text, repeated) = match text.strip_suffix("...") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let literal = || Word {
        before: text.to_owned(),
        class: None,
        after: String::new(),
        repeated,
    };
    // `${NAME}` is the shell's.
    let Some((before, rest)) = text
        .split_once('{')
        .filter(|(before, _)| !before.ends_with('$'))
    else {
        return Ok(literal());
    };
    let Some((name, after)) = rest.split_once('}') else {
        return Ok(literal());
    };
    let Some(class) = Class::named(name) else {
        bail!("'{{{name}}}' is no class of parameters");
    };
    Ok(Word {
        before: before.to_owned(),
        class: Some(class),
        after: after.to_owned(),
        repeated,
    })
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    fn read(pattern: &str, line: &str) -> Option<Vec<String>> {
        let words: Vec<&str> = line.split_whitespace().collect();
        Pattern::parse(pattern).unwrap().match_words(&words)
    }

    #[test]
    fn parameters_are_taken_out_and_versions_forgotten() {
        let found = read(
            "start '{unit}'... || true",
            "start 'a.service' 'b@1.timer' || true",
        );
        assert_eq!(found.unwrap(), ["a.service", "b@1.timer"]);
        let found = read(
            "rm {path} {version} -- \"$@\"",
            "rm /etc/a\\+b 1:2\\~ -- \"$@\"",
        );
        assert_eq!(found.unwrap(), ["/etc/a+b"]);
        assert_eq!(
            read("[ -x \"/etc/init.d/{name}\" ]", "[ -x \"/etc/init.d/a\" ]").unwrap(),
            ["a"]
        );
        assert!(
            read(
                "${DPKG_ROOT:+--root=\"$DPKG_ROOT\"} {configuration}...",
                "${DPKG_ROOT:+--root=\"$DPKG_ROOT\"} a.conf"
            )
            .is_some()
        );
    }

    #[test]
    fn nothing_that_a_shell_would_act_on_is_a_parameter() {
        for unit in [
            "$(reboot).service",
            "a;b.service",
            "a.service'x'",
            "-a.service",
            "a",
            "`a`.service",
            "a b.service",
            "a|b.service",
            "a&b.service",
            "a>b.service",
            "a\\nb.service",
            "*.service",
        ] {
            assert_eq!(read("x '{unit}'", &format!("x '{unit}'")), None, "{unit}");
        }
        for path in [
            "etc/a",
            "/etc/../a",
            "/etc/$a",
            "/etc/*",
            "/a;b",
            "/a\\ b",
            "~/a",
        ] {
            assert_eq!(read("x {path}", &format!("x {path}")), None, "{path}");
        }
        assert_eq!(read("x '{unit}'... y", "x y"), None);
        assert_eq!(read("x", "x y"), None);
    }

    #[test]
    fn an_unknown_class_is_an_error() {
        let error = format!("{:#}", Pattern::parse("x {user}").unwrap_err());
        assert_eq!(
            error,
            "reading the line `x {user}` of a block: '{user}' is no class of parameters"
        );
    }
}
