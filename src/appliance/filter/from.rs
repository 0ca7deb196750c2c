//! Whether a From header names nobody but its sender.
//!
//! RFC 5322 (<https://www.rfc-editor.org/rfc/rfc5322>) section 3.4 and groups
//! (RFC 6854), read strictly: where two readers could see different authors the
//! header is refused, with what to change. Beside the authors themselves,
//! whatever a hasty reader could take for one has to be the sender's own:
//! addresses in names without quotes, in comments, in angle brackets even inside
//! of quotes, and those that show once encoded words are decoded
//! (<https://www.usenix.org/conference/usenixsecurity20/presentation/chen-jianjun>).

use super::encoded::{decode_words, has_mark};
use super::token::{Gap, Kind, MOST_AUTHORS, Token, Unreadable, addresses_in, is_atom, tokenize};
use std::collections::BTreeSet;

/// Why a message is refused for its header.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody can say whom it names.
    Unreadable(Unreadable),
    /// It names somebody else.
    Foreign {
        /// Whom.
        address: String,
        /// Whether it may be the piece of a name that a comma cut off.
        may_be_name: bool,
    },
}

impl Refusal {
    /// The reply.
    pub fn reply(&self, account: &str) -> String {
        match self {
            Self::Unreadable(reason) => {
                format!("550 5.7.1 The From header cannot be read: {reason}")
            }
            Self::Foreign {
                address,
                may_be_name,
            } => {
                let advice = if *may_be_name {
                    "; if that is part of a name, put the name in quotes"
                } else {
                    ""
                };
                format!("550 5.7.1 {account} may not send as {address} (From header){advice}")
            }
        }
    }
}

/// Where an address stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// As an author.
    Author,
    /// In a name without quotes.
    Name,
    /// Where a strict reader sees none.
    Hidden,
}

/// An address that must be the sender's own, in lower case.
#[derive(Debug)]
struct Claim {
    address: String,
    origin: Origin,
}

/// Fails unless all that the header names belongs to the sender.
///
/// `owns` is asked for addresses in lower case.
pub fn judge_from(value: &[u8], owns: impl Fn(&str) -> bool) -> Result<(), Refusal> {
    let claims = read(value).map_err(Refusal::Unreadable)?;
    let authors = || claims.iter().filter(|claim| claim.origin == Origin::Author);
    let others = claims.iter().filter(|claim| claim.origin != Origin::Author);
    let Some(foreign) = authors().chain(others).find(|claim| !owns(&claim.address)) else {
        return Ok(());
    };
    Err(match foreign.origin {
        Origin::Name => Refusal::Unreadable(Unreadable::Name),
        Origin::Author | Origin::Hidden => Refusal::Foreign {
            address: foreign.address.clone(),
            // Postfix completes bare words before we see them.
            may_be_name: foreign.origin == Origin::Author && authors().count() > 1,
        },
    })
}

/// Everything that the header claims.
fn read(value: &[u8]) -> Result<Vec<Claim>, Unreadable> {
    let (tokens, asides) = tokenize(value)?;
    if !tokens.iter().any(|token| token.is(b'@')) {
        return Err(Unreadable::Empty);
    }
    let mut claims = Vec::new();
    let mut rest = &tokens[..];
    let mut in_group = false;
    while !rest.is_empty() {
        let end = rest
            .iter()
            .position(|token| token.is(b',') || token.is(b';'));
        let (mut element, after) = rest.split_at(end.unwrap_or(rest.len()));
        let opens = |token: &Token| token.is(b':') || token.is(b'<');
        if let Some(colon) = element.iter().position(opens)
            && element[colon].is(b':')
        {
            if in_group || colon == 0 {
                return Err(Unreadable::Name);
            }
            read_name(&element[..colon], &mut claims)?;
            element = &element[colon + 1..];
            in_group = true;
        }
        if !element.is_empty() {
            read_mailbox(element, &mut claims)?;
        }
        // Some clients separate addresses by semicolons, which end a group elsewhere.
        in_group &= !after.first().is_some_and(|token| token.is(b';'));
        rest = after.get(1..).unwrap_or_default();
    }
    if in_group {
        return Err(Unreadable::Name);
    }
    match claims
        .iter()
        .filter(|claim| claim.origin == Origin::Author)
        .count()
    {
        0 => return Err(Unreadable::Empty),
        1..=MOST_AUTHORS => {}
        _ => return Err(Unreadable::Many),
    }
    let hidden = asides.iter().flat_map(|text| addresses_in(text));
    let hidden = hidden.chain(decoded_addresses(value)?);
    claims.extend(hidden.map(|address| Claim {
        address,
        origin: Origin::Hidden,
    }));
    Ok(claims)
}

