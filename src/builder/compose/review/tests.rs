//! Scripts and what the review says of them: what passes, and what must not.

use sha2::{Digest, Sha256};

use super::{UnreviewedScripts, check_effects, check_scripts, review_scripts};
use crate::builder::deb::{Package, Script};
use crate::builder::recipe::{Recipe, parse_recipe};
use crate::builder::tree::{Node, Tree};

const BLOCKS: &str = include_str!("../../../../recipes/blocks.toml");

/// A postinst with a block of every kind and some lines of its own.
const POSTINST: &str = r#"#!/bin/sh
set -e

# Makes a folder.
if [ "$1" = configure ]; then
    mkdir -p /var/lib/tool
fi

# Automatically added by dh_installsystemd/13.24.2
if [ "$1" = "configure" ] || [ "$1" = "abort-upgrade" ] || [ "$1" = "abort-remove" ] ; then
	# A remark.
	deb-systemd-helper unmask 'tool.service' >/dev/null || true

	if deb-systemd-helper --quiet was-enabled 'tool.service'; then
		deb-systemd-helper enable 'tool.service' >/dev/null || true
	else
		deb-systemd-helper update-state 'tool.service' >/dev/null || true
	fi
fi
# End automatically added section
# Automatically added by dh_installsystemd/13.24.2
if [ "$1" = "configure" ] || [ "$1" = "abort-upgrade" ] ; then
	if deb-systemd-helper debian-installed 'later.service'; then
		deb-systemd-helper unmask 'later.service' >/dev/null || true
		if deb-systemd-helper --quiet was-enabled 'later.service'; then
			deb-systemd-helper enable 'later.service' >/dev/null || true
		fi
	fi
	deb-systemd-helper update-state 'later.service' >/dev/null || true
fi
# End automatically added section
# Automatically added by dh_installsystemd/13.24.2
if [ "$1" = "configure" ] || [ "$1" = "abort-upgrade" ] ; then
	if [ -d /run/systemd/system ]; then
		systemctl --system daemon-reload >/dev/null || true
		if [ -n "$2" ]; then
			_dh_action=restart
		else
			_dh_action=start
		fi
		deb-systemd-invoke $_dh_action 'tool.service' 'tool.timer' >/dev/null || true
	fi
fi
# End automatically added section
# Automatically added by dh_installsystemduser/13.24.2
if [ "$1" = "configure" ]; then
	deb-systemd-helper --user enable 'desk.socket' >/dev/null || true
fi
# End automatically added section
# Automatically added by dh_installsysusers/13.24.2
if [ "$1" = "configure" ] ; then
   systemd-sysusers ${DPKG_ROOT:+--root="$DPKG_ROOT"} tool.conf
fi
# End automatically added section
# Automatically added by dh_installtmpfiles/13.24.2
if [ "$1" = "configure" ] ; then
	if [ -x "$(command -v systemd-tmpfiles)" ]; then
		systemd-tmpfiles ${DPKG_ROOT:+--root="$DPKG_ROOT"} --create tool.conf || true
	fi
fi
# End automatically added section
# Automatically added by dh_installinit/13.24.2
if [ "$1" = "configure" ] ; then
	if [ -z "$DPKG_ROOT" ] && [ -x "/etc/init.d/tool" ]; then
		update-rc.d tool defaults 20 >/dev/null
		invoke-rc.d --skip-systemd-native tool start || exit 1
	fi
fi
# End automatically added section
# Automatically added by dh_installalternatives/13.24.2
if [ "$1" = "configure" ] ; then
	update-alternatives --install /usr/bin/pager pager /usr/bin/tool 5 \
		--slave /usr/share/man/man1/pager.1.gz pager.1.gz /usr/share/man/man1/tool.1.gz
