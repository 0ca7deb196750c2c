//! Figures: what the store says agrees with what was done, and nobody else is told.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mailimg::appliance::panels::Page;

use super::super::imap::Imap;
use super::super::site::HOST_NAME;
use super::super::smtp::Account;
use super::Promise;
use super::world::{World, friend};
use crate::world::network::{STRANGERS, connect_from};
use crate::world::wait::until;

/// Until the store has asked twice.
const STORE_LIMIT: Duration = Duration::from_secs(60);
/// Until a service is there again.
const RETURN_LIMIT: Duration = Duration::from_secs(60);
/// How long an open port takes to answer at most.
const CONNECT_LIMIT: Duration = Duration::from_secs(4);
/// The exporter, and the store.
const PORTS: [u16; 2] = [9117, 8428];
/// What is measured in PromQL, and by how much it is more afterwards.
const MEASURED: [(&str, f64); 9] = [
    (
        "sum(postfix_deliveries_by_destination_total{status=\"sent\"})",
        10.0,
    ),
    (
        "sum(postfix_messages_received_total{service=\"submissions\"})",
        10.0,
    ),
    (
        "sum(postfix_sasl_logins_total{service=\"submissions\"})",
        10.0,
    ),
    (
        "sum(postfix_messages_received_total{service=\"smtpd\"})",
        1.0,
    ),
    (
        "sum(postfix_rejects_total{reason=\"unknown_recipient\"})",
        3.0,
    ),
    (
        "sum(dovecot_logins_total{service=\"imap\",result=\"failed\"})",
        2.0,
    ),
    ("sum(mailimg_bans_total)", 1.0),
    ("sum(mailimg_verdicts_total{check=\"dmarc\"})", 1.0),
    ("sum(postfix_unparsed_lines_total)", 0.0),
];

pub const PROMISES: &[Promise] = &[
    Promise {
        says: "ten messages sent, three refused, two wrong passwords and a ban are what the store shows",
        check: agrees,
    },
    Promise {
        says: "every source of figures answers, and no line of Postfix is unknown",
        check: complete,
    },
    Promise {
        says: "every panel of the pages has something to show",
        check: shown,
    },
    Promise {
        says: "figures are for root and the services that need them, and are changed by nobody",
        check: closed,
    },
    Promise {
        says: "exporter and store come back when they are killed, and count nothing twice",
        check: killed,
    },
    Promise {
        says: "a damaged store is moved aside and begins anew",
        check: damaged,
    },
    Promise {
        says: "METRICS=false leaves exporter, store and Dovecot's own figures out",
        check: left_out,
    },
];

/// What a port of loopback answers to root.
fn get(world: &World, port: u16, path: &str) -> Result<String> {
    world.run(&format!(
        "exec 3<>/dev/tcp/127.0.0.1/{port}; printf 'GET {path} HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3; cat <&3"
    ))
}

/// The value of a query that has one; 0 when nothing was counted yet.
fn query(world: &World, query: &str) -> Result<f64> {
    let found = ask(world, query)?;
    let value = &found[0]["value"][1];
    Ok(value.as_str().unwrap_or("0").parse()?)
}

/// What a query finds, each series with its value.
fn ask(world: &World, query: &str) -> Result<serde_json::Value> {
    let encoded: String = query
        .bytes()
        // A shell's printf reads it, too.
        .map(|byte| match byte {
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%%{byte:02X}"),
        })
        .collect();
    let answer = get(world, 8428, &format!("/api/v1/query?query={encoded}"))?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| answer.clone())?;
    ensure!(head.contains(" 200 "), "{query}: {answer}");
    let mut value: serde_json::Value = serde_json::from_str(body)?;
    Ok(value["data"]["result"].take())
}

/// Whether the store was fed within the last minute by its own clock.
pub fn are_fresh(world: &World) -> Result<bool> {
    let found = ask(world, "time() - timestamp(mailimg_load1) < 60")?;
    Ok(found.as_array().is_some_and(|found| !found.is_empty()))
}

/// Each query of each panel, after all that the rows before did.
fn shown(world: &World) -> Result<()> {
    let panels = || Page::ALL.into_iter().flat_map(Page::panels);
    // Where the kernel of this side keeps no account of memory, there is none to show.
    let memory = "[ -e /sys/fs/cgroup/system.slice/memory.current ] && echo yes || echo no";
    let is_counted = world.run(memory)?.trim() == "yes";
    let mut empty = Vec::new();
    for panel in panels() {
        for (name, text) in panel.queries {
            // What is left out while it is nothing is there all the same.
            let text = text.replace("$window", "1h");
            let found = ask(world, text.trim_end_matches(" > 0"))?;
            let is_possible = is_counted || !text.contains("mailimg_service_memory_bytes");
            if is_possible && found.as_array().is_none_or(Vec::is_empty) {
                empty.push(format!("{} {name}: {text}", panel.id));
            }
        }
    }
    println!("       {} panels", panels().count());
    ensure!(empty.is_empty(), "nothing in\n{}", empty.join("\n"));
    Ok(())
}

