//! One SMTP session as the filter sees it, from negotiation to the last message.
//!
//! A message's headers and body are looked at as they arrive and answered all at
//! once when it is complete, which saves a round trip for each piece. Of others'
//! bodies nothing is kept but hashes.

use super::configuration::Configuration;
use super::iprev::{self, Iprev};
use super::lines::draft::Draft;
use super::lines::{ENCODING, QUOTED_PRINTABLE};
use super::outgoing::{ACCOUNT_MACRO, Claims, DAEMON_MACRO, Origin};
use super::protocol::{Command, Replies, VERSION, actions, stages, steps};
use super::results::{RESULTS, names_host};
use super::shared::Shared;
use super::spf::{self, Question, Spf};
use super::verify::body::BodyStream;
use super::verify::headers::Headers;
use super::verify::judge::{Decision, Incoming, Rules, decide};
use crate::appliance::dkim::configuration::{NOBODY, UNSIGNED};
use crate::appliance::machine::clock::ticks;
use crate::appliance::machine::room::{Room, shortage};
use anyhow::{Context, Result, bail, ensure};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tempfile::SpooledTempFile;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Older headers with a verdict on SPF, RFC 7208 section 9.1.
const RECEIVED_SPF: &str = "Received-SPF";
/// Most headers deleted from one message; nobody honest sends any.
const MOST_DELETED: usize = 1000;
/// Below the header with which Postfix says where it received the message. Above
/// it, that header would be shown to the filters behind us as if it were the sender's.
const TOP: u32 = 1;
/// Longest wait for keys and policies once a message is there, whatever its domains' name servers
/// do. As long as for SPF, with which it begins at the latest.
const LOOKUPS_LIMIT: Duration = Duration::from_secs(20);
/// Longest that judging a message may take; Postfix waits ten times as long
/// (`milter_content_timeout`).
const JUDGING_LIMIT: Duration = Duration::from_secs(30);

/// What must be left of the disk for mail to be taken. Postfix looks at bytes itself
/// (`queue_minfree`); a file for each message may come to an end before them.
const LEAST_ROOM: Room = Room {
    bytes: 0,
    files: 10_000,
};
/// The reply when it is not.
const FULL: &str = "452 4.3.1 There is no room for more files on this machine, try again later";

/// What follows from a command.
#[derive(Debug)]
pub enum Step {
    /// Nothing is said.
    Silent,
    /// This is said.
    Answer(Replies),
    /// The body is replaced by this one, then this is said.
    Rewrite(SpooledTempFile, Replies),
    /// The connection ends.
    Close,
}

/// What is known of the message under way.
#[derive(Default)]
struct Message {
    origin: Origin,
    sender: String,
    /// Recipients that are counted once it is known whose filter sends.
    recipients: u32,
    claims: Claims,
    results_seen: u32,
    received_spf_seen: u32,
    deleted: Vec<(&'static str, u32)>,
    too_many: bool,
    /// Kept when it is judged.
    headers: Headers,
    body: BodyStream,
    /// Kept when it is a user's.
    draft: Draft,
    /// At most one lookup; given up with the message.
    spf: JoinSet<Spf>,
}

/// One session of the mail server.
pub struct Session {
    shared: Rc<Shared>,
    configuration: Rc<Configuration>,
    /// By [`ticks`].
    started: u128,
    negotiated: bool,
    client: Option<IpAddr>,
    /// Macros that came before the client's address.
    macros_of_connect: Vec<(String, Vec<u8>)>,
    iprev: Option<Iprev>,
    helo: String,
    message: Message,
}

impl Session {
    /// A session that begins now.
    pub fn new(shared: Rc<Shared>) -> Result<Self> {
        let configuration = shared.configuration.borrow_mut().get()?;
        Ok(Self {
            shared,
            configuration,
            started: ticks(),
            negotiated: false,
            client: None,
            macros_of_connect: Vec::new(),
            iprev: None,
            helo: String::new(),
            message: Message::default(),
        })
    }