fn read_mailbox(tokens: &[Token], claims: &mut Vec<Claim>) -> Result<(), Unreadable> {
    let address = match tokens.iter().rposition(|token| token.is(b'<')) {
        None if !tokens.iter().any(|token| token.is(b'@')) => return Err(Unreadable::Name),
        None => parse_address(tokens).map_err(|wrong| {
            let has_words = tokens.len() > 3;
            if has_words {
                Unreadable::Brackets
            } else {
                wrong
            }
        })?,
        Some(open) => {
            let (name, angle) = tokens.split_at(open);
            if name.iter().any(|token| token.is(b'<') || token.is(b'>')) {
                return Err(Unreadable::Name);
            }
            read_name(name, claims)?;
            match angle {
                [_, close] if close.is(b'>') => return Err(Unreadable::Empty),
                [_, address @ .., close] if close.is(b'>') => parse_address(address)?,
                // A route with a comma.
                [_, first, ..] if first.is(b'@') => return Err(Unreadable::Address),
                _ => return Err(Unreadable::Brackets),
            }
        }
    };
    claims.push(Claim {
        address,
        origin: Origin::Author,
    });
    Ok(())
}

/// A name may hold addresses without quotes, if nobody could read them otherwise.
fn read_name(tokens: &[Token], claims: &mut Vec<Claim>) -> Result<(), Unreadable> {
    for (at, _) in tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| token.is(b'@'))
    {
        let start = at.checked_sub(1).ok_or(Unreadable::Name)?;
        let Some([local, at, domain]) = tokens.get(start..start + 3) else {
            return Err(Unreadable::Name);
        };
        let is_apart = |token: Option<&Token>| token.is_none_or(|token| token.gap != Gap::None);
        let is_address = local.kind == Kind::Word
            && domain.kind == Kind::Word
            && (at.gap, domain.gap) == (Gap::None, Gap::None)
            && (start == 0 || is_apart(Some(local)))
            && is_apart(tokens.get(start + 3));
        let text = [&local.text[..], b"@", &domain.text].concat();
        // Some reader may complete what has no full domain.
        let address = addresses_in(&text).next().filter(|_| is_address);
        claims.push(Claim {
            address: address.ok_or(Unreadable::Name)?,
            origin: Origin::Name,
        });
    }
    Ok(())
}

fn parse_address(tokens: &[Token]) -> Result<String, Unreadable> {
    let [local, at, domain] = tokens else {
        return Err(Unreadable::Address);
    };
    let is_local = match local.kind {
        Kind::Word => true,
        // As it would be without its quotes: in others hasty readers see another address.
        Kind::Quoted => local
            .text
            .iter()
            .all(|byte| is_atom(*byte) || *byte == b' '),
        _ => false,
    };
    let is_whole = at.is(b'@')
        && matches!(domain.kind, Kind::Word | Kind::Literal)
        && at.gap != Gap::Comment
        && domain.gap != Gap::Comment;
    let is_encoded = has_mark(&local.text) || has_mark(&domain.text);
    if !is_local || !is_whole || is_encoded || local.text.is_empty() {
        return Err(Unreadable::Address);
    }
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Unreadable::Address);
    let domain = text(&domain.text)?;
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    // ASCII alone: 'K' of Kelvin is no 'k'.
    Ok(format!("{}@{domain}", text(&local.text)?).to_ascii_lowercase())
}

