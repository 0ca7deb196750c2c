//! `mailctl dns check`: what is published, compared with what should be.
//!
//! Each entry of the expected records is one check, asked of every responsible
//! name server. A check judges its own record only: where it leans on another
//! one, that one is taken as right, so that one mistake is one finding.

mod checker;
mod conclude;
mod dkim;
mod dmarc;
mod finding;
mod host;
mod issuer;
mod judge;
mod misplaced;
mod report;
mod servers;
mod spf;
mod text;
mod wildcard;

use anyhow::Result;
pub use finding::{Finding, Verdict};
pub use judge::judge_view;
pub use report::{Report, Style};
pub use spf::SpfJudge;

use super::expected::expected_records;
use super::facts::Facts;
use super::name_servers::NameServers;
use checker::Checker;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// When all checks end, whoever has not answered by then.
pub const CHECK_LIMIT: Duration = Duration::from_secs(25);

/// Runs every check; what DNS says is never an error.
pub async fn check_records(facts: Facts, resolver: SocketAddr) -> Result<Report> {
    let deadline = Instant::now() + CHECK_LIMIT;
    let name_servers = NameServers::new(resolver, deadline);
    let checker = Arc::new(Checker {
        spf: SpfJudge::new(resolver, deadline)?,
        name_servers: Arc::clone(&name_servers),
        facts,
    });
    let mut tasks: JoinSet<(usize, Option<Finding>)> = JoinSet::new();
    let expected = expected_records(&checker.facts);
    let count = expected.len();
    for (index, expected) in expected.into_iter().enumerate() {
        let checker = Arc::clone(&checker);
        tasks.spawn(async move { (index + 3, checker.check(&expected).await) });
    }
    let own = Arc::clone(&checker);
    tasks.spawn(async move { (0, own.check_own_name().await) });
    for (index, kind, known) in [
        (1, "A", checker.facts.addresses.ipv4.is_some()),
        (2, "AAAA", checker.facts.addresses.ipv6.is_some()),
    ] {
        if !known {
            let checker = Arc::clone(&checker);
            tasks.spawn(async move { (index, checker.check_no_address(kind).await) });
        }
    }
    let mut findings = Vec::with_capacity(count + 3);
    while let Some(joined) = tasks.join_next().await {
        if let Ok((index, Some(finding))) = joined {
            findings.push((index, finding));
        }
    }
    findings.sort_by_key(|(index, _)| *index);
    let mut findings: Vec<Finding> = findings.into_iter().map(|(_, finding)| finding).collect();
    let zones = name_servers.zones();
    findings.extend(zones.iter().map(servers::check_zone));
    Ok(Report::new(&checker.facts, findings, &zones))
}