/// The sum of the exporter's own samples whose line has all of these words.
fn exported(world: &World, words: &[&str]) -> Result<f64> {
    let text = get(world, 9117, "/metrics")?;
    let lines = text
        .lines()
        .filter(|line| words.iter().all(|word| line.contains(word)));
    let values = lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '));
    Ok(values
        .filter_map(|(_, value)| value.parse::<f64>().ok())
        .sum())
}

fn agrees(world: &World) -> Result<()> {
    // What was said before is in the store once the exporter's counts are.
    let lines = exported(world, &["postfix_lines_total"])?;
    until("the store to ask", STORE_LIMIT, || {
        Ok((query(world, "postfix_lines_total")? >= lines).then_some(()))
    })?;
    let before = MEASURED.iter().map(|(text, _)| query(world, text));
    let before = before.collect::<Result<Vec<f64>>>()?;

    let account = world.account("ulf");
    for _ in 0..10 {
        let to = format!("{}@outside.example", world.unique("counted"));
        world
            .submit(&account, &to, "counted")?
            .must_be(&[250], "a message")?;
    }
    let subject = world.unique("counted in");
    world
        .receive(&["ulf@wombat.example"], &subject)?
        .must_be(&[250], "a message")?;
    let mut stranger = world.stranger()?;
    stranger.say(&format!("MAIL FROM:<{}>", friend("refused")), "250")?;
    for _ in 0..3 {
        stranger.say("RCPT TO:<nobody-there@wombat.example>", "550")?;
    }
    stranger.say("QUIT", "221")?;
    let wrong = Account {
        password: "wrong".to_owned(),
        ..account.clone()
    };
    for _ in 0..2 {
        let mut imap = Imap::connect(STRANGERS[0].into(), world.address(), HOST_NAME)?;
        ensure!(
            !imap.log_in(&wrong)?.starts_with("OK"),
            "a wrong password is taken"
        );
    }
    // As Dovecot reports it, without its delays.
    world.run(
        "key=$(cat /run/mailimg/guard-key)\n\
         for guess in 1 2 3 4 5 6; do\n\
         body='{\"login\":\"x\",\"pwhash\":\"'$guess'\",\"remote\":\"203.0.113.99\",\"success\":false}'\n\
         exec 3<>/dev/tcp/127.0.0.1/8479\n\
         printf 'POST / HTTP/1.0\\r\\nX-API-Key: %s\\r\\nContent-Length: %s\\r\\n\\r\\n%s' $key ${#body} \"$body\" >&3\n\
         cat <&3 >/dev/null; done; mailctl ban list | grep -q 203.0.113.99",
    )?;
    world.read(&account, &subject)?;

    let mut seen = Vec::new();
    until("the store to agree", STORE_LIMIT, || {
        seen.clear();
        let mut agree = true;
        for ((text, more), before) in MEASURED.iter().zip(&before) {
            let found = query(world, text)? - before;
            agree &= (found - more).abs() < 0.5;
            seen.push(format!("{text}: {found} of {more}"));
        }
        Ok(agree.then_some(()))
    })
    .with_context(|| seen.join("\n       "))?;
    world.run("mailctl ban lift 203.0.113.99")?;
    Ok(())
}

fn complete(world: &World) -> Result<()> {
    world.run("systemctl start mailimg-measure-mail mailimg-measure-queue")?;
    until("all sources", STORE_LIMIT, || {
        Ok((exported(world, &["mailimg_source_up"])? >= 5.0).then_some(()))
    })
    .with_context(|| get(world, 9117, "/metrics").unwrap_or_default())?;
    let unknown = exported(world, &["postfix_unparsed_lines_total"])?;
    ensure!(unknown < 0.5, "{unknown} lines of Postfix are unknown");
    let text = get(world, 9117, "/metrics")?;
    for series in [
        "mailimg_load1 ",
        "mailimg_memory_bytes{kind=\"available\"}",
        "mailimg_cpu_seconds_total{mode=\"user\"}",
        "mailimg_service_up{service=\"postfix\"} 1",
        "mailimg_service_cpu_seconds_total{service=\"dovecot\"}",
        "postfix_queue_messages{queue=\"deferred\"}",
        "postfix_delivery_delay_seconds_count{stage=\"queue\"}",
        "postfix_tls_connections_total{direction=\"in\",protocol=\"TLSv1.3\"",
        "dovecot_imap_commands_total{command=\"SELECT\"}",
        "dovecot_deliveries_total{result=\"ok\"}",
        "dovecot_sessions{service=\"imap\"}",
        "dovecot_mailbox_bytes{user=\"",
        "mailimg_certificate_expiry_timestamp_seconds{name=\"mail.wombat.example\"}",
        "mailimg_sending_limit_used{user=\"ulf@wombat.example\"} 10",
    ] {
        ensure!(text.contains(series), "{series} is not in {text}");
    }
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    println!("       {series} samples, {} bytes", text.len());
    ensure!(series < 1000, "{series} samples");
    Ok(())
}

