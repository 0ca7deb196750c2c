//! Mirrors that are down, slow, broken, or serve something else.

use crate::world::bench::Bench;
use crate::world::bench::keys::{DAY, FOREIGN};
use crate::world::bench::server::{Reply, Server};
use crate::world::port::unused_port;

/// A bench whose recipe names a server as its mirror.
fn served(server: &Server) -> Bench {
    let bench = Bench::new();
    bench.write_recipe(server.url("").as_str(), "");
    bench
}

/// Builds from a mirror that answers like this, and once more from a sound
/// one, into the same cache; returns the error and the server's log.
fn refused(
    answer: impl Fn(&str, &[u8]) -> Option<Reply> + Send + Sync + 'static,
    arguments: &[&str],
) -> (String, Vec<String>) {
    let source = Bench::new();
    let server = source.archive.serve(answer);
    let bench = served(&server);
    let command = [&["build", "tiny"], arguments].concat();
    let error = bench.run(&command).error(1);
    assert!(bench.outputs().is_empty());

    bench.write_recipe(&source.archive.url(), "");
    bench.run(&["build", "tiny"]).done();
    (error, server.requests())
}

#[test]
fn one_that_is_down() {
    let port = unused_port();
    let bench = Bench::new();
    bench.write_recipe(&format!("http://127.0.0.1:{port}"), "");
    let error = bench.run(&["build", "tiny"]).error(1);
    assert_eq!(
        error,
        "error: fetching the InRelease of test: fetching \
         http://MIRROR/dists/test/InRelease: http://MIRROR/dists/test/InRelease \
         Connection refused (os error 111)\n\
         hint: check the network and the recipe's mirrors; the next run goes on where \
         this one stopped"
    );
    assert!(bench.outputs().is_empty());
}

#[test]
fn one_that_stalls() {
    let stall = |path: &str, bytes: &[u8]| {
        path.ends_with("InRelease")
            .then(|| Reply::Stalls(bytes.to_vec(), 100))
    };
    let (error, _) = refused(stall, &["--timeout", "1"]);
    assert_eq!(
        error,
        "error: fetching the InRelease of test: fetching \
         http://MIRROR/dists/test/InRelease: http://MIRROR/dists/test/InRelease broke \
         off after 100 bytes: stalled\n\
         hint: check the network and the recipe's mirrors; the next run goes on where \
         this one stopped"
    );
}

#[test]
fn one_that_stalls_in_the_middle_of_a_package() {
    let stall = |path: &str, bytes: &[u8]| {
        path.contains("base_")
            .then(|| Reply::Stalls(bytes.to_vec(), 100))
    };
    let (error, _) = refused(stall, &["--timeout", "1"]);
    assert_eq!(
        error,
        "error: fetching base 1.0: http://MIRROR/pool/main/base_1.0_amd64.deb broke off \
         after 100 bytes: stalled\n\
         hint: check the network and the recipe's mirrors; the next run goes on where \
         this one stopped"
    );
}

#[test]
fn one_that_lacks_the_suite() {
    let lack = |_: &str, _: &[u8]| Some(Reply::Status(404, "not here"));
    let (error, _) = refused(lack, &[]);
    assert_eq!(
        error,
        "error: fetching the InRelease of test: fetching \
         http://MIRROR/dists/test/InRelease: http://MIRROR/dists/test/InRelease answered \
         404\n\
         hint: check the recipe's mirrors and suites"
    );
}

#[test]
fn one_that_answers_web_pages() {
    const PAGE: &str = "<!DOCTYPE html><title>Log in</title>";
    let page = |wanted: &'static str| {
        move |path: &str, _: &[u8]| path.contains(wanted).then_some(Reply::Status(200, PAGE))
    };
    let (error, _) = refused(page("InRelease"), &[]);
    assert_eq!(
        error,
        "error: fetching the InRelease of test: fetching \
         http://MIRROR/dists/test/InRelease: http://MIRROR/dists/test/InRelease answered \
         a web page instead of it\n\
         hint: a mirror or a proxy on the way serves something else: name another mirror \
         in the recipe"
    );
    let (error, _) = refused(page("binary-amd64"), &[]);
    assert_eq!(
        error,
        "error: fetching the package indexes of test: fetching test \
         main/binary-amd64/Packages.xz: \
         http://MIRROR/dists/test/main/binary-amd64/by-hash/SHA256/DIGEST answered a web \
         page instead of it; http://MIRROR/dists/test/main/binary-amd64/Packages.xz \
         answered a web page instead of it\n\
         hint: a mirror in the middle of an update serves both old and new files: try \
         again in some minutes, or name another mirror\n\
         hint: a mirror or a proxy on the way serves something else: name another mirror \
         in the recipe"
    );
    let (error, _) = refused(page("base_"), &[]);
    assert_eq!(
        error,
        "error: fetching base 1.0: http://MIRROR/pool/main/base_1.0_amd64.deb answered a \
         web page instead of it\n\
         hint: a mirror or a proxy on the way serves something else: name another mirror \
         in the recipe"
    );
}

