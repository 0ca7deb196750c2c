//! Bans in the kernel: one nftables table of ours, and never a change to another.
//!
//! nft(8) (<https://www.netfilter.org/projects/nftables/manpage.html>) is fed
//! scripts; each is one transaction. The chain comes before the usual filter
//! chains and sees packets of open connections too, so that a ban ends what its
//! address had begun. It answers with a reset instead of silence: a person who
//! mistyped gets a plain error at once and their program does not hang.

use super::rules::{Ban, ClientNetwork};
use anyhow::{Context, Result, bail};
use std::io::Write;
use std::process::{Command, Stdio};

/// The program, from the image.
const NFT: &str = "/usr/sbin/nft";
/// The table; all in it is ours.
const TABLE: &str = "inet mailimg";
/// Where passwords can be tried, and mail that comes with guessing them.
const PORTS: &str = "25, 465, 587, 143, 993, 4190";

/// Those of mail programs. Each connection asks for a password to be checked, which takes time,
/// before the first answers ban anybody: a thousand at once would keep everybody waiting.
const LOGIN_PORTS: &str = "465, 587, 143, 993, 4190";
/// So many connections of one address or /64 are taken up at once, and so many more each second.
/// What is above is not answered, and begun anew by its system a second later, unseen by people:
/// the telephones of a whole office come back within a minute.
const CALLERS_AT_ONCE: u32 = 100;
const CALLERS_A_SECOND: u32 = 20;
/// Ports, how many connections to each group of them one address or /64 has open at a time, and
/// the names of the sets in which they are counted.
///
/// Reading mail: a hundred telephones, tablets and laptops of an office with four each; login
/// processes hold ten times as many. Submission: Postfix has fifty processes a port, and on 465
/// counts who has them when TLS is there, which whoever is silent never has. Port 25: it has fifty
/// places before the greeting, and counts too late for a /64 with many addresses.
const OPEN: [(&str, &str, u32); 4] = [
    ("logins", "143, 993, 4190", 400),
    ("submissions", "465", 25),
    ("submission", "587", 25),
    ("mail", "25", 25),
];
/// Addresses counted at a time; whoever is beyond them is not limited.
const MOST_CALLERS: u32 = 16_384;

/// Where scripts go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firewall {
    /// The kernel's.
    Kernel,
    /// Nowhere: the root of the machine is a folder.
    Absent,
}

impl Firewall {
    /// Carries out a script, all of it or nothing.
    pub fn apply(self, script: &str) -> Result<()> {
        if self == Self::Absent {
            return Ok(());
        }
        let mut child = Command::new(NFT)
            .args(["-f", "-"])
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {NFT}"))?;
        if let Some(mut input) = child.stdin.take() {
            // A child that is gone says why on its standard error.
            let _ = input.write_all(script.as_bytes());
        }
        let output = child.wait_with_output().context("waiting for nft")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{NFT} failed with {}: {}", output.status, said.trim());
        }
        Ok(())
    }
}

/// Whether the kernel lets nobody here change rules.
pub fn is_forbidden(error: &anyhow::Error) -> bool {
    // EPERM in the words of the C locale, in which nft speaks here.
    format!("{error:#}").contains("Operation not permitted")
}

