//! `mailctl queue-change`: has a message of the queue tried, kept back, let go or deleted.
//!
//! systemd starts it for each connection to a socket of the pages': one line comes in, a verb
//! and a queue id, and JSON goes out. postsuper(1) takes `ALL` for every message and names of
//! queues besides; neither gets through here. Ids are those of postconf(5), `enable_long_queue_ids`.

use crate::appliance::machine::place::Place;
use crate::appliance::machine::program::run_program;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::io::{BufRead, Read};

const POSTSUPER: &str = "/usr/sbin/postsuper";
const POSTQUEUE: &str = "/usr/sbin/postqueue";
/// Longest line.
const LONGEST: u64 = 64;
/// Lengths that queue ids have: short ones from 6, long ones to 16 or so.
const ID_LENGTHS: std::ops::RangeInclusive<usize> = 6..=20;

/// Reads a line and does what it says.
pub fn answer_change(place: &Place) -> Result<String> {
    let mut line = String::new();
    let input = std::io::stdin().lock();
    input.take(LONGEST).read_line(&mut line)?;
    let value = match change(place, line.trim_end()) {
        Ok(done) => json!({"done": done}),
        Err(error) => {
            tell!("{error:#}");
            json!({"error": format!("{error:#}")})
        }
    };
    serde_json::to_string(&value).context("writing JSON")
}

fn change(place: &Place, line: &str) -> Result<String> {
    let (program, option, id, said) = parse(line)?;
    if !place.is_machine() {
        bail!("a folder has no queue");
    }
    run_program(program, &[option, id])?;
    tell!("queue {line}");
    Ok(format!("Message {id} {said}."))
}

/// Program, option, id, and what is said when it is done.
fn parse(line: &str) -> Result<(&'static str, &'static str, &str, &'static str)> {
    let (verb, id) = line.split_once(' ').context("a line without an id")?;
    if !is_id(id) {
        bail!("that is no queue id");
    }
    let (program, option, said) = match verb {
        "retry" => (POSTQUEUE, "-i", "is tried now"),
        "hold" => (POSTSUPER, "-h", "is kept back"),
        "release" => (POSTSUPER, "-H", "is let go"),
        "delete" => (POSTSUPER, "-d", "is deleted"),
        _ => bail!("that is nothing to be done with a message"),
    };
    Ok((program, option, id, said))
}

/// Letters and digits, one digit at least: `ALL` is none.
fn is_id(text: &str) -> bool {
    ID_LENGTHS.contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().any(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn four_verbs_and_ids_are_taken() {
        for (line, option) in [
            ("retry 4cRz1d2Jqvz5", "-i"),
            ("hold 4cRz1d2Jqvz5", "-h"),
            ("release 8A1B2C3D4E", "-H"),
            ("delete 4cRz1d2Jqvz5", "-d"),
        ] {
            assert_eq!(parse(line).unwrap().1, option);
        }
        for line in [
            "",
            "delete",
            "delete ALL",
            "delete ALLALL",
            "delete -d4cRz1d",
            "delete 4cRz1d2Jqvz5 hold",
            "delete 4cRz1d2Jqvz5\nALL1234",
            "delete ../../etc/x1",
            "requeue 4cRz1d2Jqvz5",
            "-d 4cRz1d2Jqvz5",
            " 4cRz1d2Jqvz5",
        ] {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }
}
