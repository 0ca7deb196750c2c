//! Copies of homes as they are found: whole, odd, and in the way.

use super::maildir::copy_home;
use super::tally::Tally;
use crate::appliance::machine::place::Place;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn read(root: &Path, name: &str) -> String {
    std::fs::read_to_string(root.join(name)).unwrap()
}

/// What is said, with paths below the home.
fn remarks(from: &Path, done: &Tally) -> Vec<String> {
    let remarks = done.remarks.iter().map(|remark| {
        let path = remark.path.strip_prefix(from).unwrap();
        format!("{} {}", path.to_string_lossy(), remark.text)
    });
    remarks.collect()
}

#[test]
fn folders_under_names_that_do_not_open_get_others() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(Some(folder.path()));
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    for (name, text) in [
        ("Maildir/.Entwürfe/cur/1.M1.host:2,", "1"),
        ("Maildir/.Entwürfe/dovecot-uidlist", "wrong"),
        ("Maildir/.Entw&APw-rfe/cur/2.M1.host:2,", "2"),
        ("Maildir/.Entw&APw-rfe/dovecot-uidlist", "right"),
        ("Maildir/..Old./cur/3.M1.host:2,", "3"),
        ("Maildir/.INBOX/new/4.M1.host", "4"),
        ("Maildir/.INBOX.Sub/cur/5.M1.host:2,", "5"),
        ("Maildir/.R&D/cur/6.M1.host:2,", "6"),
    ] {
        write(&from, name, text);
    }
    for (round, messages) in [(1, 6), (2, 0)] {
        let done = copy_home(&place, &from, &to, false).unwrap();
        assert_eq!((done.messages, done.left), (messages, 0), "{round}");
        assert_eq!(
            remarks(&from, &done),
            [
                "Maildir has no cur there, and is whole here",
                "Maildir/..Old. has a name that Dovecot does not open, and is taken as 'Old'",
                "Maildir/.Entwürfe has a name that Dovecot does not open, and is taken as 'Entwürfe'",
                "Maildir/.INBOX has a name that Dovecot does not open, and is taken as 'INBOX_'",
                "Maildir/.INBOX has no cur there, and is whole here",
                "Maildir/.R&D has a name that Dovecot does not open, and is taken as 'R&D'",
            ]
        );
    }
    assert_eq!(read(&to, "Maildir/.Entw&APw-rfe/cur/1.M1.host:2,"), "1");
    assert_eq!(read(&to, "Maildir/.Entw&APw-rfe/cur/2.M1.host:2,"), "2");
    assert_eq!(read(&to, "Maildir/.Entw&APw-rfe/dovecot-uidlist"), "right");
    assert_eq!(read(&to, "Maildir/.Old/cur/3.M1.host:2,"), "3");
    assert_eq!(read(&to, "Maildir/.INBOX_/new/4.M1.host"), "4");
    assert_eq!(read(&to, "Maildir/.INBOX.Sub/cur/5.M1.host:2,"), "5");
    assert_eq!(read(&to, "Maildir/.R&-D/cur/6.M1.host:2,"), "6");
    assert!(!to.join("Maildir/.R&D").exists());
}