fi
# End automatically added section
# Automatically added by dh_installdeb/13.24.2
dpkg-maintscript-helper rm_conffile /etc/tool.old 1:2.0-1\~ -- "$@"
dpkg-maintscript-helper mv_conffile /etc/tool.a /etc/tool.b 2.0\+x -- "$@"
dpkg-maintscript-helper dir_to_symlink /usr/share/doc/tool tool-data 2.0 tool -- "$@"
dpkg-maintscript-helper symlink_to_dir /usr/share/tool ../tool 2.0 tool -- "$@"
# End automatically added section
# Automatically added by dh_installmenu/13.24.2
if [ "$1" = "configure" ] && [ -x "`command -v update-menus`" ]; then
	update-menus
fi
# End automatically added section

exit 0
"#;

/// A recipe with this table of scripts.
fn recipe(scripts: &str) -> Recipe {
    let folder = tempfile::tempdir().unwrap();
    let text = "name = \"x\"\nversion = \"1\"\narchitecture = \"amd64\"\npackages = []\n\
                sources = []\nscripts_file = \"scripts.toml\"\nblocks_file = \"blocks.toml\"\n\
                [image]\nkernel_package = \"linux-image-*-cloud-amd64\"\ncommand_line = \"\"\n\
                initrd = { files = [], modules = [] }\n\
                disk = { esp_mib = 64, root_mib = 1, verity_mib = 1 }\n";
    for (name, text) in [("x", text), ("scripts", scripts), ("blocks", BLOCKS)] {
        std::fs::write(folder.path().join(format!("{name}.toml")), text).unwrap();
    }
    parse_recipe("x.toml", &folder.path().to_path_buf()).unwrap()
}

fn package(name: &str, kind: &str, script: &[u8]) -> Package {
    let paths = [
        "lib/systemd/system/tool.service",
        "usr/lib/systemd/system/tool.timer",
        "usr/lib/systemd/user/desk.socket",
        "usr/lib/sysusers.d/tool.conf",
        "usr/lib/tmpfiles.d/tool.conf",
        "usr/bin/tool",
    ];
    Package {
        name: name.to_owned(),
        version: "1.0-1".to_owned(),
        architecture: "amd64".to_owned(),
        control: String::new(),
        conffiles: Vec::new(),
        scripts: vec![Script {
            kind: kind.to_owned(),
            sha256: hex::encode(Sha256::digest(script)),
            text: script.to_vec(),
        }],
        entries: paths
            .map(|path| (path.to_owned(), Node::file(0o644, "x")))
            .into(),
    }
}

/// The table's entries for a script, as its reviewer would write them.
fn reviewed(script: &str) -> String {
    let empty = recipe("");
    let packages = [package("tool", "postinst", script.as_bytes())];
    let review = review_scripts(&empty, &packages).unwrap();
    let printed = review
        .unreviewed
        .iter()
        .map(ToString::to_string)
        .collect::<String>();
    printed.replace("effect = \"\"", "effect = \"makes a folder\"")
}

/// What stops a build with this script, or nothing.
fn stopped(table: &str, script: &[u8]) -> Option<String> {
    let recipe = recipe(table);
    let packages = [package("tool", "postinst", script)];
    let error = check_scripts(&recipe, &packages).err()?;
    assert!(error.is::<UnreviewedScripts>());
    Some(error.to_string())
}

#[test]
fn blocks_are_read_for_what_they_do_at_a_first_installation() {
    let empty = recipe("");
    let packages = [package("tool", "postinst", POSTINST.as_bytes())];
    let review = review_scripts(&empty, &packages).unwrap();
    let unreviewed = &review.unreviewed[0];
    assert_eq!(
        unreviewed.entry.does,
        [
            "alternative /usr/bin/pager pager /usr/bin/tool 5 /usr/share/man/man1/pager.1.gz pager.1.gz /usr/share/man/man1/tool.1.gz",
            "enable tool.service",
            "enable-for-users desk.socket",
            "folder-to-link /usr/share/doc/tool tool-data tool",
            "link-to-folder /usr/share/tool ../tool tool",
            "make-accounts tool.conf",
            "make-files tool.conf",
            "move-conffile /etc/tool.a /etc/tool.b",
            "remove-conffile /etc/tool.old",
            "start tool.service tool.timer",
            "start-by-sysv tool",
            "upgrade: enable later.service",
        ]
    );
    assert_eq!(
        unreviewed.rest,
        "#!/bin/sh\nset -e\nif [ \"$1\" = configure ]; then\n    mkdir -p /var/lib/tool\nfi\nexit 0\n"
    );
}

