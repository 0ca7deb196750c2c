//! Reading a recipe and the tables it names, from a checkout or from the binary.
//!
//! The format is TOML 1.0 (<https://toml.io/en/v1.0.0>); what the keys mean is
//! said at [`Recipe`]. A mistake is reported with its line and column.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde::de::DeserializeOwned;

use crate::error::{Hint, hinted};
use crate::format::minisign::PublicKey;

use super::extend::{EXTENDS, extend, extended};
use super::names::{check_beside, check_names, check_sources};
use super::{Accounts, Archive, Recipe, ReviewedScript};

/// Where files beside a recipe are read from.
pub trait RecipeFiles {
    /// The content of a file beside the recipe.
    fn bytes(&self, name: &str) -> Result<Vec<u8>>;

    /// The text of a file beside the recipe.
    fn text(&self, name: &str) -> Result<String> {
        String::from_utf8(self.bytes(name)?).with_context(|| format!("reading {name}"))
    }
}

impl RecipeFiles for PathBuf {
    fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.join(name);
        std::fs::read(&path).with_context(|| format!("reading {}", path.display()))
    }
}

/// What helps whoever writes a recipe.
const KEYS_HINT: &str =
    "recipes/mail.toml shows every key; src/builder/recipe/mod.rs says what they mean";
/// Endings of keyrings that lie beside a recipe.
const KEY_FILE_ENDINGS: [&str; 2] = [".pgp", ".asc"];

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Scripts {
    #[serde(default)]
    script: Vec<ReviewedScript>,
}

/// Loads a recipe from disk, with the tables beside it.
pub fn load_recipe(path: &Path) -> Result<Recipe> {
    let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    parse_recipe(name, &folder)
}

/// Parses the recipe of that file name, with the tables beside it.
pub fn parse_recipe(name: &str, files: &dyn RecipeFiles) -> Result<Recipe> {
    let mut recipe = parse_one_or_two(name, files)?;
    check_names(&recipe.name, &recipe.version).with_context(|| format!("reading {name}"))?;
    check_sources(&recipe.sources).with_context(|| format!("reading {name}"))?;
    for file in [
        &recipe.accounts_file,
        &recipe.scripts_file,
        &recipe.blocks_file,
    ] {
        check_beside(file.as_deref()).with_context(|| format!("reading {name}"))?;
    }
    for key in &recipe.update.keys {
        PublicKey::parse(key).with_context(|| format!("reading [update] of {name}"))?;
    }
    if let Some(file) = &recipe.accounts_file {
        let accounts: Accounts = parse_table(file, files)?;
        check_accounts(&accounts).with_context(|| format!("reading {file}"))?;
        recipe.accounts = accounts;
    }
    if let Some(file) = &recipe.scripts_file {
        recipe.scripts = parse_table::<Scripts>(file, files)?.script;
    }
    if let Some(file) = &recipe.blocks_file {
        recipe.blocks = parse_table(file, files)?;
    }
    if let Some(image) = &recipe.image
        && image.command_line.contains(char::is_control)
    {
        return Err(hinted(
            format!("reading {name}: command_line holds a control character"),
            "what follows a line's end or a zero byte would not reach the kernel: write one line",
        ));
    }
    recipe.key_files = load_key_files(&recipe.sources, files)?;
    Ok(recipe)
}

/// Reads a recipe, with the one that it extends if it does.
fn parse_one_or_two(name: &str, files: &dyn RecipeFiles) -> Result<Recipe> {
    let differences: toml::Table = parse_table(name, files)?;
    let reading = || format!("reading {name}");
    let Some(base) = extended(&differences)
        .with_context(reading)?
        .map(str::to_owned)
    else {
        return parse_table(name, files);
    };
    // Its own mistakes have their line and column.
    let table: toml::Table = parse_table(&base, files)?;
    if !table.contains_key(EXTENDS) {
        parse_table::<Recipe>(&base, files)?;
    }
    let both = extend(table, differences)
        .with_context(|| format!("extending {base}"))
        .with_context(reading)?;
    toml::Value::Table(both)
        .try_into()
        .map_err(|error: toml::de::Error| anyhow!("{}", error.message()))
        .with_context(reading)
        .hint(KEYS_HINT)
}

fn load_key_files(
    sources: &[Archive],
    files: &dyn RecipeFiles,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut keys = BTreeMap::new();
    for name in sources.iter().flat_map(|archive| &archive.keys) {
        if KEY_FILE_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            if name.contains('/') {
                bail!("reading the keyring {name}: it must lie beside the recipe");
            }
            let bytes = files
                .bytes(name)
                .with_context(|| format!("reading the keyring {name}"))
                .hint("a name in 'keys' that ends in .pgp or .asc is a file beside the recipe")?;
            keys.insert(name.clone(), bytes);
        }
    }
    Ok(keys)
}