#[test]
fn nothing_is_left_without_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(Some(folder.path()));
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    for name in [
        "notes.txt",
        "mbox/inbox",
        "Maildir/cur/1.M1.host:2,S",
        "Maildir/cur/.nfs1",
        "Maildir/cur/folder/2.M1.host:2,",
        "Maildir/readme",
        "Maildir/Sent/cur/3.M1.host:2,",
        "Maildir/.File",
        "Maildir/.Sent/cur",
        "Maildir/.Sent/new/4.M1.host",
        "Maildir/.Sent/.Old/cur/5.M1.host:2,",
        "Maildir/.Sent/.Old/cur/6.M1.host:2,",
        "Maildir/dovecot.list.index.log",
        "Maildir/subscriptions",
        "sieve/mine.txt",
        "sieve/tmp/x.sieve",
    ] {
        write(&from, name, "x");
    }
    std::fs::create_dir_all(from.join("Maildir/.Empty/cur")).unwrap();
    std::fs::create_dir_all(from.join("Maildir/.Sent/.Nothing")).unwrap();
    let script = "require [\"fileinto\"]; # 1.\nfileinto \"Work.2024\";";
    write(&from, "sieve/dots.sieve", script);
    symlink(".Sent", from.join("Maildir/.Link")).unwrap();
    symlink("/etc/passwd", from.join(".dovecot.sieve")).unwrap();
    write(&from, "Maildir/subscriptions", "V\t2\n\nSent\nWork\t2024\n");
    write(&to, "Maildir/subscriptions", "V\t2\n\nSent\n");
    let done = copy_home(&place, &from, &to, false).unwrap();
    assert_eq!((done.messages, done.remade, done.left), (2, 1, 14));
    assert_eq!(
        remarks(&from, &done),
        [
            ".dovecot.sieve is a link (put what it leads to in its place), and is left out",
            "Maildir/Sent is a folder that no mail program sees (move it to Maildir/.NAME there), and is left out with 1 files",
            "Maildir/readme is no mail, and is left out",
            "Maildir/subscriptions names folders that are not subscribed to here: Work/2024",
            "Maildir/cur/.nfs1 is hidden, and so no message, and is left out",
            "Maildir/cur/folder is no message, and is left out with 1 files",
            "Maildir/.File is no folder, and is left out",
            "Maildir/.Link is a link (put what it leads to in its place), and is left out",
            "Maildir/.Sent/.Old is a folder that no mail program sees (move it to Maildir/.NAME there), and is left out with 2 files",
            "Maildir/.Sent/cur is no folder, and is left out",
            "mbox is no mail, and is left out with 1 files",
            "notes.txt is no mail, and is left out",
            "sieve/dots.sieve files into folders whose levels it parts by '.': here they are parted by '/'",
            "sieve/mine.txt is no script, and is left out",
            "sieve/tmp is no script, and is left out with 1 files",
        ]
    );
    assert!(to.join("Maildir/.Empty/tmp").is_dir());
    // A file for a Maildir, or for a home, is told of too.
    write(&from, "2/Maildir", "x");
    let done = copy_home(&place, &from.join("2"), &to, false).unwrap();
    assert_eq!(done.remarks[0].text, "is no folder, and is left out");
    let done = copy_home(&place, &from.join("notes.txt"), &to, false).unwrap();
    assert_eq!(done.remarks[0].text, "is no folder, and is left out");
    // Remarks have an end, the count has none.
    for number in 0..30 {
        write(&from, &format!("3/Maildir/tmp/{number}"), "x");
    }
    let done = copy_home(&place, &from.join("3"), &to, false).unwrap();
    assert_eq!((done.left, done.remarks.len(), done.unsaid), (30, 20, 11));
}

