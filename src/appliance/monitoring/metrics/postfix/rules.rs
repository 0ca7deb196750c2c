//! Which lines there are: one rule a form, the first that fits counts.

use super::line::Line;

/// What a line is about.
#[derive(Debug)]
pub enum Says {
    /// What no figure is made of.
    Nothing,
    /// A client is there.
    Connected,
    /// It has gone, with a count of its commands.
    Disconnected,
    /// It has gone without a word; how.
    Lost(&'static str),
    /// What postscreen(8) made of it.
    Screened(&'static str),
    /// A message begins.
    Begun,
    /// It is in the queue, and about to be delivered.
    Queued,
    /// It was not taken after all.
    Cancelled,
    /// An attempt to deliver it.
    Delivery,
    /// A command was refused.
    Reject,
    /// A client is there too often.
    TooMany,
    /// A connection is encrypted; which way it goes.
    Encrypted(&'static str),
    /// A login was refused.
    WrongPassword,
}

/// A form of lines.
pub struct Rule {
    /// Who writes it, `""` for anybody.
    daemon: &'static str,
    /// What it begins with.
    begins: &'static str,
    /// What comes somewhere behind, at a place where Postfix writes.
    has: &'static str,
    pub says: Says,
}

impl Rule {
    pub fn fits(&self, line: &Line<'_>) -> bool {
        let rest = line.text.strip_prefix(self.begins);
        (self.daemon.is_empty() || self.daemon == line.daemon)
            && rest.is_some_and(|rest| rest.contains(self.has))
    }
}

const fn rule(daemon: &'static str, begins: &'static str, says: Says) -> Rule {
    with(daemon, begins, "", says)
}

const fn with(daemon: &'static str, begins: &'static str, has: &'static str, says: Says) -> Rule {
    Rule {
        daemon,
        begins,
        has,
        says,
    }
}

use Says::{
    Begun, Cancelled, Connected, Delivery, Disconnected, Encrypted, Lost, Nothing, Queued, Reject,
    Screened, TooMany, WrongPassword,
};

/// All of them. Daemons that are not in the image have none.
#[rustfmt::skip]
pub const RULES: &[Rule] = &[
    // Clients: smtpd(8).
    rule("smtpd", "connect from ", Connected),
    rule("smtpd", "disconnect from ", Disconnected),
    rule("smtpd", "client=", Begun),
    rule("smtpd", "NOQUEUE: client=", Nothing),
    rule("smtpd", "NOQUEUE: lost connection after ", Lost("lost")),
    rule("smtpd", "lost connection after ", Lost("lost")),
    rule("smtpd", "NOQUEUE: timeout after ", Lost("timeout")),
    rule("smtpd", "timeout after ", Lost("timeout")),
    rule("smtpd", "NOQUEUE: too many errors after ", Lost("errors")),
    rule("smtpd", "too many errors after ", Lost("errors")),
    rule("smtpd", "SSL_accept error from ", Nothing),
    rule("smtpd", "SSL_accept:", Nothing),
    rule("smtpd", "setting up TLS connection from ", Nothing),
    with("smtpd", "", "TLS connection established from ", Encrypted("in")),
    with("smtpd", "", "TLS connection reused from ", Encrypted("in")),
    with("smtpd", "", "]: SASL ", WrongPassword),
    with("smtpd", "hostname ", " does not resolve to address ", Nothing),
    rule("smtpd", "improper command pipelining after ", Nothing),
    with("smtpd", "Connection rate limit exceeded: ", " from ", TooMany),
    with("smtpd", "Connection concurrency limit exceeded: ", " from ", TooMany),
    with("smtpd", "Message delivery request rate limit exceeded: ", " from ", TooMany),
    with("smtpd", "Recipient address rate limit exceeded: ", " from ", TooMany),
    with("smtpd", "AUTH command rate limit exceeded: ", " from ", TooMany),
    with("smtpd", "Refusing STARTTLS request from ", "", TooMany),
    with("smtpd", "New TLS session rate limit exceeded: ", " from ", TooMany),
    rule("smtpd", "NOQUEUE: discard: ", Nothing),
    rule("smtpd", "NOQUEUE: filter: ", Nothing),
    rule("smtpd", "NOQUEUE: warn: ", Nothing),
    rule("", "NOQUEUE: reject: ", Reject),
    rule("", "NOQUEUE: reject_warning: ", Nothing),
    rule("", "NOQUEUE: milter-reject: ", Reject),
    rule("", "NOQUEUE: milter-hold: ", Nothing),
    rule("", "NOQUEUE: milter-discard: ", Nothing),
    rule("", "reject: ", Reject),
    rule("", "milter-reject: ", Reject),
    rule("", "milter-hold: ", Nothing),
    rule("", "milter-discard: ", Nothing),

    // Robots: postscreen(8).
    rule("postscreen", "CONNECT from ", Nothing),
    rule("postscreen", "PASS ", Screened("pass")),
    rule("postscreen", "ALLOWLISTED ", Screened("pass")),
    rule("postscreen", "WHITELISTED ", Screened("pass")),
    rule("postscreen", "DENYLISTED ", Screened("denied")),
    rule("postscreen", "BLACKLISTED ", Screened("denied")),
    rule("postscreen", "PREGREET ", Screened("pregreet")),
    rule("postscreen", "HANGUP after ", Screened("hangup")),
    rule("postscreen", "COMMAND PIPELINING from ", Screened("other")),
    rule("postscreen", "COMMAND TIME LIMIT from ", Screened("other")),
    rule("postscreen", "COMMAND COUNT LIMIT from ", Screened("other")),
    rule("postscreen", "COMMAND LENGTH LIMIT from ", Screened("other")),
    rule("postscreen", "NON-SMTP COMMAND from ", Screened("other")),
    rule("postscreen", "BARE NEWLINE from ", Screened("other")),
    rule("postscreen", "DNSBL rank ", Screened("denied")),
    rule("postscreen", "DISCONNECT ", Nothing),
    rule("postscreen", "cache ", Nothing),
    rule("postscreen", "using ", Nothing),

    // The queue: cleanup(8), qmgr(8), pickup(8), bounce(8), postsuper(1).
    rule("cleanup", "message-id=", Nothing),
    rule("cleanup", "resent-message-id=", Nothing),
    rule("cleanup", "removed (canceled)", Cancelled),
    rule("cleanup", "info: ", Nothing),
    rule("cleanup", "replace: ", Nothing),
    with("qmgr", "from=<", "(queue active)", Queued),
    with("qmgr", "from=<", "status=expired", Delivery),
    with("qmgr", "from=<", "status=force-expired", Delivery),
    with("qmgr", "from=<", ", size=", Nothing),
    rule("qmgr", "removed", Nothing),
    with("qmgr", "to=<", "status=", Delivery),
    rule("pickup", "uid=", Nothing),
    with("bounce", "sender ", " notification: ", Nothing),
    with("bounce", "postmaster ", " notification: ", Nothing),
    rule("postsuper", "", Nothing),

    // Deliveries: smtp(8), lmtp(8), error(8), local(8), virtual(8), pipe(8), discard(8).
    with("smtp", "to=<", "status=", Delivery),
    with("lmtp", "to=<", "status=", Delivery),
    with("error", "to=<", "status=", Delivery),
    with("local", "to=<", "status=", Delivery),
    with("virtual", "to=<", "status=", Delivery),
    with("pipe", "to=<", "status=", Delivery),
    with("discard", "to=<", "status=", Delivery),
    with("smtp", "", "TLS connection established to ", Encrypted("out")),
    with("smtp", "", "TLS connection reused to ", Encrypted("out")),
    rule("smtp", "setting up TLS connection to ", Nothing),
    rule("smtp", "SSL_connect error to ", Nothing),
    rule("smtp", "server certificate verification failed for ", Nothing),
    rule("smtp", "certificate verification failed for ", Nothing),
    rule("smtp", "Cannot start TLS: ", Nothing),
    rule("smtp", "connect to ", Nothing),
    rule("lmtp", "connect to ", Nothing),
    rule("smtp", "host ", Nothing),
    rule("lmtp", "host ", Nothing),
    rule("smtp", "lost connection with ", Nothing),
    rule("lmtp", "lost connection with ", Nothing),
    rule("smtp", "conversation with ", Nothing),
    rule("lmtp", "conversation with ", Nothing),
    rule("smtp", "breaking line > ", Nothing),
    rule("lmtp", "breaking line > ", Nothing),
    rule("smtp", "enabling PIX workarounds: ", Nothing),
    with("smtp", "", ": replacing server reply ", Nothing),
    with("lmtp", "", ": replacing server reply ", Nothing),
    rule("smtp", "TLSRPT: ", Nothing),
    rule("smtp", "Host offered STARTTLS: [", Nothing),

    // The rest: master(8), anvil(8), scache(8), tlsmgr(8), verify(8), tlsproxy(8).
    rule("master", "daemon started", Nothing),
    rule("master", "reload", Nothing),
    rule("master", "terminating on signal ", Nothing),
    rule("master", "using backwards-compatible ", Nothing),
    rule("anvil", "statistics: ", Nothing),
    rule("scache", "statistics: ", Nothing),
    rule("verify", "cache ", Nothing),
    rule("tlsmgr", "", Nothing),
    with("tlsproxy", "", "TLS connection established ", Nothing),
    rule("tlsproxy", "CONNECT ", Nothing),
    rule("tlsproxy", "DISCONNECT ", Nothing),
    rule("tlsproxy", "SSL_accept error from ", Nothing),
];
