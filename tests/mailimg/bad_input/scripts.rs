//! Maintainer scripts that nobody reviewed: what is said, and both ways on.

use crate::world::bench::Bench;

const FIRST: &str = "#!/bin/sh\n# of 13\nset -e\nmkdir -p /srv/base\n";
const CHANGED: &str = "#!/bin/sh\n# of 14\nset -e\nmkdir -p /srv/base /srv/more\n";

/// A bench whose recipe looks at scripts, with this postinst of the package `base`.
fn bench(script: &str) -> Bench {
    let mut bench = Bench::new();
    publish(&mut bench, "1.0", script);
    bench.write("recipes/scripts.toml", "");
    bench.write(
        "recipes/accounts.toml",
        "[[users]]\nname = \"root\"\nuid = 0\ngroup = \"root\"\nhome = \"/root\"\n\n\
         [[groups]]\nname = \"root\"\ngid = 0\n\n[[groups]]\nname = \"shadow\"\ngid = 42\n",
    );
    bench.write_recipe(&bench.archive.url(), "scripts_file = \"scripts.toml\"\n");
    bench
}

fn publish(bench: &mut Bench, version: &str, script: &str) {
    let base = crate::world::bench::packages::all().swap_remove(0);
    bench.archive.packages[0] = base.version(version).script("postinst", script);
    bench.archive.publish();
}

/// Puts the printed entries into the table, with an effect.
fn review(bench: &Bench) {
    let printed = bench.run(&["scripts", "tiny"]);
    let digests = std::fs::read_to_string(bench.work("recipes/scripts.toml")).unwrap();
    assert_ne!(printed.done().stdout, "");
    // The printed digest is masked; the program's own output is not.
    let output = bench.command().args(["scripts", "tiny"]).output().unwrap();
    let entries = String::from_utf8(output.stdout).unwrap();
    let entries = entries.replace("effect = \"\"", "effect = \"makes folders\"");
    bench.write("recipes/scripts.toml", &format!("{digests}{entries}"));
}

#[test]
fn a_script_that_nobody_reviewed() {
    let bench = bench(FIRST);
    let outcome = bench.run(&["build", "tiny"]);
    assert_eq!(
        outcome.error(1),
        "error: checking maintainer scripts: base 1.0 postinst: nobody reviewed it yet\n\
         hint: read what is shown above (`mailimg scripts tiny` prints it again), declare what \
         it does, and put the entry with its effect into recipes/scripts.toml"
    );
    let entry = "# base 1.0 postinst: nobody reviewed it yet\n\
                 [[script]]\n\
                 package = \"base\"\n\
                 kind = \"postinst\"\n\
                 sha256 = \"DIGEST\"\n\
                 effect = \"\"\n\
                 #   #!/bin/sh\n\
                 #   set -e\n\
                 #   mkdir -p /srv/base\n";
    assert!(outcome.stderr.contains(entry), "{}", outcome.stderr);
    assert!(bench.outputs().is_empty());
    let outcome = bench.run(&["scripts", "tiny"]);
    assert_eq!(outcome.done().stdout, format!("{entry}\n"));
    review(&bench);
    bench.run(&["build", "tiny"]).done();
}

#[test]
fn a_new_version_with_other_remarks_is_built_without_a_word() {
    let mut bench = bench(FIRST);
    bench.run(&["lock", "tiny"]).done();
    review(&bench);
    publish(&mut bench, "1.1", &FIRST.replace("of 13", "of 14\n\n"));
    bench.run(&["lock", "tiny"]).done();
    bench.run(&["build", "tiny"]).done();
}

#[test]
fn a_script_that_changed_is_shown_and_its_package_can_wait() {
    let mut bench = bench(FIRST);
    bench.run(&["lock", "tiny"]).done();
    review(&bench);
    bench.run(&["build", "tiny"]).done();
    std::fs::remove_dir_all(bench.work("out")).unwrap();

    publish(&mut bench, "1.1", CHANGED);
    bench.run(&["lock", "tiny"]).done();
    let outcome = bench.run(&["build", "tiny"]);
    assert_eq!(
        outcome.error(1),
        "error: checking maintainer scripts: base 1.1 postinst: it differs from the one that was \
         reviewed\n\
         hint: read what is shown above (`mailimg scripts tiny` prints it again), declare what \
         it does, and put the entry with its effect into recipes/scripts.toml\n\
         hint: who cannot wait: `mailimg build tiny --hold base` builds with base 1.0, whose \
         scripts are known, and says so"
    );
    let difference = "#   --- base 1.0 postinst\n\
                      #   +++ base 1.1 postinst\n\
                      #   @@ -1,3 +1,3 @@\n\
                      #    #!/bin/sh\n\
                      #    set -e\n\
                      #   -mkdir -p /srv/base\n\
                      #   +mkdir -p /srv/base /srv/more\n";
    assert!(outcome.stderr.contains(difference), "{}", outcome.stderr);
    assert!(bench.outputs().is_empty());

    let told = "held back   base 1.0, although 1.1 is on offer";
    let outcome = bench.run(&["build", "tiny", "--hold", "base"]);
    assert!(outcome.done().stderr.contains(told), "{}", outcome.stderr);
    let manifest = |bench: &Bench| {
        let outputs = bench.outputs();
        let manifest = outputs
            .iter()
            .find(|(name, _)| name.ends_with(".manifest.json"));
        String::from_utf8(manifest.unwrap().1.clone()).unwrap()
    };
    let held = "\"held_from\": \"1.1\"";
    assert!(manifest(&bench).contains(held), "{}", manifest(&bench));
    // It stays so, and is said each time, until the package is resolved again.
    let outcome = bench.run(&["build", "tiny"]);
    assert!(outcome.done().stderr.contains(told), "{}", outcome.stderr);
    let outcome = bench.run(&["lock", "tiny"]);
    assert!(
        outcome
            .done()
            .stdout
            .contains("upgraded    base 1.0 -> 1.1"),
        "{}",
        outcome.stdout
    );
    review(&bench);
    std::fs::remove_dir_all(bench.work("out")).unwrap();
    let outcome = bench.run(&["build", "tiny"]);
    assert!(
        !outcome.done().stderr.contains("held back"),
        "{}",
        outcome.stderr
    );
    assert!(!manifest(&bench).contains("held_from"));
}

#[test]
fn what_cannot_be_held_back() {
    let bench = bench(FIRST);
    bench.run(&["lock", "tiny"]).done();
    let lock = bench.lock();
    for (package, expected) in [
        (
            "nothing",
            "error: holding back nothing: it is not in the image\n",
        ),
        (
            "base",
            "error: holding back base: no earlier version with known scripts was found\n",
        ),
    ] {
        let error = bench.run(&["build", "tiny", "--hold", package]).error(1);
        assert!(error.starts_with(expected), "{error}");
        assert!(bench.lock() == lock);
    }
}
