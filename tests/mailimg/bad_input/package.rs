//! Packages that are not what they are said to be, or bring more than they should.

use crate::world::bench::Bench;
use crate::world::bench::deb::Deb;

/// Builds with another package in the place of the first one; returns the error.
fn refused(change: impl FnOnce(Deb) -> Deb) -> String {
    let mut bench = Bench::new();
    let sound = bench.archive.packages[0].clone();
    bench.archive.packages[0] = change(sound.clone());
    bench.archive.publish();
    let error = bench.run(&["build", "tiny"]).error(1);
    assert!(bench.outputs().is_empty());
    // Whatever was unpacked is no better from the cache.
    let again = bench.run(&["build", "tiny", "--locked"]).error(1);
    assert_eq!(again, error);

    bench.archive.packages[0] = sound;
    bench.archive.publish();
    bench.run(&["lock", "tiny"]).done();
    bench.run(&["build", "tiny"]).done();
    error
}

/// It got into manifest and list of packages, and scanners believed it.
#[test]
fn one_that_says_that_it_is_another() {
    for (name, version, architecture) in [
        ("base", "99", "amd64"),
        ("other", "1.0", "amd64"),
        ("base", "1.0", "all"),
        ("base", "1.0", "arm64"),
        ("BASE", "1.0", "amd64"),
        ("base", "0:1.0", "amd64"),
    ] {
        let text = format!("Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n");
        assert_eq!(
            refused(|package| package.control(&text)),
            format!(
                "error: using base 1.0 for amd64: its control file says that it is {name} \
                 {version} for {architecture}\n\
                 hint: the archive's index and its packages do not agree: ask who runs it, or \
                 name another source in the recipe"
            )
        );
    }
}

#[test]
fn one_that_brings_another_one_along() {
    for (more, reason) in [
        (
            "\nPackage: other\nVersion: 1\nArchitecture: amd64\n",
            "the control file has more than one paragraph",
        ),
        ("Version: 99\n", "the control file has Version twice"),
    ] {
        let error = refused(|package| {
            let text = package.paragraph() + more;
            package.control(&text)
        });
        assert_eq!(
            error,
            format!(
                "error: unpacking base 1.0: reading control.tar.xz: {reason}\n\
                 hint: the package is as its archive has it: tell whoever runs the archive, or do \
                 without it in the recipe"
            )
        );
    }
}

#[test]
fn one_with_a_setuid_bit_that_nobody_reviewed() {
    for (mode, said) in [(0o4755, "4755"), (0o2755, "2755"), (0o6711, "6711")] {
        let mut bench = Bench::new();
        let sound = bench.archive.packages[0].clone();
        bench.archive.packages[0] = sound.file("usr/bin/become", mode, b"root");
        bench.archive.publish();
        let error = bench.run(&["build", "tiny"]).error(1);
        assert_eq!(
            error,
            format!(
                "error: checking what gives rights to whoever starts it: /usr/bin/become of base \
                 is of mode {said}\n\
                 hint: name it in the recipe under [[effects.attributes]] with owner, group and \
                 the reason, or with a mode that takes the bit away: path = \"usr/bin/become\", \
                 mode = \"{said}\""
            )
        );
        for mode in [said, "0755"] {
            bench.write_recipe(&bench.archive.url(), "");
            let recipe = std::fs::read_to_string(bench.work("recipes/tiny.toml")).unwrap();
            let effect = format!(
                "{recipe}\n[[effects.attributes]]\npath = \"usr/bin/become\"\nmode = \"{mode}\"\n\
                 reason = \"it is wanted\"\n"
            );
            bench.write("recipes/tiny.toml", &effect);
            bench.run(&["build", "tiny"]).done();
        }
    }
}