#[test]
fn another_version_of_a_helper_and_other_remarks_need_no_review() {
    let table = reviewed(POSTINST);
    for same in [
        POSTINST.to_owned(),
        POSTINST.replace("13.24.2", "14.1"),
        POSTINST.replace("# A remark.", "# Another one, with `quotes'."),
        POSTINST.replace("# Makes a folder.\n", "\n\n"),
        POSTINST.replace("1:2.0-1\\~", "3.0"),
        POSTINST.replace("defaults 20", "defaults 21"),
        POSTINST.trim_end().to_owned(),
    ] {
        assert_ne!(reviewed(&same), "");
        assert_eq!(stopped(&table, same.as_bytes()), None, "{same}");
    }
}

/// Each kind of block with a name, a user's file, a path or a command changed,
/// and lines that hide: all stop the build, and the change is named.
#[test]
fn every_mutation_of_a_reviewed_script_stops_the_build() {
    const DIFFERS: &str = "it differs from the one that was reviewed";
    let table = reviewed(POSTINST);
    let begin = "# Automatically added by dh_installsysusers/13.24.2\n";
    let end = "# End automatically added section\n";
    let mutations = [
        // Parameters.
        ("enable 'tool.service'", "enable 'evil.service'", DIFFERS),
        (
            "unmask 'tool.service'",
            "unmask 'evil.service'",
            "also does `unmask evil.service`",
        ),
        (
            "was-enabled 'tool.service'",
            "was-enabled 'evil.service'",
            DIFFERS,
        ),
        (
            "update-state 'tool.service'",
            "update-state 'x.service'",
            "note-links x.service`",
        ),
        (
            "'tool.service' 'tool.timer'",
            "'tool.timer'",
            "also does `start tool.timer`",
        ),
        (
            "'tool.service' 'tool.timer'",
            "'tool.service' 'tool.timer' 'x.path'",
            "x.path",
        ),
        (
            "debian-installed 'later.service'",
            "debian-installed 'x.service'",
            DIFFERS,
        ),
        (
            "--user enable 'desk.socket'",
            "--user enable 'x.socket'",
            "`enable-for-users x.socket`",
        ),
        ("--user enable", "--global enable", DIFFERS),
        (
            "DPKG_ROOT\"} tool.conf",
            "DPKG_ROOT\"} evil.conf",
            "`make-accounts evil.conf`",
        ),
        (
            "DPKG_ROOT\"} tool.conf",
            "DPKG_ROOT\"} tool.conf evil.conf",
            "evil.conf",
        ),
        (
            "--create tool.conf",
            "--create evil.conf",
            "`make-files evil.conf`",
        ),
        ("--create tool.conf", "--remove tool.conf", DIFFERS),
        ("defaults 20", "defaults 20 30", DIFFERS),
        (
            "update-rc.d tool",
            "update-rc.d evil",
            "`start-by-sysv evil`",
        ),
        ("/etc/init.d/tool", "/etc/init.d/evil", DIFFERS),
        (
            "native tool start",
            "native evil start",
            "`start-by-sysv evil`",
        ),
        (
            "/usr/bin/pager pager",
            "/usr/bin/ls pager",
            "`alternative /usr/bin/ls pager",
        ),
        ("/usr/bin/tool 5", "/tmp/evil 5", "/tmp/evil"),
        ("/usr/bin/tool 5", "/usr/bin/tool 500", "/usr/bin/tool 500"),
        (
            "--slave /usr/share/man/man1/pager.1.gz",
            "--slave /etc/passwd",
            "/etc/passwd",
        ),
        (
            "rm_conffile /etc/tool.old",
            "rm_conffile /etc/passwd",
            "`remove-conffile /etc/passwd`",
        ),
        ("/etc/tool.b", "/etc/cron.d/b", "/etc/cron.d/b"),
        ("doc/tool tool-data", "doc/tool ../../evil", "../../evil"),
        (
            "/usr/share/tool ../tool",
            "/etc ../tool",
            "`link-to-folder /etc ../tool tool`",
        ),
        // Names that are commands.
        (
            "enable 'tool.service'",
            "enable '$(reboot).service'",
            DIFFERS,
        ),
        (
            "enable 'tool.service'",
            "enable 'tool.service' ; reboot",
            DIFFERS,
        ),
        ("--create tool.conf", "--create `reboot`.conf", DIFFERS),
        (
            "rm_conffile /etc/tool.old",
            "rm_conffile /etc/../boot",
            DIFFERS,
        ),
        ("2.0\\+x", "2.0$(reboot)", DIFFERS),
        // Commands and conditions.
        ("\tupdate-menus\n", "\tupdate-menus\n\treboot\n", DIFFERS),
        ("\t_dh_action=restart", "\t_dh_action=poweroff", DIFFERS),
        ("daemon-reload", "poweroff", DIFFERS),
        ("[ -n \"$2\" ]", "[ -z \"$2\" ]", DIFFERS),
        (
            "if [ -d /run/systemd/system ]; then",
            "if reboot; then",
            DIFFERS,
        ),
        (
            "if deb-systemd-helper debian-installed 'later.service'; then",
            "if [ \"$1\" = configure ]; then",
            "also does `enable later.service`",
        ),
        (
            "\t\t_dh_action=start\n\t\tfi",
            "\t\t_dh_action=start\n\t\tfi\n\t\tfi",
            DIFFERS,
        ),
        ("mkdir -p /var/lib/tool", "mkdir -p /var/lib/evil", DIFFERS),
        ("exit 0", "reboot\nexit 0", DIFFERS),
        ("#!/bin/sh", "#!/bin/bash", DIFFERS),
        ("#!/bin/sh", "#!/usr/bin/perl", "it is for /usr/bin/perl"),
        (
            "set -e\n",
            "set -e\nalias deb-systemd-helper=reboot\n",
            DIFFERS,
        ),
        // What only looks like a remark.
        (
            "# Makes a folder.",
            "cat <<x >/etc/passwd\n# Makes a folder.\nx",
            DIFFERS,
        ),
        ("# Makes a folder.", "echo \"\n# $(reboot)\n\"", DIFFERS),
        ("# Makes a folder.", ": \\\n# Makes a folder.", DIFFERS),
        ("# A remark.", "#\nreboot", DIFFERS),
        ("# A remark.", "#\rreboot", "it has a carriage return in it"),
        ("# A remark.", "#\0reboot", "it has a NUL in it"),
        ("# Makes a folder.", "#! /bin/reboot", DIFFERS),
        // Markers.
        (end, "", "has another one in it"),
        (
            "# End automatically added section\n\nexit",
            "\nexit",
            "the block of dh_installmenu/13.24.2 has no end",
        ),
        (begin, "", "a block ends that never began"),
        (
            begin,
            "echo \"\n# Automatically added by dh_installsysusers/13.24.2\n",
            "never closed",
        ),
    ];
    for (from, to, expected) in mutations {
        assert!(POSTINST.contains(from), "{from}");
        let error = stopped(&table, POSTINST.replacen(from, to, 1).as_bytes());
        let error = error.unwrap_or_else(|| panic!("`{to}` passed"));
        assert!(error.contains(expected), "`{to}`: {error}");
        assert!(error.contains("tool 1.0-1 postinst: "), "{error}");
    }
}

