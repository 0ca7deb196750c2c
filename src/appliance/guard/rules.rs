//! Who is banned, for how long: rules over reports and a clock, without I/O.
//!
//! An address is a whole IPv4 address or the /64 of an IPv6 one, since that is
//! what one customer gets. Times are seconds of one steady clock.

use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Failures count this long.
const FAILURE_WINDOW: u64 = 10 * MINUTE;
/// Failures that ban an address nobody logged in from.
const STRANGER_LIMIT: usize = 6;
/// Failures that ban an address that somebody logged in from: many people may
/// share it, and the one with the wrong password must not lock out the rest.
const SHARED_LIMIT: usize = 60;
/// How long a success vouches for its address.
const VOUCHING_TIME: u64 = HOUR;
/// The first ban; each further one is twice as long.
const FIRST_BAN: u64 = HOUR;
/// The longest ban.
const LONGEST_BAN: u64 = DAY;
/// After so long without a ban the next one is a first one.
const BAN_MEMORY: u64 = 7 * DAY;
/// A wrong password that comes again after more than this counts no more: a
/// telephone with an old password tries for ever, and guesses nothing by it.
/// Repeats that follow faster count, so that any six quick tries ban.
const REPEAT_PAUSE: u64 = MINUTE;
/// Different wrong passwords remembered per address.
const MOST_TRIES: usize = 8;
/// Most addresses remembered, banned or not; the one unheard of for longest goes first.
pub const MOST_ADDRESSES: usize = 10_000;
/// Longest account name kept, in characters.
const LONGEST_ACCOUNT: usize = 254;

/// What is banned together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum ClientNetwork {
    /// One IPv4 address.
    Four(Ipv4Addr),
    /// The /64 that begins with this address.
    Six(Ipv6Addr),
}

impl From<IpAddr> for ClientNetwork {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::Four(address),
            IpAddr::V6(address) => Self::Six((address.to_bits() >> 64 << 64).into()),
        }
    }
}

impl From<ClientNetwork> for String {
    fn from(source: ClientNetwork) -> Self {
        source.to_string()
    }
}

impl TryFrom<String> for ClientNetwork {
    type Error = std::net::AddrParseError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for ClientNetwork {
    type Err = std::net::AddrParseError;
    /// Any spelling of an address, an IPv6 one also with its `/64`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let text = text.strip_prefix('[').unwrap_or(text);
        let text = text.strip_suffix(']').unwrap_or(text);
        text.strip_suffix("/64")
            .or_else(|| text.strip_suffix("/32"))
            .unwrap_or(text)
            .parse::<IpAddr>()
            .map(Self::from)
    }
}

impl fmt::Display for ClientNetwork {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Four(address) => write!(formatter, "{address}"),
            Self::Six(address) => write!(formatter, "{address}/64"),
        }
    }
}

/// One login, as Dovecot reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Where it came from.
    pub source: ClientNetwork,
    /// The name that was tried.
    pub account: String,
    /// Stands for name and password together, without telling them; empty when unknown.
    pub password: String,
    /// Whether it was let in.
    pub success: bool,
}

/// A ban that runs or ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// Who is kept out.
    pub address: ClientNetwork,
    /// When it began.
    pub since: u64,
    /// When it ends.
    pub until: u64,
    /// How many failures led to it.
    pub failures: usize,
    /// The account tried last.
    pub account: String,
    /// How often this address was banned before, not long ago.
    pub earlier: u32,
}

#[derive(Debug, Default)]
struct Record {
    heard: u64,
    succeeded: Option<u64>,
    failures: VecDeque<u64>,
    tries: VecDeque<(u64, u64)>,
    ban: Option<Ban>,
}

/// All that is known about addresses.
#[derive(Default)]
pub struct Rules {
    records: HashMap<ClientNetwork, Record>,
    hasher: RandomState,
}

