//! Follows an SPF record through everything that it leads to, and counts.

use super::super::super::data::Data;
use super::super::super::facts::Facts;
use super::super::super::policy::spf::bad_terms;
use super::super::super::policy::spf_term::{
    Mechanism, Term, has_macro, is_within, parse_term, terms,
};
use super::super::super::policy::text::Kind;
use super::super::super::zone::Resolver;
use super::lookups::{Lookup, Trouble, Walk};
use hickory_proto::rr::RecordType;
use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

/// Mail servers whose addresses one `mx` may ask for.
const SERVERS_MAX: usize = 10;
/// Where counting ends, whatever a stranger's records lead to.
const COUNTED_MAX: usize = 40;

type Answers = HashMap<(String, RecordType), Vec<Data>>;
type Sign = Result<Option<char>, Trouble>;

/// Follows records, and keeps the answers.
pub struct Follower {
    resolver: Resolver,
    answers: Answers,
}

impl Follower {
    /// One that takes HOSTNAME and the mail servers of a domain as they should be.
    pub fn new(resolver: Resolver, facts: &Facts, name: &str) -> Self {
        let host = &facts.hostname;
        let four = facts.addresses.ipv4.map(Data::A);
        let six = facts.addresses.ipv6.map(Data::Aaaa);
        let answers = HashMap::from([
            ((host.clone(), RecordType::A), Vec::from_iter(four)),
            ((host.clone(), RecordType::AAAA), Vec::from_iter(six)),
            (
                (name.to_owned(), RecordType::MX),
                vec![Data::Mx(10, host.clone())],
            ),
        ]);
        Self { resolver, answers }
    }

    /// Follows a record for an address, or for one that nothing but `all` matches.
    pub async fn follow(&mut self, name: &str, record: &str, client: Option<IpAddr>) -> Walk {
        let mut step = Step {
            follower: self,
            client,
            walk: Walk::default(),
            domains: Vec::new(),
            by: Vec::new(),
        };
        let ended = step.record(name.to_owned(), record.to_owned()).await;
        Walk {
            trouble: ended.err(),
            ..step.walk
        }
    }

    async fn ask(&mut self, name: &str, kind: RecordType) -> Result<Vec<Data>, Trouble> {
        let key = (name.to_owned(), kind);
        if let Some(known) = self.answers.get(&key) {
            return Ok(known.clone());
        }
        let answer = self
            .resolver
            .ask(name, kind, false)
            .await
            .map_err(|_| Trouble::Unknown)?;
        let found: Vec<Data> = answer
            .answers
            .iter()
            .filter(|record| record.record_type() == kind)
            .map(|record| Data::from_wire(&record.data))
            .collect();
        self.answers.insert(key, found.clone());
        Ok(found)
    }
}

/// One way through records.
struct Step<'a> {
    follower: &'a mut Follower,
    client: Option<IpAddr>,
    walk: Walk,
    /// Domains whose records are being followed.
    domains: Vec<String>,
    /// Terms that led there.
    by: Vec<String>,
}