#[test]
fn a_script_that_cannot_be_taken_apart_is_known_by_its_digest() {
    let large = format!("#!/bin/sh\n{}", "true\n".repeat(210_000));
    let scripts: [(&[u8], &str); 7] = [
        (b"#!/bin/sh\ntrue\0\n", "it has a NUL in it"),
        (b"#!/bin/sh\r\nset -e\r\n", "it has a carriage return in it"),
        (b"#!/usr/bin/python3\nset\n", "it is for /usr/bin/python3"),
        (b"set -e\n", "it names no interpreter"),
        (b"\x7fELF\xff\x01", "it is not UTF-8"),
        (b"", "it names no interpreter"),
        (large.as_bytes(), "it is larger than 262144 bytes"),
    ];
    for (script, reason) in scripts {
        let error = stopped("", script).unwrap();
        let expected = format!(
            "checking maintainer scripts: tool 1.0-1 postinst: nobody reviewed it yet, {reason}"
        );
        assert_eq!(error, expected);
        let digest = hex::encode(Sha256::digest(script));
        let entry = format!(
            "[[script]]\npackage = \"tool\"\nkind = \"postinst\"\nsha256 = \"{digest}\"\neffect = \"e\"\n"
        );
        assert_eq!(stopped(&entry, script), None);
        let mut changed = script.to_vec();
        changed.push(b'\n');
        assert!(stopped(&entry, &changed).is_some());
    }
}

