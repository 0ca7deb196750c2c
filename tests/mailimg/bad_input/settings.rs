//! Settings that no machine would take.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::world::bench::{Bench, user};

/// What a build with this file says.
fn refused(settings: &[u8]) -> String {
    let bench = Bench::new();
    bench.write_bytes("settings.env", settings);
    let error = bench
        .run(&["build", "tiny", "--settings", "settings.env"])
        .error(1);
    assert!(bench.outputs().is_empty());
    error
}

#[test]
fn a_file_that_is_not_there() {
    let bench = Bench::new();
    let error = bench
        .run(&["build", "tiny", "--settings", "settngs.env"])
        .error(2);
    assert_eq!(
        error,
        "error: reading settngs.env: there is no such file\n\
         hint: `--settings` takes the path of a settings.env; `mailimg manual first-boot` shows one"
    );
    assert!(bench.outputs().is_empty());
}

#[test]
fn a_root_certificate_that_is_not_there() {
    let error = refused(b"DOMAIN=a.example\nHOSTNAME=mail.a.example\nACME_CA_FILE=root.pem\n");
    assert!(
        error.ends_with(
            "error: reading root.pem: No such file or directory (os error 2)\n\
             hint: ACME_CA_FILE names the authority's root certificate, a PEM file beside settings.env"
        ),
        "{error}"
    );
}

#[test]
fn a_folder_in_its_place() {
    let bench = Bench::new();
    let error = bench
        .run(&["build", "tiny", "--settings", "recipes"])
        .error(1);
    assert_eq!(
        error,
        "error: reading recipes: Is a directory (os error 21)\n\
         hint: `--settings` takes a text file that you may read"
    );
}

#[test]
fn a_file_of_somebody_else() {
    let bench = Bench::new();
    bench.write("settings.env", "DOMAIN=example.org\n");
    bench.give_away();
    let file = bench.work("settings.env");
    fs::set_permissions(file, fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = bench.command();
    command.args(["build", "tiny", "--settings", "settings.env"]);
    let mut command = user::ordinary(command, &bench.beside(""));
    let error = bench.finish(&mut command).error(1);
    assert_eq!(
        error,
        "error: reading settings.env: Permission denied (os error 13)\n\
         hint: `--settings` takes a text file that you may read"
    );
}

#[test]
fn a_file_that_is_too_large() {
    assert_eq!(
        refused(&vec![b'#'; 70_000]),
        "error: checking settings.env: the file has more than 65536 bytes; expected a \
         text file with one KEY=value per line\n\
         hint: `mailimg settings` lists every key; DOMAIN and HOSTNAME must be there"
    );
}

#[test]
fn no_text_at_all() {
    assert_eq!(
        refused(b"\x89PNG\r\n\x1a\n\0\0\0"),
        "error: checking settings.env: 3 problems\n\
         \x20 line 1: is not UTF-8; expected plain text\n\
         \x20 line 2: has no '='; expected KEY=value, or '#' before a comment\n\
         \x20 line 3: has no '='; expected KEY=value, or '#' before a comment\n\
         hint: `mailimg settings` lists every key; DOMAIN and HOSTNAME must be there"
    );
}

#[test]
fn a_hostname_that_is_none() {
    assert_eq!(
        refused(b"DOMAIN=example.org\nHOSTNAME=mail_1\n"),
        "error: checking settings.env: line 2: HOSTNAME: 'mail_1' is no host name; \
         expected a full name such as mail.example.org\n\
         hint: `mailimg settings` lists every key; DOMAIN and HOSTNAME must be there"
    );
}

#[test]
fn every_mistake_is_told_at_once() {
    assert_eq!(
        refused(b"DOMAIN=example.org\nHOSTNMAE=mail.example.org\nHTTPS_PORT=65536\n"),
        "error: checking settings.env: 3 problems\n\
         \x20 line 2: HOSTNMAE: is no known key and is ignored; expected HOSTNAME\n\
         \x20 line 3: HTTPS_PORT: '65536' is no port; expected a number from 1 to 65535\n\
         \x20 HOSTNAME: is missing; expected a full name such as mail.example.org\n\
         hint: `mailimg settings` lists every key; DOMAIN and HOSTNAME must be there"
    );
}

#[test]
fn settings_of_a_build_are_private() {
    let bench = Bench::new();
    bench.write(
        "settings.env",
        "DOMAIN=example.org\nHOSTNAME=mail.example.org\n",
    );
    bench
        .run(&["build", "tiny", "--settings", "settings.env"])
        .done();
    let mode = fs::metadata(bench.output("out", ".raw"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}
