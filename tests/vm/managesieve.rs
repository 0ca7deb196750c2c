//! Filters into a machine: as much of ManageSieve (RFC 5804) as storing one takes.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::CertificateDer;

use super::smtp::Account;
use super::wire::Wire;

/// The only port; TLS comes with STARTTLS.
pub const PORT: u16 = 4190;

/// A session.
pub struct ManageSieve {
    wire: Wire,
}

impl ManageSieve {
    /// Connects in the clear and returns what the server offers.
    pub fn connect(source: IpAddr, machine: IpAddr) -> Result<(Self, String)> {
        let mut sieve = Self {
            wire: Wire::open(source, SocketAddr::new(machine, PORT))?,
        };
        let offers = sieve.answer()?;
        Ok((sieve, offers))
    }

    /// STARTTLS; the server offers anew.
    pub fn start_tls(mut self, host_name: &str) -> Result<(Self, String)> {
        let said = self.ask("STARTTLS")?;
        ensure!(said.starts_with("OK"), "STARTTLS is answered {said:?}");
        let mut sieve = Self {
            wire: self.wire.secure(host_name)?,
        };
        let offers = sieve.answer()?;
        Ok((sieve, offers))
    }

    /// Connects, encrypts and logs in.
    pub fn open(
        source: IpAddr,
        machine: IpAddr,
        host_name: &str,
        account: &Account,
    ) -> Result<Self> {
        let (sieve, _) = Self::connect(source, machine)?;
        let (mut sieve, _) = sieve.start_tls(host_name)?;
        let said = sieve.log_in(account)?;
        ensure!(
            said.starts_with("OK"),
            "logging in as {}: {said}",
            account.address
        );
        Ok(sieve)
    }

    /// AUTHENTICATE PLAIN and its answer.
    pub fn log_in(&mut self, account: &Account) -> Result<String> {
        let secret = BASE64.encode(format!("\0{}\0{}", account.address, account.password));
        self.ask(&format!("AUTHENTICATE \"PLAIN\" \"{secret}\""))
    }

    /// Stores a script and makes it the active one.
    pub fn activate(&mut self, name: &str, script: &str) -> Result<()> {
        let order = format!("PUTSCRIPT \"{name}\" {{{}+}}\r\n{script}", script.len());
        for order in [order, format!("SETACTIVE \"{name}\"")] {
            let said = self.ask(&order)?;
            if !said.starts_with("OK") {
                bail!("{order:?} is answered {said:?}");
            }
        }
        Ok(())
    }

    /// What the server showed in the handshake.
    pub fn certificates(&self) -> Vec<CertificateDer<'static>> {
        self.wire.certificates()
    }

    /// Gives an order and returns all lines, the one with the outcome first.
    pub fn ask(&mut self, order: &str) -> Result<String> {
        self.wire.send_line(order)?;
        self.answer()
    }

    fn answer(&mut self) -> Result<String> {
        let mut lines = Vec::new();
        loop {
            let line = self
                .wire
                .line()?
                .with_context(|| format!("the server hung up after {lines:?}"))?;
            if ["OK", "NO", "BYE"]
                .iter()
                .any(|word| line.starts_with(word))
            {
                lines.insert(0, line);
                return Ok(lines.join("\n"));
            }
            lines.push(line);
        }
    }
}