/// Makes table, sets and chains as they should be, with exactly these bans.
///
/// Open connections are those that the kernel keeps track of. It does so for these ports only: its
/// list is short on a small machine, and each question to the DNS would stand on it.
pub fn script_all(bans: &[Ban], now: u64) -> String {
    let call = format!(
        "iifname != \"lo\" tcp dport {{ {LOGIN_PORTS} }} tcp flags & (fin | syn | rst | ack) == syn"
    );
    let limit =
        format!("limit rate over {CALLERS_A_SECOND}/second burst {CALLERS_AT_ONCE} packets");
    let callers = format!("size {MOST_CALLERS}; flags dynamic, timeout; timeout 1m;");
    let open = format!("size {MOST_CALLERS}; flags dynamic;");
    let mut script = format!(
        "add table {TABLE}\n\
         add set {TABLE} ban4 {{ type ipv4_addr; flags timeout; }}\n\
         add set {TABLE} ban6 {{ type ipv6_addr; flags interval, timeout; }}\n\
         add set {TABLE} callers4 {{ type ipv4_addr; {callers} }}\n\
         add set {TABLE} callers6 {{ type ipv6_addr; {callers} }}\n\
         add chain {TABLE} arriving {{ type filter hook prerouting priority raw; policy accept; }}\n\
         add chain {TABLE} leaving {{ type filter hook output priority raw; policy accept; }}\n\
         add chain {TABLE} bans {{ type filter hook input priority filter - 10; policy accept; }}\n\
         flush set {TABLE} ban4\n\
         flush set {TABLE} ban6\n\
         flush chain {TABLE} arriving\n\
         flush chain {TABLE} leaving\n\
         flush chain {TABLE} bans\n\
         add rule {TABLE} arriving iifname \"lo\" notrack\n\
         add rule {TABLE} arriving meta l4proto != tcp notrack\n\
         add rule {TABLE} arriving tcp dport != {{ {PORTS} }} notrack\n\
         add rule {TABLE} leaving oifname \"lo\" notrack\n\
         add rule {TABLE} leaving meta l4proto != tcp notrack\n\
         add rule {TABLE} leaving tcp sport != {{ {PORTS} }} notrack\n\
         add rule {TABLE} bans tcp dport {{ {PORTS} }} ip saddr @ban4 reject with tcp reset\n\
         add rule {TABLE} bans tcp dport {{ {PORTS} }} ip6 saddr @ban6 reject with tcp reset\n\
         add rule {TABLE} bans {call} update @callers4 {{ ip saddr {limit} }} drop\n\
         add rule {TABLE} bans {call} update @callers6 \
         {{ ip6 saddr & ffff:ffff:ffff:ffff:: {limit} }} drop\n"
    );
    for (name, ports, most) in OPEN {
        let rule =
            format!("add rule {TABLE} bans iifname != \"lo\" tcp dport {{ {ports} }} ct state new");
        let over = format!("ct count over {most} }} reject with tcp reset");
        script.push_str(&format!(
            "add set {TABLE} {name}4 {{ type ipv4_addr; {open} }}\n\
             add set {TABLE} {name}6 {{ type ipv6_addr; {open} }}\n\
             {rule} add @{name}4 {{ ip saddr {over}\n\
             {rule} add @{name}6 {{ ip6 saddr & ffff:ffff:ffff:ffff:: {over}\n"
        ));
    }
    for ban in bans {
        script.push_str(&script_ban(ban, now));
    }
    script
}

/// Adds one ban for as long as it has still to run.
pub fn script_ban(ban: &Ban, now: u64) -> String {
    let seconds = ban.until.saturating_sub(now).max(1);
    let set = set_of(ban.address);
    format!(
        "add element {TABLE} {set} {{ {} timeout {seconds}s }}\n",
        ban.address
    )
}

/// Takes one ban away; being told twice is no error.
pub fn script_lift(source: ClientNetwork) -> String {
    let set = set_of(source);
    // Adding first: an element that the kernel has just let go cannot be deleted.
    format!(
        "add element {TABLE} {set} {{ {source} timeout 60s }}\n\
         delete element {TABLE} {set} {{ {source} }}\n"
    )
}

fn set_of(source: ClientNetwork) -> &'static str {
    match source {
        ClientNetwork::Four(_) => "ban4",
        ClientNetwork::Six(_) => "ban6",
    }
}

#[cfg(test)]
mod tests {
    use super::{script_all, script_lift};
    use crate::appliance::guard::rules::Ban;

    fn ban(address: &str) -> Ban {
        Ban {
            address: address.parse().unwrap(),
            since: 100,
            until: 3700,
            failures: 6,
            account: String::new(),
            earlier: 0,
        }
    }

