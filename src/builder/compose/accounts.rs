//! The account files, from the recipe's fixed table.
//!
//! Formats: passwd(5), shadow(5), group(5), gshadow(5),
//! <https://manpages.debian.org/trixie/passwd/shadow.5.en.html>. No account
//! has a password: `*` lets a person in by key and by nothing else, while `!`
//! would make sshd take the account for locked.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Result, bail};

use crate::builder::recipe::Accounts;
use crate::builder::tree::{Kind, Metadata, Node, Tree};

/// Group that may read the shadow files, as Debian has it.
const SHADOW_GROUP: &str = "shadow";

/// Writes passwd, group, shadow and gshadow.
pub fn install_accounts(tree: &mut Tree, accounts: &Accounts) -> Result<()> {
    let mut passwd = String::new();
    let mut shadow = String::new();
    for user in &accounts.users {
        let gid = gid_of(accounts, &user.group)?;
        let _ = writeln!(
            passwd,
            "{}:x:{}:{gid}:{}:{}:{}",
            user.name, user.uid, user.comment, user.home, user.shell
        );
        // The empty third field is "never changed": no password ages here.
        let _ = writeln!(shadow, "{}:*:::::::", user.name);
    }
    let mut group = String::new();
    let mut gshadow = String::new();
    for entry in &accounts.groups {
        let members = entry.members.join(",");
        let _ = writeln!(group, "{}:x:{}:{members}", entry.name, entry.gid);
        let _ = writeln!(gshadow, "{}:*::{members}", entry.name);
    }
    tree.insert("etc/passwd", Node::file(0o644, passwd))?;
    tree.insert("etc/group", Node::file(0o644, group))?;
    let secret = Metadata {
        gid: gid_of(accounts, SHADOW_GROUP)?,
        ..Metadata::root(0o640)
    };
    for (path, text) in [("etc/shadow", shadow), ("etc/gshadow", gshadow)] {
        tree.insert(
            path,
            Node {
                metadata: secret.clone(),
                kind: Kind::File(text.into()),
            },
        )?;
    }
    Ok(())
}

/// The id of a user of the table.
pub fn uid_of(accounts: &Accounts, name: &str) -> Result<u32> {
    match accounts.users.iter().find(|user| user.name == name) {
        Some(user) => Ok(user.uid),
        None => bail!("looking up user {name}: it is not in the table of accounts"),
    }
}

/// The id of a group of the table.
pub fn gid_of(accounts: &Accounts, name: &str) -> Result<u32> {
    match accounts.groups.iter().find(|group| group.name == name) {
        Some(group) => Ok(group.gid),
        None => bail!("looking up group {name}: it is not in the table of accounts"),
    }
}

/// Fails when a path's owner, or an account that a package declares, is
/// missing from the table.
pub fn check_accounts(tree: &Tree, accounts: &Accounts) -> Result<()> {
    let mut missing = BTreeSet::new();
    for (path, node) in tree.iter() {
        let Metadata { uid, gid, .. } = node.metadata;
        if !accounts.users.iter().any(|user| user.uid == uid) {
            missing.insert(format!("/{path} belongs to uid {uid}"));
        }
        if !accounts.groups.iter().any(|group| group.gid == gid) {
            missing.insert(format!("/{path} belongs to gid {gid}"));
        }
    }
    for (path, node) in tree.below("usr/lib/sysusers.d") {
        if let Kind::File(content) = &node.kind {
            let text = String::from_utf8_lossy(&content.read()?).into_owned();
            for (user, name) in declared_accounts(&text) {
                let known = if user {
                    accounts.users.iter().any(|entry| entry.name == name)
                } else {
                    accounts.groups.iter().any(|entry| entry.name == name)
                };
                if !known {
                    let kind = if user { "user" } else { "group" };
                    missing.insert(format!("/{path} declares {kind} {name}"));
                }
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = missing.into_iter().collect();
    Err(crate::error::hinted(
        format!("checking accounts: {}", list.join("; ")),
        "append the account with a fresh id to the recipe's table of accounts",
    ))
}

/// Users (true) and groups (false) that a sysusers.d file declares, see
/// <https://www.freedesktop.org/software/systemd/man/257/sysusers.d.html>.
fn declared_accounts(text: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(kind), Some(name)) = (words.next(), words.next()) else {
            continue;
        };
        match kind.trim_end_matches(['!', '-']) {
            "u" => found.push((true, name.to_owned())),
            "g" => found.push((false, name.to_owned())),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{check_accounts, declared_accounts, install_accounts};
    use crate::builder::recipe::{Accounts, Group, User};
    use crate::builder::tree::{Node, Tree};

    fn table() -> Accounts {
        let group = |name: &str, gid| Group {
            name: name.to_owned(),
            gid,
            members: Vec::new(),
        };
        Accounts {
            users: vec![User {
                name: "root".to_owned(),
                uid: 0,
                group: "root".to_owned(),
                comment: String::new(),
                home: "/root".to_owned(),
                shell: "/bin/bash".to_owned(),
            }],
            groups: vec![group("root", 0), group("shadow", 42)],
        }
    }

    #[test]
    fn nobody_has_a_password_and_shadow_is_private() {
        let mut tree = Tree::default();
        install_accounts(&mut tree, &table()).unwrap();
        let text = |path| String::from_utf8(tree.content(path).unwrap().read().unwrap()).unwrap();
        assert_eq!(text("etc/passwd"), "root:x:0:0::/root:/bin/bash\n");
        assert_eq!(text("etc/shadow"), "root:*:::::::\n");
        assert_eq!(text("etc/group"), "root:x:0:\nshadow:x:42:\n");
        assert!(tree.listing().contains("f 0640 0:42 /etc/shadow"));
    }

    #[test]
    fn an_owner_or_declared_account_outside_the_table_is_named() {
        let mut tree = Tree::default();
        let mut node = Node::directory(0o755);
        node.metadata.uid = 77;
        tree.insert("srv", node).unwrap();
        tree.insert(
            "usr/lib/sysusers.d/x.conf",
            Node::file(0o644, "u! _x - \"X\" /\n"),
        )
        .unwrap();
        let error = check_accounts(&tree, &table()).unwrap_err().to_string();
        assert_eq!(
            error,
            "checking accounts: /srv belongs to uid 77; /usr/lib/sysusers.d/x.conf declares user _x"
        );
    }

    #[test]
    fn sysusers_lines_are_read() {
        let text = "# c\nu  a 1 - -\ng b -\nm a b\nr - 1-2\n";
        assert_eq!(
            declared_accounts(text),
            [(true, "a".to_owned()), (false, "b".to_owned())]
        );
    }
}
