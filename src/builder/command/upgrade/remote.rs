//! A machine at the other end of ssh.

use std::io::Read;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::builder::command::signals::{Started, run_program};
use crate::builder::progress::Progress;
use crate::error::{Hint, hinted};
use crate::format::delta::{Outcome, Standing};

/// Pause between two questions to a machine that starts.
const PAUSE: Duration = Duration::from_secs(3);
/// Longest wait for the end of a trial: three tries of fifteen minutes, and the way back.
const TRIAL_LIMIT: Duration = Duration::from_secs(60 * 60);
/// What ssh ends with when it did not get as far as the program.
const SSH_FAILED: i32 = 255;
/// What mailctl ends with when it does not know the verb.
const USAGE: i32 = 2;

/// Where the machine is, and how ssh is called.
#[derive(Debug, PartialEq, Eq)]
pub struct Remote {
    ssh: Vec<String>,
    host: String,
    port: Option<u16>,
}

impl Remote {
    /// Reads `ssh://[USER@]HOST[:PORT]`.
    pub fn parse(text: &str, ssh: &str) -> Result<Self> {
        let wrong = || {
            hinted(
                format!("{text:?} names no machine"),
                "write ssh://root@mail.example.org, with :PORT behind it if ssh listens elsewhere",
            )
        };
        let rest = text.strip_prefix("ssh://").ok_or_else(wrong)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            // An IPv6 address stands in brackets.
            Some((host, port)) if !port.contains(']') => {
                (host, Some(port.parse().map_err(|_| wrong())?))
            }
            _ => (rest, None),
        };
        let host = host.replace(['[', ']'], "");
        // What begins with a hyphen would be an option of ssh.
        let plain = |character: char| character.is_ascii_graphic() && !"/'\"".contains(character);
        if host.is_empty() || host.starts_with('-') || !host.chars().all(plain) {
            return Err(wrong());
        }
        let ssh: Vec<String> = ssh.split_whitespace().map(str::to_owned).collect();
        if ssh.is_empty() {
            return Err(hinted(
                "--ssh names no program",
                "leave it out, or write `--ssh ssh`",
            ));
        }
        Ok(Self { ssh, host, port })
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.host
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.ssh[0]);
        // A machine that vanishes is noticed within a minute.
        command.args(&self.ssh[1..]).args([
            "-o",
            "ServerAliveInterval=15",
            "-o",
            "ConnectTimeout=20",
        ]);
        if let Some(port) = self.port {
            command.args(["-p", &port.to_string()]);
        }
        command.args(["-T", "--", &self.host, "mailctl", "peer", verb]);
        command
    }

    /// Starts to speak with `mailctl` there.
    pub fn receive(&self) -> Result<Started> {
        let mut command = self.command("receive");
        Started::new(command.stdin(Stdio::piped()).stdout(Stdio::piped()))
            .hint("install the ssh client")
    }

    /// Why a conversation ended.
    pub fn explain(&self, code: Option<i32>) -> Result<()> {
        match code {
            Some(0) => Ok(()),
            Some(SSH_FAILED) => Err(hinted(
                "ssh did not get through, it says why above",
                format!(
                    "`ssh {}` has to work; after a new installation the host key is another one, \
                     `ssh-keygen -R` forgets the old one",
                    self.host
                ),
            )),
            Some(USAGE | 127) => Err(hinted(
                "the machine runs a version that cannot be upgraded this way yet",
                "use `mailimg install --keep-data` in a rescue system this once",
            )),
            _ => bail!("the conversation ended"),
        }
    }

    /// Restarts the machine, and waits for the end of the trial.
    pub fn restart_and_wait(&self, progress: &Progress) -> Result<Standing> {
        let before = self.standing().context("asking the machine")?;
        // The connection may break before the answer.
        let _ = run_program(self.command("restart").stdin(Stdio::null()), None);
        progress.note("the machine restarts");
        let began = Instant::now();
        let mut seen = false;
        while began.elapsed() < TRIAL_LIMIT {
            sleep(PAUSE);
            let Ok(standing) = self.standing_quietly() else {
                continue;
            };
            if standing.boot == before.boot {
                continue;
            }
            if !seen {
                seen = true;
                progress.note(&format!("{} has started", standing.running));
            }
            if standing.outcome != Outcome::Open {
                return Ok(standing);
            }
        }
        Err(hinted(
            format!(
                "the machine did not say how it went in {} minutes",
                TRIAL_LIMIT.as_secs() / 60
            ),
            "look at its console; a version that does not work is given up after three tries",
        ))
    }

    fn standing(&self) -> Result<Standing> {
        self.ask(Stdio::inherit())
    }

    fn standing_quietly(&self) -> Result<Standing> {
        self.ask(Stdio::null())
    }

    fn ask(&self, complaints: Stdio) -> Result<Standing> {
        let mut command = self.command("standing");
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let started = Started::new(command.stderr(complaints))?;
        let output = started.child().stdout.take();
        let mut answer = Vec::new();
        output
            .context("listening to ssh")?
            .read_to_end(&mut answer)
            .context("listening to ssh")?;
        let status = started.wait(None)?;
        self.explain(status.and_then(|status| status.code()))?;
        serde_json::from_slice(&answer).context("understanding the machine")
    }
}

#[cfg(test)]
mod tests {
    use super::Remote;

    #[test]
    fn machines_are_named_as_people_write_them() {
        let parsed = |text: &str| {
            let remote = Remote::parse(text, "ssh -4").unwrap();
            (remote.host, remote.port)
        };
        for (text, host, port) in [
            ("ssh://root@mail.example.org", "root@mail.example.org", None),
            ("ssh://mail/", "mail", None),
            (
                "ssh://root@mail.example.org:2222",
                "root@mail.example.org",
                Some(2222),
            ),
            ("ssh://root@[2001:db8::1]", "root@2001:db8::1", None),
            ("ssh://root@[2001:db8::1]:22", "root@2001:db8::1", Some(22)),
        ] {
            assert_eq!(parsed(text), (host.to_owned(), port), "{text}");
        }
        for text in [
            "mail.example.org",
            "https://mail.example.org",
            "ssh://",
            "ssh://-oProxyCommand=x",
            "ssh://a b",
            "ssh://mail:x",
            "ssh://mail:99999",
            "ssh://mail/path",
        ] {
            assert!(Remote::parse(text, "ssh").is_err(), "{text}");
        }
        assert!(Remote::parse("ssh://mail", " ").is_err());
    }
}
