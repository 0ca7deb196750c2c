//! Monitoring switched off, and parts of it away.

use super::browser::Browser;
use super::site::{Site, free_address};
use std::io::Read;
use std::net::TcpListener;
use std::time::Instant;

#[test]
fn switched_off_there_is_nothing() {
    let site = Site::start_with("METRICS=false\n", free_address());
    assert!(site.pages.is_none());
    let mut browser = Browser::new(&site);
    for path in ["", "/", "/login", "/api/v1/labels"] {
        assert_eq!(browser.get(path).status, 404, "{path}");
    }
}

#[test]
fn while_the_process_is_away_a_page_says_so() {
    let mut site = Site::start();
    site.pages = None;
    let answer = Browser::new(&site).get("/");
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("Mail goes on without"), "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("5"));
}

#[test]
fn without_the_store_pages_come_and_panels_say_so() {
    let site = Site::start();
    let mut browser = Browser::logged_in(&site);
    let page = browser.get("/d/psfx/postfix");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("The store of figures does not answer"));
    let data = browser.get("/data/postfix");
    assert!(data.status == 200 && data.body.contains("\"problem\":\"asking the store"));
    let answer = browser.get("/api/v1/query?query=up");
    assert_eq!(answer.status, 503);
    // The rest of the overview is there.
    assert!(browser.get("/").body.contains("After installing"));
}

/// One that takes connections and says nothing kept each page waiting for it.
#[test]
fn a_store_that_hangs_keeps_no_page_for_long() {
    let store = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = store.local_addr().unwrap();
    let _silent = std::thread::spawn(move || {
        let mut held = Vec::new();
        for mut stream in store.incoming().flatten() {
            let _ = stream.read(&mut [0; 1]);
            held.push(stream);
        }
    });
    let site = Site::start_with("", address);
    let mut browser = Browser::logged_in(&site);
    let began = Instant::now();
    let page = browser.get("/d/mchn/machine");
    assert!(page.body.contains("The store of figures does not answer"));
    assert!(
        began.elapsed().as_secs() < 8,
        "it took {:?}",
        began.elapsed()
    );
    assert_eq!(browser.get("/queue").status, 200);
}

/// Root's helpers may be away, too: each page says what it lacks.
#[test]
fn without_the_helpers_pages_say_what_they_lack() {
    let site = Site::start();
    for name in ["run/mailimg-facts.sock", "run/mailimg-queue-change.sock"] {
        std::fs::remove_file(site.machine.path(name)).unwrap();
    }
    let mut browser = Browser::logged_in(&site);
    for (path, words) in [
        ("/", "did not say how it stands"),
        ("/queue", "The queue could not be read"),
        ("/users", "The accounts could not be read"),
        ("/d/bans/bans", "The guard does not answer"),
    ] {
        let page = browser.get(path);
        assert!(
            page.status == 200 && page.body.contains(words),
            "{path}: {page:?}"
        );
    }
}
