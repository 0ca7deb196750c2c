//! Serving on sockets: how our services begin, and how they take connections.

use crate::appliance::machine::files::remove_file;
use anyhow::{Context, Result};
use sd_notify::NotifyState;
use std::fmt::Display;
use std::fs::Permissions;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// Tokio's own limit of threads for what blocks; they are started as they are needed.
pub const BLOCKING_THREADS: usize = 512;
/// Pause when no connection can be taken, as when there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Runs everything on this thread; at most so many more wait for what blocks.
pub fn start_runtime(blocking_threads: usize) -> Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(blocking_threads)
        .build()
        .context("starting the runtime")
}

/// Makes a socket where one may be left over, for whom its mode lets in.
pub fn bind_socket<T>(
    path: &Path,
    mode: u32,
    make: impl FnOnce(&Path) -> std::io::Result<T>,
) -> Result<T> {
    remove_file(path)?;
    make(path)
        .and_then(|socket| {
            std::fs::set_permissions(path, Permissions::from_mode(mode))?;
            Ok(socket)
        })
        .with_context(|| format!("listening on {}", path.display()))
}

/// Tells systemd that the service is ready.
pub fn tell_ready() -> Result<()> {
    sd_notify::notify(&[NotifyState::Ready]).context("telling systemd that the service is ready")
}

/// Tells why no connection could be taken, and waits for better times.
pub async fn rest_after(error: impl Display) {
    tell!("taking a connection: {error}");
    sleep(ACCEPT_PAUSE).await;
}

/// Serves each connection in a task of its own, at most `limit` at a time, for ever.
///
/// Runs inside a `LocalSet`.
pub async fn serve_connections<Work>(
    listener: UnixListener,
    limit: usize,
    converse: impl Fn(UnixStream) -> Work,
) where
    Work: Future<Output = Result<()>> + 'static,
{
    let room = Arc::new(Semaphore::new(limit));
    // The semaphore is never closed.
    while let Ok(permit) = room.clone().acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                rest_after(error).await;
                continue;
            }
        };
        let work = converse(stream);
        tokio::task::spawn_local(async move {
            if let Err(error) = work.await {
                tell!("{error:#}");
            }
            drop(permit);
        });
    }
}