#[test]
fn a_document_that_ends_early() {
    let (error, _) = refused(
        |path, bytes| {
            path.ends_with("InRelease")
                .then(|| Reply::File(bytes[..300].to_vec()))
        },
        &[],
    );
    assert_eq!(
        error,
        "error: checking the InRelease of test: reading the signed document: unexpected \
         early end\n\
         hint: it was damaged or cut short on its way: try again, or name another mirror"
    );
}

#[test]
fn a_package_that_ends_early_is_continued_by_the_next_run() {
    let source = Bench::new();
    let broken = source.archive.serve(|path, bytes| {
        path.contains("base_")
            .then(|| Reply::BreaksOff(bytes.to_vec(), 10))
    });
    let bench = served(&broken);
    let error = bench.run(&["build", "tiny"]).error(1);
    assert_eq!(
        error,
        "error: fetching base 1.0: http://MIRROR/pool/main/base_1.0_amd64.deb broke off \
         after 40 bytes: Peer disconnected\n\
         hint: check the network and the recipe's mirrors; the next run goes on where \
         this one stopped"
    );
    assert!(bench.outputs().is_empty());

    let sound = source.archive.serve(|_, _| None);
    bench.write_recipe(&sound.url(""), "");
    bench.run(&["build", "tiny"]).done();
    let requests = sound.requests();
    let continued = requests
        .iter()
        .any(|request| request.ends_with("base_1.0_amd64.deb bytes=40-"));
    assert!(continued, "{requests:?}");
}

#[test]
fn a_second_mirror_helps() {
    let source = Bench::new();
    let broken = source.archive.serve(|path, bytes| {
        path.contains("pool")
            .then(|| Reply::BreaksOff(bytes.to_vec(), 10))
    });
    let bench = Bench::new();
    let both = format!("{}\", \"{}", broken.url(""), source.archive.url());
    bench.write_recipe(&both, "");
    bench.run(&["build", "tiny"]).done();
}

/// It was an error although the second mirror was good, and what nobody had checked took
/// the place of the copies for working offline.
#[test]
fn a_first_mirror_with_a_bad_inrelease_blocks_nothing() {
    let source = Bench::new();
    let garbage = source.archive.serve(|path, _| {
        path.ends_with("InRelease")
            .then_some(Reply::Status(200, "garbage"))
    });
    let altered = source.archive.serve(|path, bytes| {
        let text = String::from_utf8_lossy(bytes).replace("Origin: Test", "Origin: Uest");
        path.ends_with("InRelease")
            .then(|| Reply::File(text.into_bytes()))
    });
    let (mut expired, mut foreign) = (Bench::new(), Bench::new());
    expired.archive.age = 9 * DAY;
    expired.archive.valid_for = Some(-2 * DAY);
    expired.archive.publish();
    foreign.archive.signing.key = FOREIGN;
    foreign.archive.publish();
    for (bad, reason) in [
        (garbage.url(""), "this is no signed document"),
        (altered.url(""), "does not match the text"),
        (expired.archive.url(), "it expired on"),
        (foreign.archive.url(), "is not among the allowed keys"),
    ] {
        let bench = Bench::new();
        bench.write_recipe(&format!("{bad}\", \"{}", source.archive.url()), "");
        bench.run(&["build", "tiny"]).done();

        bench.write_recipe(&bad, "");
        let error = bench.run(&["lock", "tiny"]).error(1);
        assert!(error.contains(reason), "{error}");
        bench.run(&["lock", "tiny", "--offline"]).done();

        // Both mirrors are told of when none is good.
        bench.write_recipe(&format!("{bad}\", \"{bad}/none"), "");
        let error = bench.run(&["lock", "tiny"]).error(1);
        assert!(error.contains(reason), "{error}");
        assert!(error.contains("/none/dists/test/InRelease"), "{error}");
        assert!(error.contains("\nhint: "), "{error}");
    }
}

/// A bench whose lock names a package that the mirror has replaced since.
fn moved_on() -> Bench {
    let mut bench = Bench::new();
    bench.run(&["lock", "tiny"]).done();
    let base = bench.archive.packages[0].clone();
    bench.archive.packages[0] = base.version("1.1");
    bench.archive.publish();
    bench
}

#[test]
fn a_package_that_is_gone_stops_a_locked_build() {
    let bench = moved_on();
    let lock = bench.lock();
    let error = bench.run(&["build", "tiny", "--locked"]).error(1);
    assert_eq!(
        error,
        "error: fetching base 1.0: file://BENCH/mirror/pool/main/base_1.0_amd64.deb no \
         such file\n\
         hint: the mirrors moved on: run `mailimg lock`, or build without --locked"
    );
    assert!(bench.outputs().is_empty());
    assert!(bench.lock() == lock);
}

#[test]
fn a_package_that_is_gone_is_resolved_again() {
    let bench = moved_on();
    let outcome = bench.run(&["build", "tiny"]);
    assert_eq!(
        outcome.done().notes(),
        "resolving: fetching base 1.0: file://BENCH/mirror/pool/main/base_1.0_amd64.deb no such file\n\
         upgraded    base 1.0 -> 1.1"
    );
    bench.run(&["build", "tiny", "--locked"]).done();
}