    #[test]
    fn the_scripts_touch_our_table_only() {
        let bans = [ban("192.0.2.1"), ban("2001:db8::1")];
        let script = script_all(&bans, 200) + &script_lift(bans[1].address);
        insta::assert_snapshot!(script, @r#"
        add table inet mailimg
        add set inet mailimg ban4 { type ipv4_addr; flags timeout; }
        add set inet mailimg ban6 { type ipv6_addr; flags interval, timeout; }
        add set inet mailimg callers4 { type ipv4_addr; size 16384; flags dynamic, timeout; timeout 1m; }
        add set inet mailimg callers6 { type ipv6_addr; size 16384; flags dynamic, timeout; timeout 1m; }
        add chain inet mailimg arriving { type filter hook prerouting priority raw; policy accept; }
        add chain inet mailimg leaving { type filter hook output priority raw; policy accept; }
        add chain inet mailimg bans { type filter hook input priority filter - 10; policy accept; }
        flush set inet mailimg ban4
        flush set inet mailimg ban6
        flush chain inet mailimg arriving
        flush chain inet mailimg leaving
        flush chain inet mailimg bans
        add rule inet mailimg arriving iifname "lo" notrack
        add rule inet mailimg arriving meta l4proto != tcp notrack
        add rule inet mailimg arriving tcp dport != { 25, 465, 587, 143, 993, 4190 } notrack
        add rule inet mailimg leaving oifname "lo" notrack
        add rule inet mailimg leaving meta l4proto != tcp notrack
        add rule inet mailimg leaving tcp sport != { 25, 465, 587, 143, 993, 4190 } notrack
        add rule inet mailimg bans tcp dport { 25, 465, 587, 143, 993, 4190 } ip saddr @ban4 reject with tcp reset
        add rule inet mailimg bans tcp dport { 25, 465, 587, 143, 993, 4190 } ip6 saddr @ban6 reject with tcp reset
        add rule inet mailimg bans iifname != "lo" tcp dport { 465, 587, 143, 993, 4190 } tcp flags & (fin | syn | rst | ack) == syn update @callers4 { ip saddr limit rate over 20/second burst 100 packets } drop
        add rule inet mailimg bans iifname != "lo" tcp dport { 465, 587, 143, 993, 4190 } tcp flags & (fin | syn | rst | ack) == syn update @callers6 { ip6 saddr & ffff:ffff:ffff:ffff:: limit rate over 20/second burst 100 packets } drop
        add set inet mailimg logins4 { type ipv4_addr; size 16384; flags dynamic; }
        add set inet mailimg logins6 { type ipv6_addr; size 16384; flags dynamic; }
        add rule inet mailimg bans iifname != "lo" tcp dport { 143, 993, 4190 } ct state new add @logins4 { ip saddr ct count over 400 } reject with tcp reset
        add rule inet mailimg bans iifname != "lo" tcp dport { 143, 993, 4190 } ct state new add @logins6 { ip6 saddr & ffff:ffff:ffff:ffff:: ct count over 400 } reject with tcp reset
        add set inet mailimg submissions4 { type ipv4_addr; size 16384; flags dynamic; }
        add set inet mailimg submissions6 { type ipv6_addr; size 16384; flags dynamic; }
        add rule inet mailimg bans iifname != "lo" tcp dport { 465 } ct state new add @submissions4 { ip saddr ct count over 25 } reject with tcp reset
        add rule inet mailimg bans iifname != "lo" tcp dport { 465 } ct state new add @submissions6 { ip6 saddr & ffff:ffff:ffff:ffff:: ct count over 25 } reject with tcp reset
        add set inet mailimg submission4 { type ipv4_addr; size 16384; flags dynamic; }
        add set inet mailimg submission6 { type ipv6_addr; size 16384; flags dynamic; }
        add rule inet mailimg bans iifname != "lo" tcp dport { 587 } ct state new add @submission4 { ip saddr ct count over 25 } reject with tcp reset
        add rule inet mailimg bans iifname != "lo" tcp dport { 587 } ct state new add @submission6 { ip6 saddr & ffff:ffff:ffff:ffff:: ct count over 25 } reject with tcp reset
        add set inet mailimg mail4 { type ipv4_addr; size 16384; flags dynamic; }
        add set inet mailimg mail6 { type ipv6_addr; size 16384; flags dynamic; }
        add rule inet mailimg bans iifname != "lo" tcp dport { 25 } ct state new add @mail4 { ip saddr ct count over 25 } reject with tcp reset
        add rule inet mailimg bans iifname != "lo" tcp dport { 25 } ct state new add @mail6 { ip6 saddr & ffff:ffff:ffff:ffff:: ct count over 25 } reject with tcp reset
        add element inet mailimg ban4 { 192.0.2.1 timeout 3500s }
        add element inet mailimg ban6 { 2001:db8::/64 timeout 3500s }
        add element inet mailimg ban6 { 2001:db8::/64 timeout 60s }
        delete element inet mailimg ban6 { 2001:db8::/64 }
        "#);
    }
}
