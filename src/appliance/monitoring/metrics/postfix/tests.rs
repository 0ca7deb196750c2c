//! Lines as Postfix 3.10 writes them, and as nobody does.

use super::{Memory, read_line};
use crate::appliance::monitoring::metrics::counters::Counters;
use crate::appliance::monitoring::metrics::exposition::Samples;
use proptest::prelude::*;

/// One line of each form that came in a run of the table of promises, with who wrote it:
/// `MAILIMG_JOURNAL=FILE ci/vm promises::promises`.
const LINES: &str = include_str!("lines.txt");

fn read(lines: &[(&str, &str)]) -> (Memory, Counters) {
    let (mut memory, mut counters) = (Memory::default(), Counters::default());
    for (identifier, message) in lines {
        read_line(identifier, message, 0, &mut memory, &mut counters);
    }
    (memory, counters)
}

fn text(counters: &Counters) -> String {
    let mut samples = Samples::default();
    counters.show(&mut samples);
    samples.text()
}

#[test]
fn every_line_of_the_corpus_is_known() {
    let is_unknown = |line: &&str| {
        let (_, counters) = read(&[line.split_once('\t').unwrap()]);
        counters.get("postfix_unparsed_lines_total", &[]) > 0
    };
    let unknown: Vec<&str> = LINES.lines().filter(is_unknown).collect();
    assert_eq!(unknown, [""; 0]);
}

/// A change of a rule shows in what is counted.
#[test]
fn what_the_corpus_counts() {
    let lines: Vec<(&str, &str)> = LINES
        .lines()
        .map(|line| line.split_once('\t').unwrap())
        .collect();
    assert!(lines.len() > 250, "{}", lines.len());
    let (_, counters) = read(&lines);
    let text = text(&counters);
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.contains("_bucket"));
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_message_counts_once_however_often_it_is_tried() {
    let (mut memory, counters) = read(&[
        (
            "postfix/submission/smtpd",
            "4jc8bT3Vrnz1xpp: client=unknown[10.20.0.14], sasl_method=PLAIN, sasl_username=bert@wombat.example",
        ),
        (
            "postfix/qmgr",
            "4jc8bT3Vrnz1xpp: from=<bert@wombat.example>, size=404, nrcpt=3 (queue active)",
        ),
        (
            "postfix/qmgr",
            "4jc8bT3Vrnz1xpp: from=<bert@wombat.example>, size=404, nrcpt=3 (queue active)",
        ),
        ("postfix/smtpd", "4jc8bT3Vrnz1xpq: client=a[192.0.2.1]"),
        ("postfix/cleanup", "4jc8bT3Vrnz1xpq: removed (canceled)"),
        (
            "postfix/qmgr",
            "4jc8bT3Vrnz1xpq: from=<>, size=404, nrcpt=1 (queue active)",
        ),
    ]);
    let received = |service| counters.get("postfix_messages_received_total", &[service]);
    assert_eq!((received("submission"), received("smtpd")), (1, 0));
    assert_eq!(counters.get("postfix_message_bytes_total", &[]), 404);
    assert_eq!(memory.sent(59), [("bert@wombat.example", 3)]);
    assert_eq!(memory.sent(60), []);
    assert_eq!(memory.begun.len() + memory.order.len(), 0);
}

#[test]
fn what_is_remembered_has_an_end() {
    let (mut memory, mut counters) = (Memory::default(), Counters::default());
    for number in 0..5000 {
        let line =
            format!("{number:08}: client=a[192.0.2.1], sasl_method=PLAIN, sasl_username=u{number}");
        read_line("postfix/smtpd", &line, 0, &mut memory, &mut counters);
    }
    assert_eq!((memory.begun.len(), memory.order.len()), (2000, 2000));
}

/// Their words are looked for, so each is put where a stranger might write it.
#[test]
fn strangers_make_no_series() {
    let before = {
        let (_, counters) = read(&[("postfix/smtpd", "connect from a[192.0.2.1]")]);
        text(&counters).lines().count()
    };
    let words = [
        "status=new",
        "sasl_username=x",
        " commands=1/x",
        "TLSv9 with cipher NEW",
        "\t",
        "\"",
        "{",
        "relay=new",
        "\u{0}",
        "\\n",
    ];
    let lines: Vec<String> = words
        .iter()
        .map(|word| format!("connect from {word}[192.0.2.1]"))
        .collect();
    let lines: Vec<(&str, &str)> = lines
        .iter()
        .map(|line| ("postfix/smtpd", line.as_str()))
        .collect();
    let (_, counters) = read(&lines);
    assert_eq!(text(&counters).lines().count(), before);
}

proptest! {
    #[test]
    fn any_line_does_no_harm(identifier in "postfix/([a-z]{0,3}/)?(smtpd|smtp|qmgr|cleanup|postscreen|lmtp|.{0,8})",
        begin in "([0-9A-Za-z]{6,15}: )?(NOQUEUE: )?(reject: |from=<|to=<|connect from |disconnect from |client=|PASS |warning: )?",
        rest in ".{0,200}") {
        let (_, counters) = read(&[(identifier.as_str(), &format!("{begin}{rest}"))]);
        prop_assert_eq!(counters.get("postfix_lines_total", &[]), 1);
        for line in text(&counters).lines().filter(|line| !line.starts_with('#')) {
            prop_assert!(line.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
        }
    }

    #[test]
    fn a_line_of_the_corpus_may_be_cut_anywhere(index in 0..250usize, at in 0..400usize) {
        let line = LINES.lines().nth(index).unwrap();
        let (identifier, message) = line.split_once('\t').unwrap();
        let cut: String = message.chars().take(at).collect();
        read(&[(identifier, &cut)]);
    }
}
