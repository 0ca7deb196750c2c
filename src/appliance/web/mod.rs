//! `mailctl web`: the pages that authorities, other mail servers and mail
//! programs look for, and one for people.
//!
//! It answers challenges, publishes the MTA-STS policy, tells mail programs
//! their settings, and sends everything else from HTTP to HTTPS. It knows no
//! account and no password, so it neither keeps a log of visitors nor needs
//! one; what is for the pages of monitoring it hands on to their process. HTTP/2 is left out: nobody loads more than one page here.

pub mod answer;
pub mod asked;
pub mod autodiscover;
pub mod certificates;
pub mod challenge;
pub mod configuration;
pub mod connection;
pub mod connections;
pub mod lingering;
pub mod pages;
pub mod passing;
pub mod routes;
pub mod site;
#[cfg(test)]
pub mod tests;

use super::machine::place::Place;
use super::wire::serve::{BLOCKING_THREADS, rest_after, start_runtime, tell_ready};
use anyhow::{Context, Result};
use asked::is_near;
use connection::{serve_plain, serve_tls};
use site::Site;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

pub use configuration::{configure, load_ports};

/// Forgets a connection when its task ends, in whatever way.
struct Ending {
    site: Rc<Site>,
    number: u64,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.site.connections.borrow_mut().remove(self.number);
    }
}

/// Serves the web until the process is stopped.
pub fn run_web(place: &Place) -> Result<String> {
    let runtime = start_runtime(BLOCKING_THREADS)?;
    LocalSet::new().block_on(&runtime, async {
        let site = Rc::new(Site::new(place)?);
        let (http_port, https_port) = site.configuration().ports();
        let plain = listen(http_port).await?;
        let tls = listen(https_port).await?;
        tell_ready()?;
        tokio::join!(accept(&site, plain, false), accept(&site, tls, true));
        Ok("The web server has ended.".to_owned())
    })
}

/// Listens for both families of addresses, or for IPv4 where there is no other.
async fn listen(port: u16) -> Result<TcpListener> {
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    match TcpListener::bind(both).await {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::Unsupported | ErrorKind::AddrNotAvailable
            ) || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        result => result,
    }
    .with_context(|| format!("listening on port {port}"))
}

async fn accept(site: &Rc<Site>, listener: TcpListener, is_tls: bool) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => take(site, stream, peer, is_tls),
            Err(error) => rest_after(error).await,
        }
    }
}

fn take(site: &Rc<Site>, stream: TcpStream, peer: SocketAddr, is_tls: bool) {
    let address = peer.ip();
    let is_proxy = site.last.borrow().is_behind_proxy() && is_near(address);
    let mut connections = site.connections.borrow_mut();
    if !connections.has_room_for(address, is_proxy) {
        return;
    }
    let number = connections.next_number();
    let ending = Ending {
        site: site.clone(),
        number,
    };
    let task = tokio::task::spawn_local(async move {
        let site = ending.site.clone();
        if is_tls {
            serve_tls(site, stream, address, is_proxy).await;
        } else {
            serve_plain(site, stream, address, is_proxy).await;
        }
    });
    connections.add(number, address, task.abort_handle());
}