impl Rules {
    /// What a former process left: bans that still run, and memories of those that ended.
    ///
    /// The clock may be behind the one that wrote them, by decades while it was never set:
    /// no ban runs longer from now on than it was meant to run at all.
    pub fn restore(bans: Vec<Ban>, now: u64) -> Self {
        let mut rules = Self::default();
        for mut ban in bans.into_iter().take(MOST_ADDRESSES) {
            let length = ban.until.saturating_sub(ban.since).min(LONGEST_BAN);
            ban.until = ban.until.min(now.saturating_add(length));
            if ban.until.saturating_add(BAN_MEMORY) > now {
                let record = Record {
                    heard: ban.since,
                    ban: Some(ban.clone()),
                    ..Record::default()
                };
                rules.records.insert(ban.address, record);
            }
        }
        rules
    }

    /// Takes a login into account, and returns the ban it led to.
    pub fn note(&mut self, attempt: Attempt, now: u64) -> Option<Ban> {
        if !self.records.contains_key(&attempt.source) && self.records.len() >= MOST_ADDRESSES {
            self.forget_oldest(now);
        }
        let try_id = self.hasher.hash_one((&attempt.account, &attempt.password));
        let record = self.records.entry(attempt.source).or_default();
        record.heard = now;
        if attempt.success {
            record.succeeded = Some(now);
            return None;
        }
        // A session that was open when the ban fell: it is not held against anybody twice.
        if record.ban.as_ref().is_some_and(|ban| ban.until > now) {
            return None;
        }
        // Without a password to compare, each counts.
        if !attempt.password.is_empty() && record.repeats_slowly(try_id, now) {
            return None;
        }
        while record
            .failures
            .front()
            .is_some_and(|first| first + FAILURE_WINDOW <= now)
        {
            record.failures.pop_front();
        }
        record.failures.push_back(now);
        let vouched = record
            .succeeded
            .is_some_and(|success| success + VOUCHING_TIME > now);
        let limit = if vouched {
            SHARED_LIMIT
        } else {
            STRANGER_LIMIT
        };
        if record.failures.len() < limit {
            return None;
        }
        let earlier = record
            .ban
            .as_ref()
            .filter(|ban| ban.until + BAN_MEMORY > now)
            .map_or(0, |ban| ban.earlier + 1);
        // Five doublings are beyond the longest already.
        let length = (FIRST_BAN << earlier.min(5)).min(LONGEST_BAN);
        let ban = Ban {
            address: attempt.source,
            since: now,
            until: now + length,
            failures: record.failures.len(),
            account: attempt.account.chars().take(LONGEST_ACCOUNT).collect(),
            earlier,
        };
        record.failures.clear();
        record.tries.clear();
        record.ban = Some(ban.clone());
        Some(ban)
    }

    /// Ends a ban; `false` when there is none. What led to it is forgotten with it.
    pub fn lift(&mut self, source: ClientNetwork, now: u64) -> bool {
        let running = self
            .records
            .get(&source)
            .and_then(|record| record.ban.as_ref())
            .is_some_and(|ban| ban.until > now);
        if running {
            self.records.remove(&source);
        }
        running
    }

    /// The bans that run, the newest first.
    pub fn running(&self, now: u64) -> Vec<Ban> {
        let mut bans: Vec<Ban> = self
            .remembered()
            .into_iter()
            .filter(|ban| ban.until > now)
            .collect();
        bans.sort_by_key(|ban| (std::cmp::Reverse(ban.since), ban.address));
        bans
    }

    /// All bans, those that ended too, since they make the next one longer.
    pub fn remembered(&self) -> Vec<Ban> {
        let mut bans: Vec<Ban> = self
            .records
            .values()
            .filter_map(|record| record.ban.clone())
            .collect();
        bans.sort_by_key(|ban| (ban.since, ban.address));
        bans
    }

    /// Drops what has no meaning any more.
    pub fn forget(&mut self, now: u64) {
        self.records.retain(|_, record| {
            record.heard + VOUCHING_TIME > now
                || record
                    .ban
                    .as_ref()
                    .is_some_and(|ban| ban.until + BAN_MEMORY > now)
        });
    }

