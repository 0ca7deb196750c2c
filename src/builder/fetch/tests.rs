//! Fetching from a server on the loopback that misbehaves as asked.

mod server;

use std::fs;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{Cache, Fetch, FetchOptions, Gone, Mirror, Object};
use crate::builder::progress::Progress;
use crate::error::{hinted, render};
use server::{Reply, Server};

const PAGE: &str = "\n<!DOCTYPE HTML><title>Log in</title>";

fn content(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7) as u8 ^ seed).collect()
}

fn object(bytes: &[u8], urls: &[String]) -> Object {
    Object {
        snapshots: Vec::new(),
        label: "dash 0.5.12-12".to_owned(),
        urls: urls.to_vec(),
        size: bytes.len() as u64,
        sha256: hex::encode(Sha256::digest(bytes)),
    }
}

fn options() -> FetchOptions {
    FetchOptions {
        pause: Duration::from_millis(1),
        rounds: 3,
        ..FetchOptions::default()
    }
}

struct Setup {
    folder: TempDir,
    cache: Cache,
}

impl Setup {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        Self { folder, cache }
    }

    fn mirror(&self, options: FetchOptions) -> Mirror {
        Mirror::new(self.cache.clone(), options, Progress::hidden())
    }

    fn fetch(&self, options: FetchOptions, object: &Object) -> Result<Vec<u8>, String> {
        match self.mirror(options).objects(std::slice::from_ref(object)) {
            Ok(paths) => Ok(fs::read(&paths[0]).unwrap()),
            Err(error) => Err(render(&error)),
        }
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.folder.path().join("objects"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn a_mirror_without_the_file_is_passed_over() {
    let setup = Setup::new();
    let bytes = content(1, 300_000);
    let empty = Server::start(|_, _| Reply::Status(404, "no"));
    let full = Server::serving(&bytes);
    let object = object(&bytes, &[empty.url("/a.deb"), full.url("/a.deb")]);
    assert_eq!(setup.fetch(options(), &object), Ok(bytes));
    assert_eq!(empty.requests(), ["/a.deb"]);
    assert_eq!(setup.files(), [object.sha256]);
}

#[test]
fn a_file_that_left_all_mirrors_is_told_apart() {
    let setup = Setup::new();
    let server = Server::start(|_, _| Reply::Status(404, "no"));
    let object = object(b"x", &[server.url("/1"), server.url("/2")]);
    let error = setup.mirror(options()).objects(&[object]).unwrap_err();
    assert!(error.chain().any(|cause| cause.is::<Gone>()));
    assert_eq!(
        render(&error).replace(&server.url(""), "http://mirror"),
        "error: fetching dash 0.5.12-12: http://mirror/1 answered 404; \
         http://mirror/2 answered 404\n\
         hint: the mirrors moved on: run `mailimg lock`, or build without --locked"
    );
    assert!(setup.files().is_empty());
}

#[test]
fn a_log_in_page_is_not_a_package() {
    let setup = Setup::new();
    let bytes = content(2, 1000);
    let portal = Server::start(|_, _| Reply::Status(200, PAGE));
    let bad = object(&bytes, &[portal.url("/a")]);
    assert_eq!(
        setup.fetch(options(), &bad).unwrap_err(),
        format!(
            "error: fetching dash 0.5.12-12: {} answered a web page instead of it\n\
             hint: a mirror or a proxy on the way serves something else: \
             name another mirror in the recipe",
            portal.url("/a")
        )
    );
    assert!(setup.files().is_empty());
    let good = object(
        &bytes,
        &[portal.url("/a"), Server::serving(&bytes).url("/a")],
    );
    assert_eq!(setup.fetch(options(), &good), Ok(bytes));
}

#[test]
fn changed_bytes_and_wrong_sizes_are_refused() {
    let setup = Setup::new();
    let bytes = content(3, 5000);
    let mut changed = bytes.clone();
    changed[4000] ^= 1;
    let longer = content(3, 5001);
    let unannounced = longer.clone();
    let cases = [
        (Server::serving(&changed), "has another SHA-256 than pinned"),
        (Server::serving(&longer), "has 5001 bytes, expected 5000"),
        (
            Server::start(move |_, _| Reply::Unannounced(unannounced.clone())),
            "has more than 5000 bytes",
        ),
    ];
    for (server, reason) in cases {
        let object = object(&bytes, &[server.url("/a")]);
        let error = setup.fetch(options(), &object).unwrap_err();
        assert!(error.contains(&format!("/a {reason}\n")), "{error}");
        assert_eq!(server.requests().len(), 1);
        assert!(setup.files().is_empty());
    }
}

#[test]
fn a_broken_transfer_is_continued_where_it_broke() {
    let setup = Setup::new();
    let bytes = content(4, 500_000);
    let served = bytes.clone();
    let server = Server::start(move |_, number| match number {
        0 => Reply::BreaksOff(served.clone(), 200_000),
        _ => Reply::File(served.clone()),
    });
    let object = object(&bytes, &[server.url("/a")]);
    assert_eq!(setup.fetch(options(), &object), Ok(bytes));
    assert_eq!(server.requests(), ["/a", "/a bytes=200000-"]);
}

#[test]
fn a_connection_that_breaks_often_still_gets_there() {
    let setup = Setup::new();
    let bytes = content(16, 6 << 20);
    let served = bytes.clone();
    let server = Server::start(move |_, _| Reply::BreaksOff(served.clone(), 3 << 19));
    let object = object(&bytes, &[server.url("/a")]);
    let once = FetchOptions {
        rounds: 1,
        ..options()
    };
    assert_eq!(setup.fetch(once, &object), Ok(bytes));
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn the_next_run_continues_what_a_failed_one_left() {
    let setup = Setup::new();
    let bytes = content(5, 500_000);
    let served = bytes.clone();
    let broken = Server::start(move |_, _| Reply::BreaksOff(served.clone(), 100_000));
    let once = FetchOptions {
        rounds: 1,
        ..options()
    };
    let error = setup
        .fetch(once, &object(&bytes, &[broken.url("/a")]))
        .unwrap_err();
    assert!(error.contains("broke off after 100000 bytes"), "{error}");
    assert!(error.contains("the next run goes on where this one stopped"));
    let server = Server::serving(&bytes);
    let object = object(&bytes, &[server.url("/a")]);
    assert_eq!(setup.fetch(options(), &object), Ok(bytes));
    assert_eq!(server.requests(), ["/a bytes=100000-"]);
}

#[test]
fn a_server_without_ranges_and_a_damaged_part_both_start_anew() {
    let bytes = content(6, 100_000);
    let served = bytes.clone();
    let whole_only = Server::start(move |_, _| Reply::WholeFile(served.clone()));
    let ranges = Server::serving(&bytes);
    let cases = [
        (&whole_only, bytes[..5000].to_vec(), 1),
        (&ranges, vec![0xee; 5000], 2),
        (&ranges, vec![0xee; 200_000], 1),
        (&ranges, vec![0xee; 100_000], 1),
    ];
    for (server, part, expected) in cases {
        let setup = Setup::new();
        let object = object(&bytes, &[server.url("/a")]);
        let path = setup.cache.object_path(&object.sha256).unwrap();
        fs::write(path.with_extension("part"), part).unwrap();
        let before = server.requests().len();
        assert_eq!(setup.fetch(options(), &object).as_ref(), Ok(&bytes));
        assert_eq!(server.requests().len() - before, expected);
        assert_eq!(setup.files(), [object.sha256]);
    }
}

#[test]
fn a_busy_server_is_asked_again() {
    let setup = Setup::new();
    let bytes = content(7, 1000);
    let served = bytes.clone();
    let server = Server::start(move |_, number| match number {
        0 => Reply::Status(503, "busy"),
        1 => Reply::Status(429, "slow down"),
        _ => Reply::File(served.clone()),
    });
    let object = object(&bytes, &[server.url("/a")]);
    assert_eq!(setup.fetch(options(), &object), Ok(bytes));
}

#[test]
fn a_stalled_or_dripping_mirror_is_left_for_the_next() {
    let bytes = content(8, 400_000);
    let stalled = {
        let served = bytes.clone();
        Server::start(move |_, _| Reply::Stalls(served.clone(), 1000))
    };
    let dripping = {
        let served = bytes.clone();
        Server::start(move |_, _| Reply::Drips(served.clone()))
    };
    let impatient = FetchOptions {
        idle_timeout: Duration::from_millis(100),
        ..options()
    };
    let hurried = FetchOptions {
        total_timeout: Duration::from_millis(200),
        ..options()
    };
    for (slow, options, reason) in [
        (&stalled, impatient, "bytes: stalled"),
        (&dripping, hurried, "bytes: too slow"),
    ] {
        let setup = Setup::new();
        let fast = Server::serving(&bytes);
        let only = object(&bytes, &[slow.url("/a")]);
        let once = FetchOptions {
            rounds: 1,
            ..options.clone()
        };
        let error = setup.fetch(once, &only).unwrap_err();
        assert!(error.contains(reason), "{error}");
        let both = object(&bytes, &[slow.url("/a"), fast.url("/a")]);
        assert_eq!(setup.fetch(options, &both).as_ref(), Ok(&bytes));
        assert!(fast.requests()[0].starts_with("/a bytes="));
    }
}

#[test]
fn a_mirror_that_is_down_says_so() {
    let setup = Setup::new();
    // Port 9 of the loopback: nobody listens there.
    let object = object(b"x", &["http://127.0.0.1:9/a".to_owned()]);
    let error = setup.fetch(options(), &object).unwrap_err();
    assert!(error.contains("Connection refused"), "{error}");
    assert!(error.contains("hint: check the network"), "{error}");
}

#[test]
fn two_builds_on_one_cache_fetch_each_file_once() {
    let setup = Setup::new();
    let files: Vec<Vec<u8>> = (0..12).map(|seed| content(seed, 50_000)).collect();
    let served = files.clone();
    let server = Server::start(move |path, _| {
        let number: usize = path[1..].parse().unwrap();
        Reply::File(served[number].clone())
    });
    let objects: Vec<Object> = files
        .iter()
        .enumerate()
        .map(|(number, bytes)| object(bytes, &[server.url(&format!("/{number}"))]))
        .collect();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let paths = setup.mirror(options()).objects(&objects).unwrap();
                for (path, bytes) in paths.iter().zip(&files) {
                    assert_eq!(&fs::read(path).unwrap(), bytes);
                }
            });
        }
    });
    assert_eq!(server.requests().len(), files.len());
    assert_eq!(setup.files().len(), files.len());
}

