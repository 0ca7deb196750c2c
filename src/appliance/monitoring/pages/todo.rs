//! What is left to do after installing, in order.

use crate::appliance::monitoring::facts::{DnsFacts, Status};
use serde::Serialize;

/// One thing to do.
#[derive(Debug, Serialize)]
pub struct Step {
    /// `done`, `open` or `unknown`.
    state: &'static str,
    title: &'static str,
    /// How it stands, or what to do.
    text: String,
    /// The page that says more, below the pages' own path.
    link: &'static str,
}

fn step(
    title: &'static str,
    is_done: Option<bool>,
    text: impl Into<String>,
    link: &'static str,
) -> Step {
    let state = match is_done {
        Some(true) => "done",
        Some(false) => "open",
        None => "unknown",
    };
    Step {
        state,
        title,
        text: text.into(),
        link,
    }
}

const DNS_PAGE: &str = "/d/dnsy/dns-sanity";

/// All of them; `has_sent` says whether mail ever left for somebody else.
pub fn steps(status: &Status, dns: Option<&DnsFacts>, has_sent: Option<bool>) -> Vec<Step> {
    vec![
        records(dns),
        reverse_name(dns),
        certificate(status),
        recommended(dns),
        first_password(status),
        people(status),
        test_mail(has_sent),
        updates(status),
        backup(),
    ]
}

fn records(dns: Option<&DnsFacts>) -> Step {
    let title = "Publish the records that mail needs";
    let Some(dns) = dns else {
        return step(title, None, "DNS is being asked.", DNS_PAGE);
    };
    if !dns.has_address() {
        let text = "The public address of this machine is not known: set PUBLIC_IPV4 or PUBLIC_IPV6 in the settings.";
        return step(title, Some(false), text, DNS_PAGE);
    }
    match dns.count_bad(|check, need| need == "required" && check != "ptr") {
        0 => step(
            title,
            Some(true),
            "All required records are right.",
            DNS_PAGE,
        ),
        bad => step(
            title,
            Some(false),
            format!("{bad} to mend; the DNS page has each one to copy."),
            DNS_PAGE,
        ),
    }
}

fn reverse_name(dns: Option<&DnsFacts>) -> Step {
    let title = "Set the reverse name of the address";
    match dns.map(|dns| (dns.has_address(), dns.count_bad(|check, _| check == "ptr"))) {
        Some((true, 0)) => step(
            title,
            Some(true),
            "The address leads back to this machine.",
            DNS_PAGE,
        ),
        Some((true, _)) => step(
            title,
            Some(false),
            "It is set where the server was rented, and many refuse mail without it.",
            DNS_PAGE,
        ),
        _ => step(title, None, "Not known yet.", DNS_PAGE),
    }
}

fn certificate(status: &Status) -> Step {
    let title = "Get a certificate";
    match &status.certificate {
        Some(state) if !state.self_signed => {
            let text = format!("{} days left; it is renewed by itself.", state.days_left);
            step(title, Some(true), text, "/d/mchn/machine")
        }
        Some(state) => {
            let text = state.problem.clone().unwrap_or_else(|| {
                "It comes by itself once the address record is there.".to_owned()
            });
            step(title, Some(false), text, DNS_PAGE)
        }
        None => step(title, None, "Not known.", ""),
    }
}

fn recommended(dns: Option<&DnsFacts>) -> Step {
    let title = "Publish the records that help";
    match dns.map(|dns| dns.count_bad(|_, need| need == "recommended")) {
        Some(0) => step(title, Some(true), "All of them are right.", DNS_PAGE),
        Some(bad) => step(
            title,
            Some(false),
            format!("{bad} are missing or not as they should be."),
            DNS_PAGE,
        ),
        None => step(title, None, "DNS is being asked.", DNS_PAGE),
    }
}

fn first_password(status: &Status) -> Step {
    let title = "Change the first password";
    match status.first_password_stands {
        true => step(
            title,
            Some(false),
            "The generated one still stands: mailctl user password changes it.",
            "",
        ),
        false => step(title, Some(true), "It was chosen or changed.", ""),
    }
}

fn people(status: &Status) -> Step {
    let text = match status.accounts {
        0 => "There is no account: mailctl user add makes one.".to_owned(),
        1 => "There is one account: mailctl user add makes more.".to_owned(),
        count => format!("There are {count} accounts and {} aliases.", status.aliases),
    };
    step("Add people", Some(status.accounts > 1), text, "/users")
}

fn test_mail(has_sent: Option<bool>) -> Step {
    let title = "Send a message to somebody else";
    let text = match has_sent {
        Some(true) => "Mail left for others and was taken.",
        Some(false) => {
            "No mail has left yet: write to an address of yours elsewhere, and answer from there."
        }
        None => "Not known, as the store of figures does not answer.",
    };
    step(title, has_sent, text, "/d/psfx/postfix")
}

fn updates(status: &Status) -> Step {
    let title = "Have updates come by themselves";
    match &status.updates {
        Some(said) => step(title, Some(true), said.clone(), ""),
        None => step(
            title,
            Some(false),
            "UPDATE_SOURCE and UPDATE_SCHEDULE in the settings name from where and when.",
            "",
        ),
    }
}

fn backup() -> Step {
    let text = "Nothing here can tell whether there is one: /var/vmail and /var/lib/mailimg are what it needs.";
    step("Keep a copy elsewhere", None, text, "")
}

impl Step {
    /// Whether it waits for somebody.
    pub fn is_open(&self) -> bool {
        self.state == "open"
    }
}