    /// Takes one command and says what is to be done. An error ends the session.
    pub async fn take(&mut self, command: Command<'_>) -> Result<Step> {
        let begins = matches!(command, Command::Negotiate { .. });
        ensure!(begins != self.negotiated, "a command out of order");
        let mut replies = Replies::default();
        match command {
            Command::Negotiate {
                version,
                actions,
                steps,
            } => self.negotiate(version, actions, steps, &mut replies)?,
            Command::Macros { command, pairs } => {
                if command == b'C' {
                    self.macros_of_connect = pairs
                        .iter()
                        .map(|(name, value)| {
                            (String::from_utf8_lossy(name).into_owned(), value.to_vec())
                        })
                        .collect();
                } else if command == b'M' {
                    self.message.origin = Origin::read(&pairs);
                }
                return Ok(Step::Silent);
            }
            Command::Connect { address } => {
                self.client = address.map(|address| address.to_canonical());
                let macros = std::mem::take(&mut self.macros_of_connect);
                self.iprev = self.client.and_then(|client| Iprev::read(client, &macros));
                return Ok(Step::Silent);
            }
            Command::Helo(name) => {
                self.helo = String::from_utf8_lossy(name).into_owned();
                return Ok(Step::Silent);
            }
            Command::Mail(sender) => {
                // The account came just before, as a macro of this command.
                self.message = Message {
                    origin: std::mem::take(&mut self.message.origin),
                    sender: bare_address(sender),
                    ..Message::default()
                };
                match shortage(&self.shared.disk, LEAST_ROOM)? {
                    Some(_) => {
                        replies.refuse(FULL);
                    }
                    None => self.check_revoked(&mut replies)?,
                }
            }
            Command::Recipient => match self.message.origin.clone() {
                Origin::Account(account) => self.check_limit(&account, 1, &mut replies),
                _ => {
                    self.message.recipients += 1;
                    replies.go_on();
                }
            },
            Command::Data => {
                // Looked up while the message is on its way.
                self.start_spf();
                return Ok(Step::Silent);
            }
            Command::Header { name, value } => {
                self.note_header(name, value);
                return Ok(Step::Silent);
            }
            Command::Body(piece) => {
                if self.is_judged() {
                    let message = &mut self.message;
                    message.body.update(&message.headers, piece);
                } else if matches!(self.message.origin, Origin::Account(_)) {
                    self.message.draft.update(piece)?;
                }
                return Ok(Step::Silent);
            }
            Command::EndOfMessage => {
                let body = self.conclude(&mut replies).await?;
                self.message = Message::default();
                if let Some(body) = body {
                    return Ok(Step::Rewrite(body, replies));
                }
            }
            Command::Abort => {
                self.message = Message::default();
                return Ok(Step::Silent);
            }
            Command::Quit | Command::NextSession => return Ok(Step::Close),
        }
        Ok(Step::Answer(replies))
    }

    fn negotiate(
        &mut self,
        version: u32,
        offered_actions: u32,
        offered_steps: u32,
        replies: &mut Replies,
    ) -> Result<()> {
        let wanted_actions = actions::ADD_HEADERS
            | actions::CHANGE_HEADERS
            | actions::CHANGE_BODY
            | actions::CHANGE_SENDER
            | actions::CHOOSE_MACROS;
        let mut wanted_steps = steps::NO_END_OF_HEADERS
            | steps::NO_UNKNOWN
            | steps::SILENT_CONNECT
            | steps::SILENT_HELO
            | steps::SILENT_HEADER
            | steps::SILENT_DATA
            | steps::SILENT_BODY
            // Signatures may cover it.
            | steps::LEADING_SPACE;
        if self.configuration.sending_limit.is_none() {
            wanted_steps |= steps::NO_RECIPIENT;
        }
        if version < VERSION
            || offered_actions & wanted_actions != wanted_actions
            || offered_steps & wanted_steps != wanted_steps
        {
            bail!(
                "the mail server offers version {version}, actions {offered_actions:#x} and \
                 steps {offered_steps:#x}, which is too little"
            );
        }
        self.negotiated = true;
        let macros_of_connect = iprev::wanted_macros();
        let macros_of_mail = format!("{ACCOUNT_MACRO} {DAEMON_MACRO}");
        let macros = [
            (stages::CONNECT, macros_of_connect.as_str()),
            (stages::MAIL, macros_of_mail.as_str()),
        ];
        replies.negotiate(wanted_actions, wanted_steps, &macros);
        Ok(())
    }