#[test]
fn what_cannot_be_read_is_in_nobodys_way() {
    use std::os::unix::fs::PermissionsExt;
    if rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(Some(folder.path()));
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    for name in [
        "cur/1",
        "cur/2",
        ".Closed/cur/3",
        ".Open/cur/4",
        "dovecot-uidlist",
    ] {
        write(&from.join("Maildir"), name, "x");
    }
    let close = |name: &str, mode: u32| {
        let path = from.join("Maildir").join(name);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for name in ["cur/1", ".Closed", "dovecot-uidlist"] {
        close(name, 0);
    }
    let done = copy_home(&place, &from, &to, false).unwrap();
    assert_eq!((done.messages, done.left), (2, 3));
    for (name, mode) in [
        ("cur/1", 0o600),
        (".Closed", 0o700),
        ("dovecot-uidlist", 0o600),
    ] {
        close(name, mode);
    }
    let done = copy_home(&place, &from, &to, false).unwrap();
    assert_eq!((done.messages, done.known, done.left), (2, 2, 0));
}

#[test]
fn a_copy_can_be_repeated_and_never_replaces() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(Some(folder.path()));
    let (from, to) = (folder.path().join("from"), folder.path().join("mail/to"));
    write(&from, "Maildir/cur/1.M1.host,S=3:2,S", "one");
    write(&from, "Maildir/new/2.M1.host", "two");
    write(&from, "Maildir/tmp/3.M1.host", "half");
    write(&from, "Maildir/.Sent.Old/cur/4.M1.host:2,", "four");
    write(&from, "Maildir/dovecot-uidlist", "3 V1 N5");
    write(&from, "Maildir/dovecot.index", "index");
    write(&from, "sieve/mine.sieve", "keep;");
    write(&from, "sieve/mine.svbin", "x");
    symlink("sieve/mine.sieve", from.join(".dovecot.sieve")).unwrap();
    symlink("/etc/passwd", from.join("Maildir/cur/5.M1.host:2,")).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let message = from.join("Maildir/cur/1.M1.host,S=3:2,S");
    std::fs::File::options()
        .write(true)
        .open(&message)
        .unwrap()
        .set_modified(old)
        .unwrap();

    let would = copy_home(&place, &from, &to, true).unwrap();
    assert!(!to.exists() && would.messages == 3);
    // Cut short once.
    write(&to, "Maildir/tmp/mailctl-import.2.M1.host", "t");
    let done = copy_home(&place, &from, &to, false).unwrap();
    assert_eq!((done.messages, done.bytes, done.known), (3, 10, 0));
    assert_eq!((done.scripts, done.remade, done.left), (1, 2, 2));
    assert_eq!(
        remarks(&from, &done),
        [
            "Maildir/cur/5.M1.host:2, is a link (put what it leads to in its place), and is left out",
            "Maildir/tmp/3.M1.host was never delivered, and is left out",
        ]
    );
    let copy = to.join("Maildir/cur/1.M1.host,S=3:2,S");
    assert_eq!(copy.metadata().unwrap().modified().unwrap(), old);
    assert_eq!(
        std::fs::read_to_string(to.join("Maildir/new/2.M1.host")).unwrap(),
        "two"
    );
    assert!(to.join("Maildir/dovecot-uidlist").exists());
    assert!(!to.join("Maildir/dovecot.index").exists());
    assert_eq!(
        std::fs::read_dir(to.join("Maildir/tmp")).unwrap().count(),
        0
    );
    assert_eq!(
        std::fs::read_link(to.join(".dovecot.sieve")).unwrap(),
        Path::new("sieve/mine.sieve")
    );

    // Read here meanwhile, changed here, come there.
    std::fs::rename(
        to.join("Maildir/new/2.M1.host"),
        to.join("Maildir/cur/2.M1.host:2,S"),
    )
    .unwrap();
    write(&to, "sieve/mine.sieve", "discard;");
    write(&from, "Maildir/new/6.M1.host", "six");
    let again = copy_home(&place, &from, &to, false).unwrap();
    assert_eq!((again.messages, again.known, again.scripts), (1, 3, 0));
    assert_eq!(
        std::fs::read_to_string(to.join("sieve/mine.sieve")).unwrap(),
        "discard;"
    );
    assert_eq!(
        std::fs::read_dir(to.join("Maildir/new")).unwrap().count(),
        1
    );
}

#[test]
fn a_link_in_the_way_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(Some(folder.path()));
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    write(&from, "Maildir/cur/1.M1.host:2,S", "one");
    std::fs::create_dir_all(&to).unwrap();
    symlink(folder.path(), to.join("Maildir")).unwrap();
    let error = copy_home(&place, &from, &to, false).unwrap_err();
    assert!(error.to_string().ends_with("Maildir is no folder"));
}

/// Whoever reads mail owns the folders: what is laid there meanwhile leads root nowhere.
#[test]
fn links_in_our_folders_are_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(Some(folder.path()));
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    write(&from, "Maildir/cur/1.M1.host:2,", "1");
    write(&from, "Maildir/subscriptions", "Sent\n");
    write(&from, "sieve/a.sieve", "keep;");
    let elsewhere = folder.path().join("elsewhere");
    write(&elsewhere, "kept", "kept");
    for (link, target) in [
        ("Maildir/tmp/mailctl-import.1.M1.host:2,", "kept"),
        ("Maildir/mailctl-import.subscriptions", "kept"),
        ("sieve/mailctl-import.a.sieve", "kept"),
    ] {
        std::fs::create_dir_all(to.join(link).parent().unwrap()).unwrap();
        symlink(elsewhere.join(target), to.join(link)).unwrap();
    }
    let done = copy_home(&place, &from, &to, false).unwrap();
    assert_eq!((done.messages, done.scripts), (1, 1));
    for home in ["Maildir", "sieve"] {
        assert!(
            walkdir::WalkDir::new(to.join(home))
                .into_iter()
                .all(|entry| !entry
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .contains("import"))
        );
    }
    for name in ["Maildir/cur", "Maildir/tmp", "Maildir", "sieve"] {
        std::fs::remove_dir_all(&to).unwrap();
        std::fs::create_dir_all(to.join(name).parent().unwrap()).unwrap();
        symlink(&elsewhere, to.join(name)).unwrap();
        assert!(copy_home(&place, &from, &to, false).is_err(), "{name}");
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 1);
        assert_eq!(read(&elsewhere, "kept"), "kept");
    }
}
