//! Answers that come from a wildcard record (RFC 4592, <https://www.rfc-editor.org/rfc/rfc4592>).
//!
//! A wildcard stands directly below the nearest name that exists, which may be
//! far above the name that was asked for: `*.example.org` answers for
//! `_smtp._tls.example.org` when there is no `_tls.example.org`.

use super::super::name_servers::{NameServers, View};
use super::super::zone::Zone;
use hickory_proto::rr::RecordType;
use std::future::Future;
use std::sync::Arc;

/// Names between a name and its zone, the zone's own last.
fn names_above(name: &str, apex: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = name;
    while rest != apex {
        match rest.split_once('.') {
            Some((_, parent)) => rest = parent,
            None => return Vec::new(),
        }
        names.push(rest.to_owned());
    }
    names
}

/// A name that nobody made, directly below another.
pub fn made_up(parent: &str) -> String {
    format!("mailctl-{:08x}.{parent}", rand::random::<u32>())
}

/// The name below which a wildcard gives this very answer.
///
/// Where two wildcards one above the other hold the same, the upper one is
/// named, which is there in any case.
async fn find_owner<F>(above: Vec<String>, says_the_same: impl Fn(String) -> F) -> Option<String>
where
    F: Future<Output = bool>,
{
    let mut owner = None;
    for name in above {
        if !says_the_same(made_up(&name)).await {
            break;
        }
        owner = Some(name);
    }
    owner
}

/// Says so when an answer comes from a wildcard.
pub async fn find_wildcard(
    name_servers: &Arc<NameServers>,
    name: &str,
    kind: RecordType,
    view: &View,
) -> Option<String> {
    if view.records.is_empty() && view.aliases.is_empty() {
        return None;
    }
    let zone = name_servers.zone(name).await.ok()?;
    let owner = find_owner(names_above(name, &zone.apex), |beside| async move {
        name_servers
            .look_up(&beside, kind)
            .await
            .is_ok_and(|views| views.iter().any(|other| is_same(view, other)))
    })
    .await?;
    Some(format!(
        "a wildcard record *.{owner} answers for every name below {owner} that has no records of its own"
    ))
}

/// Whether the answer of a name comes from a wildcard directly above it, or further up.
pub async fn is_wildcard(
    name_servers: &NameServers,
    zone: &Zone,
    name: &str,
    kind: RecordType,
    view: &View,
) -> bool {
    let Some((_, parent)) = name.split_once('.') else {
        return false;
    };
    let beside = name_servers.glance(zone, &made_up(parent), kind).await;
    beside.is_some_and(|other| is_same(view, &other))
}

fn is_same(one: &View, other: &View) -> bool {
    one.records == other.records && one.aliases == other.aliases
}

#[cfg(test)]
mod tests {
    use super::{find_owner, names_above};

    /// Which names exist and which wildcards there are, with what they say.
    fn owner(name: &str, existing: &[&str], wildcards: &[(&str, &str)]) -> Option<String> {
        // RFC 4592 section 3.3.1: the wildcard below the nearest name that exists.
        let answer = |name: &str| {
            let mut rest = name;
            while let Some((_, parent)) = rest.split_once('.') {
                if existing.contains(&parent) {
                    return wildcards
                        .iter()
                        .find(|(owner, _)| *owner == parent)
                        .map(|(_, said)| (*said).to_owned());
                }
                rest = parent;
            }
            None
        };
        let found = answer(name)?;
        let (answer, found) = (&answer, &found);
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(find_owner(
                names_above(name, "a.example"),
                |beside| async move { answer(&beside).as_ref() == Some(found) },
            ))
    }

    #[test]
    fn the_wildcard_that_is_there_is_named() {
        let name = "_smtp._tls.a.example";
        let top = Some("a.example".to_owned());
        assert_eq!(owner(name, &["a.example"], &[("a.example", "x")]), top);
        assert_eq!(
            owner("_dmarc.a.example", &["a.example"], &[("a.example", "x")]),
            top
        );
        // A name on the way has a wildcard of its own.
        let between = ["a.example", "_tls.a.example"];
        assert_eq!(
            owner(
                name,
                &between,
                &[("a.example", "x"), ("_tls.a.example", "y")]
            ),
            Some("_tls.a.example".to_owned())
        );
        assert_eq!(
            owner(name, &between, &[("_tls.a.example", "y")]),
            Some("_tls.a.example".to_owned())
        );
        // It exists, so the one above does not reach further.
        assert_eq!(owner(name, &between, &[("a.example", "x")]), None);
    }

    #[test]
    fn names_up_to_the_zone() {
        assert_eq!(
            names_above("_smtp._tls.a.example", "a.example"),
            ["_tls.a.example", "a.example"]
        );
        assert!(names_above("a.example", "a.example").is_empty());
        assert!(names_above("a.example", "b.example").is_empty());
    }
}