#[test]
fn what_no_first_installation_runs_needs_no_review() {
    let recipe = recipe("");
    for kind in ["prerm", "postrm", "config"] {
        check_scripts(&recipe, &[package("tool", kind, b"reboot")]).unwrap();
    }
    // Neither does a script without a command.
    let empty = b"#!/bin/sh\n# nothing\nset -e\n\nexit 0";
    check_scripts(&recipe, &[package("tool", "preinst", empty)]).unwrap();
    let ldconfig = b"# Triggers added by x/14\nactivate-noawait ldconfig\n";
    check_scripts(&recipe, &[package("tool", "triggers", ldconfig)]).unwrap();
    let packages = [package(
        "tool",
        "triggers",
        b"interest /etc/passwd\nfrobnicate x\n",
    )];
    let error = check_scripts(&recipe, &packages).unwrap_err().to_string();
    assert!(
        error.ends_with("it has unknown triggers: interest /etc/passwd, frobnicate x"),
        "{error}"
    );
}

#[test]
fn pasting_is_not_reviewing_and_a_digest_of_the_whole_counts() {
    let table = reviewed(POSTINST).replace("makes a folder", " ");
    let error = stopped(&table, POSTINST.as_bytes()).unwrap();
    assert!(
        error.ends_with("postinst: its entry names no effect"),
        "{error}"
    );
    let digest = hex::encode(Sha256::digest(POSTINST));
    let whole = format!(
        "[[script]]\npackage = \"tool\"\nkind = \"postinst\"\nsha256 = \"{digest}\"\neffect = \"e\"\n"
    );
    assert_eq!(stopped(&whole, POSTINST.as_bytes()), None);
}

#[test]
fn a_change_is_shown_against_what_was_reviewed() {
    let empty = recipe("");
    let changed = POSTINST.replace("/var/lib/tool", "/var/lib/other");
    let of = |script: &str| {
        let packages = [package("tool", "postinst", script.as_bytes())];
        review_scripts(&empty, &packages)
            .unwrap()
            .unreviewed
            .remove(0)
    };
    let shown = of(&changed).difference(Some(&of(POSTINST)));
    assert!(
        shown.contains("-    mkdir -p /var/lib/tool\n+    mkdir -p /var/lib/other\n"),
        "{shown}"
    );
    assert!(!shown.contains("deb-systemd"), "{shown}");
}

#[test]
fn what_is_shown_cannot_move_the_cursor() {
    let empty = recipe("");
    let script = b"#!/bin/sh\necho '\x1b[2J'\n";
    let packages = [package("tool", "postinst", script)];
    let review = review_scripts(&empty, &packages).unwrap();
    assert!(!review.unreviewed[0].to_string().contains('\x1b'));
    let digest = review.unreviewed[0].entry.sha256.as_deref();
    assert_eq!(digest.unwrap(), hex::encode(Sha256::digest(script)));
}