fn parse_table<T: DeserializeOwned>(name: &str, files: &dyn RecipeFiles) -> Result<T> {
    let text = files.text(name)?;
    parse_toml(&text)
        .with_context(|| format!("reading {name}"))
        .hint(KEYS_HINT)
}

/// Reads TOML; a mistake is one line that names its line and column.
pub(crate) fn parse_toml<T: DeserializeOwned>(text: &str) -> Result<T> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start).min(text.len());
        let before = &text[..start];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        anyhow!("line {line}, column {column}: {}", error.message())
    })
}

/// Refuses what would be another field, or another account, in passwd(5) and its like.
fn check_account_fields(accounts: &Accounts) -> Result<()> {
    let users = accounts.users.iter().flat_map(|user| {
        let plain = [&user.comment, &user.home, &user.shell].map(|text| (text, false));
        plain
            .into_iter()
            .chain([(&user.name, true), (&user.group, true)])
    });
    let groups = accounts.groups.iter().flat_map(|group| {
        let members = group.members.iter().map(|name| (name, true));
        members.chain([(&group.name, true)])
    });
    for (text, is_name) in users.chain(groups) {
        let plain = !text.contains(|character: char| character.is_control() || character == ':');
        let named = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && text
                .chars()
                .all(|one| one.is_ascii_alphanumeric() || "._-".contains(one));
        if !plain || (is_name && !named) {
            return Err(hinted(
                format!("{text:?} cannot stand in a table of accounts"),
                "names take letters, digits, '_', '.' and '-' and begin with a letter; no field \
                 takes ':' or the end of a line",
            ));
        }
    }
    Ok(())
}