fn closed(world: &World) -> Result<()> {
    for port in PORTS {
        let target = SocketAddr::new(world.address(), port);
        let open = connect_from(STRANGERS[0].into(), target, CONNECT_LIMIT).is_ok();
        ensure!(!open, "{port} is open to strangers");
    }
    let said = world.run(
        "try() { setpriv --reuid $1 --clear-groups bash -c \"exec 3<>/dev/tcp/127.0.0.1/$2\" 2>/dev/null && echo \"$1 $2\"; true; }\n\
         for port in 9117 8428; do for user in vmail postfix nobody mailimg-web mailimg-metrics mailimg-store; do try $user $port; done; done",
    )?;
    ensure!(said == "mailimg-store 9117\n", "open are: {said:?}");
    for (request, refusal) in [
        (
            "POST /api/v1/import/prometheus HTTP/1.0\\r\\nContent-Length: 4\\r\\n\\r\\nx 1\\n",
            " 503 ",
        ),
        (
            "POST /write HTTP/1.0\\r\\nContent-Length: 6\\r\\n\\r\\nx y=1\\n",
            " 503 ",
        ),
        (
            "GET /api/v1/admin/tsdb/delete_series?match[]=up HTTP/1.0\\r\\n\\r\\n",
            " 401 ",
        ),
        ("GET /snapshot/create HTTP/1.0\\r\\n\\r\\n", " 401 "),
        ("GET /flags HTTP/1.0\\r\\n\\r\\n", " 401 "),
    ] {
        let answer = world.run(&format!(
            "exec 3<>/dev/tcp/127.0.0.1/8428; printf '{request}' >&3; head -n 1 <&3"
        ))?;
        ensure!(answer.contains(refusal), "{request}: {answer}");
    }
    Ok(())
}

fn are_back(world: &World) -> Result<()> {
    until("exporter and store", RETURN_LIMIT, || {
        let is_back = PORTS.map(|port| get(world, port, "/metrics").is_ok());
        Ok((is_back == [true, true]).then_some(()))
    })
}

fn killed(world: &World) -> Result<()> {
    let count = || exported(world, &["postfix_lines_total"]);
    // Some of it is not kept yet.
    world
        .receive(&["ulf@wombat.example"], "x")?
        .must_be(&[250], "a message")?;
    let before = until("a moment without mail", RETURN_LIMIT, || {
        let before = count()?;
        std::thread::sleep(Duration::from_millis(500));
        Ok((count()? <= before).then_some(before))
    })?;
    world.run("systemctl kill -s KILL mailimg-metrics mailimg-store")?;
    are_back(world)?;
    let after = count()?;
    ensure!(
        (after - before).abs() < 0.5,
        "{before} lines became {after}"
    );
    Ok(())
}

fn damaged(world: &World) -> Result<()> {
    world.run(
        "systemctl stop mailimg-store; cd /var/lib/mailimg/store\n\
         find data -name 'parts.json' -exec sh -c 'echo x >$1' x {} \\;; systemctl start --no-block mailimg-store",
    )?;
    until("a store that begins anew", RETURN_LIMIT, || {
        let said = world.run("test -d /var/lib/mailimg/store/damaged && echo aside; true")?;
        Ok((said == "aside\n").then_some(()))
    })?;
    are_back(world)
}

fn left_out(world: &World) -> Result<()> {
    world.run(
        "cp -a /var/lib/mailimg/settings.env /run/settings.kept\n\
         echo METRICS=false >>/var/lib/mailimg/settings.env; mailctl settings apply",
    )?;
    let said = until("the end of exporter and store", RETURN_LIMIT, || {
        let said = world.run(
            "systemctl is-active mailimg-metrics mailimg-store\n\
             ls /run/dovecot/*figures /run/mailimg/metrics.env 2>/dev/null; true",
        )?;
        Ok((said == "inactive\ninactive\n").then_some(said))
    });
    world.run("cp -a /run/settings.kept /var/lib/mailimg/settings.env; mailctl settings apply")?;
    said?;
    are_back(world)
}