#[test]
fn a_new_kernel_with_the_same_scripts_needs_no_review() {
    let kernel = |version: &str, command: &str| {
        let escaped = version.replace('+', "\\+");
        let image = format!("#!/bin/sh\nversion={version}-cloud-amd64\n{command} $version\n");
        let newest = format!(
            "#!/bin/sh\n# Automatically added by dh_installdeb/13\n\
             dpkg-maintscript-helper dir_to_symlink /usr/share/doc/x linux-image-{escaped}-cloud-amd64 5.7\\~ x -- \"$@\"\n\
             # End automatically added section\n"
        );
        [
            package(
                &format!("linux-image-{version}-cloud-amd64"),
                "postinst",
                image.as_bytes(),
            ),
            package("linux-image-cloud-amd64", "postinst", newest.as_bytes()),
        ]
    };
    let (empty, first) = (recipe(""), kernel("6.12.9+deb13", "depmod"));
    let review = review_scripts(&empty, &first).unwrap();
    let table: String = review.unreviewed.iter().map(ToString::to_string).collect();
    let table = table.replace("effect = \"\"", "effect = \"e\"");
    assert!(
        table.contains("package = \"linux-image-@KERNEL@\""),
        "{table}"
    );
    let recipe = recipe(&table);
    check_scripts(&recipe, &kernel("6.12.10+deb13", "depmod")).unwrap();
    for changed in ["rm -rf", "@KERNEL@"] {
        let packages = kernel("6.12.10+deb13", changed);
        let error = check_scripts(&recipe, &packages).unwrap_err().to_string();
        assert!(
            error.contains("linux-image-6.12.10+deb13-cloud-amd64"),
            "{error}"
        );
        assert!(!error.contains(';'), "{error}");
    }
}

#[test]
fn the_image_shows_what_a_block_would_have_done() {
    let table = recipe("");
    let packages = [package("tool", "postinst", POSTINST.as_bytes())];
    let review = review_scripts(&table, &packages).unwrap();
    let mut tree = Tree::default();
    let check = |tree: &Tree| check_effects(tree, &table, &packages, &review.effects);
    let put = |tree: &mut Tree, path: &str, text: &str| {
        tree.insert(path, Node::file(0o644, text)).unwrap();
    };
    const PRESET: &str = "usr/lib/systemd/system-preset/0.preset";
    put(&mut tree, PRESET, "disable *");
    // All of it left out: nothing to decide.
    check(&tree).unwrap();
    for (path, preset, expected) in [
        (
            "usr/lib/systemd/system/tool.service",
            "enable tool.*",
            "no preset names tool.service and it is not masked",
        ),
        (
            "usr/lib/systemd/user/desk.socket",
            "",
            "users have a manager here, and nothing decides whether it runs desk.socket",
        ),
        ("usr/bin/tool", "", "/usr/bin/pager is not there"),
    ] {
        put(&mut tree, path, "x");
        let error = check(&tree).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        match path {
            _ if !preset.is_empty() => put(&mut tree, PRESET, &format!("{preset}\ndisable *")),
            "usr/bin/tool" => tree.insert("usr/bin/pager", Node::symlink("tool")).unwrap(),
            "usr/lib/systemd/user/desk.socket" => {
                tree.insert(
                    "etc/systemd/system/user@.service",
                    Node::symlink("/dev/null"),
                )
                .unwrap();
            }
            _ => {}
        }
        check(&tree).unwrap();
    }
    // A unit that nobody ships cannot have been left out.
    let script = POSTINST.replace("tool.service", "gone.service");
    let packages = [package("tool", "postinst", script.as_bytes())];
    let review = review_scripts(&table, &packages).unwrap();
    let error = check_effects(&tree, &table, &packages, &review.effects).unwrap_err();
    assert!(
        error.to_string().contains("tool would `enable gone.service`, but no package has /usr/lib/systemd/system/gone.service"),
        "{error}"
    );
}