/// Addresses that only show once encoded words are decoded.
fn decoded_addresses(value: &[u8]) -> Result<Vec<String>, Unreadable> {
    let Some(decoded) = decode_words(value)? else {
        return Ok(Vec::new());
    };
    let plain: BTreeSet<String> = addresses_in(value).collect();
    Ok(addresses_in(&decoded)
        .filter(|address| !plain.contains(address))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::{Refusal, judge_from};
    use crate::appliance::filter::senders::Senders;

    const ACCOUNT: &str = "jens@example.org";

    /// What is said of a header of Jens's; nothing when it is taken.
    fn said(value: &[u8]) -> String {
        let senders = Senders::parse(
            "jens@example.org jens@example.org\ninfo@example.org jens@example.org\n\
             o'neil@example.org jens@example.org\nceo@example.org ceo@example.org\n\
             jens@work.example jens@example.org\n@all.example jens@example.org\n",
        )
        .unwrap();
        judge_from(value, |address| senders.owns(ACCOUNT, address))
            .err()
            .map_or(String::new(), |refusal: Refusal| {
                let reply = refusal.reply(ACCOUNT);
                reply.strip_prefix("550 5.7.1 ").unwrap().to_owned()
            })
    }

    #[test]
    fn own_headers_are_taken() {
        for value in [
            "jens@example.org",
            " Jens <JENS@Example.ORG>",
            "Jens <jens+shop@example.org>",
            "Jens <jens@example.org.>",
            "<jens@example.org>, info@example.org",
            "Jens <jens@example.org>,",
            "<jens@example.org>,, info@example.org",
            "jens@example.org; info@example.org",
            "Jens <jens@example.org>;",
            // Names that are addresses.
            "jens@example.org <jens@example.org>",
            "Info@Example.org <jens@example.org>",
            "'jens@example.org' <jens@example.org>",
            "\"jens@example.org\" <jens@example.org>",
            "\"Jens <jens@example.org>\" <jens@example.org>",
            "Jens jens+x@example.org <jens@example.org>",
            "jens@example.org info@example.org <o'neil@example.org>",
            "jens@example.org (jens@example.org)",
            "\"kim@else.example\" <jens@example.org>",
            "\"Kim (kim@else.example) by list\" <jens@example.org>",
            // Characters that mean something, in quotes or where they mean nothing.
            "\"Meier, Jens\" <jens@example.org>",
            "\"Meier; Jens: (the \\\"Boss\\\")\" <jens@example.org>",
            "\"a\\\\\" <jens@example.org>",
            "\"Jens <Boss>\" <jens@example.org>",
            "\"Meier,\r\n Jens\"\r\n\t<jens@example.org>",
            "Dr. J. \"Boss\" O'Neil-Meier & Sons [Team] <jens@example.org>",
            "\"Jens @ work\" <jens@example.org>",
            "Jens<jens@example.org>",
            "Jens < jens@example.org >",
            // Comments.
            "jens@example.org (Jens)",
            "Jens (at (home)) <jens@example.org> (\\) me)",
            "(a, b) jens@example.org(c)",
            // Encoded words.
            "=?utf-8?q?J=C3=B6rg?= M. <jens@example.org>",
            "=?UTF-8?B?TWVpZXIsIErDtnJn?= <jens@example.org>",
            "=?iso-8859-1?q?Meier=2C_J=F6rg?=\r\n =?utf-8?q?_=3CBoss=3E?= <jens@example.org>",
            "=?utf-8?q?jens=40example.org?= <jens@example.org>",
            "=?utf-8?q?J=C3=B6rg_=40_work?= <jens@example.org>",
            "=?iso-2022-jp?b?GyRCQEAbKEI=?= <jens@example.org>",
            // Raw bytes.
            "Jörg <jens@example.org>",
            // Quotes that change nothing.
            "\"jens\"@example.org",
            "\"je\\ns\"@example.org",
            "\"a b\"@all.example",
            // A group of one's own.
            "Team: Jens <jens@example.org>, info@example.org;",
        ] {
            assert_eq!(said(value.as_bytes()), "", "{value}");
        }
        assert_eq!(said(b"J\xf6rg <jens@example.org>"), "");
    }

    #[test]
    fn what_names_others_is_refused_by_name() {
        for (value, other) in [
            ("ceo@example.org", "ceo@example.org"),
            ("Jens <Kim@Else.example>", "kim@else.example"),
            (
                "\"jens@example.org\" <kim@else.example>",
                "kim@else.example",
            ),
            ("jens@example.org <kim@else.example>", "kim@else.example"),
            (
                "=?utf-8?q?jens=40example.org?= <kim@else.example>",
                "kim@else.example",
            ),
            (
                "jens@example.org.else.example",
                "jens@example.org.else.example",
            ),
            ("jens@[192.0.2.1]", "jens@[192.0.2.1]"),
            ("\"ceo\"@example.org", "ceo@example.org"),
            ("Team: ceo@example.org;", "ceo@example.org"),
            ("jens@wor\u{212a}.example", "jens@wor\u{212a}.example"),
            ("ceo@example.org (jens@example.org)", "ceo@example.org"),
            // What a hasty reader could take for the author.
            ("jens@example.org (ceo@example.org)", "ceo@example.org"),
            (
                "Jens [ceo@example.org] <jens@example.org>",
                "ceo@example.org",
            ),
            (
                "\"<ceo@example.org>\" <jens@example.org>",
                "ceo@example.org",
            ),
            (
                "\"Kim <kim@else.example>\" <jens@example.org>",
                "kim@else.example",
            ),
            (
                "=?utf-8?q?ceo=40example.org?= <jens@example.org>",
                "ceo@example.org",
            ),
            (
                "=?utf-8?b?PGNlb0BleGFtcGxlLm9yZz4=?= <jens@example.org>",
                "ceo@example.org",
            ),
            (
                "\"=?utf-8?q?ceo=40example.org?=\" <jens@example.org>",
                "ceo@example.org",
            ),
            (
                "(=?utf-8?q?ceo=40example.org?=) jens@example.org",
                "ceo@example.org",
            ),
            (
                "=?utf-8?q?ceo=40exa?=\r\n =?utf-8?q?mple.org?= <jens@example.org>",
                "ceo@example.org",
            ),
            (
                "=?utf-8?q?Jens ceo=40example.org?= <jens@example.org>",
                "ceo@example.org",
            ),
            (
                "ceo=?utf-8?q?=40?=example.org <jens@example.org>",
                "ceo@example.org",
            ),
            (
                "=?utf-8?q?=22ceo=22=40example.org?= <jens@example.org>",
                "\"@example.org",
            ),
        ] {
            let expected = format!("{ACCOUNT} may not send as {other} (From header)");
            assert_eq!(said(value.as_bytes()), expected, "{value}");
        }
        // Postfix has completed the bare word.
        for (value, other) in [
            (
                "Meier@example.org, Jens <jens@example.org>",
                "meier@example.org",
            ),
            ("jens@example.org, ceo@example.org", "ceo@example.org"),
            ("jens@example.org; ceo@example.org", "ceo@example.org"),
        ] {
            let expected = format!(
                "{ACCOUNT} may not send as {other} (From header); if that is part of a name, \
                 put the name in quotes"
            );
            assert_eq!(said(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn what_reads_in_two_ways_is_refused_with_advice() {
        const NAME: &str = "put the name in quotes";
        const EMPTY: &str = "it holds no address";
        const BRACKETS: &str = "put the address in angle brackets, behind the name";
        const ADDRESS: &str = "write the address itself, without a route, comments or encoding";
        const OPEN: &str = "a quotation mark or a bracket is not closed";
        const CONTROL: &str = "it holds a control character";
        const CHARSET: &str = "encode the name in UTF-8";
        for (value, reason) in [
            ("", EMPTY),
            (" ,", EMPTY),
            ("Jens", EMPTY),
            ("Jens <>", EMPTY),
            ("\"jens@example.org\"", EMPTY),
            ("undisclosed:;", EMPTY),
            ("Meier, Jens <jens@example.org>", NAME),
            ("Meier; Jens <jens@example.org>", NAME),
            ("Re: Jens <jens@example.org>", NAME),
            ("Jens <Boss> <jens@example.org>", NAME),
            ("<jens@example.org> <info@example.org>", NAME),
            ("Jens \\\"Boss\\\" <jens@example.org>", NAME),
            ("kim@else.example <jens@example.org>", NAME),
            ("jens@work <jens@example.org>", NAME),
            ("Jens @ work <jens@example.org>", NAME),
            ("@jens <jens@example.org>", NAME),
            ("ceo @ example.org <jens@example.org>", NAME),
            ("\"ceo.\"jens@example.org <jens@example.org>", NAME),
            ("jens@example.org\".else.example\" <jens@example.org>", NAME),
            ("a@b@example.org <jens@example.org>", NAME),
            ("kim@else.example: jens@example.org;", NAME),
            ("Team: jens@example.org", NAME),
            ("=?utf-8?q?Meier,_Jens?= <jens@example.org>", NAME),
            ("Jens jens@example.org", BRACKETS),
            ("jens@example.org Jens", BRACKETS),
            ("<jens@example.org> Jens", BRACKETS),
            ("<jens@example.org", BRACKETS),
            ("jens@example.org>", BRACKETS),
            ("<<jens@example.org>>", NAME),
            ("<@relay.example:jens@example.org>", ADDRESS),
            ("<@relay.example,@b.example:jens@example.org>", ADDRESS),
            ("<mailto:jens@example.org>", ADDRESS),
            ("jens@", ADDRESS),
            ("@example.org", ADDRESS),
            ("<jens@example.org info@example.org>", ADDRESS),
            ("jens(x)@example.org", ADDRESS),
            ("jens@(x)example.org", ADDRESS),
            ("\"ceo@example.org\"@all.example", ADDRESS),
            ("\"=?utf-8?q?ceo?=\"@all.example", ADDRESS),
            ("=?utf-8?b?Y2VvQGJhbmsuZXhhbXBsZQ==?=@all.example", ADDRESS),
            ("jens@\"example.org\"", ADDRESS),
            ("\"Meier, Jens <jens@example.org>", OPEN),
            ("jens@example.org (home", OPEN),
            ("jens@example.org home)", OPEN),
            ("Jens ] <jens@example.org>", OPEN),
            ("je\0ns@example.org", CONTROL),
            ("\"\u{1b}[2J\" <jens@example.org>", CONTROL),
            ("=?utf-8?q?ceo=00?= <jens@example.org>", CONTROL),
            ("=?utf-8?q?a=0AFrom=3A_b?= <jens@example.org>", CONTROL),
            (
                "=?utf-7?q?ceo+AEA-example.org?= <jens@example.org>",
                CHARSET,
            ),
        ] {
            let expected = format!("The From header cannot be read: {reason}");
            assert_eq!(said(value.as_bytes()), expected, "{value}");
        }
        let many = ["jens@example.org"; 51].join(",");
        assert!(said(many.as_bytes()).ends_with("more than 50 addresses"));
    }
}
