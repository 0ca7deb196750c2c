//! A recipe that says only in what it differs from another one beside it.
//!
//! With `extends = "mail.toml"` a recipe begins as that one. Tables are merged, lists
//! get longer by what stands here, everything else is replaced; what the lists of
//! `[without]` name is taken out of the other one's first. Left out: chains of such
//! recipes, so that two files are all there is to read.

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

/// The key that names the other recipe.
pub(super) const EXTENDS: &str = "extends";
/// The table of what that one has too much.
const WITHOUT: &str = "without";

/// The other recipe's file name, if there is one.
pub(super) fn extended(recipe: &Table) -> Result<Option<&str>> {
    match recipe.get(EXTENDS) {
        None => Ok(None),
        Some(Value::String(name)) if !name.contains('/') => Ok(Some(name)),
        Some(other) => bail!("'{EXTENDS}' is {other} and not the name of a file beside it"),
    }
}

/// The other recipe with these differences.
pub(super) fn extend(mut base: Table, mut differences: Table) -> Result<Table> {
    if let Some(Value::String(next)) = base.get(EXTENDS) {
        bail!("it extends {next} in turn; a recipe may extend one that stands for itself");
    }
    differences.remove(EXTENDS);
    match differences.remove(WITHOUT) {
        None => {}
        Some(Value::Table(without)) => take_out(&mut base, &without)?,
        Some(_) => bail!("'{WITHOUT}' is no table"),
    }
    merge(&mut base, differences);
    Ok(base)
}

fn take_out(base: &mut Table, without: &Table) -> Result<()> {
    for (key, gone) in without {
        match (base.get_mut(key), gone) {
            (Some(Value::Table(base)), Value::Table(gone)) => {
                take_out(base, gone).with_context(|| format!("in [{key}]"))?;
            }
            (Some(Value::Array(list)), Value::Array(gone)) => {
                for element in gone {
                    let place = list.iter().position(|kept| kept == element);
                    let place = place.with_context(|| {
                        format!("'{WITHOUT}' names {element}, which '{key}' does not have")
                    })?;
                    list.remove(place);
                }
            }
            _ => bail!("'{WITHOUT}' names '{key}', which is no list of the other recipe"),
        }
    }
    Ok(())
}

fn merge(base: &mut Table, differences: Table) {
    for (key, value) in differences {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(more)) => merge(base, more),
            (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{extend, extended};

    const BASE: &str = "name = 'mail'\nlist = ['a', 'b']\n[image]\nsize = 1\nlist = ['c']\n";

    fn extend_text(differences: &str) -> Result<String, String> {
        let [base, differences] = [BASE, differences].map(|text| text.parse().unwrap());
        extend(base, differences)
            .map(|table| table.to_string())
            .map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn tables_merge_lists_grow_and_the_rest_is_replaced() {
        let text = extend_text(
            "extends = 'mail.toml'\nname = 'metal'\nlist = ['d']\n[image]\nlist = ['e']\n\
             [without]\nlist = ['a']\n",
        );
        assert_eq!(
            text.unwrap(),
            "list = [\"b\", \"d\"]\nname = \"metal\"\n\n[image]\nlist = [\"c\", \"e\"]\nsize = 1\n"
        );
    }

    #[test]
    fn what_is_not_there_cannot_be_taken_out() {
        assert_eq!(
            extend_text("[without]\nimage = { list = ['x'] }").unwrap_err(),
            "in [image]: 'without' names \"x\", which 'list' does not have"
        );
        assert_eq!(
            extend_text("[without]\nname = ['mail']").unwrap_err(),
            "'without' names 'name', which is no list of the other recipe"
        );
    }

    #[test]
    fn another_recipe_is_a_file_beside_it() {
        let refused = |text: &str| {
            let table = text.parse().unwrap();
            extended(&table).map(|_| ()).unwrap_err().to_string()
        };
        assert_eq!(
            refused("extends = '../mail.toml'"),
            "'extends' is \"../mail.toml\" and not the name of a file beside it"
        );
    }
}
