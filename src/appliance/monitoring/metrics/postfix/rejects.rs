//! Why something was refused, in one of a few words.

/// Phrases of Postfix's and of our filter's, and what they mean; the first that is there counts.
/// They are looked for in the reply, which begins with its code.
const PHRASES: &[(&str, &str)] = &[
    ("has reached its limit of", "rate"),
    ("too many connections", "rate"),
    ("rate limit exceeded", "rate"),
    ("too many recipients", "rate"),
    ("too much mail", "rate"),
    ("Message size exceeds", "size"),
    ("longer than anybody", "size"),
    ("Relay access denied", "relay"),
    ("not owned by user", "login_mismatch"),
    ("not logged in", "login_mismatch"),
    ("SMTP command pipelining", "pipelining"),
    ("Protocol error", "pipelining"),
    ("Must issue a STARTTLS", "encryption"),
    ("TLS not available", "encryption"),
    ("Encryption required", "encryption"),
    ("Helo command rejected", "helo"),
    ("Client host rejected", "client"),
];

/// Sorts a line `reject: RCPT from HOST[ADDRESS]: 550 5.1.1 <…>: …; from=<…> …`.
pub fn reason(text: &str) -> &'static str {
    // The address ends what the client's name may be made of; postscreen adds a port.
    let behind = text
        .split_once(']')
        .and_then(|(_, rest)| rest.split_once(": "));
    let reply = behind.map_or(text, |(_, reply)| reply);
    let ends = ["; from=<", "; proto="];
    let end = ends.iter().filter_map(|end| reply.find(end)).min();
    let said = reply.get(..end.unwrap_or(reply.len())).unwrap_or(reply);
    // The address that it is about stands before the words, and may be anything.
    let words = said
        .rfind(">: ")
        .and_then(|at| said.get(at..))
        .unwrap_or(said);
    let phrase = PHRASES.iter().find(|(phrase, _)| words.contains(phrase));
    if let Some((_, reason)) = phrase {
        return reason;
    }
    let status = said
        .split(' ')
        .find(|word| word.contains('.'))
        .unwrap_or_default();
    let at_end = text.starts_with("milter-reject: END-OF-MESSAGE ");
    match status {
        "5.2.2" | "4.2.2" => "quota",
        "5.1.1" | "5.1.6" => "unknown_recipient",
        _ if said.starts_with('4') => "temporary",
        "5.1.3" | "5.1.7" | "5.5.1" | "5.5.2" | "5.5.4" => "syntax",
        _ if words.contains("Sender address rejected") => "sender",
        _ if words.contains("Recipient address rejected") => "policy",
        _ if at_end => "content",
        _ if said.starts_with("50") => "syntax",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::reason;

    #[test]
    fn reasons_of_real_replies() {
        for (line, expected) in [
            (
                "RCPT from unknown[198.18.0.101]: 554 5.7.1 <carol@outside.example>: Relay access denied; from=<relay@friends.example> to=<carol@outside.example> proto=ESMTP helo=<client.outside.example>",
                "relay",
            ),
            (
                "RCPT from unknown[198.18.0.101]: 550 5.1.1 <nobody@wombat.example>: Recipient address rejected: User unknown in virtual mailbox table; from=<x@friends.example> to=<nobody@wombat.example> proto=ESMTP helo=<h>",
                "unknown_recipient",
            ),
            (
                "RCPT from [198.18.0.110]:40833: 550 5.5.1 Protocol error; from=<hasty@friends.example>, to=<hugo@wombat.example>, proto=ESMTP, helo=<hasty.example>",
                "pipelining",
            ),
            (
                "MAIL from unknown[198.18.0.101]: 552 5.3.4 Message size exceeds fixed limit; from=<big@friends.example> proto=ESMTP helo=<h>",
                "size",
            ),
            (
                "RCPT from unknown[10.20.0.14]: 450 4.7.1 emil@wombat.example has reached its limit of 20 recipients an hour, try again in 60 minutes; from=<emil@wombat.example> to=<b@c> proto=ESMTP helo=<h>",
                "rate",
            ),
            (
                "CONNECT from unknown[10.20.0.14]: 451 4.7.1 Service unavailable - try again later; proto=SMTP",
                "temporary",
            ),
            (
                "RCPT from unknown[10.20.0.13]: 553 5.7.1 <bert@wombat.example>: Sender address rejected: not owned by user anna@wombat.example; from=<bert@wombat.example> to=<b@c> proto=ESMTP helo=<h>",
                "login_mismatch",
            ),
            (
                "RCPT from unknown[10.20.0.13]: 554 5.7.1 <unknown[10.20.0.13]>: Client host rejected: Access denied; from=<a@b> to=<b@c> proto=ESMTP helo=<h>",
                "client",
            ),
            (
                "RCPT from unknown[10.20.0.13]: 552 5.2.2 <a@b.example>: Recipient address rejected: Quota exceeded (mailbox for user is full); from=<a@b> to=<b@c> proto=ESMTP helo=<h>",
                "quota",
            ),
            // What strangers write says nothing.
            (
                "RCPT from Relay.access.denied[198.18.0.1]: 504 5.5.2 <Relay access denied>: Helo command rejected: need fully-qualified hostname; from=<> to=<b@c> proto=SMTP helo=<Relay access denied>",
                "helo",
            ),
            ("", "other"),
            ("]:", "other"),
        ] {
            assert_eq!(
                reason(&format!("NOQUEUE: reject: {line}")),
                expected,
                "{line}"
            );
        }
        let line = "milter-reject: END-OF-MESSAGE from unknown[198.18.0.101]: 5.7.1 wombat.example wants mail in its name refused; from=<a@b> to=<c@d> proto=ESMTP helo=<h>";
        assert_eq!(reason(line), "content");
    }
}