    fn forget_oldest(&mut self, now: u64) {
        self.forget(now);
        while self.records.len() >= MOST_ADDRESSES {
            // Those banned now go last: their packets stay out either way, but
            // nobody could list or lift them.
            let oldest = self
                .records
                .iter()
                .min_by_key(|(_, record)| {
                    let banned = record.ban.as_ref().is_some_and(|ban| ban.until > now);
                    (banned, record.heard)
                })
                .map(|(source, _)| *source);
            match oldest {
                Some(source) => self.records.remove(&source),
                None => return,
            };
        }
    }
}

impl Record {
    fn repeats_slowly(&mut self, try_id: u64, now: u64) -> bool {
        let before = self.tries.iter().position(|(id, _)| *id == try_id);
        let last = before
            .and_then(|index| self.tries.remove(index))
            .map(|(_, when)| when);
        if self.tries.len() >= MOST_TRIES {
            self.tries.pop_front();
        }
        self.tries.push_back((try_id, now));
        last.is_some_and(|last| last + REPEAT_PAUSE <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::{Attempt, Ban, ClientNetwork, DAY, FIRST_BAN, HOUR, MOST_ADDRESSES, Rules};
    use std::net::Ipv4Addr;

    fn attempt(source: &str, password: &str, success: bool) -> Attempt {
        Attempt {
            source: source.parse().unwrap(),
            account: "jens@a.example".to_owned(),
            password: password.to_owned(),
            success,
        }
    }

    /// Fails so often, a second apart, and returns the bans with the number of the failure.
    fn fail(rules: &mut Rules, source: &str, count: u64, start: u64) -> Vec<(u64, Ban)> {
        (1..=count)
            .filter_map(|number| {
                let attempt = attempt(source, &format!("p{number}"), false);
                let ban = rules.note(attempt, start + number)?;
                Some((number, ban))
            })
            .collect()
    }

    #[test]
    fn six_failures_ban_for_an_hour() {
        let mut rules = Rules::default();
        let bans = fail(&mut rules, "192.0.2.1", 8, 1000);
        assert_eq!(bans.len(), 1);
        assert_eq!(bans[0].0, 6);
        assert_eq!((bans[0].1.since, bans[0].1.until), (1006, 1006 + HOUR));
        assert_eq!(rules.running(1007).len(), 1);
        assert!(rules.running(1006 + HOUR).is_empty());
        // Of a /64, whichever address.
        let mut rules = Rules::default();
        let banned = (0..6)
            .filter_map(|n| {
                rules.note(
                    attempt(&format!("2001:db8::{n}"), &format!("p{n}"), false),
                    n,
                )
            })
            .count();
        assert_eq!(banned, 1);
        assert_eq!(rules.running(9)[0].address.to_string(), "2001:db8::/64");
    }

    #[test]
    fn slow_failures_do_not_ban() {
        let mut rules = Rules::default();
        for number in 0..50 {
            let attempt = attempt("192.0.2.1", &format!("p{number}"), false);
            assert_eq!(rules.note(attempt, number * 121), None);
        }
    }

    #[test]
    fn the_same_password_counts_when_quick_only() {
        let mut rules = Rules::default();
        let same = || attempt("192.0.2.1", "old", false);
        let banned: Vec<bool> = (0..6).map(|n| rules.note(same(), n).is_some()).collect();
        assert_eq!(banned, [false, false, false, false, false, true]);
        let mut rules = Rules::default();
        assert!((0..500).all(|n| rules.note(same(), n * 60).is_none()));
        let unknown = || attempt("192.0.2.1", "", false);
        let mut rules = Rules::default();
        assert!((0..10).any(|n| rules.note(unknown(), n * 60).is_some()));
    }

    #[test]
    fn an_address_with_good_logins_has_room() {
        let mut rules = Rules::default();
        rules.note(attempt("192.0.2.1", "right", true), 0);
        assert!(fail(&mut rules, "192.0.2.1", 59, 10).is_empty());
        assert_eq!(fail(&mut rules, "192.0.2.1", 1, 100).len(), 1);
        // An hour later it vouches no more.
        let mut rules = Rules::default();
        rules.note(attempt("192.0.2.1", "right", true), 0);
        assert_eq!(fail(&mut rules, "192.0.2.1", 6, HOUR).len(), 1);
    }

    #[test]
    fn bans_double_up_to_a_day_and_are_forgotten() {
        let mut rules = Rules::default();
        let mut now = 0;
        let mut lengths = Vec::new();
        for _ in 0..70 {
            let (_, ban) = fail(&mut rules, "192.0.2.1", 6, now).remove(0);
            lengths.push((ban.until - ban.since) / HOUR);
            now = ban.until + 1;
        }
        assert_eq!(lengths[..7], [1, 2, 4, 8, 16, 24, 24]);
        assert!(lengths[7..].iter().all(|length| *length == 24));
        let (_, ban) = fail(&mut rules, "192.0.2.1", 6, now + 7 * DAY).remove(0);
        assert_eq!(ban.until - ban.since, HOUR);
    }

    #[test]
    fn lifting_forgets() {
        let mut rules = Rules::default();
        fail(&mut rules, "2001:db8::7", 6, 0);
        let lifted = "2001:0DB8:0:0:1::1".parse().unwrap();
        assert!(rules.lift(lifted, 10));
        assert!(!rules.lift(lifted, 10));
        assert!(fail(&mut rules, "2001:db8::7", 5, 20).is_empty());
    }

    #[test]
    fn restored_without_the_forgotten() {
        let mut rules = Rules::default();
        fail(&mut rules, "192.0.2.1", 6, 0);
        fail(&mut rules, "192.0.2.2", 6, 8 * DAY);
        let now = 8 * DAY + 10;
        let text = serde_json::to_string(&rules.remembered()).unwrap();
        assert!(
            text.starts_with(r#"[{"address":"192.0.2.1","since":6,"#),
            "{text}"
        );
        let restored = Rules::restore(serde_json::from_str(&text).unwrap(), now);
        assert_eq!(restored.running(now), rules.running(now));
        assert_eq!(restored.remembered().len(), 1);
    }

    #[test]
    fn a_clock_that_went_back_prolongs_no_ban() {
        let mut rules = Rules::default();
        let written = 20_000 * DAY;
        fail(&mut rules, "192.0.2.1", 6, written);
        let bans = rules.remembered();
        let now = 10_000 * DAY;
        let restored = Rules::restore(bans.clone(), now);
        assert_eq!(restored.running(now)[0].until, now + FIRST_BAN);
        assert!(restored.running(now + FIRST_BAN).is_empty());
        // Half of it was over: the other half is left.
        let later = bans[0].since + FIRST_BAN / 2;
        let restored = Rules::restore(bans.clone(), later);
        assert_eq!(restored.running(later)[0].until, bans[0].until);
    }

    #[test]
    fn memory_is_bounded_and_bans_stay() {
        let mut rules = Rules::default();
        fail(&mut rules, "203.0.113.1", 6, 0);
        for number in 0..u32::try_from(MOST_ADDRESSES).unwrap() + 50 {
            let source = ClientNetwork::Four(Ipv4Addr::from(number));
            let attempt = Attempt {
                source,
                ..attempt("192.0.2.1", "x", false)
            };
            rules.note(attempt, 100);
        }
        assert_eq!(rules.records.len(), MOST_ADDRESSES);
        assert_eq!(rules.running(100).len(), 1);
        rules.forget(100 + HOUR);
        assert_eq!(rules.records.len(), 1);
    }

    #[test]
    fn any_spelling() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("[2001:DB8::0:1]", "2001:db8::/64"),
            ("2001:db8::/64", "2001:db8::/64"),
            (" 2001:db8:0:0:ffff::", "2001:db8::/64"),
        ] {
            assert_eq!(text.parse::<ClientNetwork>().unwrap().to_string(), expected);
        }
        assert!("192.0.2".parse::<ClientNetwork>().is_err());
    }
}