impl Step<'_> {
    /// Follows one record; the sign of what matched.
    fn record(
        &mut self,
        name: String,
        record: String,
    ) -> Pin<Box<dyn Future<Output = Sign> + Send + '_>> {
        Box::pin(async move {
            // One bad term spoils all of it, before anything is looked up (section 4.6).
            if let Some(bad) = bad_terms(&record).first() {
                return Err(Trouble::Term((*bad).to_owned(), name));
            }
            self.domains.push(name.clone());
            let sign = self.terms(&name, &record).await;
            self.domains.pop();
            sign
        })
    }

    async fn terms(&mut self, name: &str, record: &str) -> Sign {
        let mut redirect = None;
        for text in terms(record) {
            match parse_term(text) {
                Some(Term::Directive(sign, mechanism))
                    if self.matches(name, text, &mechanism).await? =>
                {
                    return Ok(Some(sign));
                }
                Some(Term::Redirect(target)) => redirect = Some((text, target)),
                _ => {}
            }
            if self.walk.lookups.len() >= COUNTED_MAX {
                return Ok(None);
            }
        }
        match redirect {
            Some((text, target)) => self.other_record(text, &target).await,
            None => Ok(None),
        }
    }

    async fn matches(
        &mut self,
        name: &str,
        text: &str,
        mechanism: &Mechanism,
    ) -> Result<bool, Trouble> {
        Ok(match mechanism {
            Mechanism::All => true,
            Mechanism::Network(network, length) => self
                .client
                .is_some_and(|client| is_within(client, *network, *length, *length)),
            Mechanism::Include(target) => self.other_record(text, target).await? == Some('+'),
            Mechanism::Address(target, four, six) => {
                let lookup = self.count(text);
                let target = target.as_deref().unwrap_or(name);
                if self.is_guessed(target) {
                    return Ok(false);
                }
                let addresses = self.addresses(target).await?;
                if addresses.is_empty() {
                    self.walk.void.push(lookup);
                }
                self.is_among(&addresses, *four, *six)
            }
            Mechanism::Servers(target, four, six) => {
                let lookup = self.count(text);
                let target = target.as_deref().unwrap_or(name);
                if self.is_guessed(target) {
                    return Ok(false);
                }
                self.servers(lookup, target, *four, *six).await?
            }
            Mechanism::Name(_) => {
                self.count(text);
                self.walk.guessed = true;
                false
            }
            Mechanism::Exists(target) => {
                let lookup = self.count(text);
                if self.is_guessed(target) {
                    return Ok(false);
                }
                let there = !self.follower.ask(target, RecordType::A).await?.is_empty();
                if !there {
                    self.walk.void.push(lookup);
                }
                there && self.client.is_some()
            }
        })
    }

    fn is_guessed(&mut self, target: &str) -> bool {
        self.walk.guessed |= has_macro(target);
        has_macro(target)
    }

    fn count(&mut self, text: &str) -> Lookup {
        let lookup = Lookup {
            term: text.to_owned(),
            by: self.by.clone(),
        };
        self.walk.lookups.push(lookup.clone());
        lookup
    }

    async fn servers(
        &mut self,
        lookup: Lookup,
        target: &str,
        four: u8,
        six: u8,
    ) -> Result<bool, Trouble> {
        let servers = self.follower.ask(target, RecordType::MX).await?;
        if servers.is_empty() {
            self.walk.void.push(lookup);
            return Ok(false);
        }
        if servers.len() > SERVERS_MAX {
            return Err(Trouble::Servers(lookup));
        }
        if self.client.is_none() {
            return Ok(false);
        }
        for server in servers {
            let Data::Mx(_, host) = server else { continue };
            if !host.is_empty() {
                let addresses = self.addresses(&host).await?;
                if self.is_among(&addresses, four, six) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Addresses of the client's family; without a client, of either.
    async fn addresses(&mut self, name: &str) -> Result<Vec<IpAddr>, Trouble> {
        let kinds = match self.client {
            Some(IpAddr::V4(_)) => &[RecordType::A][..],
            Some(IpAddr::V6(_)) => &[RecordType::AAAA],
            None => &[RecordType::A, RecordType::AAAA],
        };
        let mut addresses = Vec::new();
        for kind in kinds {
            for data in self.follower.ask(name, *kind).await? {
                match data {
                    Data::A(address) => addresses.push(address.into()),
                    Data::Aaaa(address) => addresses.push(address.into()),
                    _ => {}
                }
            }
        }
        Ok(addresses)
    }

    fn is_among(&self, addresses: &[IpAddr], four: u8, six: u8) -> bool {
        self.client.is_some_and(|client| {
            addresses
                .iter()
                .any(|address| is_within(client, *address, four, six))
        })
    }

    async fn other_record(&mut self, text: &str, target: &str) -> Sign {
        let lookup = self.count(text);
        if self.is_guessed(target) {
            return Ok(None);
        }
        if self.domains.iter().any(|domain| domain == target) {
            return Err(Trouble::Circle(lookup));
        }
        let answers = self.follower.ask(target, RecordType::TXT).await?;
        let mut records = answers
            .iter()
            .filter_map(Data::joined)
            .filter(|text| Kind::Spf.is(text));
        let record = match (records.next(), records.next()) {
            (None, _) => return Err(Trouble::NoRecord(lookup, target.to_owned())),
            (Some(_), Some(_)) => return Err(Trouble::Records(lookup, target.to_owned())),
            (Some(record), None) => record,
        };
        self.by.push(text.to_owned());
        let sign = self.record(target.to_owned(), record).await;
        self.by.pop();
        sign
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::text::tests::facts;
    use super::*;
    use std::net::SocketAddr;

    /// Follows a record in a world of texts; whatever else is asked is not there.
    fn follow(record: &str, texts: &[(&str, &str)], client: Option<&str>) -> Walk {
        let resolver = Resolver {
            address: SocketAddr::from(([127, 0, 0, 1], 9)),
            deadline: tokio::time::Instant::now(),
        };
        let mut facts = facts();
        facts.addresses.ipv4 = Some("192.0.2.1".parse().unwrap());
        let mut follower = Follower::new(resolver, &facts, "a.example");
        for (name, text) in texts {
            let key = ((*name).to_owned(), RecordType::TXT);
            let text = Data::text(text);
            follower.answers.entry(key).or_default().push(text);
        }
        for number in 0..15 {
            for kind in [
                RecordType::A,
                RecordType::AAAA,
                RecordType::TXT,
                RecordType::MX,
            ] {
                let key = (format!("n{number}.example"), kind);
                follower.answers.entry(key).or_default();
            }
        }
        let servers = (0..11).map(|number| Data::Mx(10, format!("n{number}.example")));
        let many = ("many.example".to_owned(), RecordType::MX);
        follower.answers.insert(many, servers.collect());
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(follower.follow(
                "a.example",
                record,
                client.map(|client| client.parse().unwrap()),
            ))
    }

    /// A record with this many lookups of one kind.
    fn many(count: usize, term: &str) -> String {
        format!("v=spf1 {}-all", format!("{term} ").repeat(count))
    }

    #[test]
    fn the_eleventh_lookup_is_named() {
        assert_eq!(follow(&many(10, "mx"), &[], None).excess(), None);
        let walk = follow(
            &format!(
                "{} include:late.example -all",
                many(10, "mx").replace(" -all", "")
            ),
            &[("late.example", "v=spf1 -all")],
            None,
        );
        assert_eq!(walk.excess().unwrap().words(), "include:late.example");
        assert_eq!(
            walk.costs(),
            [
                ("mx".to_owned(), 10),
                ("include:late.example".to_owned(), 1)
            ]
        );
        // What an include leads to counts as well, and so does redirect.
        let nested = [
            (
                "b.example",
                "v=spf1 a:mail.a.example mx:a.example include:c.example ~all",
            ),
            (
                "c.example",
                "v=spf1 exists:%{i}.c.example ptr ip4:192.0.2.9 redirect=d.example",
            ),
            ("d.example", "v=spf1 a:mail.a.example -all"),
        ];
        let walk = follow(
            "v=spf1 include:b.example mx mx include:b.example -all",
            &nested,
            None,
        );
        assert_eq!(walk.lookups.len(), 18);
        assert_eq!(walk.excess().unwrap().words(), "include:b.example");
        assert_eq!(
            walk.lookups[7].words(),
            "a:mail.a.example (reached by include:b.example, include:c.example, redirect=d.example)"
        );
        assert_eq!(walk.costs()[0], ("include:b.example".to_owned(), 16));
    }

    #[test]
    fn a_match_ends_it() {
        let record = format!(
            "v=spf1 a:mail.a.example {}",
            many(10, "mx").replace("v=spf1 ", "")
        );
        assert_eq!(follow(&record, &[], Some("192.0.2.1")).lookups.len(), 1);
        assert!(follow(&record, &[], None).excess().is_some());
        for record in [
            "v=spf1 ip4:192.0.2.0/24 include:b.example",
            "v=spf1 -all mx redirect=b.example",
        ] {
            let walk = follow(record, &[], Some("192.0.2.1"));
            assert_eq!(walk, Walk::default(), "{record}");
        }
        let included = [("b.example", "v=spf1 -ip4:192.0.2.1 mx")];
        let walk = follow(
            "v=spf1 include:b.example mx:a.example -all",
            &included,
            Some("192.0.2.1"),
        );
        assert_eq!((walk.lookups.len(), walk.trouble), (2, None));
    }

    #[test]
    fn lookups_that_find_nothing() {
        let record = "v=spf1 a:n1.example mx:n2.example exists:n3.example a:mail.a.example -all";
        let walk = follow(record, &[], Some("192.0.2.1"));
        assert_eq!(walk.void_excess().unwrap().term, "exists:n3.example");
        // Our name has no address of that family.
        let walk = follow(
            "v=spf1 a:mail.a.example a:n1.example a:n2.example -all",
            &[],
            Some("2001:db8::1"),
        );
        assert_eq!(walk.void_excess().unwrap().term, "a:n2.example");
        assert_eq!(
            follow(
                "v=spf1 a:mail.a.example a:n1.example a:n2.example -all",
                &[],
                None
            )
            .void_excess(),
            None
        );
    }

    #[test]
    fn what_makes_a_record_invalid() {
        let lookup = |term: &str| Lookup {
            term: term.to_owned(),
            by: Vec::new(),
        };
        let trouble = |record: &str, texts: &[(&str, &str)]| follow(record, texts, None).trouble;
        assert_eq!(
            trouble("v=spf1 mx ipv4:192.0.2.1 -all", &[]),
            Some(Trouble::Term("ipv4:192.0.2.1".into(), "a.example".into()))
        );
        assert_eq!(
            trouble(
                "v=spf1 include:b.example -all",
                &[("b.example", "v=spf1 ip4:x -all")]
            ),
            Some(Trouble::Term("ip4:x".into(), "b.example".into()))
        );
        assert_eq!(
            trouble("v=spf1 include:n1.example -all", &[("n1.example", "hello")]),
            Some(Trouble::NoRecord(
                lookup("include:n1.example"),
                "n1.example".into()
            ))
        );
        let two = [("b.example", "v=spf1 -all"), ("b.example", "v=spf1 ~all")];
        assert_eq!(
            trouble("v=spf1 redirect=b.example", &two),
            Some(Trouble::Records(
                lookup("redirect=b.example"),
                "b.example".into()
            ))
        );
        let circle = [("b.example", "v=spf1 include:a.example -all")];
        assert!(matches!(
            trouble("v=spf1 include:b.example -all", &circle),
            Some(Trouble::Circle(lookup)) if lookup.by == ["include:b.example"]
        ));
        assert!(matches!(
            trouble("v=spf1 include:a.example -all", &[]),
            Some(Trouble::Circle(_))
        ));
        assert_eq!(
            trouble("v=spf1 mx:many.example -all", &[]),
            Some(Trouble::Servers(lookup("mx:many.example")))
        );
        assert_eq!(
            trouble("v=spf1 a:nobody.example -all", &[]),
            Some(Trouble::Unknown)
        );
    }
}
