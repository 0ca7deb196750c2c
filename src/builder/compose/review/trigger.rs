//! The triggers file of a package, read by its grammar.
//!
//! Format: deb-triggers(5),
//! <https://manpages.debian.org/trixie/dpkg-dev/deb-triggers.5.en.html>.
//! Comments and the order of lines mean nothing, so they are not compared.

use crate::builder::recipe::Blocks;

/// The directives; `activate` and `interest` are the `-await` forms.
const DIRECTIVES: [&str; 6] = [
    "activate",
    "activate-await",
    "activate-noawait",
    "interest",
    "interest-await",
    "interest-noawait",
];

/// The lines of a triggers file that the recipe's table does not know.
pub fn unknown_triggers(file: &[u8], blocks: &Blocks) -> Vec<String> {
    let text = String::from_utf8_lossy(file);
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or("").trim());
    let unknown = lines.filter(|line| !line.is_empty() && !is_known(line, blocks));
    unknown
        .map(|line| line.escape_debug().to_string())
        .collect()
}

fn is_known(line: &str, blocks: &Blocks) -> bool {
    let words: Vec<&str> = line
        .split([' ', '\t'])
        .filter(|word| !word.is_empty())
        .collect();
    let [directive, name] = words[..] else {
        return false;
    };
    let names = blocks.trigger.iter().flat_map(|trigger| &trigger.names);
    DIRECTIVES.contains(&directive) && names.into_iter().any(|known| known == name)
}

#[cfg(test)]
mod tests {
    use super::unknown_triggers;
    use crate::builder::recipe::{Blocks, Trigger};

    #[test]
    fn known_names_pass_whatever_comments_and_order() {
        let trigger = Trigger {
            names: vec!["ldconfig".to_owned(), "/usr/lib/sysctl.d".to_owned()],
            effect: "e".to_owned(),
        };
        let blocks = Blocks {
            trigger: vec![trigger],
            ..Blocks::default()
        };
        let known = "# Triggers added by x/13.24.2\n\nactivate-noawait ldconfig\r\n\
                     interest-noawait\t/usr/lib/sysctl.d # why\n interest ldconfig";
        assert_eq!(unknown_triggers(known.as_bytes(), &blocks), [""; 0]);
        for line in [
            "activate-noawait ldconfig2",
            "run ldconfig",
            "activate-noawait",
            "ldconfig",
            "activate-noawait ldconfig extra",
            "interest /usr/lib/sysctl.d/x",
            "activate\0 ldconfig",
            "ACTIVATE ldconfig",
            "activate ldconfig\0",
        ] {
            let file = format!("{known}\n{line}\n");
            let found = unknown_triggers(file.as_bytes(), &blocks);
            assert_eq!(found, [line.escape_debug().to_string()]);
        }
    }
}