fn check_accounts(accounts: &Accounts) -> Result<()> {
    check_account_fields(accounts)?;
    for (index, user) in accounts.users.iter().enumerate() {
        if accounts.users[..index]
            .iter()
            .any(|other| other.name == user.name || other.uid == user.uid)
        {
            bail!("user {} or uid {} is there twice", user.name, user.uid);
        }
        if !accounts.groups.iter().any(|group| group.name == user.group) {
            bail!(
                "user {}: group {} is not in the table",
                user.name,
                user.group
            );
        }
    }
    for (index, group) in accounts.groups.iter().enumerate() {
        if accounts.groups[..index]
            .iter()
            .any(|other| other.name == group.name || other.gid == group.gid)
        {
            bail!("group {} or gid {} is there twice", group.name, group.gid);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{RecipeFiles, parse_recipe};
    use anyhow::{Context, Result};

    struct Texts(&'static [(&'static str, &'static str)]);

    impl RecipeFiles for Texts {
        fn bytes(&self, name: &str) -> Result<Vec<u8>> {
            let found = self.0.iter().find(|(file, _)| *file == name);
            Ok(found.context("no such file")?.1.into())
        }
    }

    const MINIMAL: &str =
        "name = \"t\"\nversion = \"1\"\narchitecture = \"amd64\"\npackages = []\nsources = []\n";

    #[test]
    fn minimal_recipe_is_taken() {
        let recipe = parse_recipe("t.toml", &Texts(&[("t.toml", MINIMAL)])).unwrap();
        assert_eq!(recipe.name, "t");
    }

    #[test]
    fn keyrings_lie_embedded_or_beside_the_recipe() {
        let recipe = |key: &str| -> &'static str {
            let sources = format!(
                "[[sources]]\nsuite = \"s\"\nmirrors = []\ncomponents = []\n\
                 keys = [\"debian-trixie\", \"{key}\"]\n"
            );
            let text = MINIMAL.replace("sources = []\n", &sources);
            Box::leak(text.into_boxed_str())
        };
        let texts = |key: &str| {
            Texts(Box::leak(Box::new([
                ("t.toml", recipe(key)),
                ("own.asc", "armor"),
            ])))
        };
        let taken = parse_recipe("t.toml", &texts("own.asc")).unwrap();
        assert_eq!(taken.key_files["own.asc"], b"armor");
        assert_eq!(taken.key_files.len(), 1);
        for (key, expected) in [
            ("other.pgp", "reading the keyring other.pgp: no such file"),
            (
                "../own.asc",
                "reading the keyring ../own.asc: it must lie beside the recipe",
            ),
        ] {
            let error = parse_recipe("t.toml", &texts(key)).unwrap_err();
            assert_eq!(format!("{error:#}"), expected);
        }
    }

    /// Each of these put a second account into the image, with the id of root.
    #[test]
    fn an_account_is_one_line_of_its_fields() {
        let read = |user: &str, group: &str| {
            let accounts = format!(
                "[[users]]\nname = \"a\"\nuid = 1\ngroup = \"a\"\nhome = \"/\"\n{user}\n\
                 [[groups]]\nname = \"a\"\ngid = 1\n{group}\n"
            );
            let recipe = format!("accounts_file = \"accounts.toml\"\n{MINIMAL}");
            let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
            let texts = [("t.toml", leak(recipe)), ("accounts.toml", leak(accounts))];
            parse_recipe("t.toml", &Texts(Box::leak(Box::new(texts))))
        };
        read("comment = \"A person, ü\"", "members = []").unwrap();
        for (user, group) in [
            ("comment = \"x\\nroot2:x:0:0::/:/bin/sh\"", ""),
            ("comment = \"x:/:/bin/sh\"", ""),
            ("shell = \"/bin/sh\\r\"", ""),
            ("shell = \"/bin/sh\\u0000\"", ""),
            ("", "members = [\"a\\nsudo:x:27:a\"]"),
            ("", "members = [\"a,b\"]"),
            ("", "members = [\"..\"]"),
            ("", "members = [\"\"]"),
        ] {
            let error = read(user, group).unwrap_err();
            let text = crate::error::render(&error);
            assert!(
                text.contains("cannot stand in a table of accounts"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_command_line_is_one_line() {
        for bad in ["quiet\\u0000init=/bin/sh", "quiet\\nroothash=0", "quiet\\t"] {
            let image = format!(
                "{MINIMAL}[image]\nkernel_package = \"k\"\ncommand_line = \"{bad}\"\n\
                 [image.initrd]\nfiles = []\nmodules = []\n\
                 [image.disk]\nesp_mib = 34\nroot_mib = 1\nverity_mib = 1\n"
            );
            let text: &'static str = Box::leak(image.into_boxed_str());
            let texts = Texts(Box::leak(Box::new([("t.toml", text)])));
            let error = crate::error::render(&parse_recipe("t.toml", &texts).unwrap_err());
            assert!(
                error.contains("command_line holds a control character"),
                "{error}"
            );
        }
    }

    #[test]
    fn snapshots_leave_nothing_but_the_time_open() {
        let read = |address: &str| {
            let sources = format!(
                "[[sources]]\nsuite = \"s\"\nmirrors = []\ncomponents = []\nkeys = []\n\
                 snapshots = [\"{address}\"]\n"
            );
            let text = MINIMAL.replace("sources = []\n", &sources);
            let text: &'static str = Box::leak(text.into_boxed_str());
            parse_recipe("t.toml", &Texts(Box::leak(Box::new([("t.toml", text)]))))
        };
        let taken = read("http://snapshot.test/{time}").unwrap();
        assert_eq!(taken.sources[0].snapshots, ["http://snapshot.test/{time}"]);
        assert_eq!(
            crate::error::render(&read("http://snapshot.test/{date}").unwrap_err()),
            "error: reading t.toml: 'http://snapshot.test/{date}' under 'snapshots' has a \
             placeholder that is not known\n\
             hint: the only one is {time}, as in http://snapshot.debian.org/archive/debian/{time}"
        );
    }

    #[test]
    fn unknown_keys_are_named_with_line_and_column() {
        let texts = Texts(&[(
            "t.toml",
            "name = \"t\"\nversion = \"1\"\narchitecture = \"amd64\"\npackages = []\nsources = []\n  kernl = 1\n",
        )]);
        let error = format!("{:#}", parse_recipe("t.toml", &texts).unwrap_err());
        assert!(
            error.starts_with("reading t.toml: line 6, column 3: unknown field `kernl`"),
            "{error}"
        );
    }

    #[test]
    fn a_recipe_that_extends_another_is_both() {
        let texts = Texts(&[
            ("m.toml", MINIMAL),
            (
                "t.toml",
                "extends = \"m.toml\"\nname = \"metal\"\npackages = [\"a\"]\n",
            ),
            ("x.toml", "extends = \"m.toml\"\nkernl = 1\n"),
            ("y.toml", "extends = \"t.toml\"\n"),
            ("z.toml", "extends = \"none.toml\"\n"),
        ]);
        let recipe = parse_recipe("t.toml", &texts).unwrap();
        assert_eq!(
            (&*recipe.name, &*recipe.packages),
            ("metal", &["a".to_owned()][..])
        );
        let refused = |name: &str| format!("{:#}", parse_recipe(name, &texts).unwrap_err());
        let error = refused("x.toml");
        assert!(
            error.starts_with("reading x.toml: unknown field `kernl`"),
            "{error}"
        );
        assert_eq!(
            refused("y.toml"),
            "reading y.toml: extending t.toml: it extends m.toml in turn; \
             a recipe may extend one that stands for itself"
        );
        assert_eq!(refused("z.toml"), "no such file");
    }

    #[test]
    fn accounts_with_one_id_twice_are_refused() {
        let recipe: &'static str =
            Box::leak(format!("accounts_file = \"a.toml\"\n{MINIMAL}").into_boxed_str());
        let accounts = "[[groups]]\nname = \"a\"\ngid = 1\n[[groups]]\nname = \"b\"\ngid = 1\n";
        let texts = Texts(Box::leak(Box::new([
            ("t.toml", recipe),
            ("a.toml", accounts),
        ])));
        let error = format!("{:#}", parse_recipe("t.toml", &texts).unwrap_err());
        assert_eq!(error, "reading a.toml: group b or gid 1 is there twice");
    }
}