    /// Whether the message is others': our users have nothing to prove.
    fn is_judged(&self) -> bool {
        self.message.origin == Origin::Stranger
    }

    fn check_revoked(&self, replies: &mut Replies) -> Result<()> {
        let Origin::Account(account) = &self.message.origin else {
            replies.go_on();
            return Ok(());
        };
        ensure!(
            !account.contains(['/', '\0']) && !account.starts_with('.'),
            "an account that is no file name"
        );
        let path = self.shared.revoked.join(account);
        let revoked = match std::fs::read_to_string(&path) {
            // Who cannot tell when takes it for now.
            Ok(when) => when.parse().map_or(true, |when: u128| when >= self.started),
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => {
                return Err(error).with_context(|| format!("looking at {}", path.display()));
            }
        };
        if revoked {
            replies.refuse("421 4.7.0 The password of this account was changed, log in again");
        } else {
            replies.go_on();
        }
        Ok(())
    }

    /// Counts recipients of an account, or of its filter, and goes on while there may be more.
    fn check_limit(&self, whose: &str, recipients: u32, replies: &mut Replies) {
        if let Some(refusal) = self.over_limit(whose, recipients) {
            replies.refuse(&refusal);
        } else {
            replies.go_on();
        }
    }

    fn over_limit(&self, whose: &str, recipients: u32) -> Option<String> {
        let limit = self.configuration.sending_limit?;
        let second = self.shared.began.elapsed().as_secs();
        let mut counts = self.shared.limit.borrow_mut();
        let taken = (0..recipients).try_for_each(|_| counts.take(whose, limit, second));
        taken.err().map(|minutes| {
            format!(
                "450 4.7.1 {whose} has reached its limit of {limit} recipients an hour, try \
                 again in {minutes} minutes"
            )
        })
    }

    fn note_header(&mut self, name: &[u8], value: &[u8]) {
        let message = &mut self.message;
        message.claims.note_header(name, value);
        match message.origin {
            Origin::Stranger => message.headers.push(name, value),
            Origin::Account(_) => message.draft.note_header(name, value),
            Origin::Filter => {}
        }
        // What filters send on was judged when it first came in, and what has too many headers is
        // refused whatever they are.
        if message.origin == Origin::Filter || message.headers.too_many() {
            return;
        }
        let (name, seen, delete) = if name.eq_ignore_ascii_case(RESULTS.as_bytes()) {
            let ours = names_host(value, &self.configuration.hostname);
            (RESULTS, &mut message.results_seen, ours)
        } else if name.eq_ignore_ascii_case(RECEIVED_SPF.as_bytes()) {
            (RECEIVED_SPF, &mut message.received_spf_seen, true)
        } else {
            return;
        };
        *seen += 1;
        if delete && message.deleted.len() < MOST_DELETED {
            message.deleted.push((name, *seen));
        } else if delete {
            message.too_many = true;
        }
    }

    fn start_spf(&mut self) {
        let Some(client) = self.client else {
            return;
        };
        if !self.is_judged() || !self.message.spf.is_empty() {
            return;
        }
        let question = Question::new(client, &self.helo, &self.message.sender);
        let (shared, configuration) = (self.shared.clone(), self.configuration.clone());
        self.message.spf.spawn_local(async move {
            let host = &configuration.hostname;
            spf::check(&shared.resolver, host, &question).await
        });
    }

