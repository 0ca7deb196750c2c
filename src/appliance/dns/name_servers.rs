//! Answers from those who are responsible, each name server asked by itself.
//!
//! A resolver's cache may be hours old, and hides that one server of a zone
//! says something else. So every server of the zone gets every question, and
//! differing answers are kept apart as views.

use super::data::{Data, plain_name};
use super::zone::{Resolver, SERVER_PATIENCE, Server, Zone};
use crate::appliance::wire::dns::course::Failure;
use crate::appliance::wire::dns::exchange::ask;
use crate::appliance::wire::dns::message::{Question, wire_name};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// Port of DNS.
const PORT: u16 = 53;
/// Questions under way at once; name servers slow down who asks faster.
const AT_ONCE: usize = 12;
/// Longest chain of aliases that is followed.
const LONGEST_CHAIN: usize = 8;

/// What some servers of a zone answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Those servers.
    pub servers: Vec<String>,
    /// Whether the name exists.
    pub exists: bool,
    /// The names that it is an alias of, one leading to the next.
    pub aliases: Vec<String>,
    /// Whether the alias comes from a DNAME record above the name.
    pub renamed: bool,
    /// Records of the type asked for, sorted, at the end of the aliases.
    pub records: Vec<Data>,
}

/// What nobody could find out, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown(pub String);

/// What is known of a zone after all questions.
#[derive(Debug, Clone)]
pub struct ZoneState {
    /// The zone.
    pub zone: Arc<Zone>,
    /// What is wrong with its servers, in words.
    pub problems: BTreeSet<String>,
}

/// Why a server gave no answer.
struct NoAnswer {
    words: String,
    /// Whether others would get none either.
    theirs: bool,
}

type Once<T> = Arc<OnceCell<Result<T, String>>>;