#[test]
fn a_cached_file_of_another_size_is_fetched_again() {
    let setup = Setup::new();
    let bytes = content(9, 1000);
    let server = Server::serving(&bytes);
    let object = object(&bytes, &[server.url("/a")]);
    fs::write(setup.cache.object_path(&object.sha256).unwrap(), b"").unwrap();
    assert_eq!(setup.fetch(options(), &object).as_ref(), Ok(&bytes));
    assert_eq!(setup.fetch(options(), &object), Ok(bytes));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn offline_only_the_cache_is_used() {
    let setup = Setup::new();
    let bytes = content(10, 1000);
    let server = Server::serving(&bytes);
    let object = object(&bytes, &[server.url("/a")]);
    let offline = FetchOptions {
        offline: true,
        ..options()
    };
    assert_eq!(
        setup.fetch(offline.clone(), &object).unwrap_err(),
        "error: fetching packages: offline, and the cache lacks dash 0.5.12-12\n\
         hint: run once without --offline"
    );
    let urls = [server.url("/InRelease")];
    let error = setup
        .mirror(offline.clone())
        .document(&urls, 10_000, &|_| Ok(()));
    assert!(render(&error.unwrap_err()).ends_with("hint: run once without --offline"));
    assert!(server.requests().is_empty());

    setup.fetch(options(), &object).unwrap();
    setup
        .mirror(options())
        .document(&urls, 10_000, &|_| Ok(()))
        .unwrap();
    assert_eq!(setup.fetch(offline.clone(), &object).as_ref(), Ok(&bytes));
    let kept = setup
        .mirror(offline)
        .document(&urls, 10_000, &|_| Ok(()))
        .unwrap();
    assert_eq!(kept, bytes);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn documents_are_small_and_no_web_pages() {
    let setup = Setup::new();
    let bytes = content(11, 5000);
    let portal = Server::start(|_, _| Reply::Status(200, PAGE));
    let server = Server::serving(&bytes);
    let mirror = setup.mirror(options());
    let urls = [portal.url("/InRelease"), server.url("/InRelease")];
    assert_eq!(mirror.document(&urls, 5000, &|_| Ok(())).unwrap(), bytes);
    let error = render(&mirror.document(&urls, 4999, &|_| Ok(())).unwrap_err());
    assert!(error.contains("has more than 4999 bytes"), "{error}");
}

/// An answer that was not checked was an error at once, and took the good copy's place.
#[test]
fn a_document_that_is_refused_is_asked_for_elsewhere_and_not_kept() {
    let setup = Setup::new();
    let good = Server::serving(b"good");
    let bad = Server::start(|_, _| Reply::Status(200, "garbage"));
    let gone = Server::start(|_, _| Reply::Status(404, "no"));
    let check = |bytes: &[u8]| match bytes {
        b"good" => Ok(()),
        _ => Err(hinted("it is garbage", "ask somebody else")),
    };
    let urls = [
        bad.url("/InRelease"),
        gone.url("/InRelease"),
        good.url("/InRelease"),
    ];
    let mirror = setup.mirror(options());
    assert_eq!(mirror.document(&urls, 100, &check).unwrap(), b"good");
    assert_eq!(bad.requests().len(), 1);

    let error = mirror.document(&urls[..1], 100, &check).unwrap_err();
    assert_eq!(
        render(&error),
        "error: it is garbage\nhint: ask somebody else"
    );
    let error = mirror.document(&urls[..2], 100, &check).unwrap_err();
    assert_eq!(
        render(&error),
        format!(
            "error: {} answered 404; {} answered a file: it is garbage\n\
             hint: ask somebody else",
            urls[1], urls[0]
        )
    );
    // The copy of every address is still the good one.
    let offline = FetchOptions {
        offline: true,
        ..options()
    };
    for url in urls {
        let kept = setup
            .mirror(offline.clone())
            .document(&[url], 100, &|_| Ok(()));
        assert_eq!(kept.unwrap(), b"good");
    }
}

#[test]
fn folders_are_mirrors_too() {
    let setup = Setup::new();
    let bytes = content(13, 1000);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a b"), &bytes).unwrap();
    let base = format!("file://{}", folder.path().display());
    let good = object(&bytes, &[format!("{base}/none"), format!("{base}/a%20b")]);
    assert_eq!(setup.fetch(options(), &good).as_ref(), Ok(&bytes));
    let nowhere = object(&content(14, 10), &["ftp://mirror/a".to_owned()]);
    let error = setup.fetch(options(), &nowhere).unwrap_err();
    assert!(error.contains("ftp://mirror/a not an address"), "{error}");
}

#[test]
fn https_needs_a_certificate_that_somebody_vouches_for() {
    let bytes = content(15, 200_000);
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    let server = Server::with_tls(&certificate, &key, &bytes);
    let object = object(&bytes, &[server.url("/a")]);
    let folder = tempfile::tempdir().unwrap();
    let trusting = |pem: &str| {
        let path = folder.path().join("ca.pem");
        fs::write(&path, pem).unwrap();
        FetchOptions {
            ca_file: Some(path),
            ..options()
        }
    };
    let other_key = rcgen::KeyPair::generate().unwrap();
    let other = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .self_signed(&other_key)
        .unwrap();
    let setup = Setup::new();
    let error = setup.fetch(trusting(&other.pem()), &object).unwrap_err();
    assert!(error.contains("invalid peer certificate"), "{error}");
    let fetched = setup.fetch(trusting(&certificate.pem()), &object);
    assert_eq!(fetched, Ok(bytes));
    assert!(Path::new(&setup.folder.path().join("CACHEDIR.TAG")).exists());
}