    /// Answers the whole message, with another body where it needs one.
    async fn conclude(&mut self, replies: &mut Replies) -> Result<Option<SpooledTempFile>> {
        if let Some(refusal) = self.refusal() {
            replies.refuse(&refusal);
            return Ok(None);
        }
        let mut results = None;
        if self.is_judged() {
            match self.judge().await? {
                Decision::Take(value) => results = Some(value),
                Decision::Refuse(reply) => {
                    replies.refuse(&reply);
                    return Ok(None);
                }
            }
        }
        let outgoing = {
            let senders = self.shared.senders.borrow_mut().get()?;
            let Message { origin, sender, .. } = &self.message;
            let Configuration {
                hostname, domains, ..
            } = &*self.configuration;
            let is_own =
                |domain: &str| domain == hostname || domains.iter().any(|served| served == domain);
            self.message.claims.judge(origin, sender, &senders, is_own)
        };
        if let Some(refusal) = &outgoing.refusal {
            replies.refuse(refusal);
            return Ok(None);
        }
        if let Some(account) = outgoing
            .account
            .filter(|_| self.message.origin == Origin::Filter)
        {
            // Apart from what the user sends: strangers can make a filter send.
            let whose = format!("the filter of {account}");
            if let Some(refusal) = self.over_limit(&whose, self.message.recipients) {
                replies.refuse(&refusal);
                return Ok(None);
            }
            if !outgoing.unsigned {
                // Nobody is told that an automatic answer could not be delivered, RFC 3834 section 3.3.
                replies.empty_sender();
            }
        }
        for (name, index) in &outgoing.deleted {
            replies.delete_header(*index, name);
        }
        if outgoing.unsigned {
            replies.insert_header(TOP, UNSIGNED, &format!(" {NOBODY}"));
        }
        // From the last to the first, so that no deletion moves what is still to be deleted.
        for (name, index) in self.message.deleted.iter().rev() {
            replies.delete_header(*index, name);
        }
        let body = self.shorten_lines(replies)?;
        if let Some(value) = results {
            replies.insert_header(TOP, RESULTS, &format!(" {value}"));
        }
        replies.go_on();
        Ok(body)
    }

    /// Writes a user's body anew if other servers would break its lines.
    fn shorten_lines(&mut self, replies: &mut Replies) -> Result<Option<SpooledTempFile>> {
        let draft = &mut self.message.draft;
        let Some((body, quoted)) = draft.shorten()? else {
            return Ok(None);
        };
        if quoted {
            for index in (1..=draft.encodings).rev() {
                replies.delete_header(index, ENCODING);
            }
            replies.insert_header(TOP, ENCODING, &format!(" {QUOTED_PRINTABLE}"));
            if !draft.has_version {
                replies.insert_header(TOP, "MIME-Version", " 1.0");
            }
        }
        Ok(Some(body))
    }

    async fn judge(&mut self) -> Result<Decision> {
        self.start_spf();
        let Message {
            spf,
            headers,
            body,
            claims,
            ..
        } = &mut self.message;
        let bodies = std::mem::take(body).finish(headers);
        let rules = Rules {
            hostname: &self.configuration.hostname,
            trusted: &self.configuration.trusted_sealers,
            served: &self.configuration.domains,
            organisations: &self.shared.organisations,
            deadline: Instant::now() + LOOKUPS_LIMIT,
        };
        let incoming = Incoming {
            from: claims.from(),
            headers,
            bodies,
            iprev: self.iprev.clone(),
        };
        let mut failed = None;
        let spf = async {
            match spf.join_next().await.transpose() {
                Ok(spf) => spf,
                Err(error) => {
                    failed = Some(error);
                    None
                }
            }
        };
        let judging = decide(&self.shared.resolver, &rules, incoming, spf);
        let judged = timeout(JUDGING_LIMIT, judging).await;
        if let Some(error) = failed {
            return Err(error).context("checking SPF");
        }
        let late = "451 4.7.1 The name servers of the message's domains are too slow, \
                    try again later";
        Ok(judged.unwrap_or_else(|_| Decision::Refuse(late.to_owned())))
    }

    /// The reply to a message that nobody's may be.
    fn refusal(&self) -> Option<String> {
        let message = &self.message;
        let malformed = message.claims.malformed(&message.origin);
        let too_many = "550 5.7.1 The message claims too many results in the name of this server";
        malformed.or_else(|| message.too_many.then(|| too_many.to_owned()))
    }
}

/// An address of the envelope without its brackets.
fn bare_address(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    let path = path.trim();
    path.strip_prefix('<')
        .and_then(|path| path.strip_suffix('>'))
        .unwrap_or(path)
        .to_owned()
}