/// Asks name servers and remembers whom.
pub struct NameServers {
    resolver: Resolver,
    apexes: Mutex<HashMap<String, Once<String>>>,
    zones: Mutex<BTreeMap<String, Once<Arc<Zone>>>>,
    problems: Mutex<BTreeMap<String, BTreeSet<String>>>,
    /// Servers that were silent once; they are not waited for again.
    silent: Mutex<HashMap<IpAddr, Failure>>,
    places: Semaphore,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing is left half done under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl NameServers {
    /// One that finds zones through this resolver and ends at this time.
    pub fn new(resolver: SocketAddr, deadline: Instant) -> Arc<Self> {
        Arc::new(Self {
            resolver: Resolver {
                address: resolver,
                deadline,
            },
            apexes: Mutex::default(),
            zones: Mutex::default(),
            problems: Mutex::default(),
            silent: Mutex::default(),
            places: Semaphore::new(AT_ONCE),
        })
    }

    /// The apex of the zone of a name.
    pub async fn apex(&self, name: &str) -> Result<String, Unknown> {
        let once = Arc::clone(lock(&self.apexes).entry(name.to_owned()).or_default());
        let found = once.get_or_init(|| async {
            let _place = self.places.acquire().await;
            self.resolver.find_apex(name).await
        });
        found.await.clone().map_err(Unknown)
    }

    /// The zone of a name.
    pub async fn zone(&self, name: &str) -> Result<Arc<Zone>, Unknown> {
        let apex = self.apex(name).await?;
        let once = Arc::clone(lock(&self.zones).entry(apex.clone()).or_default());
        let found =
            once.get_or_init(|| async { self.resolver.find_zone(&apex).await.map(Arc::new) });
        let zone = found.await.clone().map_err(Unknown)?;
        for server in zone
            .servers
            .iter()
            .filter(|server| server.addresses.is_empty())
        {
            self.blame(&zone, format!("{} has no address", server.name));
        }
        Ok(zone)
    }

    /// All zones that were asked about, with what is wrong with them.
    pub fn zones(&self) -> Vec<ZoneState> {
        let problems = lock(&self.problems);
        lock(&self.zones)
            .values()
            .filter_map(|once| once.get()?.clone().ok())
            .map(|zone| ZoneState {
                problems: problems.get(&zone.apex).cloned().unwrap_or_default(),
                zone,
            })
            .collect()
    }

    fn blame(&self, zone: &Zone, problem: String) {
        lock(&self.problems)
            .entry(zone.apex.clone())
            .or_default()
            .insert(problem);
    }

    /// What the servers of a name's zone answer, at least one view.
    pub async fn look_up(
        self: &Arc<Self>,
        name: &str,
        kind: RecordType,
    ) -> Result<Vec<View>, Unknown> {
        let mut views = self.ask_servers(name, kind).await?;
        for view in &mut views {
            self.follow(view, kind).await?;
        }
        Ok(views)
    }

    /// Follows a view's alias to its end.
    async fn follow(self: &Arc<Self>, view: &mut View, kind: RecordType) -> Result<(), Unknown> {
        while view.records.is_empty() && view.exists {
            let Some(target) = view.aliases.last().cloned() else {
                return Ok(());
            };
            if view.aliases.len() > LONGEST_CHAIN {
                return Err(Unknown(format!(
                    "the aliases that begin with {target} have no end"
                )));
            }
            let next = self.ask_servers(&target, kind).await?;
            // How its servers differ is found where that name itself is checked.
            let Some(next) = next.into_iter().next() else {
                return Ok(());
            };
            view.records = next.records;
            view.exists = next.exists;
            if next.aliases.is_empty() {
                return Ok(());
            }
            view.aliases.extend(next.aliases);
        }
        Ok(())
    }

    async fn ask_servers(
        self: &Arc<Self>,
        name: &str,
        kind: RecordType,
    ) -> Result<Vec<View>, Unknown> {
        let zone = self.zone(name).await?;
        let question = Question::new(name, kind).map_err(|error| Unknown(format!("{error:#}")))?;
        let question = Question {
            recursive: false,
            ..question
        };
        let mut tasks = JoinSet::new();
        for server in zone.servers.clone() {
            let (name_servers, question) = (Arc::clone(self), question.clone());
            tasks.spawn(async move {
                let answer = name_servers.ask_server(&server, &question).await;
                (server, answer)
            });
        }
        let mut views: Vec<View> = Vec::new();
        let mut failures = BTreeSet::new();
        // A server that only this machine does not reach may serve everybody else.
        let mut out_of_reach = BTreeSet::new();
        while let Some(joined) = tasks.join_next().await {
            let Ok((server, answer)) = joined else {
                continue;
            };
            match answer.map(|answer| read_answer(&answer, name, kind)) {
                Ok(Ok(mut view)) => {
                    let same = views.iter_mut().find(|other| {
                        other.records == view.records
                            && other.exists == view.exists
                            && other.aliases == view.aliases
                    });
                    match same {
                        Some(other) => other.servers.push(server.name),
                        None => {
                            view.servers.push(server.name);
                            views.push(view);
                        }
                    }
                }
                Ok(Err(words)) => {
                    failures.insert(format!("{} {words}", server.name));
                }
                Err(NoAnswer { words, theirs }) => {
                    let set = if theirs {
                        &mut failures
                    } else {
                        &mut out_of_reach
                    };
                    set.insert(format!("{} {words}", server.name));
                }
            }
        }
        for failure in &failures {
            self.blame(&zone, failure.clone());
        }
        if views.is_empty() {
            failures.append(&mut out_of_reach);
            let why = if failures.is_empty() {
                "it has no name server with an address".to_owned()
            } else {
                failures.into_iter().collect::<Vec<_>>().join("; ")
            };
            return Err(Unknown(format!(
                "no answer for the zone {}: {why}",
                zone.apex
            )));
        }
        for view in &mut views {
            view.servers.sort();
        }
        views.sort_by(|one, other| one.servers.cmp(&other.servers));
        Ok(views)
    }

    /// What the first server of a zone that answers says; aliases are not followed.
    pub async fn glance(&self, zone: &Zone, name: &str, kind: RecordType) -> Option<View> {
        let question = Question {
            name: wire_name(name).ok()?,
            kind,
            recursive: false,
            unchecked: false,
            authentic: false,
        };
        for server in &zone.servers {
            if let Ok(answer) = self.ask_server(server, &question).await
                && let Ok(view) = read_answer(&answer, name, kind)
            {
                return Some(view);
            }
        }
        None
    }

    /// Asks a server at its first address that answers.
    async fn ask_server(&self, server: &Server, question: &Question) -> Result<Message, NoAnswer> {
        let mut last = NoAnswer {
            words: "has no address".to_owned(),
            theirs: true,
        };
        for address in &server.addresses {
            let known = lock(&self.silent).get(address).cloned();
            let failure = match known {
                Some(failure) => failure,
                None => match self.ask_address(*address, question).await {
                    Ok(answer) => return Ok(answer),
                    Err(failure) => {
                        // Its time-out may be nothing but the end of our own time.
                        if Instant::now() < self.resolver.deadline
                            && !matches!(failure, Failure::Garbled(_))
                        {
                            lock(&self.silent).insert(*address, failure.clone());
                        }
                        failure
                    }
                },
            };
            last = NoAnswer {
                theirs: !matches!(failure, Failure::Unreachable(_)),
                words: match failure {
                    Failure::Silent => format!("does not answer ({address})"),
                    Failure::Unreachable(error) => format!("is out of reach ({address}: {error})"),
                    Failure::Garbled(error) => format!("gives no answer ({address}): {error}"),
                },
            };
        }
        Err(last)
    }

    async fn ask_address(&self, address: IpAddr, question: &Question) -> Result<Message, Failure> {
        let deadline = self.resolver.deadline;
        let place = timeout_at(deadline, self.places.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Err(Failure::Silent);
        };
        // Somebody may have learnt of its silence while this one waited.
        if let Some(failure) = lock(&self.silent).get(&address) {
            return Err(failure.clone());
        }
        ask(
            SocketAddr::new(address, PORT),
            question,
            SERVER_PATIENCE,
            deadline,
        )
        .await
    }
}

/// What a server says; the error says in words that it refuses or is not responsible.
pub fn read_answer(answer: &Message, name: &str, kind: RecordType) -> Result<View, String> {
    let exists = match answer.response_code {
        ResponseCode::NoError => true,
        ResponseCode::NXDomain => false,
        ResponseCode::Refused => return Err("refuses to answer for this zone".to_owned()),
        ResponseCode::ServFail => return Err("has trouble with this zone (SERVFAIL)".to_owned()),
        code => return Err(format!("answers with an error ({code})")),
    };
    if !answer.authoritative {
        return Err("does not know that it is responsible for this zone (lame)".to_owned());
    }
    let mut view = View {
        servers: Vec::new(),
        exists,
        aliases: Vec::new(),
        renamed: answer
            .answers
            .iter()
            .any(|record| record.record_type() == RecordType::DNAME),
        records: Vec::new(),
    };
    for record in &answer.answers {
        if plain_name(&record.name) != name {
            continue;
        }
        match &record.data {
            RData::CNAME(target) if kind != RecordType::CNAME => {
                view.aliases.push(plain_name(&target.0));
                // The code speaks of the end of the chain (RFC 6604), which is looked at by itself.
                view.exists = true;
            }
            data if record.record_type() == kind => view.records.push(Data::from_wire(data)),
            _ => {}
        }
    }
    view.aliases.truncate(1);
    view.records.sort();
    Ok(view)
}
